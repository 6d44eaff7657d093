"""A backend that fails on purpose, at chosen calls and in chosen ways: for tests, never used by the archive itself."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum, auto

from engram_format.errors import EngramError, Unavailable
from engram_store.backend import Backend, Buffer, ObjectStat, Span


class Fault(Enum):
    """What goes wrong with one call."""

    BEFORE = auto()
    """The call fails and nothing was done."""
    AFTER = auto()
    """The call fails although all was done: the answer is lost."""
    PARTIAL = auto()
    """The call stops half-way. `put_if_absent` leaves half of the value and fails, as no `Backend` may; `get` answers with
    half of the bytes, as no `Backend` may; `list` yields half of the objects and fails. Others: as `BEFORE`."""
    DUPLICATE = auto()
    """The call is done twice, as by a network that repeats a request, and the second answer is given."""
    FLIP = auto()
    """`get` answers with one bit of the middle byte flipped. Others: no fault."""


@dataclass(frozen=True, slots=True)
class Call:
    """One call that was made: its number, counted from 1 over all operations, its operation, and the key or prefix."""

    number: int
    operation: str
    key: str


Schedule = Mapping[int, Fault] | Callable[[Call], Fault | None]
"""Faults by the number of the call, or a function that decides."""


class Faulty:
    """A backend that does what the one inside does, save where `schedule` puts a fault.

    `error` makes what a failing call raises from one sentence. A test that kills the writer instead of failing the call gives
    a `BaseException` of its own.
    """

    def __init__(
        self, inner: Backend, schedule: Schedule, *, error: Callable[[str], BaseException] = Unavailable
    ) -> None:
        self._inner = inner
        self._schedule = schedule
        self._error = error
        self._calls: list[Call] = []
        self._lock = threading.Lock()

    @property
    def url(self) -> str:
        """The location of the backend inside."""
        return self._inner.url

    @property
    def calls(self) -> tuple[Call, ...]:
        """Every call up to now, in order."""
        with self._lock:
            return tuple(self._calls)

    def get(self, key: str, span: Span | None = None) -> bytes:
        """Return the object, or the bytes of `span`, or what the fault leaves of them."""
        fault = self._begin("get", key)
        if fault is Fault.DUPLICATE:
            self._inner.get(key, span)
        value = self._inner.get(key, span)
        if fault is Fault.AFTER:
            raise self._failure("get", key)
        if fault is Fault.PARTIAL:
            return value[: len(value) // 2]
        if fault is Fault.FLIP and value:
            middle = len(value) // 2
            return value[:middle] + bytes([value[middle] ^ 1]) + value[middle + 1 :]
        return value

    def put_if_absent(self, key: str, value: Buffer) -> None:
        """Create the object, or what the fault leaves of it."""
        fault = self._begin("put_if_absent", key)
        if fault is Fault.PARTIAL:
            with memoryview(value) as whole:
                self._inner.put_if_absent(key, bytes(whole)[: whole.nbytes // 2])
            raise self._failure("put_if_absent", key)
        self._do(fault, "put_if_absent", key, lambda: self._inner.put_if_absent(key, value))

    def stat(self, key: str) -> ObjectStat:
        """Return the size of the object."""
        fault = self._begin("stat", key, half_is_nothing=True)
        if fault is Fault.DUPLICATE:
            self._inner.stat(key)
        answer = self._inner.stat(key)
        if fault is Fault.AFTER:
            raise self._failure("stat", key)
        return answer

    def list(self, prefix: str, start_after: str = "") -> Iterator[ObjectStat]:
        """Yield the objects, all of which are asked for before the first is yielded."""
        fault = self._begin("list", prefix)
        if fault is Fault.DUPLICATE:
            tuple(self._inner.list(prefix, start_after))
        found = tuple(self._inner.list(prefix, start_after))
        yield from found[: len(found) // 2] if fault is Fault.PARTIAL else found
        if fault in {Fault.PARTIAL, Fault.AFTER}:
            raise self._failure("list", prefix)

    def delete(self, key: str) -> None:
        """Remove the object."""
        fault = self._begin("delete", key, half_is_nothing=True)
        self._do(fault, "delete", key, lambda: self._inner.delete(key))

    def _begin(self, operation: str, key: str, *, half_is_nothing: bool = False) -> Fault | None:
        with self._lock:
            call = Call(len(self._calls) + 1, operation, key)
            self._calls.append(call)
        fault = self._schedule(call) if callable(self._schedule) else self._schedule.get(call.number)
        if fault is Fault.BEFORE or (fault is Fault.PARTIAL and half_is_nothing):
            raise self._failure(operation, key)
        return fault

    def _do(self, fault: Fault | None, operation: str, key: str, act: Callable[[], None]) -> None:
        if fault is Fault.DUPLICATE:
            with contextlib.suppress(EngramError):
                act()
        act()
        if fault is Fault.AFTER:
            raise self._failure(operation, key)

    def _failure(self, operation: str, key: str) -> BaseException:
        return self._error(f"{operation} of {key!r} in {self.url} met a fault that a test asked for; try again")
