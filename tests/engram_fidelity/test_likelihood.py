"""Bits per spike, deviance, and the oracle of the other repeats."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import bernoulli, poisson
from sklearn.metrics import d2_tweedie_score, mean_poisson_deviance

from engram_client.demo.retina import load_held_out, load_training
from engram_fidelity.metrics import likelihood
from engram_format.errors import InvalidInput


def _case(seed: int = 0, shape: tuple[int, ...] = (5, 40, 3)):
    generator = np.random.default_rng(seed)
    expected = generator.gamma(1.0, 0.5, shape[1:]) + 0.01
    return generator.poisson(expected, shape), expected


def test_bits_per_spike_worked_by_hand():
    # One spike where 1/2 were expected and none where 1/4, null 1/4: ln 2 - 1/4 nats gained on one spike.
    assert likelihood.bits_per_spike([1, 0], [0.5, 0.25], 0.25) == pytest.approx((math.log(2) - 0.25) / math.log(2))


def test_bits_per_spike_follows_the_benchmarks_formula():
    counts, expected = _case()
    null = counts.mean(axis=(0, 1))
    gain = poisson.logpmf(counts, expected) - poisson.logpmf(counts, null)
    wanted = gain.sum() / counts.sum() / math.log(2)
    assert likelihood.bits_per_spike(counts, expected, null) == pytest.approx(wanted)
    each = gain.sum(axis=(0, 1)) / counts.sum(axis=(0, 1)) / math.log(2)
    np.testing.assert_allclose(likelihood.bits_by_cell(counts, expected, null).values, each)


def test_the_null_gains_nothing_on_itself_and_the_truth_gains():
    counts, expected = _case(shape=(50, 200, 1))
    mean = likelihood.mean_count(counts)
    assert likelihood.bits_per_spike(counts, mean, mean) == 0
    assert likelihood.bits_per_spike(counts, expected, mean) > 0.1


def test_knowing_the_evaluated_mean_makes_the_null_harder_to_beat():
    counts, expected = _case()
    own, other = likelihood.mean_count(counts), likelihood.mean_count(counts) * 1.3
    assert likelihood.bits_per_spike(counts, expected, own) < likelihood.bits_per_spike(counts, expected, other)


def test_with_history_each_repeat_has_its_own_expectation():
    counts, expected = _case()
    told = np.broadcast_to(expected, counts.shape) * np.linspace(0.5, 1.5, 5)[:, None, None]
    gain = poisson.logpmf(counts, told) - poisson.logpmf(counts, 0.5)
    assert likelihood.bits_per_spike(counts, told, 0.5) == pytest.approx(gain.sum() / counts.sum() / math.log(2))


def test_a_bernoulli_student_is_judged_by_its_probabilities():
    generator = np.random.default_rng(3)
    probability = generator.random((30, 2))
    counts = (generator.random((8, 30, 2)) < probability).astype(np.uint8)
    gain = bernoulli.logpmf(counts, probability) - bernoulli.logpmf(counts, 0.4)
    wanted = gain.sum() / counts.sum() / math.log(2)
    assert likelihood.bits_per_spike(counts, probability, 0.4, model="bernoulli") == pytest.approx(wanted)
    with pytest.raises(InvalidInput, match="one at most"):
        likelihood.bits_per_spike([2, 0], [0.5, 0.5], 0.5, model="bernoulli")
    with pytest.raises(InvalidInput, match="no probability"):
        likelihood.bits_per_spike([1, 0], [1.5, 0.5], 0.5, model="bernoulli")


def test_a_spike_where_none_was_expected_costs_much_but_not_infinity():
    assert -40 < likelihood.bits_per_spike([1], [0.0], 0.5) < -20
    assert math.isfinite(likelihood.bits_per_spike([1, 0], [1.0, 1.0], 0.5, model="bernoulli"))


def test_a_silent_cell_has_no_bits_per_spike():
    counts = np.zeros((3, 10, 2))
    counts[:, 4, 0] = 1
    bits = likelihood.bits_by_cell(counts, np.full((10, 2), 0.1), 0.1)
    assert bits.dropped == 1
    assert bits.mean == bits.values[0] == 0.0
    assert math.isnan(likelihood.bits_per_spike(np.zeros(5), 0.1, 0.1))
    assert math.isnan(likelihood.deviance_explained(np.zeros(5), 0.1))


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 1000))
def test_deviance_agrees_with_scikit_learn(seed):
    counts, expected = _case(seed, (4, 30))
    told = np.broadcast_to(expected, counts.shape)
    whole = likelihood.poisson_deviance(counts, expected)
    assert whole.mean() == pytest.approx(mean_poisson_deviance(counts.ravel(), told.ravel()))
    wanted = d2_tweedie_score(counts.ravel(), told.ravel(), power=1)
    assert likelihood.deviance_explained(counts, expected) == pytest.approx(wanted)


def test_deviance_by_cell_is_that_of_each_cell():
    counts, expected = _case()
    each = likelihood.deviance_by_cell(counts, expected)
    wanted = [likelihood.deviance_explained(counts[..., cell], expected[:, cell]) for cell in range(3)]
    np.testing.assert_allclose(each.values, wanted)


def test_saying_what_came_explains_all():
    counts, _ = _case()
    assert likelihood.deviance_explained(counts, counts) == pytest.approx(1.0, abs=1e-6)


def test_leaving_one_out_never_tells_a_repeat_about_itself():
    counts, _ = _case()
    wanted = np.stack([np.delete(counts, n, axis=0).mean(axis=0) for n in range(5)])
    np.testing.assert_allclose(likelihood.leave_one_out(counts), wanted)
    smooth = likelihood.leave_one_out(np.full((3, 50, 1), 2), smoothing_bins=2)
    np.testing.assert_allclose(smooth, 2.0)
    with pytest.raises(InvalidInput, match="bring at least two"):
        likelihood.leave_one_out(counts[:1])


def test_the_retinas_oracles_are_those_measured_before():
    counts = load_held_out().spikes[:, 72:]
    null = load_training(segments=45).spikes.mean(axis=(0, 1))
    assert likelihood.oracle_bits_by_cell(counts, null).mean == pytest.approx(1.33, abs=0.01)
    assert likelihood.oracle_bits_by_cell(counts, null, smoothing_bins=2).mean == pytest.approx(1.76, abs=0.01)


def test_what_does_not_fit_is_refused():
    with pytest.raises(InvalidInput, match="bring them for the same bins and cells"):
        likelihood.bits_per_spike(np.zeros((2, 5, 3)), np.zeros((5, 2)), 0.1)
    with pytest.raises(InvalidInput, match="never negative"):
        likelihood.deviance_explained([-1, 2], [1, 1])
    with pytest.raises(InvalidInput, match="NaN"):
        likelihood.log_likelihood([1, 2], [np.nan, 1])
