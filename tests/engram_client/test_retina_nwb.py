"""The NWB file that ships is made from the published MATLAB files, and holds what they hold, bit for bit."""

from __future__ import annotations

import h5py
import numpy as np
import pynwb
import pytest
from engram_testing.series_bytes import array_of

from engram_client.demo.retina import RETINA_BARS_NWB
from engram_client.demo.retina_nwb import load_published, spike_times, write_nwb
from engram_layout.hdf5 import plan_hdf5


def held(path):
    """All datasets and attributes of a file, but those that tell the versions of what has written it."""
    found = {}

    def see(name, thing):
        if name.startswith("specifications"):
            return
        if isinstance(thing, h5py.Dataset):
            value = thing[()]
            found[name] = value.tolist() if isinstance(value, np.ndarray) else value
        found[f"{name} attributes"] = {
            key: np.asarray(value).tolist()
            for key, value in thing.attrs.items()
            if not isinstance(value, h5py.Reference)
        }

    with h5py.File(path) as file:
        file.visititems(see)
    return found


@pytest.fixture(scope="module")
def published():
    return load_published()


def test_the_script_makes_the_file_that_ships(tmp_path):
    write_nwb(tmp_path / "again.nwb")
    write_nwb(tmp_path / "twice.nwb")
    assert (tmp_path / "again.nwb").read_bytes() == (tmp_path / "twice.nwb").read_bytes()
    assert held(tmp_path / "again.nwb") == held(RETINA_BARS_NWB)


def test_the_file_is_small_enough_to_ship():
    assert RETINA_BARS_NWB.stat().st_size < 500_000


def test_pynwb_finds_it_sound():
    assert not pynwb.validate(path=str(RETINA_BARS_NWB))


def test_counting_its_spike_times_gives_the_published_counts(published):
    with pynwb.NWBHDF5IO(RETINA_BARS_NWB, "r") as io:
        content = io.read()
        trials = content.trials.to_dataframe()
        units = [content.units["spike_times"][cell] for cell in range(6)]
    whole = np.concatenate(published.spikes)
    for cell, times in enumerate(units):
        assert np.array_equal(np.bincount(np.floor(times * 600).astype(int), minlength=len(whole)), whole[:, cell])
        assert (np.diff(times) > 0).all()
        edges = np.abs(times * 600 - np.rint(times * 600)) / 600
        assert edges.min() > 1.8e-4
    assert list(trials["stimulus_id"]) == list(published.stimulus_ids)
    assert list(trials["repeat"]) == list(published.repeats)
    assert list(trials["start_time"][1:]) == list(trials["stop_time"][:-1])
    assert len(trials) == 50 + 54


def test_its_stimulus_is_the_published_one(published):
    with RETINA_BARS_NWB.open("rb") as file:
        described = plan_hdf5(file, size=RETINA_BARS_NWB.stat().st_size).plan.description
    series = {one.info.name: one for one in described.series}
    frames = array_of(series["/stimulus/presentation/bars"], RETINA_BARS_NWB.read_bytes())
    assert frames.dtype == np.uint8
    assert series["/stimulus/presentation/bars"].info.sampling_rate == 60.0
    assert np.array_equal(np.repeat(frames, 10, axis=0), np.concatenate(published.stimulus))


def test_what_the_sources_do_not_say_is_not_made_up():
    with pynwb.NWBHDF5IO(RETINA_BARS_NWB, "r") as io:
        content = io.read()
        assert content.subject.species is None
        assert content.subject.age is None
        assert "reconstruction" in content.session_description
        assert "placeholder" in content.session_description


def test_two_spikes_in_a_bin_are_two_times_in_it():
    times = spike_times(np.array([0, 2, 1], np.uint8))
    assert np.floor(times * 600).tolist() == [1, 1, 2]
    with pytest.raises(ValueError, match="more than two spikes"):
        spike_times(np.array([3], np.uint8))
