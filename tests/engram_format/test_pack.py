"""A pack gives back its frames or an error, and shows nothing of them."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engram_format.codecs import Zstd
from engram_format.encoding import encode
from engram_format.errors import FormatError
from engram_format.frame import decode_frame, encode_frame
from engram_format.ids import ContentId, PackId, SessionId, VaultId
from engram_format.pack import (
    DATA_BYTES,
    FramePlace,
    FrameTable,
    PackBuilder,
    PackCipher,
    PackHeader,
    buffer_bytes,
    padme,
    read_frames,
    read_table,
)
from engram_format.session import SessionKey


@given(st.lists(st.binary(max_size=400), max_size=8), st.binary(max_size=60), st.booleans())
@settings(max_examples=60)
def test_originals_come_back_from_a_pack(make_pack, originals_in, key, originals, trail, parity):
    pack = make_pack(originals, trail=trail, parity=parity)
    assert originals_in(pack) == originals
    header, table = read_table(memoryview(pack), key)
    assert table.trail == trail
    assert [place.raw_size for place in table.places] == [len(original) for original in originals]
    assert header == PackHeader.read(pack)[0]


@given(st.lists(st.binary(max_size=400) | st.binary(max_size=9).map(lambda data: data * 60), max_size=6), st.booleans())
@settings(max_examples=40)
def test_another_reader_gets_every_byte_back(make_pack, spec_reader, key, originals, parity):
    pack = spec_reader.Pack(make_pack(originals, trail=b"trail", parity=parity, steps=(Zstd(),)), key.secret)
    assert pack.originals() == originals
    assert pack.trail == b"trail"
    assert pack.footer[2] is parity


def test_another_reader_gets_a_full_pack_back(make_pack, spec_reader, key):
    frames = [bytes([number]) * (4 * 2**20 - 64) for number in range(3)]
    pack = spec_reader.Pack(make_pack(frames, full=True), key.secret)
    assert pack.is_full
    assert pack.originals() == frames


def test_a_pack_is_the_same_bytes_each_time(make_pack):
    assert make_pack([b"one", b"two"]) == make_pack([b"one", b"two"])


def test_a_frame_is_read_alone_with_a_computed_header(make_pack, header_of, key):
    pack = make_pack([b"one" * 50, b"two" * 60])
    place = read_table(memoryview(pack), key)[1].places[1]
    ranged = pack[place.offset : place.offset + place.length]
    assert decode_frame(PackCipher(key, header_of()).decrypt_frame(1, ranged)) == b"two" * 60


def test_a_header_is_read_as_it_is_written(header_of):
    header = header_of()
    data = header.to_bytes()
    assert PackHeader.read(data + b"rest") == (header, len(data))
    for length in range(len(data)):
        with pytest.raises(FormatError):
            PackHeader.read(data[:length])


@pytest.mark.parametrize("changed", [{1: 2}, {2: 2}, {3: b""}, {5: bytes(16)}, {6: bytes(31)}, {7: 0}])
def test_a_header_of_another_form_is_refused(header_of, changed):
    header = header_of()
    fields = {1: 1, 2: 1, 3: header.vault.raw, 4: header.session.raw, 5: header.pack.raw, 6: header.commitment}
    body = encode(fields | changed)
    with pytest.raises(FormatError):
        PackHeader.read(b"ENGRPACK" + len(body).to_bytes(4, "little") + body)
    with pytest.raises(FormatError):
        PackHeader.read(b"ENGRPACK" + (2**32 - 1).to_bytes(4, "little") + body)


def test_a_wrong_key_is_refused_by_the_commitment(make_pack, header_of):
    wrong = SessionKey(bytes(32))
    with pytest.raises(FormatError, match="does not belong to the key"):
        PackCipher(wrong, header_of())
    with pytest.raises(FormatError, match="does not belong to the key"):
        list(read_frames(memoryview(make_pack([b"one"])), wrong))


def test_a_forged_commitment_does_not_help_a_wrong_key(make_pack, header_of):
    """Not even the locator decrypts where somebody has written another key's commitment into the header."""
    wrong, header = SessionKey(bytes(32)), header_of()
    pack = bytearray(make_pack([b"one"]))
    forged = PackHeader(header.vault, header.session, header.pack, wrong.commitment(header.pack)).to_bytes()
    pack[: len(forged)] = forged
    with pytest.raises(FormatError, match="locator"):
        list(read_frames(memoryview(pack), wrong))


def test_swapped_frames_are_refused(make_pack, key):
    pack = bytearray(make_pack([b"one" * 20, b"two" * 20]))
    one, two = (
        slice(place.offset, place.offset + place.length) for place in read_table(memoryview(pack), key)[1].places
    )
    pack[one], pack[two] = pack[two], pack[one]
    with pytest.raises(FormatError, match="frame 0"):
        list(read_frames(memoryview(pack), key))


def test_a_frame_does_not_decrypt_in_another_place_or_pack(make_pack, header_of, key):
    packs = [make_pack([b"the same", b"the same"], number=number) for number in range(2)]
    frames = {}
    for number, pack in enumerate(packs):
        for place in read_table(memoryview(pack), key)[1].places:
            frames[number, place.index] = pack[place.offset : place.offset + place.length]
    for (number, index), ciphertext in frames.items():
        for other_number in range(2):
            cipher = PackCipher(key, header_of(other_number))
            for other_index in range(3):
                if (number, index) == (other_number, other_index):
                    assert decode_frame(cipher.decrypt_frame(index, ciphertext)) == b"the same"
                    continue
                with pytest.raises(FormatError, match="does not decrypt"):
                    cipher.decrypt_frame(other_index, ciphertext)


def test_the_header_of_another_pack_is_refused(make_pack, header_of, key):
    pack = bytearray(make_pack([b"one"]))
    other = header_of(1).to_bytes()
    pack[: len(other)] = other
    with pytest.raises(FormatError, match="does not decrypt"):
        list(read_frames(memoryview(pack), key))


@pytest.mark.parametrize("part", ["vault", "session"])
def test_a_pack_that_was_moved_is_refused(make_pack, header_of, key, part):
    header = header_of()
    moved = PackHeader(
        VaultId(bytes(16)) if part == "vault" else header.vault,
        SessionId(bytes(16)) if part == "session" else header.session,
        header.pack,
        header.commitment,
    ).to_bytes()
    pack = bytearray(make_pack([b"one"]))
    pack[: len(moved)] = moved
    with pytest.raises(FormatError, match="does not decrypt"):
        list(read_frames(memoryview(pack), key))


def test_the_tail_of_another_pack_is_refused(make_pack, key):
    one, other = make_pack([b"one"]), make_pack([b"two"], number=1)
    assert len(one) == len(other)
    tail = 72 + 2 * int.from_bytes(one[-36:-32], "little")
    with pytest.raises(FormatError, match="locator"):
        list(read_frames(memoryview(one[:-tail] + other[-tail:]), key))


@given(st.lists(st.binary(max_size=300), max_size=10), st.binary(max_size=50))
@settings(max_examples=50)
def test_a_full_pack_has_the_same_length_whatever_it_holds(make_pack, originals, trail):
    assert len(make_pack(originals, trail=trail, capacity=8192, full=True)) == len(
        make_pack([], capacity=8192, full=True)
    )


def test_a_full_pack_has_sixty_four_mebibytes_and_its_footers(make_pack):
    lengths = {len(make_pack(frames, full=True)) for frames in ([], [b"a" * 4_000_000] * 5)}
    assert len(lengths) == 1
    assert 0 < lengths.pop() - 64 * 2**20 < 2**13


@given(st.integers(0, 300), st.integers(0, 300))
@settings(max_examples=60)
def test_the_length_of_a_last_pack_depends_on_its_padded_size_only(make_pack, key, one, other):
    packs = [make_pack([bytes(size)]) for size in (one, other)]
    tables = [read_table(memoryview(pack), key) for pack in packs]
    used = [table.places[-1].offset + table.places[-1].length + len(table.to_bytes()) + 16 for _, table in tables]
    assert (len(packs[0]) == len(packs[1])) == (padme(used[0]) == padme(used[1]))


def test_nothing_of_a_frame_shows_in_a_pack(make_pack):
    secret = b"a name that nobody may read"
    pack = make_pack([secret], trail=secret)
    assert secret not in pack
    assert hashlib.sha256(secret).digest() not in pack
    assert ContentId.of(secret, id_key=b"id key of a test".ljust(32, b".")).raw not in pack


def test_a_pack_says_what_fits(key, header_of):
    capacity = 2048
    builder = PackBuilder(key, header_of(), buffer=bytearray(buffer_bytes(capacity)), capacity=capacity)
    plaintext = encode_frame(bytes(100), [])
    while builder.has_room(len(plaintext), trail_bytes=40):
        builder.add(plaintext, content=ContentId(bytes(32)), raw_size=100)
    assert builder.frames == 11
    pack = builder.seal(trail=bytes(40), parity=True, full=True)
    assert len(list(read_frames(pack, key))) == 11


def test_a_pack_has_no_more_frames_than_an_index_run_can_number(key, header_of):
    capacity = 6 * 2**20
    builder = PackBuilder(key, header_of(), buffer=bytearray(buffer_bytes(capacity)), capacity=capacity)
    while builder.has_room(5, trail_bytes=0):
        builder.add(bytes(5), content=ContentId(bytes(32)), raw_size=0)
    assert builder.frames == 2**16


def test_a_pack_that_would_overflow_is_not_sealed(key, header_of):
    builder = PackBuilder(key, header_of(), buffer=bytearray(buffer_bytes(512)), capacity=512)
    builder.add(bytes(330), content=ContentId(bytes(32)), raw_size=325)
    with pytest.raises(ValueError, match="cannot hold"):
        builder.seal(parity=True, full=True)
    with pytest.raises(ValueError, match="needs a buffer"):
        PackBuilder(key, header_of(), buffer=bytearray(1000), capacity=1000)


def test_a_buffer_may_be_used_again(key, header_of):
    buffer = bytearray(buffer_bytes(4096))
    for originals in ([b"a" * 3000], [b"b"]):
        builder = PackBuilder(key, header_of(), buffer=buffer, capacity=4096)
        for original in originals:
            builder.add(encode_frame(original, []), content=ContentId(bytes(32)), raw_size=len(original))
        pack = bytes(builder.seal(parity=True, full=True))
        assert [bytes(decode_frame(plaintext)) for _, _, plaintext in read_frames(memoryview(pack), key)] == originals


tables = st.lists(
    st.tuples(st.integers(16, 2**22), st.integers(0, 2**22), st.binary(min_size=32, max_size=32)), max_size=6
)


@given(tables, st.binary(max_size=20), st.integers(100, 200))
def test_a_frame_table_is_read_as_it_was_written(rows, trail, start):
    places, offset = [], start
    for index, (length, raw_size, _) in enumerate(rows):
        places.append(FramePlace(index, offset, length, raw_size))
        offset += length
    table = FrameTable(tuple(places), tuple(ContentId(content) for _, _, content in rows), trail)
    assert FrameTable.from_bytes(table.to_bytes(), first_offset=start, end=offset) == table
    with pytest.raises(FormatError, match="do not fill"):
        FrameTable.from_bytes(table.to_bytes(), first_offset=start, end=offset + 1)


@pytest.mark.parametrize(
    "changed", [{1: bytes(3)}, {1: bytes(8)}, {2: b""}, {3: bytes(31)}, {3: bytes(64)}, {4: ""}, {5: 0}]
)
def test_a_frame_table_of_unequal_columns_is_refused(changed):
    fields = {1: (40).to_bytes(4, "little"), 2: bytes(4), 3: bytes(32), 4: b""}
    FrameTable.from_bytes(encode(fields), first_offset=0, end=40)
    with pytest.raises(FormatError):
        FrameTable.from_bytes(encode(fields | changed), first_offset=0, end=40)


PADME = {2: 2, 3: 3, 7: 7, 8: 8, 9: 10, 15: 16, 16: 16, 17: 18, 31: 32, 33: 36, 65: 72, 100: 104, 127: 128, 129: 144}
PADME |= {255: 256, 257: 272, 511: 512, 513: 544, 1000: 1024, 1025: 1088, 4097: 4352, 10_000: 10_240, 65_535: 65_536}
PADME |= {65_537: 67_584, 100_000: 100_352, 1_000_000: 1_015_808, 2**20 + 1: 1_081_344, 10_000_000: 10_223_616}
PADME |= {60_000_001: 60_817_408, DATA_BYTES: DATA_BYTES, 2**30 + 1: 1_107_296_256, 10**12: 1_005_022_347_264}


@pytest.mark.parametrize(("length", "padded"), PADME.items())
def test_padme_has_the_values_of_its_definition(spec_reader, length, padded):
    assert spec_reader.padme(length) == padded
    assert padme(length) == padded


@given(st.integers(2, 2**36))
def test_padme_is_the_published_function(spec_reader, length):
    assert padme(length) == spec_reader.padme(length)
    assert length <= padme(length) <= length * 1.12
    assert padme(padme(length)) == padme(length)


def test_a_pack_id_of_another_length_is_refused():
    with pytest.raises(FormatError):
        PackId(bytes(16))
