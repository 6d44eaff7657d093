"""What distilling gives in the tiers that need no torch: a student that knows the cells, and says how it was made."""

from __future__ import annotations

import json
import sys
from dataclasses import replace

import numpy as np
import onnx
import pytest
from engram_testing.experiments import CELLS, CHANNELS, expected, small_experiment, stream
from threadpoolctl import threadpool_limits

from engram_client.demo.retina import BIN_S, load_held_out, load_training
from engram_fidelity.distill import distill
from engram_fidelity.distill.basis import Past, Scale, raised_cosines
from engram_fidelity.distill.soft import targets
from engram_fidelity.distill.target import TARGETS, quantised
from engram_fidelity.experiment import Experiment, Trials
from engram_fidelity.graph import weights_of
from engram_format.errors import InvalidInput, Precondition
from engram_replay import Contract
from engram_replay.contract_file import parse_contract
from engram_replay.loader import load_student

TIERS = {"linear": 120, "fast": 150}


@pytest.fixture(scope="module")
def experiment():
    return small_experiment()


@pytest.fixture(scope="module", params=sorted(TIERS))
def tier(request):
    return request.param


@pytest.fixture(scope="module")
def made(experiment, tier):
    return distill(experiment, tier=tier, seed=1, updates=TIERS[tier])


def test_a_student_answers_as_the_cells_do(made, experiment):
    (again,) = experiment.repeated
    rate = stream(made.network, again.stimulus)[:, 0]
    truth = expected(again.stimulus)
    for cell in range(2):
        assert np.corrcoef(rate[72:, cell], truth[72:, cell])[0, 1] > 0.9
    assert np.allclose(rate[72:].mean(axis=0), truth[72:].mean(axis=0), rtol=0.25)


def test_minds_of_one_call_answer_as_one_alone(made, experiment):
    stimulus = experiment.trials[0].stimulus[:50]
    assert np.allclose(stream(made.network, stimulus, minds=3), stream(made.network, stimulus), rtol=1e-4, atol=1e-6)


def test_the_same_seed_and_updates_give_the_same_bytes_and_another_seed_others(made, experiment, tier):
    again = distill(experiment, tier=tier, seed=1, updates=TIERS[tier])
    assert again.network == made.network
    assert again.metadata == made.metadata
    assert distill(experiment, tier=tier, seed=2, updates=TIERS[tier]).network != made.network


def test_the_bytes_do_not_depend_on_how_many_threads_there_are(tier):
    training, held_out = load_training(segments=3), load_held_out()
    shown = [
        *zip(training.stimulus, training.spikes[:, np.newaxis], strict=True),
        (held_out.stimulus[0], held_out.spikes),
    ]
    trials = tuple(
        Trials(str(number), stimulus, counts.astype(np.uint8)) for number, (stimulus, counts) in enumerate(shown)
    )
    pixels, cells = (tuple(map(str, range(array.shape[2]))) for array in (training.stimulus, training.spikes))
    retina = Experiment(trials, BIN_S, pixels, cells)
    made = []
    for threads in (1, 2):
        with threadpool_limits(threads):
            made.append(distill(retina, tier=tier, seed=1, updates=3).network)
    assert made[0] == made[1]


def test_it_says_how_it_was_made(made, experiment, tier):
    said = made.metadata
    assert said["distill.tier"] == tier
    assert said["distill.updates"] == TIERS[tier]
    assert said["distill.bin_s"] == 0.005
    assert json.loads(said["distill.held_out"]) == ["again"]
    taught = json.loads(said["distill.training"]) + json.loads(said["distill.validation"])
    assert sorted(taught) == sorted(trials.stimulus_id for trials in experiment.once)
    assert np.isfinite(said["distill.loss.validation"])
    assert said["distill.parameters"] > 100
    assert len(said["distill.experiment_sha256"]) == 64


def test_its_contract_is_whole_and_fits_its_network(made):
    told = parse_contract(json.dumps(dict(made.contract)), what="the contract").to_metadata()
    contract = load_student(made.network, told=told).contract
    assert isinstance(contract, Contract)
    (stimulus,), (state,), (rate,) = contract.stimuli, contract.states, contract.responses
    assert (stimulus.name, stimulus.channels, stimulus.unit) == ("stimulus", CHANNELS, "1")
    assert (rate.name, rate.channels, str(rate.distribution)) == ("rate", CELLS, "rate")
    assert state.after == "state_out"
    assert contract.takes_minds
    assert contract.sampling_interval_s == 0.005


def test_its_network_is_opset_17_with_a_free_axis_of_minds(made):
    model = onnx.load_model_from_string(made.network)
    assert [(one.domain, one.version) for one in model.opset_import] == [("", 17)]
    for value in (*model.graph.input, *model.graph.output):
        assert value.type.tensor_type.shape.dim[0].dim_param == "minds"


def test_held_out_trials_change_nothing(experiment, made, tier):
    (again,) = experiment.repeated
    other = Trials("again", 1 - again.stimulus, again.counts[:, ::-1].copy())
    changed = replace(experiment, trials=(*experiment.once, other))
    assert distill(changed, tier=tier, seed=1, updates=TIERS[tier]).network == made.network


def test_a_wide_target_is_wide_and_a_crossbar_holds_31_levels(experiment):
    wide = distill(experiment, tier="fast", updates=5, target="batch")
    assert weights_of(wide.network)["inner.weight"].shape[1] == TARGETS["batch"].layer
    crossbar = distill(experiment, tier="fast", updates=60, target="crossbar-32")
    assert crossbar.metadata["distill.target"] == "crossbar-32"
    assert crossbar.metadata["distill.levels"] == 31
    for name in ("inner.weight", "drive.weight"):
        weights = weights_of(crossbar.network)[name]
        levels = weights / np.abs(weights).max(axis=0) * 15
        assert np.abs(levels - np.rint(levels)).max() < 1e-4


def test_rounding_moves_a_weight_by_half_a_level_at_most():
    weights = np.random.default_rng(0).normal(size=(40, 7)).astype(np.float32)
    weights[:, 3] = 0
    rounded = quantised(weights, 31, axis=0)
    assert (np.abs(rounded - weights) <= np.abs(weights).max(axis=0) / 30 * 1.0001).all()
    assert np.allclose(quantised(rounded, 31, axis=0), rounded, rtol=1e-6)


def test_the_remembered_past_of_a_bin_is_that_of_the_whole_trial(experiment):
    scale = Scale.of(experiment)
    past = Past(experiment, scale)
    trial = experiment.trials[1]
    contrast = np.concatenate([np.zeros((past.bins - 1, 3), np.float32), scale.apply(trial.stimulus)])
    now = 100
    by_hand = contrast[now : now + past.bins].T @ past.basis[::-1]
    (features,) = past.of(np.array([experiment.trials[0].bins + now]))
    assert np.allclose(features, by_hand.reshape(-1), rtol=1e-4, atol=1e-5)


def test_bins_that_are_judged_are_bounded_and_stay_with_their_trials(experiment):
    past = Past(experiment, Scale.of(experiment))
    chosen = past.some(100)
    assert 50 < len(chosen) <= 100
    parts = past.by_trial(chosen, past.counts[chosen])
    assert len(parts) == len(experiment.trials)
    assert (np.concatenate(parts) == past.counts[chosen]).all()
    assert (parts[0] == experiment.trials[0].counts[0, chosen[chosen < 400]]).all()


def test_bumps_are_of_unit_length_and_reach_from_now_to_the_end():
    basis = raised_cosines(120, 12, bend=4.0)
    assert np.allclose(np.linalg.norm(basis, axis=0), 1, rtol=1e-5)
    assert basis[0].argmax() == 0
    assert basis[-1].argmax() == 11


def test_repeats_teach_what_their_mean_teaches_and_soft_targets_smooth_it():
    every = small_experiment(once=0, repeats=6)
    assert np.allclose(targets(every)[0], every.trials[0].counts.mean(axis=0))
    (soft,) = targets(every, soft=True)
    assert soft.sum() == pytest.approx(every.trials[0].counts.mean(axis=0).sum(), rel=0.05)
    assert np.square(np.diff(soft, axis=0)).sum() < np.square(np.diff(targets(every)[0], axis=0)).sum()


def test_where_every_stimulus_was_repeated_the_repeats_teach_softly():
    clips = [small_experiment(once=0, repeats=5, seed=seed).trials[0] for seed in range(6)]
    trials = tuple(Trials(f"clip-{number}", one.stimulus, one.counts) for number, one in enumerate(clips))
    every = replace(small_experiment(), trials=trials)
    made = distill(every, tier="fast", seed=1, updates=20, soft=True)
    assert made.metadata["distill.soft"] is True
    assert len(json.loads(made.metadata["distill.held_out"])) == 1
    assert distill(every, tier="fast", seed=1, updates=20).network != made.network


class Oracle:
    """Knows the truth."""

    channels, cells = 3, 2

    def expected(self, stimulus, *, seed):
        return expected(stimulus)

    def sample(self, stimulus, *, repeats, seed):
        random = np.random.default_rng(seed)
        return random.poisson(expected(stimulus), (repeats, len(stimulus), 2)).astype(np.uint8)


def test_a_teacher_makes_a_better_student_of_little_data():
    little = small_experiment(once=6, bins=240)
    asked = {"tier": "fast", "seed": 3, "updates": 150}
    alone, taught = distill(little, **asked), distill(little, **asked, teacher=Oracle())
    (again,) = small_experiment(once=0, bins=2000).trials
    truth = expected(again.stimulus)

    def error(made):
        return np.square(stream(made.network, again.stimulus)[:, 0] - truth)[72:].mean()

    assert error(taught) < error(alone)
    assert taught.metadata["distill.soft"] is True


def test_a_teacher_of_other_cells_is_refused(experiment):
    other = Oracle()
    other.cells = 5
    with pytest.raises(InvalidInput, match="the teacher has 3 channels and 5 cells"):
        distill(experiment, tier="fast", updates=5, teacher=other)


def changed(experiment, change):
    return replace(experiment, trials=tuple(change(trials) for trials in experiment.trials))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda one: Trials(one.stimulus_id, one.stimulus, np.zeros_like(one.counts)), "no cell fired"),
        (lambda one: Trials(one.stimulus_id, np.ones_like(one.stimulus), one.counts), "the stimulus never changes"),
    ],
)
def test_an_experiment_that_teaches_nothing_is_refused(experiment, tier, change, message):
    with pytest.raises(InvalidInput, match=message):
        distill(changed(experiment, change), tier=tier, updates=5)


def test_a_channel_that_never_changes_and_a_silent_cell_do_no_harm(experiment, tier):
    def dull(one):
        stimulus, counts = one.stimulus.copy(), one.counts.copy()
        stimulus[:, 1], counts[..., 1] = 7.0, 0
        return Trials(one.stimulus_id, stimulus, counts)

    experiment = changed(experiment, dull)
    made = distill(experiment, tier=tier, updates=60)
    rate = stream(made.network, experiment.trials[0].stimulus)
    assert np.isfinite(rate).all()
    assert (rate > 0).all()
    assert rate[..., 1].mean() < 0.02


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"tier": "huge"}, "there is no tier 'huge': choose one of linear, fast, default, spiking"),
        ({"tier": "fast", "target": "abacus"}, "there is no target 'abacus'"),
        ({"tier": "fast", "base": b""}, "students of the tier fast share no base"),
        ({"tier": "fast", "rank": 2}, "a rank of 2 is none"),
        ({"tier": "fast", "soft": True}, "no stimulus that may teach was repeated"),
        ({"tier": "fast", "updates": 0}, "0 updates are no training"),
    ],
)
def test_what_cannot_be_is_said_in_a_sentence(experiment, asked, message):
    with pytest.raises(InvalidInput, match=message):
        distill(experiment, **asked)


def test_without_torch_the_recurrent_tier_says_what_to_install(experiment, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(Precondition, match=r"pip install 'engram\[distill\]'"):
        distill(experiment, tier="default", updates=5)
