"""Which trials teach, which tell when it is enough, and which are never seen."""

from __future__ import annotations

import numpy as np
import pytest
from engram_testing.experiments import CELLS, CHANNELS, small_experiment

from engram_fidelity.distill.split import split
from engram_fidelity.experiment import Experiment, Trials
from engram_format.errors import InvalidInput


def ids(part):
    return [trials.stimulus_id for trials in part.trials]


def one_trial(bins, repeats=1, name="film"):
    random = np.random.default_rng(0)
    return Trials(name, random.random((bins, 3), np.float32), random.poisson(0.1, (repeats, bins, 2)).astype(np.uint8))


def test_repeated_stimuli_are_held_out_and_the_others_divided():
    parts = split(small_experiment(once=20), 3)
    assert ids(parts.held_out) == ["again"]
    assert len(ids(parts.validation)) == 2
    assert sorted(ids(parts.training) + ids(parts.validation)) == sorted(f"movie-{number}" for number in range(20))


def test_the_seed_repeats_a_division_and_another_seed_makes_another():
    experiment = small_experiment(once=30)
    assert ids(split(experiment, 1).validation) == ids(split(experiment, 1).validation)
    assert len({tuple(ids(split(experiment, seed).validation)) for seed in range(5)}) > 1


def test_where_all_stimuli_were_repeated_one_in_five_is_held_out():
    trials = tuple(one_trial(500, repeats=4, name=f"clip-{number}") for number in range(10))
    parts = split(Experiment(trials, 0.005, CHANNELS, CELLS), 0)
    assert len(ids(parts.held_out)) == 2
    taught = {name.partition("[")[0] for name in ids(parts.training) + ids(parts.validation)}
    assert not taught & set(ids(parts.held_out))


def test_nothing_is_held_out_where_nothing_was_repeated():
    assert split(small_experiment(repeats=0), 0).held_out is None


def test_one_long_trial_is_cut_into_pieces_that_say_where_they_lie():
    experiment = Experiment((one_trial(8000),), 0.005, CHANNELS, CELLS)
    parts = split(experiment, 0)
    pieces = {piece.stimulus_id: piece for piece in (*parts.training.trials, *parts.validation.trials)}
    assert sum(piece.bins for piece in pieces.values()) == 8000
    for name, piece in pieces.items():
        start, stop = map(int, name.removeprefix("film[").removesuffix("]").split(":"))
        assert (piece.stimulus == experiment.trials[0].stimulus[start:stop]).all()
        assert (piece.counts == experiment.trials[0].counts[:, start:stop]).all()


@pytest.mark.parametrize(
    ("trials", "message"), [(one_trial(500, repeats=5), "is the only one"), (one_trial(300), "record at least 4 s")]
)
def test_too_little_to_learn_from_is_said(trials, message):
    with pytest.raises(InvalidInput, match=message):
        split(Experiment((trials,), 0.005, CHANNELS, CELLS), 0)
