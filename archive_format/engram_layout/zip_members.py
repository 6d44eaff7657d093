"""The members of a ZIP file that lie in it as they are: neither compressed nor encrypted.

Read from the directory at the file's end (APPNOTE.TXT sections 4.3 and 4.5.3), and believed only where the header before each
member agrees with it.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import BinaryIO, Final

from engram_format.errors import FormatError
from engram_layout.header import read_at

_END: Final = b"PK\x05\x06"
_END_BYTES: Final = 22
_LOCATOR_BYTES: Final = 20
_END_64_BYTES: Final = 56
_MAX_COMMENT: Final = 65_535
_MAX_DIRECTORY: Final = 16 * 2**20
_MAX_MEMBERS: Final = 10_000
_IN_EXTRA: Final = 0xFFFF_FFFF
_STORED: Final = 0
_ENCRYPTED: Final = 1


@dataclass(frozen=True, slots=True)
class Member:
    """One member; `start` is the first byte of its content, which is `size` bytes long, or `None` if it is not stored as is."""

    name: str
    start: int | None
    size: int


@dataclass(frozen=True, slots=True)
class _Entry:
    name: bytes
    flags: int
    method: int
    packed: int
    size: int
    header: int


def zip_members(file: BinaryIO, *, size: int) -> list[Member]:
    """Return the members of a ZIP file of `size` bytes, in the order of its directory; raises `FormatError`."""
    members = [_member(file, entry, size=size) for entry in _directory(file, size=size)]
    stored = sorted((member.start, member.start + member.size) for member in members if member.start is not None)
    if any(later[0] < earlier[1] for earlier, later in pairwise(stored)):
        raise FormatError("two of its members lie in the same bytes")
    return members


def _directory(file: BinaryIO, *, size: int) -> Iterator[_Entry]:
    tail_at = max(0, size - _END_BYTES - _MAX_COMMENT)
    tail = read_at(file, tail_at, size - tail_at, what="the directory's end")
    found = tail.rfind(_END)
    if found < 0 or found + _END_BYTES > len(tail):
        raise FormatError("its directory is not at its end: the file is cut off")
    disk, _, here, count, length, start, _ = struct.unpack_from("<HHHHIIH", tail, found + 4)
    if _IN_EXTRA in (length, start) or 0xFFFF in (disk, here, count):
        disk, here, count, length, start = _end_64(file, tail_at + found)
    if disk or here != count or count > _MAX_MEMBERS or length > _MAX_DIRECTORY or start + length > size:
        raise FormatError(f"its directory says {count} members in {length} bytes from byte {start} on")
    data = read_at(file, start, length, what="the directory")
    at = 0
    for _ in range(count):
        entry, at = _entry(data, at)
        yield entry


def _end_64(file: BinaryIO, end_at: int) -> tuple[int, int, int, int, int]:
    locator = read_at(file, end_at - _LOCATOR_BYTES, _LOCATOR_BYTES, what="the directory's locator")
    if not locator.startswith(b"PK\x06\x07"):
        raise FormatError("its directory is of 64 bits and cannot be found")
    (at,) = struct.unpack_from("<Q", locator, 8)
    end = read_at(file, at, _END_64_BYTES, what="the directory's end")
    if not end.startswith(b"PK\x06\x06"):
        raise FormatError("its directory is of 64 bits and cannot be found")
    disk, _, here, count, length, start = struct.unpack_from("<IIQQQQ", end, 16)
    return disk, here, count, length, start


def _entry(data: bytes, at: int) -> tuple[_Entry, int]:
    if at + 46 > len(data) or data[at : at + 4] != b"PK\x01\x02":
        raise FormatError("its directory is damaged")
    flags, method = struct.unpack_from("<HH", data, at + 8)
    packed, size, name_bytes, extra_bytes, comment_bytes = struct.unpack_from("<IIHHH", data, at + 20)
    (header,) = struct.unpack_from("<I", data, at + 42)
    extra_at = at + 46 + name_bytes
    stop = extra_at + extra_bytes + comment_bytes
    if stop > len(data):
        raise FormatError("its directory is damaged")
    size, packed, header = _long(data[extra_at : extra_at + extra_bytes], [size, packed, header])
    return _Entry(data[at + 46 : extra_at], flags, method, packed, size, header), stop


def _long(extra: bytes, values: list[int]) -> list[int]:
    """Replace each value that did not fit 32 bits by the one in the extra field 1, which holds only those, in this order."""
    at = 0
    while at + 4 <= len(extra):
        tag, length = struct.unpack_from("<HH", extra, at)
        if tag == 1 and at + 4 + length <= len(extra):
            longs = iter(struct.unpack_from(f"<{length // 8}Q", extra, at + 4))
            return [next(longs, value) if value == _IN_EXTRA else value for value in values]
        at += 4 + length
    return values


def _member(file: BinaryIO, entry: _Entry, *, size: int) -> Member:
    name = entry.name.decode("utf-8", "replace")
    if entry.method != _STORED or entry.flags & _ENCRYPTED:
        return Member(name, None, entry.size)
    local = read_at(file, entry.header, 30, what=f"the header of member {name!r:.100}")
    method, name_bytes, extra_bytes = *struct.unpack_from("<H", local, 8), *struct.unpack_from("<HH", local, 26)
    start = entry.header + 30 + name_bytes + extra_bytes
    named = read_at(file, entry.header + 30, name_bytes, what=f"the header of member {name!r:.100}")
    if not local.startswith(b"PK\x03\x04") or method != _STORED or named != entry.name or entry.packed != entry.size:
        raise FormatError(f"member {name!r:.100} is described in two ways")
    if start + entry.size > size:
        raise FormatError(f"member {name!r:.100} ends beyond the file")
    return Member(name, start, entry.size)
