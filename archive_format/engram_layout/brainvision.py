"""BrainVision: samples in one file, and the header that describes them beside it.

The samples' file has no signature: a header file of the same folder whose `DataFile` names it says what it is. Its series is
`/signals`, and `/signals (<unit>)` for each unit where the channels have several; the markers beside it are the table
`markers`. The header file itself has no series; what it says is its metadata. A channel without a unit is in microvolts, as
the format says.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import BinaryIO, Final

import numpy as np

from engram_format.array_type import ArrayType
from engram_format.catalog import Scalar
from engram_format.errors import FormatError
from engram_format.series import MAX_TABLE_ROWS, Description, Table
from engram_layout.channels import MAX_CHANNELS, Channel, Sampling, distinct, interleaved, series_by_unit
from engram_layout.header import (
    MAX_SIDECAR_BYTES,
    MIN_ARRAY_BYTES,
    iso_moment,
    number,
    opaque_if_refused,
    plain_text,
    positive,
    read_at,
    read_sidecar,
    row_of,
    unit_text,
    whole,
)
from engram_layout.opaque import plan_opaque
from engram_layout.plan import ArraySegment, Planned, covering

_FIRST_LINE: Final = re.compile(rb"(?:\xef\xbb\xbf)?Brain ?Vision Data Exchange Header File", re.IGNORECASE)
_DTYPES: Final = {"INT_16": "i2", "INT_32": "i4", "UINT_16": "u2", "IEEE_FLOAT_32": "f4"}
_HEADER_NAMES: Final = (".vhdr", ".ahdr")
_MAX_FOLDER: Final = 1000
_MAX_HEADERS: Final = 64
_NEW_SEGMENT: Final = re.compile(rb"^Mk\d+=New Segment,[^,\r\n]*,\d*,\d*,\d*,(\d{20})", re.MULTILINE)
_MARKER: Final = re.compile(rb"^Mk\d+=([^,\r\n]*),([^,\r\n]*),(\d{1,15}),(\d{1,15}),", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class _Header:
    data_file: str
    marker_file: str
    dtype: str
    is_vectorized: bool
    is_segmented: bool
    rate: float
    channels: tuple[tuple[str, str, float], ...]
    """Name, unit and resolution."""
    data_points: int | None
    sections: Mapping[str, Mapping[str, str]]

    @property
    def item(self) -> int:
        return int(self.dtype[2:])

    @property
    def frame(self) -> int:
        return self.item * len(self.channels)


@opaque_if_refused("BrainVision")
def plan_brainvision(file: BinaryIO, *, size: int, path: Path) -> Planned:
    """Plan a BrainVision header or samples file of `size` bytes at `path`; a header that lies makes it opaque.

    A file that is no header and that no header beside it names is opaque without a warning.
    """
    if _FIRST_LINE.match(read_at(file, 0, min(size, 64), what="the file")):
        return _plan_header(file, size=size, path=path)
    text = _header_beside(path)
    if text is None:
        return Planned(plan_opaque(size))
    header = _parse(text)
    samples, warnings = _samples(header, size=size)
    description, segments, arrays = _described(header, path, samples=samples)
    metadata = _metadata(header, path) | {"duration": samples / header.rate}
    return Planned(covering(size, segments, arrays, description=description), metadata, tuple(warnings))


def _plan_header(file: BinaryIO, *, size: int, path: Path) -> Planned:
    if size > MAX_SIDECAR_BYTES:
        raise FormatError(f"a header of {size} bytes is not one")
    header = _parse(read_at(file, 0, size, what="the header"))
    metadata = _metadata(header, path) | {"brainvision.data_file": header.data_file}
    return Planned(covering(size, (), (), description=Description("brainvision")), metadata)


def _header_beside(path: Path) -> bytes | None:
    """Return the header that names the file at `path`: the one of the same stem, or else the only one in the folder."""
    found = []
    for candidate in _candidates(path):
        data = read_sidecar(candidate)
        if data is not None and _FIRST_LINE.match(data) and _names(data, candidate, path):
            if candidate.stem == path.stem:
                return data
            found.append(data)
    if len(found) > 1:
        raise FormatError(f"{len(found)} header files name it")
    return found[0] if found else None


def _candidates(path: Path) -> list[Path]:
    try:
        with os.scandir(path.parent) as entries:
            names = [entry.name for entry in islice(entries, _MAX_FOLDER)]
    except (OSError, ValueError):
        return []
    headers = sorted(name for name in names if name.lower().endswith(_HEADER_NAMES))
    same_stem = [name for name in headers if Path(name).stem == path.stem]
    return [path.parent / name for name in dict.fromkeys([*same_stem, *headers[:_MAX_HEADERS]])]


def _names(data: bytes, header: Path, samples: Path) -> bool:
    named = _sections(data).get("common infos", {}).get("datafile", "")
    # `$b` stands for the header's own name in files that were made to be renamed.
    return named.replace("$b", header.stem) == samples.name


def _parse(data: bytes) -> _Header:
    sections = _sections(data)
    common, binary = sections.get("common infos", {}), sections.get("binary infos", {})
    if common.get("dataformat", "BINARY").upper() != "BINARY":
        raise FormatError(f"its samples are {plain_text(common['dataformat'])!r:.40}, not binary")
    if common.get("datatype", "TIMEDOMAIN").upper() != "TIMEDOMAIN":
        raise FormatError(f"its samples are {plain_text(common['datatype'])!r:.40} and not in time")
    kind = binary.get("binaryformat", "INT_16").upper()
    if kind not in _DTYPES:
        raise FormatError(f"its binary format is the unknown {plain_text(kind)!r:.40}")
    orientation = common.get("dataorientation", "").upper()
    if orientation not in ("MULTIPLEXED", "VECTORIZED"):
        raise FormatError(f"its data orientation is the unknown {plain_text(orientation)!r:.40}")
    count = whole(common.get("numberofchannels", ""), what="the number of channels")
    if not 1 <= count <= MAX_CHANNELS:
        raise FormatError(f"it says it has {count} channels")
    interval_us = positive(
        number(common.get("samplinginterval", ""), what="the sampling interval"), what="the interval"
    )
    points = common.get("datapoints")
    infos = sections.get("channel infos", {})
    return _Header(
        data_file=plain_text(common.get("datafile", "")),
        marker_file=common.get("markerfile", ""),
        dtype=(">" if binary.get("usebigendianorder", "NO").upper() == "YES" else "<") + _DTYPES[kind],
        is_vectorized=orientation == "VECTORIZED",
        is_segmented=common.get("segmentationtype", "NOTSEGMENTED").upper() != "NOTSEGMENTED",
        rate=positive(1e6 / interval_us, what="the sampling rate"),
        channels=tuple(_channel(infos, index) for index in range(1, count + 1)),
        data_points=None if points is None else whole(points, what="the number of data points"),
        sections=sections,
    )


def _channel(infos: Mapping[str, str], index: int) -> tuple[str, str, float]:
    text = infos.get(f"ch{index}")
    if text is None:
        raise FormatError(f"it does not say what channel {index} is")
    name, _, resolution, unit = [*text.split(","), "", "", ""][:4]
    scale = number(resolution, what=f"the resolution of channel {index}") if resolution.strip() else 1.0
    return plain_text(name.replace("\\1", ",")), unit_text(unit) or "uV", scale


def _sections(data: bytes) -> dict[str, dict[str, str]]:
    """Return the keys and values of each section, section names and keys in lower case; the comment section is free text."""
    try:
        text = data.removeprefix(b"\xef\xbb\xbf").decode("utf-8")
    except UnicodeDecodeError:
        text = data.decode("latin-1")
    sections: dict[str, dict[str, str]] = {}
    current: dict[str, str] | None = None
    for line in text.splitlines():
        if line.startswith("[") and line.rstrip().endswith("]"):
            name = line.strip()[1:-1].lower()
            current = None if name == "comment" else sections.setdefault(name, {})
        elif current is not None and "=" in line and not line.startswith(";"):
            key, _, value = line.partition("=")
            if current.setdefault(key.strip().lower(), value.strip()) != value.strip():
                raise FormatError(f"its header gives {plain_text(key)!r:.40} twice")
    return sections


def _samples(header: _Header, *, size: int) -> tuple[int, list[str]]:
    """Return the samples of each channel to trust, and sentences on what is missing."""
    held, left = divmod(size, header.frame)
    said = header.data_points
    if said is not None and (said < 0 or said < held):
        raise FormatError(f"its header says {said} samples of each channel, and the file has {held}")
    if header.is_vectorized and (left or said not in (None, held)):
        # Where each channel begins depends on how many samples there were.
        raise FormatError("its channels lie one behind the other, and it is cut off")
    if said is not None and said > held:
        return held, [f"the file is cut off: of {said} samples of each channel {held} are there"]
    return held, [f"the file is cut off within a sample: {left} bytes at its end are no samples"] if left else []


def _described(
    header: _Header, path: Path, *, samples: int
) -> tuple[Description, tuple[ArraySegment, ...], tuple[ArrayType, ...]]:
    step = header.item * samples if header.is_vectorized else header.item
    names = distinct(name or f"Ch{index}" for index, (name, _, _) in enumerate(header.channels, 1))
    channels = [
        Channel(name, unit, step * index, resolution)
        for index, (name, (_, unit, resolution)) in enumerate(zip(names, header.channels, strict=True))
    ]
    rate = 0.0 if header.is_segmented else header.rate
    told = "segments one after the other, which were cut from a longer recording" if header.is_segmented else ""
    if header.is_vectorized:
        sampling = Sampling(
            header.dtype, 0, header.frame * samples, max(samples, 1), header.item, samples, rate, description=told
        )
        lag, row = 1, header.item
    else:
        sampling = interleaved(header.dtype, offset=0, frame=header.frame, samples=samples, rate=rate, description=told)
        lag, row = row_of(len(header.channels), header.item)
    description = Description(
        "brainvision",
        series_by_unit("/signals", channels, sampling),
        {} if header.is_segmented else _marker_table(_markers(header, path), header),
    )
    length = samples * header.frame
    if length < MIN_ARRAY_BYTES:
        return description, (), ()
    return description, (ArraySegment(0, length, 0),), (ArrayType("/signals", header.dtype, lag, row),)


def _metadata(header: _Header, path: Path) -> dict[str, Scalar]:
    found: dict[str, Scalar] = {
        "channels.count": len(header.channels),
        "brainvision.sampling_rate": header.rate,
        "brainvision.orientation": "vectorized" if header.is_vectorized else "multiplexed",
    }
    start = _start_time(_markers(header, path))
    return found | ({"session.start_time": start} if start else {})


def _markers(header: _Header, path: Path) -> bytes:
    """Return the marker file that the header names, which lies beside it, or nothing."""
    name = header.marker_file.replace("$b", path.stem)
    if not name or Path(name).name != name:
        return b""
    return read_sidecar(path.parent / name) or b""


def _marker_table(data: bytes, header: _Header) -> dict[str, Table]:
    """Return the markers, in seconds from the first sample; a damaged line is left out."""
    rows = [found.groups() for found in islice(_MARKER.finditer(data), MAX_TABLE_ROWS)]
    if not rows:
        return {}
    # Positions count from 1.
    positions = np.array([max(int(position) - 1, 0) for _, _, position, _ in rows], np.float64)
    sizes = np.array([int(size) for _, _, _, size in rows], np.float64)
    table = Table(
        {
            "time": positions / header.rate,
            "duration": sizes / header.rate,
            "type": [plain_text(kind.replace(b"\\1", b",")) for kind, _, _, _ in rows],
            "text": [plain_text(text.replace(b"\\1", b",")) for _, text, _, _ in rows],
        }
    )
    return {"markers": table}


def _start_time(markers: bytes) -> str | None:
    """Return when the first segment began."""
    found = _NEW_SEGMENT.search(markers)
    if not found:
        return None
    digits = found[1].decode("ascii")
    date, clock = f"{digits[:4]}-{digits[4:6]}-{digits[6:8]}", f"{digits[8:10]}:{digits[10:12]}:{digits[12:14]}"
    return iso_moment(f"{date}T{clock}.{digits[14:]}")
