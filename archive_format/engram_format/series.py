"""What is in a recording: its series, where their elements lie in the original bytes, and its tables (SPEC.md section 9).

Written once, when the recording is deposited, by the planner that has parsed the file. A reader needs no parser: with a
`Series` and ranges of the original bytes it has the numbers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

from engram_format.array_type import Filter, check_dtype, item_bytes
from engram_format.encoding import Encodable, Fields, Value, encode
from engram_format.errors import FormatError

MAX_DESCRIPTION_BYTES: Final = 64 * 2**20
MAX_SERIES: Final = 10_000
MAX_TABLE_ROWS: Final = 100_000
NO_CHUNK: Final = 2**64 - 1
"""The offset of a chunk that the file does not hold: its elements are the fill value."""

_MAX_AXES: Final = 32
_WHAT: Final = "the description of a recording"


@dataclass(frozen=True, slots=True)
class Contiguous:
    """The elements lie one behind the other in C order of the series' shape, from byte `offset` on."""

    offset: int


@dataclass(frozen=True, slots=True)
class Blocks:
    """Samples of one or more channels in blocks of equal length, as EDF's records and interleaved samples are.

    Sample `t` of channel `c` lies at byte `offset + t // block_samples * block_bytes + channels[c] + t % block_samples *
    stride`. The series has the shape (time, channel), or (time,) with one channel.
    """

    offset: int
    block_bytes: int
    block_samples: int
    stride: int
    channels: tuple[int, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Chunked:
    """HDF5's chunks: a regular grid over the shape, the last of each axis padded to full size, each filtered by itself."""

    chunk: tuple[int, ...]
    """Elements along each axis."""
    offsets: NDArray[np.uint64]
    """Where each chunk's stored bytes begin, in C order over the grid, or `NO_CHUNK`."""
    sizes: NDArray[np.uint32]
    """Stored bytes of each chunk."""
    filters: tuple[Filter, ...]
    masks: NDArray[np.uint32] | None = None
    """Bit `n` set: filter `n` was not applied to that chunk; `None` where all were."""
    fill: bytes = b""
    """One element that fills what is not stored; empty means zeros."""


Storage = Contiguous | Blocks | Chunked


@dataclass(frozen=True, slots=True)
class SeriesInfo:
    """One array in a recording, in NWB's words: physical value = number * conversion * channel_conversion + offset."""

    name: str
    """As in the file: the path of the series, such as `/acquisition/ElectricalSeries`."""
    dtype: str
    shape: tuple[int, ...]
    """As it is stored; `time_axis` says which axis is time."""
    time_axis: int = 0
    sampling_rate: float = 0.0
    """Hz; 0 where unknown, or where `timestamps` says when each sample was taken."""
    starting_time: float = 0.0
    """Seconds from the session's reference time to the first sample."""
    timestamps: str = ""
    """Name of the series that holds the time of each sample, in seconds."""
    unit: str = ""
    conversion: float = 1.0
    offset: float = 0.0
    channel_conversion: tuple[float, ...] = ()
    channel_offset: tuple[float, ...] = ()
    """Added in place of `offset`, channel by channel, where it is not empty."""
    channels: tuple[str, ...] = ()
    """Names of the channels, where the file gives them."""
    role: str = ""
    """`acquisition`, `stimulus`, `processing`, `units`, `intervals`, `scratch` or empty."""
    index: str = ""
    """Name of the series with the running ends of ragged rows, as of `/units/spike_times`."""
    description: str = ""
    pairs_with: str = ""
    """Name of the series that was recorded in answer to this stimulus, or of the stimulus that this one answers."""

    def __post_init__(self) -> None:
        what = f"series {self.name!r:.200}"
        check_dtype(self.dtype, what=what)
        if len(self.shape) > _MAX_AXES or any(not 0 <= size < 2**63 for size in self.shape):
            raise FormatError(f"{what} has a shape that cannot be")
        if self.shape and not 0 <= self.time_axis < len(self.shape):
            raise FormatError(f"{what} has its time along axis {self.time_axis} of {len(self.shape)}")

    @property
    def samples(self) -> int:
        """Length of the time axis."""
        return self.shape[self.time_axis] if self.shape else 1

    @property
    def view_shape(self) -> tuple[int, ...]:
        """The shape as slices show it: time first."""
        rest = [size for axis, size in enumerate(self.shape) if axis != self.time_axis]
        return (self.samples, *rest) if self.shape else ()

    @property
    def is_numeric(self) -> bool:
        """Whether the elements are numbers, which alone can be sliced into numbers."""
        return self.dtype[1] not in "SV"

    @property
    def item_bytes(self) -> int:
        """Bytes of one element."""
        return item_bytes(self.dtype)


@dataclass(frozen=True, slots=True, eq=False)
class Series:
    """One array in a recording, and where its elements lie in the original bytes."""

    info: SeriesInfo
    storage: Storage

    def __post_init__(self) -> None:
        info = self.info
        _check_storage(self.storage, dtype=info.dtype, shape=info.shape, what=f"series {info.name!r:.200}")


Column = Sequence[str] | NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """Rows that describe, such as `electrodes` or `trials`: columns of equal length, each of texts or of numbers."""

    columns: Mapping[str, Column]

    @property
    def rows(self) -> int:
        """Count of rows."""
        return max((len(column) for column in self.columns.values()), default=0)


@dataclass(frozen=True, slots=True, eq=False)
class Description:
    """All that a planner found in a recording."""

    family: str
    """The format: `nwb`, `hdf5`, `edf`, `bdf`, `abf`, `brainvision`, `wav`, `npy`, `npz`, `spikeglx`, `openephys`, `onnx`."""
    series: tuple[Series, ...] = ()
    tables: Mapping[str, Table] = field(default_factory=dict)

    @property
    def is_recording(self) -> bool:
        """Whether the format is one of recordings, and not one of arrays or networks."""
        return self.family not in ("npy", "npz", "onnx")

    def to_bytes(self) -> bytes:
        """Encode."""
        series: list[Encodable] = [_series_value(item) for item in self.series]
        tables: dict[str, Encodable] = {name: _table_value(table) for name, table in self.tables.items()}
        return encode({1: self.family, 2: series, 3: tables})

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Decode and check."""
        fields = Fields.of(data, what=_WHAT, known=range(1, 4))
        series = tuple(_series(item) for item in fields.array(2))
        if len(series) > MAX_SERIES or len({item.info.name for item in series}) != len(series):
            raise FormatError(f"{_WHAT} is damaged: it has too many series, or two of one name")
        return cls(fields.text(1), series, {name: _table(item) for name, item in fields.mapping(3).items()})


def _check_storage(storage: Storage, *, dtype: str, shape: tuple[int, ...], what: str) -> None:
    match storage:
        case Contiguous(offset):
            sound = 0 <= offset < 2**63
        case Blocks(offset, block_bytes, block_samples, stride, channels):
            sound = (
                0 <= offset < 2**63
                and 1 <= block_samples < 2**63
                and 1 <= stride < 2**63
                and 0 <= block_bytes < 2**63
                and all(0 <= start < 2**63 for start in channels)
                and shape[1:] in ((), (len(channels),))
                and (len(channels) == 1 or len(shape) == 2)
            )
        case Chunked(chunk, offsets, sizes, filters, masks, fill):
            counts = [-(-size // step) for size, step in zip(shape, chunk, strict=False) if step > 0]
            wanted = 1
            for count in counts:
                wanted *= count
            sound = (
                len(chunk) == len(shape) == len(counts)
                and wanted == len(offsets) == len(sizes)
                and (masks is None or len(masks) == wanted)
                and len(filters) <= 32
                and len(fill) in (0, item_bytes(dtype))
            )
    if not sound:
        raise FormatError(f"{what} does not lie where its description says")


def _storage_value(storage: Storage) -> list[Encodable]:
    match storage:
        case Contiguous(offset):
            return ["contiguous", offset]
        case Blocks(offset, block_bytes, block_samples, stride, channels):
            return ["blocks", offset, block_bytes, block_samples, stride, list(channels)]
        case Chunked(chunk, offsets, sizes, filters, masks, fill):
            steps = np.diff(offsets.astype(np.uint64), prepend=np.uint64(0))
            return [
                "chunked",
                list(chunk),
                steps.astype("<u8").tobytes(),
                sizes.astype("<u4").tobytes(),
                [step.to_value() for step in filters],
                None if masks is None else masks.astype("<u4").tobytes(),
                fill,
            ]


def _storage(value: Value) -> Storage:
    match value:
        case ["contiguous", int(offset)]:
            return Contiguous(offset)
        case ["blocks", int(offset), int(block_bytes), int(block_samples), int(stride), [*channels]]:
            return Blocks(offset, block_bytes, block_samples, stride, _integers(channels))
        case ["chunked", [*chunk], bytes(steps), bytes(sizes), [*filters], (None | bytes()) as masks, bytes(fill)] if (
            len(steps) % 8 == 0 and len(sizes) % 4 == 0 and len(masks or b"") % 4 == 0
        ):
            return Chunked(
                _integers(chunk),
                np.cumsum(np.frombuffer(steps, "<u8"), dtype=np.uint64),
                np.frombuffer(sizes, "<u4").astype(np.uint32),
                tuple(Filter.from_value(step, what=_WHAT) for step in filters),
                None if masks is None else np.frombuffer(masks, "<u4").astype(np.uint32),
                fill,
            )
        case _:
            raise FormatError(f"{_WHAT} is damaged: where a series lies is not said")


def _series_value(series: Series) -> dict[int, Encodable]:
    info = series.info
    return {
        1: info.name,
        2: info.dtype,
        3: list(info.shape),
        4: _storage_value(series.storage),
        5: info.time_axis,
        6: float(info.sampling_rate),
        7: float(info.starting_time),
        8: info.timestamps,
        9: info.unit,
        10: float(info.conversion),
        11: float(info.offset),
        12: np.asarray(info.channel_conversion, "<f8").tobytes(),
        13: np.asarray(info.channel_offset, "<f8").tobytes(),
        14: list(info.channels),
        15: info.role,
        16: info.index,
        17: info.description,
        18: info.pairs_with,
    }


def _series(value: Value) -> Series:
    fields = Fields(value, what=_WHAT, known=range(1, 19))
    info = SeriesInfo(
        name=fields.text(1),
        dtype=fields.text(2),
        shape=_integers(fields.array(3)),
        time_axis=fields.integer(5),
        sampling_rate=fields.number(6),
        starting_time=fields.number(7),
        timestamps=fields.text(8),
        unit=fields.text(9),
        conversion=fields.number(10),
        offset=fields.number(11),
        channel_conversion=_numbers(fields.raw(12)),
        channel_offset=_numbers(fields.raw(13)),
        channels=_texts(fields.array(14)),
        role=fields.text(15),
        index=fields.text(16),
        description=fields.text(17),
        pairs_with=fields.text(18),
    )
    return Series(info, _storage(fields.array(4)))


def _table_value(table: Table) -> dict[str, Encodable]:
    return {
        name: column.astype("<f8").tobytes() if isinstance(column, np.ndarray) else list(column)
        for name, column in table.columns.items()
    }


def _table(value: Value) -> Table:
    if not isinstance(value, dict):
        raise FormatError(f"{_WHAT} is damaged: a table is not a map of columns")
    columns: dict[str, Column] = {}
    for name, column in value.items():
        match name, column:
            case str(), bytes() if len(column) % 8 == 0:
                columns[name] = np.frombuffer(column, "<f8").astype(np.float64)
            case str(), list():
                columns[name] = _texts(column)
            case _:
                raise FormatError(f"{_WHAT} is damaged: a column is neither texts nor numbers")
    lengths = {len(column) for column in columns.values()}
    if len(lengths) > 1 or max(lengths, default=0) > MAX_TABLE_ROWS:
        raise FormatError(f"{_WHAT} is damaged: the columns of a table are of different length, or too long")
    return Table(columns)


def _integers(items: Sequence[Value]) -> tuple[int, ...]:
    numbers = tuple(item for item in items if type(item) is int and item >= 0)
    if len(numbers) != len(items):
        raise FormatError(f"{_WHAT} is damaged: a list of numbers holds something else")
    return numbers


def _texts(items: Sequence[Value]) -> tuple[str, ...]:
    texts = tuple(item for item in items if isinstance(item, str))
    if len(texts) != len(items):
        raise FormatError(f"{_WHAT} is damaged: a list of texts holds something else")
    return texts


def _numbers(data: bytes) -> tuple[float, ...]:
    if len(data) % 8:
        raise FormatError(f"{_WHAT} is damaged: a list of numbers is cut")
    return tuple(np.frombuffer(data, "<f8").tolist())
