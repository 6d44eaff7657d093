"""Manifests and trees come back as they were, and sizes that do not add up are refused."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engram_format.catalog import Kind
from engram_format.encoding import decode, encode
from engram_format.errors import FormatError, InvalidInput
from engram_format.ids import Digest, ObjectName, PackId, SessionId
from engram_format.location import Location, LocationPage, PackRef
from engram_format.manifest import (
    MAX_METADATA_BYTES,
    Manifest,
    Segment,
    TreeEntry,
    TreePage,
    check_metadata,
    fitting_metadata,
    page_entries,
)
from engram_format.pack import FramePlace

REF = PackRef(SessionId(bytes(16)), ObjectName(bytes(16)), PackId(bytes(32)))
sizes = st.lists(st.integers(0, 4 * 2**20), max_size=6)
digests = st.binary(min_size=32, max_size=32).map(Digest)
metadata = st.dictionaries(
    st.text(min_size=1, max_size=20),
    st.text(max_size=20) | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.booleans(),
    max_size=5,
)


def page(frames: list[int]) -> LocationPage:
    return LocationPage.of(Location(REF, FramePlace(number, 0, size + 21, size)) for number, size in enumerate(frames))


def manifest(frames: list[int], **changes) -> Manifest:
    values = {
        "kind": Kind.FILE,
        "size": sum(frames),
        "sha256": Digest(bytes(32)),
        "time_ns": 0,
        "metadata": {},
        "made_from": (),
        "segments": (Segment("opaque", sum(frames), len(frames)),),
        "inline": page(frames),
    }
    return Manifest(**values | changes)


def fields_of(value: Manifest | TreePage) -> dict:
    return decode(value.to_bytes(), what="it")


@given(sizes, st.sampled_from(Kind), digests, st.integers(-(2**63), 2**63 - 1), metadata, st.lists(digests, max_size=3))
@settings(max_examples=60)
def test_a_manifest_is_read_as_it_was_written(frames, kind, sha256, time_ns, metadata, made_from):
    written = manifest(frames, kind=kind, sha256=sha256, time_ns=time_ns, metadata=metadata, made_from=tuple(made_from))
    again = Manifest.from_bytes(written.to_bytes())
    assert again.to_bytes() == written.to_bytes()
    assert (again.kind, again.sha256, again.time_ns, again.made_from) == (kind, sha256, time_ns, tuple(made_from))
    assert again.metadata == metadata
    assert list(again.inline) == list(written.inline)
    assert again.pages is None


def test_a_long_recipe_stands_in_pages():
    written = manifest([], size=10**9, segments=(Segment("opaque", 10**9, 40_000),), inline=None)
    written = Manifest.from_bytes(encode(fields_of(written) | {9: page([100, 200]).to_bytes(), 10: [0, 5 * 10**8]}))
    assert written.page_starts == (0, 5 * 10**8)
    assert Manifest.from_bytes(written.to_bytes()).to_bytes() == written.to_bytes()


@pytest.mark.parametrize(
    "changed",
    [
        {1: "dream"},
        {1: b"file"},
        {2: 301},
        {2: -300},
        {3: bytes(31)},
        {4: "now"},
        {5: {1: "integer key"}},
        {5: {"list": []}},
        {5: {"bytes": b""}},
        {5: {"null": None}},
        {6: [bytes(31)]},
        {6: bytes(32)},
        {7: []},
        {7: [["opaque", 299, 2]]},
        {7: [["opaque", -1, 1], ["opaque", 301, 1]]},
        {7: [["opaque", 300, -2]]},
        {7: [["opaque", 300]]},
        {7: [["opaque", 300, 2, 0]]},
        {7: [[b"opaque", 300, 2]]},
        {7: ["opaque"]},
        {8: page([100, 201]).to_bytes()},
        {8: page([]).to_bytes()},
        {8: b""},
        {9: page([100, 200]).to_bytes(), 10: [0, 100]},
        {11: 0},
    ],
)
def test_a_manifest_that_contradicts_itself_is_refused(changed):
    with pytest.raises(FormatError):
        Manifest.from_bytes(encode(fields_of(manifest([100, 200])) | changed))


def test_a_manifest_without_a_recipe_is_refused():
    fields = fields_of(manifest([]))
    with pytest.raises(FormatError, match="either in it or in pages"):
        Manifest.from_bytes(encode({key: value for key, value in fields.items() if key != 8}))


@pytest.mark.parametrize("starts", [[], [0], [0, 1, 2]])
def test_each_page_has_its_start(starts):
    fields = {key: value for key, value in fields_of(manifest([])).items() if key != 8}
    with pytest.raises(FormatError, match="one start for each page"):
        Manifest.from_bytes(encode(fields | {9: page([1, 2]).to_bytes(), 10: starts}))


@pytest.mark.parametrize(
    "items",
    [
        {"": 1},
        {"n" * 129: 1},
        {"null": None},
        {"bytes": b""},
        {"list": [1]},
        {"large": 2**64},
        {"surrogate": "\ud800"},
        {"long": "x" * 262_144},
    ],
)
def test_metadata_that_cannot_be_stored_is_refused(items):
    with pytest.raises(InvalidInput):
        check_metadata(items)


def test_metadata_of_every_scalar_kind_is_taken():
    items = {"text": "x", "integer": -1, "number": 0.5, "truth": True, "n" * 128: "x" * 200_000}
    assert check_metadata(items) is items


def entry(path: str, **changes) -> TreeEntry:
    values = {"kind": Kind.FILE, "size": 3, "sha256": Digest(bytes(32)), "time_ns": 0, "stored_size": 24, "frames": 1}
    return TreeEntry(path, **values | changes)


@given(st.lists(st.from_regex(r"[a-c\u00e9]{1,3}(/[a-c]{1,2})?", fullmatch=True), unique=True, max_size=8))
def test_a_tree_is_read_as_it_was_written(paths):
    written = TreePage(tuple(entry(path) for path in sorted(paths)), page([3] * len(paths)))
    again = TreePage.from_bytes(written.to_bytes())
    assert again.entries == written.entries
    assert again.to_bytes() == written.to_bytes()


@pytest.mark.parametrize(
    "rows",
    [
        [["b"], ["a"]],
        [["a"], ["a"]],
        [["a"]],
        [["a"], ["b"], ["c"]],
        [["/a"], ["b"]],
        [["a"], ["b/../c"]],
        [["a", "dream"], ["b"]],
        [["a", "file", -1], ["b"]],
        [["a", "file", 3, bytes(31)], ["b"]],
        [["a", "file", 3, bytes(32), "now"], ["b"]],
        [["a", "file", 3, bytes(32), 0, 24, 1, 0], ["b"]],
        [[], ["b"]],
        [7, ["b"]],
    ],
)
def test_a_tree_that_cannot_be_is_refused(rows):
    usual = ["", "file", 3, bytes(32), 0, 24, 1]
    whole = [row + usual[len(row) :] if isinstance(row, list) and row else row for row in rows]
    with pytest.raises(FormatError):
        TreePage.from_bytes(encode({1: whole, 2: page([3, 3]).to_bytes()}))


def test_a_tree_is_cut_into_pages_that_fit_a_frame():
    entries = [entry(f"{number:04}" + "p" * 1000) for number in range(4000)]
    pages = list(page_entries(reversed(entries)))
    assert [item for items in pages for item in items] == entries
    assert len(pages) == 3
    for items in pages:
        assert len(TreePage(tuple(items), page([3] * len(items))).to_bytes()) < 4 * 2**20
    assert list(page_entries([])) == []


def test_what_a_file_says_of_itself_never_makes_its_metadata_too_long():
    given = {"notes": "n" * 200_000, "subject.id": "r1"}
    found = {
        "subject.id": "r2",
        "subject.species": "Rattus norvegicus",
        "session.description": "d" * 70_000,
        "k" * 129: "v",
        "": "v",
        "counter": 2**64 - 1,
        "half": "\ud800",
        "not a number": float("nan"),
    }
    kept = fitting_metadata(found, given=given)
    assert list(kept) == ["subject.species", "not a number"]
    check_metadata({**kept, **given})


@given(st.dictionaries(st.text(min_size=1, max_size=8), st.integers(0, 300_000).map("x".__mul__), max_size=8))
@settings(max_examples=50, deadline=None)
def test_metadata_that_fit_may_be_stored_and_the_shortest_are_kept(found):
    kept = fitting_metadata(found, given={"given": "g" * 1000})
    check_metadata({**kept, "given": "g" * 1000})
    lost = [len(value) for name, value in found.items() if name not in kept and name != "given"]
    assert not lost or sum(map(len, kept.values())) + min(lost) > MAX_METADATA_BYTES - 1300
