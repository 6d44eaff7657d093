"""Stimulus space, disagreement, and learning curves whose law is known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from engram_testing.certified_donors import BIN_S, Donor, experiment, stimulus
from engram_testing.experiments import stream

from engram_fidelity.coverage import Space, cover, disagree
from engram_fidelity.distill.quick import quick_student
from engram_fidelity.experiment import Trials
from engram_fidelity.learning_curve import Point, extrapolate, measure
from engram_format.errors import InvalidInput


def shown(values, name="one"):
    values = np.asarray(values, np.float32)
    return Trials(name, values, np.ones((1, len(values), 1), np.uint8))


def test_what_was_never_shown_is_not_visited():
    dark, bright = np.zeros((400, 1), np.float32), np.ones((400, 1), np.float32)
    both = np.concatenate([dark, bright])
    space = Space.of([both], bin_s=BIN_S, cells=8)
    only_dark = cover(space, [shown(dark)], [shown(both, "held")])
    assert (only_dark.visited, only_dark.held_out_visited) == (1, 1)
    assert only_dark.held_out > 1
    every = cover(space, [shown(both)], [shown(both, "held")])
    assert every.share == 1
    assert every.held_out_share == 1


def test_cells_visited_never_shrink_with_minutes():
    trials = [shown(stimulus(600, seed=seed), f"{seed}") for seed in range(6)]
    space = Space.of([one.stimulus for one in trials], bin_s=BIN_S)
    told = cover(space, trials, [])
    assert list(told.visited_after) == sorted(told.visited_after)
    assert told.minutes[-1] == pytest.approx(6 * 600 * BIN_S / 60)
    assert told.visited == told.visited_after[-1] == space.cells
    assert told.held_out_share is None


def test_space_is_the_same_for_the_same_seed():
    shows = stimulus(2000, seed=1)
    first, again = (Space.of([shows], bin_s=BIN_S, seed=4).where(shows) for _ in range(2))
    assert np.array_equal(first, again)


def test_a_stimulus_that_never_changes_is_one_cell():
    assert Space.of([np.ones((500, 3), np.float32)], bin_s=BIN_S).cells == 1


def test_students_disagree_where_they_guess():
    donor = Donor()
    shows = stimulus(800, seed=2)
    trials = [Trials("x", shows, donor.sample(shows, repeats=1, seed=1))]
    space = Space.of([shows], bin_s=BIN_S, cells=16)
    alike = disagree([donor, donor], space, trials, seed=0)
    assert alike.mean == 0
    assert disagree([donor, Donor(mixed=0.5)], space, trials, seed=0).mean > 0.05
    with pytest.raises(InvalidInput, match="at least two"):
        disagree([donor], space, trials, seed=0)
    with pytest.raises(InvalidInput, match="unlike"):
        disagree([donor, Donor(cells=2)], space, trials, seed=0)


def points(law, *, noise=0.0):
    random = np.random.default_rng(0)
    return [Point(m, law(m) + noise * random.normal()) for m in (1, 1, 2, 2, 4, 4, 8, 8, 16)]


def test_the_minutes_of_a_known_law_are_found():
    told = extrapolate(points(lambda m: 0.95 - 0.3 * m**-0.5, noise=0.002), target=0.9, seed=0)
    # 0.05 = 0.3 m^-0.5: 36 minutes, 20 more than there are.
    assert told.need.minutes == pytest.approx(36, rel=0.4)
    assert told.need.low <= 36
    assert told.need.high is None or told.need.high >= 36
    assert told.need.more == pytest.approx(told.need.minutes - 16)
    assert "more than there are" in told.need.sentence(told.law, longest=16)


def test_a_target_above_the_ceiling_is_not_reachable():
    told = extrapolate(points(lambda m: 0.8 - 0.3 / m, noise=0.002), target=0.9, seed=0)
    assert told.need.minutes is None
    assert "not reachable" in told.need.sentence(told.law, longest=16)


def test_a_target_that_is_reached_needs_no_more():
    told = extrapolate(points(lambda m: 0.95 - 0.3 / m, noise=0.002), target=0.8, seed=0)
    assert told.need.more == 0
    assert "is reached" in told.need.sentence(told.law, longest=16)


def test_a_quick_student_learns_more_from_more():
    donor = Donor()
    known = experiment(donor, training=12, repeats=2)
    training, held_out = known.once, known.repeated[0]

    def score(trials, seed):
        student = quick_student(replace(known, trials=tuple(trials)), seed=seed)
        told = student.expected(held_out.stimulus, seed=seed)[72:]
        truth = donor.expected(held_out.stimulus)[72:]
        return float(np.corrcoef(told.ravel(), truth.ravel())[0, 1])

    found = measure(training, score, bin_s=BIN_S, seed=0)
    first, last = (
        np.mean([one.fidelity for one in found if one.minutes == at]) for at in (found[0].minutes, found[-1].minutes)
    )
    assert last > first
    assert last > 0.85


def test_a_quick_student_answers_as_its_network_does_and_is_repeated_by_its_seed():
    known = experiment(Donor(), training=4, repeats=2)
    student, again, other = (quick_student(known, seed=seed) for seed in (1, 1, 2))
    shows = stimulus(300, seed=9)
    told = student.expected(shows, seed=0)
    assert np.array_equal(told, again.expected(shows, seed=0))
    assert not np.array_equal(told, other.expected(shows, seed=0))
    np.testing.assert_allclose(stream(student.layers.to_onnx(), shows)[:, 0], told, rtol=1e-4, atol=1e-6)
    drawn = student.sample(shows, repeats=400, seed=3)
    assert drawn.shape == (400, 300, 3)
    np.testing.assert_allclose(drawn.mean(axis=(0, 1)), told.mean(axis=0), rtol=0.05)


@pytest.mark.parametrize("target", [0.0, 1.0, -1.0, 2.0, float("nan")])
def test_a_target_that_is_none_is_refused(target):
    with pytest.raises(InvalidInput, match="between 0 and 1"):
        extrapolate(points(lambda m: 0.9 - 0.3 / m), target=target, seed=0)


def test_too_few_trials_or_silent_ones_make_no_curve():
    with pytest.raises(InvalidInput, match="at least 4"):
        measure([shown(stimulus(100))], lambda *_: 0.5, bin_s=BIN_S, seed=0)
    silent = experiment(Donor(gain=0.0), training=1)
    with pytest.raises(InvalidInput, match="no cell fired"):
        quick_student(silent, seed=0)
    with pytest.raises(InvalidInput, match="no stimulus that a student may be trained on"):
        cover(Space.of([stimulus(100)], bin_s=BIN_S), [], [])
