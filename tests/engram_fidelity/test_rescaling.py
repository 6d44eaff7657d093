"""Intervals in rescaled time."""

from __future__ import annotations

import numpy as np
import pytest

from engram_fidelity.metrics import rescaling
from engram_format.errors import InvalidInput

REPEATS, BINS = 30, 600


def _rate(mean: float = 0.15):
    return np.random.default_rng(9).gamma(0.7, mean / 0.7, BINS)


def test_intervals_worked_by_hand():
    # Spikes in bins 1 and 3, half a spike expected in each bin: 0.5 to 1 and 1.5 to 2 in rescaled time.
    first, second = rescaling.rescaled_intervals([[0, 1, 0, 1]], [0.5] * 4, seed=1)
    assert 0.5 <= first <= 1.0
    assert 1.5 <= first + second <= 2.0


def test_haslingers_interval_begins_in_the_next_bin():
    half = -np.log(0.5)
    first, second = rescaling.rescaled_intervals([[0, 1, 0, 1]], [0.5] * 4, model="bernoulli", seed=1)
    assert half <= first <= 2 * half
    assert half <= second <= 2 * half


def test_repeats_follow_one_another():
    whole = rescaling.rescaled_intervals([[0, 1, 0, 0, 0, 2]], [0.3] * 6, seed=2)
    parts = rescaling.rescaled_intervals([[0, 1, 0], [0, 0, 2]], [0.3] * 3, seed=2)
    np.testing.assert_allclose(whole, parts)
    assert len(whole) == 3


@pytest.mark.parametrize("model", ["poisson", "bernoulli"])
def test_spikes_that_come_as_said_stay_in_the_band_as_often_as_it_promises(model):
    rate = np.minimum(_rate(), 1)
    within = 0
    for seed in range(200):
        generator = np.random.default_rng(seed)
        shape = (REPEATS, BINS)
        counts = generator.poisson(rate, shape) if model == "poisson" else generator.random(shape) < rate
        within += rescaling.ks(counts, rate, model=model, seed=seed + 1000).within
    assert 0.9 * 200 <= within <= 0.99 * 200


def test_intervals_are_exponential_of_mean_one():
    rate = _rate()
    intervals = rescaling.rescaled_intervals(np.random.default_rng(1).poisson(rate, (400, BINS)), rate)
    assert intervals.mean() == pytest.approx(1, abs=0.02)
    assert intervals.std() == pytest.approx(1, abs=0.02)


def test_wide_bins_need_the_correction():
    # Probabilities of 0.4 a bin: placed at the end of their bins, spikes of the truth itself would fail.
    probability = np.full(BINS, 0.4)
    counts = np.random.default_rng(2).random((REPEATS, BINS)) < probability
    corrected = rescaling.ks(counts, probability, model="bernoulli")
    waits = np.diff(np.flatnonzero(counts.ravel())) * -np.log1p(-0.4)
    crude = np.sort(-np.expm1(-waits))
    assert corrected.within
    assert np.abs(crude - np.arange(1, len(crude) + 1) / len(crude)).max() > 5 * corrected.band


def test_a_refractory_cell_fails_a_student_without_history():
    generator = np.random.default_rng(3)
    counts = np.zeros((REPEATS, BINS))
    for t in range(BINS):
        counts[:, t] = (generator.random(REPEATS) < 0.3) & (counts[:, max(0, t - 3) : t].sum(axis=1) == 0)
    without = rescaling.ks(counts, np.full(BINS, counts.mean()), model="bernoulli")
    free = np.stack([counts[:, max(0, t - 3) : t].sum(axis=1) == 0 for t in range(BINS)], axis=1)
    with_history = rescaling.ks(counts, 0.3 * free, model="bernoulli")
    assert not without.within
    assert with_history.within


def test_silence_has_no_intervals():
    for model in ("poisson", "bernoulli"):
        found = rescaling.ks(np.zeros((2, 10)), np.full(10, 0.1), model=model)
        assert np.isnan(found.distance)
        assert found.intervals == 0
        assert not found.within


def test_a_spike_that_was_certain_or_impossible_stays_finite():
    for model in ("poisson", "bernoulli"):
        assert np.isfinite(rescaling.rescaled_intervals([[1, 0, 1, 1]], [1.0, 0.0, 0.0, 1.0], model=model)).all()


def test_what_does_not_fit_is_refused():
    with pytest.raises(InvalidInput, match="no probability"):
        rescaling.ks([[0, 1]], [0.5, 1.2], model="bernoulli")
    with pytest.raises(InvalidInput, match="the same bins"):
        rescaling.ks([[0, 1]], [0.5, 1.2, 1.0])
    with pytest.raises(InvalidInput, match="bring \\(repeat, time\\)"):
        rescaling.ks([0, 1], [0.5, 1.2])
