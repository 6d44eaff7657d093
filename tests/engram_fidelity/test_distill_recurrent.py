"""The recurrent tier, and students that share a base."""

from __future__ import annotations

import os

import numpy as np
import onnx
import pytest
from engram_testing.experiments import expected, small_experiment, stream

from engram_fidelity.distill import distill, taught_in_bins
from engram_fidelity.graph import weights_of
from engram_format.errors import InvalidInput
from engram_replay.execution import Form
from engram_replay.stacking import architecture_of, choose

os.environ.setdefault("OMP_NUM_THREADS", "1")
torch = pytest.importorskip("torch", reason="distilling recurrent students needs torch: pip install 'engram[distill]'")

UPDATES = 40


@pytest.fixture(scope="module")
def experiment():
    return small_experiment()


@pytest.fixture(scope="module")
def made(experiment):
    return distill(experiment, tier="default", seed=1, updates=UPDATES)


@pytest.fixture(scope="module")
def cohort(made):
    """Three more preparations of the kind, each with a student of its own on the first one's base."""
    others = [small_experiment(seed=seed, once=6) for seed in (11, 12, 13)]
    return [distill(other, seed=1, updates=8, base=made.network, rank=2) for other in others]


def in_torch(network, stimulus):
    """Compute what a student answers from its weights, by torch's own operators over the whole time: (time, cell)."""
    held = {name: torch.from_numpy(one) for name, one in weights_of(network).items() if one.dtype == np.float32}
    contrast = (torch.from_numpy(stimulus) - held["scale.mean"]) * held["scale.factor"]
    drive = contrast @ held["inner.weight"] + held["inner.bias"]
    if "channel.down" in held:
        drive = drive + contrast @ held["channel.down"] @ held["channel.up"]
    seen = torch.nn.functional.silu(drive)
    if "hidden.down" in held:
        seen = seen + seen @ held["hidden.down"] @ held["hidden.up"]
    update, reset, new = range(3)
    hidden = held["memory.recurrent"].shape[2]

    def gates(of):
        parts = torch.split(of, hidden)
        return torch.cat([parts[reset], parts[update], parts[new]])

    unit = torch.nn.GRU(hidden, hidden)
    input_bias, recurrent_bias = torch.split(held["memory.bias"][0], 3 * hidden)
    with torch.no_grad():
        unit.weight_ih_l0.copy_(gates(held["memory.input"][0]))
        unit.weight_hh_l0.copy_(gates(held["memory.recurrent"][0]))
        unit.bias_ih_l0.copy_(gates(input_bias))
        unit.bias_hh_l0.copy_(gates(recurrent_bias))
        states, _ = unit(seen[:, None])
        rate = torch.nn.functional.softplus(states[:, 0] @ held["drive.weight"] + held["drive.bias"]) + 1e-6
    return rate.numpy()


def test_the_graph_streams_what_torch_computes_at_once(made, cohort, experiment):
    stimulus = experiment.repeated[0].stimulus
    for student in (made, cohort[0]):
        assert np.abs(stream(student.network, stimulus)[:, 0] - in_torch(student.network, stimulus)).max() < 1e-5


def test_a_recurrent_student_answers_as_the_cells_do(made, experiment):
    (again,) = experiment.repeated
    rate, truth = stream(made.network, again.stimulus)[72:, 0], expected(again.stimulus)[72:]
    for cell in range(2):
        assert np.corrcoef(rate[:, cell], truth[:, cell])[0, 1] > 0.6


def test_the_same_seed_and_updates_give_the_same_bytes(made, experiment):
    threads = torch.get_num_threads()
    torch.manual_seed(99)
    one, other = (distill(experiment, tier="default", seed=1, updates=8) for _ in range(2))
    assert one.network == other.network
    assert one.metadata == other.metadata
    assert torch.get_num_threads() == threads
    assert made.metadata["distill.torch"] == torch.__version__


def test_trials_shorter_than_a_window_teach_without_what_fills_them_up():
    mixed = small_experiment(once=12, bins=160)
    made = distill(mixed, tier="default", seed=1, updates=5)
    assert np.isfinite(made.metadata["distill.loss.validation"])


def test_a_crossbar_holds_31_levels_in_each_unit(experiment):
    made = distill(experiment, tier="default", updates=5, target="crossbar-32")
    for name, axis in (("inner.weight", 0), ("memory.recurrent", 2), ("memory.input", 2), ("drive.weight", 0)):
        weights = weights_of(made.network)[name]
        levels = weights / np.abs(weights).max(axis=axis, keepdims=True) * 15
        assert np.abs(levels - np.rint(levels)).max() < 1e-4


def test_a_cohort_holds_the_weights_of_its_base_bit_for_bit(made, cohort):
    base = weights_of(made.network)
    for student in cohort:
        own = weights_of(student.network)
        for name in ("scale.mean", "scale.factor", "inner.weight", "inner.bias"):
            assert own[name].tobytes() == base[name].tobytes()
        for name in ("memory.input", "memory.recurrent", "memory.bias"):
            assert own[name].tobytes() == base[name].tobytes()
        assert own["channel.down"].shape == (3, 2)
        assert own["drive.weight"].tobytes() != base["drive.weight"].tobytes()


def test_a_cohort_runs_as_one_network_on_its_base(cohort):
    models = [onnx.load_model_from_string(student.network) for student in cohort]
    assert len({architecture_of(model) for model in models}) == 1
    choice = choose(models)
    assert choice.form is Form.SHARED, choice.reason
    assert "on a shared base" in choice.reason


def test_a_student_with_a_read_out_of_its_own_has_the_architecture_of_its_base(made, experiment):
    student = distill(experiment, seed=5, updates=5, base=made.network, rank=0)
    models = [onnx.load_model_from_string(network) for network in (made.network, student.network)]
    assert choose(models).form is Form.SHARED
    assert student.metadata["distill.rank"] == 0


def test_a_base_may_itself_share_one(cohort, made):
    student = distill(small_experiment(seed=20, once=6), updates=5, base=cohort[0].network, rank=2)
    assert weights_of(student.network)["memory.input"].tobytes() == weights_of(made.network)["memory.input"].tobytes()


def test_a_spiking_student_says_as_much_of_its_making_as_the_others():
    made = distill(small_experiment(once=14, bins=1200, bin_s=1 / 600), tier="spiking", seed=1, updates=3)
    assert made.metadata["distill.tier"] == "spiking"
    assert made.metadata["distill.bin_s"] == pytest.approx(0.005)
    assert len(made.metadata["distill.experiment_sha256"]) == 64
    assert {"noise", "stimulus"} < set(made.contract["inputs"])
    assert made.contract["sampling_interval_s"] == pytest.approx(taught_in_bins("default", 0.005))
    assert taught_in_bins("spiking", 0.005) == pytest.approx(1 / 600)


def test_what_is_no_base_is_refused(experiment, made):
    fast = distill(experiment, tier="fast", updates=5)
    with pytest.raises(InvalidInput, match="the base holds no weights 'memory.input'"):
        distill(experiment, base=fast.network)
    with pytest.raises(InvalidInput, match="this is no ONNX network"):
        distill(experiment, base=b"nothing")
    narrow = small_experiment(seed=2)
    with pytest.raises(InvalidInput, match="leave the target batch away"):
        distill(narrow, base=made.network, target="batch")
