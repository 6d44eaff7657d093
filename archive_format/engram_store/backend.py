"""The five operations on storage that an archive needs, and no others (SPEC.md section 3).

A key is a `/`-separated path of printable ASCII without empty parts. A value is written once and never changed: the only
primitive for concurrency is that `put_if_absent` has exactly one winner. Retry, metering and fault injection are backends
around a backend (`engram_store.wrappers`). `engram_store.conformance` is the test suite that every backend passes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from engram_format.errors import NotFound

Buffer = bytes | bytearray | memoryview
"""What may be put: one contiguous run of bytes."""


@dataclass(frozen=True, slots=True)
class Span:
    """A range of bytes inside an object: `length` bytes from `start`, both in bytes, `length` at least 1."""

    start: int
    length: int

    def __post_init__(self) -> None:
        if self.start < 0 or self.length < 1:
            raise ValueError(f"a span begins at 0 or later and has at least one byte, not {self}")

    @property
    def stop(self) -> int:
        """The offset after the last byte."""
        return self.start + self.length


@dataclass(frozen=True, slots=True)
class ObjectStat:
    """What the storage says about one object."""

    key: str
    size: int


@runtime_checkable
class Backend(Protocol):
    """A flat space of immutable objects.

    Every operation is atomic, thread-safe, and strongly consistent: what was acknowledged is seen by everyone after.
    Errors are ours (`engram_format.errors`) and name the object: `NotFound`, `AlreadyExists`, `Denied`, `Unavailable` (worth
    a retry), `Exhausted` (storage full).
    """

    @property
    def url(self) -> str:
        """Where the objects are, for people; holds no secret."""
        ...

    def get(self, key: str, span: Span | None = None) -> bytes:
        """Return the object, or exactly the bytes of `span`.

        Raises `NotFound` if there is no such object and `Damaged` if it ends before the span does.
        """
        ...

    def put_if_absent(self, key: str, value: Buffer) -> None:
        """Create the object, durably and whole, or raise `AlreadyExists` and leave what is there untouched."""
        ...

    def stat(self, key: str) -> ObjectStat:
        """Return the size of the object, or raise `NotFound`."""
        ...

    def list(self, prefix: str, start_after: str = "") -> Iterator[ObjectStat]:
        """Yield the objects whose key begins with `prefix` and sorts after `start_after`, in order of key (bytewise)."""
        ...

    def delete(self, key: str) -> None:
        """Remove the object; removing what is not there is no error."""
        ...


def exists(backend: Backend, key: str) -> bool:
    """Tell whether there is an object."""
    try:
        backend.stat(key)
    except NotFound:
        return False
    return True
