"""Setting rates right, and leaving right ones alone."""

from __future__ import annotations

import numpy as np
import pytest

from engram_fidelity.distill.calibrate import Affine, Ramp, poisson_loss, softplus
from engram_fidelity.graph import Graph


@pytest.fixture
def random():
    return np.random.default_rng(4)


def trials(random, gain, offset, *, many=4, bins=4000):
    drives = [random.normal(-2, 1.5, (bins, 2)).astype(np.float32) for _ in range(many)]
    counts = [random.poisson(softplus(gain * drive + offset)).astype(np.float32) for drive in drives]
    return drives, counts


def test_a_gain_and_an_offset_are_found_again(random):
    found = Affine.fitted(*trials(random, np.array([1.6, 0.7]), np.array([0.4, -0.3])))
    assert np.allclose(found.gain, [1.6, 0.7], atol=0.1)
    assert np.allclose(found.offset, [0.4, -0.3], atol=0.15)


def test_what_is_kept_never_makes_fitted_trials_worse(random):
    drives, counts = trials(random, np.array([1.3, 1.0]), np.array([0.2, 0.0]))
    found = Affine.fitted(drives, counts)
    drive, count = np.concatenate(drives), np.concatenate(counts)
    assert poisson_loss(found.rate(drive), count) <= poisson_loss(Affine.none(2).rate(drive), count)


def test_a_silent_cell_is_calibrated_without_a_warning(random):
    drives, counts = trials(random, np.ones(2), np.zeros(2))
    for count in counts:
        count[:, 1] = 0
    with np.errstate(all="raise", under="ignore"):
        found = Affine.fitted(drives, counts)
    assert np.isfinite([*found.gain, *found.offset]).all()


def test_a_single_trial_is_judged_by_its_halves(random):
    drives, counts = trials(random, np.array([2.0, 2.0]), np.zeros(2), many=1, bins=8000)
    assert np.allclose(Affine.fitted(drives, counts).gain, 2.0, atol=0.2)


def test_calibrating_vanishes_into_the_read_out(random):
    weights, bias = random.normal(size=(5, 2)).astype(np.float32), np.ones(2, np.float32)
    hidden = random.normal(size=(100, 5)).astype(np.float32)
    affine = Affine(np.array([2.0, 0.5], np.float32), np.array([0.1, -1.0], np.float32))
    changed, offset = affine.into(weights, bias)
    assert np.allclose(softplus(hidden @ changed + offset) + 1e-6, affine.rate(hidden @ weights + bias), rtol=1e-5)


def test_a_ramp_rises_and_follows_the_counts(random):
    drive = random.normal(0, 1, (40000, 2)).astype(np.float32)
    rate = np.stack([np.maximum(drive[:, 0], 0) ** 2, np.exp(drive[:, 1])], axis=1)
    ramp = Ramp.fitted(drive, random.poisson(rate).astype(np.float32))
    along = np.repeat(np.linspace(-4, 4, 200, dtype=np.float32)[:, np.newaxis], 2, axis=1)
    assert (np.diff(ramp.rate(along), axis=0) >= -1e-9).all()
    inside = np.abs(drive).max(axis=1) < 1.5
    assert np.abs(ramp.rate(drive)[inside] - rate[inside]).mean() < 0.1


def test_a_ramp_is_the_same_in_a_graph(random):
    import onnxruntime

    drive = random.normal(0, 1, (3000, 2)).astype(np.float32)
    ramp = Ramp.fitted(drive, random.poisson(np.exp(drive)).astype(np.float32))
    graph = Graph("ramp")
    graph.take("drive", 2)
    graph.give(ramp.add_to(graph, "drive", "rate"), 2)
    (rate,) = onnxruntime.InferenceSession(graph.finish()).run(None, {"drive": drive})
    assert np.allclose(rate, ramp.rate(drive), rtol=1e-4, atol=1e-5)
