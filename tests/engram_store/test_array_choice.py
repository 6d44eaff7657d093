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
from engram_format.codecs.lifting import Lifting
from engram_format.codecs.redeflate import Redeflate
from engram_format.frame import decode_frame, join_frame
from engram_layout import HEAD_BYTES
from engram_layout.onnx_weights import plan_onnx
from engram_layout.planning import plan_file
from engram_store.array_chains import Trial, candidates_for
from engram_store.array_encoder import ArrayEncoder
from engram_store.cutting import Cutter
from engram_store.packing import verified

DATA = Path(__file__).parents[1] / "data"
NETWORK = DATA / "onnx_real/silero_vad_16k_op15.onnx"
RECORDINGS = ["abf_pyabf/14o16001_vc_pair_step.abf", "eeg_mne/test.eeg", "eeg_mne/test.edf", "eeg_mne/test.bdf"]
SAMPLES = ArrayType("/a", "<i2", 1, 2)
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


def codecs_of(plaintext: bytes) -> list[int]:
    """Return the numbers of a frame's codecs in the order of encoding."""
    found, at = [], 1
    for _ in range(plaintext[0]):
        found.append(plaintext[at])
        at += 2 + plaintext[at + 1]
    return found


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


def test_noise_is_lifted_and_steps_are_not():
    random = np.random.default_rng(3)
    noise = (np.cumsum(random.normal(0, 20, 400_000)) + random.normal(0, 60, 400_000)).astype("<i2")
    held = np.repeat(random.integers(0, 200, 10_000), 40).astype("<i2")
    assert codecs_of(stored(ArrayEncoder(SAMPLES), noise.tobytes()))[0] == Lifting.NUMBER
    assert Lifting.NUMBER not in codecs_of(stored(ArrayEncoder(SAMPLES), held.tobytes()))


def test_a_pattern_that_repeats_is_not_taken_for_noise():
    pattern = np.random.default_rng(4).integers(-2000, 2000, 3000).astype("<i2").tobytes()
    assert len(stored(ArrayEncoder(SAMPLES), 100 * pattern)) < 4 * len(pattern)


def test_channels_that_move_together_are_compared_with_each_other():
    common = np.random.default_rng(5).integers(-2000, 2000, (20_000, 1))
    own = np.random.default_rng(6).integers(-9, 10, (20_000, 16))
    frame = (common + own).astype("<i2").tobytes()
    assert len(stored(ArrayEncoder(ArrayType("/a", "<i2", 16, 32)), frame)) < 0.4 * len(frame)


@pytest.mark.parametrize("name", RECORDINGS)
def test_what_is_chosen_on_a_part_of_a_real_recording_is_nearly_the_best_for_the_whole(name):
    path = DATA / name
    data = path.read_bytes()
    with path.open("rb") as file:
        plan = plan_file(file, path=path, size=len(data), head=data[:HEAD_BYTES]).plan
    pieces = Cutter(plan, Chunker(seed=1)).feed(data)
    array, frame = next((plan.arrays[piece.array], piece.data) for piece in pieces if piece.array is not None)
    all_tried = Trial(frame).of(candidates_for(array.dtype, lag=array.lag, row=array.row // array.item_bytes))
    assert len(stored(ArrayEncoder(array), frame)) <= 1.02 * min(len(one.coded) for one in all_tried)


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
