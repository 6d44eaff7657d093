"""Cuts depend on the bytes and the vault, and on nothing else."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engram_format.chunking import MAX_CHUNK_BYTES, MIN_CHUNK_BYTES, Chunker

MIB = 2**20
DATA = random.Random(7).randbytes(36 * MIB)


def cuts(data: bytes, *, seed: int = 5, feed: list[int] | None = None, chunker: Chunker | None = None) -> list[bytes]:
    chunker = chunker or Chunker(seed=seed)
    chunks, view, place, turn = [], memoryview(data), 0, 0
    sizes = feed or [len(data) or 1]
    while place < len(data):
        size = sizes[turn % len(sizes)]
        chunks += chunker.feed(view[place : place + size])
        place, turn = place + size, turn + 1
    return [*chunks, *chunker.finish()]


@pytest.fixture(scope="module")
def whole() -> list[bytes]:
    return cuts(DATA)


def test_chunks_are_the_stream(whole):
    assert b"".join(whole) == DATA


def test_chunks_have_half_a_mebibyte_to_four(whole):
    assert all(MIN_CHUNK_BYTES <= len(chunk) <= MAX_CHUNK_BYTES for chunk in whole[:-1])
    assert 0 < len(whole[-1]) <= MAX_CHUNK_BYTES
    mean = len(DATA) / len(whole)
    assert 0.6 * MIB < mean < 0.95 * MIB


@given(st.lists(st.integers(1, 20 * MIB), min_size=1, max_size=6))
@settings(max_examples=12, deadline=None)
def test_cuts_do_not_depend_on_how_the_stream_is_fed(whole, sizes):
    if len(DATA) / (sum(sizes) / len(sizes)) > 10_000:
        sizes = [*sizes, MIB]
    assert cuts(DATA, feed=sizes) == whole


@pytest.mark.parametrize("size", [4096, 65_537, MIB, 4 * MIB, 16 * MIB - 1, 16 * MIB, 16 * MIB + 1])
def test_cuts_do_not_depend_on_the_size_of_a_feed(whole, size):
    assert cuts(DATA, feed=[size]) == whole


def test_cuts_find_themselves_again_after_an_insertion(whole):
    moved = cuts(DATA[: 5 * MIB] + b"inserted" + DATA[5 * MIB :])
    assert len(set(moved) & set(whole)) >= len(whole) - 4


def test_another_vault_cuts_elsewhere(whole):
    assert not set(cuts(DATA, seed=6)) & set(whole)


def test_bytes_that_repeat_are_cut_into_the_longest_chunks():
    assert {len(chunk) for chunk in cuts(bytes(12 * MIB))} == {4 * MIB}


@pytest.mark.parametrize("length", [0, 1, 100, MIN_CHUNK_BYTES - 1, MIN_CHUNK_BYTES, MAX_CHUNK_BYTES])
def test_a_short_stream_comes_back(length):
    chunks = cuts(DATA[:length])
    assert b"".join(chunks) == DATA[:length]
    assert bool(chunks) == bool(length)


def test_a_chunker_can_be_used_for_another_stream(whole):
    chunker = Chunker(seed=5)
    cuts(DATA[: 3 * MIB], chunker=chunker)
    assert cuts(DATA, chunker=chunker) == whole


def test_any_seed_of_63_bits_is_taken():
    for seed in (0, 1, 2**63 - 1):
        assert b"".join(cuts(DATA[: 3 * MIB], seed=seed)) == DATA[: 3 * MIB]
