"""Without a key, anybody sees what a pack has lost and gives it back (every pair of a group, every copy of the tail)."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engram_format import shards
from engram_format.encoding import encode
from engram_format.errors import Damaged, FormatError
from engram_format.shards import Footer, inspect, repair, shard_bytes


@pytest.fixture(scope="module")
def pack(make_pack) -> bytes:
    """A pack of one group of 30 shards and two of parity, 256 bytes each."""
    made = make_pack([bytes([number]) * 990 for number in range(7)])
    footer = Footer.find(memoryview(made))
    assert (footer.data_shards, footer.parity_shards, footer.groups) == (30, 2, 1)
    return made


def _destroyed(pack: bytes, places: tuple[int, ...]) -> bytes:
    footer = Footer.find(memoryview(pack))
    changed = bytearray(pack)
    for place in places:
        where = footer.shard(place)
        changed[where] = bytes(byte ^ 0xA5 for byte in changed[where])
    return bytes(changed)


def test_a_pack_is_sound_as_it_was_written(pack):
    found = inspect(memoryview(pack))
    assert found.sound
    assert found.repairable
    assert repair(memoryview(pack)) == pack


def test_every_pair_of_lost_shards_is_found_and_repaired(pack):
    places = range(32)
    for lost in [*itertools.combinations(places, 1), *itertools.combinations(places, 2)]:
        damaged = memoryview(_destroyed(pack, lost))
        found = inspect(damaged)
        assert found.damaged == lost
        assert found.repairable
        assert repair(damaged) == pack


def test_every_three_lost_shards_are_refused(pack):
    for lost in itertools.combinations(range(32), 3):
        damaged = memoryview(_destroyed(pack, lost))
        if lost[1] >= 30:  # one shard of data and both of parity
            assert inspect(damaged).damaged == lost
        with pytest.raises(Damaged, match="beyond its parity"):
            repair(damaged)
    assert not inspect(damaged).repairable


def test_each_group_of_a_long_pack_is_repaired_by_itself(make_pack):
    pack = make_pack([b"frame"], full=True)
    footer = Footer.find(memoryview(pack))
    assert (footer.data_shards, footer.groups, footer.parity_shards) == (60, 2, 4)
    damaged = memoryview(_destroyed(pack, (0, 29, 30, 62)))
    assert inspect(damaged).repairable
    assert repair(damaged) == pack
    damaged = memoryview(_destroyed(pack, (30, 59, 62)))
    assert not inspect(damaged).repairable
    with pytest.raises(Damaged, match="beyond its parity"):
        repair(damaged)


def test_a_pack_without_parity_shows_damage_and_is_not_repaired(make_pack, originals_in):
    pack = make_pack([b"one", b"two"], parity=False)
    assert inspect(memoryview(pack)).sound
    assert repair(memoryview(pack)) == pack
    assert originals_in(pack) == [b"one", b"two"]
    damaged = memoryview(_destroyed(pack, (0,)))
    assert inspect(damaged).damaged == (0,)
    assert not inspect(damaged).repairable
    with pytest.raises(Damaged):
        repair(damaged)


def _tail(pack: bytes) -> dict[str, slice]:
    end, footer = len(pack), len(Footer.find(memoryview(pack)).to_bytes())
    return {
        "first footer": slice(end - 72 - 2 * footer, end - 72 - footer),
        "second footer": slice(end - 72 - footer, end - 72),
        "first trailer": slice(end - 72, end - 36),
        "second trailer": slice(end - 36, end),
    }


@pytest.mark.parametrize("footer", ["first footer", "second footer", None])
@pytest.mark.parametrize("trailer", ["first trailer", "second trailer", None])
@pytest.mark.parametrize("lost", [(), (3, 31)])
def test_one_footer_and_one_trailer_are_enough(pack, originals_in, footer, trailer, lost):
    changed = bytearray(_destroyed(pack, lost))
    for copy in (footer, trailer):
        if copy:
            where = _tail(pack)[copy]
            changed[where] = bytes(where.stop - where.start)
    found = inspect(memoryview(changed))
    assert found.tail_damaged == bool(footer or trailer)
    assert found.sound == (not footer and not trailer and not lost)
    assert found.repairable
    assert repair(memoryview(changed)) == pack
    if not lost:
        assert originals_in(bytes(changed)) == originals_in(pack)


@pytest.mark.parametrize("kind", ["footer", "trailer"])
def test_a_pack_without_any_footer_or_trailer_is_refused(pack, kind):
    changed = bytearray(pack)
    for copy in ("first", "second"):
        where = _tail(pack)[f"{copy} {kind}"]
        changed[where] = bytes(where.stop - where.start)
    for look in (inspect, repair):
        with pytest.raises(FormatError, match="neither of its footers"):
            look(memoryview(changed))


def test_bytes_that_follow_a_pack_are_noticed(pack):
    for rest in (b"\x00", bytes(36), bytes(72)):
        with pytest.raises(FormatError):
            inspect(memoryview(pack + rest))


def test_bytes_between_parity_and_footer_are_noticed(pack):
    at = _tail(pack)["first footer"].start
    changed = memoryview(pack[:at] + b"more" + pack[at:])
    assert inspect(changed).tail_damaged
    assert repair(changed) == pack


def test_every_beginning_of_a_pack_is_refused(make_pack):
    pack = make_pack([b"one"])
    for length in range(len(pack)):
        for look in (inspect, repair):
            with pytest.raises(FormatError):
                look(memoryview(pack)[:length])


def test_every_end_of_a_pack_is_repaired_or_refused(make_pack):
    pack = make_pack([b"one", b"two" * 100])
    for start in range(1, len(pack)):
        try:
            assert repair(memoryview(pack)[start:]) == pack
        except Damaged:
            continue


def test_a_hole_is_repaired_where_parity_suffices(pack):
    footer = Footer.find(memoryview(pack))
    for place in (0, 29, 30, 31):
        where = footer.shard(place)
        cut = pack[: where.start] + bytes(where.stop - where.start) + pack[where.stop :]
        assert repair(memoryview(cut)) == pack


def test_a_repair_that_does_not_give_what_was_written_is_refused(pack):
    """Parity that was replaced together with its hash and its footers rebuilds other bytes, and no one takes them."""
    footer = Footer.find(memoryview(pack))
    changed = bytearray(_destroyed(pack, (5,)))
    p, q = footer.shard(30), footer.shard(31)
    changed[p], changed[q] = changed[q], changed[p]
    hashes = bytearray(footer.hashes)
    hashes[30 * 32 : 32 * 32] = footer.hash_of(31) + footer.hash_of(30)
    forged = Footer(footer.data_bytes, True, bytes(hashes), footer.locator)
    with pytest.raises(Damaged, match="is not what was written"):
        repair(memoryview(bytes(changed[: footer.body_bytes]) + forged.tail()))


@given(st.integers(1, 62_914_560))
def test_the_shard_size_is_that_of_the_specification(spec_reader, data_bytes):
    assert shard_bytes(data_bytes) == spec_reader.shard_size(data_bytes)


@pytest.mark.parametrize(
    ("data_bytes", "size"),
    [(1, 256), (7680, 256), (7681, 512), (15_728_640, 2**19), (31_457_280, 2**20), (62_914_560, 2**20)],
)
def test_a_shard_is_a_power_of_two_about_a_thirtieth(data_bytes, size):
    assert shard_bytes(data_bytes) == size


@given(st.integers(1, 62_914_560), st.booleans())
def test_the_room_that_a_builder_asks_for_suffices(data_bytes, parity):
    footer = Footer(data_bytes, parity, b"", bytes(32))
    count = footer.data_shards + footer.parity_shards
    whole = Footer(data_bytes, parity, bytes(32 * count), bytes(32))
    assert whole.body_bytes + len(whole.tail()) <= data_bytes + shards.overhead_bytes(data_bytes)


@given(st.integers(1, 62_914_560), st.booleans())
def test_a_footer_is_read_as_it_was_written(data_bytes, parity):
    count = Footer(data_bytes, parity, b"", b"").data_shards + Footer(data_bytes, parity, b"", b"").parity_shards
    footer = Footer(data_bytes, parity, bytes(32 * count), bytes(32))
    assert Footer.from_bytes(footer.to_bytes()) == footer
    assert Footer.find(memoryview(footer.tail())) == footer


@pytest.mark.parametrize(
    "fields",
    [
        {1: 0, 2: False, 3: b"", 4: b""},
        {1: 62_914_561, 2: False, 3: bytes(32 * 61), 4: b""},
        {1: 2**32, 2: False, 3: bytes(32 * 4096), 4: b""},
        {1: 2**64 - 1, 2: False, 3: b"", 4: b""},
        {1: 256, 2: False, 3: bytes(31), 4: b""},
        {1: 256, 2: False, 3: bytes(64), 4: b""},
        {1: 256, 2: True, 3: bytes(32), 4: b""},
        {1: 256, 2: 0, 3: bytes(32), 4: b""},
        {1: 256, 2: False, 3: bytes(32)},
        {1: 256, 2: False, 3: bytes(32), 4: b"", 5: 0},
    ],
)
def test_a_footer_that_cannot_be_is_refused(fields):
    with pytest.raises(FormatError):
        Footer.from_bytes(encode(fields))
