"""Numbers that another type holds too, and those that it would change."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from engram_format.exactness import holds_exactly

TYPES = ["?", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f2", "f4", "f8"]


@pytest.mark.parametrize(
    ("value", "of", "to"),
    [
        (1 << 24, "i8", "f4"),
        ((1 << 24) + 2, "i8", "f4"),
        (1 << 63, "u8", "f4"),
        (-(1 << 63), "i8", "f4"),
        (0.5, "f8", "f2"),
        (float("nan"), "f8", "f4"),
        (float("-inf"), "f8", "f2"),
        (3.0, "f8", "u1"),
        (1, "i4", "?"),
        (127, "i8", "i1"),
    ],
)
def test_a_value_that_the_type_has_is_held(value, of, to):
    assert holds_exactly(np.array([value, 0], of), np.dtype(to))


@pytest.mark.parametrize(
    ("value", "of", "to"),
    [
        ((1 << 24) + 1, "i8", "f4"),
        ((1 << 64) - 1, "u8", "f8"),
        ((1 << 63) - 1, "i8", "f8"),
        (70_000, "i4", "f2"),
        (-1, "i8", "u8"),
        (1 << 63, "u8", "i8"),
        (0.1, "f8", "f4"),
        (1e300, "f8", "f4"),
        (0.5, "f4", "i8"),
        (float("nan"), "f4", "i8"),
        (float("inf"), "f4", "i8"),
        (2, "i4", "?"),
        (float(1 << 63), "f8", "i8"),
    ],
)
def test_a_value_that_would_change_is_not_held(value, of, to):
    assert not holds_exactly(np.array([0, value], of), np.dtype(to))


@settings(max_examples=500, deadline=None)
@given(data=st.data(), of=st.sampled_from(TYPES), to=st.sampled_from(TYPES))
def test_what_is_held_is_the_same_number_in_the_other_type(data, of, to):
    array = data.draw(arrays.arrays(np.dtype(of), 3))
    with np.errstate(all="ignore"):
        cast = array.astype(to)
    # Python compares whole numbers and those with a fraction exactly.
    same = all(a == b or (a != a and b != b) for a, b in zip(array.tolist(), cast.tolist(), strict=True))
    assert holds_exactly(array, np.dtype(to)) == same
