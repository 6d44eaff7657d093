"""Transfer: a second network made to answer as a first one, on stimuli that the loop has not seen."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from engram_fidelity.donors import PatternTeacher, deployed_patterns
from engram_fidelity.transfer import Limits, kl_per_spike, transfer
from engram_format.errors import InvalidInput


def patterns(count: int, seed: int):
    return deployed_patterns(count, seed=seed)[:, None]


def moved(teacher: PatternTeacher) -> PatternTeacher:
    """The same tissue under electrodes in another order: there are stimulations with which it answers the same."""
    return replace(teacher, fields=teacher.fields[::-1])


@pytest.fixture(scope="module")
def done():
    source = PatternTeacher.make(1)
    return transfer(source, moved(source), patterns(80, 1), patterns(40, 2), bin_s=0.005, rounds=2)


def test_a_network_is_brought_to_answer_as_another_by_every_measure(done):
    assert done.after.kl_bits_per_spike < 0.5 * done.before.kl_bits_per_spike
    assert done.after.mmd2 < 0.5 * done.before.mmd2
    assert done.after.auc < done.before.auc


def test_the_loop_tells_how_far_it_got_and_what_it_cost(done):
    assert len(done.course) == 3
    assert done.course[-1] < done.course[0]
    assert done.queries == 80 * 4


def test_stimulations_keep_within_the_limits():
    source = PatternTeacher.make(1)
    done = transfer(
        source, moved(source), patterns(40, 1), patterns(10, 2), bin_s=0.005, rounds=1, limits=Limits(0.1, 0.6)
    )
    assert done.stimulations.min() >= np.float32(0.1)
    assert done.stimulations.max() <= np.float32(0.6)


def test_a_divergence_is_none_of_the_same_and_counts_bits_per_spike():
    rates = np.array([[1.0, 2.0]])
    assert kl_per_spike(rates, rates) == 0
    assert kl_per_spike(np.ones((1, 1)), np.full((1, 1), 2.0)) == pytest.approx((1 - np.log(2)) / np.log(2))


def test_networks_of_other_numbers_of_cells_are_refused():
    with pytest.raises(InvalidInput, match="12 cells and the second 5"):
        transfer(
            PatternTeacher.make(1), PatternTeacher.make(2, recording=5), patterns(4, 1), patterns(4, 2), bin_s=0.005
        )


def test_limits_without_room_are_refused():
    with pytest.raises(InvalidInput, match="no choice"):
        Limits(1.0, 1.0)
