"""Whether rates are answered as they say."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import poisson

from engram_fidelity.metrics import calibration
from engram_format.errors import InvalidInput


def test_a_table_worked_by_hand():
    table = calibration.calibration_table([0, 1, 1, 3], [0.5, 0.5, 1.5, 1.5], groups=2)
    assert table.expected.tolist() == [0.5, 1.5]
    assert table.observed.tolist() == [0.5, 2.0]
    assert table.number.tolist() == [2, 2]
    assert table.error.tolist() == [0.5, 1.0]
    assert (table.slope, table.intercept) == pytest.approx((1.5, -0.25))
    assert table.ece == pytest.approx((0.0 + 0.5) / 2 / 1.0)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 1000), groups=st.integers(1, 20), size=st.integers(1, 60))
def test_every_count_is_in_one_group(seed, groups, size):
    generator = np.random.default_rng(seed)
    expected = generator.integers(0, 5, size) / 4
    counts = generator.poisson(expected)
    table = calibration.calibration_table(counts, expected, groups=groups)
    assert table.number.sum() == size
    assert len(table.number) <= groups
    assert (np.diff(table.expected) > 0).all()
    assert (table.observed * table.number).sum() == pytest.approx(counts.sum())


def test_deciles_of_different_rates_are_of_one_size():
    table = calibration.calibration_table(np.zeros(1000), np.linspace(0, 1, 1000))
    assert len(table.number) == 10
    assert np.ptp(table.number) <= 1


def test_the_truth_is_calibrated_and_twice_the_truth_is_not():
    expected = np.random.default_rng(0).gamma(2, 0.2, (2000, 3))
    counts = np.random.default_rng(1).poisson(expected, (40, 2000, 3))
    assert calibration.rate_ece(counts, expected) < 0.01
    assert calibration.slope_intercept(counts, expected) == pytest.approx((1, 0), abs=0.01)
    assert calibration.rate_ece(counts, 2 * expected) == pytest.approx(0.5, abs=0.01)
    assert calibration.slope_intercept(counts, 2 * expected)[0] == pytest.approx(0.5, abs=0.01)
    assert calibration.slope_intercept(counts, expected + 0.3) == pytest.approx((1, -0.3), abs=0.01)


def test_one_rate_has_no_slope_and_no_rate_no_error():
    slope, intercept = calibration.slope_intercept([0, 1, 2], 0.7)
    assert np.isnan([slope, intercept]).all()
    assert calibration.rate_ece([0, 1, 2], 0.5) == pytest.approx(1.0)
    assert np.isnan(calibration.rate_ece([0, 1, 2], 0.0))


def test_the_transform_of_one_count_is_uniform_over_its_step():
    # Of rate ln 2, P(0) = 1/2: no spike covers the lower half evenly.
    assert calibration.pit_histogram([0], np.log(2), groups=4) == pytest.approx([2, 2, 0, 0])


def test_the_transform_agrees_with_the_distribution_function():
    generator = np.random.default_rng(2)
    rate = generator.gamma(2, 2, 50)
    counts = generator.poisson(rate)
    below, upto = poisson.cdf(counts - 1, rate), poisson.cdf(counts, rate)
    edges = np.linspace(0, 1, 8)
    reached = np.clip((edges[:, None] - below) / (upto - below), 0, 1).mean(axis=1)
    assert calibration.pit_histogram(counts, rate, groups=7) == pytest.approx(np.diff(reached) * 7)


def test_the_transform_is_flat_for_poisson_and_high_in_the_middle_for_regular_counts():
    rate = np.random.default_rng(3).gamma(4, 1, 20_000)
    flat = calibration.pit_histogram(np.random.default_rng(4).poisson(rate), rate)
    assert flat.mean() == pytest.approx(1)
    assert np.abs(flat - 1).max() < 0.07
    regular = calibration.pit_histogram(np.rint(rate), rate)
    assert regular[[4, 5]].min() > 1.5 > 0.5 > regular[[0, 9]].max()


def test_counts_that_cannot_be_under_the_rate_do_no_harm():
    assert np.isfinite(calibration.pit_histogram([3, 200], [0.0, 1e-9])).all()


def test_what_does_not_fit_is_refused():
    with pytest.raises(InvalidInput, match="the same bins"):
        calibration.rate_ece([1, 2], [1, 2, 3])
    with pytest.raises(InvalidInput, match="give at least 1"):
        calibration.calibration_table([1, 2], [1, 2], groups=0)
    with pytest.raises(InvalidInput, match="never negative"):
        calibration.pit_histogram([1, 2], [1, -2])
