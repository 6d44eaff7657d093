"""Run a student over a stimulus, one mind at a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, Protocol

import numpy as np

from engram_format.errors import InvalidInput
from engram_replay.arrays import AnyArray
from engram_replay.fitting import Fitted, fit
from engram_replay.loader import Student
from engram_replay.noise import noise_for_calls
from engram_replay.runtime_calls import Calls
from engram_replay.signature import Mode

_STEPS_IN_A_CALL: Final = 4096


class NetworkCalls(Protocol):
    """What calls a student's network: the runtime, or the reference evaluator."""

    def run(self, names: Sequence[str], feed: Mapping[str, AnyArray], *, step: int) -> list[AnyArray]:
        """Return the named outputs of one call; `step` is its first step, for errors."""
        ...


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
    calls: NetworkCalls | None = None,
    initial_state: Mapping[str, AnyArray] | None = None,
    join_steps: bool = False,
    sample: int | None = None,
    first_mind: int = 0,
) -> Replay:
    """Run a student over a stimulus and return its responses, as `fitting.fit` and the student's mode say.

    A response of a stepped student is (time, *shape of the output), without as many leading axes of length 1 as the stimuli
    left out. The same student, stimulus and state give the same bits on one machine with the same runtime. With
    `join_steps`, which is for students whose bits do not depend on it, a call takes as many steps as the network allows.

    Noise is drawn from the seed `sample`, as that of the minds from `first_mind` on; the stimulus that is returned has none.

    Raises `InvalidInput` if stimulus or state do not fit the student or make it fail, or a seed is missing, and `Exhausted` past
    the deadline of `calls`.
    """
    calls = calls or Calls(student)
    fitted = _with_noise(
        student, fit(student.signature, stimulus, initial_state=initial_state), sample=sample, first_mind=first_mind
    )
    names = [tensor.name for tensor in student.signature.responses]
    wanted = [*names, *(pair.after.name for pair in student.signature.states)]
    joined = _joins(student, fitted, join_steps=join_steps)
    parts: list[Sequence[AnyArray]] = []
    state = dict(fitted.state)
    for first, feed in _joined_feeds(student, fitted) if joined else _feeds(fitted):
        outputs = calls.run(wanted, {**feed, **fitted.constants, **state}, step=first)
        parts.append(outputs[: len(names)])
        state = _next_state(student, outputs[len(names) :], state)
    responses = {name: [part[index] for part in parts] for index, name in enumerate(names)}
    mode = student.signature.mode
    return Replay(
        steps=fitted.steps,
        stimulus=fitted.given,
        initial_state=fitted.state,
        outputs={
            name: _over_joined_time(values, _time_axis(student, name), left_out=fitted.left_out)
            if joined
            else over_time(values, name=name, fitted=fitted, mode=mode)
            for name, values in responses.items()
        },
        final_state=state,
    )


def _with_noise(student: Student, fitted: Fitted, *, sample: int | None, first_mind: int) -> Fitted:
    """Return the inputs of a replay with the noise that the student takes beside its stimuli."""
    if not student.contract.noise:
        return fitted
    if sample is None:
        raise InvalidInput(f"{student} takes the noise {student.contract.noise[0].name!r}: give a seed to draw it from")
    noise = noise_for_calls(
        student.contract, fitted.stimuli, mode=student.signature.mode, seed=sample, first_mind=first_mind
    )
    return replace(fitted, stimuli={**fitted.stimuli, **noise})


def _joins(student: Student, fitted: Fitted, *, join_steps: bool) -> bool:
    """Tell whether several steps go into one call: each is then 1 long along the network's axis of time."""
    contract = student.contract
    return (
        join_steps
        and fitted.calls > 1
        and contract.takes_steps
        and all(fitted.stimuli[port.name].shape[1 + (port.time_axis or 0)] == 1 for port in contract.driven)
    )


def _feeds(fitted: Fitted) -> Iterator[tuple[int, dict[str, AnyArray]]]:
    """Yield the number of each call and its stimuli."""
    for call in range(fitted.calls):
        yield call, {name: array[call] for name, array in fitted.stimuli.items()}


def _joined_feeds(student: Student, fitted: Fitted) -> Iterator[tuple[int, dict[str, AnyArray]]]:
    """Yield the number of a call's first step and its stimuli, several steps along the network's axis of time."""
    axes = {port.name: port.time_axis or 0 for port in student.contract.driven}
    for first in range(0, fitted.calls, _STEPS_IN_A_CALL):
        feed: dict[str, AnyArray] = {}
        for name, array in fitted.stimuli.items():
            steps = array[first : first + _STEPS_IN_A_CALL].squeeze(1 + axes[name])
            feed[name] = np.ascontiguousarray(np.moveaxis(steps, 0, axes[name]))
        yield first, feed


def _time_axis(student: Student, response: str) -> int:
    return next(port.time_axis or 0 for port in student.contract.responses if port.name == response)


def _next_state(student: Student, outputs: Sequence[AnyArray], state: Mapping[str, AnyArray]) -> dict[str, AnyArray]:
    following = {pair.before.name: value for pair, value in zip(student.signature.states, outputs, strict=True)}
    for name, value in following.items():
        if value.shape != state[name].shape:
            raise InvalidInput(
                f"{student} returned state {name!r} with shape {value.shape} for {state[name].shape}: "
                "a state keeps its shape, give the initial state with the right one"
            )
    return following


def _over_joined_time(parts: list[AnyArray], axis: int, *, left_out: int) -> AnyArray:
    """Return a response of joined steps as `_over_time` does one of single steps, each 1 long along `axis`."""
    steps = np.concatenate([np.moveaxis(part, axis, 0) for part in parts])
    single = list(steps.shape[1:])
    single.insert(axis, 1)
    return steps.reshape(len(steps), *single[_leading_ones(single, left_out) :])


def _leading_ones(shape: Sequence[int], most: int) -> int:
    """Return how many leading axes are 1 long, at most `most`."""
    leading = 0
    while leading < min(most, len(shape)) and shape[leading] == 1:
        leading += 1
    return leading


def over_time(values: list[AnyArray], *, name: str, fitted: Fitted, mode: Mode) -> AnyArray:
    """Return a response with time as its first axis."""
    if any(value.shape != values[0].shape for value in values):
        raise InvalidInput(f"output {name!r} changes its shape from step to step: it cannot be saved as one array")
    leading = _leading_ones(values[0].shape, fitted.left_out)
    short = [value.reshape(value.shape[leading:]) for value in values]
    return np.stack(short) if mode is Mode.STEP else short[0]
