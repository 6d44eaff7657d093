"""A plan covers its file exactly once, or it does not come to be."""

from __future__ import annotations

import contextlib
from dataclasses import FrozenInstanceError

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engram_format.array_type import ArrayType, Filter
from engram_format.errors import FormatError
from engram_format.series import Blocks, Chunked, Contiguous, Description, Series, SeriesInfo, Table
from engram_layout import ArraySegment, OpaqueSegment, Plan, Planned, covering, plan_opaque

RAW = ArrayType("/raw", "<i2", 4, 8)
ZIPPED = ArrayType("/zipped", "<f8", 1, 8, (Filter("shuffle", (8,)), Filter("deflate", (4,))), 800)


@given(st.lists(st.integers(1, 1 << 40), max_size=12))
def test_adjoining_segments_make_a_plan(lengths: list[int]):
    offsets = [sum(lengths[:index]) for index in range(len(lengths))]
    segments = tuple(map(OpaqueSegment, offsets, lengths))
    plan = Plan(size=sum(lengths), segments=segments)
    assert plan.segments == segments
    assert hash(plan) == hash(Plan(size=sum(lengths), segments=segments))


@pytest.mark.parametrize(
    ("size", "segments"),
    [
        pytest.param(10, (OpaqueSegment(0, 4), OpaqueSegment(5, 5)), id="gap"),
        pytest.param(10, (OpaqueSegment(0, 6), OpaqueSegment(5, 5)), id="overlap"),
        pytest.param(10, (OpaqueSegment(5, 5), OpaqueSegment(0, 5)), id="order"),
        pytest.param(10, (OpaqueSegment(0, 9),), id="too short"),
        pytest.param(10, (OpaqueSegment(0, 11),), id="too long"),
        pytest.param(10, (), id="nothing"),
        pytest.param(0, (OpaqueSegment(0, 1),), id="segment in an empty file"),
    ],
)
def test_a_plan_that_does_not_cover_the_file_is_refused(size: int, segments: tuple[OpaqueSegment, ...]):
    with pytest.raises(ValueError, match="the plan covers"):
        Plan(size=size, segments=segments)


@pytest.mark.parametrize(("offset", "length"), [(-1, 4), (0, 0), (3, -1)])
def test_a_segment_without_bytes_is_refused(offset: int, length: int):
    with pytest.raises(ValueError, match="a segment begins at 0 or later"):
        OpaqueSegment(offset, length)


def test_a_plan_cannot_be_changed():
    with pytest.raises(FrozenInstanceError):
        plan_opaque(3).size = 4


@given(st.integers(1, 1 << 50))
def test_an_opaque_plan_is_one_segment(size: int):
    assert plan_opaque(size) == Plan(size=size, segments=(OpaqueSegment(0, size),))


def test_an_empty_file_has_no_segments():
    assert plan_opaque(0) == Plan(size=0, segments=())


def test_arrays_that_were_found_are_covered_with_opaque_bytes_between_them():
    chunks = ArraySegment(40, 30, 1, np.array([10, 20], np.uint32))
    plan = covering(
        100, [chunks, ArraySegment(8, 16, 0), ArraySegment(12, 16, 0), ArraySegment(96, 8, 0)], (RAW, ZIPPED)
    )
    assert [(type(segment).__name__, segment.offset, segment.length) for segment in plan.segments] == [
        ("OpaqueSegment", 0, 8),
        ("ArraySegment", 8, 16),
        ("OpaqueSegment", 24, 16),
        ("ArraySegment", 40, 30),
        ("OpaqueSegment", 70, 30),
    ]


def described():
    chunked = Chunked(
        (10, 2),
        np.array([40, 2**64 - 1], np.uint64),
        np.array([30, 0], np.uint32),
        ZIPPED.filters,
        np.array([0, 0], np.uint32),
        b"\0" * 8,
    )
    series = (
        Series(
            SeriesInfo("/a", "<i2", (7, 4), unit="V", conversion=1e-7, channels=("x", "y", "z", "w")), Contiguous(8)
        ),
        Series(SeriesInfo("/b", "<f8", (12, 2), sampling_rate=100.0, role="acquisition"), chunked),
        Series(SeriesInfo("/c", "<i3", (50, 2), channel_conversion=(1.0, 2.0)), Blocks(0, 300, 25, 3, (0, 75))),
    )
    trials = Table({"start_time": np.array([0.0, np.nan]), "stimulus_id": ("bars", "dots")})
    return Description("nwb", series, {"trials": trials})


def test_a_plan_and_its_description_come_back_from_their_bytes():
    plan = covering(
        100, [ArraySegment(40, 30, 1, np.array([10, 20], np.uint32))], (RAW, ZIPPED), description=described()
    )
    planned = Planned(plan, {"subject.species": "Mus musculus", "units.count": 3}, ("a warning",))
    back = Planned.from_bytes(planned.to_bytes())
    assert back.to_bytes() == planned.to_bytes()
    assert (back.metadata, back.warnings) == (planned.metadata, planned.warnings)
    assert back.plan.arrays == plan.arrays
    series = back.plan.description.series
    assert [item.info for item in series] == [item.info for item in described().series]
    assert series[1].storage.offsets.tolist() == [40, 2**64 - 1]
    assert series[2].storage == described().series[2].storage
    assert back.plan.description.tables["trials"].columns["stimulus_id"] == ("bars", "dots")


@given(st.data())
def test_a_plan_with_a_changed_byte_is_a_plan_or_a_format_error(data):
    body = bytearray(Plan(100, covering(100, [], ()).segments, (RAW, ZIPPED), described()).to_bytes())
    body[data.draw(st.integers(0, len(body) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    with contextlib.suppress(FormatError):
        assert Plan.from_bytes(bytes(body)).to_bytes() == bytes(body)


@pytest.mark.parametrize(
    "storage",
    [
        pytest.param(Contiguous(-1), id="before the file"),
        pytest.param(Blocks(0, 300, 25, 3, (0,)), id="one channel of two"),
        pytest.param(Chunked((10,), np.zeros(1, np.uint64), np.zeros(1, np.uint32), ()), id="another rank"),
        pytest.param(Chunked((10, 2), np.zeros(1, np.uint64), np.zeros(1, np.uint32), ()), id="too few chunks"),
        pytest.param(Chunked((0, 2), np.zeros(1, np.uint64), np.zeros(1, np.uint32), ()), id="empty chunks"),
    ],
)
def test_a_series_that_does_not_lie_where_it_says_is_refused(storage):
    with pytest.raises(FormatError, match="does not lie where"):
        Series(SeriesInfo("/a", "<i2", (12, 2)), storage)


@pytest.mark.parametrize("dtype", ["i2", "<i5", "<f16", "|O", "<U4", "<M8[ns]", "", "<i2 "])
def test_an_element_type_that_the_format_does_not_know_is_refused(dtype):
    with pytest.raises(FormatError, match="unknown element type"):
        ArrayType("/a", dtype, 1, 8)


def test_chunks_without_filters_and_filters_without_chunks_are_refused():
    with pytest.raises(ValueError, match="the other way round"):
        covering(100, [ArraySegment(0, 30, 0, np.array([10, 20], np.uint32))], (RAW,))
    with pytest.raises(ValueError, match="the other way round"):
        covering(100, [ArraySegment(0, 30, 1)], (RAW, ZIPPED))
    with pytest.raises(ValueError, match="do not add up"):
        ArraySegment(0, 30, 1, np.array([10, 21], np.uint32))
