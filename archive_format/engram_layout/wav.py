"""WAV in its containers RIFF, RIFX (big-endian), RF64 and BW64: PCM of 8 to 32 bits and floats, channels side by side.

The one series is `/samples`. Integers are scaled as sound is: full scale is 1, so that a 16-bit number is divided by 32768
and an 8-bit one, which WAV stores without sign, less 128 by 128. Floats are as they are. There is no unit.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from engram_format.array_type import ArrayType
from engram_format.catalog import Scalar
from engram_format.errors import FormatError
from engram_format.series import Description
from engram_layout.channels import MAX_CHANNELS, Channel, interleaved, series_by_unit
from engram_layout.header import MIN_ARRAY_BYTES, iso_moment, opaque_if_refused, plain_text, read_at, row_of
from engram_layout.plan import ArraySegment, Planned, covering

_PCM, _FLOAT, _EXTENSIBLE = 1, 3, 0xFFFE
_GUID_TAIL: Final = bytes.fromhex("000000001000800000aa00389b71")
_GUID_TAIL_BIG: Final = bytes.fromhex("000000000010800000aa00389b71")
"""Behind the two bytes of the encoding, in the order of the container."""
_UNKNOWN_SIZE: Final = 0xFFFF_FFFF
_MAX_CHUNKS: Final = 1000
_MAX_LIST: Final = 2**20
_INFO: Final = {b"INAM": "session.description", b"ICMT": "session.description", b"ISFT": "wav.software"}
_MOMENT: Final = re.compile(rb"(\d{4})[-:_./](\d\d)[-:_./](\d\d)(\d\d)[-:_./](\d\d)[-:_./](\d\d)")


@dataclass(frozen=True, slots=True)
class _Chunk:
    name: bytes
    start: int
    """First byte of its content."""
    size: int
    """As its header says."""


@dataclass(frozen=True, slots=True)
class _Samples:
    dtype: str
    channels: int
    rate: int

    @property
    def item(self) -> int:
        return int(self.dtype[2:])

    @property
    def frame(self) -> int:
        return self.item * self.channels


@opaque_if_refused("WAV")
def plan_wav(file: BinaryIO, *, size: int, path: Path) -> Planned:
    """Plan a WAV file of `size` bytes; a header that lies makes it opaque, with the reason."""
    head = read_at(file, 0, 12, what="the header")
    if head[:4] not in (b"RIFF", b"RIFX", b"RF64", b"BW64") or head[8:] != b"WAVE":
        raise FormatError("it does not begin as WAV files do")
    order = ">" if head[:4] == b"RIFX" else "<"
    chunks = list(_chunks(file, order, is_64=head[:4] in (b"RF64", b"BW64"), size=size))
    samples = _format(file, chunks, order)
    data = next((chunk for chunk in chunks if chunk.name == b"data"), None)
    if data is None:
        raise FormatError("it has no samples")
    held, warnings = _held(data, samples, size=size)
    channels = [_channel(samples, index) for index in range(samples.channels)]
    sampling = interleaved(
        samples.dtype, offset=data.start, frame=samples.frame, samples=held, rate=float(samples.rate)
    )
    description = Description("wav", series_by_unit("/samples", channels, sampling))
    metadata: dict[str, Scalar] = {
        "channels.count": samples.channels,
        "duration": held / samples.rate,
        "wav.encoding": f"{'float' if samples.dtype[1] == 'f' else 'integer'} of {8 * samples.item} bits",
    }
    arrays: tuple[ArrayType, ...] = ()
    found: tuple[ArraySegment, ...] = ()
    if held * samples.frame >= MIN_ARRAY_BYTES:
        arrays = (ArrayType("/samples", samples.dtype, *row_of(samples.channels, samples.item)),)
        found = (ArraySegment(data.start, held * samples.frame, 0),)
    plan = covering(size, found, arrays, description=description)
    return Planned(plan, metadata | _texts(file, chunks, order, size=size), tuple(warnings))


def _chunks(file: BinaryIO, order: str, *, is_64: bool, size: int) -> Iterator[_Chunk]:
    """Yield the chunks, as far as the file goes; one that is cut off is the last."""
    at, long_size = 12, 0
    for count in range(_MAX_CHUNKS):
        if at + 8 > size:
            return
        name, length = struct.unpack(f"{order}4sI", read_at(file, at, 8, what="a chunk"))
        if is_64 and count == 0:
            if name != b"ds64" or length < 28:
                raise FormatError("its sizes of 64 bits do not come first")
            (long_size,) = struct.unpack("<Q", read_at(file, at + 16, 8, what="the sizes of 64 bits"))
        if is_64 and name == b"data" and length == _UNKNOWN_SIZE:
            length = long_size
        yield _Chunk(name, at + 8, length)
        at += 8 + length + length % 2
    raise FormatError(f"it has more than {_MAX_CHUNKS} chunks")


def _format(file: BinaryIO, chunks: list[_Chunk], order: str) -> _Samples:
    names = [chunk.name for chunk in chunks]
    if names.count(b"fmt ") != 1 or names.count(b"data") > 1:
        raise FormatError("it does not have one format and one run of samples")
    chunk = chunks[names.index(b"fmt ")]
    if chunk.size < 16 or b"data" in names[: names.index(b"fmt ")]:
        raise FormatError("its format does not come before its samples, or is cut")
    data = read_at(file, chunk.start, min(chunk.size, 40), what="the format")
    encoding, channels, rate, _, frame, bits = struct.unpack_from(f"{order}HHIIHH", data)
    if encoding == _EXTENSIBLE:
        if len(data) < 40 or data[26:40] != (_GUID_TAIL if order == "<" else _GUID_TAIL_BIG):
            raise FormatError("its samples have an encoding of somebody's own")
        (encoding,) = struct.unpack_from(f"{order}H", data, 24)
    if not 1 <= channels <= MAX_CHANNELS or rate == 0:
        raise FormatError(f"it says it has {channels} channels at {rate} Hz")
    item = frame // channels
    if encoding == _PCM and bits in (8, 16, 24, 32) and item * 8 == bits and frame == item * channels:
        return _Samples("|u1" if item == 1 else f"{order}i{item}", channels, rate)
    if encoding == _FLOAT and bits in (32, 64) and item * 8 == bits and frame == item * channels:
        return _Samples(f"{order}f{item}", channels, rate)
    raise FormatError(f"its samples are of {bits} bits in frames of {frame} bytes with encoding {encoding}")


def _held(data: _Chunk, samples: _Samples, *, size: int) -> tuple[int, list[str]]:
    there = size - data.start
    said = data.size
    if said <= there:
        left = said % samples.frame
        return said // samples.frame, [f"{left} bytes at the end of the samples are none"] if left else []
    held = there // samples.frame
    if said == _UNKNOWN_SIZE:
        return held, [f"the recorder did not close the file: the {held} whole samples that are there are taken"]
    return held, [f"the file is cut off: of {said // samples.frame} samples of each channel {held} are there"]


def _channel(samples: _Samples, index: int) -> Channel:
    name, start = f"channel {index + 1}", samples.item * index
    match samples.dtype[1]:
        case "f":
            return Channel(name, "", start)
        case "u":
            return Channel(name, "", start, 1 / 128, -1.0)
        case _:
            return Channel(name, "", start, 1 / 2 ** (8 * samples.item - 1))


def _texts(file: BinaryIO, chunks: list[_Chunk], order: str, *, size: int) -> dict[str, Scalar]:
    """Return what the chunks of texts say; one that is damaged says nothing."""
    found: dict[str, Scalar] = {}
    for chunk in chunks:
        if chunk.start + chunk.size > size or chunk.size > _MAX_LIST:
            continue
        if chunk.name == b"LIST":
            content = read_at(file, chunk.start, chunk.size, what="its texts")
            if content[:4] == b"INFO":
                found |= _info(content, order)
        if chunk.name == b"bext" and chunk.size >= 602:
            moment = _MOMENT.fullmatch(read_at(file, chunk.start + 320, 18, what="its time"))
            if moment:
                parts = [part.decode("ascii") for part in moment.groups()]
                text = iso_moment("-".join(parts[:3]) + "T" + ":".join(parts[3:]))
                found |= {"session.start_time": text} if text else {}
    return found


def _info(content: bytes, order: str) -> dict[str, Scalar]:
    found: dict[str, Scalar] = {}
    at = 4
    while at + 8 <= len(content):
        name, length = struct.unpack_from(f"{order}4sI", content, at)
        text = plain_text(content[at + 8 : at + 8 + length].split(b"\0")[0])
        if name in _INFO and text and at + 8 + length <= len(content):
            found.setdefault(_INFO[name], text)
        at += 8 + length + length % 2
    return found
