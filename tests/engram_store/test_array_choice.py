"""The chain of an array is chosen on its first frames, and no frame is stored longer than a plain compression makes it."""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from engram_format.array_type import ArrayType, Filter
from engram_format.chunking import Chunker
from engram_format.codecs.redeflate import Redeflate
from engram_format.frame import decode_frame, join_frame
from engram_layout.onnx_weights import plan_onnx
from engram_store.array_encoder import ArrayEncoder
from engram_store.cutting import Cutter
from engram_store.packing import verified

NETWORK = Path(__file__).parents[1] / "data/onnx_real/silero_vad_16k_op15.onnx"
CHUNK = 20_000
DEFLATED = ArrayType("/a", "<i2", 1, 2, (Filter("deflate", (4,)),), CHUNK)
DTYPES = [
    "|b1",
    "|i1",
    "|u1",
    "<i2",
    ">i2",
    "<u2",
    "<i3",
    ">i3",
    "<u3",
    "<i4",
    ">u4",
    "<i8",
    ">i8",
    "<f2",
    ">f2",
    "<f4",
    ">f4",
    "<f8",
    ">f8",
    "<c8",
    ">c8",
    "<c16",
    ">c16",
    "|S1",
    "|S7",
    "|V3",
    "|V300",
]


def walk(seed: int) -> bytes:
    """Return a chunk whose elements move by small steps."""
    return np.cumsum(np.random.default_rng(seed).integers(-9, 10, CHUNK // 2)).astype("<i2").tobytes()


def deflated(data: bytes, *, level: int = 4, strategy: int = zlib.Z_DEFAULT_STRATEGY) -> bytes:
    machine = zlib.compressobj(level, zlib.DEFLATED, 15, 8, strategy)
    return machine.compress(data) + machine.flush()


def stored(encoder: ArrayEncoder, original: bytes, *, pieces: tuple[int, ...] = ()) -> bytes:
    return verified(original, encoder.candidates(original, pieces=pieces)).plaintext


def is_open(plaintext: bytes) -> bool:
    return plaintext[0] > 0 and plaintext[1] == Redeflate.NUMBER


@pytest.mark.parametrize("dtype", DTYPES)
@settings(max_examples=25, deadline=None)
@given(lag=st.integers(1, 9), data=st.binary(max_size=300).map(lambda data: data * 3))
def test_every_element_type_comes_back_whatever_its_bytes(dtype, lag, data):
    item = int(dtype[2:])
    encoder = ArrayEncoder(ArrayType("/a", dtype, lag, lag * item))
    for frame in (data, data[1:], data + b"odd"):
        plaintext = stored(encoder, frame)
        assert bytes(decode_frame(plaintext)) == frame
        assert len(plaintext) <= len(frame) + 5


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("lag", [1, 7, 200_000])
def test_frames_longer_than_what_chains_are_compared_on_come_back(dtype, lag):
    item = int(dtype[2:])
    elements = np.random.default_rng(item).integers(0, 50, 600_001, np.uint8).tobytes()
    encoder = ArrayEncoder(ArrayType("/a", dtype, lag, lag * item))
    for frame in (elements, elements[:-5], elements[:1000], b""):
        assert bytes(decode_frame(stored(encoder, frame))) == frame


def test_choosing_on_a_part_finds_what_is_best_for_the_whole():
    times = np.cumsum(np.random.default_rng(1).integers(1, 900, 100_000)) / 30_000.0
    steps = np.repeat(np.cumsum(np.random.default_rng(2).integers(-9, 10, 50_000)), 2).astype("<i2")
    for dtype, data, most in (("<f8", times.astype("<f8").tobytes(), 0.2), ("<i2", steps.tobytes(), 0.4)):
        item = int(dtype[2:])
        assert len(stored(ArrayEncoder(ArrayType("/a", dtype, 1, item)), data)) < most * len(data)


def test_streams_that_no_zlib_makes_are_compressed_where_that_pays():
    quiet = deflated(bytes(CHUNK), strategy=zlib.Z_HUFFMAN_ONLY)
    frame = 8 * quiet
    encoder = ArrayEncoder(DEFLATED)
    for _ in range(12):
        plaintext = stored(encoder, frame, pieces=8 * (len(quiet),))
        assert len(plaintext) <= len(zstandard.ZstdCompressor(level=3).compress(frame)) + 20


def test_chunks_that_were_deflated_at_level_0_are_compressed():
    stream = deflated(walk(1), level=0)
    plaintext = stored(ArrayEncoder(DEFLATED), stream, pieces=(len(stream),))
    assert len(plaintext) <= len(zstandard.ZstdCompressor(level=3).compress(stream)) + 20


def test_streams_that_no_compression_shortens_are_kept_as_they_are():
    stream = deflated(np.random.default_rng(1).bytes(CHUNK), strategy=zlib.Z_HUFFMAN_ONLY)
    encoder = ArrayEncoder(DEFLATED)
    for _ in range(5):
        assert stored(encoder, stream, pieces=(len(stream),)) == join_frame((), stream)


def test_a_filter_that_cannot_be_undone_does_not_keep_its_chunks_from_being_compressed():
    array = ArrayType("/a", "<i2", 1, 2, (Filter("fletcher32"),), CHUNK)
    frame = walk(1) + bytes(4)
    assert len(stored(ArrayEncoder(array), frame, pieces=(len(frame),))) < 0.9 * len(frame)


def test_a_few_odd_streams_in_a_long_array_do_not_close_it():
    encoder = ArrayEncoder(DEFLATED)
    odd = {40, 80, 120}
    opened = set()
    for number in range(160):
        strategy = zlib.Z_HUFFMAN_ONLY if number in odd else zlib.Z_DEFAULT_STRATEGY
        stream = deflated(walk(number), strategy=strategy)
        if is_open(stored(encoder, stream, pieces=(len(stream),))):
            opened.add(number)
    assert opened == set(range(160)) - odd


def test_an_array_whose_first_streams_do_not_come_back_is_opened_no_more(monkeypatch):
    tried = []
    real = zlib.compressobj
    monkeypatch.setattr(zlib, "compressobj", lambda *told: tried.append(told) or real(*told))
    encoder = ArrayEncoder(DEFLATED)
    for number in range(20):
        stream = deflated(walk(number), strategy=zlib.Z_HUFFMAN_ONLY)
        before = len(tried)
        plaintext = stored(encoder, stream, pieces=(len(stream),))
        assert not is_open(plaintext)
        if number > 5:
            assert len(tried) == before


def test_weights_that_only_a_slow_compression_shortens_are_compressed_by_it():
    with NETWORK.open("rb") as file:
        plan = plan_onnx(file, size=NETWORK.stat().st_size, path=NETWORK).plan
    pieces = list(Cutter(plan, Chunker(seed=1)).feed(NETWORK.read_bytes()))
    frames = [(plan.arrays[piece.array], piece.data) for piece in pieces if piece.array is not None]
    assert len(frames) > 5
    for array, frame in frames:
        plain = len(zstandard.ZstdCompressor(level=3).compress(frame))
        assert len(stored(ArrayEncoder(array), frame)) <= 1.01 * plain + 20
