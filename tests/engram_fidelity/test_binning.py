"""Spikes are counted, stimuli averaged and trials aligned as SPEC.md section 9.7 says, and what cannot be is refused."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engram_fidelity.arrays import experiment_from_arrays
from engram_fidelity.binning import (
    BinAverage,
    Clock,
    Presentation,
    SpikeBinner,
    Stimuli,
    as_counts,
    bins_together,
    experiment_of,
    presentations,
    segments,
    whole_bins,
)
from engram_fidelity.digest import experiment_sha256
from engram_format.errors import InvalidInput

BIN = 0.005


def trial(start: float, bins: int, *, stimulus: str = "a", repeat: int = 0) -> Presentation:
    return Presentation(f"trial at {start}", stimulus, repeat, start, bins)


def average(samples, clock: Clock, shown: Presentation, *, bin_s: float = BIN, cuts=()) -> np.ndarray:
    mean = BinAverage(shown, clock, bin_s, samples.shape[1])
    edges = [0, *cuts, len(samples)]
    for start, stop in itertools.pairwise(edges):
        mean.add(start, samples[start:stop])
    return mean.result()


@pytest.mark.parametrize(("duration", "bins"), [(36.0, 7200), (20 / 3, 1333), (0.0149999, 2), (0.015, 3), (0.004, 0)])
def test_an_incomplete_last_bin_is_dropped_and_a_rounded_one_is_not(duration, bins):
    assert whole_bins(duration, BIN) == bins


@pytest.mark.parametrize("bin_s", [0.0, -0.005, float("nan"), float("inf")])
def test_a_bin_without_a_width_is_refused(bin_s):
    with pytest.raises(InvalidInput, match="give a positive width"):
        whole_bins(1.0, bin_s)


def test_a_spike_on_an_edge_belongs_to_the_bin_that_begins_there():
    binner = SpikeBinner([trial(0.3, 3), trial(0.315, 2)], BIN)
    times = np.array([0.1, 0.3, 0.1 + 0.2 + 0.005, 0.315, 0.32, 0.3249, 0.325, 9.0])  # 0.1 + 0.2 lies just above 0.3
    assert binner.count(times, cell="0").tolist() == [1, 1, 0, 1, 2]


def test_overlapping_trials_count_the_same_spikes_each():
    binner = SpikeBinner([trial(0.0, 4), trial(0.01, 4), trial(0.015, 2)], BIN)
    assert binner.count(np.array([0.012, 0.017]), cell="0").tolist() == [0, 0, 1, 1, 1, 1, 0, 0, 1, 0]


@given(st.lists(st.floats(-0.1, 1.2), max_size=60), st.lists(st.floats(0, 1), min_size=1, max_size=5))
def test_counting_agrees_with_a_histogram_of_each_trial(times, starts):
    shown = [trial(start, 7) for start in sorted(starts)]
    spikes = np.sort(np.array(times, np.float64))
    found = SpikeBinner(shown, 0.01).count(spikes, cell="0").reshape(len(shown), 7)
    for row, one in zip(found, shown, strict=True):
        place = (spikes - one.start_s) / 0.01
        if (np.abs(place - np.rint(place)) > 1e-5).all():
            wanted, _ = np.histogram(place, bins=np.arange(8))
            assert row.tolist() == wanted.tolist()


def test_no_spikes_are_no_counts():
    assert SpikeBinner([trial(0, 3)], BIN).count(np.array([]), cell="0").tolist() == [0, 0, 0]


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_spike_times_that_are_none_are_refused(wrong):
    with pytest.raises(InvalidInput, match="cell u7 has a spike time that is NaN or infinite"):
        SpikeBinner([trial(0, 3)], BIN).count(np.array([0.001, wrong]), cell="u7")


@pytest.mark.parametrize(
    ("counts", "why"),
    [([1, -1], "count of -1"), ([0.5], "no whole numbers"), ([np.nan], "no whole numbers"), ([256], "narrower bins")],
)
def test_counts_that_are_none_are_refused(counts, why):
    with pytest.raises(InvalidInput, match=why):
        as_counts(np.array(counts), cell="3")


def test_a_stimulus_is_averaged_by_the_time_that_each_sample_lasts():
    clock = Clock(3, rate_hz=1 / 0.015)
    samples = np.array([[0.0], [3.0], [9.0]])
    mean = average(samples, clock, trial(0.0, 4), bin_s=0.01)
    assert mean.ravel().tolist() == [0.0, 1.5, 3.0, 9.0]


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_a_constant_stimulus_stays_what_it_is_to_the_bit(value):
    samples = np.full((400, 2), value)
    for start in (0.0, 1 / 60, 0.1 + 0.2, 2.123):
        mean = average(samples, Clock(400, rate_hz=60.0), trial(start, 700), cuts=(3, 200))
        assert (mean == np.float32(value)).all()


@given(st.lists(st.integers(1, 119), max_size=6, unique=True))
def test_the_mean_does_not_depend_on_how_samples_arrive(cuts):
    samples = np.random.default_rng(1).standard_normal((120, 3))
    whole = average(samples, Clock(120, rate_hz=60.0), trial(0.25, 300))
    assert np.allclose(
        average(samples, Clock(120, rate_hz=60.0), trial(0.25, 300), cuts=sorted(cuts)), whole, atol=1e-6
    )


def test_timestamps_that_are_even_give_what_a_rate_gives():
    samples = np.random.default_rng(1).standard_normal((120, 3))
    by_rate = average(samples, Clock(120, start_s=2.0, rate_hz=60.0), trial(2.25, 300))
    by_times = average(samples, Clock(120, times_s=2 + np.arange(120) / 60), trial(2.25, 300))
    assert np.allclose(by_rate, by_times, atol=1e-6)


def test_uneven_timestamps_weigh_by_how_long_a_sample_lasts():
    clock = Clock(3, times_s=np.array([0.0, 0.002, 0.01]))
    samples = np.array([[5.0], [0.0], [1.0]])
    assert np.allclose(average(samples, clock, trial(0.0, 3)).ravel(), [2.0, 0.0, 1.0])


@pytest.mark.parametrize("times", [[0.0, 2.0, 1.0], [0.0, 1.0], [0.0, 1.0, np.nan]])
def test_timestamps_that_do_not_rise_are_refused(times):
    with pytest.raises(InvalidInput, match="timestamps of the stimulus do not rise"):
        Clock(3, times_s=np.array(times))


def test_a_stimulus_without_any_times_is_refused():
    with pytest.raises(InvalidInput, match="neither a sampling rate nor timestamps"):
        Clock(3)


def test_a_trial_outside_of_the_stimulus_is_refused():
    with pytest.raises(InvalidInput, match="lies outside of the stimulus"):
        average(np.ones((10, 1)), Clock(10, rate_hz=60.0), trial(-0.1, 10))


def test_trials_without_ids_are_stimuli_of_their_own_in_the_order_of_time():
    shown = presentations([3.0, 1.0], [4.0, 2.0], bin_s=BIN)
    assert [(one.stimulus_id, one.start_s, one.repeat) for one in shown] == [("trial-1", 1.0, 0), ("trial-0", 3.0, 0)]


def test_repeats_are_counted_where_nobody_has_numbered_them():
    shown = presentations([0, 1, 2], [1, 2, 3], bin_s=BIN, stimulus_ids=["a", "b", "a"])
    assert [(one.stimulus_id, one.repeat) for one in shown] == [("a", 0), ("b", 0), ("a", 1)]


@pytest.mark.parametrize(
    ("starts", "stops", "repeats", "why"),
    [
        ([0, 1], [1, 2], [0, 0], "second repeat 0 of stimulus 'a'"),
        ([0, 2], [1, 1], None, "a start and a later stop"),
        ([0, np.nan], [1, 2], None, "a start and a later stop"),
        ([0, 1], [0.001, 1.001], None, "no trial lasts a bin"),
    ],
)
def test_trials_that_cannot_be_are_refused(starts, stops, repeats, why):
    with pytest.raises(InvalidInput, match=why):
        presentations(starts, stops, bin_s=BIN, stimulus_ids=["a", "a"], repeats=repeats)


def test_a_trial_shorter_than_a_bin_is_left_out_with_a_warning():
    told = []
    assert len(presentations([0, 1], [1, 1.001], bin_s=BIN, warn=told.append)) == 1
    assert told == ["trial 1 is shorter than one bin of 0.005 s and is left out"]


def test_a_session_is_cut_into_segments_without_a_gap():
    cut = segments(2.0, 3.03, segment_s=0.5, bin_s=BIN)
    assert [(one.start_s, one.bins) for one in cut] == [(2.0, 100), (2.5, 100), (3.0, 6)]
    with pytest.raises(InvalidInput, match="shorter than one bin"):
        segments(0, 0.001, segment_s=1, bin_s=BIN)


def test_equal_ids_must_have_equal_stimuli():
    stimuli = Stimuli()
    first = np.tile(np.array([[0.0], [1.0]], np.float32), (10, 1))
    stimuli.add(trial(0, 20), first)
    stimuli.add(trial(1, 20, repeat=1), first + np.float32(0.01))  # measured, with a little noise
    with pytest.raises(
        InvalidInput, match="trial at 0 and trial at 2 both have stimulus_id 'a' and saw different stimuli"
    ):
        stimuli.add(trial(2, 20, repeat=2), 1 - first)
    with pytest.raises(InvalidInput, match="holds NaN"):
        stimuli.add(trial(3, 20, stimulus="b"), np.full((20, 1), np.nan, np.float32))


def test_repeats_of_unequal_length_are_cut_to_the_shortest_and_told():
    shown = [trial(0, 4), trial(1, 3, repeat=1)]
    stimuli, told = Stimuli(), []
    for one in shown:
        stimuli.add(one, np.arange(one.bins, dtype=np.float32)[:, np.newaxis])
    counts = np.arange(7, dtype=np.uint8)[:, np.newaxis]
    made = experiment_of(shown, stimuli, counts, bin_s=BIN, channels=["x"], cells=["0"], warn=told.append)
    assert made.trials[0].counts[..., 0].tolist() == [[0, 1, 2], [4, 5, 6]]
    assert made.trials[0].bins == 3
    assert told == ["repeats of stimulus 'a' last 3 to 4 bins: all are cut to 3"]


def test_repeats_are_in_the_order_of_their_numbers():
    shown = [trial(0, 1, repeat=1), trial(1, 1, repeat=0)]
    stimuli = Stimuli()
    for one in shown:
        stimuli.add(one, np.ones((1, 1), np.float32))
    counts = np.array([[7], [5]], np.uint8)
    made = experiment_of(shown, stimuli, counts, bin_s=BIN, channels=["x"], cells=["0"])
    assert made.trials[0].counts.ravel().tolist() == [5, 7]


def test_bins_that_do_not_go_into_each_other_are_refused():
    assert bins_together(0.005, 600) == 3
    with pytest.raises(InvalidInput, match="recorded in bins of 0.01 s, of which no bins of 0.005 s can be made"):
        bins_together(0.005, 100)


def test_arrays_become_an_experiment():
    stimulus = np.array([[0, 1], [1, 1], [0, 0], [1, 0], [1, 1]])
    counts = np.array([[[1], [0], [2], [0], [9]], [[0], [0], [1], [1], [9]]])
    made = experiment_from_arrays(stimulus, counts, array_bin_s=0.0025, bin_s=BIN)
    (shown,) = made.trials
    assert (shown.repeats, shown.stimulus.tolist()) == (2, [[0.5, 1.0], [0.5, 0.0]])
    assert shown.counts[..., 0].tolist() == [[1, 2], [0, 2]]
    assert (made.channels, made.cells) == (("0", "1"), ("0",))


@pytest.mark.parametrize(
    ("stimulus", "counts", "ids", "why"),
    [
        (np.ones((3, 1)), np.ones((4, 1)), None, "in the same bins"),
        (np.ones((2, 3, 1)), np.ones((3, 3, 1)), None, "2 stimuli and counts of 3 trials"),
        (np.ones((3, 1)), -np.ones((3, 1)), None, "count of -1"),
        (np.ones((3, 1)), np.ones((2, 3, 1)), ["a"], "as many ids as trials"),
        (np.full((3, 1), np.nan), np.ones((3, 1)), None, "NaN"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(stimulus, counts, ids, why):
    with pytest.raises(InvalidInput, match=why):
        experiment_from_arrays(stimulus, counts, array_bin_s=BIN, bin_s=BIN, stimulus_ids=ids)


def test_the_digest_tells_apart_what_differs():
    def made(**changed):
        given = {"stimulus": np.ones((3, 2)), "counts": np.ones((3, 1)), "array_bin_s": BIN, "bin_s": BIN} | changed
        return experiment_sha256(experiment_from_arrays(**given))

    others = [
        made(stimulus=np.zeros((3, 2))),
        made(counts=np.zeros((3, 1))),
        made(cells=["x"]),
        made(channels=["x", "y"]),
        made(array_bin_s=0.01, bin_s=0.01),
        made(unit="V"),
        made(),
    ]
    assert len({*others}) == len(others)
    assert made() == made()


def test_spikes_too_far_away_for_numbers_lie_in_no_trial():
    binner = SpikeBinner([trial(0.0, 4)], BIN)
    assert binner.count(np.array([-1.7e308, 0.0, 1.7e308]), cell="0").tolist() == [1, 0, 0, 0]


def test_more_trials_at_one_time_than_any_session_has_are_refused():
    with pytest.raises(InvalidInput, match="overlaps 64 others: mend the starts and stops"):
        SpikeBinner([trial(0.0, 4, repeat=number) for number in range(65)], BIN)


@pytest.mark.parametrize("rate_hz", [1e308, 1e12])
def test_bins_of_which_no_number_makes_one_are_refused(rate_hz):
    with pytest.raises(InvalidInput, match="choose a multiple"):
        bins_together(1e308, rate_hz)


def test_a_stimulus_beyond_all_numbers_is_refused_and_nothing_is_warned_of(recwarn):
    with pytest.raises(InvalidInput, match="holds NaN or infinity"):
        experiment_from_arrays(np.full((1, 4, 2), 1e300), np.zeros((1, 4, 1), np.uint8), array_bin_s=0.005, bin_s=0.005)
    assert not recwarn.list
