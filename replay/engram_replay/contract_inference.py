"""Tell a student's contract from its network, as far as the network tells it, and from what was said of it.

What was said stands above what is inferred, and must be possible for the network. Nothing is inferred where there is a choice.

- States are paired as `signature.pair_states` says: by name, never by order.
- An axis is time or minds by its symbol: `n`, `b`, `minds` and `batch...` are minds; `t`, `time...`, `seq...`, `step`, `steps` and
  `length` time. In responses and states it is the one with the symbol that it has in a stimulus; the last free axis of a
  response that is left is the one that the stimuli have and the response still lacks. Minds have an axis in all stimuli,
  noise, states and responses, time in all stimuli, noise and responses, or they have none anywhere: one mind, one step a call.
- Noise is never told by a name: an input is a stimulus unless it was said to be noise.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from engram_format.errors import InvalidInput
from engram_replay.contract import Contract, Distribution, Length, Port, Role, checked
from engram_replay.signature import State, Tensor, pair_states, states_in_metadata
from engram_replay.told import NO_AXIS, Told, ToldPort


class _Along(StrEnum):
    """What an axis may stand for; the words are the names of the ports' fields."""

    MINDS = "minds_axis"
    TIME = "time_axis"


_SYMBOLS: Final = {
    _Along.MINDS: re.compile(r"n|b|minds?|batch(?!.*(?:time|seq|len))\w*", re.IGNORECASE),
    _Along.TIME: re.compile(r"t|time\w*|seq\w*|steps?|length", re.IGNORECASE),
}
_UNSAID: Final = ToldPort("")


def infer(
    inputs: Sequence[Tensor],
    outputs: Sequence[Tensor],
    *,
    metadata: Mapping[str, str],
    told: Contract | Told | None = None,
) -> Contract:
    """Return the contract of a network with these inputs and outputs.

    `metadata` are the network's own, which may pair its states; `told` is what was said of the student, whole or in part.
    Raises `InvalidInput` where that contradicts the network or itself, or where it is not clear which inputs are states.
    """
    said = told.told() if isinstance(told, Contract) else told or Told()
    said_of_inputs = _by_name(said.inputs, inputs, side="inputs")
    said_of_outputs = _by_name(said.outputs, outputs, side="outputs")
    pairs = {pair.before.name: pair for pair in _pairs(inputs, outputs, said_of_inputs, said_of_outputs, metadata)}
    afters = {pair.after.name for pair in pairs.values()}
    if mistaken := sorted(said_of_outputs.keys() & afters):
        raise InvalidInput(
            f"output {mistaken[0]!r} is the next value of a state, and told as a response: say one of both"
        )
    drafts = [
        *(_input(tensor, said_of_inputs.get(tensor.name, _UNSAID), pairs.get(tensor.name)) for tensor in inputs),
        *(
            _output(tensor, said_of_outputs.get(tensor.name, _UNSAID))
            for tensor in outputs
            if tensor.name not in afters
        ),
    ]
    for along in _Along:
        _find_by_symbol(drafts, along)
    _find_what_is_left(drafts)
    for along in _Along:
        _require_everywhere(drafts, along)
    ports = tuple(
        draft.port
        for role in (Role.STIMULUS, Role.NOISE, Role.CONSTANT, Role.STATE, Role.RESPONSE)
        for draft in drafts
        if draft.port.role is role
    )
    return checked(Contract(ports, sampling_interval_s=said.sampling_interval_s, seed=said.seed))


@dataclass(slots=True)
class _Draft:
    """A port whose axes are being found."""

    port: Port
    said: ToldPort
    axes: dict[_Along, int]
    """Those that are known so far."""

    @property
    def settled(self) -> set[_Along]:
        """Of what the depositor has spoken."""
        return {along for along in _Along if getattr(self.said, along) is not None}

    @property
    def free(self) -> list[int]:
        """The axes that are free and stand for nothing yet."""
        shape = self.port.shape
        return [
            axis for axis, length in enumerate(shape) if not isinstance(length, int) and axis not in self.axes.values()
        ]


def _by_name(said: Iterable[ToldPort], tensors: Sequence[Tensor], *, side: str) -> dict[str, ToldPort]:
    names = [tensor.name for tensor in tensors]
    found = {port.name: port for port in said}
    if unknown := [name for name in found if name not in names]:
        shown = ", ".join(map(repr, names[:8])) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
        raise InvalidInput(
            f"the contract speaks of {unknown[0]!r}, and the {side} of the student are {shown}: mend the name"
        )
    return found


def _pairs(
    inputs: Sequence[Tensor],
    outputs: Sequence[Tensor],
    said_of_inputs: Mapping[str, ToldPort],
    said_of_outputs: Mapping[str, ToldPort],
    metadata: Mapping[str, str],
) -> tuple[State, ...]:
    """Return the states: those that were said, and of all else those that the network's metadata or the names tell."""
    followed = {name: port.after for name, port in said_of_inputs.items() if port.after}
    told = pair_states(inputs, outputs, states=followed)
    settled = {name for name, port in said_of_inputs.items() if port.after or port.role not in (None, Role.STATE)}
    taken = {*followed.values(), *(name for name, port in said_of_outputs.items() if port.role is Role.RESPONSE)}
    open_inputs = [tensor for tensor in inputs if tensor.name not in settled]
    open_outputs = [tensor for tensor in outputs if tensor.name not in taken]
    named = states_in_metadata(metadata)
    if named is not None:
        named = {before: after for before, after in named.items() if before not in settled and after not in taken}
    found = pair_states(open_inputs, open_outputs, states=named)
    paired = {pair.before.name for pair in (*told, *found)}
    for name, port in said_of_inputs.items():
        if port.role is Role.STATE and name not in paired:
            raise InvalidInput(f"it is not clear which output is the next value of state {name!r}: say it as 'after'")
    return (*told, *found)


def _input(tensor: Tensor, said: ToldPort, pair: State | None) -> _Draft:
    role = said.role
    if pair is not None:
        if role not in (None, Role.STATE):
            raise InvalidInput(
                f"input {tensor.name!r} is told as {role} and has a next value: take away 'after' or the role"
            )
        role = Role.STATE
    elif role is None:
        role = Role.CONSTANT if said.value is not None or not tensor.shape else Role.STIMULUS
    if role is Role.RESPONSE:
        raise InvalidInput(f"input {tensor.name!r} is told as a response: only outputs are responses")
    return _draft(tensor, said, role=role, after="" if pair is None else pair.after.name)


def _output(tensor: Tensor, said: ToldPort) -> _Draft:
    if said.role not in (None, Role.RESPONSE):
        raise InvalidInput(
            f"output {tensor.name!r} is told as a {said.role}: it is a response, unless a state names it as 'after'"
        )
    if said.after:
        raise InvalidInput(f"output {tensor.name!r} is told to have a next value: say 'after' of the state's input")
    return _draft(tensor, said, role=Role.RESPONSE, after="")


def _draft(tensor: Tensor, said: ToldPort, *, role: Role, after: str) -> _Draft:
    if said.dtype is not None and said.dtype != tensor.dtype:
        raise InvalidInput(
            f"the contract says that {tensor.name!r} is {said.dtype.name}, and the student has {tensor}: mend it"
        )
    port = Port(
        name=tensor.name,
        role=role,
        dtype=tensor.dtype,
        shape=_shape(tensor, said.shape),
        after=after,
        unit=said.unit or "",
        channels=said.channels or (),
        value=said.value,
        distribution=said.distribution or Distribution.CONTINUOUS,
    )
    said_axes = {along: getattr(said, along) for along in _Along}
    axes = {along: axis for along, axis in said_axes.items() if axis is not None and axis != NO_AXIS}
    return _Draft(port, said, axes)


def _shape(tensor: Tensor, said: tuple[Length, ...] | None) -> tuple[Length, ...]:
    """Return the network's shape, with the lengths that were said of free axes; a symbol is only a name."""
    if said is None:
        return tensor.shape
    agree = len(said) == len(tensor.shape) and all(
        one == other or not isinstance(other, int) for one, other in zip(said, tensor.shape, strict=True)
    )
    if not agree:
        raise InvalidInput(
            f"the contract gives {tensor.name!r} the shape {list(said)}, and the student has {tensor}: mend it"
        )
    return tuple(one if isinstance(one, int) else other for one, other in zip(said, tensor.shape, strict=True))


def _moved(drafts: Sequence[_Draft], along: _Along) -> list[_Draft]:
    """Return the ports that have an axis for it, if any has."""
    still = {Role.CONSTANT} if along is _Along.MINDS else {Role.CONSTANT, Role.STATE}
    return [draft for draft in drafts if draft.port.role not in still]


def _find_by_symbol(drafts: Sequence[_Draft], along: _Along) -> None:
    moved = _moved(drafts, along)
    stimuli = [draft for draft in moved if draft.port.role is Role.STIMULUS]
    for draft in stimuli:
        _take(draft, along, [axis for axis in draft.free if _is_like(draft.port.shape[axis], along)])
    chosen = {draft.port.shape[draft.axes[along]] for draft in stimuli if _in_range(draft, along)}
    for draft in moved:
        _take(draft, along, [axis for axis in draft.free if draft.port.shape[axis] in chosen - {None}])
        _take(draft, along, [axis for axis in draft.free if _is_like(draft.port.shape[axis], along)])


def _take(draft: _Draft, along: _Along, axes: Sequence[int]) -> None:
    """Note the axis, if it is the only one and nothing is known or was said."""
    if len(axes) == 1 and along not in draft.axes and along not in draft.settled:
        draft.axes[along] = axes[0]


def _find_what_is_left(drafts: Sequence[_Draft]) -> None:
    """Give each response the one axis that it lacks and the stimuli have, if only one is left for it."""
    stimuli = [draft for draft in drafts if draft.port.role is Role.STIMULUS]
    wanted = [along for along in _Along if stimuli and all(along in draft.axes for draft in stimuli)]
    for draft in drafts:
        if draft.port.role is not Role.RESPONSE:
            continue
        missing = [along for along in wanted if along not in draft.axes and along not in draft.settled]
        if len(missing) == 1:
            _take(draft, missing[0], draft.free)


def _require_everywhere(drafts: Sequence[_Draft], along: _Along) -> None:
    """Leave an axis out that not every port has, unless it was said; set the others."""
    moved = _moved(drafts, along)
    everywhere = all(along in draft.axes for draft in moved)
    said = any(along in draft.settled and along in draft.axes for draft in drafts)
    for draft in drafts:
        if along in draft.axes and (everywhere or said):
            axis = draft.axes[along]
            draft.port = replace(draft.port, **{along.value: axis})  # type: ignore[arg-type]  # the words are fields' names


def _is_like(symbol: Length, along: _Along) -> bool:
    return isinstance(symbol, str) and _SYMBOLS[along].fullmatch(symbol) is not None


def _in_range(draft: _Draft, along: _Along) -> bool:
    return along in draft.axes and draft.axes[along] < len(draft.port.shape)
