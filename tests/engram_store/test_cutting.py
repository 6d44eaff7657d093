"""A plan is cut into frames at the same places however the bytes arrive, and wherever a deposit goes on."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engram_format.array_type import ArrayType, Filter
from engram_format.chunking import Chunker
from engram_layout import ArraySegment, covering
from engram_store.cutting import ARRAY_FRAME_BYTES, Cutter, Piece

MIB = 2**20
SIZE = 9 * MIB
CHUNKS = np.array([300_000, 400_000, 5, 700_001, 123_456, 20], np.uint32)
RAW = ArrayType("/raw", "<i2", 64, 128)
LONG_ROWS = ArrayType("/image", "<f4", 10**6, 4 * 10**6)
ZIPPED = ArrayType("/zipped", "<i2", 64, 128, (Filter("deflate", (4,)),), 500_000)
PLAN = covering(
    SIZE,
    [
        ArraySegment(1000, 3 * MIB, 0),
        ArraySegment(1000 + 3 * MIB, int(CHUNKS.sum()), 2, CHUNKS),
        ArraySegment(6 * MIB, 2 * MIB + 4, 1),
    ],
    (RAW, LONG_ROWS, ZIPPED),
)
DATA = np.random.default_rng(1).bytes(SIZE)


def cut(steps: list[int], *, start: int = 0) -> list[Piece]:
    cutter = Cutter(PLAN, Chunker(seed=5), start=start)
    pieces, at = [], start
    for step in [*steps, SIZE]:
        pieces += cutter.feed(DATA[at : at + step])
        at += min(step, SIZE - at)
    return pieces


def test_pieces_join_to_the_file_and_are_whole_rows_or_whole_chunks():
    pieces = cut([])
    assert b"".join(piece.data for piece in pieces) == DATA
    raw = [piece for piece in pieces if piece.array == 0]
    assert [len(piece.data) for piece in raw] == [MIB] * 3
    assert raw[0].data == DATA[1000 : 1000 + MIB]
    chunks = [piece for piece in pieces if piece.array == 2]
    assert [piece.chunks for piece in chunks] == [(300_000, 400_000), (5, 700_001), (123_456, 20)]
    assert all(len(piece.data) == sum(piece.chunks) for piece in chunks)
    assert [len(piece.data) for piece in pieces if piece.array == 1] == [MIB, MIB, 4]
    assert all(len(piece.data) <= 4 * ARRAY_FRAME_BYTES for piece in pieces)


def test_elements_longer_than_a_frame_are_cut_like_any_bytes():
    item = 3 * MIB + 1
    plan = covering(2 * item, [ArraySegment(0, 2 * item, 0)], (ArrayType("/records", f"|V{item}", 1, item),))
    pieces = list(Cutter(plan, Chunker(seed=5)).feed(DATA[: 2 * item]))
    assert b"".join(piece.data for piece in pieces) == DATA[: 2 * item]
    assert [len(piece.data) for piece in pieces] == [MIB] * 6 + [2]


@pytest.mark.parametrize(
    ("item", "frame"), [(700_000, MIB // 700_000 * 700_000), (1_500_000, 1_500_000), (3_000_000, MIB)]
)
def test_an_array_of_long_records_is_cut_at_records_or_anywhere_where_one_is_longer_than_a_frame(item, frame):
    plan = covering(SIZE, [ArraySegment(0, SIZE, 0)], (ArrayType("/records", f"|V{item}", 1, 3 * item),))
    pieces = list(Cutter(plan, Chunker(seed=5)).feed(DATA))
    assert b"".join(piece.data for piece in pieces) == DATA
    assert {len(piece.data) for piece in pieces[:-1]} == {frame}


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(1, 3 * MIB), max_size=8))
def test_the_cuts_do_not_depend_on_how_the_bytes_arrive(steps):
    assert cut(steps) == cut([])


def test_a_deposit_that_goes_on_at_any_frame_cuts_what_is_left_alike_where_arrays_lie():
    whole = cut([])
    at = 0
    for number, piece in enumerate(whole):
        resumed = cut([], start=at)
        assert b"".join(left.data for left in resumed) == DATA[at:]
        wanted = [later for later in whole[number:] if later.array is not None]
        assert [later for later in resumed if later.array is not None] == wanted
        at += len(piece.data)


def test_a_deposit_that_goes_on_inside_a_frame_takes_its_rest_as_plain_bytes():
    resumed = cut([], start=1000 + 77)
    assert (resumed[0].array, len(resumed[0].data)) == (None, MIB - 77)
    assert resumed[1].array == 0


def test_more_bytes_than_planned_are_refused():
    cutter = Cutter(PLAN, Chunker(seed=5), start=SIZE - 1)
    with pytest.raises(ValueError, match="more bytes came"):
        list(cutter.feed(b"ab"))
