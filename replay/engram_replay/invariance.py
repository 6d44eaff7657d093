"""What a loaded student's bits depend on: measured on the student itself, before minds share calls.

A runtime may compute a row differently when it stands among others, or a step when several are given at once. Whether it does
is looked at with numbers of no meaning; where a difference shows, every mind and every step has its own call.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from engram_format.catalog import AnyArray
from engram_format.errors import EngramError
from engram_replay.contract import Contract, Port, Role
from engram_replay.minds import Ensemble, Rows

_COMPANIES: Final = (2, 5, 16, 67)
"""How many minds a mind is put among: kernels change at multiples of 4, 8, 16 and 64."""
_STEPS: Final = 3
_SLOW_S: Final = 0.02


@dataclass(frozen=True, slots=True)
class Invariance:
    """What may be changed without changing a bit."""

    minds: bool
    """How many minds share a call, and in which order."""
    steps: bool
    """How many steps one call takes."""


def measure(ensemble: Ensemble) -> Invariance:
    """Try a student alone and in company, and several steps in one call and one by one.

    A student with free axes beyond time and minds, with constants that have no value, or that is too slow to be tried, counts
    as dependent on everything.
    """
    contract = ensemble.contract
    if not contract.takes_minds or _leaves_open(contract):
        return Invariance(minds=False, steps=False)
    draw = np.random.default_rng(0)
    try:
        began = time.perf_counter()
        stimuli, states = _noise(contract.driven, (1, 1), draw), _noise(contract.states, (1,), draw)
        alone = _advance(ensemble, stimuli, states)
        if time.perf_counter() - began > _SLOW_S:
            return Invariance(minds=False, steps=False)
        minds = all(
            _same_in_company(ensemble, alone, stimuli, states, company=company, draw=draw) for company in _COMPANIES
        )
        steps = contract.takes_steps and all(_same_in_one_call(ensemble, draw, minds=few) for few in (1, 2))
        return Invariance(minds=minds, steps=steps)
    except EngramError:
        return Invariance(minds=False, steps=False)


def _same_in_company(
    ensemble: Ensemble,
    alone: Sequence[AnyArray],
    stimuli: Sequence[AnyArray],
    states: Sequence[AnyArray],
    *,
    company: int,
    draw: np.random.Generator,
) -> bool:
    """Compare a mind by itself with the last of several."""
    others = _noise(ensemble.contract.driven, (1, company - 1), draw)
    joined = [np.concatenate(pair, axis=1) for pair in zip(others, stimuli, strict=True)]
    other_states = _noise(ensemble.contract.states, (company - 1,), draw)
    joined_states = [np.concatenate(pair) for pair in zip(other_states, states, strict=True)]
    together = _advance(ensemble, joined, joined_states)
    return all(one.tobytes() == many[-1:].tobytes() for one, many in zip(alone, together, strict=True))


def _same_in_one_call(ensemble: Ensemble, draw: np.random.Generator, *, minds: int) -> bool:
    stimuli = _noise(ensemble.contract.driven, (_STEPS, minds), draw)
    one_by_one, at_once = ensemble.new(stimuli), ensemble.new(stimuli)
    single = [
        ensemble.tick([(one_by_one, [given[step : step + 1] for given in stimuli])], steps=1)[0]
        for step in range(_STEPS)
    ]
    ensemble.joins_steps = True
    try:
        together = ensemble.tick([(at_once, stimuli)], steps=_STEPS)[0]
    finally:
        ensemble.joins_steps = False
    answers = [np.concatenate(parts) for parts in zip(*single, strict=True)]
    states = zip(_states(ensemble, one_by_one), _states(ensemble, at_once), strict=True)
    return all(one.tobytes() == other.tobytes() for one, other in [*zip(answers, together, strict=True), *states])


def _advance(ensemble: Ensemble, stimuli: Sequence[AnyArray], states: Sequence[AnyArray]) -> list[AnyArray]:
    """Take one step; return the responses and the states after it, each (mind, ...)."""
    begin = {port.name: state for port, state in zip(ensemble.contract.states, states, strict=True)}
    rows = ensemble.rows(minds=stimuli[0].shape[1], constants={}, initial_state=begin)
    (responses,) = ensemble.tick([(rows, stimuli)], steps=1)
    return [*(response[0] for response in responses), *_states(ensemble, rows)]


def _states(ensemble: Ensemble, rows: Rows) -> list[AnyArray]:
    return list(ensemble.state_of(rows).values())


def _noise(ports: Sequence[Port], outer: tuple[int, ...], draw: np.random.Generator) -> list[AnyArray]:
    arrays: list[AnyArray] = []
    for port in ports:
        shape = (*outer, *(length for length in port.step_shape if isinstance(length, int)))
        if port.role is Role.NOISE:
            arrays.append(draw.random(shape, np.float32).astype(port.dtype))
            continue
        if port.dtype.kind == "f":
            arrays.append(draw.standard_normal(shape).astype(port.dtype))
        else:
            arrays.append(draw.integers(0, 2, shape).astype(port.dtype))
    return arrays


def _leaves_open(contract: Contract) -> bool:
    ports = (*contract.stimuli, *contract.states)
    return any(not isinstance(length, int) for port in ports for length in port.step_shape) or any(
        port.value is None for port in contract.constants
    )
