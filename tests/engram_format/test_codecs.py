"""Every codec gives back what went in, to the bit, and takes nothing that it would not have written."""

from __future__ import annotations

import struct
import tracemalloc
import zlib
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engram_format.array_type import Filter
from engram_format.codecs import NotApplicable, Zstd, codec_by_number, redeflate
from engram_format.codecs.delta import Delta
from engram_format.codecs.fixed_point import FixedPoint, fixed_point_of
from engram_format.codecs.lifting import Lifting
from engram_format.codecs.narrow import Narrow
from engram_format.codecs.palette import Palette
from engram_format.codecs.planes import Planes
from engram_format.codecs.redeflate import Redeflate, RedeflateHere, redeflate_settings
from engram_format.codecs.swap import Swap
from engram_format.codecs.unshuffle import Unshuffle
from engram_format.codecs.widen import Widen
from engram_format.codecs.zigzag import Zigzag
from engram_format.errors import FormatError
from engram_format.frame import MAX_FRAME_BYTES, decode_frame, decode_frame_unfiltered, encode_frame, join_frame

RECORDINGS = Path(__file__).parents[1] / "data/mea_mcs"
ITEMS = st.sampled_from([1, 2, 4, 8])
STEPS = st.one_of(
    st.builds(Planes, item=st.integers(2, 255)),
    st.builds(Delta, item=ITEMS, lag=st.integers(1, 40)),
    st.builds(Lifting, item=ITEMS, lag=st.integers(1, 40), levels=st.integers(1, 16)),
    st.builds(Zigzag, item=ITEMS),
    st.builds(Swap, item=ITEMS),
    st.builds(Widen),
)
NUMBERS = range(1, 13)


def back(codec, data, *, limit=MAX_FRAME_BYTES):
    coded = codec.encode(data)
    return bytes(type(codec).decode(coded, parameters=codec.parameters, limit=limit))


@settings(max_examples=300)
@given(STEPS, st.binary(max_size=600))
def test_any_bytes_come_back_from_a_step_of_elements(codec, data):
    assert back(codec, data) == data


@given(st.lists(STEPS, max_size=7), st.binary(max_size=300).map(lambda data: data * 4))
def test_any_bytes_come_back_from_a_chain_and_another_reader_agrees(spec_reader, steps, data):
    chain = (*steps, Zstd())
    coded = data
    for step in chain:
        coded = step.encode(coded)
    plaintext = join_frame(chain, coded, size=len(data))
    assert bytes(decode_frame(plaintext)) == data
    assert spec_reader.decode_frame(plaintext) == data


@pytest.mark.parametrize("item", [1, 2, 4, 8])
@pytest.mark.parametrize(("count", "lag"), [(0, 3), (1, 1), (5, 7), (100_003, 1), (100_003, 64), (300_000, 100_000)])
def test_differences_add_up_as_they_do_one_by_one(item, count, lag):
    steps = np.random.default_rng(count).integers(0, 256, count * item, np.uint8).view(f"<u{item}")
    wanted = steps.copy()
    for first in range(min(lag, count)):
        wanted[first::lag] = np.add.accumulate(wanted[first::lag], dtype=wanted.dtype)
    parameters = Delta(item=item, lag=lag).parameters
    for coded in (steps.tobytes(), memoryview(bytearray(steps.tobytes()))):
        assert bytes(Delta.decode(coded, parameters=parameters, limit=len(coded))) == wanted.tobytes()


@pytest.mark.parametrize("step", [Delta(item=2, lag=3), Zigzag(item=2), Planes(item=2)])
def test_a_decoder_leaves_what_is_its_callers_alone(step):
    plaintext = bytearray(join_frame((step,), bytes(step.encode(bytes(range(200)))), size=200))
    before = bytes(plaintext)
    assert bytes(decode_frame(plaintext)) == bytes(range(200))
    assert plaintext == before


@pytest.mark.parametrize("item", [1, 2, 4, 8])
@pytest.mark.parametrize("lag", [1, 2, 3, 4, 8, 64])
@pytest.mark.parametrize("rows", [0, 1, 2, 3, 17, 1000, 1023])
def test_rows_of_every_width_and_number_come_back_from_lifting(item, lag, rows):
    data = np.random.default_rng(rows).bytes(item * lag * rows + item + 1)
    for levels in (1, 4, 16):
        codec = Lifting(item=item, lag=lag, levels=levels)
        assert len(codec.encode(data)) == len(data)
        assert back(codec, data) == data


def test_lifting_leaves_less_noise_than_differences_and_almost_nothing_of_a_line():
    noise = np.random.default_rng(5).normal(0, 100, 2**16).astype("<i2")

    def left(codec, values):
        coded = np.frombuffer(codec.encode(values.astype("<i2").tobytes()), "<i2").astype(int)
        return np.log2(1 + np.abs(coded)).mean()

    assert left(Lifting(item=2), noise) < left(Delta(item=2), noise) - 0.3
    assert left(Lifting(item=2), 3 * np.arange(10_000)) < 0.5


def test_noise_and_all_else_come_back_from_the_compression_of_noise():
    random = np.random.default_rng(6)
    for size in (0, 1, 5000, 40_000, 2**20 + 3):
        quiet = random.normal(0, 4, size).astype("i1").tobytes()
        for data in (quiet, bytes(size), random.bytes(size)):
            coded = Zstd(noise=True).encode(data)
            assert Zstd.decode(coded, parameters=b"", limit=size) == data
            assert len(coded) <= size + size // 1000 + 30


@pytest.mark.parametrize("item", [4, 8])
@given(data=st.data())
def test_floats_of_few_values_come_back_from_a_palette_with_every_nan_and_zero(item, data):
    kinds = [0.0, -0.0, 1.5, float("inf"), float("nan"), -1e-300]
    values = np.array(data.draw(st.lists(st.sampled_from(kinds), min_size=1, max_size=80)), f"<f{item}")
    bits = values.view(f"<u{item}").copy()
    if data.draw(st.booleans()):
        bits[0] |= 1 if np.isnan(values[0]) else 0  # a NaN with a payload
    assert back(Palette(item=item), bits.tobytes()) == bits.tobytes()


def test_a_palette_of_too_many_values_does_not_apply():
    values = np.random.default_rng(1).standard_normal(5000)
    with pytest.raises(NotApplicable):
        Palette(item=8).encode(values.tobytes())
    with pytest.raises(NotApplicable):
        Palette(item=8).encode(values.tobytes()[:-1])


@pytest.mark.parametrize("rate", [30_000.0, 24_414.0625, 1250.0, 50.0, 7.5])
@pytest.mark.parametrize("multiplied", [False, True])
def test_times_at_a_sampling_rate_are_found_and_come_back(rate, multiplied):
    steps = np.sort(np.random.default_rng(2).integers(0, 10**7, 3000)).astype("<f8")
    times = steps * (1 / rate) if multiplied else steps / rate
    codec = fixed_point_of(times.tobytes())
    assert back(codec, times.tobytes()) == times.tobytes()


@pytest.mark.parametrize("odd", [np.nan, np.inf, -0.0, 0.123456789, 1e300, 2.0**60])
def test_one_element_that_is_no_multiple_makes_fixed_point_not_apply(odd):
    times = np.arange(3000) / 30_000.0
    times[2900] = odd
    with pytest.raises(NotApplicable):
        FixedPoint(rate=30_000.0, multiplied=False).encode(times.tobytes())


def test_float64_that_are_float32_come_back_and_others_do_not_apply():
    values = np.random.default_rng(3).standard_normal(1000).astype("<f4").astype("<f8")
    values[:4] = [np.inf, -0.0, 0.0, np.nan]
    assert back(Narrow(), values.tobytes()) == values.tobytes()
    for odd in (0.1, 1e-320, struct.unpack("<d", b"\x01\x00\x00\x00\x00\x00\xf0\x7f")[0]):
        changed = values.copy()
        changed[5] = odd
        with pytest.raises(NotApplicable):
            Narrow().encode(changed.tobytes())


@given(st.integers(2, 9), st.integers(1, 5), st.integers(0, 40))
def test_shuffled_chunks_come_back_as_hdf5_shuffles_them(item, chunks, extra):
    chunk = item * 8 + extra % item
    data = np.random.default_rng(extra).bytes(chunk * chunks)
    assert back(Unshuffle(item=item, chunk=chunk), data) == data
    with pytest.raises(NotApplicable):
        Unshuffle(item=item, chunk=chunk).encode(data + b"a")


@pytest.mark.parametrize("level", range(1, 10))
@pytest.mark.parametrize(("window", "memory"), [(15, 8), (15, 9), (12, 8)])
def test_streams_of_zlib_are_opened_and_made_again(level, window, memory):
    chunks = [
        (np.cumsum(np.random.default_rng(seed).integers(-3, 4, 4000)) * 3).astype("<i2").tobytes() for seed in (1, 2)
    ]
    streams = []
    for chunk in chunks:
        machine = zlib.compressobj(level, zlib.DEFLATED, window, memory)
        streams.append(machine.compress(chunk) + machine.flush())
    run = b"".join(streams)
    found = redeflate_settings(streams, chunk=8000)
    codec = Redeflate(
        level=found[0], window_bits=found[1], memory=found[2], chunk=8000, pieces=[len(stream) for stream in streams]
    )
    assert bytes(codec.encode(run)) == b"".join(chunks)
    assert back(codec, run) == run


def test_streams_that_zlib_never_makes_do_not_apply():
    raw = zlib.compressobj(9, strategy=zlib.Z_HUFFMAN_ONLY)
    stream = raw.compress(b"the same words, " * 640) + raw.flush()
    for streams, chunk in (
        ([stream], 10_240),
        ([zlib.compress(bytes(100), 0)], 100),
        ([b"no stream at all"], 10),
        ([zlib.compress(bytes(10**6))], 100),
        ([zlib.compress(bytes(100)) + b"more"], 100),
        ([zlib.compress(bytes(100))[:-1]], 100),
        ([], 100),
    ):
        with pytest.raises(NotApplicable):
            redeflate_settings(streams, chunk=chunk)


def test_a_stream_that_inflates_to_more_than_its_chunk_takes_no_memory():
    bomb = zlib.compress(bytes(2**28), 9)
    tracemalloc.start()
    try:
        with pytest.raises(NotApplicable):
            redeflate_settings([bomb], chunk=4096)
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()


def test_another_zlib_is_noticed_and_our_own_deflate_makes_the_streams_all_the_same(monkeypatch):
    chunk = (b"what a network did " * 60)[:1024]
    stream = zlib.compress(chunk, 6)
    codec = Redeflate(level=6, window_bits=15, memory=8, chunk=1024, pieces=[len(stream)])
    plaintext = join_frame((codec,), codec.encode(stream), size=len(stream))

    real = zlib.compressobj

    class OtherZlib:
        """A library that makes valid streams of its own: those of another level."""

        def __init__(self, level, method, wbits, memory):
            self._machine = real(9 if level != 9 else 1, method, wbits, 1)

        def compress(self, data):
            return self._machine.compress(data)

        def flush(self):
            return self._machine.flush()

    monkeypatch.setattr(zlib, "compressobj", OtherZlib)
    monkeypatch.setattr(redeflate, "_is_classic", redeflate._is_classic.__wrapped__)
    assert bytes(decode_frame(plaintext)) == stream
    with pytest.raises(FormatError, match="makes other streams"):
        RedeflateHere.decode(chunk, parameters=codec.parameters, limit=MAX_FRAME_BYTES)


def test_streams_that_a_classic_zlib_does_not_make_are_damaged_and_are_not_tried_again_slowly():
    chunk = np.random.default_rng(4).bytes(2**20)
    stream = zlib.compress(chunk, 6)
    codec = Redeflate(level=6, window_bits=15, memory=8, chunk=2**20, pieces=[len(stream)])
    codec.encode(stream)
    damaged = bytes([chunk[0] ^ 1]) + chunk[1:]
    with pytest.raises(FormatError, match="checksum"):
        Redeflate.decode(damaged, parameters=codec.parameters, limit=MAX_FRAME_BYTES)


def test_the_chunks_of_a_real_recording_are_opened_and_made_again():
    files = sorted(RECORDINGS.glob("*.h5"))
    opened = 0
    for file in files:
        with h5py.File(file) as recording:
            data = recording["Data/Recording_0/AnalogStream/Stream_0/ChannelData"]
            infos = []
            data.id.chunk_iter(infos.append)
            chunk = int(np.prod(data.chunks)) * data.dtype.itemsize
            for info in infos:
                _, stream = data.id.read_direct_chunk(info.chunk_offset)
                level, window, memory = redeflate_settings([stream], chunk=chunk)
                deflate = Redeflate(level=level, window_bits=window, memory=memory, chunk=chunk, pieces=[len(stream)])
                chain = (deflate, Unshuffle(item=4, chunk=chunk))
                coded = chain[1].encode(chain[0].encode(stream))
                assert coded == read_chunk(data, info.chunk_offset)
                plaintext = join_frame(chain, coded, size=len(stream))
                assert decode_frame(plaintext) == stream
                assert decode_frame_unfiltered(plaintext) == (coded, (Filter("shuffle", (4,)), Filter("deflate")))
                opened += 1
    assert opened >= 5


def read_chunk(data, offset):
    """Return a whole chunk's elements as HDF5 reads them, padded with zeros at the edges."""
    out = np.zeros(data.chunks, data.dtype)
    part = data[tuple(slice(at, at + step) for at, step in zip(offset, data.chunks, strict=True))]
    out[tuple(map(slice, part.shape))] = part
    return out.tobytes()


def test_a_frame_without_filters_of_its_file_has_no_unfiltered_form():
    assert decode_frame_unfiltered(encode_frame(bytes(1000), (Planes(item=2), Zstd()))) is None
    assert decode_frame_unfiltered(encode_frame(b"ab", ())) is None


@settings(max_examples=600)
@given(
    st.sampled_from(NUMBERS),
    st.binary(max_size=16),
    st.binary(max_size=200),
    st.integers(0, 4096),
)
def test_a_decoder_gives_bytes_within_its_limit_or_a_format_error(number, parameters, coded, limit):
    try:
        out = codec_by_number(number).decode(coded, parameters=parameters, limit=limit)
    except FormatError:
        return
    assert len(out) <= max(limit, len(coded))


@pytest.mark.parametrize(
    ("number", "parameters", "coded"),
    [
        (7, b"\x08", bytes(2 * 10**6) + bytes(8) + (1).to_bytes(4, "little")),
        (9, b"", bytes(10**6)),
    ],
)
def test_a_step_that_would_grow_beyond_its_limit_is_refused_before_memory_is_taken(number, parameters, coded):
    tracemalloc.start()
    try:
        with pytest.raises(FormatError, match="at most 100 may come"):
            codec_by_number(number).decode(coded, parameters=parameters, limit=100)
        assert tracemalloc.get_traced_memory()[1] < 2**16
    finally:
        tracemalloc.stop()
