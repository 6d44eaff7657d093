"""The fields of a protobuf message that lies in a file, without a schema and without reading what they hold.

(protobuf.dev, Encoding.) Every length is checked against the message that it lies in, and the count of fields is bounded.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, Final

from engram_format.errors import FormatError

VARINT: Final = 0
LENGTH_DELIMITED: Final = 2
_FIXED: Final = {1: 8, 5: 4}
_WINDOW: Final = 64 * 1024
_MAX_FIELDS: Final = 2_000_000
_MAX_VARINT_BYTES: Final = 10


@dataclass(frozen=True, slots=True)
class Field:
    """One field: a number, or the place of its bytes."""

    number: int
    wire_type: int
    value: int
    """The number itself where `wire_type` is `VARINT`, else the length of its content."""
    start: int
    """First byte of its content."""

    @property
    def stop(self) -> int:
        """The offset after its content."""
        return self.start + (0 if self.wire_type == VARINT else self.value)


class MessageFile:
    """A file of `size` bytes that holds a protobuf message, read through one small window."""

    def __init__(self, file: BinaryIO, *, size: int) -> None:
        self._file = file
        self._size = size
        self._window = b""
        self._window_at = 0
        self._fields = 0

    def fields(self, start: int, stop: int) -> Iterator[Field]:
        """Yield the fields of the message in `start` up to `stop`; raises `FormatError` where one breaks a rule."""
        at = start
        while at < stop:
            self._fields += 1
            if self._fields > _MAX_FIELDS:
                raise FormatError(f"it has more than {_MAX_FIELDS} fields")
            tag, at = self._varint(at, stop)
            number, wire_type = tag >> 3, tag & 7
            if wire_type in (VARINT, LENGTH_DELIMITED):
                value, at = self._varint(at, stop)
            elif wire_type in _FIXED:
                value = _FIXED[wire_type]
            else:
                raise FormatError(f"a field at byte {at} has the unknown wire type {wire_type}")
            field = Field(number, wire_type, value, at)
            if number == 0 or field.stop > stop:
                raise FormatError(f"a field at byte {at} ends beyond the message that it lies in")
            yield field
            at = field.stop

    def content(self, field: Field, *, most: int) -> bytes:
        """Return a field's bytes, of which there are at most `most`."""
        if field.wire_type == VARINT or field.value > most:
            raise FormatError(f"a field at byte {field.start} is not at most {most} bytes")
        self._file.seek(field.start)
        data = self._file.read(field.value)
        if len(data) != field.value:
            raise FormatError(f"the file ends within a field at byte {field.start}")
        return data

    def numbers(self, field: Field, *, most: int) -> list[int]:
        """Return the numbers of a repeated field, written one by one or packed; at most `most`."""
        if field.wire_type == VARINT:
            return [field.value]
        found: list[int] = []
        at = field.start
        while at < field.stop:
            value, at = self._varint(at, field.stop)
            found.append(value)
            if len(found) > most:
                raise FormatError(f"a field at byte {field.start} has more than {most} numbers")
        return found

    def _varint(self, at: int, stop: int) -> tuple[int, int]:
        value = 0
        for count in range(_MAX_VARINT_BYTES):
            if at >= stop:
                break
            byte = self._byte(at)
            at += 1
            value |= (byte & 0x7F) << (7 * count)
            if byte < 0x80:
                return value & (2**64 - 1), at
        raise FormatError(f"a number before byte {at} has no end")

    def _byte(self, at: int) -> int:
        index = at - self._window_at
        if not 0 <= index < len(self._window):
            self._file.seek(at)
            self._window, self._window_at, index = self._file.read(_WINDOW), at, 0
            if not self._window:
                raise FormatError(f"the file ends at byte {at}, within a message")
        return self._window[index]
