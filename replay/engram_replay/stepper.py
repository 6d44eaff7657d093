"""Run a student over a stimulus, one mind at a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Timer

import numpy as np
import onnxruntime

from engram_format.errors import Exhausted, InvalidInput
from engram_replay.arrays import AnyArray
from engram_replay.fitting import Fitted, fit
from engram_replay.loader import ORT_ERRORS, Student, reason
from engram_replay.signature import Mode


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
    initial_state: Mapping[str, AnyArray] | None = None,
    timeout_s: float | None = None,
) -> Replay:
    """Run a student over a stimulus and return its responses, as `fitting.fit` and the student's mode say.

    A response of a stepped student is (time, *shape of the output), without as many leading axes of length 1 as the stimuli
    left out. The same student, stimulus and state give the same bits on one machine with the same runtime.

    Raises `InvalidInput` if stimulus or state do not fit the student or make it fail, and `Exhausted` after `timeout_s`.
    """
    fitted = fit(student.signature, stimulus, initial_state=initial_state)
    responses: dict[str, list[AnyArray]] = {tensor.name: [] for tensor in student.signature.responses}
    state = fitted.state
    with _time_limit(timeout_s) as limit:
        for call in range(fitted.calls):
            feed = {name: array[call] for name, array in fitted.stimuli.items()}
            outputs = _call(student, {**feed, **fitted.constants, **state}, call=call, limit=limit)
            for name, values in responses.items():
                values.append(outputs[name])
            state = _next_state(student, outputs, state)
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


@dataclass(slots=True)
class _Limit:
    """A deadline that ends the call that is running."""

    options: onnxruntime.RunOptions
    timeout_s: float | None
    passed: bool = False

    def end(self) -> None:
        self.passed = True
        self.options.terminate = True


@contextmanager
def _time_limit(timeout_s: float | None) -> Iterator[_Limit]:
    limit = _Limit(onnxruntime.RunOptions(), timeout_s)
    if timeout_s is None:
        yield limit
        return
    timer = Timer(timeout_s, limit.end)
    timer.daemon = True
    timer.start()
    try:
        yield limit
    finally:
        timer.cancel()


def _call(student: Student, feed: Mapping[str, AnyArray], *, call: int, limit: _Limit) -> dict[str, AnyArray]:
    signature = student.signature
    names = [tensor.name for tensor in (*signature.responses, *(pair.after for pair in signature.states))]
    try:
        return dict(zip(names, student.session.run(names, dict(feed), limit.options), strict=True))
    except ORT_ERRORS as error:
        if limit.passed:
            raise Exhausted(
                f"{student} did not finish within {limit.timeout_s} s, it was at call {call}: replay a shorter stimulus"
            ) from error
        raise InvalidInput(
            f"{student} failed at call {call} ({reason(error)}): give it a stimulus of the shape it was made for"
        ) from error


def _next_state(
    student: Student, outputs: Mapping[str, AnyArray], state: Mapping[str, AnyArray]
) -> dict[str, AnyArray]:
    following = {pair.before.name: outputs[pair.after.name] for pair in student.signature.states}
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
