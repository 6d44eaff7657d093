"""Every flipped bit of a small pack is found and repaired without a key, and is never read as other data."""

from __future__ import annotations

import pytest

from engram_format.errors import FormatError
from engram_format.pack import read_frames, read_table
from engram_format.shards import Footer, inspect, repair

ORIGINALS = [b"first frame " * 9, b"", b"third frame, a longer one " * 7]
BITS = tuple(range(8))


@pytest.fixture(scope="module")
def pack(make_pack) -> bytes:
    return make_pack(ORIGINALS, trail=b"trail")


def _flips(pack: bytes, *, bits: tuple[int, ...] = BITS):
    changed = bytearray(pack)
    for place in range(len(pack)):
        for bit in bits:
            changed[place] ^= 1 << bit
            yield place, changed
            changed[place] ^= 1 << bit


def test_every_flip_is_found_and_repaired(pack):
    for place, changed in _flips(pack):
        assert not inspect(memoryview(changed)).sound, place
        assert repair(memoryview(changed)) == pack, place


def test_no_flip_is_read_as_other_data(pack, key):
    whole = list(read_frames(memoryview(pack), key))
    table = read_table(memoryview(pack), key)[1]
    table_end = table.places[-1].offset + table.places[-1].length + len(table.to_bytes()) + 16
    unread = 0
    for place, changed in _flips(pack):
        try:
            found = list(read_frames(memoryview(changed), key))
        except FormatError:
            assert place < table_end, f"a flip at {place}, outside what is read, is refused"
            continue
        assert found == whole
        assert place >= table_end, f"a flip at {place} is not noticed"
        unread += 1
    assert unread == len(BITS) * (len(pack) - table_end)


def test_frames_before_a_damaged_one_are_those_that_were_written(pack, key):
    whole = list(read_frames(memoryview(pack), key))
    place = whole[2][0]
    changed = bytearray(pack)
    changed[place.offset + 5] ^= 1
    frames = read_frames(memoryview(changed), key)
    assert [next(frames), next(frames)] == whole[:2]
    with pytest.raises(FormatError, match="frame 2"):
        next(frames)


def test_every_cut_is_refused(pack, key):
    for length in range(len(pack)):
        cut = memoryview(pack)[:length]
        for look in (inspect, repair, lambda data: list(read_frames(data, key))):
            with pytest.raises(FormatError):
                look(cut)


def test_every_removed_shard_is_repaired_or_refused(pack):
    """Where bytes are missing, all that follow have moved: more than parity gives back, unless only parity is hit."""
    footer = Footer.find(memoryview(pack))
    for place in range(footer.data_shards + footer.parity_shards):
        where = footer.shard(place)
        shorter = pack[: where.start] + pack[where.stop :]
        lost = footer.data_shards + footer.parity_shards - place
        if lost <= 2:
            assert repair(memoryview(shorter)) == pack
            continue
        with pytest.raises(FormatError.__base__):
            repair(memoryview(shorter))


def test_two_flips_in_two_shards_are_repaired(pack):
    for first in range(0, len(pack) - 700, 211):
        changed = bytearray(pack)
        changed[first] ^= 1
        changed[first + 256] ^= 0x80
        assert repair(memoryview(changed)) == pack
