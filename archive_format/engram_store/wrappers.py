"""Backends around a backend: retries, a count of what is asked, and a part of a larger store."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeVar

from engram_format.errors import AlreadyExists, NotFound, Unavailable
from engram_store.backend import Backend, Buffer, ObjectStat, Span
from engram_store.object_key import checked_key, checked_prefix

_Answer = TypeVar("_Answer")


class Retrying:
    """A backend that asks again when the one inside is `Unavailable`, and for nothing else.

    Before the n-th repetition it waits for a random part, at least half, of `first_delay_s * 2**(n-1)`, at most `max_delay_s`.
    After `attempts` failures in a row the last `Unavailable` is raised. The outcome of a failed `put_if_absent` is unknown: if
    the repetition finds the key taken by the very bytes of `value`, the first attempt had succeeded and so does the call.
    """

    def __init__(
        self,
        inner: Backend,
        *,
        attempts: int = 6,
        first_delay_s: float = 0.2,
        max_delay_s: float = 10.0,
        sleep: Callable[[float], object] = time.sleep,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        if attempts < 1:
            raise ValueError(f"at least one attempt is needed, not {attempts}")
        self._inner = inner
        self._attempts = attempts
        self._first_delay_s = first_delay_s
        self._max_delay_s = max_delay_s
        self._sleep = sleep
        self._jitter = jitter

    @property
    def url(self) -> str:
        """The location of the backend inside."""
        return self._inner.url

    def get(self, key: str, span: Span | None = None) -> bytes:
        """Return the object, or the bytes of `span`."""
        return self._insist(lambda: self._inner.get(key, span))

    def put_if_absent(self, key: str, value: Buffer) -> None:
        """Create the object, or raise `AlreadyExists` if other bytes than ours are there."""
        outcome_unknown = False

        def attempt() -> None:
            nonlocal outcome_unknown
            try:
                self._inner.put_if_absent(key, value)
            except AlreadyExists:
                if not (outcome_unknown and self._holds(key, value)):
                    raise
            except Unavailable:
                outcome_unknown = True
                raise

        self._insist(attempt)

    def stat(self, key: str) -> ObjectStat:
        """Return the size of the object."""
        return self._insist(lambda: self._inner.stat(key))

    def list(self, prefix: str, start_after: str = "") -> Iterator[ObjectStat]:
        """Yield the objects; after a failure the listing goes on behind the last object that was yielded."""
        failures = 0
        while True:
            try:
                for stat in self._inner.list(prefix, start_after):
                    failures = 0
                    start_after = stat.key
                    yield stat
                return
            except Unavailable:
                failures += 1
                if failures >= self._attempts:
                    raise
                self._wait(failures)

    def delete(self, key: str) -> None:
        """Remove the object."""
        self._insist(lambda: self._inner.delete(key))

    def _insist(self, attempt: Callable[[], _Answer]) -> _Answer:
        failures = 0
        while True:
            try:
                return attempt()
            except Unavailable:
                failures += 1
                if failures >= self._attempts:
                    raise
                self._wait(failures)

    def _wait(self, failures: int) -> None:
        # The exponent is bounded so that a patient caller does not overflow the float.
        longest_s = min(self._max_delay_s, self._first_delay_s * 2.0 ** min(failures - 1, 60))
        self._sleep(longest_s * (1 + self._jitter()) / 2)

    def _holds(self, key: str, value: Buffer) -> bool:
        with memoryview(value) as whole, whole.cast("B") as ours:
            try:
                return self._inner.stat(key).size == len(ours) and self._inner.get(key) == ours
            except NotFound:
                # Taken a moment ago and removed since, hence not by us: the caller hears that it was taken.
                return False


@dataclass(frozen=True, slots=True)
class Usage:
    """What one operation was asked for: calls begun, bytes of values handed out, and bytes of values taken in and kept."""

    calls: int = 0
    bytes_out: int = 0
    bytes_in: int = 0


class Metered:
    """A backend that counts; `usage` tells, per operation, what it was asked for."""

    def __init__(self, inner: Backend) -> None:
        self._inner = inner
        self._usage: dict[str, Usage] = {}
        self._lock = threading.Lock()

    @property
    def url(self) -> str:
        """The location of the backend inside."""
        return self._inner.url

    def usage(self, operation: str) -> Usage:
        """Return the count of one operation (`get`, `put_if_absent`, `stat`, `list` or `delete`) up to now."""
        with self._lock:
            return self._usage.get(operation, Usage())

    def reset(self) -> None:
        """Begin to count anew."""
        with self._lock:
            self._usage.clear()

    def get(self, key: str, span: Span | None = None) -> bytes:
        """Return the object, or the bytes of `span`."""
        self._count("get", calls=1)
        value = self._inner.get(key, span)
        self._count("get", bytes_out=len(value))
        return value

    def put_if_absent(self, key: str, value: Buffer) -> None:
        """Create the object."""
        self._count("put_if_absent", calls=1)
        self._inner.put_if_absent(key, value)
        with memoryview(value) as whole:
            self._count("put_if_absent", bytes_in=whole.nbytes)

    def stat(self, key: str) -> ObjectStat:
        """Return the size of the object."""
        self._count("stat", calls=1)
        return self._inner.stat(key)

    def list(self, prefix: str, start_after: str = "") -> Iterator[ObjectStat]:
        """Yield the objects; one listing is one call, however many pages it takes."""
        self._count("list", calls=1)
        return self._inner.list(prefix, start_after)

    def delete(self, key: str) -> None:
        """Remove the object."""
        self._count("delete", calls=1)
        self._inner.delete(key)

    def _count(self, operation: str, *, calls: int = 0, bytes_out: int = 0, bytes_in: int = 0) -> None:
        with self._lock:
            old = self._usage.get(operation, Usage())
            self._usage[operation] = Usage(old.calls + calls, old.bytes_out + bytes_out, old.bytes_in + bytes_in)


class Prefixed:
    """The part of a backend whose keys begin with `prefix/`, as a backend of its own."""

    def __init__(self, inner: Backend, prefix: str) -> None:
        self._inner = inner
        self._prefix = checked_key(prefix.rstrip("/")) + "/"

    @property
    def url(self) -> str:
        """The location of the backend inside, and the prefix."""
        return f"{self._inner.url.rstrip('/')}/{self._prefix[:-1]}"

    def get(self, key: str, span: Span | None = None) -> bytes:
        """Return the object, or the bytes of `span`."""
        return self._inner.get(self._prefix + checked_key(key), span)

    def put_if_absent(self, key: str, value: Buffer) -> None:
        """Create the object."""
        self._inner.put_if_absent(self._prefix + checked_key(key), value)

    def stat(self, key: str) -> ObjectStat:
        """Return the size of the object."""
        return ObjectStat(key, self._inner.stat(self._prefix + checked_key(key)).size)

    def list(self, prefix: str, start_after: str = "") -> Iterator[ObjectStat]:
        """Yield the objects, under their keys without the prefix."""
        inner = self._inner.list(
            self._prefix + checked_prefix(prefix), self._prefix + start_after if start_after else ""
        )
        return (ObjectStat(stat.key[len(self._prefix) :], stat.size) for stat in inner)

    def delete(self, key: str) -> None:
        """Remove the object."""
        self._inner.delete(self._prefix + checked_key(key))
