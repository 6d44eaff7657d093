"""What is read from an NWB file is what pynwb reads from it."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import h5py
import numpy as np
import pynwb
import pytest
from engram_testing.series_bytes import array_of
from hdmf.backends.hdf5 import H5DataIO
from pynwb.icephys import CurrentClampSeries, CurrentClampStimulusSeries

from engram_format.series import Series
from engram_layout.hdf5 import plan_hdf5
from engram_layout.plan import Planned

ROOT = Path(__file__).parents[2]
DEMO = ROOT / "client/engram_client/demo/data/nwb/phy_A8604-211122.nwb"
START = datetime(2026, 1, 31, 10, tzinfo=UTC)


def plan(path: Path) -> tuple[Planned, dict[str, Series]]:
    with path.open("rb") as file:
        planned = plan_hdf5(file, size=path.stat().st_size)
    assert planned.plan.description is not None
    assert planned.plan.description.family == "nwb"
    return planned, {series.info.name: series for series in planned.plan.description.series}


def new_file() -> pynwb.NWBFile:
    return pynwb.NWBFile(
        session_description="a session",
        identifier="id-1",
        session_start_time=START,
        session_id="s1",
        experimenter=["Ada", "Bela"],
        institution="an institution",
        lab="a lab",
        subject=pynwb.file.Subject(
            subject_id="rat-7",
            species="Rattus norvegicus",
            sex="M",
            age="P90D",
            genotype="wild type",
            strain="Long Evans",
            weight="0.3 kg",
            description="a rat",
        ),
    )


def saved(content: pynwb.NWBFile, folder: Path) -> Path:
    path = folder / "made.nwb"
    with pynwb.NWBHDF5IO(path, "w") as io:
        io.write(content)
    return path


def probe(content: pynwb.NWBFile, channels: int) -> pynwb.core.DynamicTableRegion:
    device = content.create_device("probe", description="a probe", manufacturer="a maker")
    group = content.create_electrode_group("shank", description="a shank", location="CA1", device=device)
    content.add_electrode_column("label", "names of channels")
    for number in range(channels):
        content.add_electrode(group=group, location="CA1", label=f"ch{number}", x=float(number), y=0.0, z=0.0)
    return content.create_electrode_table_region(list(range(channels)), "all")


def test_numbers_whose_channels_have_factors_that_do_not_fit_have_no_unit(tmp_path: Path):
    content = new_file()
    content.add_acquisition(
        pynwb.ecephys.ElectricalSeries(
            name="Voltage",
            data=np.zeros((4000, 4), "i2"),
            electrodes=probe(content, 4),
            rate=30_000.0,
            conversion=1.95e-7,
            offset=0.001,
            channel_conversion=[1.0, 2.0, 3.0, 4.0],
        )
    )
    path = saved(content, tmp_path)
    with h5py.File(path, "r+") as file:
        del file["/acquisition/Voltage/channel_conversion"]
        file["/acquisition/Voltage/channel_conversion"] = [1.0, 2.0, 3.0]
    info = plan(path)[1]["/acquisition/Voltage"].info
    assert (info.unit, info.conversion, info.offset, info.channel_conversion) == ("", 1.0, 0.0, ())


def test_an_extracellular_recording_has_its_words(tmp_path: Path):
    content, rng = new_file(), np.random.default_rng(1)
    data = rng.integers(-900, 900, (4000, 4), dtype="i2")
    content.add_acquisition(
        pynwb.ecephys.ElectricalSeries(
            name="Voltage",
            data=H5DataIO(data, compression="gzip", compression_opts=4, shuffle=True, chunks=(1000, 4)),
            electrodes=probe(content, 4),
            rate=30_000.0,
            starting_time=1.5,
            conversion=1.95e-7,
            offset=0.001,
            channel_conversion=[1.0, 2.0, 3.0, 4.0],
            description="raw",
        )
    )
    for spikes in ([0.1, 0.2], [0.15, 0.3, 0.4]):
        content.add_unit(spike_times=spikes)
    content.add_trial_column("stimulus_id", "which stimulus")
    content.add_trial_column("repeat", "which repeat")
    for number in range(3):
        content.add_trial(start_time=float(number), stop_time=number + 0.5, stimulus_id=f"bar{number}", repeat=number)
    path = saved(content, tmp_path)
    planned, series = plan(path)

    info = series["/acquisition/Voltage"].info
    assert (info.sampling_rate, info.starting_time, info.unit) == (30_000.0, 1.5, "volts")
    assert (info.conversion, info.offset, info.channel_conversion) == (1.95e-7, 0.001, (1.0, 2.0, 3.0, 4.0))
    assert (info.role, info.channels, info.description) == ("acquisition", ("ch0", "ch1", "ch2", "ch3"), "raw")
    assert np.array_equal(array_of(series[info.name], path.read_bytes()), data)
    (array,) = {
        planned.plan.arrays[one.array] for one in planned.plan.segments if hasattr(one, "array") and len(one.pieces)
    }
    assert (array.name, array.lag, array.row, array.chunk) == ("/acquisition/Voltage/data", 4, 8, 8000)

    spikes = series["/units/spike_times"].info
    assert (spikes.role, spikes.index, spikes.unit) == ("units", "/units/spike_times_index", "seconds")
    tables = planned.plan.description.tables
    assert tables["trials"].columns["stimulus_id"] == ["bar0", "bar1", "bar2"]
    assert tables["trials"].columns["repeat"].tolist() == [0.0, 1.0, 2.0]
    assert tables["electrodes"].columns["location"] == ["CA1"] * 4
    assert planned.warnings == ()
    assert (
        planned.metadata.items()
        >= {
            "session.id": "s1",
            "session.identifier": "id-1",
            "session.start_time": START.isoformat(),
            "session.description": "a session",
            "session.experimenter": "Ada, Bela",
            "session.institution": "an institution",
            "session.lab": "a lab",
            "subject.id": "rat-7",
            "subject.species": "Rattus norvegicus",
            "subject.sex": "M",
            "subject.age": "P90D",
            "subject.genotype": "wild type",
            "subject.strain": "Long Evans",
            "subject.weight": "0.3 kg",
            "subject.description": "a rat",
            "device.probe.description": "a probe",
            "device.probe.manufacturer": "a maker",
            "electrodes.count": 4,
            "units.count": 2,
            "trials.count": 3,
        }.items()
    )


def clamp(content: pynwb.NWBFile, *, sweeps: int, electrodes: int) -> None:
    device = content.create_device("amplifier")
    for number in range(electrodes):
        electrode = content.create_icephys_electrode(name=f"e{number}", description="a pipette", device=device)
        for sweep in range(sweeps):
            common = {
                "electrode": electrode,
                "gain": 1.0,
                "rate": 1000.0,
                "data": np.arange(10.0),
                "sweep_number": sweep,
            }
            content.add_stimulus(CurrentClampStimulusSeries(name=f"in_{number}_{sweep}", **common))
            content.add_acquisition(CurrentClampSeries(name=f"out_{number}_{sweep}", **common))


@pytest.mark.parametrize(("sweeps", "electrodes"), [(1, 1), (3, 1), (1, 3), (3, 2)])
def test_a_stimulus_is_paired_with_its_answer(tmp_path: Path, sweeps: int, electrodes: int):
    content = new_file()
    clamp(content, sweeps=sweeps, electrodes=electrodes)
    _, series = plan(saved(content, tmp_path))
    for number in range(electrodes):
        for sweep in range(sweeps):
            stimulus = series[f"/stimulus/presentation/in_{number}_{sweep}"].info
            answer = series[f"/acquisition/out_{number}_{sweep}"].info
            assert (stimulus.pairs_with, answer.pairs_with) == (answer.name, stimulus.name)
            assert (stimulus.role, stimulus.unit, answer.unit) == ("stimulus", "amperes", "volts")


def test_what_could_be_paired_in_two_ways_is_not(tmp_path: Path):
    content = new_file()
    content.add_stimulus(pynwb.TimeSeries(name="light", data=np.arange(9.0), unit="lux", rate=10.0))
    for name in ("left", "right"):
        content.add_acquisition(pynwb.TimeSeries(name=name, data=np.arange(9.0), unit="V", rate=10.0))
    _, series = plan(saved(content, tmp_path))
    assert not any(one.info.pairs_with for one in series.values())


def test_shared_data_and_timestamps_lie_where_they_lie_in_the_first(tmp_path: Path):
    content = new_file()
    first = pynwb.TimeSeries(name="first", data=np.arange(600.0), unit="V", timestamps=np.arange(600.0) / 7)
    content.add_acquisition(first)
    content.add_acquisition(pynwb.TimeSeries(name="same", data=first, unit="V", timestamps=first))
    content.add_acquisition(pynwb.TimeSeries(name="other", data=np.arange(600.0) * 2, unit="V", timestamps=first))
    path = saved(content, tmp_path)
    _, series = plan(path)
    names = [series[f"/acquisition/{name}"].info.timestamps for name in ("first", "same", "other")]
    assert set(names) == {"/acquisition/first/timestamps"}
    data = path.read_bytes()
    assert array_of(series["/acquisition/same"], data).tolist() == np.arange(600.0).tolist()
    assert array_of(series["/acquisition/first/timestamps"], data).tolist() == (np.arange(600.0) / 7).tolist()
    assert series["/acquisition/first/timestamps"].info.unit == "seconds"


def test_missing_fields_are_named_with_what_to_do(tmp_path: Path):
    content = pynwb.NWBFile(session_description="s", identifier="i", session_start_time=START)
    planned, _ = plan(saved(content, tmp_path))
    assert len(planned.warnings) == 4
    assert all("engram annotate ADDRESS --set subject." in warning for warning in planned.warnings)


def test_the_demo_recording_is_what_pynwb_reads():
    planned, series = plan(DEMO)
    data = DEMO.read_bytes()
    with pynwb.NWBHDF5IO(DEMO, "r", load_namespaces=True) as io:
        content = io.read()
        assert planned.metadata["session.identifier"] == content.identifier
        assert planned.metadata["session.start_time"] == content.session_start_time.isoformat()
        assert planned.metadata["units.count"] == len(content.units)
        assert planned.metadata["electrodes.count"] == len(content.electrodes)
        wanted = np.asarray(content.units.spike_times.data)
        assert array_of(series["/units/spike_times"], data).tobytes() == wanted.tobytes()
        for name, column in planned.plan.description.tables["electrodes"].columns.items():
            if name != "id":
                assert np.array_equal(column, content.electrodes[name][:], equal_nan=not isinstance(column, list)), name
    assert any("subject.species" in warning for warning in planned.warnings)


def test_values_that_lie_in_other_files_are_not_read(tmp_path: Path):
    secret = tmp_path / "secret"
    secret.write_bytes(b"password")
    path = tmp_path / "thief.nwb"
    with h5py.File(path, "w") as file:
        file.attrs["nwb_version"] = "2.8.0"
        creation = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        creation.set_external(str(secret).encode(), 0, 8)
        space = h5py.h5s.create_simple((1,))
        h5py.h5d.create(file.id, b"session_description", h5py.h5t.py_create(np.dtype("S8")), space, creation)
        layout = h5py.VirtualLayout((1,), "S8")
        layout[:] = h5py.VirtualSource(path, "session_description", (1,), "S8")
        file.create_virtual_dataset("identifier", layout)
        file["general/lab"] = h5py.ExternalLink(str(path), "/session_description")
    planned, series = plan(path)
    assert b"password" not in planned.to_bytes()
    assert series == {}
