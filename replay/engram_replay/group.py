"""Replays of several students at once: as one network where that wins, else one after another."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import onnx

from engram_format.catalog import AnyArray, Scalar
from engram_format.errors import InvalidInput
from engram_replay.execution import Execution, Form
from engram_replay.fitting import Fitted, fit
from engram_replay.gate import GateLimits, check_network
from engram_replay.loader import Student, load_network, load_student
from engram_replay.runtime_calls import Calls
from engram_replay.signature import Mode
from engram_replay.stacking import Choice, choose, shared_base, stack
from engram_replay.stepper import Replay, over_time, run

_LIMITS = GateLimits()


@dataclass(frozen=True, slots=True)
class GroupReplay:
    """What a group of students did, in their order, and the form in which they ran."""

    replays: tuple[Replay, ...]
    students: tuple[Student, ...]
    execution: Execution
    reason: str
    """Why this form, a sentence without a full stop."""


def run_group(
    networks: Sequence[bytes],
    told: Sequence[Mapping[str, Scalar]],
    stimulus: Mapping[str, AnyArray],
    *,
    execution: Execution,
    limit_s: float,
    gate: GateLimits = _LIMITS,
) -> GroupReplay:
    """Run several students over one stimulus, each from a state of zeros, in the form that `stacking.choose` takes.

    `told` are the metadata of each, which may hold a contract.

    Raises as `load_student` and `stepper.run` do; all calls together take at most `limit_s`.
    """
    students = tuple(
        load_student(data, told=said, execution=execution, limits=gate)
        for data, said in zip(networks, told, strict=True)
    )
    if drawing := [student for student in students if student.contract.noise]:
        raise InvalidInput(
            f"{drawing[0]} takes the noise {drawing[0].contract.noise[0].name!r}, which a group is not given: replay it by itself"
        )
    models = [check_network(data, what="a student of the group", limits=gate) for data in networks]
    choice = _choice(models, students)
    if choice.network is None:
        return GroupReplay(_one_by_one(students, stimulus, limit_s=limit_s), students, execution, choice.reason)
    chosen = replace(execution, form=choice.form, shared=choice.shared)
    return GroupReplay(
        _as_one(choice.network, students, stimulus, execution=chosen, limit_s=limit_s), students, chosen, choice.reason
    )


def run_again(
    network: bytes,
    student: Student,
    stimulus: Mapping[str, AnyArray],
    *,
    execution: Execution,
    limit_s: float,
    gate: GateLimits = _LIMITS,
) -> Replay:
    """Run one student alone in the form that it had in a group, with the same bits: as a group of two of itself."""
    model = check_network(network, what=str(student), limits=gate)
    if execution.form is Form.STACKED:
        stacked: bytes | None = stack([model, model])
    else:
        stacked = shared_base([model, model], shared=execution.shared)
    if stacked is None:
        raise InvalidInput(f"{student} shares no weights: it cannot be run in the form {execution.form}")
    return _as_one(stacked, (student, student), stimulus, execution=execution, limit_s=limit_s)[0]


def _choice(models: Sequence[onnx.ModelProto], students: Sequence[Student]) -> Choice:
    if any(student.signature.mode is Mode.WHOLE for student in students):
        return Choice(Form.SOLO, f"{len(students)} students run one by one: they take a whole stimulus in one call")
    return choose(models)


def _one_by_one(students: Sequence[Student], stimulus: Mapping[str, AnyArray], *, limit_s: float) -> tuple[Replay, ...]:
    replays: list[Replay] = []
    until = time.monotonic() + limit_s
    for student in students:
        calls = Calls(student)
        with calls.within(max(until - time.monotonic(), 0.0)):
            replays.append(run(student, stimulus, calls=calls))
        calls.close()
    return tuple(replays)


def _as_one(
    network: bytes,
    students: Sequence[Student],
    stimulus: Mapping[str, AnyArray],
    *,
    execution: Execution,
    limit_s: float,
) -> tuple[Replay, ...]:
    """Run the network of all students, every tensor with an axis of students in front."""
    first, many = students[0], len(students)
    fitted = fit(first.signature, stimulus)
    together = replace(first, session=load_network(network, execution, what="the network of the group"))
    names = [tensor.name for tensor in first.signature.responses]
    afters = {pair.before.name: pair.after.name for pair in first.signature.states}
    state = {name: _for_all(array, many) for name, array in fitted.state.items()}
    constants = {name: _for_all(array, many) for name, array in fitted.constants.items()}
    answers: dict[str, list[AnyArray]] = {name: [] for name in names}
    calls = Calls(together)
    with calls.within(limit_s):
        for call in range(fitted.calls):
            feed = {name: _for_all(array[call], many) for name, array in fitted.stimuli.items()}
            outputs = calls.run([*names, *afters.values()], {**feed, **constants, **state}, step=call)
            for name, output in zip(names, outputs, strict=False):
                answers[name].append(output)
            state = dict(zip(afters, outputs[len(names) :], strict=True))
    return tuple(_replay_of(index, fitted, answers, state) for index in range(many))


def _replay_of(
    index: int, fitted: Fitted, answers: Mapping[str, Sequence[AnyArray]], state: Mapping[str, AnyArray]
) -> Replay:
    """Return what one student of the group did."""
    return Replay(
        steps=fitted.steps,
        stimulus=fitted.given,
        initial_state=fitted.state,
        outputs={
            name: over_time([output[index] for output in outputs], name=name, fitted=fitted, mode=Mode.STEP)
            for name, outputs in answers.items()
        },
        final_state={name: np.ascontiguousarray(array[index]) for name, array in state.items()},
    )


def _for_all(array: AnyArray, many: int) -> AnyArray:
    return np.ascontiguousarray(np.broadcast_to(array, (many, *array.shape)))
