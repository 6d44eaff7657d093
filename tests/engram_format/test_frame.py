"""A frame tells by itself how it is decoded, and never becomes more than it declares (frames and codecs)."""

from __future__ import annotations

import os
import tracemalloc

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from engram_format.codecs import Zstd, codec_by_number
from engram_format.errors import FormatError
from engram_format.frame import MAX_FRAME_BYTES, decode_frame, encode_frame

ZSTD_STEP = b"\x01\x00"
MAGIC = bytes.fromhex("28b52ffd")


def frame(steps: list[bytes], size: int, coded: bytes) -> bytes:
    return bytes([len(steps)]) + b"".join(steps) + size.to_bytes(4, "little") + coded


def run_of(byte: bytes, length: int) -> bytes:
    """Return a Zstandard frame that says `byte` times `length`, written by hand: one block of the repeating kind."""
    return MAGIC + b"\xa0" + length.to_bytes(4, "little") + (length << 3 | 0b011).to_bytes(3, "little") + byte


@given(
    st.binary(max_size=2000) | st.binary(max_size=20).map(lambda data: data * 100),
    st.sampled_from([(), (1,), (19,), (1, 3)]),
)
def test_an_original_comes_back(original, levels):
    plaintext = encode_frame(original, [Zstd(level=level) for level in levels])
    assert bytes(decode_frame(plaintext)) == original
    assert len(plaintext) <= len(original) + 5


@given(st.binary(max_size=500))
def test_another_reader_decodes_the_frame(spec_reader, original):
    assert spec_reader.decode_frame(encode_frame(3 * original, [Zstd()])) == 3 * original


def test_what_does_not_get_shorter_is_kept():
    original = os.urandom(1000)
    assert encode_frame(original, [Zstd()]) == b"\x00" + (1000).to_bytes(4, "little") + original


def test_a_coded_frame_names_its_codec():
    plaintext = encode_frame(bytes(1000), [Zstd()])
    assert plaintext[:7] == b"\x01" + ZSTD_STEP + (1000).to_bytes(4, "little")


def test_the_longest_frame_has_sixteen_mebibytes():
    original = bytes(MAX_FRAME_BYTES)
    assert decode_frame(encode_frame(original, [Zstd()])) == original
    with pytest.raises(ValueError, match="at most 16777216"):
        encode_frame(bytes(MAX_FRAME_BYTES + 1), [])
    with pytest.raises(FormatError):
        decode_frame(frame([], MAX_FRAME_BYTES + 1, bytes(MAX_FRAME_BYTES + 1)))


def test_steps_are_undone_from_the_last_to_the_first():
    inner = run_of(b"a", 300)
    outer = zstandard.ZstdCompressor().compress(inner)
    assert decode_frame(frame([ZSTD_STEP, ZSTD_STEP], 300, outer)) == b"a" * 300


def test_eight_steps_are_allowed_and_nine_are_not():
    coded = b"some bytes"
    for _ in range(8):
        coded = zstandard.ZstdCompressor().compress(coded)
    assert decode_frame(frame([ZSTD_STEP] * 8, 10, coded)) == b"some bytes"
    with pytest.raises(FormatError, match="9 codec steps"):
        decode_frame(frame([ZSTD_STEP] * 9, 10, zstandard.ZstdCompressor().compress(coded)))
    with pytest.raises(FormatError, match="255 codec steps"):
        decode_frame(b"\xff" + bytes(2000))


@pytest.mark.parametrize("number", [0, 13, 200, 255])
def test_an_unknown_codec_is_refused(number):
    with pytest.raises(FormatError, match=f"codec {number}"):
        decode_frame(frame([bytes([number, 0])], 1, b"a"))
    with pytest.raises(FormatError):
        codec_by_number(number)


def test_every_frame_that_is_cut_is_refused():
    for plaintext in (
        encode_frame(b"a" * 100, [Zstd()]),
        encode_frame(b"ab", []),
        frame([b"\x01\x05abcde"], 3, b"abc"),
    ):
        for length in range(len(plaintext)):
            with pytest.raises(FormatError):
                decode_frame(plaintext[:length])


def test_parameters_of_a_codec_without_any_are_refused():
    with pytest.raises(FormatError, match="no parameters"):
        decode_frame(frame([b"\x01\x01x"], 100, run_of(b"a", 100)))


@pytest.mark.parametrize("declared", [0, 1, 99, 101, MAX_FRAME_BYTES])
def test_a_frame_of_another_size_than_it_declares_is_refused(declared):
    with pytest.raises(FormatError):
        decode_frame(frame([], declared, b"a" * 100))
    with pytest.raises(FormatError):
        decode_frame(frame([ZSTD_STEP], declared, run_of(b"a", 100)))


def _bombs():
    without_size = zstandard.ZstdCompressor(write_content_size=False).compress(bytes(10**6))
    yield "declares a tebibyte", MAGIC + b"\xe0" + (2**40).to_bytes(8, "little") + b"\x03\x00\x00a"
    yield "declares 2^64 - 2 bytes", MAGIC + b"\xe0" + (2**64 - 2).to_bytes(8, "little") + b"\x03\x00\x00a"
    yield "declares more than the frame", zstandard.ZstdCompressor().compress(bytes(3 * 2**30 // 64))
    yield "has no content size", without_size
    yield "has a window of 128 MiB", MAGIC + b"\x80\x88" + (100).to_bytes(4, "little") + b"\x23\x03\x00a"
    yield "gives more than it declares", MAGIC + b"\x20\x64" + (2**16 << 3 | 3).to_bytes(3, "little") + b"a"
    yield "gives less than it declares", MAGIC + b"\x20\x64" + (50 << 3 | 3).to_bytes(3, "little") + b"a"
    yield "is followed by another", run_of(b"a", 100) + run_of(b"b", 100)
    yield "is followed by a byte", run_of(b"a", 100) + b"\x00"
    yield "comes after a skippable one", bytes.fromhex("502a4d1804000000") + b"skip" + run_of(b"a", 100)
    yield "is skippable", bytes.fromhex("502a4d1864000000") + bytes(100)
    yield "wants a dictionary", MAGIC + b"\x21\x07\x64" + (100 << 3 | 3).to_bytes(3, "little") + b"a"
    yield "has a reserved bit", MAGIC + b"\x28\x64" + (100 << 3 | 3).to_bytes(3, "little") + b"a"
    yield "is of an old kind", bytes.fromhex("27b52ffd") + run_of(b"a", 100)[4:]
    yield "is empty", b""


@pytest.mark.parametrize("coded", [pytest.param(data, id=name) for name, data in _bombs()])
def test_a_zstandard_frame_that_is_refused(coded):
    with pytest.raises(FormatError):
        decode_frame(frame([ZSTD_STEP], 100, coded))
    with pytest.raises(FormatError):
        decode_frame(frame([ZSTD_STEP, ZSTD_STEP], 100, coded))


def test_a_bomb_is_refused_before_memory_is_taken():
    bomb = MAGIC + b"\xe0" + (2**40).to_bytes(8, "little") + b"\x03\x00\x00a"
    tracemalloc.start()
    try:
        with pytest.raises(FormatError, match="declares 1099511627776 bytes"):
            Zstd.decode(bomb, parameters=b"", limit=MAX_FRAME_BYTES)
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()


def test_a_bomb_inside_a_frame_is_refused():
    inner = zstandard.ZstdCompressor().compress(bytes(2**26))
    outer = zstandard.ZstdCompressor().compress(inner)
    with pytest.raises(FormatError, match="declares 67108864 bytes"):
        decode_frame(frame([ZSTD_STEP, ZSTD_STEP], MAX_FRAME_BYTES, outer))


def test_a_flipped_bit_is_refused_or_gives_a_frame_of_the_declared_length():
    plaintext = encode_frame(b"the same words, the same words, the same words, the same words", [Zstd()])
    size = slice(3, 7)
    for bit in range(8 * len(plaintext)):
        changed = bytearray(plaintext)
        changed[bit // 8] ^= 1 << bit % 8
        try:
            again = decode_frame(bytes(changed))
        except FormatError:
            continue
        assert changed[0] == 0 or len(again) == int.from_bytes(changed[size], "little")
