"""An index run finds every frame that was put into it, and no other."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engram_format.encoding import decode, encode
from engram_format.errors import FormatError
from engram_format.ids import ContentId, ObjectName, PackId, SessionId
from engram_format.index import MAX_RUN_FRAMES, IndexRun
from engram_format.location import Location, PackRef
from engram_format.pack import FramePlace

refs = st.integers(0, 4).map(
    lambda number: PackRef(SessionId(bytes(16)), ObjectName(bytes([number]) * 16), PackId(bytes([number]) * 32))
)
places = st.builds(
    FramePlace, st.integers(0, 2**16 - 1), st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1), st.integers(0, 2**22)
)
halves = st.sampled_from([bytes(8), b"\x00" * 7 + b"\x01", b"\xff" * 8]) | st.binary(min_size=8, max_size=8)
contents = st.builds(lambda high, low, rest: ContentId(high + low + rest * 16), halves, halves, st.just(b"r"))
entries = st.dictionaries(contents, st.builds(Location, refs, places), max_size=20)


def _content(number: int) -> ContentId:
    return ContentId(number.to_bytes(16, "big") + bytes(16))


def _many(count: int, *, pack: int = 0) -> dict[ContentId, Location]:
    ref = PackRef(SessionId(bytes(16)), ObjectName(bytes([pack]) * 16), PackId(bytes(32)))
    return {
        _content(number * 0x9E3779B97F4A7C15 % 2**64 << 32 | pack): Location(
            ref, FramePlace(number % 2**16, number, number, 7)
        )
        for number in range(count)
    }


@given(entries, contents)
def test_a_run_finds_what_it_holds(rows, other):
    run = IndexRun.from_bytes(IndexRun.of(rows).to_bytes())
    assert len(run) == len(rows)
    for content, location in rows.items():
        assert run.find(content, raw_size=location.place.raw_size) == location
    if other not in rows:
        assert run.find(other, raw_size=0) is None


@given(entries)
def test_a_run_is_read_as_it_was_written(rows):
    data = IndexRun.of(rows).to_bytes()
    assert IndexRun.from_bytes(data).to_bytes() == data


@given(st.lists(entries, max_size=4))
@settings(max_examples=60)
def test_merged_runs_find_what_each_of_them_holds(parts):
    merged = IndexRun.from_bytes(IndexRun.merged([IndexRun.of(rows) for rows in parts]).to_bytes())
    assert len(merged) == sum(map(len, parts))
    for rows in parts:
        for content, location in rows.items():
            candidates = [part[content] for part in parts if content in part]
            found = merged.find(content, raw_size=location.place.raw_size)
            wanted = [(one.pack, one.place.index, one.place.offset, one.place.length) for one in candidates]
            assert (found.pack, found.place.index, found.place.offset, found.place.length) in wanted


@given(entries)
def test_the_columns_are_those_of_the_specification(spec_reader, rows):
    fields = spec_reader.decode_cbor(IndexRun.of(rows).to_bytes())
    high, low = spec_reader.u(64, fields[2]), spec_reader.u(64, fields[3])
    ordered = sorted(rows)
    assert [one.to_bytes(8, "big") + other.to_bytes(8, "big") for one, other in zip(high, low, strict=True)] == [
        content.raw[:16] for content in ordered
    ]
    packs = [fields[1][64 * number : 64 * number + 64] for number in spec_reader.u(32, fields[4])]
    assert packs == [rows[content].pack.raw for content in ordered]
    assert spec_reader.u(16, fields[5]) == [rows[content].place.index for content in ordered]
    assert spec_reader.u(32, fields[6]) == [rows[content].place.offset for content in ordered]
    assert spec_reader.u(32, fields[7]) == [rows[content].place.length for content in ordered]


def test_a_long_run_is_cut_into_pieces_that_can_be_stored():
    parts = [_many(30_000), _many(40_000, pack=1)]
    merged = IndexRun.merged([IndexRun.of(rows) for rows in parts])
    pieces = [IndexRun.from_bytes(piece.to_bytes()) for piece in merged.pieces()]
    assert [len(piece) for piece in pieces] == [MAX_RUN_FRAMES, MAX_RUN_FRAMES, 70_000 - 2 * MAX_RUN_FRAMES]
    for content, location in list(parts[1].items())[::997]:
        found = [piece.find(content, raw_size=7) for piece in pieces]
        assert [one for one in found if one] == [location]
    with pytest.raises(FormatError, match="do not fit"):
        IndexRun.from_bytes(merged.to_bytes())
    assert list(IndexRun.of({}).pieces()) == []


def test_pieces_name_only_the_packs_that_they_need():
    low = {_content(number): next(iter(_many(1).values())) for number in range(MAX_RUN_FRAMES)}
    high = {_content(2**100 + number): next(iter(_many(1, pack=1).values())) for number in range(5)}
    first, second = IndexRun.of(low | high).pieces()
    assert [len(first.packs), len(second.packs)] == [1, 1]
    assert second.find(_content(2**100 + 3), raw_size=7) == next(iter(high.values()))


@pytest.mark.parametrize(
    "changed",
    [
        {1: b""},
        {1: bytes(65)},
        {2: bytes(8)},
        {2: (9).to_bytes(8, "little") + (8).to_bytes(8, "little")},
        {3: bytes(15)},
        {4: (0).to_bytes(4, "little") + (1).to_bytes(4, "little")},
        {5: bytes(8)},
        {6: bytes(4)},
        {7: 0},
        {8: b""},
    ],
)
def test_a_run_whose_columns_do_not_fit_is_refused(changed):
    fields = decode(IndexRun.of(_many(2)).to_bytes(), what="a run")
    with pytest.raises(FormatError):
        IndexRun.from_bytes(encode(fields | changed))


def test_order_is_that_of_unsigned_numbers():
    rows = {ContentId(bytes([first]) + bytes(31)): next(iter(_many(1).values())) for first in (0x7F, 0x80, 0xFF, 0x00)}
    run = IndexRun.from_bytes(IndexRun.of(rows).to_bytes())
    assert np.all(run.high[1:] > run.high[:-1])
    assert all(run.find(content, raw_size=7) for content in rows)
