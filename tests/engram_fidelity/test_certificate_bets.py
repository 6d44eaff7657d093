"""Bets on repeats: what they may say of a network against itself, whose excitability wanders."""

from __future__ import annotations

import numpy as np
import pytest

from engram_client.demo.retina import BIN_S, load_held_out
from engram_fidelity.certificate.betting import Bets, bet, switch_over_repeats
from engram_fidelity.sequential import crossing, guard, threshold
from engram_fidelity.twosample import Windows

ALPHA = 0.05
SHORT = Windows.of(bin_s=BIN_S, score_from_s=0.0)


def wandering(seed: int, *, mean: float, repeats: int = 50) -> np.ndarray:
    """Outcomes of repeats: shares of 60 pairs, whose chance to be right wanders by a tenth."""
    random = np.random.default_rng(seed)
    chance = np.clip(mean + random.choice([-0.1, 0.1], repeats), 0, 1)
    return random.binomial(60, chance) / 60


def test_the_retina_is_told_from_itself_in_at_most_alpha_of_200_dealings():
    counts = load_held_out().spikes[:, 72:872].astype(np.float64)
    flagged = 0
    for seed in range(200):
        order = np.random.default_rng(seed).permutation(len(counts))
        one, other = counts[order[:27]], counts[order[27:]]
        bets = bet(one, other, counts.mean(axis=0), SHORT, seed=seed, panel=("logistic",))
        flagged += crossing(guard(), bets.outcomes["logistic"], ALPHA) is not None
    assert flagged <= ALPHA * 200


def test_a_student_that_is_told_apart_by_epsilon_is_called_alike_in_at_most_alpha_of_runs():
    process = switch_over_repeats(0.05)
    called = sum(crossing(process, wandering(seed, mean=0.55), ALPHA) is not None for seed in range(1000))
    assert called <= ALPHA * 1000


def test_pairs_of_a_wandering_network_counted_one_by_one_would_be_evidence_too_often():
    # What the unit of a repeat is for: the same outcomes, pair by pair, refute what is true.
    fired = 0
    for seed in range(200):
        shares = wandering(seed, mean=0.5)
        pairs = np.concatenate([np.random.default_rng(seed).permutation(np.arange(60) < 60 * one) for one in shares])
        fired += crossing(guard(), pairs.astype(float), ALPHA) is not None
    assert fired > 2 * ALPHA * 200
    assert sum(crossing(guard(), wandering(seed, mean=0.5), ALPHA) is not None for seed in range(200)) <= ALPHA * 200


def test_a_double_of_enough_repeats_is_called_alike():
    process = switch_over_repeats(0.05)
    assert (
        np.mean([crossing(process, wandering(seed, mean=0.5, repeats=80), ALPHA) is not None for seed in range(200)])
        > 0.8
    )


def test_power_is_that_of_a_double_which_scatters_as_much():
    bets = [Bets({"logistic": wandering(1, mean=mean)}, np.full(50, 60.0)) for mean in (0.5, 0.7)]
    one, other = (each.epsilon_with_power(ALPHA) for each in bets)
    assert one == pytest.approx(other, abs=0.02), "the power does not depend on what was found"
    double = bets[0].outcomes["logistic"] - bets[0].outcomes["logistic"].mean() + 0.5
    assert (
        switch_over_repeats(one).update(double).log_e
        >= threshold(ALPHA)
        > switch_over_repeats(one - 0.001).update(double).log_e
    )
    few = Bets({"logistic": wandering(1, mean=0.5, repeats=5)}, np.full(5, 60.0))
    assert few.epsilon_with_power(ALPHA) > 4 * one


def test_repeats_in_which_nobody_fired_are_not_bet_on():
    counts = np.random.default_rng(2).poisson(0.3, (12, 40, 2)).astype(np.float64)
    silent = counts.copy()
    silent[6:] = 0
    windows = Windows.of(bin_s=BIN_S, window_s=0.05, part_s=0.01, score_from_s=0.0)
    bets = bet(counts, counts, counts.mean(axis=0), windows, seed=1)
    assert (bets.repeats, bets.pairs) == (8, 8 * 4)
    assert all(len(one) == 8 for one in bets.outcomes.values())
    nobody = bet(silent * 0, silent * 0, counts.mean(axis=0), windows, seed=1)
    assert nobody is None
