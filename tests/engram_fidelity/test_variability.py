"""Fano factors and noise correlations."""

from __future__ import annotations

import elephant.statistics
import neo
import numpy as np
import pytest
import quantities as pq

from engram_client.demo.retina import load_held_out
from engram_fidelity.metrics import variability
from engram_format.errors import InvalidInput


@pytest.fixture(scope="module")
def retina():
    return load_held_out().spikes[:, 72:]


def test_fano_worked_by_hand():
    # Windows of two bins: counts (2, 4) and (0, 0). The first has mean 3, variance 2; the second too few spikes to count.
    found = variability.fano(np.array([[2, 0, 0, 0], [1, 3, 0, 0]])[..., None], 2)
    assert found.value == pytest.approx(2 / 3)
    assert found.windows == 1


def test_a_poisson_sampler_has_a_factor_of_one_and_a_clock_nought():
    generator = np.random.default_rng(0)
    assert variability.fano(generator.poisson(0.3, (400, 400, 2)), 20).value == pytest.approx(1.0, abs=0.02)
    assert variability.fano(np.ones((5, 40, 1)), 20).value == 0.0


def test_fano_agrees_with_elephant_but_for_its_biased_variance():
    generator = np.random.default_rng(1)
    counts = generator.poisson(0.4, (20, 50))
    trains = [neo.SpikeTrain(np.repeat(np.arange(50) + 0.5, repeat), units="s", t_stop=50) for repeat in counts]
    wanted = elephant.statistics.fanofactor(trains, warn_tolerance=0 * pq.ms) * 20 / 19
    assert variability.fano(counts[..., None], 50).value == pytest.approx(wanted)


def test_cells_and_windows_without_enough_spikes_do_not_count():
    counts = np.zeros((6, 40, 2))
    counts[:, :, 0] = np.random.default_rng(2).poisson(0.5, (6, 40))
    found = variability.fano(counts, 10)
    assert found.cells.dropped == 1
    assert np.isnan(variability.fano(counts[:1], 10).value)
    assert np.isnan(variability.fano(counts, 10, least_mean=100).value)


def test_noise_correlation_sees_what_is_shared_beyond_the_stimulus():
    generator = np.random.default_rng(3)
    stimulus = generator.gamma(2, 1, (1, 300, 1))
    shared = generator.normal(0, 1, (60, 300, 1))
    alone = generator.normal(0, 1, (60, 300, 3))
    counts = np.maximum(0, 50 + 5 * stimulus + np.where([True, True, False], shared, 0) + alone)
    matrix = variability.noise_correlations(counts, 1)
    assert matrix[0, 1] == pytest.approx(0.5, abs=0.02)
    assert abs(matrix[0, 2]) < 0.02
    np.testing.assert_allclose(np.diag(matrix), 1)
    assert len(variability.pairwise(matrix)) == 3


def test_a_cell_that_never_differs_has_no_noise_correlation():
    counts = np.random.default_rng(4).poisson(1.0, (5, 30, 3))
    counts[..., 2] = 1
    matrix = variability.noise_correlations(counts, 3)
    assert np.isnan(matrix[2]).all()
    assert len(variability.pairwise(matrix)) == 1
    assert not len(variability.pairwise(variability.noise_correlations(counts[:1], 3)))


def test_the_retina_is_far_more_regular_than_poisson(retina):
    assert variability.fano(retina, 20).value == pytest.approx(0.38, abs=0.005)


def test_the_retinas_cells_share_some_noise(retina):
    # 0.12 in windows of 20 ms, 0.15 of 40 ms, 0.23 of 100 ms.
    assert variability.pairwise(variability.noise_correlations(retina, 8)).mean() == pytest.approx(0.15, abs=0.005)
    assert variability.pairwise(variability.noise_correlations(retina, 20)).mean() == pytest.approx(0.23, abs=0.005)


def test_a_window_longer_than_the_trial_is_refused():
    with pytest.raises(InvalidInput, match="choose narrower bins"):
        variability.fano(np.ones((2, 5, 1)), 6)
