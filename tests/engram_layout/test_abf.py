"""ABF1 and ABF2 are planned by their sweeps: the numbers are those of other readers, and a header that lies costs the series.

ABF2 is tested on a real recording, and both versions on small files written here by the offsets of Axon's documents, which
neo 0.14.6 and pyabf 2.3.8 read as the tests say.
"""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
from engram_testing.series_reader import check_planned, fuzz, numbers, physical, plan_bytes, series_of
from hypothesis import given, settings
from hypothesis import strategies as st

from engram_layout import OpaqueSegment
from engram_layout.abf import plan_abf

REAL = (Path(__file__).parents[1] / "data/abf_pyabf/14o16001_vc_pair_step.abf").read_bytes()


def made_abf1(
    samples: np.ndarray,
    *,
    mode: int = 3,
    unit: str = "mV",
    episode_samples: int = 0,
    version: float = 1.83,
    **patch: float,
) -> bytes:
    """An ABF1 file of `samples` (time, channel), each sweep of `episode_samples` moments."""
    moments, channels = samples.shape
    episodes = moments // episode_samples if episode_samples else 1
    head = bytearray(6144 if version >= 1.6 else 2048)
    values = {
        (0, "4s"): b"ABF ",
        (4, "f"): version,
        (8, "h"): mode,
        (10, "i"): samples.size,
        (16, "i"): episodes,
        (20, "i"): 20040302,
        (24, "i"): 3661,
        (40, "i"): len(head) // 512,
        (100, "h"): 1 if samples.dtype == np.float32 else 0,
        (120, "h"): channels,
        (122, "f"): 50.0,
        (138, "i"): episode_samples * channels,
        (178, "f"): 0.5,
        (244, "f"): 10.0,
        (252, "i"): 32768,
        (366, "h"): 250,
    }
    for channel in range(channels):
        number = channels - 1 - channel  # Sampled in the reverse order of their numbers.
        values[410 + 2 * channel, "h"] = number
        values[442 + 10 * number, "10s"] = b"chan %d" % number + b" " * 4
        values[602 + 8 * number, "8s"] = unit.encode("latin-1").ljust(8)
        for offset, value in ((730, 2.0), (922, 0.05), (1050, 1.0 + number), (986, 3.0), (1114, 1.0)):
            values[offset + 4 * number, "f"] = value
    for (offset, code), value in values.items():
        struct.pack_into("<" + code, head, offset, value)
    for key, value in patch.items():
        code, offset = key[0], int(key[1:])
        struct.pack_into("<" + code, head, offset, value if code == "f" else int(value))
    if channels < 16 and "h410" not in patch:
        head[410 + 2 * channels : 442] = b"\xff" * (32 - 2 * channels)
    return bytes(head) + samples.tobytes()


def made_abf2(
    samples: np.ndarray, *, mode: int = 3, units: tuple[str, ...] = ("mV", "pA"), tag: str = "drug on"
) -> bytes:
    """A gap-free ABF2 file of `samples` (time, channel)."""
    strings = ["Clampex", "C:\\protocols\\ramp.pro", "Vm", units[0], "Im", units[1], "Cmd", "mV"]
    table = b"".join(text.encode("latin-1") + b"\0" for text in strings)
    blob = (b"SSCH" + struct.pack("<IIII", 1, len(strings), 99, len(table))).ljust(44, b"\0") + table
    protocol = bytearray(512)
    for offset, code, value in ((0, "h", mode), (2, "f", 100.0), (14, "f", 10.0), (110, "f", 10.0), (118, "i", 32768)):
        struct.pack_into("<" + code, protocol, offset, value)
    adcs = b""
    for index in range(2):
        adc = bytearray(128)
        for offset, code, value in ((0, "h", index), (28, "f", 1.0), (40, "f", 0.1), (48, "f", 1.0 + index)):
            struct.pack_into("<" + code, adc, offset, value)
        struct.pack_into("<ii", adc, 74, 3 + 2 * index, 4 + 2 * index)
        adcs += bytes(adc)
    dac = bytearray(256)
    struct.pack_into("<f", dac, 12, -65.0)
    struct.pack_into("<ii", dac, 24, 7, 8)
    tags = struct.pack("<i", 500) + tag.encode().ljust(56) + struct.pack("<hh", 1, 0)
    parts = {76: (bytes(protocol), 512, 1), 92: (adcs, 128, 2), 108: (bytes(dac), 256, 1), 220: (blob, len(blob), 8)}
    parts[252] = (tags, 64, 1)
    parts[236] = (samples.tobytes(), samples.itemsize, samples.size)
    head = bytearray(512)
    struct.pack_into("<4s4BIIII", head, 0, b"ABF2", 0, 0, 6, 2, 512, 1, 20240229, 3_600_500)
    struct.pack_into("<H", head, 30, 1 if samples.dtype == np.float32 else 0)
    struct.pack_into("<I", head, 60, 1)
    struct.pack_into("<I", head, 72, 2)
    body = b""
    for at, (content, entry, count) in parts.items():
        struct.pack_into("<IIq", head, at, 1 + len(body) // 512, entry, count)
        body += content.ljust(-(-len(content) // 512) * 512, b"\0")
    return bytes(head) + body


RAMP = (np.arange(4000, dtype="<i2") - 2000).reshape(-1, 2)


def test_a_real_recording_has_the_numbers_that_other_readers_give():
    planned = plan_bytes(plan_abf, REAL)
    check_planned(planned, size=len(REAL))
    assert planned.warnings == ()
    series = series_of(planned)
    assert list(series) == [f"/acquisition/adc/sweep_{number:02d}" for number in range(1, 14)]
    # neo 0.14.6 reads these from the same file; pyabf 2.3.8 the same in float32.
    first = physical(REAL, series["/acquisition/adc/sweep_01"])
    np.testing.assert_allclose(first[0], [-25.878905020817967, -31.494139129108657], rtol=1e-12)
    total = sum(physical(REAL, one).sum() for one in series.values())
    assert total == pytest.approx(-31916744.9439969, rel=1e-9)
    assert [round(one.info.starting_time, 6) for one in series.values()] == [4.0 * index for index in range(13)]
    assert {one.info.sampling_rate for one in series.values()} == {10_000.0}
    assert {one.info.unit for one in series.values()} == {"pA"}


def test_the_protocol_of_the_real_recording_is_metadata():
    metadata = plan_bytes(plan_abf, REAL).metadata
    assert metadata["session.start_time"] == "2014-10-16T10:01:35.078"
    assert metadata["abf.operation_mode"] == "episodic"
    assert metadata["abf.protocol"] == "pair-MTIV.pro"
    assert (metadata["abf.dac.1.name"], metadata["abf.dac.1.holding"]) == ("Cmd 1", -70.0)
    assert metadata["duration"] == pytest.approx(52.0)


def test_the_commands_of_the_real_recording_are_a_table():
    description = plan_bytes(plan_abf, REAL).plan.description
    assert description is not None
    columns = description.tables["epochs"].columns
    # pyabf 2.3.8 reads these, durations in samples at 10 kHz, from the same file.
    assert list(columns["output"]) == ["abf.dac.0"] * 8 + ["abf.dac.1"] * 8
    assert list(columns["level"][:8]) == [-70, -80, -70, -110, -70, -50, -110, -50]
    assert list(columns["level_increment"][:8]) == [0, 0, 0, 5, 0, 0, 5, 0]
    np.testing.assert_allclose(columns["duration"], [0.2, 0.2, *[0.5] * 6] * 2)


def test_a_gap_free_recording_of_the_first_version_is_one_series():
    data = made_abf1(RAMP)
    planned = plan_bytes(plan_abf, data)
    (series,) = series_of(planned).values()
    assert (series.info.name, series.info.unit) == ("/acquisition/adc", "mV")
    assert series.info.channels == ("chan 1", "chan 0")
    assert series.info.sampling_rate == 10_000.0
    assert planned.metadata["session.start_time"] == "2004-03-02T01:01:01.250"
    volts = RAMP * 10.0 / 32768 / (2.0 * 0.05)
    np.testing.assert_allclose(physical(data, series), volts / [2.0, 1.0] + 2.0, rtol=1e-6, atol=1e-6)


def test_sweeps_of_the_first_version_begin_where_its_header_says():
    data = made_abf1(RAMP, mode=5, episode_samples=500)
    series = series_of(plan_bytes(plan_abf, data))
    assert list(series) == [f"/acquisition/adc/sweep_{number}" for number in range(1, 5)]
    assert [one.info.starting_time for one in series.values()] == [0.0, 0.5, 1.0, 1.5]
    np.testing.assert_array_equal(np.concatenate([numbers(data, one) for one in series.values()]), RAMP)


def test_the_short_header_of_early_versions_is_read():
    data = made_abf1(RAMP, version=1.5)
    (series,) = series_of(plan_bytes(plan_abf, data)).values()
    np.testing.assert_array_equal(numbers(data, series), RAMP)


def test_float_samples_are_in_their_unit_as_they_are():
    samples = RAMP.astype("<f4") / 7
    data = made_abf1(samples)
    (series,) = series_of(plan_bytes(plan_abf, data)).values()
    np.testing.assert_array_equal(physical(data, series), samples.astype(np.float64))


def test_channels_of_two_units_are_two_series():
    data = made_abf2(RAMP)
    planned = plan_bytes(plan_abf, data)
    check_planned(planned, size=len(data))
    series = series_of(planned)
    assert list(series) == ["/acquisition/adc (mV)", "/acquisition/adc (pA)"]
    np.testing.assert_allclose(
        physical(data, series["/acquisition/adc (mV)"])[:, 0], RAMP[:, 0] * (100 / 32768), rtol=1e-6
    )
    np.testing.assert_allclose(
        physical(data, series["/acquisition/adc (pA)"])[:, 0], RAMP[:, 1] * (50 / 32768), rtol=1e-6
    )
    assert planned.metadata["session.start_time"] == "2024-02-29T01:00:00.500"
    assert planned.metadata["abf.protocol"] == "ramp.pro"
    assert planned.plan.description is not None
    tags = planned.plan.description.tables["tags"].columns
    assert (list(tags["time"]), list(tags["comment"])) == ([0.005], ["drug on"])


def test_a_file_that_is_cut_off_keeps_its_whole_sweeps():
    planned = plan_bytes(plan_abf, made_abf1(RAMP, mode=5, episode_samples=500)[:-1])
    assert len(series_of(planned)) == 3
    assert "in 3 of 4 sweeps" in planned.warnings[0]
    gap_free = plan_bytes(plan_abf, made_abf1(RAMP)[:-1])
    (series,) = series_of(gap_free).values()
    assert series.info.shape == (1999, 2)
    assert "cut off" in gap_free.warnings[0]


@pytest.mark.parametrize(
    ("patch", "reason"),
    [
        pytest.param({"h8": 9}, "operation mode", id="mode"),
        pytest.param({"h120": 0}, "0 channels", id="no channels"),
        pytest.param({"h120": 17}, "17 channels", id="too many channels"),
        pytest.param({"i10": 3999}, "3999 samples", id="part of a moment"),
        pytest.param({"i10": -2}, "-2 samples", id="negative samples"),
        pytest.param({"f122": 0.0}, "sampling interval", id="zero interval"),
        pytest.param({"f122": float("nan")}, "sampling interval", id="nan interval"),
        pytest.param({"f244": float("inf")}, "range", id="infinite range"),
        pytest.param({"i252": 0}, "resolution", id="zero resolution"),
        pytest.param({"f922": 0.0}, "gain", id="zero gain"),
        pytest.param({"f1050": float("nan")}, "gain", id="nan gain"),
        pytest.param({"f986": float("inf")}, "offset", id="infinite offset"),
        pytest.param({"i40": -1}, "begin at byte", id="negative pointer"),
        pytest.param({"i40": 9999}, "begin at byte", id="pointer beyond the end"),
        pytest.param({"h410": 0, "h412": 0}, "order", id="one channel twice"),
        pytest.param({"h100": 3}, "format 3", id="format"),
        pytest.param({"i96": 5, "i92": 9999}, "ends within", id="synch array beyond the end"),
    ],
)
def test_a_header_that_lies_makes_the_file_opaque(patch: dict[str, float], reason: str):
    data = made_abf1(RAMP, **patch)
    planned = plan_bytes(plan_abf, data)
    assert planned.plan.segments == (OpaqueSegment(0, len(data)),)
    assert reason in planned.warnings[0]


def test_sweeps_that_do_not_add_up_make_the_file_opaque():
    for patch in ({"i16": 3}, {"i138": 7}, {"i138": 0}):
        planned = plan_bytes(plan_abf, made_abf1(RAMP, mode=5, episode_samples=500, **patch))
        assert planned.plan.description is None, patch


@pytest.mark.parametrize("data", [made_abf1(RAMP, version=1.5), made_abf1(RAMP), made_abf2(RAMP)])
def test_a_file_cut_at_any_byte_of_its_header_is_opaque(data: bytes):
    for length in range(0, len(data) - RAMP.nbytes - 512, 3):
        planned = plan_bytes(plan_abf, data[:length])
        assert planned.plan.description is None
        assert planned.warnings


@settings(deadline=None)
@given(st.binary(max_size=7000), st.sampled_from([b"ABF \0\0\xa0\x3f", b"ABF2\0\0\0\x02\0\x02\0\0"]))
def test_any_bytes_behind_the_first_are_opaque_or_covered(content: bytes, magic: bytes):
    check_planned(plan_bytes(plan_abf, magic + content), size=len(magic + content))


def test_two_thousand_mutated_headers_are_opaque_or_described_within_the_file():
    for data, header_bytes in ((made_abf1(RAMP, version=1.5), 800), (made_abf2(RAMP), 3584), (REAL[:200_000], 512)):
        fuzz(plan_abf, data, header_bytes=header_bytes, count=700)
