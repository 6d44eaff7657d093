"""Minds: rows of state of one student, and the calls that advance many of them at once. Pure but for the runtime."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from engram_format.catalog import AnyArray, Scalar
from engram_format.errors import InvalidInput
from engram_replay.contract import Contract, Port, Role
from engram_replay.layout import Layout
from engram_replay.loader import Student
from engram_replay.noise import Noise
from engram_replay.runtime_calls import Calls

Arrays = dict[str, AnyArray]


@dataclass(slots=True)
class Rows:
    """The minds of one session: their states as the network takes them, one mapping for each call that they need.

    There is one mapping for all where the network has an axis for minds, else one for each mind.
    """

    minds: int
    constants: Mapping[str, AnyArray]
    states: list[Arrays]
    noise: Noise | None = None
    """What they take beside their stimuli; `None` where they take none, or are given it as stimuli are."""


@dataclass(slots=True)
class Ensemble:
    """A loaded student and what it takes to advance sessions of it."""

    student: Student
    calls: Calls
    joins_minds: bool = False
    """Whether minds of several sessions may share a call: the bits of a row do not depend on its neighbours."""
    joins_steps: bool = False
    """Whether steps may share a call: the bits do not depend on how steps are cut into calls."""
    _driven: list[tuple[Port, Layout]] = field(init=False)
    _responses: list[tuple[Port, Layout]] = field(init=False)
    _states: list[tuple[Port, Layout]] = field(init=False)
    _names: list[str] = field(init=False)
    takes_minds: bool = field(init=False)
    """As the contract says; kept here, like the ports, since every tick asks."""
    takes_steps: bool = field(init=False)
    stimuli: tuple[Port, ...] = field(init=False)
    driven: tuple[Port, ...] = field(init=False)
    """Stimuli, then noise."""

    @property
    def contract(self) -> Contract:
        """The student's contract."""
        return self.student.contract

    def new(self, stimuli: Sequence[AnyArray]) -> Rows:
        """Return new minds at rest, as many as the stimuli have."""
        return self.rows(minds=stimuli[0].shape[1], constants={}, initial_state=None)

    def __post_init__(self) -> None:
        self.takes_minds, self.takes_steps = self.contract.takes_minds, self.contract.takes_steps
        self.stimuli = self.contract.stimuli
        self.driven = self.contract.driven
        self._driven = [(port, Layout.of(port)) for port in self.driven]
        self._responses = [(port, Layout.of(port)) for port in self.contract.responses]
        self._states = [(port, Layout.of(port, is_state=True)) for port in self.contract.states]
        self._names = [port.name for port, _ in self._responses] + [port.after for port, _ in self._states]

    def rows(
        self,
        *,
        minds: int,
        constants: Mapping[str, Scalar],
        initial_state: Mapping[str, AnyArray] | None,
        sample: int | None = None,
        step: int = 0,
    ) -> Rows:
        """Return new minds; states that are not given are zeros.

        With a seed to `sample` from, their noise is drawn, as that of minds whose next step is `step`; without, they are given
        it after the stimuli. Raises `InvalidInput` for constants or states that do not fit.
        """
        if minds < 1:
            raise InvalidInput(f"{minds} minds cannot be run: ask for at least 1")
        given = dict(initial_state or {})
        states = {port.name: self._initial(port, given.pop(port.name, None), minds=minds) for port, _ in self._states}
        if given:
            raise InvalidInput(
                f"the student has no state {min(given)!r}: its states are {[port.name for port, _ in self._states] or 'none'}"
            )
        if self.takes_minds:
            per_call = [{port.name: layout.into_network(states[port.name]) for port, layout in self._states}]
        else:
            per_call = [
                {port.name: self._one_mind(layout, states[port.name], mind) for port, layout in self._states}
                for mind in range(minds)
            ]
        ports = self.contract.noise
        noise = Noise(ports, seed=sample, minds=minds, step=step) if ports and sample is not None else None
        return Rows(minds, self._constants(constants), per_call, noise)

    def state_of(self, rows: Rows) -> Arrays:
        """Return the states, each (mind, *step_shape)."""
        if self.takes_minds:
            return {port.name: layout.into_contract(rows.states[0][port.name]) for port, layout in self._states}
        return {
            port.name: np.concatenate([self._as_one_mind(layout, state[port.name]) for state in rows.states])
            for port, layout in self._states
        }

    def fork(self, rows: Rows, chosen: Sequence[int], *, sample: int | None = None) -> Rows:
        """Return new minds with the states of the chosen ones; their noise is from the same seed unless another is given."""
        if not chosen or any(not 0 <= row < rows.minds for row in chosen):
            raise InvalidInput(f"there is no mind beyond 0 to {rows.minds - 1} to be forked: choose of these")
        state = {name: values[list(chosen)] for name, values in self.state_of(rows).items()}
        forked = self.rows(minds=len(chosen), constants={}, initial_state=state)
        forked.constants = rows.constants
        if rows.noise is not None:
            forked.noise = rows.noise.forked(minds=len(chosen), seed=sample)
        return forked

    def tick(self, sessions: Sequence[tuple[Rows, Sequence[AnyArray]]], *, steps: int) -> list[list[AnyArray]]:
        """Advance the minds of several sessions by `steps`; return the responses of each session.

        Stimuli, and after them noise, are (step, mind, *step_shape) in the order of the contract, checked already; responses are
        likewise. Several
        sessions may be given only where `joins_minds`, and with equal constants and equal free axes. Where a call fails, no
        state has changed.
        """
        if not self.takes_minds:
            return [self._tick_one_by_one(rows, stimuli, steps=steps) for rows, stimuli in sessions]
        if len(sessions) == 1:
            rows, alone = sessions[0]
            responses, rows.states[0] = self._run(alone, rows.states[0], rows.constants, steps=steps)
            return [responses]
        counts = [rows.minds for rows, _ in sessions]
        stimuli = [_joined([given[index] for _, given in sessions], axis=1) for index in range(len(self._driven))]
        state = {
            port.name: _joined([rows.states[0][port.name] for rows, _ in sessions], axis=layout.minds_axis or 0)
            for port, layout in self._states
        }
        responses, after = self._run(stimuli, state, sessions[0][0].constants, steps=steps)
        cuts = np.cumsum(counts)[:-1]
        for port, layout in self._states:
            for (rows, _), part in zip(
                sessions, np.split(after[port.name], cuts, axis=layout.minds_axis or 0), strict=True
            ):
                rows.states[0][port.name] = np.ascontiguousarray(part)
        parts = [np.split(response, cuts, axis=1) for response in responses]
        return [[part[index] for part in parts] for index in range(len(sessions))]

    def _tick_one_by_one(self, rows: Rows, stimuli: Sequence[AnyArray], *, steps: int) -> list[AnyArray]:
        answers: list[list[AnyArray]] = []
        states: list[Arrays] = []
        for mind in range(rows.minds):
            own = [given[:, mind : mind + 1] for given in stimuli]
            responses, after = self._run(own, rows.states[mind], rows.constants, steps=steps)
            answers.append(responses)
            states.append(after)
        rows.states = states
        return [np.concatenate([answer[index] for answer in answers], axis=1) for index in range(len(answers[0]))]

    def _run(
        self, stimuli: Sequence[AnyArray], state: Arrays, constants: Mapping[str, AnyArray], *, steps: int
    ) -> tuple[list[AnyArray], Arrays]:
        """Run the network over all steps, in one call or one call for each step."""
        if steps == 1 or (self.joins_steps and self.takes_steps):
            return self._call(stimuli, state, constants, step=0)
        per_step: list[list[AnyArray]] = []
        for step in range(steps):
            responses, state = self._call([given[step : step + 1] for given in stimuli], state, constants, step=step)
            per_step.append(responses)
        return [np.concatenate(parts) for parts in zip(*per_step, strict=True)], state

    def _call(
        self, stimuli: Sequence[AnyArray], state: Arrays, constants: Mapping[str, AnyArray], *, step: int
    ) -> tuple[list[AnyArray], Arrays]:
        """Call the network once; stimuli and responses are (step, mind, ...)."""
        feed = {**constants, **state}
        for (port, layout), given in zip(self._driven, stimuli, strict=True):
            array = given if layout.has_minds else given[:, 0]
            feed[port.name] = layout.into_network(array if layout.has_time else array[0])
        outputs = self.calls.run(self._names, feed, step=step)
        outer = stimuli[0].shape[:2]
        responses = [
            self._response(port, layout, output, outer=outer)
            for (port, layout), output in zip(self._responses, outputs, strict=False)
        ]
        after = dict(zip((port.name for port, _ in self._states), outputs[len(responses) :], strict=True))
        for name, value in after.items():
            if value.shape != state[name].shape:
                raise InvalidInput(
                    f"{self.student} returned state {name!r} with shape {value.shape} for {state[name].shape}: "
                    "a state keeps its shape, give the initial state with the right one"
                )
        return responses, after

    def _response(self, port: Port, layout: Layout, output: AnyArray, *, outer: tuple[int, ...]) -> AnyArray:
        """Return a response as (step, mind, *step_shape); raises `InvalidInput` where the network gave one of another shape."""
        if output.ndim == len(port.shape):
            array = layout.into_contract(output)
            if not layout.has_time:
                array = array[np.newaxis]
            array = array if layout.has_minds else array[:, np.newaxis]
            if array.shape[:2] == outer and all(
                length == actual or not isinstance(length, int)
                for length, actual in zip(port.step_shape, array.shape[2:], strict=True)
            ):
                return array
        raise InvalidInput(
            f"{self.student} gave response {port.name!r} with shape {output.shape}, and its contract says {port.shape}: "
            "mend the contract or the network"
        )

    def _initial(self, port: Port, given: AnyArray | None, *, minds: int) -> AnyArray:
        """Return a state as (mind, *step_shape)."""
        if given is None:
            own = (length if isinstance(length, int) else 1 for length in port.step_shape)
            return np.zeros((minds, *own), port.dtype)
        port.check(given, outer=(minds,))
        return given

    def _one_mind(self, layout: Layout, states: AnyArray, mind: int) -> AnyArray:
        return layout.into_network(states[mind : mind + 1] if layout.has_minds else states[mind])

    @staticmethod
    def _as_one_mind(layout: Layout, state: AnyArray) -> AnyArray:
        array = layout.into_contract(state)
        return array if layout.has_minds else array[np.newaxis]

    def _constants(self, given: Mapping[str, Scalar]) -> Mapping[str, AnyArray]:
        ports = {port.name: port for port in self.contract.of(Role.CONSTANT)}
        if unknown := sorted(given.keys() - ports.keys()):
            raise InvalidInput(f"the student has no constant {unknown[0]!r}: it has {sorted(ports) or 'none'}")
        values: Arrays = {}
        for name, port in ports.items():
            value = given.get(name, port.value)
            if value is None:
                raise InvalidInput(f"the student takes the constant {name!r} ({port.dtype.name}): give it a value")
            values[name] = _scalar(value, port)
        return values


def _scalar(value: Scalar, port: Port) -> AnyArray:
    try:
        array = np.asarray(value).astype(port.dtype)
    except (ValueError, TypeError, OverflowError) as error:
        raise InvalidInput(f"constant {port.name!r} takes {port.dtype.name}, not {value!r}: give a number") from error
    is_finite = bool(np.isfinite(array))
    nearest = port.dtype.kind == "f"  # a decimal fraction stands for the nearest binary one
    if not is_finite or (array.item() != value and not nearest):
        raise InvalidInput(f"constant {port.name!r} takes {port.dtype.name}, which {value!r} does not fit exactly")
    return array.reshape([1] * len(port.shape))


def _joined(parts: Sequence[AnyArray], *, axis: int) -> AnyArray:
    return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=axis)
