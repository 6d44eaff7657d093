"""Recordings of the makers of electrode arrays: their numbers, and the factors that make them volts."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
from engram_testing.series_bytes import array_of

from engram_format.series import Series
from engram_layout.hdf5 import plan_hdf5
from engram_layout.plan import ArraySegment, Planned

MCS = Path(__file__).parents[1] / "data/mea_mcs/2014-07-09T10-17-35W8_Standard_all_500Hz.h5"


def plan(path: Path) -> tuple[Planned, dict[str, Series]]:
    with path.open("rb") as file:
        planned = plan_hdf5(file, size=path.stat().st_size)
    assert planned.plan.description is not None
    assert planned.warnings == ()
    return planned, {series.info.name: series for series in planned.plan.description.series}


def test_a_recording_of_multi_channel_systems_is_read_channel_first():
    planned, series = plan(MCS)
    stream = "/Data/Recording_0/AnalogStream/Stream_0"
    info = series[f"{stream}/ChannelData"].info
    data = MCS.read_bytes()
    with h5py.File(MCS) as file:
        for name, one in series.items():
            assert array_of(one, data).tobytes() == file[name][()].tobytes()
        channels = file[f"{stream}/InfoChannel"][()]
    assert (info.time_axis, info.samples, info.view_shape) == (1, 9850, (9850, 8))
    assert (info.sampling_rate, info.unit, info.role) == (500.0, "V", "acquisition")
    assert info.conversion == pytest.approx(channels["ConversionFactor"][0] * 10.0 ** channels["Exponent"][0])
    assert info.channels == tuple(label.decode() for label in channels["Label"])
    assert planned.metadata["device.MCS.manufacturer"] == "Multi Channel Systems"
    assert planned.metadata["session.start_time"].startswith("2014-07-09T")
    assert all(array.lag == 1 for array in planned.plan.arrays)
    filters = {tuple(step.name for step in array.filters) for array in planned.plan.arrays}
    assert filters == {("shuffle", "deflate")}
    covered = sum(one.length for one in planned.plan.segments if isinstance(one, ArraySegment))
    assert covered > planned.plan.size / 2


@pytest.mark.parametrize(("second_us", "rate_hz"), [(500 * 50, 20_000.0), (900_000, 0.0)])
def test_a_stream_that_was_interrupted_has_no_rate(tmp_path: Path, second_us: int, rate_hz: float):
    path = tmp_path / "gaps.h5"
    row = np.dtype([("RowIndex", "i4"), ("ConversionFactor", "i8"), ("Tick", "i8"), ("Unit", "S4")])
    with h5py.File(path, "w") as file:
        file.attrs["McsHdf5ProtocolType"] = "RawData"
        stream = file.create_group("Data/Recording_0/AnalogStream/Stream_0")
        stream["ChannelData"] = np.arange(1000, dtype="i4").reshape(1, 1000)
        stream["ChannelDataTimeStamps"] = [(7_000, 0, 499), (7_000 + second_us, 500, 999)]
        stream["InfoChannel"] = np.array([(0, 2, 50, b"V")], row)
    info = plan(path)[1]["/Data/Recording_0/AnalogStream/Stream_0/ChannelData"].info
    assert (info.sampling_rate, info.starting_time, info.unit) == (rate_hz, 0.007, "V")


def test_numbers_whose_factors_are_not_told_have_no_unit(tmp_path: Path):
    path = tmp_path / "untold.h5"
    row = np.dtype([("RowIndex", "i4"), ("Unit", "S4")])
    with h5py.File(path, "w") as file:
        file.attrs["McsHdf5ProtocolType"] = "RawData"
        stream = file.create_group("Data/Recording_0/AnalogStream/Stream_0")
        stream["ChannelData"] = np.arange(2000, dtype="i4").reshape(2, 1000)
        stream["InfoChannel"] = np.array([(0, b"V"), (1, b"V")], row)
    info = plan(path)[1]["/Data/Recording_0/AnalogStream/Stream_0/ChannelData"].info
    assert (info.unit, info.conversion, info.channel_conversion) == ("", 1.0, ())


def test_channels_with_factors_of_their_own_keep_them_in_the_order_of_the_rows(tmp_path: Path):
    path = tmp_path / "own.h5"
    row = np.dtype(
        [("RowIndex", "i4"), ("ConversionFactor", "i8"), ("Exponent", "i4"), ("ADZero", "i4"), ("Tick", "i8")]
    )
    with h5py.File(path, "w") as file:
        file.attrs["McsHdf5ProtocolType"] = "RawData"
        stream = file.create_group("Data/Recording_0/AnalogStream/Stream_0")
        stream["ChannelData"] = np.arange(2000, dtype="i4").reshape(2, 1000)
        stream["InfoChannel"] = np.array([(1, 3, -3, 10, 50), (0, 2, -3, 0, 50)], row)
    _, series = plan(path)
    info = series["/Data/Recording_0/AnalogStream/Stream_0/ChannelData"].info
    assert info.sampling_rate == 20_000.0
    assert info.channel_conversion == pytest.approx((0.002, 0.003))
    assert info.channel_offset == pytest.approx((0.0, -0.03))


def test_a_cl1_recording_has_its_samples_spikes_and_stimuli(tmp_path: Path):
    path = tmp_path / "cl1.h5"
    spikes = np.array([(5, 1), (9, 3)], [("timestamp", "i8"), ("channel", "u1")])
    with h5py.File(path, "w") as file:
        file.attrs.update({"frames_per_second": 25_000, "channel_count": 64, "duration_frames": 500})
        file.create_dataset("samples", data=np.zeros((500, 64), "i2"), chunks=(100, 64))
        file["spikes"] = spikes
        file["stims"] = spikes[:1]
    planned, series = plan(path)
    info = series["/samples"].info
    assert (info.sampling_rate, info.shape, info.role) == (25_000.0, (500, 64), "acquisition")
    tables = planned.plan.description.tables
    assert tables["spikes"].columns["timestamp"].tolist() == [5.0, 9.0]
    assert tables["stims"].columns["channel"].tolist() == [1.0]
    assert planned.metadata["device.CL1.channel_count"] == 64
    (array,) = planned.plan.arrays
    assert (array.lag, array.row) == (64, 128)


def test_a_recording_of_3brain_is_in_volts(tmp_path: Path):
    path = tmp_path / "rec.brw"
    with h5py.File(path, "w") as file:
        variables = file.create_group("3BRecInfo/3BRecVars")
        for name, value in (("SamplingRate", 18_000.0), ("MinVolt", -4125.0), ("MaxVolt", 4125.0), ("BitDepth", 12)):
            variables[name] = [value]
        variables["SignalInversion"] = [1.0]
        file["3BData/Raw"] = np.zeros((300, 16), "u2")
    _, series = plan(path)
    info = series["/3BData/Raw"].info
    assert (info.sampling_rate, info.unit) == (18_000.0, "volts")
    assert info.conversion == pytest.approx(8250e-6 / 4096)
    assert info.offset == pytest.approx(-4125e-6)


def test_a_recording_of_maxwell_is_channel_first_and_in_volts(tmp_path: Path):
    path = tmp_path / "data.raw.h5"
    with h5py.File(path, "w") as file:
        file["version"] = [b"20190530"]
        recording = file.create_group("data_store/data0000")
        recording["groups/routed/raw"] = np.zeros((8, 4000), "u2")
        recording["settings/lsb"] = [6.3e-6]
        recording["settings/sampling"] = [10_000.0]
    _, series = plan(path)
    info = series["/data_store/data0000/groups/routed/raw"].info
    assert (info.time_axis, info.sampling_rate, info.unit, info.conversion) == (1, 10_000.0, "volts", 6.3e-6)
