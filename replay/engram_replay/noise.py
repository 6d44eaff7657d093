"""The noise that a student takes: uniform numbers beside its stimulus, with which its network draws its own events.

They are the sampler's, a function of seed, step of the minds' life, mind and element, so that a mind takes the same whether it is
alone or among others, however its steps are cut, and after it was kept and opened again. The number of a mind is its place in
its session or replay, from 0.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np

from engram_format.catalog import AnyArray, Scalar
from engram_format.errors import Exhausted, InvalidInput
from engram_format.ports import check_seed
from engram_replay.contract import Contract, Port
from engram_replay.layout import Layout
from engram_replay.sampler import uniform_noise
from engram_replay.signature import Mode
from engram_replay.told import Role, Told

_AHEAD: Final = 1 << 12
"""Numbers that are made at once where a step takes fewer: each making costs as much as thousands of numbers."""
_MAX_NUMBERS: Final = 1 << 27
"""Numbers of one replay or tick: 512 MiB of float32, made in less than a minute."""


def takes_noise(metadata: Mapping[str, Scalar]) -> bool:
    """Tell whether the contract in a student's metadata, whole or in part, has noise."""
    return bool(_names_in(Told.from_metadata(metadata)))


def seed_of(metadata: Mapping[str, Scalar], sample: int | None, *, what: str) -> int | None:
    """Return the seed of a student's noise: what was given, else its contract's; `None` where it takes no noise.

    `metadata` are the student's, and `what` names it. Raises `InvalidInput` where nobody said a seed.
    """
    told = Told.from_metadata(metadata)
    if told is None or not (names := _names_in(told)):
        return None
    seed = told.seed if sample is None else sample
    if seed is None:
        raise InvalidInput(
            f"{what} takes the noise {names[0]!r}, and neither you nor its contract said from which seed: "
            "give one to sample from, such as --sample 1"
        )
    check_seed(seed)
    return seed


def _names_in(told: Told | None) -> list[str]:
    return [] if told is None else [port.name for port in told.inputs if port.role is Role.NOISE]


class Noise:
    """The noise of some minds that advance together. It is where they are: `advance` when they have taken steps."""

    def __init__(self, ports: Sequence[Port], *, seed: int, minds: int, step: int) -> None:
        """`step` numbers the next step in the minds' life."""
        check_seed(seed)
        self.seed = seed
        self._ports = tuple(ports)
        self._minds = minds
        self._step = step
        self._made: list[AnyArray] = []
        self._first = step
        """The step that `_made` begins with."""

    def take(self, steps: int) -> list[AnyArray]:
        """Return what the next steps take, (step, mind, *step_shape) for each port; asking twice gives the same."""
        made = len(self._made[0]) if self._made else 0
        if not self._first <= self._step <= self._step + steps <= self._first + made:
            self._make(steps)
        at = self._step - self._first
        return [array[at : at + steps] for array in self._made]

    def advance(self, steps: int) -> None:
        """Go on by steps that were taken."""
        self._step += steps

    def forked(self, *, minds: int, seed: int | None) -> Noise:
        """Return the noise of minds that go on from here, from a seed of their own if given."""
        return Noise(self._ports, seed=self.seed if seed is None else seed, minds=minds, step=self._step)

    def _make(self, steps: int) -> None:
        each = self._minds * sum(math.prod(_lengths(port)) for port in self._ports)
        many = max(steps, _AHEAD // max(each, 1))
        _check_room(steps * each)
        self._made = [
            _uniform(port, number, steps=many, minds=self._minds, seed=self.seed, first_step=self._step)
            for number, port in enumerate(self._ports)
        ]
        self._first = self._step


def noise_for_calls(
    contract: Contract, stimuli: Mapping[str, AnyArray], *, mode: Mode, seed: int, first_mind: int = 0
) -> Mapping[str, AnyArray]:
    """Return the noise of a whole replay by name, each (call, *shape of the network's input), as `fitting.fit` gives stimuli.

    `stimuli` are those of the replay in that form; the numbers are those that `Noise` gives minds from `first_mind` on in their
    first steps. Raises `Exhausted` for too many.
    """
    driver = contract.stimuli[0]
    calls, *own = stimuli[driver.name].shape
    steps = 1 if driver.time_axis is None else own[driver.time_axis]
    minds = 1 if driver.minds_axis is None else own[driver.minds_axis]
    along_minds = mode is Mode.WHOLE and driver.time_axis is None
    if along_minds:  # such a network takes the whole along its first axis
        if any(port.minds_axis != 0 for port in contract.driven):
            raise InvalidInput(f"it is not clear along which axis {driver.name!r} has its time: replay it as minds")
        steps, minds = own[0], 1
    _check_room(calls * steps * minds * sum(math.prod(_lengths(port)) for port in contract.noise))
    noise: dict[str, AnyArray] = {}
    for number, port in enumerate(contract.noise):
        array = _uniform(port, number, steps=calls * steps, minds=minds, seed=seed, first_step=0, first_mind=first_mind)
        cut = (calls, 1, steps) if along_minds else (calls, steps, minds)
        noise[port.name] = _in_network(array.reshape(*cut, *_lengths(port)), Layout.of(port))
    return noise


def _in_network(array: AnyArray, layout: Layout) -> AnyArray:
    """Return (call, step, mind, *step_shape) with the network's axes behind that of calls."""
    array = array if layout.has_minds else array[:, :, 0]
    array = array if layout.has_time else array[:, 0]
    return np.ascontiguousarray(array.transpose(0, *(1 + axis for axis in layout.to_network)))


def _uniform(
    port: Port, number: int, *, steps: int, minds: int, seed: int, first_step: int, first_mind: int = 0
) -> AnyArray:
    shape = (steps, minds, *_lengths(port))
    return uniform_noise(shape, port.dtype, seed=seed, first_step=first_step, first_mind=first_mind, stream=number)


def _lengths(port: Port) -> tuple[int, ...]:
    return tuple(length for length in port.step_shape if isinstance(length, int))


def _check_room(numbers: int) -> None:
    if numbers > _MAX_NUMBERS:
        raise Exhausted(
            f"{numbers} numbers of noise are taken at once, at most {_MAX_NUMBERS} can be: give fewer steps"
        )
