"""Objects in the memory of this process: for tests, simulations and archives that are meant to be lost."""

from __future__ import annotations

import threading
from collections.abc import Iterator

from engram_store.backend import Buffer, ObjectStat, Span
from engram_store.object_key import checked_key, checked_prefix, ends_before, key_is_taken, no_such_object


class MemoryBackend:
    """A `Backend` whose objects live as long as it does."""

    def __init__(self, name: str = "memory") -> None:
        self._url = f"{name}:"
        self._objects: dict[str, bytes] = {}
        self._lock = threading.Lock()

    @property
    def url(self) -> str:
        """A name for messages."""
        return self._url

    def get(self, key: str, span: Span | None = None) -> bytes:
        """Return the object, or the bytes of `span`."""
        value = self._value(key)
        if span is None:
            return value
        if span.stop > len(value):
            raise ends_before(self._url, key, span=span, size=len(value))
        return value[span.start : span.stop]

    def put_if_absent(self, key: str, value: Buffer) -> None:
        """Keep a copy of `value` unless the key is taken."""
        checked_key(key)
        copy = bytes(value)
        with self._lock:
            if key in self._objects:
                raise key_is_taken(self._url, key)
            self._objects[key] = copy

    def stat(self, key: str) -> ObjectStat:
        """Return the size of the object."""
        return ObjectStat(key, len(self._value(key)))

    def list(self, prefix: str, start_after: str = "") -> Iterator[ObjectStat]:
        """Yield what is there at the moment of the call."""
        checked_prefix(prefix)
        with self._lock:
            found = [
                ObjectStat(key, len(value))
                for key, value in self._objects.items()
                if key.startswith(prefix) and key > start_after
            ]
        return iter(sorted(found, key=lambda stat: stat.key))

    def delete(self, key: str) -> None:
        """Forget the object."""
        checked_key(key)
        with self._lock:
            self._objects.pop(key, None)

    def _value(self, key: str) -> bytes:
        checked_key(key)
        with self._lock:
            value = self._objects.get(key)
        if value is None:
            raise no_such_object(self._url, key)
        return value
