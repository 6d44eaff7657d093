"""What is in a recording survives the wire, however long its tables are, and what nobody understands is an error."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engram.v1 import recording_pb2 as pb
from engram.v1 import replay_pb2
from engram.v1.recording_values import (
    blocks_of,
    message_of_series,
    messages_of_blocks,
    messages_of_recording,
    messages_of_table,
    recording_of,
    series_of,
    tables_of,
)
from engram_format.address import Address
from engram_format.catalog import Artifact, Kind, Recording
from engram_format.errors import EngramError, FormatError, InvalidInput
from engram_format.series import SeriesInfo, Table

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
NUMBER = st.floats(allow_nan=False)
ARTIFACT = Artifact(
    Address("lab", "m", 1, "a.nwb"), Kind.RECORDING, 5, "ab" * 32, 4, 1, time_ns=1, metadata={"subject.id": "m1"}
)


@given(
    st.builds(
        SeriesInfo,
        name=TEXT,
        dtype=st.sampled_from(["<i2", ">f4", "<i3", "|S8", "<c16"]),
        shape=st.tuples(st.integers(0, 2**62), st.integers(0, 2**62)),
        time_axis=st.integers(0, 1),
        sampling_rate=NUMBER,
        starting_time=NUMBER,
        timestamps=TEXT,
        unit=TEXT,
        conversion=NUMBER,
        offset=NUMBER,
        channel_conversion=st.lists(NUMBER, max_size=3).map(tuple),
        channel_offset=st.lists(NUMBER, max_size=3).map(tuple),
        channels=st.lists(TEXT, max_size=3).map(tuple),
        role=TEXT,
        index=TEXT,
        description=TEXT,
        pairs_with=TEXT,
    )
)
def test_a_series_survives_the_wire(info):
    assert series_of(message_of_series(info)) == info


def test_a_series_that_cannot_be_is_refused():
    with pytest.raises(FormatError, match="unknown element type"):
        series_of(pb.Series(name="/a", dtype="int16"))


def test_a_recording_survives_the_wire():
    tables = {"electrodes": Table({"x": np.array([1.0, np.nan]), "where": ("CA1", "")}), "empty": Table({})}
    recording = Recording(ARTIFACT, "nwb", (SeriesInfo("/a", "<i2", (3,)),), tables)
    found = recording_of(messages_of_recording(recording))
    assert (found.artifact, found.family, found.series) == (ARTIFACT, "nwb", recording.series)
    assert list(found.tables) == ["electrodes", "empty"]
    assert list(found.tables["electrodes"].columns["where"]) == ["CA1", ""]
    assert np.array_equal(found.tables["electrodes"].columns["x"], [1.0, np.nan], equal_nan=True)


def test_a_long_table_comes_in_parts_that_messages_can_carry():
    table = Table({"text": tuple(f"{n}" * 20 for n in range(50_000)), "number": np.arange(50_000.0)})
    parts = list(messages_of_table("trials", table))
    assert len(parts) > 1
    assert max(part.ByteSize() for part in parts) <= 1 << 20
    (found,) = tables_of(parts).values()
    assert tuple(found.columns["text"]) == table.columns["text"]
    assert np.array_equal(found.columns["number"], table.columns["number"])


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["<i2", ">i4", "|u1", "<f8", "?", "<c8", ">c16"]), st.integers(0, 5), st.integers(0, 3)
        ),
        max_size=4,
    )
)
def test_blocks_survive_the_wire(shapes):
    blocks = [np.arange(time * count).reshape(time, count).astype(dtype) for dtype, time, count in shapes]
    found = list(blocks_of(messages_of_blocks(blocks)))
    assert len(found) == len(blocks)
    for got, block in zip(found, blocks, strict=True):
        assert (got.shape, got.dtype) == (block.shape, block.dtype.newbyteorder("<"))
        assert np.array_equal(got, block)


def test_a_block_is_sent_in_messages_of_bounded_size():
    messages = list(messages_of_blocks([np.zeros((100_000, 16), np.int16)]))
    assert max(message.ByteSize() for message in messages) <= 1 << 20


@pytest.mark.parametrize(
    "parts",
    [
        [pb.ReadSeriesResponse()],
        [pb.ReadSeriesResponse(data=b"early")],
    ],
)
def test_parts_of_a_slice_that_make_no_sense_are_an_error(parts):
    with pytest.raises(EngramError, match="a part of a slice that this client does not know"):
        list(blocks_of(parts))


def test_a_slice_that_ends_early_is_an_error_and_no_numbers():
    header = replay_pb2.ArrayHeader(element_type=replay_pb2.ELEMENT_TYPE_INT16, shape=[4])
    with pytest.raises(InvalidInput, match="has 8 bytes but 2 arrived"):
        list(blocks_of([pb.ReadSeriesResponse(header=header), pb.ReadSeriesResponse(data=b"12")]))


def test_a_description_without_its_artifact_is_an_error():
    with pytest.raises(EngramError, match="did not say what its series belong to"):
        recording_of([])
    with pytest.raises(EngramError, match="a part of a recording"):
        recording_of([pb.DescribeResponse()])
