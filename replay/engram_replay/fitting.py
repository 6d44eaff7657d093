"""Fit what was given to what a student expects: names, types and shapes, exactly or not at all."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from engram_format.errors import InvalidInput
from engram_format.exactness import holds_exactly
from engram_replay.arrays import ONLY_STIMULUS, AnyArray
from engram_replay.signature import Mode, Signature, Stimulus, Tensor


@dataclass(frozen=True, slots=True)
class Fitted:
    """A replay's inputs as the network takes them."""

    steps: int
    """The length of the stimulus's time axis."""
    calls: int
    """How often the network is called: `steps`, or 1 if it takes the whole."""
    given: Mapping[str, AnyArray]
    """Stimuli and constants by name and in the network's types, in the shapes in which they were given."""
    stimuli: Mapping[str, AnyArray]
    """By name: (call, *shape of the network's input)."""
    constants: Mapping[str, AnyArray]
    state: Mapping[str, AnyArray]
    """The initial state, by the name of the input."""
    left_out: int
    """How many leading axes every stimulus left out; the responses lose as many, as far as they are of length 1."""


def fit(
    signature: Signature, stimulus: Mapping[str, AnyArray], *, initial_state: Mapping[str, AnyArray] | None = None
) -> Fitted:
    """Check the arrays against the signature and bring them into the network's types and shapes.

    Stimuli and constants come by the names of the inputs; `ONLY_STIMULUS` stands for the only stimulus, and a constant may be
    left out that has a value of its own. A stimulus is
    (time, *shape of the input) for a student that is stepped and the shape of the input, time first, for one that is not; it
    may leave out leading axes of the input that are of length 1 or free. States that are not given begin as zeros, their free
    axes with the length that the stimulus gives to the same symbol, else 1.

    A value is cast only where no value changes. Raises `InvalidInput` naming what was expected and what came.
    """
    given = _by_name(signature, stimulus)
    symbols: dict[str, int] = {}
    lengths: set[int] = set()
    stimuli: dict[str, AnyArray] = {}
    left_out: list[int] = []
    for expected in signature.stimuli:
        name = expected.tensor.name
        given[name] = _cast(given[name], expected.tensor)
        missing = _axes_left_out(expected, given[name], mode=signature.mode)
        stimuli[name] = _in_calls(given[name], missing=missing, mode=signature.mode)
        _bind(expected.tensor, stimuli[name].shape[1:], symbols=symbols)
        lengths.add(given[name].shape[0])
        left_out.append(missing)
    if len(lengths) > 1 or 0 in lengths:
        raise InvalidInput(f"the stimuli have {sorted(lengths)} time steps: give all the same number, at least 1")
    for tensor in signature.constants:
        value = _cast(given[tensor.name], tensor)
        given[tensor.name] = value.reshape([1] * len(tensor.shape)) if value.ndim == 0 else value
        _check_shape(given[tensor.name], tensor)
    return Fitted(
        steps=(steps := lengths.pop()),
        calls=steps if signature.mode is Mode.STEP else 1,
        given=given,
        stimuli=stimuli,
        constants={tensor.name: given[tensor.name] for tensor in signature.constants},
        state=_initial_state(signature, initial_state or {}, symbols=symbols),
        left_out=min(left_out),
    )


def _by_name(signature: Signature, stimulus: Mapping[str, AnyArray]) -> dict[str, AnyArray]:
    """Return what was given by the names of the inputs, exactly one array for each stimulus and constant."""
    driven = [expected.tensor for expected in signature.stimuli]
    wanted = [*driven, *signature.constants]
    if drawn := [name for name in signature.noise if name in stimulus]:
        raise InvalidInput(
            f"the stimulus has {drawn[0]!r}, which is noise and comes from the sampler: leave it out, and give a seed"
        )
    given = {**signature.values, **stimulus}
    if ONLY_STIMULUS in given and len(driven) == 1 and driven[0].name not in given:
        given[driven[0].name] = given.pop(ONLY_STIMULUS)
    if given.keys() != {tensor.name for tensor in wanted}:
        raise InvalidInput(
            f"the student takes {', '.join(map(str, wanted))}, and the stimulus has "
            f"{', '.join(map(repr, sorted(given))) or 'nothing'}: give one array for each, by name"
        )
    return {name: np.asarray(array) for name, array in given.items()}


def _cast(array: AnyArray, expected: Tensor) -> AnyArray:
    """Return the array in C order and in the expected type, all values finite and unchanged."""
    if array.dtype.kind not in "biuf":
        raise InvalidInput(f"input {expected} takes numbers, not {array.dtype}: convert the array first")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise InvalidInput(f"the array for input {expected} holds NaN or infinity: cut out or fill the gaps first")
    if not holds_exactly(array, expected.dtype):
        raise InvalidInput(
            f"input {expected} takes {expected.dtype.name}, and the {array.dtype.name} given does not fit without rounding: "
            f"convert it with .astype({expected.dtype.name!r})"
        )
    return np.ascontiguousarray(array, dtype=expected.dtype).reshape(array.shape)


def _axes_left_out(expected: Stimulus, array: AnyArray, *, mode: Mode) -> int:
    """Return how many leading axes of the input the array leaves out; raises where what is left does not fit."""
    tensor = expected.tensor
    shape = array.shape[1:] if mode is Mode.STEP else array.shape
    missing = len(tensor.shape) - len(shape)
    if not expected.omissible:
        raise InvalidInput(
            f"input {tensor} has its time behind another axis, so no whole stimulus begins with it: replay it as minds, whose "
            "steps may lie along any axis, or export the student with time in front"
        )
    if array.ndim == 0 or missing not in expected.omissible or not _agree(tensor.shape[missing:], shape):
        wanted = "(time, *its own shape)" if mode is Mode.STEP else "its own shape with time first"
        raise InvalidInput(
            f"input {tensor} takes an array of {wanted}, where leading axes that are free or 1 long may be left out, "
            f"not one of shape {array.shape}"
        )
    return missing


def _in_calls(array: AnyArray, *, missing: int, mode: Mode) -> AnyArray:
    calls = array if mode is Mode.STEP else array[np.newaxis]
    return calls.reshape(calls.shape[:1] + (1,) * missing + calls.shape[1:])


def _bind(tensor: Tensor, shape: tuple[int, ...], *, symbols: dict[str, int]) -> None:
    """Note which length each symbol of the network has; a symbol has one length."""
    for symbol, length in zip(tensor.shape, shape, strict=True):
        if isinstance(symbol, str) and symbols.setdefault(symbol, length) != length:
            raise InvalidInput(
                f"axis {symbol!r} is {symbols[symbol]} long in one array and {length} for {tensor}: give it one length"
            )


def _initial_state(
    signature: Signature, given: Mapping[str, AnyArray], *, symbols: Mapping[str, int]
) -> Mapping[str, AnyArray]:
    names = [pair.before.name for pair in signature.states]
    if unknown := sorted(given.keys() - set(names)):
        raise InvalidInput(f"the student has no state {unknown[0]!r}: its states are {names or 'none'}")
    state: dict[str, AnyArray] = {}
    for pair in signature.states:
        before = pair.before
        if before.name in given:
            state[before.name] = _cast(np.asarray(given[before.name]), before)
            _check_shape(state[before.name], before)
        else:
            shape = [length if isinstance(length, int) else symbols.get(length or "", 1) for length in before.shape]
            state[before.name] = np.zeros(shape, before.dtype)
    return state


def _check_shape(array: AnyArray, expected: Tensor) -> None:
    if not _agree(expected.shape, array.shape):
        raise InvalidInput(
            f"input {expected} does not take an array of shape {array.shape}: give it the shape it names"
        )


def _agree(expected: tuple[int | str | None, ...], shape: tuple[int, ...]) -> bool:
    return len(expected) == len(shape) and all(
        length == actual or not isinstance(length, int) for length, actual in zip(expected, shape, strict=True)
    )
