"""Slices of real files, through every door, are what the field's own libraries read."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
from pynwb import NWBHDF5IO

from engram_client.demo.retina import NWB_FILE
from engram_client.transfer import deposit_files
from engram_format.address import Address

DATA = Path(__file__).parent.parent / "data"
MCS_FILE = DATA / "mea_mcs" / "2014-07-09T10-17-35W8_Standard_all_500Hz.h5"
EDF_FILE = DATA / "eeg_mne" / "test.edf"
PLACE = Address("lab", "recorded")


@pytest.fixture(scope="module")
def packed_file(tmp_path_factory):
    """A recording that HDF5 has shuffled and deflated, long enough for several frames."""
    path = tmp_path_factory.mktemp("packed") / "packed.h5"
    walk = np.cumsum(np.random.default_rng(2).integers(-8, 9, (60_000, 16)), axis=0)
    with h5py.File(path, "w") as file:
        file.create_dataset(
            "recording", data=(walk // 4).astype("<i2"), chunks=(5000, 8), compression="gzip", shuffle=True
        )
    return path


@pytest.fixture(scope="module")
def version(archive, packed_file):
    files = [NWB_FILE, MCS_FILE, EDF_FILE, packed_file]
    return deposit_files(archive, files, to=PLACE, message="", author="a test").address


@pytest.mark.parametrize("source", [NWB_FILE, MCS_FILE], ids=lambda path: path.name)
def test_every_series_of_a_real_file_is_what_h5py_reads(archive, version, source):
    view = archive[version.of(source.name)]
    with h5py.File(source) as file:
        checked = 0
        for name, series in view.series.items():
            found = file[name]
            dataset = found if isinstance(found, h5py.Dataset) else found["data"]
            if not series.info.is_numeric:
                continue
            whole = np.moveaxis(dataset[...], series.info.time_axis, 0) if dataset.ndim else dataset[...]
            middle = len(whole) // 3 if whole.ndim else None
            wanted, got = (whole, series[...]) if middle is None else (whole[middle:], series[middle:])
            assert np.array_equal(got, wanted, equal_nan=wanted.dtype.kind in "fc")
            checked += 1
        assert checked >= 6


@pytest.mark.parametrize(
    "key", [np.s_[...], np.s_[4_990:5_010], np.s_[20_000:45_000:3, 7:9], np.s_[-1], np.s_[:, 3]], ids=str
)
def test_slices_of_deflated_chunks_are_what_h5py_reads(archive, version, packed_file, key):
    with h5py.File(packed_file) as file:
        wanted = file["recording"][...][key]
    assert np.array_equal(archive[version.of(packed_file.name)].series["/recording"][key], wanted)


def test_an_nwb_file_is_read_in_place_by_pynwb(archive, version):
    view = archive[version.of(NWB_FILE.name)]
    with view.open() as opened, NWBHDF5IO(file=h5py.File(opened, "r")) as there, NWBHDF5IO(NWB_FILE, "r") as here:
        found, wanted = there.read(), here.read()
        assert found.identifier == wanted.identifier
        assert np.array_equal(found.units["spike_times"][0], wanted.units["spike_times"][0])


def test_an_edf_file_is_sliced_in_microvolts(archive, version):
    view = archive[version.of(EDF_FILE.name)]
    (series,) = view.series.values()
    assert series.shape[1] == len(series.info.channels) > 100
    raw = EDF_FILE.read_bytes()
    head = int(raw[184:192])
    first = np.frombuffer(raw, "<i2", 1, head)[0]
    assert series[0, 0] == first
    assert np.isfinite(series.physical[:100]).all()
