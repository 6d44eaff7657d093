"""Telling two samples of answers apart."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from engram_client.demo.retina import load_held_out
from engram_fidelity import twosample
from engram_fidelity.twosample import Windows, c2st, mmd2_unbiased, mmd_test, window_features
from engram_format.errors import InvalidInput, Precondition

BIN_S = 0.005
SHORT = Windows(length=10, part=5, skipped=0)


@pytest.fixture(scope="module")
def retina():
    spikes = load_held_out().spikes
    return spikes[np.random.default_rng(5).permutation(54)]


def _answers(seed: int, repeats: int = 20, bins: int = 40, cells: int = 2):
    generator = np.random.default_rng(seed)
    rate = np.random.default_rng(99).gamma(1.0, 0.3, (bins, cells))
    return generator.poisson(rate, (repeats, bins, cells))


def test_features_worked_by_hand():
    counts = np.array([[[1, 0], [2, 1], [0, 0], [1, 1]]])
    found = window_features(counts, Windows(length=4, part=2, skipped=0))
    count, parts = [4, 2], [3, 1, 1, 1]
    beside, two_apart, several, together = [2, 0], [2, 1], [1, 0], [3]
    assert found.tolist() == [[count + parts + beside + two_apart + several + together]]


def test_the_features_of_six_cells_in_100_ms_of_5_ms_bins(retina):
    windows = Windows.of(bin_s=BIN_S)
    assert windows == Windows(length=20, part=4, skipped=72)
    assert window_features(retina, windows).shape == (54, 63, 6 * (1 + 5 + 1 + 1 + 1) + 15)


def test_windows_follow_the_bin():
    assert Windows.of(bin_s=0.01) == Windows(length=10, part=2, skipped=36)
    assert Windows.of(bin_s=0.02) == Windows(length=5, part=1, skipped=18)
    assert Windows.of(bin_s=0.1).length == 1
    assert window_features(np.ones((2, 5, 3)), Windows(length=1, part=1, skipped=0)).shape[:2] == (2, 5)
    assert window_features(np.ones((2, 5, 1)), Windows(length=1, part=1, skipped=0)).shape == (2, 5, 5)
    with pytest.raises(InvalidInput, match="choose narrower bins"):
        Windows.of(bin_s=0.2)
    with pytest.raises(InvalidInput, match="bring longer trials"):
        window_features(np.ones((2, 80, 3)), Windows.of(bin_s=BIN_S))


def test_comparing_each_repeat_with_each_is_the_area_under_the_curve():
    generator = np.random.default_rng(0)
    first, second = generator.integers(0, 6, (4, 7)), generator.integers(1, 7, (3, 7))
    truth = np.repeat([1, 0], [first.size, second.size])
    wanted = roc_auc_score(truth, np.concatenate([first.ravel(), second.ravel()]))
    assert twosample._above(first, second).mean() == pytest.approx(wanted)
    one = roc_auc_score(np.repeat([1, 0], 7), np.concatenate([first[2], second[1]]))
    assert twosample._above(first, second)[2, 1] == pytest.approx(one)


def test_answers_of_one_kind_are_flagged_no_more_often_than_alpha():
    found = [
        c2st(_answers(2 * seed), _answers(2 * seed + 1), bin_s=BIN_S, windows=SHORT, seed=seed, draws=100)
        for seed in range(200)
    ]
    assert sum(one.p_value <= 0.05 for one in found) <= 0.05 * 200
    assert np.mean([one.auc for one in found]) == pytest.approx(0.5, abs=0.01)
    assert np.mean([one.interval[0] <= 0.5 <= one.interval[1] for one in found]) > 0.9


@pytest.mark.parametrize("classifier", ["logistic", "boosted"])
def test_another_rate_is_told_apart(classifier):
    other = np.random.default_rng(1).poisson(np.minimum(2.0, _answers(7) * 1.5))
    found = c2st(_answers(0), other, bin_s=BIN_S, windows=SHORT, classifier=classifier, seed=1)
    assert found.auc > 0.65
    assert found.interval[0] > 0.6
    assert found.p_value < 0.05
    assert found.matched_auc > 0.6
    assert found.accuracy > 0.55


def test_what_stands_in_the_summary_cannot_betray_the_kind():
    # The summary is the very mean of one side: both sides are told the same, so alike answers stay alike.
    alike = [
        c2st(
            _answers(2 * seed),
            other := _answers(2 * seed + 1),
            bin_s=BIN_S,
            windows=SHORT,
            expected=other.mean(axis=0),
            seed=seed,
        )
        for seed in range(20)
    ]
    assert np.mean([one.auc for one in alike]) == pytest.approx(0.5, abs=0.03)


def test_the_same_seed_gives_the_same_answer():
    pair = _answers(0), _answers(1)
    for classifier in ("logistic", "boosted"):
        first, second = (c2st(*pair, bin_s=BIN_S, windows=SHORT, classifier=classifier, seed=4) for _ in range(2))
        assert first == second


def test_silence_and_silence_are_alike():
    silent = np.zeros((8, 40, 2))
    found = c2st(silent, silent, bin_s=BIN_S, windows=SHORT)
    assert found.auc == found.accuracy == found.matched_auc == 0.5
    assert found.p_value == 1.0


def test_sides_may_have_different_numbers_of_repeats():
    found = c2st(_answers(0, repeats=30), _answers(1, repeats=9), bin_s=BIN_S, windows=SHORT, folds=3)
    assert 0.3 < found.auc < 0.7
    assert found.folds == 3


def test_boosted_trees_cannot_tell_the_retina_from_itself_either(retina):
    control = c2st(retina[:27], retina[27:], bin_s=BIN_S, classifier="boosted", seed=1)
    assert control.auc == pytest.approx(0.492, abs=0.025)
    assert control.interval[0] < 0.5 < control.interval[1]


def test_the_retina_cannot_be_told_from_itself_and_a_poisson_sampler_of_its_own_rates_can(retina):
    half, rest = retina[:27], retina[27:]
    control = c2st(half, rest, bin_s=BIN_S, seed=1)
    assert control.auc == pytest.approx(0.484, abs=0.02)
    assert control.interval[0] < 0.5 < control.interval[1]
    rates = rest.mean(axis=0)
    sampler = np.random.default_rng(6).poisson(rates, (27, *rates.shape))
    found = c2st(half, sampler, bin_s=BIN_S, expected=rates, seed=1)
    assert found.auc > 0.7
    assert found.p_value < 0.01


@pytest.mark.parametrize(
    ("real", "other", "kwargs", "says"),
    [
        (np.ones((8, 40, 2)), np.ones((8, 40, 3)), {}, "compare answers to one stimulus"),
        (np.ones((3, 40, 2)), np.ones((8, 40, 2)), {}, "bring 4 of each kind"),
        (-np.ones((8, 40, 2)), np.ones((8, 40, 2)), {}, "never negative"),
        (np.full((8, 40, 2), np.nan), np.ones((8, 40, 2)), {}, "NaN"),
        (np.ones((8, 40)), np.ones((8, 40, 2)), {}, "bring \\(repeat, time, cell\\)"),
        (np.ones((8, 40, 2)), np.ones((8, 40, 2)), {"folds": 1}, "give at least 2"),
        (np.ones((8, 40, 2)), np.ones((8, 40, 2)), {"classifier": "forest"}, "choose logistic or boosted"),
        (np.ones((8, 40, 2)), np.ones((8, 40, 2)), {"expected": np.ones((39, 2))}, "the same bins"),
    ],
)
def test_what_cannot_be_compared_is_refused(real, other, kwargs, says):
    with pytest.raises(InvalidInput, match=says):
        c2st(real, other, bin_s=BIN_S, windows=SHORT, **kwargs)


def test_without_scikit_learn_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.linear_model", None)
    with pytest.raises(Precondition, match=r"engram\[certify\]"):
        c2st(_answers(0), _answers(1), bin_s=BIN_S, windows=SHORT)


def _brute_mmd2(first, second, bandwidth):
    def k(a, b):
        return np.exp(-((a - b) ** 2).sum() / (2 * bandwidth**2))

    m, n = len(first), len(second)
    within = sum(k(first[i], first[j]) for i in range(m) for j in range(m) if i != j) / (m * (m - 1))
    beyond = sum(k(second[i], second[j]) for i in range(n) for j in range(n) if i != j) / (n * (n - 1))
    return within + beyond - 2 * sum(k(a, b) for a in first for b in second) / (m * n)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 500), bandwidth=st.floats(0.3, 5))
def test_mmd_is_the_sum_over_pairs(seed, bandwidth):
    generator = np.random.default_rng(seed)
    first, second = generator.normal(0, 1, (7, 3)), generator.normal(0.5, 1, (5, 3))
    wanted = _brute_mmd2(first, second, bandwidth)
    assert mmd2_unbiased(first, second, bandwidth=bandwidth) == pytest.approx(wanted, abs=1e-10)


def test_mmd_of_windows_is_the_mean_over_windows():
    generator = np.random.default_rng(2)
    first, second = generator.normal(0, 1, (6, 4, 3)), generator.normal(0.5, 1, (5, 4, 3))
    wanted = np.mean([_brute_mmd2(first[:, window], second[:, window], 1.5) for window in range(4)])
    assert mmd2_unbiased(first, second, bandwidth=1.5) == pytest.approx(wanted)


def test_mmd_is_unbiased_and_its_test_keeps_its_level():
    generator = np.random.default_rng(3)
    found = [
        mmd_test(generator.normal(0, 1, (20, 2)), generator.normal(0, 1, (15, 2)), permutations=99, seed=seed)
        for seed in range(200)
    ]
    assert abs(np.mean([one.mmd2 for one in found])) < 0.003
    assert sum(one.p_value <= 0.05 for one in found) <= 0.08 * 200


def test_mmd_sees_another_spread():
    generator = np.random.default_rng(4)
    found = mmd_test(generator.normal(0, 1, (60, 2)), generator.normal(0, 2, (60, 2)), seed=1)
    assert found.mmd2 > 0.02
    assert found.p_value < 0.01


def test_mmd_of_one_sample_is_undefined_and_of_different_features_refused():
    assert np.isnan(mmd2_unbiased([[1.0]], [[1.0], [2.0]]))
    assert np.isnan(mmd_test([[1.0]], [[1.0], [2.0]]).p_value)
    assert mmd2_unbiased(np.ones((3, 2)), np.ones((3, 2))) == 0
    with pytest.raises(InvalidInput, match="bring both as"):
        mmd2_unbiased(np.ones((3, 2)), np.ones((3, 3)))
    with pytest.raises(InvalidInput, match="a bandwidth of 0"):
        mmd2_unbiased(np.ones((3, 2)), np.ones((3, 2)), bandwidth=0)
