"""What every door does with recordings: describe them, slice their series, and read them as files."""

from __future__ import annotations

import io

import h5py
import numpy as np
import pytest
from engram_testing.recordings import (
    CHANNELS,
    NAMES,
    RATE_HZ,
    SAMPLES,
    deposit_recording,
    hdf5_file,
    plan_of,
    recorded,
)

from engram_client.transfer import deposit_files
from engram_format.address import Address
from engram_format.errors import InvalidInput, NotFound, Precondition

DATA = hdf5_file()
PLACE = Address("lab", "sliced", path="session.h5")


@pytest.fixture(scope="module")
def address(archive):
    return deposit_recording(archive, PLACE, DATA, metadata={"subject.species": "Mus musculus"})


@pytest.fixture(scope="module")
def view(archive, address):
    return archive[str(address)]


def test_a_recording_is_described_as_it_was_planned(archive, address):
    recording = archive.recording(address)
    described = plan_of(DATA).description
    assert recording.artifact == archive.artifact(address)
    assert recording.family == "hdf5"
    assert recording.series == tuple(series.info for series in described.series)
    table = recording.tables["electrodes"]
    assert list(table.columns["location"]) == ["CA1"] * CHANNELS
    assert table.columns["x"].tolist() == described.tables["electrodes"].columns["x"].tolist()


@pytest.mark.parametrize("name", NAMES)
def test_every_series_is_read_whole(archive, address, name):
    array = recorded()[name]
    wanted = array.T if name.endswith("lfp") else array
    found = np.concatenate(list(archive.read_series(address, name)))
    assert found.dtype == wanted.dtype.newbyteorder("=")
    assert np.array_equal(found, wanted)


@pytest.mark.parametrize("name", NAMES[:3])
@pytest.mark.parametrize(("start", "stop", "channels"), [(0, 1, (0, 1)), (690, 1410, (3, 6)), (4999, None, (2, None))])
def test_a_slice_is_what_h5py_reads(archive, address, name, start, stop, channels):
    with h5py.File(io.BytesIO(DATA)) as file:
        whole = file[name][...]
    wanted = (whole.T if name.endswith("lfp") else whole)[start:stop, slice(*channels)]
    found = np.concatenate(list(archive.read_series(address, name, start=start, stop=stop, channels=channels)))
    assert np.array_equal(found, wanted)


def test_physical_values_are_floats_in_the_series_unit(archive, address):
    (block,) = archive.read_series(address, "/acquisition/raw", start=5, stop=9, physical=True)
    assert block.dtype == np.float64
    assert np.array_equal(block, recorded()["/acquisition/raw"][5:9] * 0.195)


def test_an_empty_slice_is_one_empty_block(archive, address):
    (block,) = archive.read_series(address, "/acquisition/raw", start=7, stop=7, channels=(2, 5))
    assert (block.shape, block.dtype) == ((0, 3), np.int16)


@pytest.mark.parametrize(
    ("wanted", "says"),
    [
        ({"start": 0, "stop": SAMPLES + 1}, "5000 samples, 5 s at 1000 Hz"),
        ({"start": 9, "stop": 3}, "samples 9 to 3"),
        ({"start": -4}, "samples -4"),
        ({"channels": (0, CHANNELS + 1)}, "channels 0 up to 6"),
        ({"channels": (-2, 3)}, "channels -2:3"),
    ],
)
def test_a_slice_outside_the_recording_is_refused(archive, address, wanted, says):
    with pytest.raises(InvalidInput, match=says):
        list(archive.read_series(address, "/acquisition/raw", **wanted))


def test_an_unknown_series_names_the_nearest(archive, address, view):
    with pytest.raises(NotFound, match="did you mean '/acquisition/raw'"):
        list(archive.read_series(address, "/acquisition/row"))
    with pytest.raises(NotFound, match="did you mean '/acquisition/raw'"):
        view.series["/acquisition/row"]
    assert view.series.get("/acquisition/row") is None


def test_plain_bytes_say_that_nothing_is_known_of_them(archive, tmp_path):
    (tmp_path / "notes.txt").write_text("nothing")
    version = deposit_files(archive, [tmp_path / "notes.txt"], to=Address("lab", "plain"), message="", author="a test")
    with pytest.raises(Precondition, match="plain bytes"):
        archive.recording(version.address.of("notes.txt"))
    with pytest.raises(Precondition, match="plain bytes"):
        list(archive.read_series(version.address.of("notes.txt"), "/a"))


def test_a_view_shows_what_is_known(view, address):
    assert view.artifact.address == address
    assert list(view.series) == list(NAMES)
    assert view.metadata["subject.species"] == "Mus musculus"
    assert list(view.tables) == ["electrodes"]
    raw = view.series["/acquisition/raw"]
    assert (raw.shape, raw.dtype, raw.unit, raw.sampling_rate) == ((SAMPLES, CHANNELS), np.int16, "uV", RATE_HZ)
    assert len(raw) == SAMPLES
    assert view.series["/processing/lfp"].shape == (SAMPLES, CHANNELS)


@pytest.mark.parametrize(
    "key",
    [
        np.s_[10],
        np.s_[-1],
        np.s_[10:20],
        np.s_[10:20, 2],
        np.s_[-10:, -2:],
        np.s_[::7, ::2],
        np.s_[100:50:-3],
        np.s_[100:50:-3, ::-1],
        np.s_[...],
        np.s_[..., 3],
        np.s_[4, ...],
        np.s_[5, 1],
        np.s_[9:3],
        np.s_[4000:99999],
        np.s_[3, 5:1],
    ],
)
@pytest.mark.parametrize("name", NAMES[:3])
def test_a_series_is_indexed_as_numpys_arrays_are(view, name, key):
    array = recorded()[name]
    array = array.T if name.endswith("lfp") else array
    found, wanted = view.series[name][key], array[key]
    assert np.shape(found) == np.shape(wanted)
    assert np.array_equal(found, wanted)


def test_an_index_outside_is_numpys_error_too(view):
    raw = view.series["/acquisition/raw"]
    with pytest.raises(IndexError, match="index 5000 does not lie in series"):
        raw[SAMPLES]
    with pytest.raises(IndexError, match="has 2 axes"):
        raw[0, 0, 0]
    with pytest.raises(InvalidInput, match="is indexed with integers, slices"):
        raw[[1, 2]]


def test_physical_and_si_values_and_times(view):
    raw = view.series["/acquisition/raw"]
    counts = recorded()["/acquisition/raw"][100:110]
    assert np.array_equal(raw.physical[100:110], counts * 0.195)
    assert raw.physical.unit == "uV"
    assert np.allclose(raw.si[100:110], counts * 0.195e-6)
    assert raw.si.unit == "V"
    assert np.allclose(raw.times(100, 110), 2.5 + np.arange(100, 110) / RATE_HZ)
    assert np.array_equal(np.asarray(raw), recorded()["/acquisition/raw"])
    with pytest.raises(InvalidInput, match="its times are unknown"):
        view.series["/units/spike_times"].times()


def test_timestamps_say_when_samples_were_taken(view):
    assert np.array_equal(view.series["/scratch/pupil"].times(5, 9), recorded()["/scratch/pupil_times"][5:9])


def test_h5py_reads_a_recording_in_place(view):
    with view.open() as opened, h5py.File(opened, "r") as file:
        for name, array in recorded().items():
            assert np.array_equal(file[name][...], array)


def test_a_file_object_reads_and_seeks_as_a_local_file(view):
    local = io.BytesIO(DATA)
    with view.open() as file:
        assert (file.seekable(), file.readable(), file.writable(), file.size) == (True, True, False, len(DATA))
        for offset, whence, size in [(0, 0, 10), (5, 1, 7), (-9, 2, 100), (len(DATA) + 5, 0, 3), (1, 0, -1)]:
            assert file.seek(offset, whence) == local.seek(offset, whence)
            assert file.read(size) == local.read(size)
            assert file.tell() == local.tell()
        with pytest.raises(InvalidInput, match="has no place"):
            file.seek(-1)
        with pytest.raises(io.UnsupportedOperation):
            file.write(b"x")


@pytest.mark.parametrize("name", NAMES)
def test_an_array_that_was_read_is_the_callers_own(view, name):
    """Also where it is the block that the engine has made, and where frames are held for the next slice."""
    series = view.series[name]
    first = series[10:400]
    kept = first.copy()
    first[...] = 0
    assert np.array_equal(series[10:400], kept)
