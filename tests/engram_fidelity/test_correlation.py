"""Correlations against the noise ceiling."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engram_client.demo.retina import load_held_out
from engram_fidelity.metrics import correlation
from engram_fidelity.metrics.correlation import Covariances
from engram_fidelity.metrics.per_cell import PerCell
from engram_format.errors import InvalidInput


@pytest.fixture(scope="module")
def retina():
    return load_held_out().spikes[:, 72:]


def _answers(seed: int = 0, repeats: int = 12, bins: int = 200):
    generator = np.random.default_rng(seed)
    rate = generator.gamma(2.0, 0.5, bins)
    return generator.poisson(rate, (repeats, bins)), rate


def test_signal_power_worked_by_hand():
    # Repeats (0, 2) and (0, 4) vary by 2 and 8 about their means, their sum (0, 6) by 18: (18 - 10) / (2 * 1) = 4.
    assert correlation.signal_power([[0, 2], [0, 4]]) == pytest.approx(4.0)


def test_the_three_correlations_follow_the_authors_formulas():
    counts, rate = _answers()
    n = len(counts)
    mean = counts.mean(axis=0)
    power = (np.var(counts.sum(axis=0), ddof=1) - np.var(counts, axis=1, ddof=1).sum()) / (n * (n - 1))
    both = np.cov(mean, rate)
    found = correlation.cc(counts, rate)
    assert correlation.signal_power(counts) == pytest.approx(power)
    assert found.cc_abs == pytest.approx(np.corrcoef(mean, rate)[0, 1])
    assert found.cc_max == pytest.approx(np.sqrt(power / both[0, 0]))
    assert found.cc_norm == pytest.approx(both[0, 1] / np.sqrt(power * both[1, 1]))


def test_the_truth_reaches_the_ceiling():
    counts, rate = _answers(repeats=40, bins=2000)
    assert correlation.cc(counts, rate).cc_norm == pytest.approx(1.0, abs=0.01)


@settings(max_examples=40, deadline=None)
@given(scale=st.floats(1e-3, 1e3), offset=st.floats(0, 10), seed=st.integers(0, 20))
def test_scale_and_offset_of_a_prediction_do_not_matter_to_correlations(scale, offset, seed):
    counts, rate = _answers(seed)
    as_is, moved = correlation.cc(counts, rate), correlation.cc(counts, rate * scale + offset)
    assert moved.cc_norm == pytest.approx(as_is.cc_norm, rel=1e-6)
    assert moved.cc_abs == pytest.approx(as_is.cc_abs, rel=1e-6)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 1000))
def test_the_order_of_repeats_does_not_matter(seed):
    counts, rate = _answers(seed)
    assert correlation.cc(counts[::-1], rate).cc_norm == pytest.approx(correlation.cc(counts, rate).cc_norm)


def test_a_repeat_taken_twice_is_not_taken_for_two_that_agree():
    counts, rate = _answers(repeats=3)
    power, _, _, _ = Covariances.of(counts, rate).drawn([[2, 1, 0]])
    assert power[0] == pytest.approx(np.cov(counts[0], counts[1])[0, 1])


def test_what_is_undefined_is_nan_and_counted():
    counts = np.zeros((4, 50, 3))
    counts[..., 0] = _answers(repeats=4, bins=50)[0]
    counts[..., 1] = counts[..., 0]
    predicted = np.full((50, 3), 0.3)
    predicted[:, 0] = np.linspace(0, 1, 50)
    found = correlation.cc_by_cell(counts, predicted)
    assert found.cc_norm.dropped == 2
    assert found.cc_norm.worst == found.cc_norm.mean == found.cc_norm.values[0]
    assert found.cc_max.dropped == 1


def test_one_repeat_has_no_ceiling():
    counts, rate = _answers(repeats=1)
    found = correlation.cc(counts, rate)
    assert np.isnan(found.cc_norm)
    assert np.isnan(found.cc_max)
    assert found.cc_abs == pytest.approx(np.corrcoef(counts[0], rate)[0, 1])
    assert np.isnan(correlation.feve(counts, rate))
    assert np.isnan(correlation.split_half(counts).half)
    assert np.isnan(correlation.oracle(counts))


def test_feve_is_one_for_the_truth_and_nought_for_the_mean():
    counts, rate = _answers(repeats=60, bins=2000)
    assert correlation.feve(counts, rate) == pytest.approx(1.0, abs=0.01)
    assert correlation.feve(counts, np.full(2000, counts.mean())) == pytest.approx(0.0, abs=1e-3)
    assert correlation.fev(counts) == pytest.approx(rate.var() / (rate.var() + rate.mean()), abs=0.02)


def test_feve_worked_by_hand():
    # Variances 1/2 and 2 over repeats: noise 1.25. Of all four (0, 1, 2, 4): 35/12. MSE of (1, 2): (1 + 0 + 0 + 4) / 4.
    counts = [[0, 2], [1, 4]]
    assert correlation.fev(counts) == pytest.approx((35 / 12 - 1.25) / (35 / 12))
    assert correlation.feve(counts, [1, 2]) == pytest.approx(1 - (1.25 - 1.25) / (35 / 12 - 1.25))


def test_two_repeats_split_in_one_way_and_spearman_brown_lengthens_it():
    counts, _ = _answers(repeats=2)
    r = np.corrcoef(counts)[0, 1]
    found = correlation.split_half(counts, splits=3)
    assert found.half == pytest.approx(r)
    assert found.whole == pytest.approx(2 * r / (1 + r))


def test_the_oracle_is_the_mean_of_the_others():
    counts, _ = _answers(repeats=5)
    each = [np.corrcoef(counts[n], np.delete(counts, n, axis=0).mean(axis=0))[0, 1] for n in range(5)]
    assert correlation.oracle(counts) == pytest.approx(np.mean(each))


def test_the_retina_has_the_ceilings_measured_before(retina):
    at_5_ms = correlation.cc_by_cell(retina, retina.mean(axis=0))
    at_20_ms = correlation.rebin(retina, 4, 1)
    assert at_5_ms.cc_max.mean == pytest.approx(0.946, abs=0.0005)
    assert correlation.cc_by_cell(at_20_ms, at_20_ms.mean(axis=0)).cc_max.mean == pytest.approx(0.9905, abs=0.0005)
    halves = [correlation.split_half(retina[..., cell]).half for cell in range(6)]
    assert np.mean(halves) == pytest.approx(0.811, abs=0.003)


def test_rebinning_keeps_the_spikes_of_whole_groups():
    assert correlation.rebin([[1, 2, 3, 4, 5]], 2, -1).tolist() == [[3, 7]]
    assert correlation.rebin(np.full((4, 3), 200, np.uint8), 4, 0).tolist() == [[800, 800, 800]]
    with pytest.raises(InvalidInput, match="choose narrower bins"):
        correlation.rebin([1, 2], 3, 0)
    with pytest.raises(InvalidInput, match="give at least 1"):
        correlation.rebin([1, 2], 0, 0)


@pytest.mark.parametrize(
    ("counts", "predicted", "says"),
    [
        ([1, 2, 3], [1, 2, 3], "bring \\(repeat, time\\)"),
        ([[1, 2, 3]], [1, 2], "bring them for the same bins"),
        ([[1, np.nan, 3]], [1, 2, 3], "NaN"),
        ([[1, -1, 3]], [1, 2, 3], "hold -1"),
        ([[1, 2, 3]], [1, -2, 3], "hold -2"),
        ([[1, 2, 3]], [1, np.inf, 3], "infinity"),
        (np.zeros((0, 3)), [1, 2, 3], "empty"),
        ([[1], [2]], [1], "give at least 2"),
        ([["a", "b"]], [1, 2], "not numbers"),
    ],
)
def test_what_cannot_be_counts_is_refused(counts, predicted, says):
    with pytest.raises(InvalidInput, match=says):
        correlation.cc(counts, predicted)


def test_a_measure_of_one_cell_is_applied_to_each():
    counts = np.stack([_answers(seed)[0] for seed in range(3)], axis=2)
    rates = np.stack([_answers(seed)[1] for seed in range(3)], axis=1)
    found = PerCell.each(correlation.feve, counts, rates)
    assert found.values.tolist() == [correlation.feve(counts[..., cell], rates[:, cell]) for cell in range(3)]
    with pytest.raises(InvalidInput, match="the same cells"):
        PerCell.each(correlation.feve, counts, rates[:, :2])


def test_a_summary_of_no_cells_is_nan():
    none = PerCell.of([np.nan, np.nan])
    assert np.isnan([none.mean, none.worst, none.tenth_percentile]).all()
    assert none.dropped == 2
    assert PerCell.of(range(11)).tenth_percentile == 1.0
