"""How many updates a training makes."""

from __future__ import annotations

import pytest

from engram_fidelity.distill.budget import WARM_UP, Budget, Pacer
from engram_format.errors import InvalidInput


def run(pacer, each_s=0.0, clock=None):
    steps = []
    while not pacer.done:
        steps.append(pacer.step())
        if clock is not None:
            clock[0] += each_s
        pacer.count()
    return steps


def test_without_a_budget_there_are_as_many_updates_as_the_tier_has():
    assert len(run(Pacer(Budget.of(120, updates=None, seconds=None)))) == 120


def test_a_budget_cuts_the_updates_to_what_fits_and_they_can_be_asked_for_again():
    clock = [0.0]
    pacer = Pacer(Budget.of(5000, updates=None, seconds=10.0), clock=lambda: clock[0])
    cut = run(pacer, each_s=0.05, clock=clock)
    assert WARM_UP < pacer.total < 200
    assert clock[0] < 10.0
    again = Pacer(Budget.of(5000, updates=pacer.total, seconds=None))
    assert run(again) == cut


def test_a_budget_that_is_ample_changes_nothing():
    clock = [0.0]
    pacer = Pacer(Budget.of(300, updates=None, seconds=1e6), clock=lambda: clock[0])
    assert len(run(pacer, each_s=0.01, clock=clock)) == 300


def test_a_budget_that_is_already_over_still_makes_the_first_updates():
    clock = [0.0]
    pacer = Pacer(Budget.of(300, updates=None, seconds=0.1), clock=lambda: clock[0])
    assert len(run(pacer, each_s=1.0, clock=clock)) == WARM_UP


def test_steps_grow_and_then_fall():
    steps = run(Pacer(Budget.of(400, updates=None, seconds=None)))
    assert steps[WARM_UP - 1] == max(steps) == 1.0
    assert steps[-1] < 0.02


@pytest.mark.parametrize(("updates", "seconds"), [(0, None), (-1, None), (None, 0.0), (None, float("nan"))])
def test_numbers_that_are_none_are_refused(updates, seconds):
    with pytest.raises(InvalidInput, match="updates are no training|is none"):
        Budget.of(100, updates=updates, seconds=seconds)
