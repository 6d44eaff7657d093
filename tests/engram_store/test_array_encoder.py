"""Frames of one array are encoded as numbers, each decodes by itself, and what is no such array costs nothing but room."""

from __future__ import annotations

import zlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from engram_format.array_type import ArrayType, Filter
from engram_format.frame import decode_frame
from engram_store.array_encoder import ArrayEncoder
from engram_store.packing import verified

CHANNELS = 32
CHUNK = 2 * CHANNELS * 512
RAW = ArrayType("/raw", "<i2", CHANNELS, 2 * CHANNELS)
ZIPPED = ArrayType("/zipped", "<i2", CHANNELS, 2 * CHANNELS, (Filter("deflate", (4,)),), CHUNK)


def walk(seed: int, samples: int = 4096) -> bytes:
    steps = np.random.default_rng(seed).integers(-9, 10, (samples, CHANNELS))
    return np.cumsum(steps, axis=0).astype("<i2").tobytes()


def streams(seed: int, *, level: int) -> tuple[bytes, list[int]]:
    """Return a frame of deflated chunks, and their lengths."""
    data = walk(seed)
    parts = [zlib.compress(data[start : start + CHUNK], level) for start in range(0, len(data), CHUNK)]
    return b"".join(parts), [len(part) for part in parts]


def test_frames_of_many_threads_decode_each_by_itself():
    encoder, frames = ArrayEncoder(RAW), [walk(seed) for seed in range(24)]
    with ThreadPoolExecutor(8) as pool:
        encoded = list(pool.map(lambda frame: verified(frame, encoder.candidates(frame)), frames))
    assert [bytes(decode_frame(one.plaintext)) for one in encoded] == frames
    plain = sum(len(zlib.compress(frame, 6)) for frame in frames)
    assert sum(len(one.plaintext) for one in encoded) < 0.8 * plain


def test_streams_are_opened_by_many_threads_though_their_level_changes():
    encoder = ArrayEncoder(ZIPPED)
    frames = [streams(seed, level=4 if seed < 8 else 9) for seed in range(16)]
    with ThreadPoolExecutor(4) as pool:
        encoded = list(pool.map(lambda one: verified(one[0], encoder.candidates(one[0], pieces=one[1])), frames))
    for one, (original, _) in zip(encoded, frames, strict=True):
        assert decode_frame(one.plaintext) == original
    assert (
        sum(len(one.plaintext) < 0.8 * len(original) for one, (original, _) in zip(encoded, frames, strict=True)) >= 7
    )


def test_a_frame_of_another_level_stays_deflated_and_the_next_one_is_opened_again():
    encoder = ArrayEncoder(ZIPPED)
    sizes = []
    for seed, level in enumerate([4, 9, 9]):
        original, pieces = streams(seed, level=level)
        frame = verified(original, encoder.candidates(original, pieces=pieces))
        assert decode_frame(frame.plaintext) == original
        sizes.append(len(frame.plaintext) / len(original))
    assert sizes[0] < 0.8
    assert sizes[1] > 0.95
    assert sizes[2] < 0.8


def test_what_is_no_stream_is_kept_as_it_is():
    encoder, noise = ArrayEncoder(ZIPPED), np.random.default_rng(0).bytes(5000)
    for _ in range(5):
        frame = verified(noise, encoder.candidates(noise, pieces=[2000, 3000]))
        assert decode_frame(frame.plaintext) == noise
        assert len(frame.plaintext) <= len(noise) + 5
