"""A page of locations gives back every row as it was, modulo nothing."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engram_format.encoding import decode, encode
from engram_format.errors import FormatError
from engram_format.frame import MAX_FRAME_BYTES
from engram_format.ids import ObjectName, PackId, SessionId
from engram_format.location import MAX_PAGE_FRAMES, Location, LocationPage, PackRef
from engram_format.pack import FramePlace

u32 = st.integers(0, 2**32 - 1)
refs = st.integers(0, 5).map(
    lambda number: PackRef(
        SessionId(bytes([number]) * 16), ObjectName(bytes([number + 1]) * 16), PackId(bytes([number]) * 32)
    )
)
locations = st.builds(
    Location, refs, st.builds(FramePlace, u32, u32, st.integers(17, 2**32 - 1), st.integers(0, MAX_FRAME_BYTES))
)


def ref(number: int) -> PackRef:
    return PackRef(SessionId(bytes([number]) * 16), ObjectName(bytes(16)), PackId(bytes(32)))


def row_of(pack: int, index: int, offset: int, length: int) -> Location:
    return Location(ref(pack), FramePlace(index, offset, length, 10))


@given(st.lists(locations, max_size=30))
def test_locations_come_back_in_their_order(rows):
    page = LocationPage.of(rows)
    again = LocationPage.from_bytes(page.to_bytes())
    assert list(again) == rows
    assert again.to_bytes() == page.to_bytes()
    assert again.stored_size == sum(row.place.length for row in rows)
    starts = [sum(row.place.raw_size for row in rows[:number]) for number in range(len(rows) + 1)]
    assert again.starts().tolist() == starts


@given(st.lists(locations, max_size=30))
@settings(max_examples=50)
def test_another_reader_finds_the_same_rows(spec_reader, rows):
    found = spec_reader.read_locations(LocationPage.of(rows).to_bytes())
    assert found == [
        (row.pack.raw, row.place.index, row.place.offset, row.place.length, row.place.raw_size) for row in rows
    ]


def test_frames_that_lie_side_by_side_cost_nothing():
    rows = [row_of(1, 5 + number, 1000 + 64 * number, 64) for number in range(100)]
    fields = decode(LocationPage.of(rows).to_bytes(), what="a page")
    assert np.frombuffer(fields[3], "<u4").tolist() == [5] + [0] * 99
    assert np.frombuffer(fields[4], "<u4").tolist() == [1000] + [0] * 99


def test_differences_begin_anew_where_the_pack_changes():
    rows = [row_of(1, 7, 100, 10), row_of(2, 8, 110, 10), row_of(1, 9, 120, 10), row_of(1, 3, 30, 10)]
    fields = decode(LocationPage.of(rows).to_bytes(), what="a page")
    assert np.frombuffer(fields[2], "<u4").tolist() == [0, 1, 0, 0]
    assert np.frombuffer(fields[3], "<u4").tolist() == [7, 8, 9, 2**32 - 7]
    assert np.frombuffer(fields[4], "<u4").tolist() == [100, 110, 120, 2**32 - 100]


def test_a_page_of_the_most_frames_is_read_and_one_more_refused():
    full = LocationPage.of(
        row_of(number % 3, number, 2**32 - 1 - number, 2**32 - 1) for number in range(MAX_PAGE_FRAMES)
    )
    again = LocationPage.from_bytes(full.to_bytes())
    assert again[MAX_PAGE_FRAMES - 1] == full[MAX_PAGE_FRAMES - 1]
    longer = LocationPage.of(row_of(0, number, 0, 0) for number in range(MAX_PAGE_FRAMES + 1))
    with pytest.raises(FormatError, match="do not fit together"):
        LocationPage.from_bytes(longer.to_bytes())


@pytest.mark.parametrize(
    "changed",
    [
        {1: bytes(63)},
        {1: b""},
        {2: (1).to_bytes(4, "little")},
        {2: b""},
        {3: bytes(3)},
        {4: bytes(8)},
        {5: bytes(5)},
        {6: (MAX_FRAME_BYTES + 1).to_bytes(4, "little")},
        {6: [0]},
        {7: b""},
    ],
)
def test_columns_that_do_not_fit_are_refused(changed):
    fields = decode(LocationPage.of([row_of(0, 0, 0, 0)]).to_bytes(), what="a page")
    with pytest.raises(FormatError):
        LocationPage.from_bytes(encode(fields | changed))


def test_a_missing_column_is_refused():
    fields = decode(LocationPage.of([row_of(0, 0, 0, 0)]).to_bytes(), what="a page")
    for key in fields:
        with pytest.raises(FormatError, match=f"field {key}"):
            LocationPage.from_bytes(encode({other: fields[other] for other in fields if other != key}))


def test_a_pack_reference_has_sixty_four_bytes():
    assert PackRef.from_raw(ref(3).raw) == ref(3)
    for length in (0, 63, 65):
        with pytest.raises(FormatError):
            PackRef.from_raw(bytes(length))
