"""Raw samples are planned by what lies beside them.

No real file of SpikeGLX or Open Ephys is at hand: small ones are written here by the published formats (SpikeGLX's metadata
guide 3.0 and its reference reader, the Open Ephys binary format of version 0.6). neo 0.14.6 reads them as the tests say, but
for saved parts of a probe's channels, where the reference reader takes the gain by the channel's own number, as here.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from engram_testing.series_reader import check_planned, mutations, numbers, physical, plan_bytes, series_of
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engram_layout import OpaqueSegment, Planned
from engram_layout.raw import plan_raw

SAMPLES = (np.arange(2000, dtype="<i2") - 1000).reshape(-1, 5)

IMEC = {
    "typeThis": "imec",
    "fileName": "D:/data/run_g0_t0.imec0.ap.bin",
    "imDatPrb_pn": "NP1010",
    "imDatPrb_sn": "18005116142",
    "nSavedChans": "5",
    "fileSizeBytes": str(SAMPLES.nbytes),
    "fileTimeSecs": "0.0133",
    "imSampRate": "30000.25",
    "imDatPrb_type": "0",
    "imAiRangeMax": "0.6",
    "imAiRangeMin": "-0.6",
    "imMaxInt": "512",
    "acqApLfSy": "384,384,1",
    "snsApLfSy": "4,0,1",
    "snsSaveChanSubset": "0,2:4,768",
    "fileCreateTime": "2024-03-02T10:11:12",
    "firstSample": "12345",
    "~imroTbl": "(0,384)" + "".join(f"({n} 0 0 {500 if n < 3 else 250} {125 if n else 50} 1)" for n in range(384)),
    "~snsChanMap": "(384,384,1)(AP0;0:0)(AP2;2:1)(AP3;3:2)(AP4;4:3)(SY0;768:384)",
}
LF = {
    "snsApLfSy": "0,4,1",
    "snsSaveChanSubset": "384:387,768",
    "~snsChanMap": "(384,384,1)(LF0;384:0)(LF1;385:1)(LF2;386:2)(LF3;387:3)(SY0;768:384)",
}
NIDQ = {
    "typeThis": "nidq",
    "nSavedChans": "5",
    "fileSizeBytes": str(SAMPLES.nbytes),
    "niSampRate": "25000",
    "niAiRangeMax": "5",
    "niMNGain": "200",
    "niMAGain": "2",
    "snsMnMaXaDw": "2,1,1,1",
}
OBX = {
    "typeThis": "obx",
    "nSavedChans": "5",
    "fileSizeBytes": str(SAMPLES.nbytes),
    "obSampRate": "30303",
    "obAiRangeMax": "5",
    "obMaxInt": "32768",
    "snsXaDwSy": "3,1,1",
}


def meta_text(meta: dict[str, str]) -> str:
    return "".join(f"{key}={value}\n" for key, value in meta.items() if value is not None)


def spikeglx(
    folder: Path, meta: dict[str, str] | bytes, *, name: str = "run_g0_t0.imec0.ap", data: bytes = SAMPLES.tobytes()
) -> Planned:
    path = folder / f"{name}.bin"
    path.with_suffix(".meta").write_bytes(meta if isinstance(meta, bytes) else meta_text(meta).encode())
    planned = plan_bytes(plan_raw, data, path)
    check_planned(planned, size=len(data))
    return planned


def test_a_probe_of_the_first_kind_has_the_gain_of_each_channel(tmp_path: Path):
    planned = spikeglx(tmp_path, IMEC)
    series = series_of(planned)
    assert list(series) == ["/acquisition/imec0.ap (V)", "/acquisition/imec0.ap (no unit)"]
    signals = series["/acquisition/imec0.ap (V)"]
    assert signals.info.channels == ("AP0", "AP2", "AP3", "AP4")
    assert signals.info.sampling_rate == 30000.25
    data = SAMPLES.tobytes()
    expected = SAMPLES[:, :4] * (0.6 / 512 / np.array([500, 500, 250, 250]))
    np.testing.assert_allclose(physical(data, signals), expected, rtol=1e-12)
    np.testing.assert_array_equal(numbers(data, series["/acquisition/imec0.ap (no unit)"]), SAMPLES[:, 4:])
    assert planned.metadata["session.start_time"] == "2024-03-02T10:11:12"
    assert planned.metadata["device.name"] == "NP1010"
    assert planned.metadata["spikeglx.first_sample"] == 12345


def test_a_time_that_there_is_not_is_not_said(tmp_path: Path):
    planned = spikeglx(tmp_path, IMEC | {"fileCreateTime": "2024-02-31T10:11:12"})
    assert "session.start_time" not in planned.metadata


def test_the_slow_band_has_gains_of_its_own(tmp_path: Path):
    series = series_of(spikeglx(tmp_path, IMEC | LF, name="run_g0_t0.imec0.lf"))["/acquisition/imec0.lf (V)"]
    expected = SAMPLES[:, :4] * (0.6 / 512 / np.array([50, 125, 125, 125]))
    np.testing.assert_allclose(physical(SAMPLES.tobytes(), series), expected, rtol=1e-12)


def test_a_probe_of_the_second_kind_has_one_gain(tmp_path: Path):
    two = IMEC | {"imDatPrb_type": "24", "imMaxInt": "8192", "imAiRangeMax": "0.5"}
    for gain, more in ((80, {}), (100, {"imDatPrb_type": "2013", "imChan0apGain": "100"})):
        series = series_of(spikeglx(tmp_path, two | more))["/acquisition/imec0.ap (V)"]
        np.testing.assert_allclose(
            physical(SAMPLES.tobytes(), series), SAMPLES[:, :4] * (0.5 / 8192 / gain), rtol=1e-12
        )


def test_a_probe_that_nobody_knows_has_no_unit(tmp_path: Path):
    planned = spikeglx(tmp_path, IMEC | {"imDatPrb_type": "9999"})
    (series,) = series_of(planned).values()
    assert (series.info.name, series.info.unit, series.info.conversion) == ("/acquisition/imec0.ap", "", 1.0)
    assert "gains of this probe are not known" in planned.warnings[0]


def test_lines_of_a_daq_card_and_of_a_onebox_have_their_scales(tmp_path: Path):
    data = SAMPLES.tobytes()
    series = series_of(spikeglx(tmp_path, NIDQ, name="run_g0_t0.nidq"))
    expected = SAMPLES[:, :4] * (5 / 32768 / np.array([200, 200, 2, 1]))
    np.testing.assert_allclose(physical(data, series["/acquisition/nidq (V)"]), expected, rtol=1e-12)
    assert series["/acquisition/nidq (no unit)"].info.shape == (400, 1)
    series = series_of(spikeglx(tmp_path, OBX, name="run_g0_t0.obx0.obx"))
    np.testing.assert_allclose(
        physical(data, series["/acquisition/obx0.obx (V)"]), SAMPLES[:, :3] * (5 / 32768), rtol=1e-12
    )


def test_a_spikeglx_file_that_is_cut_off_keeps_its_whole_samples(tmp_path: Path):
    planned = spikeglx(tmp_path, IMEC, data=SAMPLES.tobytes()[:-1])
    assert {series.info.samples for series in series_of(planned).values()} == {399}
    assert planned.warnings == ("the file is cut off: of 400 samples of each channel 399 are there",)


@pytest.mark.parametrize(
    ("patch", "reason"),
    [
        ({"nSavedChans": "6"}, "4000 bytes of 6 channels"),
        ({"nSavedChans": "0"}, "saved 0 channels"),
        ({"fileSizeBytes": "3990"}, "3990 bytes"),
        ({"fileSizeBytes": None}, "no fileSizeBytes"),
        ({"imSampRate": "0"}, "sampling rate"),
        ({"imSampRate": "nan"}, "sampling rate"),
        ({"snsApLfSy": "5,0,1"}, "not 5 channels"),
        ({"snsApLfSy": "6,-2,1"}, "not 5 channels"),
        ({"imAiRangeMax": "-0.6"}, "range"),
        ({"imMaxInt": "0"}, "imMaxInt"),
        ({"~imroTbl": "(0,384)(0 0 0 500 250 1)"}, "gain of channel 2"),
        ({"snsSaveChanSubset": "0:3,768", "~imroTbl": "(0,384)" + "(0 0 0 0 0 1)" * 384}, "gain"),
        ({"snsSaveChanSubset": "0:999999999"}, "snsSaveChanSubset"),
        ({"snsSaveChanSubset": "all"}, "all of 769"),
        ({"typeThis": "somebody"}, "typeThis"),
    ],
)
def test_a_meta_file_that_lies_makes_the_samples_opaque(tmp_path: Path, patch: dict[str, str], reason: str):
    planned = spikeglx(tmp_path, IMEC | patch)
    assert planned.plan.segments == (OpaqueSegment(0, SAMPLES.nbytes),)
    assert reason in planned.warnings[0]


STREAM = {
    "folder_name": "Rec_Node-100.ProbeA/",
    "sample_rate": 30000,
    "source_processor_name": "Neuropix-PXI",
    "stream_name": "ProbeA",
    "num_channels": 5,
    "channels": [
        {
            "channel_name": f"CH{index}",
            "bit_volts": 0.195 if index < 4 else 0.00015,
            "units": "uV" if index < 4 else "V",
        }
        for index in range(5)
    ],
}


def open_ephys(folder: Path, oebin: bytes, *, data: bytes = SAMPLES.tobytes()) -> Planned:
    stream = folder / "continuous" / "Rec_Node-100.ProbeA"
    stream.mkdir(parents=True, exist_ok=True)
    (folder / "structure.oebin").write_bytes(oebin)
    planned = plan_bytes(plan_raw, data, stream / "continuous.dat")
    check_planned(planned, size=len(data))
    return planned


def oebin_of(**patch: object) -> bytes:
    other = STREAM | {"folder_name": "Other/"}
    return json.dumps({"GUI version": "0.6.7", "continuous": [other, STREAM | patch]}).encode()


def test_an_open_ephys_stream_has_the_scale_of_each_channel(tmp_path: Path):
    planned = open_ephys(tmp_path, oebin_of())
    series = series_of(planned)
    name = "/acquisition/Rec_Node-100.ProbeA"
    assert list(series) == [f"{name} (uV)", f"{name} (V)"]
    np.testing.assert_allclose(physical(SAMPLES.tobytes(), series[f"{name} (uV)"]), SAMPLES[:, :4] * 0.195, rtol=1e-12)
    np.testing.assert_allclose(physical(SAMPLES.tobytes(), series[f"{name} (V)"]), SAMPLES[:, 4:] * 0.00015, rtol=1e-12)
    assert planned.metadata["device.name"] == "Neuropix-PXI"
    assert planned.metadata["duration"] == pytest.approx(400 / 30_000)


def test_an_open_ephys_file_that_is_cut_off_keeps_its_whole_samples(tmp_path: Path):
    planned = open_ephys(tmp_path, oebin_of(), data=SAMPLES.tobytes()[:-3])
    assert {series.info.samples for series in series_of(planned).values()} == {399}
    assert "cut off" in planned.warnings[0]


@pytest.mark.parametrize(
    "oebin",
    [
        b"",
        b"[]",
        b"{",
        b"[" * 100_000,
        b"\xff\xfe",
        b'{"continuous": 5}',
        oebin_of(folder_name="Elsewhere/"),
        json.dumps({"continuous": [STREAM, STREAM]}).encode(),
        oebin_of(num_channels=4),
        oebin_of(num_channels="5"),
        oebin_of(channels=[]),
        oebin_of(channels=[None] * 5),
        oebin_of(sample_rate=0),
        oebin_of(sample_rate=float("nan")),
        oebin_of(sample_rate=True),
        oebin_of(sample_rate=10**400),
        oebin_of(channels=[{"bit_volts": 0}] * 5),
        oebin_of(channels=[{"bit_volts": "0.195"}] * 5),
        oebin_of(channels=[{"bit_volts": float("inf")}] * 5),
    ],
)
def test_a_structure_that_lies_makes_the_samples_opaque(tmp_path: Path, oebin: bytes):
    planned = open_ephys(tmp_path, oebin)
    assert planned.plan.description is None
    assert planned.warnings


def test_names_that_cannot_be_stored_are_made_plain(tmp_path: Path):
    channels = [{"channel_name": "\ud800\x00", "bit_volts": 0.195, "units": "\udfff"}] * 5
    assert series_of(open_ephys(tmp_path, oebin_of(channels=channels, stream_name="\ud800")))


def test_without_a_description_a_file_is_plain_bytes(tmp_path: Path):
    for name in ("run.imec0.ap.bin", "continuous.dat", "samples.eeg", "notes.txt"):
        planned = plan_bytes(plan_raw, SAMPLES.tobytes(), tmp_path / name)
        assert planned.plan.segments == (OpaqueSegment(0, SAMPLES.nbytes),)
        assert planned.warnings == ()


def test_two_thousand_mutated_descriptions_are_opaque_or_described_within_the_file(tmp_path: Path):
    short = IMEC | {"acqApLfSy": "5,0,1", "snsSaveChanSubset": "0,2:4,5", "~imroTbl": "(0,5)" + "(0 0 0 500 250 1)" * 5}
    described = sum(
        spikeglx(tmp_path, text).plan.description is not None for text in mutations(meta_text(short).encode(), 1500)
    )
    described_too = sum(open_ephys(tmp_path, text).plan.description is not None for text in mutations(oebin_of(), 1000))
    assert 100 < described < 1400
    assert 100 < described_too < 900


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=400))
def test_any_description_is_opaque_or_covered(tmp_path: Path, content: bytes):
    spikeglx(tmp_path, b"typeThis=imec\n" + content)
    open_ephys(tmp_path, b'{"continuous": ' + content)
