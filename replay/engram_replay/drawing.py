"""What is drawn from a replay's responses: beside each response of counts or events, another output that holds them.

The response is what the network gave and stays so; what is drawn from it, by `sampler.draw`, is named `<response>.drawn`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Self

import numpy as np

from engram_format.catalog import AnyArray
from engram_format.errors import Exhausted, InvalidInput
from engram_format.ports import check_seed
from engram_replay.contract import Contract, Port
from engram_replay.sampler import MAX_RATE, PIECE_RATE, draw
from engram_replay.signature import Mode
from engram_replay.told import Distribution

DRAWN: Final = ".drawn"
"""Ends the names of outputs that were drawn."""
SEED: Final = "sample.seed"
"""The entry of a receipt that says from which seed they were drawn, and the noise that the network took."""
DIGEST: Final = "drawn.sha256"
"""The entry that says that there are such outputs, and binds them; `outputs.sha256` binds what the network gave."""

_MAX_DRAWS: Final = 1 << 29
"""Numbers that are drawn for one replay: less than a minute's work."""


def distributions(contract: Contract) -> Mapping[str, Distribution]:
    """Return what each response's values are parameters of, in the order of the contract."""
    return {port.name: port.distribution for port in contract.responses}


def is_drawable(told: Mapping[str, Distribution]) -> bool:
    """Tell whether any response holds parameters that something is drawn from."""
    return any(distribution is not Distribution.CONTINUOUS for distribution in told.values())


def check_drawable(told: Mapping[str, Distribution], *, seed: int) -> None:
    """Raise `InvalidInput` where nothing can be drawn, before anything is run."""
    check_seed(seed)
    if not is_drawable(told):
        raise InvalidInput(
            "every response of the student is continuous, and nothing is drawn from such: say rate or bernoulli in its contract"
        )
    if taken := [name for name in told if name + DRAWN in told]:
        raise InvalidInput(
            f"the student has a response {taken[0] + DRAWN!r} of its own: what is drawn from {taken[0]!r} has no name"
        )


def draw_minds(
    responses: Mapping[str, AnyArray], told: Mapping[str, Distribution], *, seed: int, first_step: int = 0
) -> dict[str, AnyArray]:
    """Draw from the responses (step, mind, ...) of minds, by name; return what was drawn, in their shapes.

    `told` has all responses in the order of the contract, whose numbers are the streams. Raises as `check_drawable` and
    `sampler.draw` do, and `Exhausted` where that would take too long.
    """
    check_drawable(told, seed=seed)
    wanted = [(number, name) for number, name in enumerate(told) if told[name] is not Distribution.CONTINUOUS]
    draws = sum(_draws(responses[name], told[name]) for _, name in wanted)
    if draws > _MAX_DRAWS:
        raise Exhausted(f"{draws} numbers would be drawn, at most {_MAX_DRAWS} are at once: replay fewer steps")
    return {
        name + DRAWN: draw(responses[name], told[name], seed=seed, first_step=first_step, stream=number)
        for number, name in wanted
    }


def draw_whole(outputs: Mapping[str, AnyArray], contract: Contract, *, mode: Mode, seed: int) -> dict[str, AnyArray]:
    """Draw from the outputs of a whole replay, time first, as `stepper.run` returns them; return as `draw_minds` does.

    The same mind's same step is drawn as in any other replay of it.
    """
    views = {port.name: _View.of(outputs[port.name], port, mode=mode) for port in contract.responses}
    responses = {name: view.into_minds(outputs[name]) for name, view in views.items()}
    drawn = draw_minds(responses, distributions(contract), seed=seed)
    return {name: views[name.removesuffix(DRAWN)].back(array) for name, array in drawn.items()}


def split(outputs: Mapping[str, AnyArray]) -> tuple[dict[str, AnyArray], dict[str, AnyArray]]:
    """Return what the network gave and what was drawn, of a replay whose receipt has a seed."""
    drawn = {
        name: array for name, array in outputs.items() if name.endswith(DRAWN) and name.removesuffix(DRAWN) in outputs
    }
    return {name: array for name, array in outputs.items() if name not in drawn}, drawn


def _draws(response: AnyArray, distribution: Distribution) -> int:
    if distribution is Distribution.BERNOULLI or not response.size:
        return response.size
    highest = float(np.clip(np.nan_to_num(np.max(response)), 0.0, MAX_RATE))
    return response.size * max(math.ceil(highest / PIECE_RATE), 1)


@dataclass(frozen=True, slots=True)
class _View:
    """How the axes of a whole replay's output become (step, mind, ...)."""

    front: tuple[int, ...]
    """The axes of steps, then that of minds if there is one."""
    moved: tuple[int, ...]
    """The shape with those in front."""
    steps: int
    minds: int

    @classmethod
    def of(cls, output: AnyArray, port: Port, *, mode: Mode) -> Self:
        """Return the view of an output; it may lack leading axes of the network that are 1 long."""
        added = 1 if mode is Mode.STEP else 0
        lost = len(port.shape) + added - output.ndim
        place = {axis: axis - lost + added for axis in (port.time_axis, port.minds_axis) if axis is not None}
        time = None if port.time_axis is None else place[port.time_axis]
        minds = None if port.minds_axis is None else place[port.minds_axis]
        if mode is Mode.STEP:
            steps = [0, *_kept(time, first=1)]
        elif port.time_axis is None:  # such a network takes the whole along its first axis
            steps = [0]
        else:
            steps = [*_kept(time, first=0)]
        front = [*steps, *(axis for axis in _kept(minds, first=added) if axis not in steps)]
        lengths = [output.shape[axis] for axis in front]
        rest = [length for axis, length in enumerate(output.shape) if axis not in front]
        return cls(
            front=tuple(front),
            moved=(*lengths, *rest),
            steps=math.prod(lengths[: len(steps)]),
            minds=math.prod(lengths[len(steps) :]),
        )

    def into_minds(self, output: AnyArray) -> AnyArray:
        """Return the output as (step, mind, unit)."""
        moved = np.moveaxis(output, self.front, range(len(self.front)))
        return moved.reshape(self.steps, self.minds, -1) if output.size else moved.reshape(self.steps, self.minds, 0)

    def back(self, drawn: AnyArray) -> AnyArray:
        """Return what was drawn in the shape of the output."""
        moved = drawn.reshape(self.moved)
        return np.ascontiguousarray(np.moveaxis(moved, range(len(self.front)), self.front))


def _kept(axis: int | None, *, first: int) -> Sequence[int]:
    """Return the axis if the output has it."""
    return () if axis is None or axis < first else (axis,)
