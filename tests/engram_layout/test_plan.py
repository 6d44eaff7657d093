"""A plan covers its file exactly once, or it does not come to be."""

from __future__ import annotations

from dataclasses import FrozenInstanceError

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engram_layout import OpaqueSegment, Plan, plan_opaque


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
