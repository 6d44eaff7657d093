"""The golden trace of a student: what it answered to a stimulus that anyone can make again, when it was deposited.

Whoever runs the student later, elsewhere or by other means, compares with it. The stimulus is random and comes from the sampler,
so that a seed and a shape are all that has to be kept.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from engram_format.catalog import AnyArray, Scalar
from engram_format.errors import EngramError, Exhausted, InvalidInput
from engram_format.series import Column, Table
from engram_replay.arrays import digest_arrays
from engram_replay.contract import Contract, Port
from engram_replay.host import MindHost
from engram_replay.residents import StudentSource
from engram_replay.sampler import uniform_stimulus
from engram_replay.session import MindSession

GOLDEN_PREFIX: Final = "golden."
"""The names in a student's metadata that tell of its golden trace."""
ABSENT: Final = "golden.absent"
"""Why there is none."""
SEED: Final = 1
STEPS: Final = 16
MINDS: Final = 2
MAX_VALUES: Final = 8192
"""Responses of more values than this are kept as a digest only: 64 KiB of binary64."""
LIMIT_S: Final = 5.0

_FREE_LENGTHS: Final = (1, 64, 512)
_MAX_STIMULUS_VALUES: Final = 1 << 22
_RUNNING_S: Final = 2.0
"""A slow student takes only so many steps as it does in this time."""
_EXACT_BITS: Final = 53


@dataclass(frozen=True, slots=True)
class Golden:
    """What is kept of a trace."""

    metadata: Mapping[str, Scalar]
    """Under `golden.`."""
    tables: Mapping[str, Table]
    """The responses, one table for each, where they are not too many: SPEC.md section 9.5."""


def golden_stimuli(contract: Contract, *, seed: int, steps: int, minds: int, free_length: int = 1) -> list[AnyArray]:
    """Return the stimuli of a trace, (step, mind, *step_shape) in the order of the contract.

    Axes that the contract leaves free are `free_length` long. Stimulus `n` is `sampler.uniform_stimulus` of stream `n`.
    """
    return [
        uniform_stimulus((steps, minds, *_lengths(port, free_length)), port.dtype, seed=seed, stream=number)
        for number, port in enumerate(contract.stimuli)
    ]


async def trace(host: MindHost, student: StudentSource) -> Golden:
    """Run a student over its golden stimulus; constants have the contract's values, states begin as zeros.

    Noise is from the seed of the stimulus. Of axes that the contract leaves free several lengths are tried. Raises what the
    host raises, `Exhausted` where it takes longer than `LIMIT_S`, and `InvalidInput` where the stimulus would be too large.
    """
    contract = await host.contract(student)
    if unsaid := [port.name for port in contract.constants if port.value is None]:
        raise InvalidInput(f"its constant {unsaid[0]!r} has no value: deposit it with a contract that says it")
    first_error: EngramError | None = None
    try:
        async with asyncio.timeout(LIMIT_S):
            for free_length in _FREE_LENGTHS if _leaves_open(contract) else _FREE_LENGTHS[:1]:
                try:
                    return await _trace(host, student, contract, free_length)
                except InvalidInput as error:
                    first_error = first_error or error
    except TimeoutError as error:
        raise Exhausted(f"{student.name} takes more than {LIMIT_S:g} s for its golden trace: make it faster") from error
    raise first_error or InvalidInput(f"{student.name} cannot be traced: tell its free axes in a contract")


async def _trace(host: MindHost, student: StudentSource, contract: Contract, free_length: int) -> Golden:
    size = MINDS * sum(math.prod(_lengths(port, free_length)) for port in contract.stimuli)
    if size > _MAX_STIMULUS_VALUES:
        raise InvalidInput(
            f"{student.name} takes {size} values in one step of {MINDS} minds: too many for a golden trace"
        )
    session = await host.open(student, minds=MINDS, sample=SEED)
    try:
        steps, responses = await _responses(session, contract, free_length, most=_MAX_STIMULUS_VALUES // max(size, 1))
        state = await session.state()
    finally:
        await session.close()
    named = {port.name: array for port, array in zip(contract.responses, responses, strict=True)}
    stimuli = golden_stimuli(contract, seed=SEED, steps=steps, minds=MINDS, free_length=free_length)
    given = {port.name: array for port, array in zip(contract.stimuli, stimuli, strict=True)}
    metadata: dict[str, Scalar] = {
        "golden.seed": SEED,
        "golden.steps": steps,
        "golden.minds": MINDS,
        "golden.stimulus.sha256": digest_arrays(given),
        "golden.outputs.sha256": digest_arrays(named),
        **{f"{GOLDEN_PREFIX}{name}": value for name, value in session.profile.items()},
    }
    if _leaves_open(contract):
        metadata["golden.free_length"] = free_length
    if state:
        metadata["golden.final_state.sha256"] = digest_arrays(state)
    if sum(array.size for array in responses) > MAX_VALUES:
        return Golden(metadata, {})
    return Golden(metadata, {f"golden.outputs.{n}": as_table(array) for n, array in enumerate(responses)})


async def _responses(
    session: MindSession, contract: Contract, free_length: int, *, most: int
) -> tuple[int, Sequence[AnyArray]]:
    """Return how many steps were taken, and the responses: as many as are allowed, are small enough and fast enough."""
    clock = asyncio.get_running_loop().time
    began = clock()
    first = await session.tick(golden_stimuli(contract, seed=SEED, steps=1, minds=MINDS, free_length=free_length))
    in_time = int(_RUNNING_S / max(clock() - began, 1e-6))
    small = MAX_VALUES // max(sum(array.size for array in first), 1)
    steps = max(min(STEPS, most, small, in_time), 1)
    if steps == 1:
        return 1, first
    stimuli = golden_stimuli(contract, seed=SEED, steps=steps, minds=MINDS, free_length=free_length)
    rest = await session.tick([array[1:] for array in stimuli])
    return steps, [np.concatenate(pair) for pair in zip(first, rest, strict=True)]


def _lengths(port: Port, free_length: int) -> tuple[int, ...]:
    return tuple(length if isinstance(length, int) else free_length for length in port.step_shape)


def _leaves_open(contract: Contract) -> bool:
    return any(not isinstance(length, int) for port in contract.stimuli for length in port.step_shape)


def as_table(response: AnyArray) -> Table:
    """Return a response as rows of step, mind, element and value; a whole number that no binary64 has is a text."""
    steps, minds = response.shape[:2]
    flat = response.reshape(steps, minds, -1)
    step, mind, element = (axis.ravel().astype(np.float64) for axis in np.indices(flat.shape))
    wide = (
        response.dtype.kind in "iu"
        and response.size
        and max(map(abs, (int(flat.min()), int(flat.max())))) > 1 << _EXACT_BITS
    )
    values: Column = [str(value) for value in flat.ravel().tolist()] if wide else flat.ravel().astype(np.float64)
    return Table({"step": step, "mind": mind, "element": element, "value": values})


def from_table(table: Table, *, steps: int, minds: int, dtype: np.dtype[np.generic]) -> AnyArray:
    """Return what `as_table` was given, (step, mind, element); raises `InvalidInput` where the table is none of these."""
    values = table.columns.get("value")
    size = 0 if values is None else len(values)
    if values is None or size % max(steps * minds, 1) or not steps * minds:
        raise InvalidInput(f"the golden trace has a table of {size} values, not of {steps} steps of {minds} minds")
    try:
        typed = np.array([int(value) if isinstance(value, str) else value for value in values]).astype(dtype)
    except (ValueError, OverflowError) as error:
        raise InvalidInput(
            f"the golden trace has values that are no {dtype.name}: deposit the student again"
        ) from error
    return typed.reshape(steps, minds, -1)
