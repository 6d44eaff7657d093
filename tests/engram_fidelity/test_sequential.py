"""Wagers against claims."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engram_fidelity import sequential
from engram_fidelity.sequential import Panel, guard, switch
from engram_format.errors import InvalidInput


def _coins(seed: int, pairs: int, probability: float = 0.5):
    return (np.random.default_rng(seed).random(pairs) < probability).astype(np.float64)


def test_wealth_worked_by_hand():
    process = guard((0.5, 1.0)).update([1, 1, 0])
    assert math.exp(process.log_e) == pytest.approx((1.25 * 1.25 * 0.75 + 1.5 * 1.5 * 0.5) / 2)
    process = switch(0.1, (0.5,)).update([1, 0])
    assert math.exp(process.log_e) == pytest.approx((1 - 0.5 * 0.4) * (1 + 0.5 * 0.6))


def test_it_starts_at_one():
    assert guard().log_e == pytest.approx(0, abs=1e-12)
    assert switch(0.05).log_e == pytest.approx(0, abs=1e-12)


@settings(max_examples=30, deadline=None)
@given(outcomes=st.lists(st.sampled_from([0.0, 0.5, 1.0]), min_size=1, max_size=40), cut=st.integers(0, 40))
def test_one_at_a_time_or_many_together_is_the_same(outcomes, cut):
    for start in (guard(), switch(0.03)):
        together = start.update(outcomes)
        apart = start.update(outcomes[:cut]).update(outcomes[cut:])
        for outcome in outcomes:
            start = start.update(outcome)
        assert start.pairs == apart.pairs == together.pairs == len(outcomes)
        assert start.log_e == pytest.approx(together.log_e)
        assert apart.peak == pytest.approx(together.peak)


def test_a_tie_is_no_news_to_a_guard_and_good_news_to_a_switch():
    assert guard().update(0.5).log_e == pytest.approx(0, abs=1e-12)
    assert switch(0.05).update(0.5).log_e > 0


def test_a_guard_over_fair_coins_rarely_fires():
    fired = sum(sequential.crossing(guard(), _coins(seed, 2000), 0.05) is not None for seed in range(200))
    assert fired <= 0.05 * 200


def test_a_switch_over_coins_at_its_epsilon_rarely_fires():
    fired = sum(sequential.crossing(switch(0.05), _coins(seed, 3000, 0.55), 0.05) is not None for seed in range(1000))
    assert fired <= 0.05 * 1000


@pytest.mark.parametrize(("process", "probability"), [(guard(), 0.5), (switch(0.05), 0.55), (switch(0.3), 0.8)])
def test_if_the_claim_holds_wealth_is_expected_to_stay_as_it_is(process, probability):
    expected = 0.0
    for outcomes in itertools.product((0.0, 1.0), repeat=8):
        chance = math.prod(probability if outcome else 1 - probability for outcome in outcomes)
        expected += chance * math.exp(process.update(outcomes).log_e)
    assert expected == pytest.approx(1.0)


def test_a_switch_fires_on_fair_coins_within_600_pairs_more_often_than_not():
    at = [sequential.crossing(switch(0.05), _coins(seed, 3000), 0.05) or 9999 for seed in range(200)]
    assert np.median(at) < 600
    assert np.mean(np.array(at) < 9999) > 0.95


@pytest.mark.parametrize("eps", [0.01, 0.02])
def test_a_switch_at_a_small_epsilon_bets_small_enough(eps):
    needed = sequential.pairs_needed(eps, 0.05)
    at = [sequential.crossing(switch(eps), _coins(seed, 6 * needed), 0.05) or 10**9 for seed in range(60)]
    assert np.median(at) < 1.1 * needed


def test_a_guard_finds_a_difference_that_two_in_three_see():
    at = [sequential.crossing(guard(), _coins(seed, 2000, 0.66), 0.05) or 9999 for seed in range(50)]
    assert np.median(at) < 120
    assert guard().update(_coins(1, 2000, 0.66)).reached(0.05)


def test_thousands_of_pairs_all_alike_stay_finite():
    for outcome in (0.0, 1.0):
        for start in (guard(), switch(0.05), switch(0.001), switch(0.49)):
            process = start.update(np.full(20_000, outcome))
            assert math.isfinite(process.log_e)
            assert np.isfinite(process.log_wealth).all()
            assert process.peak >= process.log_e
    assert guard().update(np.ones(20_000)).log_e > 10_000


def test_a_peak_remembers_evidence_that_was_lost_again():
    process = guard().update(np.ones(30)).update(np.zeros(200))
    assert process.log_e < 0 < process.peak


def test_a_panel_is_as_sure_as_its_least_sure_member():
    panel = Panel.of(("logistic", "boosted"), switch(0.1))
    panel = panel.update({"logistic": np.full(100, 0.5), "boosted": np.ones(100)})
    assert panel.weakest == "boosted"
    assert panel.log_e_all == panel.processes["boosted"].log_e < 0
    assert panel.pairs == 100


def test_a_panel_of_guards_averages_so_that_one_sharp_eye_is_enough():
    panel = Panel.of(("logistic", "boosted"), guard()).update({"logistic": np.ones(50), "boosted": np.full(50, 0.5)})
    sharp = math.exp(panel.processes["logistic"].log_e)
    assert math.exp(panel.log_e_any) == pytest.approx((sharp + 1) / 2)


def test_a_panel_judges_together_or_not_at_all():
    panel = Panel.of(("logistic", "boosted"), guard())
    with pytest.raises(InvalidInput, match="all of it"):
        panel.update({"logistic": 1})
    with pytest.raises(InvalidInput, match="different numbers"):
        panel.update({"logistic": [1, 0], "boosted": [1]})
    with pytest.raises(InvalidInput, match="at least one"):
        Panel.of((), guard())


def test_the_pairs_needed_and_the_epsilon_they_allow_are_one_rule():
    assert [sequential.pairs_needed(eps, 0.05) for eps in (0.05, 0.02, 0.01)] == [600, 3745, 14979]
    assert sequential.epsilon_with_power(600, 0.05) == pytest.approx(0.05, abs=1e-4)
    assert sequential.epsilon_with_power(1701, 0.05) == pytest.approx(0.0297, abs=1e-4)
    assert sequential.pairs_needed(0.05, 0.05, power=0.9) > 2 * sequential.pairs_needed(0.05, 0.05)
    assert sequential.epsilon_with_power(0, 0.05) == sequential.epsilon_with_power(1, 0.05) == 0.5


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: guard().update(1.5), "an outcome is 1"),
        (lambda: guard().update(np.nan), "an outcome is 1"),
        (lambda: guard((2.0,)), "can lose more than there is"),
        (lambda: guard((0.0,)), "or nothing"),
        (lambda: guard(()), "or nothing"),
        (lambda: switch(0.0), "an epsilon of 0"),
        (lambda: switch(0.5), "an epsilon of 0.5"),
        (lambda: switch(0.1, (2.5,)), "choose them between 0 and 2.5"),
        (lambda: sequential.threshold(0), "a level of 0"),
        (lambda: sequential.pairs_needed(0.05, 0.05, power=1), "a power of 1"),
        (lambda: sequential.pairs_needed(0, 0.05), "an epsilon of 0"),
    ],
)
def test_what_cannot_be_wagered_is_refused(call, says):
    with pytest.raises(InvalidInput, match=says):
        call()
