"""What zlib would have written is written again, to the last bit, without zlib's encoder."""

from __future__ import annotations

import hashlib
import random
import zlib
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from engram_format.codecs.zlib_deflate import LEVELS, MEM_LEVELS, WINDOW_BITS, deflate

RECORDING = Path(__file__).parents[1] / "data/mea_mcs/2014-07-09T10-17-35W8_Standard_all_500Hz.h5"
LEVELS_OF_BOTH_SEARCHES = (1, 3, 4, 6, 9)
WINDOW = 32_768
LOW = 262  # bytes ahead, below which zlib slides its window


def by_zlib(data: bytes, *, level: int = 6, wbits: int = 15, mem_level: int = 8) -> bytes:
    encoder = zlib.compressobj(level, zlib.DEFLATED, wbits, mem_level)
    return encoder.compress(data) + encoder.flush()


def assert_same(data: bytes, *, level: int = 6, wbits: int = 15, mem_level: int = 8) -> None:
    made = deflate(data, level=level, wbits=wbits, mem_level=mem_level)
    wanted = by_zlib(data, level=level, wbits=wbits, mem_level=mem_level)
    assert hashlib.sha256(made).digest() == hashlib.sha256(wanted).digest(), (
        f"{len(data)} bytes at level {level}, wbits {wbits}, mem_level {mem_level}"
    )


def noise(size: int, seed: int = 0) -> bytes:
    return random.Random(seed).randbytes(size)


def zeros(size: int, seed: int = 0) -> bytes:
    return bytes(size)


def text(size: int, seed: int = 0) -> bytes:
    draw = random.Random(seed)
    words = [draw.randbytes(draw.randrange(1, 12)) for _ in range(300)]
    return b" ".join(draw.choices(words, k=size // 5 + 1))[:size].ljust(size)


def few_letters(size: int, seed: int = 0) -> bytes:
    return bytes(random.Random(seed).choices(b"ACGT", k=size))


def period(size: int, seed: int = 0) -> bytes:
    once = noise(1 + seed % 300, seed)
    return (once * (size // len(once) + 1))[:size]


def recording(size: int, seed: int = 0) -> bytes:
    """A slow wander with noise, as int16."""
    draw = np.random.default_rng(seed)
    samples = np.cumsum(draw.normal(0, 4, size // 2 + 1)) + draw.normal(0, 8, size // 2 + 1)
    return samples.astype("<i2").tobytes()[:size]


def shuffled(size: int, seed: int = 0) -> bytes:
    """A recording whose low bytes come before all high bytes."""
    samples = np.frombuffer(recording(size + size % 2, seed), np.uint8)
    return samples.reshape(-1, 2).T.tobytes()[:size]


def steep(size: int, seed: int = 0) -> bytes:
    """Values each about 1.6 times as frequent as the next, for which Huffman's codes would be longer than deflate allows."""
    return bytes(random.Random(seed).choices(range(40), weights=[1.618**rank for rank in range(40)], k=size))


def copies(size: int, seed: int = 0) -> bytes:
    """Noise with repetitions from just within and just beyond where a search looks, of lengths at which it changes its mind."""
    draw = random.Random(seed)
    distances = [
        4096,
        4097,
        *(base + step for base in (512, 1024, 2048, 4096, WINDOW) for step in (-LOW - 1, -LOW, 1 - LOW)),
    ]
    data = bytearray(draw.randbytes(min(size, draw.choice([250, 500, 4096, 4097]))))
    while len(data) < size:
        if draw.random() < 0.7:
            back = min(len(data), draw.choice([*distances, draw.randrange(1, len(data) + 1)]))
            length = draw.choice([3, 3, 4, 5, 8, 16, 32, 128, 257, 258, 259, draw.randrange(1, 600)])
            data += data[len(data) - back :][:length]
        else:
            data += draw.randbytes(draw.randrange(1, 40))
    return bytes(data[:size])


def mixture(size: int, seed: int = 0) -> bytes:
    draw, data = random.Random(seed), b""
    while len(data) < size:
        kind = draw.choice(KINDS[:-1])
        data += kind(draw.randrange(1, 2 + size // 2), draw.randrange(1000))
    return data[:size]


def worn_text(size: int) -> bytes:
    """Few short words and some stray bytes, drawn by arithmetic that will not change."""
    state = 1

    def draw(below: int) -> int:
        nonlocal state
        state = state * 48_271 % 2_147_483_647
        return (state >> 8) % below

    words = [bytes(97 + draw(26) for _ in range(1 + draw(4))) for _ in range(25)]
    data = bytearray()
    while len(data) < size:
        data += words[min(draw(25), draw(25))] + b" "
        if not draw(8):
            data.append(draw(256))
    return bytes(data[:size])


KINDS = (noise, zeros, text, few_letters, period, recording, shuffled, steep, copies, mixture)
SIZES = st.one_of(
    st.sampled_from([0, 1, 2, 3, 4, 257, 258, 259, LOW]),
    st.integers(0, 3000),
    st.integers(0, 40_000),
    st.builds(
        lambda windows, bits, step: (windows << bits) - LOW + step,
        st.integers(1, 4),
        st.integers(9, 14),
        st.integers(-200, LOW + 10),
    ),
)


@given(
    kind=st.sampled_from(KINDS),
    size=SIZES,
    seed=st.integers(0, 1000),
    level=st.sampled_from(LEVELS),
    wbits=st.sampled_from(WINDOW_BITS[1:]),
    mem_level=st.sampled_from(MEM_LEVELS),
)
@settings(max_examples=150, deadline=None)
def test_any_data_at_any_setting_gives_the_bytes_of_zlib(kind, size, seed, level, wbits, mem_level):
    assert_same(kind(size, seed), level=level, wbits=wbits, mem_level=mem_level)


@given(data=st.binary(max_size=600), level=st.sampled_from(LEVELS))
@example(data=b"", level=1)
@example(data=b"", level=6)
@example(data=b"-abcd_abcdbcd", level=1)
@settings(max_examples=150, deadline=None)
def test_short_data_gives_the_bytes_of_zlib(data, level):
    assert_same(data, level=level, wbits=9, mem_level=1)
    assert_same(data, level=level)


@pytest.mark.parametrize("level", LEVELS)
def test_every_window_and_every_memory_gives_the_bytes_of_zlib(level):
    data = copies(1600, level) + recording(900, level)
    for wbits in WINDOW_BITS[1:]:
        for mem_level in MEM_LEVELS:
            assert_same(data, level=level, wbits=wbits, mem_level=mem_level)


@pytest.mark.parametrize("level", LEVELS_OF_BOTH_SEARCHES)
@pytest.mark.parametrize("step", [-1, 0, LOW])
@pytest.mark.parametrize("windows", [1, 2])
def test_data_that_end_about_a_window_give_the_bytes_of_zlib(level, step, windows):
    assert_same(copies(windows * WINDOW - LOW + step, step), level=level)


@pytest.mark.parametrize(
    ("kind", "level"),
    [(noise, 1), (noise, 4), (recording, 2), (recording, 6), (shuffled, 5), (shuffled, 9), (mixture, 3), (mixture, 8)],
)
def test_data_of_several_windows_give_the_bytes_of_zlib(kind, level):
    assert_same(kind(6 * WINDOW + 999, 1), level=level)


@pytest.mark.parametrize("level", LEVELS_OF_BOTH_SEARCHES)
@pytest.mark.parametrize("place", [249, 250, 251, 761, 762, 763])
def test_a_window_is_never_matched_from_its_first_byte(level, place):
    """A repetition of what lies as far back as a search looks (250 in a window of 512) is found, unless it begins the window."""
    for ahead in (10, LOW - 1, LOW, LOW + 1):
        for back in (249, 250, 251):
            data = bytearray(noise(place + ahead, 5))
            data[place : place + 9] = data[max(place - back, 0) :][:9]
            assert_same(bytes(data), level=level, wbits=9, mem_level=1)


@pytest.mark.parametrize("level", [1, 6])
@pytest.mark.parametrize("mem_level", [1, 4, 8, 9])
def test_a_block_that_is_just_full_gives_the_bytes_of_zlib(level, mem_level):
    """Literals fill a block at one fewer than its buffer holds; an empty block may follow, or the last one may be that full."""
    for size in range(-3, 3):
        assert_same(bytes(noise((1 << (mem_level + 6)) + size, 3)), level=level, mem_level=mem_level)


def test_data_that_cannot_shrink_are_stored_only_while_zlib_has_them():
    """A block of 32,767 tokens is longer than a window of 512 bytes, so that zlib has no original to store."""
    data = noise(70_000)
    stored = deflate(data, level=6, wbits=15, mem_level=9)
    assert len(stored) < len(data) + 40
    assert len(deflate(data, level=6, wbits=9, mem_level=9)) > len(data) + 40
    for wbits in WINDOW_BITS[1:]:
        assert_same(data, wbits=wbits, mem_level=9)


@pytest.mark.parametrize("level", [1, 6])
@pytest.mark.parametrize("rare", [12, 13, 14, 15])
def test_codes_that_would_be_too_long_are_cut_as_zlib_cuts_them(level, rare):
    """Counts of Fibonacci's kind make codes of up to 18 bits. Hardly three bytes come twice in a window, so counts stay."""
    counts = [1, 2]
    while len(counts) < rare:
        counts.append(counts[-1] + counts[-2])
    left = [value for value, count in enumerate(counts) for _ in range(count)] + [*range(20, 50)] * 940
    random.Random(rare).shuffle(left)
    data, seen = bytearray(), {}
    while left:
        fresh = (
            place for place in reversed(range(len(left))) if len(data) - seen.get((*data[-2:], left[place]), -999) > 300
        )
        data.append(left.pop(next(fresh, -1)))
        seen[tuple(data[-3:])] = len(data) - 1
    assert_same(bytes(data), level=level, wbits=9, mem_level=9)


def stored_chunks() -> Iterator[tuple[str, h5py.Dataset, bytes]]:
    """Every chunk of the recording as it lies in the file, deflated by the HDF5 library of its maker."""
    with h5py.File(RECORDING) as file:
        names: list[str] = []
        file.visit(names.append)
        for name in names:
            dataset = file[name]
            if isinstance(dataset, h5py.Dataset) and dataset.compression == "gzip":
                for number in range(dataset.id.get_num_chunks()):
                    mask, chunk = dataset.id.read_direct_chunk(dataset.id.get_chunk_info(number).chunk_offset)
                    assert mask == 0
                    yield f"{name} {number}", dataset.compression_opts, bytes(chunk)


def test_the_chunks_of_a_real_recording_are_reproduced():
    chunks = list(stored_chunks())
    assert len(chunks) > 30
    for name, level, chunk in chunks:
        assert deflate(zlib.decompress(chunk), level=level, wbits=15, mem_level=8) == chunk, name


@pytest.mark.parametrize(
    ("level", "digest"),
    [
        (1, "572ef71287ecf67a328f9000053c9ac2b69f6819e1263a31f2407125d83a0865"),
        (2, "1f64c1bf5132d48809cf64a1b9e60e9ccf5e4b1b7db282e32d0dd56ff413d945"),
        (3, "3ac9b50f6d541259c30841de22bed8eba705c1dc2e35b0c69d82ec7edcb9cae1"),
        (4, "3f7107e8b27112c7b76449af1d371bab3b50b71556c8365c453d54234f7c3c4b"),
        (5, "0c9be6dbe379df7ed4ef34f8f99d4aed01c82d5267fd1bdfc2c302db991370c9"),
        (6, "2455c5d21e4f82747f0863aeb09f765967b1ee08a461a722564c789c849b48ba"),
        (7, "cdee38af6737f64c27975de0fcacc898d7990a7a1812227036b61f7f87cb2e5a"),
        (8, "52f967bb59347349e33d096c85a1862cf57f33b49a03a11d833f862a67767fc6"),
        (9, "52f967bb59347349e33d096c85a1862cf57f33b49a03a11d833f862a67767fc6"),
    ],
)
def test_streams_are_those_of_all_time(level, digest):
    """On whatever machine, with whatever zlib: the answers are those of zlib 1.2.3, 1.2.8, 1.2.11, 1.2.13 and 1.3.1."""
    assert hashlib.sha256(deflate(worn_text(100_000), level=level, wbits=15, mem_level=8)).hexdigest() == digest


def test_a_window_of_256_bytes_becomes_one_of_512_as_in_zlib():
    data = text(2000)
    made = deflate(data, level=6, wbits=8, mem_level=8)
    assert made == by_zlib(data, wbits=9)
    assert made == by_zlib(data, wbits=8)


def test_a_view_is_deflated_like_its_bytes():
    data = text(5000)
    view = memoryview(bytearray(b"before" + data + b"after"))[6:-5]
    assert deflate(view, level=6, wbits=15, mem_level=8) == deflate(data, level=6, wbits=15, mem_level=8)


@pytest.mark.parametrize(
    ("level", "wbits", "mem_level"),
    [(0, 15, 8), (10, 15, 8), (-1, 15, 8), (6, 7, 8), (6, 16, 8), (6, -15, 8), (6, 31, 8), (6, 15, 0), (6, 15, 10)],
)
def test_settings_that_zlib_has_not_or_not_one_answer_for_are_refused(level, wbits, mem_level):
    with pytest.raises(ValueError, match="keep the stream as it is"):
        deflate(b"data", level=level, wbits=wbits, mem_level=mem_level)
