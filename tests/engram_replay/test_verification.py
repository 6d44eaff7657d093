"""How two runs are compared."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engram_format.catalog import Alteration, Likeness
from engram_replay.verification import compare, profile_differences, worst

ONE = np.asarray([1.0, -1.0, 1.0, -1.0], np.float32)


def only(kept, again):
    (one,) = compare({"y": kept}, {"y": again})
    return one


def test_the_bound_is_a_part_of_the_root_mean_square():
    one = only(3 * ONE, 3 * ONE + np.asarray([0, 0, 2e-5, 0], np.float32))
    assert (one.likeness, one.rms) == (Likeness.TOLERANCE, 3.0)
    assert one.bound == pytest.approx(3e-5)
    assert one.largest == pytest.approx(2e-5, rel=0.05)
    assert "(2,)" in one.detail


def test_minus_zero_is_not_the_same_bit_and_within_any_bound():
    assert only(np.zeros(2, np.float32), np.asarray([-0.0, 0.0], np.float32)).likeness is Likeness.TOLERANCE


def test_gaps_at_the_same_places_are_equal_and_elsewhere_are_not():
    gap = np.asarray([np.nan, 1.0], np.float32)
    other = np.asarray([np.nan, 1.0 + 1e-6], np.float32)
    assert only(gap, gap.copy()).likeness is Likeness.BIT
    assert only(gap, other).likeness is Likeness.TOLERANCE
    moved = only(gap, gap[::-1].copy())
    assert (moved.likeness, moved.largest) == (Likeness.FAIL, math.inf)


def test_infinities_differ_from_numbers_and_equal_themselves():
    assert only(np.asarray([np.inf], "f4"), np.asarray([np.inf], "f4")).likeness is Likeness.BIT
    assert only(np.asarray([np.inf], "f4"), np.asarray([-np.inf], "f4")).likeness is Likeness.FAIL


@pytest.mark.parametrize("again", [ONE[:3], ONE.astype(np.float64), ONE.reshape(2, 2)], ids=["length", "type", "shape"])
def test_another_shape_or_type_fails(again):
    assert only(ONE, again).likeness is Likeness.FAIL


def test_outputs_that_only_one_of_both_has_fail():
    first, second = compare({"a": ONE}, {"b": ONE})
    assert (first.name, first.likeness, second.name, second.likeness) == ("a", Likeness.FAIL, "b", Likeness.FAIL)


def test_the_worst_output_is_the_verdict_and_nothing_is_no_proof():
    alike, close = only(ONE, ONE), only(ONE, ONE + np.float32(1e-6))
    assert worst((alike, close)) is Likeness.TOLERANCE
    assert worst((alike, only(ONE, 2 * ONE))) is Likeness.FAIL
    assert worst(()) is Likeness.FAIL


def test_only_the_profile_is_compared_and_what_one_does_not_tell_counts():
    kept = {"profile.threads": 1, "profile.onnx": "1.19", "student.sha256": "a"}
    again = {"profile.threads": 1, "profile.onnx": "1.20", "profile.numpy": "2.0", "student.sha256": "b"}
    assert profile_differences(kept, again) == (
        Alteration("profile.numpy", None, "2.0"),
        Alteration("profile.onnx", "1.19", "1.20"),
    )


@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1, max_size=20), st.data())
def test_a_verdict_follows_from_the_largest_difference(values, data):
    kept = np.asarray(values, np.float32)
    again = np.asarray(
        data.draw(
            st.lists(
                st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=len(values), max_size=len(values)
            )
        ),
        np.float32,
    )
    one = only(kept, again)
    largest = float(np.max(np.abs(kept.astype(np.float64) - again.astype(np.float64))))
    assert one.largest == largest
    if kept.tobytes() == again.tobytes():
        assert one.likeness is Likeness.BIT
    else:
        assert (one.likeness is Likeness.TOLERANCE) == (largest <= one.bound)
