"""Channels of one recording as series: one series for each unit, since a series has one.

The rule of names, for every family of sampled channels: a series is called `<prefix>` if all channels that are sampled
together have one unit, else `<prefix> (<unit>)`, with `no unit` for channels without.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from engram_format.errors import FormatError
from engram_format.series import Blocks, Series, SeriesInfo
from engram_layout.header import finite, positive

MAX_CHANNELS: Final = 65_536


@dataclass(frozen=True, slots=True)
class Channel:
    """One sampled channel: physical value in `unit` = number * conversion + offset."""

    name: str
    unit: str
    start: int
    """Byte of its first sample within a block."""
    conversion: float = 1.0
    offset: float = 0.0


@dataclass(frozen=True, slots=True)
class Sampling:
    """Where and when the samples of some channels lie: `samples` of each, in blocks as `Blocks` says."""

    dtype: str
    offset: int
    block_bytes: int
    block_samples: int
    stride: int
    samples: int
    rate: float
    """Hz; 0 where the samples are not evenly spaced."""
    starting_time: float = 0.0
    role: str = "acquisition"
    description: str = ""


def interleaved(
    dtype: str, *, offset: int, frame: int, samples: int, rate: float, starting_time: float = 0.0, description: str = ""
) -> Sampling:
    """Return the sampling of channels whose samples of one moment lie side by side in `frame` bytes."""
    return Sampling(dtype, offset, frame, 1, frame, samples, rate, starting_time, description=description)


def series_by_unit(prefix: str, channels: Sequence[Channel], sampling: Sampling) -> tuple[Series, ...]:
    """Return one series of shape (time, channel) for each unit, in the order of the file; none without samples.

    Raises `FormatError` where a conversion is zero or not finite, an offset not finite, or the rate negative.
    """
    if len(channels) > MAX_CHANNELS:
        raise FormatError(f"{len(channels)} channels are more than {MAX_CHANNELS}")
    if sampling.samples < 1:
        return ()
    groups: dict[str, list[Channel]] = {}
    for channel in channels:
        groups.setdefault(channel.unit, []).append(_checked(channel))
    labels = [prefix] if len(groups) == 1 else [f"{prefix} ({unit or 'no unit'})" for unit in groups]
    return tuple(
        _series(name, unit, group, sampling)
        for name, (unit, group) in zip(distinct(labels), groups.items(), strict=True)
    )


def distinct(names: Iterable[str]) -> list[str]:
    """Return the names, with ` #2`, ` #3` and so on behind those that came before."""
    taken: set[str] = set()
    counts: dict[str, int] = {}
    found = []
    for name in names:
        unique = name
        while unique in taken:
            counts[name] = counts.get(name, 1) + 1
            unique = f"{name} #{counts[name]}"
        taken.add(unique)
        found.append(unique)
    return found


def _checked(channel: Channel) -> Channel:
    if channel.conversion == 0:
        raise FormatError(f"the scale of channel {channel.name!r} is zero")
    finite(channel.conversion, what=f"the scale of channel {channel.name!r}")
    finite(channel.offset, what=f"the offset of channel {channel.name!r}")
    return channel


def _series(name: str, unit: str, channels: Sequence[Channel], sampling: Sampling) -> Series:
    rate = sampling.rate and positive(sampling.rate, what="the sampling rate")
    conversions = tuple(channel.conversion for channel in channels)
    offsets = tuple(channel.offset for channel in channels)
    alike = len(set(conversions)) == 1
    shifted_alike = len(set(offsets)) == 1
    info = SeriesInfo(
        name=name,
        dtype=sampling.dtype,
        shape=(sampling.samples, len(channels)),
        sampling_rate=rate,
        starting_time=finite(sampling.starting_time, what="the starting time"),
        unit=unit,
        conversion=conversions[0] if alike else 1.0,
        offset=offsets[0] if shifted_alike else 0.0,
        channel_conversion=() if alike else conversions,
        channel_offset=() if shifted_alike else offsets,
        channels=tuple(channel.name for channel in channels),
        role=sampling.role,
        description=sampling.description,
    )
    starts = tuple(channel.start for channel in channels)
    blocks = Blocks(sampling.offset, sampling.block_bytes, sampling.block_samples, sampling.stride, starts)
    return Series(info, blocks)
