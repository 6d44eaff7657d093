"""Bytes that two recipes share are those in frames at one place of one pack."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from engram_format.ids import ObjectName, PackId, SessionId
from engram_format.location import Location, LocationPage, PackRef
from engram_format.pack import FramePlace
from engram_store.difference import shared_bytes

PACKS = [
    PackRef(
        SessionId(bytes([number]) * SessionId.LENGTH),
        ObjectName(bytes([number]) * ObjectName.LENGTH),
        PackId(bytes([number]) * PackId.LENGTH),
    )
    for number in range(3)
]

places = st.tuples(st.sampled_from(PACKS), st.integers(0, 20))
recipes = st.lists(st.lists(places, max_size=12), max_size=4)


def pages(recipe):
    """Each frame is as long as its number says, so that equal places have equal lengths."""
    return [
        LocationPage.of(Location(pack, FramePlace(index, 1000 * index, 100, 10 + index)) for pack, index in page)
        for page in recipe
    ]


@given(recipes, recipes)
def test_shared_bytes_are_those_of_frames_at_equal_places(older, newer):
    known = {place for page in older for place in page}
    wanted = sum(10 + place[1] for page in newer for place in page if place in known)
    assert shared_bytes(pages(older), pages(newer)) == wanted


def test_the_same_number_in_another_pack_is_another_frame():
    first, second = pages([[(PACKS[0], 4)]]), pages([[(PACKS[1], 4)]])
    assert shared_bytes(first, second) == 0
    assert shared_bytes(first, first) == 14


def test_pages_number_their_packs_each_for_itself():
    older = pages([[(PACKS[0], 1), (PACKS[1], 2)], [(PACKS[2], 3)]])
    newer = pages([[(PACKS[2], 3), (PACKS[0], 2)], [(PACKS[1], 2)]])
    assert shared_bytes(older, newer) == 13 + 12
