"""WAV files are planned by their chunks: the numbers are those of soundfile and scipy, and a header that lies costs the series."""

from __future__ import annotations

import io
import struct

import numpy as np
import pytest
import soundfile
from engram_testing.series_reader import check_planned, fuzz, numbers, physical, plan_bytes, series_of
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.io import wavfile

from engram_layout import ArraySegment, OpaqueSegment
from engram_layout.wav import plan_wav

SOUND = np.random.default_rng(5).uniform(-0.99, 0.99, (1500, 3))


def written(subtype: str, *, kind: str = "WAV", endian: str = "FILE", sound: np.ndarray = SOUND) -> bytes:
    sink = io.BytesIO()
    soundfile.write(sink, sound, 24_000, subtype=subtype, format=kind, endian=endian)
    return sink.getvalue()


def only_series(data: bytes):
    planned = plan_bytes(plan_wav, data)
    check_planned(planned, size=len(data))
    (series,) = series_of(planned).values()
    return series


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE"])
@pytest.mark.parametrize(("kind", "endian"), [("WAV", "FILE"), ("WAV", "BIG"), ("WAVEX", "FILE"), ("RF64", "FILE")])
def test_the_numbers_are_those_that_soundfile_reads(subtype: str, kind: str, endian: str):
    data = written(subtype, kind=kind, endian=endian)
    series = only_series(data)
    expected, rate = soundfile.read(io.BytesIO(data), dtype="float64", always_2d=True)
    assert (series.info.name, series.info.sampling_rate) == ("/samples", rate)
    np.testing.assert_array_equal(physical(data, series), expected)


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "PCM_32", "FLOAT", "DOUBLE"])
@pytest.mark.parametrize("endian", ["FILE", "BIG"])
@pytest.mark.filterwarnings("ignore::scipy.io.wavfile.WavFileWarning")
def test_the_stored_numbers_are_those_that_scipy_reads(subtype: str, endian: str):
    data = written(subtype, endian=endian)
    rate, expected = wavfile.read(io.BytesIO(data))
    assert rate == 24_000
    np.testing.assert_array_equal(numbers(data, only_series(data)), expected)


def test_the_samples_are_one_segment():
    planned = plan_bytes(plan_wav, written("PCM_24"))
    (segment,) = (segment for segment in planned.plan.segments if isinstance(segment, ArraySegment))
    assert segment.length == 1500 * 9
    (array,) = planned.plan.arrays
    assert (array.dtype, array.lag, array.row) == ("<i3", 3, 9)
    assert planned.metadata["duration"] == 0.0625


def test_texts_are_metadata():
    sink = io.BytesIO()
    with soundfile.SoundFile(sink, "w", 8000, 1, format="WAV", subtype="PCM_16") as file:
        file.title = "song 12"
        file.write(SOUND[:, 0])
    assert plan_bytes(plan_wav, sink.getvalue()).metadata["session.description"] == "song 12"


def riff(*chunks: tuple[bytes, bytes | tuple[int, bytes]], name: bytes = b"RIFF") -> bytes:
    """A file of chunks; a content with a number says that length instead of its own."""
    body = b""
    for chunk, content in chunks:
        size, held = content if isinstance(content, tuple) else (len(content), content)
        body += chunk + struct.pack("<I", size) + held + b"\0" * (len(held) % 2)
    return name + struct.pack("<I", 4 + len(body)) + b"WAVE" + body


def fmt(*, encoding: int = 1, channels: int = 2, rate: int = 8000, frame: int = 4, bits: int = 16) -> bytes:
    return struct.pack("<HHIIHH", encoding, channels, rate, rate * frame, frame, bits)


SAMPLES = np.arange(2000, dtype="<i2").tobytes()
DS64 = struct.pack("<QQQI", 0, 2000, 500, 0)


def test_a_chunk_of_odd_length_is_followed_by_one_byte():
    data = riff((b"junk", b"odd"), (b"fmt ", fmt()), (b"data", SAMPLES))
    np.testing.assert_array_equal(numbers(data, only_series(data)), np.arange(2000).reshape(-1, 2))


def test_the_size_of_rf64_comes_from_its_own_chunk():
    data = riff((b"ds64", DS64), (b"fmt ", fmt()), (b"data", (0xFFFFFFFF, SAMPLES)), name=b"BW64")
    assert only_series(data).info.shape == (500, 2)


def test_a_file_that_is_cut_off_keeps_its_whole_samples():
    planned = plan_bytes(plan_wav, riff((b"fmt ", fmt()), (b"data", SAMPLES))[:-1])
    assert series_of(planned)["/samples"].info.shape == (999, 2)
    assert planned.warnings == ("the file is cut off: of 1000 samples of each channel 999 are there",)


def test_a_file_that_was_never_closed_is_read_to_its_end():
    planned = plan_bytes(plan_wav, riff((b"fmt ", fmt()), (b"data", (0xFFFFFFFF, SAMPLES))))
    assert series_of(planned)["/samples"].info.shape == (1000, 2)
    assert "did not close" in planned.warnings[0]


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(riff((b"data", SAMPLES), (b"fmt ", fmt())), id="samples before the format"),
        pytest.param(riff((b"fmt ", fmt())), id="no samples"),
        pytest.param(riff((b"data", SAMPLES)), id="no format"),
        pytest.param(riff((b"fmt ", fmt()), (b"fmt ", fmt()), (b"data", SAMPLES)), id="two formats"),
        pytest.param(riff((b"fmt ", fmt()), (b"data", SAMPLES), (b"data", SAMPLES)), id="samples twice"),
        pytest.param(riff((b"fmt ", fmt(channels=0)), (b"data", SAMPLES)), id="no channels"),
        pytest.param(riff((b"fmt ", fmt(rate=0)), (b"data", SAMPLES)), id="no rate"),
        pytest.param(riff((b"fmt ", fmt(frame=5)), (b"data", SAMPLES)), id="frame of no channels"),
        pytest.param(riff((b"fmt ", fmt(bits=12)), (b"data", SAMPLES)), id="12 bits"),
        pytest.param(riff((b"fmt ", fmt(encoding=6)), (b"data", SAMPLES)), id="a-law"),
        pytest.param(riff((b"fmt ", fmt(encoding=2)), (b"data", SAMPLES)), id="adpcm"),
        pytest.param(riff((b"fmt ", fmt(encoding=0xFFFE)), (b"data", SAMPLES)), id="extensible and short"),
        pytest.param(riff((b"fmt ", fmt()), (b"data", SAMPLES), name=b"RF64"), id="no long sizes"),
        pytest.param(riff(*[(b"junk", b"")] * 1001, (b"fmt ", fmt()), (b"data", SAMPLES)), id="endless chunks"),
    ],
)
def test_a_header_that_lies_makes_the_file_opaque(data: bytes):
    planned = plan_bytes(plan_wav, data)
    assert planned.plan.segments == (OpaqueSegment(0, len(data)),)
    assert planned.warnings


@pytest.mark.parametrize("kind", ["WAV", "WAVEX", "RF64"])
def test_a_file_cut_at_any_byte_of_its_header_is_opaque_or_empty(kind: str):
    data = written("PCM_16", kind=kind)
    for length in range(data.index(b"data") + 9):
        planned = plan_bytes(plan_wav, data[:length])
        check_planned(planned, size=length)
        assert series_of(planned) == {}
        assert planned.warnings


def test_two_thousand_mutated_headers_are_opaque_or_described_within_the_file():
    for kind in ("WAVEX", "RF64"):
        outcomes = fuzz(plan_wav, written("PCM_24", kind=kind), header_bytes=104, count=1000)
        assert min(outcomes.values()) > 50


@settings(deadline=None)
@given(st.binary(max_size=600), st.sampled_from([b"RIFF", b"RIFX", b"RF64", b"BW64"]))
def test_any_bytes_behind_the_first_are_opaque_or_covered(content: bytes, magic: bytes):
    data = magic + b"\0\0\0\0WAVEfmt \x10\0\0\0" + content
    check_planned(plan_bytes(plan_wav, data), size=len(data))
