"""What the headers of ABF1 and ABF2 say, as one value; the offsets are those of Axon's file format documents.

ABF1 has one flat header of fixed offsets; ABF2 a short one with a table of sections. All numbers are little-endian.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import PureWindowsPath
from typing import BinaryIO, Final

from engram_format.errors import FormatError
from engram_layout.header import iso_time, plain_text, read_at, unit_text

_BLOCK: Final = 512
_MAX_ADC: Final = 64
_MAX_SYNCH: Final = 1_000_000
_MAX_TAGS: Final = 10_000
_MAX_EPOCHS: Final = 10_000
_EPOCHS: Final = {1: "step", 2: "ramp", 3: "pulse train", 4: "triangle train", 5: "cosine train", 7: "biphasic train"}
_MAX_STRINGS: Final = 2**20
_TAG_BYTES: Final = 64
_SECTIONS: Final = {
    "protocol": 76,
    "adc": 92,
    "dac": 108,
    "epoch": 156,
    "strings": 220,
    "data": 236,
    "tag": 252,
    "synch": 316,
}
"""Where the section table has each section: block, bytes of an entry, count of entries."""
_ABF1_HEADER: Final = 2048
_ABF1_LONG_HEADER: Final = 6144


@dataclass(frozen=True, slots=True)
class Adc:
    """One recorded channel."""

    name: str
    unit: str
    gain: float
    """Instrument scale factor, signal gain, programmable gain and telegraphed gain, multiplied: volts in one unit."""
    offset: float


@dataclass(frozen=True, slots=True)
class Dac:
    """One output of the amplifier's commands."""

    name: str
    unit: str
    holding: float


@dataclass(frozen=True, slots=True)
class Epoch:
    """One step of the command that an output gave in each sweep."""

    dac: int
    kind: str
    level: float
    """In the first sweep, in the output's unit."""
    level_increment: float
    """From sweep to sweep."""
    samples: int
    """Of each channel, in the first sweep."""
    samples_increment: int


@dataclass(frozen=True, slots=True)
class AbfHeader:
    """What the planner needs of an ABF file; nothing is checked yet against the file's size."""

    version: str
    mode: int
    is_float: bool
    data_offset: int
    samples: int
    """Of all channels together."""
    interval_us: float
    """From one sample of a channel to its next."""
    adc_range: float
    adc_resolution: int
    adcs: tuple[Adc, ...]
    episodes: int
    episode_samples: int
    """Of all channels together, in one sweep of fixed length."""
    episode_start_s: float
    """From one sweep's start to the next; 0 where they follow as soon as they can."""
    synch_unit_us: float
    synch: tuple[tuple[int, int], ...]
    """Start and length of each sweep."""
    start_time: str | None
    protocol: str = ""
    comment: str = ""
    creator: str = ""
    dacs: tuple[Dac, ...] = ()
    epochs: tuple[Epoch, ...] = ()
    tags: tuple[tuple[int, str], ...] = ()
    """Moment in units of the synch time, and comment."""


def read_abf_header(file: BinaryIO) -> AbfHeader:
    """Read the header of an ABF file of either version; raises `FormatError`."""
    head = read_at(file, 0, _BLOCK, what="the header")
    if head.startswith(b"ABF2"):
        return _read_abf2(file, head)
    if head.startswith(b"ABF "):
        return _read_abf1(file)
    raise FormatError("it does not begin as ABF files do")


def _read_abf2(file: BinaryIO, head: bytes) -> AbfHeader:
    sections = {name: _section(head, at, name=name) for name, at in _SECTIONS.items()}
    strings = _strings(_whole(file, sections["strings"], what="the strings"))
    protocol = _entries(file, sections["protocol"], least=208, most=1, what="the protocol")
    if not protocol:
        raise FormatError("it has no protocol section")
    settings = protocol[0]
    adcs = _entries(file, sections["adc"], least=82, most=_MAX_ADC, what="the channels")
    dacs = _entries(file, sections["dac"], least=40, most=_MAX_ADC, what="the outputs")
    epochs = _entries(file, sections["epoch"], least=22, most=_MAX_EPOCHS, what="the epochs")
    synch = _entries(file, sections["synch"], least=8, most=_MAX_SYNCH, what="the sweeps' starts")
    tags = _entries(file, sections["tag"], least=_TAG_BYTES, most=_MAX_TAGS, what="the tags")
    data_block, item, samples = sections["data"]
    data_format = _u16(head, 30)
    if data_format not in (0, 1) or item != (4 if data_format else 2):
        raise FormatError(f"its samples are of {item} bytes in the unknown format {data_format}")
    day, millis = _u32(head, 16), _u32(head, 20)
    return AbfHeader(
        version=".".join(str(part) for part in reversed(head[4:8])),
        mode=_i16(settings, 0),
        is_float=data_format == 1,
        data_offset=data_block * _BLOCK,
        samples=samples,
        interval_us=_f32(settings, 2),
        adc_range=_f32(settings, 110),
        adc_resolution=_i32(settings, 118),
        adcs=tuple(_abf2_adc(entry, strings) for entry in adcs),
        episodes=_u32(head, 12),
        episode_samples=_i32(settings, 22),
        episode_start_s=_f32(settings, 62),
        synch_unit_us=_f32(settings, 14),
        synch=tuple((_i32(entry, 0), _i32(entry, 4)) for entry in synch),
        start_time=iso_time(day // 10_000, day // 100 % 100, day % 100, millis / 1000),
        protocol=PureWindowsPath(_named(strings, _u32(head, 72))).name,
        comment=_named(strings, _i32(settings, 132)),
        creator=_named(strings, _u32(head, 60)),
        dacs=tuple(_abf2_dac(entry, strings) for entry in dacs),
        epochs=tuple(_abf2_epoch(entry) for entry in epochs),
        tags=tuple((_i32(entry, 0), plain_text(entry[4:60])) for entry in tags),
    )


def _abf2_adc(entry: bytes, strings: list[str]) -> Adc:
    gain = _f32(entry, 40) * _f32(entry, 48) * _f32(entry, 28)
    if _i16(entry, 2):
        gain *= _f32(entry, 6)
    name, unit = _named(strings, _i32(entry, 74)), _named(strings, _i32(entry, 78))
    return Adc(name, unit_text(unit), gain, _f32(entry, 44) - _f32(entry, 52))


def _abf2_dac(entry: bytes, strings: list[str]) -> Dac:
    return Dac(_named(strings, _i32(entry, 24)), unit_text(_named(strings, _i32(entry, 28))), _f32(entry, 12))


def _abf2_epoch(entry: bytes) -> Epoch:
    return Epoch(
        dac=_i16(entry, 2),
        kind=_EPOCHS.get(_i16(entry, 4), "unknown"),
        level=_f32(entry, 6),
        level_increment=_f32(entry, 10),
        samples=_i32(entry, 14),
        samples_increment=_i32(entry, 18),
    )


def _section(head: bytes, at: int, *, name: str) -> tuple[int, int, int]:
    block, entry, count = struct.unpack_from("<IIq", head, at)
    if count < 0 or count >= 2**40 or entry >= 2**24:
        raise FormatError(f"its section {name} has {count} entries of {entry} bytes")
    return block, entry, count


def _entries(file: BinaryIO, section: tuple[int, int, int], *, least: int, most: int, what: str) -> list[bytes]:
    block, entry, count = section
    if count == 0:
        return []
    if count > most or not least <= entry <= 4096:
        raise FormatError(f"{what} are {count} entries of {entry} bytes")
    data = read_at(file, block * _BLOCK, entry * count, what=what)
    return [data[entry * index : entry * (index + 1)] for index in range(count)]


def _whole(file: BinaryIO, section: tuple[int, int, int], *, what: str) -> bytes:
    block, entry, count = section
    # The section's entry is as long as all strings together, however many it says there are.
    return read_at(file, block * _BLOCK, entry, what=what) if count and entry <= _MAX_STRINGS else b""


def _strings(data: bytes) -> list[str]:
    """Return the strings; the first of an index is 1, so that 0 is an empty one."""
    if not data.startswith(b"SSCH"):
        return [""]
    return ["", *(plain_text(part) for part in data[44:].split(b"\0"))]


def _named(strings: list[str], index: int) -> str:
    return strings[index] if 0 <= index < len(strings) else ""


def _read_abf1(file: BinaryIO) -> AbfHeader:
    head = read_at(file, 0, _ABF1_HEADER, what="the header")
    version = _f32(head, 4)
    if version >= 1.6:
        head = read_at(file, 0, _ABF1_LONG_HEADER, what="the header")
    count, data_format = _i16(head, 120), _i16(head, 100)
    if not 1 <= count <= 16 or data_format not in (0, 1):
        raise FormatError(f"it says it has {count} channels in the format {data_format}")
    item = 4 if data_format else 2
    order = [_i16(head, 410 + 2 * index) for index in range(count)]
    if len(set(order)) != count or not all(0 <= channel < 16 for channel in order):
        raise FormatError(f"the order in which its channels were sampled is {order}")
    day, seconds, millis = _i32(head, 20), _i32(head, 24), _i16(head, 366)
    return AbfHeader(
        version=f"{version:.2f}",
        mode=_i16(head, 8),
        is_float=data_format == 1,
        data_offset=_i32(head, 40) * _BLOCK + _i16(head, 14) * item,
        samples=_i32(head, 10),
        interval_us=_f32(head, 122) * count,
        adc_range=_f32(head, 244),
        adc_resolution=_i32(head, 252),
        adcs=tuple(_abf1_adc(head, channel) for channel in order),
        episodes=_i32(head, 16),
        episode_samples=_i32(head, 138),
        episode_start_s=_f32(head, 178),
        synch_unit_us=_f32(head, 130),
        synch=_abf1_synch(file, head),
        start_time=_abf1_time(day, seconds, millis),
        protocol=PureWindowsPath(plain_text(head[4898:5282].split(b"\0")[0])).name,
        tags=_abf1_tags(file, head),
    )


def _abf1_adc(head: bytes, channel: int) -> Adc:
    gain = _f32(head, 922 + 4 * channel) * _f32(head, 1050 + 4 * channel) * _f32(head, 730 + 4 * channel)
    if len(head) == _ABF1_LONG_HEADER and _i16(head, 4512 + 2 * channel) == 1:
        gain *= _f32(head, 4576 + 4 * channel)
    name, unit = head[442 + 10 * channel :][:10], head[602 + 8 * channel :][:8]
    offset = _f32(head, 986 + 4 * channel) - _f32(head, 1114 + 4 * channel)
    return Adc(plain_text(name), unit_text(unit), gain, offset)


def _abf1_synch(file: BinaryIO, head: bytes) -> tuple[tuple[int, int], ...]:
    block, count = _i32(head, 92), _i32(head, 96)
    if count == 0:
        return ()
    if not 0 < count <= _MAX_SYNCH:
        raise FormatError(f"it says it has the starts of {count} sweeps")
    data = read_at(file, block * _BLOCK, 8 * count, what="the sweeps' starts")
    return tuple(struct.iter_unpack("<ii", data))


def _abf1_tags(file: BinaryIO, head: bytes) -> tuple[tuple[int, str], ...]:
    block, count = _i32(head, 44), _i32(head, 48)
    if not 0 < count <= _MAX_TAGS:
        return ()
    data = read_at(file, block * _BLOCK, _TAG_BYTES * count, what="the tags")
    entries = (data[_TAG_BYTES * index :][:_TAG_BYTES] for index in range(count))
    return tuple((_i32(entry, 0), plain_text(entry[4:60])) for entry in entries)


def _abf1_time(day: int, seconds: int, millis: int) -> str | None:
    # Years of two digits come from versions before 1.5, which wrote YYMMDD.
    year = day // 10_000
    if 0 < year < 100:
        year += 1900 if year >= 80 else 2000
    return (
        iso_time(year, day // 100 % 100, day % 100, seconds + millis / 1000) if day > 0 and 0 <= millis < 1000 else None
    )


def _i16(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + 2], "little", signed=True)


def _u16(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + 2], "little")


def _i32(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + 4], "little", signed=True)


def _u32(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + 4], "little")


def _f32(data: bytes, at: int) -> float:
    value: float = struct.unpack_from("<f", data, at)[0]
    return value
