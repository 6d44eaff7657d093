"""The jewel: its states, its evidence, and whole runs with simulated donors whose truth is known."""

from __future__ import annotations

import numpy as np
import pytest

from engram_fidelity.donors import Drift, RenewalDonor, flicker
from engram_fidelity.experiment import Experiment, Trials
from engram_fidelity.jewel import (
    Calibration,
    Event,
    Machine,
    Replayed,
    Rules,
    State,
    default_panel,
    living,
    recorded,
    run,
)
from engram_fidelity.jewel.evidence import design_effect
from engram_fidelity.jewel.ranks import Ranks
from engram_fidelity.jewel.rates import Rates, spread
from engram_fidelity.jewel.windows import Pairs, count_features, cut, timing_features
from engram_format.errors import InvalidInput

BIN_S = 0.005
BINS = 800
LOGISTIC = (default_panel()[0],)
"""One judge is enough for what these tests ask, and quicker."""


def shown(count: int, *, seed: int = 0):
    return [(f"flicker {number}", flicker(BINS, seed=100 * seed + number)) for number in range(count)]


def lived(donor, count, *, seed=0):
    return living(donor, shown(count, seed=seed), bin_s=BIN_S, seed=seed)


# States


def test_the_way_to_a_switch_and_back():
    machine, states = Machine(), []
    for event in (Event.SETTLED, Event.CERTIFIED, Event.ENDED, Event.GUARD):
        machine = machine.after(event)
        states.append(machine.state)
    assert states == [State.SHADOW, State.ELIGIBLE, State.SWITCHED, State.REVERTED]
    assert machine.over


@pytest.mark.parametrize(
    ("state", "event"),
    [
        (State.LEARNING, Event.CERTIFIED),
        (State.LEARNING, Event.GUARD),
        (State.SHADOW, Event.ENDED),
        (State.SWITCHED, Event.CERTIFIED),
        (State.REVERTED, Event.SETTLED),
    ],
)
def test_an_event_out_of_place_changes_nothing(state, event):
    machine = Machine(state=state)
    assert machine.after(event) == machine


@pytest.mark.parametrize("state", [State.SHADOW, State.ELIGIBLE])
def test_a_loud_guard_sends_back_to_learning_before_a_switch(state):
    assert Machine(attempts=2, state=state, attempt=1).after(Event.GUARD).state == State.LEARNING


def test_no_student_is_judged_beyond_the_attempts_agreed():
    machine = Machine(attempts=2)
    for _ in range(2):
        assert not machine.over
        machine = machine.after(Event.SETTLED).after(Event.GUARD)
    assert machine.over
    assert machine.after(Event.SETTLED) == machine


def test_no_attempts_are_refused():
    with pytest.raises(InvalidInput, match="attempts"):
        Machine(attempts=0)


# Windows and evidence


def test_a_presentation_is_cut_into_pairs_of_windows_after_the_warm_up():
    counts = np.arange(100, dtype=np.uint8).reshape(50, 2)
    pairs = cut(counts, np.stack([counts, counts]), counts.astype(float), bins=10, skip=15)
    assert (pairs.real.shape, pairs.student.shape) == ((3, 10, 2), (3, 2, 10, 2))
    assert np.array_equal(pairs.real[0], counts[15:25])
    assert np.array_equal(pairs.student[2, 1], counts[35:45])


def test_a_presentation_too_short_for_a_window_is_refused():
    with pytest.raises(InvalidInput, match="no window"):
        cut(np.zeros((80, 1)), np.zeros((1, 80, 1)), np.zeros((80, 1)), bins=20, skip=72)


@pytest.mark.parametrize("features", [count_features, timing_features])
def test_features_of_draws_are_those_of_each_draw(features):
    rng = np.random.default_rng(0)
    windows, expected = rng.poisson(0.3, (4, 3, 20, 5)).astype(float), rng.random((4, 20, 5))
    together = features(windows, expected[:, None])
    assert np.allclose(together[2, 1], features(windows[2, 1], expected[2]))


def test_wealth_of_ranks_is_one_on_average_over_all_places():
    drawn = np.arange(4.0)[None]
    won = [np.exp(Ranks.start(1).after(np.array([place]), drawn).log_any) for place in (-0.5, 0.5, 1.5, 2.5, 3.5)]
    assert np.mean(won) == pytest.approx(1.0)
    assert won == sorted(won)


def test_ties_share_their_places_stakes():
    drawn = np.zeros((1, 4))
    assert Ranks.start(1).after(np.zeros(1), drawn).log_any == pytest.approx(0.0)


def test_exchangeable_answers_ruin_the_guard_of_ranks_in_at_most_alpha_of_runs():
    rng = np.random.default_rng(0)
    alarms = 0
    for _ in range(300):
        ranks, found = Ranks.start(2), False
        for _ in range(25):
            gain = 1 + 0.2 * rng.normal(size=9)  # each presentation as excitable as it likes
            numbers = gain + 0.1 * rng.normal(size=(2, 9))
            ranks = ranks.after(numbers[:, 0], numbers[:, 1:])
            found |= ranks.log_any >= np.log(20)
        alarms += found
    assert alarms / 300 <= 0.05


def counted(total: float, draws) -> Pairs:
    """One window, one bin, one cell, with these totals."""
    return Pairs(np.full((1, 1, 1), total), np.array(draws, float).reshape(1, -1, 1, 1), np.ones((1, 1, 1)))


def test_rates_off_by_the_margin_are_called_alike_in_at_most_alpha_of_runs():
    rng = np.random.default_rng(1)
    alike = 0
    for _ in range(150):
        rates, found = Rates.start(0.05, cells=1), False
        for _ in range(30):
            rates = rates.after(counted(rng.normal(500, 8), rng.normal(525, 8, 8)), margin=0.05)
            found |= rates.log_likeness >= np.log(20)
        alike += found
    assert alike / 150 <= 0.05


def test_the_same_rates_are_called_alike_within_ten_presentations():
    rng, rates = np.random.default_rng(2), Rates.start(0.05, cells=1)
    for _ in range(10):
        rates = rates.after(counted(rng.normal(500, 8), rng.normal(500, 8, 8)), margin=0.05)
    assert rates.log_likeness >= np.log(20)
    assert rates.log_guard < np.log(20)


def test_the_margin_that_is_claimed_is_the_largest_that_was_bet_on():
    rates = Rates.start(0.05, cells=1).after(counted(500, [500]), margin=0.2).after(counted(500, [500]), margin=0.1)
    assert rates.margin == 0.2


def test_a_network_that_wanders_scatters_more_than_its_windows_say():
    rng = np.random.default_rng(3)

    def trials(gain_sd):
        gains = 1 + gain_sd * rng.normal(size=30)
        return [
            Pairs(
                rng.poisson(5 * gain, (60, 1, 1)).astype(float),
                rng.poisson(5, (60, 8, 1, 1)).astype(float),
                np.full((60, 1, 1), 5.0),
            )
            for gain in gains
        ]

    assert spread(trials(0.0)) == pytest.approx(np.sqrt((1 + 1 / 8) / 300), rel=0.2)
    assert spread(trials(0.13)) > 0.1


def test_the_design_effect_of_independent_windows_is_about_one_and_of_wandering_ones_more():
    rng = np.random.default_rng(4)
    plain = [rng.random((60, 1)) for _ in range(40)]
    wandering = [np.clip(part + 0.1 * rng.normal(), 0, 1) for part in plain]
    assert design_effect(plain) < 1.8
    assert design_effect(wandering) > 4
    assert np.isnan(design_effect(plain[:2]))


# Runs


def test_a_network_that_is_its_own_student_is_switched_to():
    donor = RenewalDonor.make(1)
    done = run(lived(donor, 16), donor, rules=Rules(eps=0.08), bin_s=BIN_S, panel=LOGISTIC)
    assert [change.after for change in done.transitions[:3]] == [State.SHADOW, State.ELIGIBLE, State.SWITCHED]
    assert (done.state, done.margin) == (State.SWITCHED, 0.05)
    assert 0.45 < done.two_afc["logistic"] < 0.55
    eligible = done.transitions[1]
    assert eligible.numbers["log_e.switch"] >= np.log(20) > eligible.numbers["log_e.guard"]
    assert eligible.judged == done.switched_at


@pytest.mark.parametrize("rate", [0.05, -0.05])
def test_a_student_that_is_off_by_five_percent_is_never_switched_to(rate):
    switched = 0
    for seed in range(2):
        donor = RenewalDonor.make(seed)
        off = donor.perturbed(rate=rate)
        done = run(lived(donor, 24, seed=seed), off, rules=Rules(seed=seed), bin_s=BIN_S, panel=LOGISTIC)
        switched += done.switched_at is not None
    assert switched == 0


def test_a_student_that_scatters_like_poisson_is_thrown_out():
    donor = RenewalDonor.make(1)
    poisson = RenewalDonor(donor.filters, donor.drive, donor.strongest, 1)
    done = run(lived(donor, 20), poisson, rules=Rules(), bin_s=BIN_S, panel=LOGISTIC)
    assert [change.after for change in done.transitions] == [State.SHADOW, State.LEARNING]
    assert done.two_afc["logistic"] > 0.6
    assert done.presentations < 20, "nothing can follow, so the run is over"


def test_a_student_learns_its_rates_and_is_then_switched_to():
    donor = RenewalDonor.make(1)
    off = donor.perturbed(rate=0.3)
    done = run(lived(donor, 24), off, rules=Rules(eps=0.1), bin_s=BIN_S, learner=Calibration(), panel=LOGISTIC)
    assert done.state == State.SWITCHED
    assert done.student.gains.mean() == pytest.approx(1 / 1.3, abs=0.02)


def test_a_donor_that_drifts_after_the_switch_is_reverted_to():
    donor = RenewalDonor.make(1)
    drifting = donor.drifting(Drift(from_s=16 * BINS * BIN_S, factor=1.25))
    done = run(lived(drifting, 40), donor, rules=Rules(eps=0.08, sentinel_every=2), bin_s=BIN_S, panel=LOGISTIC)
    assert [change.after for change in done.transitions][-2:] == [State.SWITCHED, State.REVERTED]
    assert done.transitions[-1].elapsed_s > 16 * BINS * BIN_S


def test_a_run_is_repeated_by_its_seed():
    donor = RenewalDonor.make(1)
    one, other = (run(lived(donor, 6), donor, rules=Rules(seed=3), bin_s=BIN_S, panel=LOGISTIC) for _ in range(2))
    assert np.array_equal(one.course, other.course)


def test_a_recording_is_played_repeat_by_repeat_as_if_it_were_live():
    first, second = (np.full((2, 1), value, np.float32) for value in (0, 1))
    experiment = Experiment(
        (Trials("a", first, np.zeros((2, 2, 1), np.uint8)), Trials("b", second, np.ones((1, 2, 1), np.uint8))),
        0.01,
        ("x",),
        ("0",),
    )
    assert [(trial.stimulus_id, trial.start_s) for trial in recorded(experiment)] == [
        ("a", 0.0),
        ("b", 0.02),
        ("a", 0.04),
    ]
    drawn = [trial.stimulus_id for trial in recorded(experiment, seed=1)]
    assert sorted(drawn) == ["a", "a", "b"]


def test_a_recording_as_a_student_uses_each_repeat_once():
    stimulus, counts = np.zeros((4, 1), np.float32), np.arange(12, dtype=np.uint8).reshape(3, 4, 1)
    student = Replayed.of(Experiment((Trials("a", stimulus, counts),), 0.01, ("x",), ("0",)))
    assert np.array_equal(student.sample(stimulus, repeats=2, seed=0), counts[:2])
    assert np.array_equal(student.sample(stimulus, repeats=1, seed=0), counts[2:])
    with pytest.raises(InvalidInput, match="3 repeats and 4"):
        student.sample(stimulus, repeats=1, seed=0)
    with pytest.raises(InvalidInput, match="not: ask a student"):
        student.sample(stimulus + 1, repeats=1, seed=0)


def test_a_student_of_other_electrodes_is_refused():
    donor = RenewalDonor.make(1)
    with pytest.raises(InvalidInput, match="these electrodes"):
        run(lived(donor, 1), RenewalDonor.make(1, cells=5), rules=Rules(), bin_s=BIN_S)


def test_silence_is_judged_without_a_fall():
    silent = RenewalDonor.make(1).perturbed(rate=-1.0)
    done = run(lived(silent, 5), silent, rules=Rules(), bin_s=BIN_S, panel=LOGISTIC)
    assert done.state in {State.SHADOW, State.SWITCHED}


@pytest.mark.parametrize("changed", [{"alpha": 0.0}, {"eps": 0.5}, {"rate_eps": 0}, {"draws": 0}, {"burn_in": 1}])
def test_rules_that_cannot_be_are_refused(changed):
    with pytest.raises(InvalidInput):
        Rules(**changed)


@pytest.mark.parametrize("more", [{"draws": 10**9}, {"attempts": 10**400}])
def test_rules_that_no_machine_could_keep_are_refused(more):
    with pytest.raises(InvalidInput, match="at most 1000 draws and 1000 attempts"):
        Rules(**more)
