"""EDF, EDF+, BDF and BDF+: records of fixed length, in which the samples of each signal lie side by side.

Kemp et al. 1992 and Kemp & Olivan 2003; BDF is the same with 24-bit samples. All records are one array segment. Signals that
have the same rate and unit are one series, called `/signals@<rate>Hz` (`/signals@256Hz`), and `/signals@<rate>Hz (<unit>)`
where signals of one rate have several units. The annotation signals of EDF+ are no series but the table `annotations`; where
records have gaps between them, the table `records` says when each began. A patient's name is not read.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import BinaryIO, Final

import numpy as np

from engram_format.array_type import ArrayType
from engram_format.catalog import Scalar
from engram_format.errors import FormatError
from engram_format.series import MAX_TABLE_ROWS, Description, Series, Table
from engram_layout.channels import Channel, Sampling, series_by_unit
from engram_layout.edf_annotations import Annotations, read_annotations
from engram_layout.header import (
    MIN_ARRAY_BYTES,
    finite,
    iso_date,
    iso_time,
    number,
    opaque_if_refused,
    plain_text,
    read_at,
    row_of,
    unit_text,
    whole,
)
from engram_layout.plan import ArraySegment, Planned, covering

_FIXED_BYTES: Final = 256
_SIGNAL_FIELDS: Final = (16, 80, 8, 8, 8, 8, 8, 80, 8, 32)
"""Widths of label, transducer, unit, physical minimum and maximum, digital minimum and maximum, filter, samples, reserved."""
_MAX_SIGNALS: Final = 9999
_ANNOTATIONS: Final = frozenset({"EDF Annotations", "BDF Annotations"})
_MONTHS: Final = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
_LONG_DATE: Final = re.compile(r"(\d\d)-([A-Z]{3})-(\d{4})", re.ASCII)
_SHORT_DATE: Final = re.compile(rb"(\d\d)\.(\d\d)\.(\d\d)")


@dataclass(frozen=True, slots=True)
class _Signal:
    label: str
    transducer: str
    unit: str
    physical: tuple[float, float]
    digital: tuple[int, int]
    filtering: str
    samples: int
    """In one record."""

    @property
    def is_annotation(self) -> bool:
        return self.label in _ANNOTATIONS

    @property
    def is_scaled(self) -> bool:
        return self.physical[0] != self.physical[1]

    def channel(self, start: int) -> Channel:
        """Return the signal as a channel whose samples begin at byte `start` of a record."""
        conversion = (self.physical[1] - self.physical[0]) / (self.digital[1] - self.digital[0])
        return Channel(self.label, self.unit, start, conversion, self.physical[0] - self.digital[0] * conversion)


@dataclass(frozen=True, slots=True)
class _Header:
    fixed: bytes
    item: int
    """Bytes of a sample: 2 in EDF, 3 in BDF."""
    records: int
    """As the header says; -1 where the recorder did not close the file."""
    record_s: float
    signals: tuple[_Signal, ...]

    @property
    def reserved(self) -> str:
        return plain_text(self.fixed[192:236])

    @property
    def is_plus(self) -> bool:
        return self.reserved.startswith(("EDF+", "BDF+"))

    @property
    def is_discontinuous(self) -> bool:
        return self.reserved.startswith(("EDF+D", "BDF+D"))

    @property
    def header_bytes(self) -> int:
        return _FIXED_BYTES * (1 + len(self.signals))

    @property
    def starts(self) -> tuple[int, ...]:
        """Byte of each signal within a record, and the bytes of a record as the last."""
        return tuple(accumulate((signal.samples * self.item for signal in self.signals), initial=0))

    @property
    def annotation_spans(self) -> list[tuple[int, int]]:
        """First byte and bytes, within a record, of each annotation signal; none in files that are not of the `+` kind."""
        return [
            (start, signal.samples * self.item)
            for signal, start in zip(self.signals, self.starts, strict=False)
            if self.is_plus and signal.is_annotation
        ]


@opaque_if_refused("EDF")
def plan_edf(file: BinaryIO, *, size: int, path: Path) -> Planned:
    """Plan an EDF, EDF+, BDF or BDF+ file of `size` bytes; a header that lies makes it opaque, with the reason."""
    header = _read_header(file)
    record_bytes = header.starts[-1]
    held, left = divmod(size - header.header_bytes, record_bytes)
    records, warnings = _records(header.records, held=held, left=left)
    said = _annotations(file, header, records=records)
    if records < header.records and said.is_complete and len(said.starts) < records and header.annotation_spans:
        raise FormatError("it is cut off, and its records do not begin where its header says")
    series, tables, more = _series(header, said, records=records)
    arrays: tuple[ArrayType, ...] = ()
    found: tuple[ArraySegment, ...] = ()
    if records * record_bytes >= MIN_ARRAY_BYTES:
        _, row = row_of(record_bytes // header.item, header.item)
        arrays = (ArrayType("/records", f"<i{header.item}", 1, row),)
        found = (ArraySegment(header.header_bytes, records * record_bytes, 0),)
    description = Description("edf" if header.item == 2 else "bdf", series, tables)
    plan = covering(size, found, arrays, description=description)
    return Planned(plan, _metadata(header, records=records), (*warnings, *more))


def _read_header(file: BinaryIO) -> _Header:
    fixed = read_at(file, 0, _FIXED_BYTES, what="the header")
    if fixed[:8] not in (b"0       ", b"\xffBIOSEMI"):
        raise FormatError("it does not begin as EDF or BDF do")
    item = 2 if fixed[:1] == b"0" else 3
    header_bytes = whole(_ascii(fixed[184:192]), what="the header's length")
    records = whole(_ascii(fixed[236:244]), what="the count of records")
    record_s = number(_ascii(fixed[244:252]), what="the duration of a record")
    count = whole(_ascii(fixed[252:256]), what="the count of signals")
    if not 1 <= count <= _MAX_SIGNALS or header_bytes != _FIXED_BYTES * (1 + count):
        raise FormatError(f"{count} signals do not go with a header of {header_bytes} bytes")
    if records < -1 or record_s < 0:
        raise FormatError(f"it says it has {records} records of {record_s} s")
    signals = _signals(read_at(file, _FIXED_BYTES, _FIXED_BYTES * count, what="the header"), count, item=item)
    if record_s == 0 and not all(signal.is_annotation for signal in signals):
        raise FormatError("its records last 0 s and yet hold samples")
    return _Header(fixed, item, records, record_s, signals)


def _signals(data: bytes, count: int, *, item: int) -> tuple[_Signal, ...]:
    columns: list[list[bytes]] = []
    at = 0
    for width in _SIGNAL_FIELDS:
        columns.append([data[at + width * index : at + width * (index + 1)] for index in range(count)])
        at += width * count
    signals = tuple(_signal(fields, item=item) for fields in zip(*columns, strict=True))
    if sum(signal.samples for signal in signals) * item >= 2**31:
        raise FormatError("one record has more samples than a record can hold")
    return signals


def _signal(fields: Sequence[bytes], *, item: int) -> _Signal:
    label, transducer, unit, low, high, digital_low, digital_high, filtering, samples, _ = fields
    what = f"of signal {plain_text(label)!r}"
    signal = _Signal(
        plain_text(label),
        plain_text(transducer),
        unit_text(unit),
        (number(_ascii(low), what=f"the minimum {what}"), number(_ascii(high), what=f"the maximum {what}")),
        (
            whole(_ascii(digital_low), what=f"the digital minimum {what}"),
            whole(_ascii(digital_high), what=f"the digital maximum {what}"),
        ),
        plain_text(filtering),
        whole(_ascii(samples), what=f"the samples {what}"),
    )
    limit = 2 ** (8 * item - 1)
    if not -limit <= signal.digital[0] < signal.digital[1] < limit:
        raise FormatError(f"the digital range {what} is {signal.digital[0]} to {signal.digital[1]}")
    if signal.samples < 1:
        raise FormatError(f"the samples {what} in a record are {signal.samples}")
    return signal


def _ascii(field: bytes) -> str:
    return field.decode("latin-1")


def _records(said: int, *, held: int, left: int) -> tuple[int, list[str]]:
    """Return the count of records to trust, of which the file holds `held` and `left` bytes."""
    if said == -1:
        return held, [f"the recorder did not close the file: the {held} whole records that are there are taken"]
    if held > said:
        raise FormatError(f"the header says {said} records and the file has {held}")
    if held < said:
        return held, [f"the file is cut off: of {said} records the {held} whole ones that are there are taken"]
    return held, [f"{left} bytes behind the last record are no samples"] if left else []


def _series(
    header: _Header, said: Annotations, *, records: int
) -> tuple[tuple[Series, ...], dict[str, Table], list[str]]:
    tables = {"channels": _channel_table(header)}
    warnings = []
    if said.rows:
        tables["annotations"] = said.table()
    if not said.is_complete:
        warnings.append("the table of annotations holds only the first of them: there are too many")
    groups: dict[int, list[Channel]] = {}
    for signal, start in zip(header.signals, header.starts, strict=False):
        if signal.is_annotation:
            continue
        if signal.is_scaled:
            groups.setdefault(signal.samples, []).append(signal.channel(start))
        else:
            warnings.append(
                f"signal {signal.label!r} is in no series: its physical minimum and maximum are the same number"
            )
    is_gapless = not header.is_discontinuous or said.is_gapless(record_s=header.record_s, records=records)
    if not is_gapless:
        warnings.append(
            "the records of this file do not follow one another without gaps: its series have no sampling rate"
        )
        if len(said.starts) == records <= MAX_TABLE_ROWS:
            tables["records"] = Table({"onset": np.asarray(said.starts, np.float64)})
    series: list[Series] = []
    for samples, channels in groups.items():
        rate = finite(samples / header.record_s, what="a sampling rate")
        sampling = Sampling(
            f"<i{header.item}",
            header.header_bytes,
            header.starts[-1],
            samples,
            header.item,
            records * samples,
            rate if is_gapless else 0.0,
            said.starts[0] if said.starts else 0.0,
        )
        series.extend(series_by_unit(f"/signals@{rate:.10g}Hz", channels, sampling))
    return tuple(series), tables, warnings


def _annotations(file: BinaryIO, header: _Header, *, records: int) -> Annotations:
    """Return what the annotation signals say; nothing in files that are not of the `+` kind."""
    spans = header.annotation_spans
    if not spans:
        return Annotations()
    return read_annotations(file, spans, offset=header.header_bytes, record_bytes=header.starts[-1], records=records)


def _channel_table(header: _Header) -> Table:
    signals = [signal for signal in header.signals if not signal.is_annotation]
    rates = [signal.samples / header.record_s for signal in signals]
    return Table(
        {
            "name": [signal.label for signal in signals],
            "unit": [signal.unit for signal in signals],
            "sampling_rate": np.asarray(rates, np.float64),
            "transducer": [signal.transducer for signal in signals],
            "filtering": [signal.filtering for signal in signals],
        }
    )


def _metadata(header: _Header, *, records: int) -> dict[str, Scalar]:
    found: dict[str, Scalar] = {
        "channels.count": sum(not signal.is_annotation for signal in header.signals),
        "duration": finite(records * header.record_s, what="the duration"),
        "edf.type": header.reserved[:5] if header.is_plus else ("EDF" if header.item == 2 else "BDF"),
        "edf.records": records,
        "edf.record_duration": header.record_s,
    }
    if header.is_plus:
        found |= _patient(plain_text(header.fixed[8:88]))
    found |= _recording(plain_text(header.fixed[88:168]))
    start = _start_time(header)
    return found | ({"session.start_time": start} if start else {})


def _patient(text: str) -> dict[str, Scalar]:
    """Read EDF+'s `code sex birthdate name`, of which the name is left where it is; X stands for unknown."""
    code, sex, birth = [*text.split(" "), "X", "X", "X"][:3]
    found: dict[str, Scalar] = {}
    if code not in ("", "X"):
        found["subject.id"] = code
    if sex in ("M", "F"):
        found["subject.sex"] = sex
    born = _long_date(birth)
    if born and (day := iso_date(*born)):
        found["subject.date_of_birth"] = day
    return found


def _recording(text: str) -> dict[str, Scalar]:
    """Read EDF+'s `Startdate date session technician equipment`."""
    parts = text.split(" ")
    if len(parts) < 5 or parts[0] != "Startdate":
        return {"session.description": text} if text else {}
    found: dict[str, Scalar] = {}
    if parts[2] != "X":
        found["session.id"] = parts[2]
    if parts[4] != "X":
        found["device.name"] = parts[4].replace("_", " ")
    if len(parts) > 5:
        found["session.description"] = " ".join(parts[5:])
    return found


def _start_time(header: _Header) -> str | None:
    clock, short = _SHORT_DATE.fullmatch(header.fixed[176:184]), _SHORT_DATE.fullmatch(header.fixed[168:176])
    if not clock or not short:
        return None
    hours, minutes, seconds = (int(part) for part in clock.groups())
    if not (hours < 24 and minutes < 60 and seconds < 60):
        return None
    day, month, year = (int(part) for part in short.groups())
    parts = plain_text(header.fixed[88:168]).split(" ")
    full = _long_date(parts[1]) if header.is_plus and parts[0] == "Startdate" and len(parts) > 1 else None
    # Two digits of a year mean 1985 to 2084; only EDF+ says all four.
    year, month, day = full or (year + (1900 if year >= 85 else 2000), month, day)
    return iso_time(year, month, day, hours * 3600 + minutes * 60 + seconds)


def _long_date(text: str) -> tuple[int, int, int] | None:
    found = _LONG_DATE.fullmatch(text)
    if not found or found[2] not in _MONTHS:
        return None
    return int(found[3]), 1 + _MONTHS.index(found[2]), int(found[1])
