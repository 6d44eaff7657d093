"""Run a student over a stimulus, one mind at a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from engram_format.errors import InvalidInput
from engram_replay.arrays import AnyArray
from engram_replay.fitting import Fitted, fit
from engram_replay.loader import Student
from engram_replay.runtime_calls import Calls
from engram_replay.signature import Mode

_STEPS_IN_A_CALL: Final = 4096


@dataclass(frozen=True, slots=True)
class Replay:
    """What a student was given and what it did."""

    steps: int
    """The length of the time axis of the stimulus."""
    stimulus: Mapping[str, AnyArray]
    """By input name, in the network's types: (time, ...); constants are scalars."""
    initial_state: Mapping[str, AnyArray]
    """By the name of the state's input, in the network's shape; zeros where none was given."""
    outputs: Mapping[str, AnyArray]
    """The responses by output name: (time, ...)."""
    final_state: Mapping[str, AnyArray]
    """By the name of the state's input, to go on from."""


def run(
    student: Student,
    stimulus: Mapping[str, AnyArray],
    *,
    calls: Calls | None = None,
    initial_state: Mapping[str, AnyArray] | None = None,
    join_steps: bool = False,
) -> Replay:
    """Run a student over a stimulus and return its responses, as `fitting.fit` and the student's mode say.

    A response of a stepped student is (time, *shape of the output), without as many leading axes of length 1 as the stimuli
    left out. The same student, stimulus and state give the same bits on one machine with the same runtime. With
    `join_steps`, which is for students whose bits do not depend on it, a call takes as many steps as the network allows.

    Raises `InvalidInput` if stimulus or state do not fit the student or make it fail, and `Exhausted` past the deadline of
    `calls`.
    """
    calls = calls or Calls(student)
    fitted = fit(student.signature, stimulus, initial_state=initial_state)
    names = [tensor.name for tensor in student.signature.responses]
    wanted = [*names, *(pair.after.name for pair in student.signature.states)]
    parts: list[Sequence[AnyArray]] = []
    state = dict(fitted.state)
    for first, feed in _feeds(student, fitted, join_steps=join_steps):
        outputs = calls.run(wanted, {**feed, **fitted.constants, **state}, step=first)
        parts.append(outputs[: len(names)])
        state = _next_state(student, outputs[len(names) :], state)
    joined = _joins(student, fitted, join_steps=join_steps)
    responses = {
        name: _by_call([part[index] for part in parts], _time_axis(student, name) if joined else None)
        for index, name in enumerate(names)
    }
    return Replay(
        steps=fitted.steps,
        stimulus=fitted.given,
        initial_state=fitted.state,
        outputs={
            name: _over_time(values, name=name, fitted=fitted, mode=student.signature.mode)
            for name, values in responses.items()
        },
        final_state=state,
    )


def _joins(student: Student, fitted: Fitted, *, join_steps: bool) -> bool:
    """Tell whether several steps go into one call: each is then 1 long along the network's axis of time."""
    contract = student.contract
    return (
        join_steps
        and fitted.calls > 1
        and contract.takes_steps
        and all(fitted.stimuli[port.name].shape[1 + (port.time_axis or 0)] == 1 for port in contract.stimuli)
    )


def _feeds(student: Student, fitted: Fitted, *, join_steps: bool) -> Iterator[tuple[int, dict[str, AnyArray]]]:
    """Yield the number of a call's first step and its stimuli."""
    if not _joins(student, fitted, join_steps=join_steps):
        for call in range(fitted.calls):
            yield call, {name: array[call] for name, array in fitted.stimuli.items()}
        return
    axes = {port.name: port.time_axis or 0 for port in student.contract.stimuli}
    for first in range(0, fitted.calls, _STEPS_IN_A_CALL):
        stop = first + _STEPS_IN_A_CALL
        yield (
            first,
            {
                name: np.ascontiguousarray(np.moveaxis(array[first:stop], 0, axis).squeeze(axis + 1))
                for name, array in fitted.stimuli.items()
                for axis in (axes[name],)
            },
        )


def _time_axis(student: Student, response: str) -> int | None:
    return next(port.time_axis for port in student.contract.responses if port.name == response)


def _by_call(parts: list[AnyArray], time_axis: int | None) -> list[AnyArray]:
    """Return one array for each call of one step; of joined steps, as each would have given it."""
    if time_axis is None:
        return parts
    return [np.expand_dims(step, time_axis) for part in parts for step in np.moveaxis(part, time_axis, 0)]


def _next_state(student: Student, outputs: Sequence[AnyArray], state: Mapping[str, AnyArray]) -> dict[str, AnyArray]:
    following = {pair.before.name: value for pair, value in zip(student.signature.states, outputs, strict=True)}
    for name, value in following.items():
        if value.shape != state[name].shape:
            raise InvalidInput(
                f"{student} returned state {name!r} with shape {value.shape} for {state[name].shape}: "
                "a state keeps its shape, give the initial state with the right one"
            )
    return following


def _over_time(values: list[AnyArray], *, name: str, fitted: Fitted, mode: Mode) -> AnyArray:
    """Return a response with time as its first axis."""
    if any(value.shape != values[0].shape for value in values):
        raise InvalidInput(f"output {name!r} changes its shape from step to step: it cannot be saved as one array")
    leading = 0
    while leading < min(fitted.left_out, values[0].ndim) and values[0].shape[leading] == 1:
        leading += 1
    short = [value.reshape(value.shape[leading:]) for value in values]
    return np.stack(short) if mode is Mode.STEP else short[0]
