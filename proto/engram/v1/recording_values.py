"""What is in a recording as messages, and messages as values; both ends of the wire use these functions.

`engram.v1.values` does the same for the catalogue. A series' numbers travel as `engram.v1.arrays` says.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

import numpy as np

from engram.v1 import recording_pb2 as pb
from engram.v1.arrays import Assembler, disassemble
from engram.v1.values import artifact_of, fitting, message_of_artifact
from engram_format.catalog import AnyArray, Recording
from engram_format.errors import EngramError
from engram_format.series import Column, SeriesInfo, Table

_MAX_TABLE_BYTES: Final = 1 << 20
"""A message holds no more of a table than this, as long as it holds one row."""


def message_of_series(info: SeriesInfo) -> pb.Series:
    """Say a series."""
    with fitting(f"the series {info.name!r:.200}"):
        return pb.Series(
            name=info.name,
            dtype=info.dtype,
            shape=info.shape,
            time_axis=info.time_axis,
            sampling_rate=info.sampling_rate,
            starting_time=info.starting_time,
            timestamps=info.timestamps,
            unit=info.unit,
            conversion=info.conversion,
            offset=info.offset,
            channel_conversion=info.channel_conversion,
            channel_offset=info.channel_offset,
            channels=info.channels,
            role=info.role,
            index=info.index,
            description=info.description,
            pairs_with=info.pairs_with,
        )


def series_of(message: pb.Series) -> SeriesInfo:
    """Return a series; raises `FormatError` where it cannot be one."""
    return SeriesInfo(
        name=message.name,
        dtype=message.dtype,
        shape=tuple(message.shape),
        time_axis=message.time_axis,
        sampling_rate=message.sampling_rate,
        starting_time=message.starting_time,
        timestamps=message.timestamps,
        unit=message.unit,
        conversion=message.conversion,
        offset=message.offset,
        channel_conversion=tuple(message.channel_conversion),
        channel_offset=tuple(message.channel_offset),
        channels=tuple(message.channels),
        role=message.role,
        index=message.index,
        description=message.description,
        pairs_with=message.pairs_with,
    )


def messages_of_table(name: str, table: Table) -> Iterator[pb.Table]:
    """Say a table, in parts of consecutive rows where it is too long for one message."""
    yield from _parts(name, table, range(table.rows))


def tables_of(messages: Iterable[pb.Table]) -> dict[str, Table]:
    """Return the tables whose parts arrived, by name."""
    parts: dict[str, list[pb.Table]] = {}
    for message in messages:
        parts.setdefault(message.name, []).append(message)
    return {name: _joined(found) for name, found in parts.items()}


def messages_of_recording(recording: Recording) -> Iterator[pb.DescribeResponse]:
    """Say what is in a recording: `about`, the series, the tables."""
    about = pb.DescribeResponse.About(artifact=message_of_artifact(recording.artifact), family=recording.family)
    yield pb.DescribeResponse(about=about)
    for info in recording.series:
        yield pb.DescribeResponse(series=message_of_series(info))
    for name, table in recording.tables.items():
        for part in messages_of_table(name, table):
            yield pb.DescribeResponse(table=part)


def recording_of(messages: Iterable[pb.DescribeResponse]) -> Recording:
    """Return what is in a recording from its parts."""
    about: pb.DescribeResponse.About | None = None
    series: list[SeriesInfo] = []
    tables: list[pb.Table] = []
    for message in messages:
        match message.WhichOneof("part"):
            case "about":
                about = message.about
            case "series":
                series.append(series_of(message.series))
            case "table":
                tables.append(message.table)
            case _:
                raise EngramError("the service sent a part of a recording that this client does not know: upgrade it")
    if about is None:
        raise EngramError(
            "the service did not say what its series belong to: use a service and a client of one version"
        )
    return Recording(artifact_of(about.artifact), about.family, tuple(series), tables_of(tables))


def messages_of_blocks(blocks: Iterable[AnyArray]) -> Iterator[pb.ReadSeriesResponse]:
    """Say the blocks of a slice, each by its header and its bytes."""
    for block in blocks:
        for part in disassemble({"": block}):
            yield pb.ReadSeriesResponse(data=part) if isinstance(part, bytes) else pb.ReadSeriesResponse(header=part)


def blocks_of(messages: Iterable[pb.ReadSeriesResponse]) -> Iterator[AnyArray]:
    """Yield the blocks of a slice, each when its last bytes have arrived."""
    block: Assembler | None = None
    for message in messages:
        match message.WhichOneof("part"):
            case "header":
                if block is not None:
                    yield block.finish()[""]
                block = Assembler()
                block.begin(message.header)
            case "data" if block is not None:
                block.fill(message.data)
            case _:
                raise EngramError("the service sent a part of a slice that this client does not know: upgrade it")
    if block is not None:
        yield block.finish()[""]


def _parts(name: str, table: Table, rows: range) -> Iterator[pb.Table]:
    columns = [_message_of_column(title, column[rows.start : rows.stop]) for title, column in table.columns.items()]
    message = pb.Table(name=name, columns=columns)
    if len(rows) < 2 or message.ByteSize() <= _MAX_TABLE_BYTES:
        yield message
        return
    middle = rows.start + len(rows) // 2
    yield from _parts(name, table, range(rows.start, middle))
    yield from _parts(name, table, range(middle, rows.stop))


def _message_of_column(name: str, column: Column) -> pb.Column:
    with fitting(f"the column {name!r:.200}"):
        if isinstance(column, np.ndarray):
            return pb.Column(name=name, numbers=column.tolist())
        return pb.Column(name=name, texts=column)


def _joined(parts: Sequence[pb.Table]) -> Table:
    columns: dict[str, Column] = {}
    for number, first in enumerate(parts[0].columns):
        found = [part.columns[number] for part in parts]
        texts = tuple(text for column in found for text in column.texts)
        numbers = [np.array(column.numbers, np.float64) for column in found]
        columns[first.name] = texts if texts else np.concatenate(numbers)
    return Table(columns)
