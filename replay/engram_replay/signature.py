"""What a student's inputs and outputs mean: stimulus, state, constants and response, and how it is stepped.

The tensors' names, types and shapes say it all; nothing depends on their order, since exporters sort them as they like.

- A *state* is an input that one of the outputs replaces after each step. The pairs come from the caller, else from the
  student's own metadata (`engram.state.<input>` = `<output>`), else from the names: `state` and `state_out`, `state`
  and `stateN`, `h0` and `hn` or `h1`, `lstm_in.c` and `lstm_out.c`, `past.0.key` and `present.0.key`.
- A *constant* is a scalar that is no state, such as a sampling rate: one value for the whole replay.
- *Noise* is what a contract says to be.
- A *stimulus* is any other input, a *response* any output that replaces no state.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np

from engram_format.catalog import AnyArray
from engram_format.errors import InvalidInput

STATE_PREFIX = "engram.state."
"""Metadata under this prefix pairs a student's states: the rest of the key is the input, the value the output."""


class Mode(StrEnum):
    """How a student goes through time."""

    STEP = "step"
    """One call for each step of the stimulus, the states handed on: students with state, or with fixed shapes only."""
    WHOLE = "whole"
    """The whole stimulus in one call: students without state that leave the length of an axis free."""


@dataclass(frozen=True, slots=True)
class Tensor:
    """An input or an output as the network declares it."""

    name: str
    dtype: np.dtype[np.generic]
    shape: tuple[int | str | None, ...]
    """The length of each axis, or its symbol, or `None` where it is free and has no symbol."""

    def __str__(self) -> str:
        lengths = ", ".join("?" if length is None else str(length) for length in self.shape)
        return f"{self.name!r} {self.dtype.name} ({lengths})"


@dataclass(frozen=True, slots=True)
class Stimulus:
    """An input that is driven over time."""

    tensor: Tensor
    omissible: frozenset[int]
    """How many leading axes of the tensor an array may leave out; they are then of length 1. Batch axes, that is.

    Empty where time lies behind another axis, so that no whole stimulus can begin with it.
    """


@dataclass(frozen=True, slots=True)
class State:
    """An input and the output whose value it takes in the next step."""

    before: Tensor
    after: Tensor


@dataclass(frozen=True, slots=True)
class Signature:
    """A student's inputs and outputs by meaning, each in the order of the network."""

    mode: Mode
    stimuli: tuple[Stimulus, ...]
    states: tuple[State, ...]
    constants: tuple[Tensor, ...]
    responses: tuple[Tensor, ...]
    values: Mapping[str, AnyArray] = field(default_factory=dict)
    """What constants are unless another value is given."""
    noise: tuple[str, ...] = ()
    """Inputs that the sampler gives with each step."""


def read_signature(
    inputs: Sequence[Tensor],
    outputs: Sequence[Tensor],
    *,
    states: Mapping[str, str] | None = None,
    constants: Mapping[str, AnyArray | None] | None = None,
    noise: Sequence[str] = (),
) -> Signature:
    """Tell the meaning of a network's inputs and outputs.

    `states` pairs the inputs that are states with their outputs, by name; an empty mapping says that there are none, `None`
    that the names tell. `constants` names those among the inputs, with what they are unless told otherwise; `None` says that
    scalars are constants. `noise` names the inputs that the sampler gives.

    Raises `InvalidInput` where the names leave a choice, where a state's pair does not fit, or where no stimulus or no response
    remains.
    """
    pairs = pair_states(inputs, outputs, states=states)
    paired = {tensor.name for pair in pairs for tensor in (pair.before, pair.after)}
    free_inputs = [tensor for tensor in inputs if tensor.name not in paired]
    still = {tensor.name for tensor in free_inputs if not tensor.shape} if constants is None else constants.keys()
    driven = [tensor for tensor in free_inputs if tensor.name not in still and tensor.name not in noise]
    responses = tuple(tensor for tensor in outputs if tensor.name not in {pair.after.name for pair in pairs})
    if not driven or not responses:
        raise InvalidInput(
            f"the student has no {'response' if driven else 'stimulus'} beside its states: "
            f"say which are states, of {_names(inputs, outputs)}"
        )
    stateless_and_free = not pairs and any(not isinstance(length, int) for tensor in driven for length in tensor.shape)
    mode = Mode.WHOLE if stateless_and_free else Mode.STEP
    omissible = _omissible_before_time if mode is Mode.WHOLE else _omissible_in_a_step
    return Signature(
        mode=mode,
        stimuli=tuple(Stimulus(tensor, omissible(tensor)) for tensor in driven),
        states=pairs,
        constants=tuple(tensor for tensor in free_inputs if tensor.name in still),
        responses=responses,
        values={name: value for name, value in (constants or {}).items() if value is not None},
        noise=tuple(noise),
    )


def pair_states(
    inputs: Sequence[Tensor], outputs: Sequence[Tensor], *, states: Mapping[str, str] | None = None
) -> tuple[State, ...]:
    """Return the states, in the order of the inputs; `states` pairs them as `read_signature` says, `None` lets names tell."""
    return _paired_by_name(inputs, outputs) if states is None else _paired_as_told(inputs, outputs, states=states)


def states_in_metadata(metadata: Mapping[str, str]) -> Mapping[str, str] | None:
    """Return the pairs that a network's own metadata names, or `None` if it names none."""
    pairs = {key.removeprefix(STATE_PREFIX): after for key, after in metadata.items() if key.startswith(STATE_PREFIX)}
    return pairs or None


def _paired_as_told(
    inputs: Sequence[Tensor], outputs: Sequence[Tensor], *, states: Mapping[str, str]
) -> tuple[State, ...]:
    befores = {tensor.name: tensor for tensor in inputs}
    afters = {tensor.name: tensor for tensor in outputs}
    for before, after in states.items():
        if before not in befores or after not in afters:
            raise InvalidInput(
                f"there is no state from {before!r} to {after!r}: the student has {_names(inputs, outputs)}"
            )
        if not _fits(befores[before], afters[after]):
            raise InvalidInput(f"state {befores[before]} cannot take the value of {afters[after]}: name another output")
    if len(set(states.values())) < len(states):
        raise InvalidInput("two states cannot take the value of one output: name each output once")
    return tuple(State(befores[name], afters[states[name]]) for name in befores if name in states)


def _paired_by_name(inputs: Sequence[Tensor], outputs: Sequence[Tensor]) -> tuple[State, ...]:
    pairs: list[State] = []
    for before in inputs:
        successors = set(_successors(before.name))
        found = [after for after in outputs if after.name in successors and _fits(before, after)]
        if len(found) > 1 or (not found and _reads_like_state(before.name)):
            raise InvalidInput(
                f"it is not clear which output is the next value of state {before.name!r}: "
                f"say which are states, of {_names(inputs, outputs)}"
            )
        pairs += [State(before, after) for after in found]
    claimed = [pair.after.name for pair in pairs]
    twice = sorted({name for name in claimed if claimed.count(name) > 1})
    if twice:
        raise InvalidInput(
            f"output {twice[0]!r} could be the next value of two inputs: say which are states, of {_names(inputs, outputs)}"
        )
    return tuple(pairs)


_SUFFIXES = ("_out", "_next", "_new", "_n", "n", "N")
_PREFIXES = ("next_", "new_")
_TURNS = {
    "in": "out",
    "past": "present",
    "prev": "next",
    "previous": "next",
    "old": "new",
    "0": "n",
    "initial": "final",
}
_WORD = re.compile(r"[A-Za-z0-9]+")
_NUMBERED_ZERO = re.compile(r"(.*[A-Za-z])0")
_STATE_WORDS = frozenset({"state", "states", "hidden", "carry", "cell", "cache", "h0", "c0", "hx", "cx"})
_COUNTED_WORDS = _STATE_WORDS | {"ctx", "context", "mem", "memory"}
"""Words of names that go on as `h0` and `h1`, `ctx` and `ctx1`; of others, such as `x` and `x1`, a number says nothing."""


def _successors(name: str) -> Iterator[str]:
    """Yield the names that an output may have which replaces the state `name`."""
    yield from (name + suffix for suffix in _SUFFIXES)
    yield from (prefix + name for prefix in _PREFIXES)
    for word in _WORD.finditer(name):
        if turned := _TURNS.get(word[0].lower()):
            yield name[: word.start()] + turned + name[word.end() :]
    if zero := _NUMBERED_ZERO.fullmatch(name):
        yield zero[1] + "n"
    if any(word.lower() in _COUNTED_WORDS for word in _WORD.findall(name)):
        yield zero[1] + "1" if zero else name + "1"


def _reads_like_state(name: str) -> bool:
    return any(word.lower() in _STATE_WORDS for word in _WORD.findall(name))


def _fits(before: Tensor, after: Tensor) -> bool:
    """Say whether `before` can take the value of `after`: one type, as many axes, no two known lengths that differ.

    An output without axes may be one whose shape the network does not declare; it is looked at when it is there.
    """
    if before.dtype != after.dtype or len(before.shape) != len(after.shape):
        return before.dtype == after.dtype and not after.shape
    return all(
        one == other or not (isinstance(one, int) and isinstance(other, int))
        for one, other in zip(before.shape, after.shape, strict=True)
    )


def _is_batch(length: int | str | None) -> bool:
    return isinstance(length, str) and (length.lower() in ("n", "b") or length.lower().startswith("batch"))


def _omissible_in_a_step(tensor: Tensor) -> frozenset[int]:
    """Allow the array of a step to leave out any leading axes that are free or of length 1."""
    leading = 0
    while leading < len(tensor.shape) and (tensor.shape[leading] == 1 or not isinstance(tensor.shape[leading], int)):
        leading += 1
    return frozenset(range(leading + 1))


def _omissible_before_time(tensor: Tensor) -> frozenset[int]:
    """Let a whole stimulus begin with its time axis: free and no batch, with only axes before it that are free or of length 1.

    Nothing where there is no such axis.

    Where there is none, a free batch axis in front is taken for time: a network without memory treats both alike.
    """
    free = [axis for axis, length in enumerate(tensor.shape) if not isinstance(length, int)]
    reachable = _omissible_in_a_step(tensor)
    times = frozenset(axis for axis in free if not _is_batch(tensor.shape[axis]))
    return times & reachable if times else frozenset(free[:1]) & reachable


def _names(inputs: Sequence[Tensor], outputs: Sequence[Tensor]) -> str:
    return f"inputs {', '.join(map(str, inputs)) or 'none'} and outputs {', '.join(map(str, outputs)) or 'none'}"
