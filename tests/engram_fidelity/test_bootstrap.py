"""Intervals by drawing repeats or cells anew."""

from __future__ import annotations

import numpy as np
import pytest

from engram_fidelity import bootstrap
from engram_fidelity.metrics import correlation, likelihood
from engram_format.errors import InvalidInput


def _answers(seed: int, repeats: int = 20, bins: int = 150, cells: int = 3):
    rate = np.random.default_rng(77).gamma(1.0, 0.4, (bins, cells))
    return np.random.default_rng(seed).poisson(rate, (repeats, bins, cells)), rate


def test_weights_take_as_many_repeats_as_there_are_and_the_seed_repeats_them():
    weights = bootstrap.draw_weights(7, draws=50, seed=3)
    assert (weights.sum(axis=1) == 7).all()
    assert (weights == bootstrap.draw_weights(7, draws=50, seed=3)).all()
    assert (weights != bootstrap.draw_weights(7, draws=50, seed=4)).any()


def test_the_interval_of_a_mean_is_that_of_its_standard_error():
    values = np.random.default_rng(0).normal(3, 2, 200)
    found = bootstrap.over_repeats(lambda taken: taken @ values / 200, 200, draws=4000)
    error = values.std() / np.sqrt(200)
    assert found.value == pytest.approx(values.mean())
    assert (found.lower, found.upper) == pytest.approx(
        (values.mean() - 1.96 * error, values.mean() + 1.96 * error), abs=0.03
    )


@pytest.mark.parametrize("which", ["cc_abs", "cc_norm", "cc_max"])
def test_the_interval_of_a_correlation_lies_about_the_correlation(which):
    counts, rate = _answers(0)
    together, each = bootstrap.of_correlation(counts, rate * 0.5 + 0.2, which=which, draws=500)
    wanted = getattr(correlation.cc_by_cell(counts, rate * 0.5 + 0.2), which)
    assert together.value == pytest.approx(wanted.mean)
    assert [one.value for one in each] == pytest.approx(wanted.values)
    assert together.lower < together.value < together.upper
    middle = (together.lower + together.upper) / 2
    assert abs(middle - together.value) < 0.35 * (together.upper - together.lower)


def test_the_interval_of_cc_norm_holds_the_truth_as_often_as_it_says():
    # Against the true rate the noise-free correlation is 1.
    held = 0
    for seed in range(100):
        counts, rate = _answers(seed, cells=1)
        found, _ = bootstrap.of_correlation(counts, rate, draws=300, seed=seed)
        held += found.lower <= 1.0 <= found.upper
    assert held >= 85


def test_the_interval_of_bits_per_spike_is_about_the_bits_per_spike():
    counts, rate = _answers(1)
    null = likelihood.mean_count(counts)
    together, each = bootstrap.of_bits_per_spike(counts, rate, null)
    wanted = likelihood.bits_by_cell(counts, rate, null)
    assert together.value == pytest.approx(wanted.mean)
    assert [one.value for one in each] == pytest.approx(wanted.values)
    assert together.lower < together.value < together.upper
    narrower = bootstrap.of_bits_per_spike(*(_answers(1, repeats=200)), null)[0]
    assert narrower.upper - narrower.lower < 0.5 * (together.upper - together.lower)


def test_undefined_cells_are_left_out_and_undefined_draws_counted():
    counts, rate = _answers(2)
    counts[..., 1] = 0
    together, each = bootstrap.of_correlation(counts, rate, draws=100)
    assert np.isnan([each[1].value, each[1].lower]).all()
    assert each[1].undefined == 100
    assert together.value == pytest.approx((each[0].value + each[2].value) / 2)
    once = np.zeros(5)
    once[0] = 1
    found = bootstrap.of_ratio(once, once, draws=500)
    assert found.value == found.lower == found.upper == 1.0
    assert 100 < found.undefined < 250


def test_one_repeat_has_no_interval_but_says_so():
    counts, rate = _answers(3, repeats=1)
    together, _ = bootstrap.of_correlation(counts, rate, draws=50)
    assert np.isnan([together.value, together.lower, together.upper]).all()
    assert together.undefined == 50


def test_cells_are_drawn_anew_without_those_that_are_undefined():
    found = bootstrap.over_cells([0.9, 0.8, np.nan, 0.7], draws=2000)
    assert found.value == pytest.approx(0.8)
    assert 0.7 - 1e-9 <= found.lower < 0.8 < found.upper <= 0.9 + 1e-9
    assert np.isnan(bootstrap.over_cells([np.nan]).value)


def test_a_thousand_draws_of_many_cells_are_quick():
    counts, rate = _answers(4, repeats=54, bins=1261, cells=6)
    found = bootstrap.of_correlation(counts, rate, draws=1000)[0]
    assert found.draws == 1000


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: bootstrap.draw_weights(0), "give at least 1"),
        (lambda: bootstrap.draw_weights(3, draws=0), "give at least 1"),
        (lambda: bootstrap.over_cells([0.1, 0.2], level=1.0), "a level of 1"),
        (lambda: bootstrap.over_cells([[0.1, 0.2]]), "bring one a cell"),
        (lambda: bootstrap.of_ratio([1, 2], [1, 2, 3]), "bring those of the same"),
        (lambda: bootstrap.of_correlation(np.ones((2, 5, 1)), np.ones((4, 1))), "the same bins"),
    ],
)
def test_what_cannot_be_drawn_is_refused(call, says):
    with pytest.raises(InvalidInput, match=says):
        call()
