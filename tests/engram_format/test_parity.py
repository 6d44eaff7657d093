"""Any two lost shards of a group come back, and three do not."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engram_format.errors import Damaged
from engram_format.parity import GROUP_SHARDS, encode, rebuild


def _shards(count: int, *, seed: int = 0, lanes: int = 4) -> list[np.ndarray]:
    return list(np.random.default_rng(seed).integers(0, 2**64, (count, lanes), dtype=np.uint64))


def _without(items: list[np.ndarray], lost: tuple[int, ...]) -> list[np.ndarray | None]:
    return [None if place in lost else item for place, item in enumerate(items)]


@pytest.mark.parametrize("count", [1, 2, 3, 29, 30])
def test_every_pair_of_lost_shards_comes_back(count):
    shards = _shards(count)
    whole = [*shards, *encode(shards)]
    for lost in [(), *itertools.combinations(range(count + 2), 1), *itertools.combinations(range(count + 2), 2)]:
        left = _without(whole, lost)
        for expected, found in zip(shards, rebuild(left[:count], left[count], left[count + 1]), strict=True):
            np.testing.assert_array_equal(expected, found)


@given(
    st.lists(st.binary(min_size=16, max_size=16), min_size=1, max_size=GROUP_SHARDS),
    st.data(),
)
@settings(max_examples=200)
def test_any_two_lost_shards_of_any_content_come_back(contents, data):
    shards = [np.frombuffer(content, np.uint64) for content in contents]
    count = len(shards)
    lost = tuple(data.draw(st.sets(st.integers(0, count + 1), max_size=2)))
    left = _without([*shards, *encode(shards)], lost)
    assert [bytes(shard) for shard in rebuild(left[:count], left[count], left[count + 1])] == contents


@pytest.mark.parametrize("count", [3, 30])
def test_three_lost_shards_are_refused_where_data_is_among_them(count):
    shards = _shards(count)
    whole = [*shards, *encode(shards)]
    for lost in itertools.combinations(range(count + 2), 3):
        left = _without(whole, lost)
        with pytest.raises(Damaged, match="are lost and"):
            rebuild(left[:count], left[count], left[count + 1])


@given(st.lists(st.binary(min_size=32, max_size=32), min_size=1, max_size=GROUP_SHARDS))
def test_parity_is_that_of_the_specification(spec_reader, contents):
    found = encode([np.frombuffer(content, np.uint64) for content in contents])
    assert [bytes(parity) for parity in found] == spec_reader.p_and_q(contents)


def test_long_shards_are_worked_on_in_blocks_without_a_seam(spec_reader):
    shards = _shards(3, lanes=40_000)
    assert [bytes(parity) for parity in encode(shards)] == spec_reader.p_and_q([bytes(shard) for shard in shards])


def test_encoding_leaves_the_shards_as_they_are():
    shards = _shards(5)
    before = [shard.copy() for shard in shards]
    encode(shards)
    for one, other in zip(before, shards, strict=True):
        np.testing.assert_array_equal(one, other)
