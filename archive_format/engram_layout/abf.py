"""ABF1 and ABF2, the files of Axon's pClamp: samples of all channels side by side, in one run or in sweeps.

A gap-free recording is the series `/acquisition/adc`, and each sweep of an episodic one a series of its own with its own
starting time, `/acquisition/adc/sweep_<number>`, counted from 1 with leading zeros; a recording of one sweep is
`/acquisition/adc`. Where the channels have several units, ` (<unit>)` follows. What the amplifier was told to do is metadata
(`abf.protocol`, `abf.operation_mode`, `abf.dac.<n>.holding`) and the table `epochs`; comments given during the recording are
the table `tags`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import BinaryIO, Final

import numpy as np

from engram_format.array_type import ArrayType
from engram_format.catalog import Scalar
from engram_format.errors import FormatError
from engram_format.series import MAX_SERIES, Description, Series, Table
from engram_layout.abf_header import AbfHeader, read_abf_header
from engram_layout.channels import Channel, distinct, interleaved, series_by_unit
from engram_layout.header import MIN_ARRAY_BYTES, finite, opaque_if_refused, positive
from engram_layout.plan import ArraySegment, Planned, covering

_VARIABLE, _GAP_FREE = 1, 3
_MODES: Final = {
    _VARIABLE: "variable-length events",
    2: "fixed-length events",
    _GAP_FREE: "gap-free",
    4: "oscilloscope",
    5: "episodic",
}


@dataclass(frozen=True, slots=True)
class _Sweep:
    first: int
    """Moment at which it begins, counted in the data."""
    moments: int
    start_s: float


@opaque_if_refused("ABF")
def plan_abf(file: BinaryIO, *, size: int, path: Path) -> Planned:
    """Plan an ABF file of `size` bytes; a header that lies makes it opaque, with the reason."""
    header = read_abf_header(file)
    frame = _item(header) * len(header.adcs)
    _check(header, size=size)
    held = min(header.samples * _item(header), size - header.data_offset) // frame
    sweeps, warnings = _sweeps(header, held=held)
    series = tuple(_series(header, sweeps, frame=frame))
    arrays: tuple[ArrayType, ...] = ()
    found: tuple[ArraySegment, ...] = ()
    if held * frame >= MIN_ARRAY_BYTES:
        arrays = (ArrayType("/acquisition/adc", _dtype(header), len(header.adcs), frame),)
        found = (ArraySegment(header.data_offset, held * frame, 0),)
    description = Description("abf", series, _tables(header))
    plan = covering(size, found, arrays, description=description)
    return Planned(plan, _metadata(header, sweeps), tuple(warnings))


def _dtype(header: AbfHeader) -> str:
    return "<f4" if header.is_float else "<i2"


def _item(header: AbfHeader) -> int:
    return 4 if header.is_float else 2


def _check(header: AbfHeader, *, size: int) -> None:
    if header.mode not in _MODES:
        raise FormatError(f"its operation mode is the unknown {header.mode}")
    if not header.adcs:
        raise FormatError("it says it has no channels")
    if header.samples < 0 or header.samples % len(header.adcs):
        raise FormatError(f"it says it has {header.samples} samples of {len(header.adcs)} channels together")
    if not 512 <= header.data_offset <= size:
        raise FormatError(f"it says its samples begin at byte {header.data_offset} of {size}")
    positive(header.interval_us, what="the sampling interval")


def _sweeps(header: AbfHeader, *, held: int) -> tuple[list[_Sweep], list[str]]:
    """Return the sweeps of which the file holds `held` moments; raises `FormatError` where their lengths do not add up."""
    channels = len(header.adcs)
    lengths = _lengths(header)
    if sum(lengths) != header.samples or any(length < 0 or length % channels for length in lengths):
        raise FormatError(f"the lengths of its {len(lengths)} sweeps do not add up to its {header.samples} samples")
    starts = _starts(header, lengths)
    sweeps, first = [], 0
    for length, start in zip(lengths, starts, strict=True):
        moments = length // channels
        if header.mode == _GAP_FREE:
            moments = min(moments, held - first)
        if moments < 1 or first + moments > held:
            break
        sweeps.append(_Sweep(first, moments, start))
        first += moments
    warnings = []
    if held * channels < header.samples:
        warnings.append(
            f"the file is cut off: of {header.samples // channels} samples of each channel {held} are there, "
            f"in {len(sweeps)} of {len(lengths)} sweeps"
        )
    return sweeps, warnings


def _lengths(header: AbfHeader) -> list[int]:
    """Return the samples, of all channels together, in each sweep."""
    if header.mode == _GAP_FREE and len(header.synch) <= 1:
        return [header.samples]
    if header.synch:
        return [length for _, length in header.synch]
    if header.mode == _VARIABLE:
        raise FormatError("its sweeps are of different length and it does not say of which")
    if header.episode_samples < 1 or header.samples % header.episode_samples:
        raise FormatError(f"{header.samples} samples are not sweeps of {header.episode_samples}")
    episodes = header.samples // header.episode_samples
    if episodes != header.episodes or episodes > MAX_SERIES:
        raise FormatError(f"it says it has {header.episodes} sweeps, and its samples are {episodes}")
    return [header.episode_samples] * episodes


def _starts(header: AbfHeader, lengths: list[int]) -> list[float]:
    """Return the start of each sweep in seconds from the start of the recording."""
    if header.mode == _GAP_FREE and len(lengths) == 1:
        return [0.0]
    if header.synch:
        starts = [_seconds(header, start) for start, _ in header.synch]
    else:
        step = finite(header.episode_start_s, what="the time from sweep to sweep")
        longest = max(lengths, default=0) // len(header.adcs) * header.interval_us / 1e6
        starts = [index * max(step, longest) for index in range(len(lengths))]
    if any(later < earlier for earlier, later in pairwise(starts)):
        raise FormatError("its sweeps do not begin one after the other")
    return starts


def _seconds(header: AbfHeader, moment: int) -> float:
    """Return the time of a moment that the header gives in its synch unit, or in samples where that unit is zero."""
    unit = finite(header.synch_unit_us, what="the unit of the sweeps' starts")
    seconds = moment * (unit / 1e6 if unit else header.interval_us / len(header.adcs) / 1e6)
    return finite(seconds, what="the start of a sweep")


def _series(header: AbfHeader, sweeps: list[_Sweep], *, frame: int) -> list[Series]:
    channels = _channels(header)
    if len(sweeps) * len({channel.unit for channel in channels}) > MAX_SERIES:
        raise FormatError(f"{len(sweeps)} sweeps are more series than a recording can have")
    rate = positive(1e6 / header.interval_us, what="the sampling rate")
    digits = len(str(len(sweeps)))
    found: list[Series] = []
    for index, sweep in enumerate(sweeps):
        name = "/acquisition/adc" if len(sweeps) == 1 else f"/acquisition/adc/sweep_{index + 1:0{digits}d}"
        sampling = interleaved(
            _dtype(header),
            offset=header.data_offset + sweep.first * frame,
            frame=frame,
            samples=sweep.moments,
            rate=rate,
            starting_time=sweep.start_s,
        )
        found.extend(series_by_unit(name, channels, sampling))
    return found


def _channels(header: AbfHeader) -> list[Channel]:
    names = distinct(adc.name or f"ADC {index}" for index, adc in enumerate(header.adcs))
    if header.is_float:
        return [
            Channel(name, adc.unit, 4 * index) for index, (name, adc) in enumerate(zip(names, header.adcs, strict=True))
        ]
    if header.adc_resolution < 1:
        raise FormatError(f"the resolution of its converter is {header.adc_resolution}")
    volts = positive(header.adc_range, what="the range of its converter") / header.adc_resolution
    found = []
    for index, (name, adc) in enumerate(zip(names, header.adcs, strict=True)):
        if not math.isfinite(adc.gain) or adc.gain == 0:
            raise FormatError(f"the gain of channel {name!r} is {adc.gain}")
        found.append(Channel(name, adc.unit, 2 * index, volts / adc.gain, adc.offset))
    return found


def _tables(header: AbfHeader) -> Mapping[str, Table]:
    tables = {}
    if header.tags:
        times = np.array([_seconds(header, moment) for moment, _ in header.tags], np.float64)
        tables["tags"] = Table({"time": times, "comment": [comment for _, comment in header.tags]})
    if header.epochs:
        tables["epochs"] = _epoch_table(header)
    return tables


def _epoch_table(header: AbfHeader) -> Table:
    """Return the steps of the commands, durations in seconds: what was done to the cell in sweep n is level + n * increment."""
    epochs, second = header.epochs, 1e6 / header.interval_us
    return Table(
        {
            "output": [f"abf.dac.{epoch.dac}" for epoch in epochs],
            "kind": [epoch.kind for epoch in epochs],
            "level": np.array([epoch.level for epoch in epochs], np.float64),
            "level_increment": np.array([epoch.level_increment for epoch in epochs], np.float64),
            "duration": np.array([epoch.samples for epoch in epochs], np.float64) / second,
            "duration_increment": np.array([epoch.samples_increment for epoch in epochs], np.float64) / second,
        }
    )


def _metadata(header: AbfHeader, sweeps: list[_Sweep]) -> dict[str, Scalar]:
    duration = max((sweep.start_s + sweep.moments * header.interval_us / 1e6 for sweep in sweeps), default=0.0)
    found: dict[str, Scalar] = {
        "abf.version": header.version,
        "abf.operation_mode": _MODES[header.mode],
        "abf.sweeps": len(sweeps),
        "channels.count": len(header.adcs),
        "duration": finite(duration, what="the duration"),
    }
    texts = {
        "session.start_time": header.start_time,
        "session.description": header.comment,
        "abf.protocol": header.protocol,
        "abf.creator": header.creator,
    }
    found |= {name: text for name, text in texts.items() if text}
    for index, dac in enumerate(header.dacs):
        if dac.name and math.isfinite(dac.holding):
            found[f"abf.dac.{index}.name"] = dac.name
            found[f"abf.dac.{index}.unit"] = dac.unit
            found[f"abf.dac.{index}.holding"] = dac.holding
    return found
