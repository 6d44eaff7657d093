from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx
import onnxruntime
import pytest

from engram_fidelity.distill.renewal import (
    KNOTS,
    REMEMBERED,
    SPAN,
    Spiking,
    ages_of,
    drive_of,
    firing,
    free_run,
    hats,
)
from engram_fidelity.distill.spiking_graph import spiking_graph
from engram_fidelity.graph import GruWeights
from engram_replay.gate.admission import check_network
from engram_replay.stacking import stack

CHANNELS, CELLS, HIDDEN, INNER, SUB_STEPS = 5, 4, 12, 7, 3


def weights(*, latents: int = 2, sub_steps: int = SUB_STEPS, seed: int = 1) -> Spiking:
    random = np.random.default_rng(seed)

    def normal(*shape: int, by: float = 0.4) -> np.ndarray:
        return (by * random.standard_normal(shape)).astype(np.float32)

    tables = normal(CELLS, REMEMBERED, len(KNOTS))
    tables[:, 0, :2] = -9  # refractory
    return Spiking(
        entry=normal(CHANNELS, HIDDEN),
        entry_bias=normal(HIDDEN),
        recurrent=GruWeights(
            normal(3 * HIDDEN, HIDDEN), normal(3 * HIDDEN, HIDDEN), np.concatenate([normal(3 * HIDDEN)] * 2)
        ),
        inner=normal(HIDDEN, INNER),
        inner_bias=normal(INNER),
        outer=normal(HIDDEN + INNER, sub_steps * CELLS),
        outer_bias=normal(sub_steps * CELLS) - 1.5,
        tables=tables,
        gain=normal(CELLS, len(KNOTS), by=0.1),
        loadings=normal(latents, CELLS),
        kept=0.8,
        sub_steps=sub_steps,
    )


def stream(network: bytes, stimulus: np.ndarray, noise: np.ndarray) -> dict[str, np.ndarray]:
    """Run minds (time, mind, ...) through the runtime from states of zeros; outputs (time, mind, ...)."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(network, options)
    states = {
        port.name: np.zeros((*noise.shape[1:-1], port.shape[-1]), np.float32)
        for port in session.get_inputs()
        if port.name not in ("stimulus", "noise")
    }
    names = [port.name for port in session.get_outputs()]
    every = []
    for shown, drawn in zip(stimulus, noise, strict=True):
        answered = dict(zip(names, session.run(None, {"stimulus": shown, "noise": drawn, **states}), strict=True))
        states = {name: answered[f"{name}_out"] for name in states}
        every.append(answered)
    return {name: np.stack([answered[name] for answered in every]) for name in names}


def scene(of: Spiking, *, time: int = 300, minds: int = 3) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(2)
    shown = random.standard_normal((time, CHANNELS)).astype(np.float32)
    return np.repeat(shown[:, np.newaxis], minds, axis=1), random.random((time, minds, of.noise), np.float32)


@pytest.mark.parametrize(("latents", "sub_steps"), [(2, 3), (0, 3), (1, 1)])
def test_the_graph_draws_the_spikes_of_the_equations(latents: int, sub_steps: int) -> None:
    of = weights(latents=latents, sub_steps=sub_steps)
    stimulus, noise = scene(of)
    streamed = stream(spiking_graph(of), stimulus, noise)
    rate, counts = free_run(of, drive_of(of, stimulus[:, 0]), noise)
    assert 100 < counts.sum() < counts.size * sub_steps / 2
    np.testing.assert_array_equal(streamed["spikes"], counts.transpose(1, 0, 2))
    np.testing.assert_allclose(streamed["rate"], rate.transpose(1, 0, 2), atol=1e-4)


def test_the_graph_has_the_same_bytes_again_and_passes_the_gate() -> None:
    network = spiking_graph(weights(), {"b": "2", "a": "1"})
    assert network == spiking_graph(weights(), {"a": "1", "b": "2"})
    check_network(network, what="a spiking student")


def test_students_of_one_architecture_run_as_one_network() -> None:
    both = [weights(seed=seed) for seed in (1, 2)]
    networks = [spiking_graph(of) for of in both]
    stimulus, noise = scene(both[0], time=60)
    stacked = stack([onnx.load_model_from_string(network) for network in networks])
    together = stream(stacked, np.stack([stimulus, stimulus], axis=1), np.stack([noise, noise], axis=1))
    for number, network in enumerate(networks):
        np.testing.assert_array_equal(together["spikes"][:, number], stream(network, stimulus, noise)["spikes"])


def test_minds_of_one_network_do_not_hear_each_other() -> None:
    of = weights()
    stimulus, noise = scene(of, time=100)
    network = spiking_graph(of)
    alone = stream(network, stimulus[:, 1:2], noise[:, 1:2])
    together = stream(network, stimulus, noise)
    np.testing.assert_array_equal(alone["spikes"][:, 0], together["spikes"][:, 1])


def test_cells_of_one_network_do_not_hear_each_other() -> None:
    of = weights()
    stimulus, noise = scene(of, time=100)
    network = spiking_graph(of)
    other = noise.copy()
    other.reshape(100, 3, SUB_STEPS, -1)[..., 0] = 0.0  # cell 0 fires whenever it can
    first, second = stream(network, stimulus, noise), stream(network, stimulus, other)
    assert (first["spikes"][..., 0] != second["spikes"][..., 0]).any()
    np.testing.assert_array_equal(first["spikes"][..., 1:], second["spikes"][..., 1:])


def test_a_refractory_cell_does_not_fire_again_at_once() -> None:
    of = weights(latents=0)
    of = replace(of, outer_bias=of.outer_bias + 3)
    _, noise = scene(of, time=200)
    never = of.tables.copy()
    never[:, 0, :3] = -40
    of = replace(of, tables=never)
    _, counts = free_run(of, np.full((200, SUB_STEPS, CELLS), 1.0, np.float32), noise)
    assert counts.sum() > 200
    assert counts.max() == 1


def test_the_rate_is_what_is_drawn_on_average() -> None:
    of = weights()
    stimulus, noise = scene(of, time=200, minds=60)
    rate, counts = free_run(of, drive_of(of, stimulus[:, 0]), noise)
    assert counts.sum(dtype=float) == pytest.approx(rate.sum(dtype=float), rel=0.03)


def test_ages_count_sub_steps_since_each_of_the_last_spikes() -> None:
    fired = np.zeros((400, 1), bool)
    fired[[3, 5, 10]] = True
    ages = ages_of(fired)[:, 0]
    assert ages[3].tolist() == [SPAN, SPAN, SPAN]  # the spike of a sub-step is not of its past
    assert ages[4].tolist() == [1, SPAN, SPAN]
    assert ages[11].tolist() == [1, 6, 8]
    assert ages[399].tolist() == [SPAN, SPAN, SPAN]


def test_hats_share_every_age_out_between_knots() -> None:
    shares = hats(np.arange(1, SPAN + 1))
    np.testing.assert_allclose(shares.sum(axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(shares @ np.array(KNOTS), np.arange(1, SPAN + 1), rtol=1e-5)


def test_a_hazard_stays_below_its_ceiling() -> None:
    likely = firing(np.array([-50.0, -3.0, 40.0], np.float32))
    assert likely[0] == 0
    assert likely[1] == pytest.approx(1 - np.exp(-np.exp(-3.0)), rel=0.03)
    assert likely[2] == pytest.approx(1 - np.exp(-np.e), rel=1e-3)
