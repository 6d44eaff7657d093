"""Artifacts and series as Python values: `archive["retina/bars@3:session.nwb"].series[name][t0:t1, 0:16]` is numpy's array.

Views are lazy: a recording is described at first use, and only what is indexed is read.
"""

from __future__ import annotations

import operator
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from types import EllipsisType
from typing import TYPE_CHECKING, Any, SupportsIndex

import numpy as np
from numpy.typing import NDArray

from engram_client.file import ArchiveFile
from engram_client.units import to_si
from engram_format.address import Address, AnyAddress, parse_any
from engram_format.catalog import AnyArray, Artifact, Metadata, Recording
from engram_format.errors import InvalidInput, NotFound
from engram_format.series import SeriesInfo, Table
from engram_format.slicing import Numbers, length_of, native_dtype, no_such_series

if TYPE_CHECKING:
    from engram_client.archive import Archive

Index = SupportsIndex | slice | EllipsisType


class NoSuchSeries(NotFound, KeyError):
    """A recording has no series of this name; the sentence names the nearest."""

    __str__ = Exception.__str__


class NoSuchSample(InvalidInput, IndexError):
    """An index lies outside a series."""


class Views:
    """What lets an archive be asked for an artifact by its address in brackets."""

    def __getitem__(self: Archive, address: str | AnyAddress) -> ArtifactView:
        """Return a view of an artifact; without a version's number, of the one that is the newest now."""
        return ArtifactView(self, self.artifact(parse_any(address) if isinstance(address, str) else address))


class ArtifactView:
    """One artifact of an archive, which must stay open while the view is used."""

    def __init__(self, archive: Archive, artifact: Artifact) -> None:
        self._archive = archive
        self.artifact = artifact

    def __repr__(self) -> str:
        return f"<{self.artifact.kind} {self.artifact.address}, {self.artifact.size} bytes>"

    @cached_property
    def recording(self) -> Recording:
        """What was found in the artifact when it was deposited; raises `Precondition` where nothing was."""
        return self._archive.recording(self.artifact.address)

    @cached_property
    def series(self) -> SeriesViews:
        """The series of a recording, by name."""
        return SeriesViews(self._archive, self.recording)

    @property
    def tables(self) -> Mapping[str, Table]:
        """Rows that describe a recording, such as `electrodes` or `trials`."""
        return self.recording.tables

    @property
    def metadata(self) -> Metadata:
        """What is noted with the artifact."""
        return self.artifact.metadata

    def read(self, start: int = 0, stop: int | None = None) -> bytes:
        """Return the bytes of the artifact from `start` up to `stop`, checked."""
        return b"".join(self._archive.read(self.artifact.address, start=start, stop=stop))

    def open(self) -> ArchiveFile:
        """Return a seekable file object over the artifact's bytes, which fetches what is read and no more."""
        address = self.artifact.address
        return ArchiveFile(
            lambda start, stop: self._archive.read(address, start=start, stop=stop),
            size=self.artifact.size,
            name=str(address),
        )


class SeriesViews(Mapping[str, "SeriesView"]):
    """The series of one recording, by name, in the order of the file."""

    def __init__(self, archive: Archive, recording: Recording) -> None:
        self._archive = archive
        self._recording = recording
        self._infos = {info.name: info for info in recording.series}

    def __getitem__(self, name: str) -> SeriesView:
        info = self._infos.get(name)
        if info is None:
            where = str(self._recording.artifact.address)
            raise NoSuchSeries(str(no_such_series(name, list(self._infos), where=where)))
        return SeriesView(self._archive, self._recording, info)

    def __iter__(self) -> Iterator[str]:
        return iter(self._infos)

    def __len__(self) -> int:
        return len(self._infos)

    def __repr__(self) -> str:
        return f"<{len(self)} series of {self._recording.artifact.address}: {', '.join(self._infos)}>"


class SeriesView:
    """One series, (time, channel, ...), read as it is indexed: with integers, slices with steps, and `...`."""

    def __init__(
        self, archive: Archive, recording: Recording, info: SeriesInfo, *, physical: bool = False, factor: float = 1.0
    ) -> None:
        self._archive = archive
        self._recording = recording
        self._physical = physical
        self._factor = factor
        self.info = info
        """All that is known of the series."""

    def __repr__(self) -> str:
        what = f", {self.unit}" if self._physical and self.unit else ""
        return f"<series {self.info.name} of {self._recording.artifact.address}: {self.dtype} {self.shape}{what}>"

    @property
    def shape(self) -> tuple[int, ...]:
        """Lengths of the axes, time first."""
        return self.info.view_shape

    @property
    def ndim(self) -> int:
        """Count of axes."""
        return len(self.info.shape)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the elements, in native byte order; float64 of physical values."""
        stored = native_dtype(self.info.dtype)
        if not self._physical:
            return stored
        return np.dtype(np.complex128 if stored.kind == "c" else np.float64)

    @property
    def unit(self) -> str:
        """Unit of the physical values."""
        return self.info.unit

    @property
    def sampling_rate(self) -> float:
        """Hz; 0 where it is unknown or where timestamps say when each sample was taken."""
        return self.info.sampling_rate

    @property
    def physical(self) -> SeriesView:
        """The same series as physical values in `unit`: number * conversion * channel conversion + offset."""
        return SeriesView(self._archive, self._recording, self.info, physical=True)

    @property
    def si(self) -> SeriesView:
        """The same series as physical values in the SI's unit: volts where the file says microvolts."""
        factor, unit = to_si(self.info.unit)
        return SeriesView(self._archive, self._recording, replace(self.info, unit=unit), physical=True, factor=factor)

    def __len__(self) -> int:
        if not self.shape:
            raise TypeError(f"{self.info.name} is one number and has no length")
        return self.shape[0]

    def __array__(self, dtype: np.dtype[Any] | None = None, copy: bool | None = None) -> AnyArray:  # noqa: FBT001 - numpy's
        if copy is False:
            raise ValueError(f"{self.info.name} lies in an archive: an array of it is always a copy")
        return np.asarray(self[...], dtype=dtype)

    def __iter__(self) -> Iterator[Any]:
        return (self[sample] for sample in range(len(self)))

    def __getitem__(self, key: Index | tuple[Index, ...]) -> Any:  # noqa: ANN401 - a number or an array, as numpy gives
        """Return the elements as an array of their own, or a single one as a number."""
        axes = self._axes(key if isinstance(key, tuple) else (key,))
        found = self._read(axes or [_Axis(range(1))])
        found = found[tuple(axis.finish for axis in axes)] if axes else found[0]
        return found if isinstance(found, np.ndarray) and found.ndim else found[()]

    @property
    def address(self) -> Address:
        """The artifact that the series is in."""
        return self._recording.artifact.address

    @property
    def is_physical(self) -> bool:
        """Whether the elements are physical values."""
        return self._physical

    def blocks(self, start: int, stop: int, channels: tuple[int, int] | None = None) -> Iterator[Numbers]:
        """Yield samples `start` up to `stop` of some channels in blocks (time, channel, ...) along time, at least one."""
        for block in self._stored(start, stop, channels):
            yield block if self._factor == 1.0 else block * self._factor

    def _stored(self, start: int, stop: int, channels: tuple[int, int] | None) -> Iterator[Numbers]:
        return self._archive.read_series(
            self._recording.artifact.address,
            self.info.name,
            start=start,
            stop=stop,
            channels=channels,
            physical=self._physical,
        )

    def times(self, start: int = 0, stop: int | None = None) -> NDArray[np.float64]:
        """Return when samples `start` up to `stop` were taken, in seconds from the session's reference time.

        Raises `InvalidInput` where the file tells neither a rate nor timestamps, or fewer timestamps than samples.
        """
        samples = range(self.info.samples)[start:stop]
        if self.info.timestamps:
            times = np.asarray(self.timestamps[samples.start : samples.stop], np.float64)
            if len(times) != len(samples):
                raise InvalidInput(
                    f"series {self.info.name!r} has {self.info.samples} samples and {len(self.timestamps)} timestamps: "
                    "choose samples that have one"
                )
            return times
        if not self.info.sampling_rate:
            raise InvalidInput(f"series {self.info.name!r} has neither a rate nor timestamps: its times are unknown")
        return self.info.starting_time + np.arange(samples.start, samples.stop) / self.info.sampling_rate

    @property
    def timestamps(self) -> SeriesView:
        """The series that says in seconds when each sample of this one was taken; raises `NotFound` where there is none."""
        return self._named(self.info.timestamps, of="timestamps").physical

    @property
    def index(self) -> SeriesView:
        """The series with the running ends of this one's ragged rows; raises `NotFound` where there is none."""
        return self._named(self.info.index, of="index")

    def _named(self, name: str, *, of: str) -> SeriesView:
        if not name:
            raise NotFound(f"series {self.info.name!r} has no {of}")
        return SeriesViews(self._archive, self._recording)[name]

    def _axes(self, key: tuple[Index, ...]) -> list[_Axis]:
        """Return what an index means along each axis."""
        if any(
            isinstance(item, bool | np.ndarray) or not isinstance(item, SupportsIndex | slice | EllipsisType)
            for item in key
        ):
            raise InvalidInput(
                f"series {self.info.name!r} is indexed with integers, slices and '...', not with {key!r:.100}"
            )
        whole = [slice(None)] * (self.ndim - sum(item is not Ellipsis for item in key))
        if Ellipsis not in key:
            key = (*key, Ellipsis)
        place = key.index(Ellipsis)
        full = [*key[:place], *whole, *key[place + 1 :]]
        if len(full) != self.ndim or Ellipsis in full:
            raise NoSuchSample(f"series {self.info.name!r} has {self.ndim} axes, and {key!r:.100} names more")
        return [
            self._axis(item, length, number) for number, (item, length) in enumerate(zip(full, self.shape, strict=True))
        ]

    def _axis(self, item: Index, length: int, number: int) -> _Axis:
        if isinstance(item, slice):
            taken = range(length)[item]
            return _Axis(taken[::-1], falling=True) if taken.step < 0 else _Axis(taken)
        assert not isinstance(item, EllipsisType)  # noqa: S101 - `_axes` has replaced it
        index = operator.index(item)
        if not -length <= index < length:
            has = length_of(self.info) if number == 0 else f"{length} along axis {number}"
            raise NoSuchSample(f"index {index} does not lie in series {self.info.name!r}: it has {has}")
        return _Axis(
            range(length)[index : index + 1] if index >= 0 else range(length + index, length + index + 1), alone=True
        )

    def _read(self, axes: Sequence[_Axis]) -> AnyArray:
        """Return the elements at the places taken along each axis, as an array of the size that it has."""
        time, *others = axes
        shape = tuple(len(axis.taken) for axis in axes)
        if 0 in shape:
            return np.empty(shape, self.dtype)
        channels = others[0].bounds if others else None
        rest = [axis.within(axis.taken.start if number == 0 else 0) for number, axis in enumerate(others)]
        found: AnyArray | None = None
        at = done = 0
        for block in self._stored(*time.bounds, channels):
            part = block[(slice(-at % time.taken.step, None, time.taken.step), *rest)]
            if part.shape == shape and part.size == block.size and _is_own(part, self.dtype):
                found = part  # the only block, made for this slice
                break
            if found is None:
                found = np.empty(shape, self.dtype)
            found[done : done + len(part)] = part
            at, done = at + len(block), done + len(part)
        assert found is not None  # noqa: S101 - there is a block for each sample
        if self._factor != 1.0:
            np.multiply(found, self._factor, out=found)
        return found


def _is_own(block: AnyArray, dtype: np.dtype[Any]) -> bool:
    """Tell whether nobody else uses the memory of a block: what is held for others is read-only."""
    return block.flags.writeable and block.flags.c_contiguous and block.dtype == dtype


@dataclass(frozen=True, slots=True)
class _Axis:
    """What is taken along one axis."""

    taken: range
    """Rising."""
    alone: bool = False
    """Whether the axis goes, as it does for an integer."""
    falling: bool = False
    """Whether what was taken comes out in the other order."""

    @property
    def bounds(self) -> tuple[int, int]:
        """The first and the one after the last."""
        return self.taken[0], self.taken[-1] + 1

    @property
    def finish(self) -> int | slice:
        """The index that makes of what was taken what was asked for."""
        return 0 if self.alone else slice(None, None, -1 if self.falling else 1)

    def within(self, low: int) -> slice:
        """Return the slice that takes it from an array that begins at `low`."""
        first, stop = self.bounds
        return slice(first - low, stop - low, self.taken.step)
