from __future__ import annotations

import json

import numpy as np
import pytest

from engram_fidelity.distill.renewal import KNOTS, REMEMBERED, Spiking, free_run
from engram_fidelity.distill.spiking_freely import calibrated, factors, with_latents
from engram_fidelity.distill.spiking_material import Material
from engram_fidelity.distill.split import Split, split
from engram_fidelity.experiment import Experiment, Trials
from engram_fidelity.graph import GruWeights
from engram_format.errors import InvalidInput

SUB_STEP_S = 1 / 600
CELLS = 3


def still(*, drive: float = -4.0, loadings: np.ndarray | None = None) -> Spiking:
    """A student whose drive no stimulus moves and whose cells do not fire twice within two sub-steps."""
    tables = np.zeros((CELLS, REMEMBERED, len(KNOTS)), np.float32)
    tables[:, 0, :2] = -30
    none = np.zeros(0, np.float32)
    return Spiking(
        entry=np.zeros((1, 2), np.float32),
        entry_bias=np.zeros(2, np.float32),
        recurrent=GruWeights(np.zeros((6, 2), np.float32), np.zeros((6, 2), np.float32), np.zeros(12, np.float32)),
        inner=np.zeros((2, 1), np.float32),
        inner_bias=np.zeros(1, np.float32),
        outer=np.zeros((3, 3 * CELLS), np.float32),
        outer_bias=np.full(3 * CELLS, drive, np.float32),
        tables=tables,
        gain=np.zeros((CELLS, len(KNOTS)), np.float32),
        loadings=none.reshape(0, CELLS) if loadings is None else loadings,
        kept=float(np.exp(-SUB_STEP_S * 150)),
        sub_steps=3,
    )


def answered(by: Spiking, *, trials: int = 10, bins: int = 1200, seed: int = 3, repeats: int = 6) -> Experiment:
    """An experiment in sub-steps in which `by` is the tissue."""
    random = np.random.default_rng(seed)
    made = []
    for trial in range(trials + 1):
        shown = np.repeat(random.standard_normal((bins, 1)).astype(np.float32), 3, axis=0)
        minds = repeats if trial == trials else 1
        drive = np.broadcast_to(by.outer_bias.reshape(3, CELLS), (bins, 3, CELLS))
        moved = drive + shown.reshape(bins, 3, 1)  # the stimulus moves the log hazard at once
        # One mind at a time in bins of one sub-step, so that every spike has its place.
        counts = np.stack([_fired(by, moved, random) for _ in range(minds)])
        made.append(Trials("repeated" if trial == trials else f"once {trial}", shown, counts))
    return Experiment(tuple(made), SUB_STEP_S, ("light",), ("a", "b", "c"), "lux")


def _fired(by: Spiking, drive: np.ndarray, random: np.random.Generator) -> np.ndarray:
    fine = Spiking(**{**{name: getattr(by, name) for name in by.__slots__}, "sub_steps": 1})
    noise = random.random((drive.shape[0] * 3, 1, fine.noise), np.float32)
    return free_run(fine, drive.reshape(1, -1, 1, CELLS), noise)[1][0]


def material(experiment: Experiment) -> Material:
    return Material.of(experiment.once, together=3, window=240)


def test_noise_that_cells_share_is_found_in_residuals() -> None:
    loadings = np.array([[0.8, 0.8, 0.0]], np.float32)
    tissue = still(drive=-2.5, loadings=loadings)
    student = still(drive=-2.5)
    random = np.random.default_rng(4)
    rows = []
    for trial in range(4):
        fine = Spiking(**{**{name: getattr(tissue, name) for name in tissue.__slots__}, "sub_steps": 1})
        noise = random.random((9000, 1, fine.noise), np.float32)
        counts = free_run(fine, np.full((9000, 1, CELLS), -2.5, np.float32), noise)[1]
        rows.append(Trials(f"dark {trial}", np.zeros((9000, 1), np.float32), counts))
    laid = Material.of(rows, together=3, window=240)
    found = with_latents(student, laid, range(4), sub_step_s=SUB_STEP_S)
    shared = found.loadings.T @ found.loadings
    assert 0.08 < shared[0, 1] < 0.5  # a part of 0.64: it falls off over the lags that are looked at
    assert abs(shared[0, 2]) < 0.05
    assert found.kept == pytest.approx(tissue.kept)


def test_a_factor_is_found_from_covariances_between_cells_alone() -> None:
    loadings = np.array([[0.5, 0.7, 0.6, 0.4]])
    covariance = loadings.T @ loadings
    np.fill_diagonal(covariance, 9.0)
    np.testing.assert_allclose(factors(covariance, 1), loadings, atol=1e-3)


def test_free_runs_fire_as_often_as_the_cells_after_calibration() -> None:
    experiment = answered(still(drive=-3.0), trials=4, bins=600)
    laid = material(experiment)
    moved = calibrated(still(drive=-4.5), laid, range(4), seed=1)
    noise = np.random.default_rng(7).random((2400, 4, moved.noise), np.float32)
    _, counts = free_run(moved, moved.outer_bias.reshape(1, 1, 3, CELLS), noise)
    np.testing.assert_allclose(counts.mean(axis=(0, 1)), laid.fired.mean(axis=(0, 1)) * 3, rtol=0.12)


def test_windows_judge_every_bin_but_a_trials_first_ones() -> None:
    laid = material(answered(still(), trials=2, bins=1000))
    judged = np.zeros(len(laid.stimulus), int)
    for _, first in laid.windows(240, 60):
        judged[first + 60 : first + 240] += 1
    judged = judged.reshape(2, 1000)
    assert (judged[:, 60 : 60 + 180 * 5] == 1).all()
    assert (judged[:, :60] == 0).all()


class TestTraining:
    """Needs torch."""

    @pytest.fixture(autouse=True)
    def _torch(self) -> None:
        pytest.importorskip("torch", reason="distilling recurrent students needs torch: pip install 'engram[distill]'")

    @pytest.fixture(scope="class")
    @staticmethod
    def parts() -> Split:
        return split(answered(still(drive=-3.0), trials=10, bins=300), 1)

    def test_the_same_seed_and_updates_give_the_same_student(self, parts: Split) -> None:
        from engram_fidelity.distill.spiking import fit_spiking

        first, again, other = (fit_spiking(parts, seed=seed, updates=6) for seed in (1, 1, 2))
        assert first.network == again.network
        assert first.metadata == again.metadata
        assert first.network != other.network

    def test_what_was_learned_from_and_what_was_held_out_is_written_down(self, parts: Split) -> None:
        from engram_fidelity.distill.spiking import fit_spiking

        told: list[tuple[int, int]] = []
        student = fit_spiking(parts, seed=1, updates=6, progress=lambda made, total, _: told.append((made, total)))
        assert told == [(6, 6)]
        assert json.loads(str(student.metadata["distill.held_out"])) == ["repeated"]
        assert student.metadata["distill.bin_s"] == pytest.approx(0.005)
        assert student.metadata["distill.tier"] == "spiking"
        assert student.contract["sampling_interval_s"] == pytest.approx(0.005)
        inputs = student.contract["inputs"]
        assert isinstance(inputs, dict)
        assert {name: port["role"] for name, port in inputs.items()} == {
            "stimulus": "stimulus",
            "state": "state",
            "since": "state",
            "latent": "state",
            "noise": "noise",
        }

    def test_updates_make_spikes_more_likely(self, parts: Split) -> None:
        from engram_fidelity.distill.spiking import train_spiking

        untaught = train_spiking(parts, seed=1, updates=1)
        taught = train_spiking(parts, seed=1, updates=40)
        assert taught.loss < untaught.loss - 0.001

    def test_a_cell_that_never_fires_is_named(self, parts: Split) -> None:
        from engram_fidelity.distill.spiking import fit_spiking

        silent = [
            Trials(one.stimulus_id, one.stimulus, one.counts * np.array([1, 0, 1], np.uint8))
            for one in parts.training.trials
        ]
        training = Experiment(tuple(silent), SUB_STEP_S, ("light",), ("a", "b", "c"), "lux")
        with pytest.raises(InvalidInput, match="cell 'b' never fires"):
            fit_spiking(Split(training, parts.validation, None), updates=1)

    def test_a_bin_of_no_sub_steps_is_refused(self, parts: Split) -> None:
        from engram_fidelity.distill.spiking import fit_spiking

        with pytest.raises(InvalidInput, match="sub-steps"):
            fit_spiking(parts, updates=1, together=0)
