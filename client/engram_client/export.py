"""Slices as files: `.npy`, `.csv` and `.nwb`, written whole or not at all."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final

import numpy as np
from numpy.typing import NDArray

from engram_client.local import check_destination, written_whole
from engram_format.errors import Exhausted, InvalidInput, Precondition
from engram_format.slicing import Numbers, channel_count, length_of

if TYPE_CHECKING:
    from engram_client.views import ArtifactView, SeriesView

_BLOCK_SAMPLES: Final = 65_536
_MAX_NWB_BYTES: Final = 2 * 2**30


@dataclass(frozen=True, slots=True)
class Part:
    """Samples `start` up to `stop` of some channels of a series, as stored or, if `view` is one of them, as physical values."""

    artifact: ArtifactView
    view: SeriesView
    start: int
    stop: int
    channels: tuple[int, int]

    def __post_init__(self) -> None:
        info = self.view.info
        if not 0 <= self.start < self.stop <= info.samples:
            raise InvalidInput(
                f"samples {self.start} to {self.stop} are no part of series {info.name!r}: it has {length_of(info)}"
            )
        count = channel_count(info)
        if not 0 <= self.channels[0] < self.channels[1] <= count:
            raise InvalidInput(
                f"channels {self.channels[0]}:{self.channels[1]} do not lie in series {info.name!r}: it has {count}"
            )

    @property
    def shape(self) -> tuple[int, ...]:
        """Lengths of the axes, time first."""
        rest = self.view.shape[1:]
        return (self.stop - self.start, *((self.channels[1] - self.channels[0], *rest[1:]) if rest else ()))

    @property
    def names(self) -> list[str]:
        """Names of the channels: the file's, or their numbers."""
        known = self.view.info.channels
        return [known[number] if number < len(known) else f"channel {number}" for number in range(*self.channels)]

    def blocks(self) -> Iterator[tuple[int, Numbers]]:
        """Yield the number of a first sample, and the numbers from there on."""
        at = self.start
        for block in self.view.blocks(self.start, self.stop, self.channels):
            yield at, block
            at += len(block)

    def times(self, start: int, stop: int) -> NDArray[np.float64] | None:
        """Return the seconds of some samples, or `None` where the file tells no times."""
        info = self.view.info
        return self.view.times(start, stop) if info.timestamps or info.sampling_rate else None


def write_part(part: Part, path: Path, *, force: bool) -> None:
    """Write a part of a series in the format that the name of the file ends in."""
    write = _WRITERS.get(path.suffix.lower())
    if write is None:
        raise InvalidInput(f"{path} ends in none of {', '.join(_WRITERS)}: name the file so that its format shows")
    check_destination(path, force=force)
    if write is _write_nwb:
        _require_pynwb()
    with written_whole(path, force=force) as file:
        write(part, file)


def _write_npy(part: Part, file: BinaryIO) -> None:
    head = {"descr": np.lib.format.dtype_to_descr(part.view.dtype), "fortran_order": False, "shape": part.shape}
    np.lib.format.write_array_header_1_0(file, head)
    for _, block in part.blocks():
        file.write(np.ascontiguousarray(block).data.cast("B"))


def _write_csv(part: Part, file: BinaryIO) -> None:
    if len(part.shape) > 2:
        raise InvalidInput(
            f"series {part.view.info.name!r} has {len(part.shape)} axes, a table has two: write a .npy file"
        )
    text = io.TextIOWrapper(file, encoding="utf-8", newline="", write_through=False)
    rows = csv.writer(text, lineterminator="\n")
    timed = part.times(part.start, part.start) is not None
    rows.writerow(["time_s" if timed else "sample", *(part.names if len(part.shape) > 1 else ["value"])])
    for at, whole in part.blocks():
        for first in range(0, len(whole), _BLOCK_SAMPLES):
            block = whole[first : first + _BLOCK_SAMPLES]
            start = at + first
            times = part.times(start, start + len(block))
            marks = range(start, start + len(block)) if times is None else np.round(times, 9).tolist()
            values = block.reshape(len(block), -1).tolist()
            rows.writerows([mark, *row] for mark, row in zip(marks, values, strict=True))
    text.flush()
    text.detach()


def _write_nwb(part: Part, file: BinaryIO) -> None:
    import h5py
    from pynwb import NWBHDF5IO, NWBFile, TimeSeries
    from pynwb.file import Subject

    artifact, info = part.artifact.artifact, part.view.info
    times = part.times(part.start, part.stop)
    if times is None:
        raise InvalidInput(
            f"series {info.name!r} has neither a rate nor timestamps, and NWB wants one of them: write a .npy or .csv file"
        )
    count = int(np.prod(part.shape)) * part.view.dtype.itemsize
    if count > _MAX_NWB_BYTES:
        raise Exhausted(
            f"the slice has {count} bytes and an NWB file is made in memory: choose less, or write a .npy file"
        )
    metadata = artifact.metadata
    reference = metadata.get("session.timestamps_reference_time")
    session = NWBFile(
        session_description=str(metadata.get("session.description") or f"A slice of {artifact.address}"),
        identifier=f"sha256:{artifact.sha256}/{info.name}/{part.start}:{part.stop}",
        session_start_time=_began(metadata.get("session.start_time"), artifact.time_ns),
        timestamps_reference_time=None if reference is None else _began(reference, artifact.time_ns),
        notes=f"Samples {part.start} to {part.stop}, channels {part.channels[0]}:{part.channels[1]} of {info.name} "
        f"in {artifact.address}",
    )
    known = {
        name: metadata.get(f"subject.{name}") for name in ("species", "sex", "age", "strain", "genotype", "description")
    }
    subject = {name: str(value) for name, value in known.items() if value is not None}
    if identity := metadata.get("subject.id"):
        subject["subject_id"] = str(identity)
    if subject:
        session.subject = Subject(**subject)
    clock = {"timestamps": times} if info.timestamps else {"rate": info.sampling_rate, "starting_time": float(times[0])}
    # A factor of each channel has no place in a plain TimeSeries, so such numbers are written as physical values.
    stored = not (part.view.is_physical or info.channel_conversion or info.channel_offset)
    view = part.view if stored else part.view.physical
    session.add_acquisition(
        TimeSeries(
            name=info.name.strip("/").replace("/", "_") or "data",
            data=view[part.start : part.stop, slice(*part.channels)] if view.ndim > 1 else view[part.start : part.stop],
            unit=info.unit or "unknown",
            conversion=info.conversion if stored else 1.0,
            offset=info.offset if stored else 0.0,
            description=info.description or "no description",
            **clock,
        )
    )
    sink = io.BytesIO()
    with h5py.File(sink, "w") as held, NWBHDF5IO(file=held, mode="w") as writer:
        writer.write(session)
    file.write(sink.getbuffer())


def _require_pynwb() -> None:
    try:
        import pynwb  # noqa: F401
    except ImportError as error:
        raise Precondition("writing .nwb needs pynwb: 'pip install engram[nwb]', or write a .npy file") from error


def _began(told: object, time_ns: int) -> datetime:
    """Return when the session began, as the file says or as nearly as is known: NWB does not do without."""
    try:
        moment = datetime.fromisoformat(str(told)) if told else datetime.fromtimestamp(time_ns / 1e9, UTC)
    except (ValueError, OverflowError, OSError):
        moment = datetime.fromtimestamp(0, UTC)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


_WRITERS: Final[dict[str, Callable[[Part, BinaryIO], None]]] = {
    ".npy": _write_npy,
    ".csv": _write_csv,
    ".nwb": _write_nwb,
}
