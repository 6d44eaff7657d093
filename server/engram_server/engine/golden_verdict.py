"""The use case of verifying a student: its golden trace is made again, and compared with what was kept of it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from engram_format.catalog import AnyArray, Artifact, Likeness, OutputLikeness, ReplayVerdict, Scalar
from engram_format.errors import InvalidInput, Precondition
from engram_format.series import Table
from engram_replay import Contract, Execution, Port, StudentSource, digest_arrays
from engram_replay.golden import ABSENT, GOLDEN_PREFIX, from_table, golden_stimuli
from engram_replay.verification import REFERENCE_BOUND, compare, profile_differences, worst
from engram_server.engine.minds import source_of

if TYPE_CHECKING:
    from engram_server.engine.archive import Archive

_REFERENCE_S: Final = 100.0
_DIGEST_ONLY: Final = "only the digest of the responses was kept"


@dataclass(frozen=True, slots=True)
class _Trace:
    """A golden trace as it stands in a student's metadata."""

    receipt: Mapping[str, Scalar]
    """Names without the leading `golden.`."""
    seed: int
    steps: int
    minds: int
    free_length: int

    def stimuli(self, contract: Contract) -> list[AnyArray]:
        """Return its stimuli, (step, mind, *step_shape) in the order of the contract."""
        return golden_stimuli(
            contract, seed=self.seed, steps=self.steps, minds=self.minds, free_length=self.free_length
        )


@dataclass(frozen=True, slots=True)
class _Again:
    """The trace, made again."""

    contract: Contract
    stimuli: Mapping[str, AnyArray]
    outputs: Mapping[str, AnyArray]
    final_state: Mapping[str, AnyArray]
    profile: Mapping[str, Scalar]


def verify_golden(archive: Archive, artifact: Artifact, *, reference: bool) -> ReplayVerdict:
    """Run a student over its golden stimulus again and say how alike its responses are to those at its deposit.

    Of a trace of many values only a digest was kept, and anything but the same bits fails. Raises `InvalidInput` for a student
    without a trace, with the reason, and what the host raises where the student cannot be run.
    """
    trace = _trace(artifact)
    student = source_of(archive, artifact, limit=archive.minds.limits.student_bytes)
    again = archive.minds.wait(_run(archive, student, trace))
    if again is None:
        detail = "the golden stimulus cannot be made again: the contract is another one than at the deposit"
        return ReplayVerdict(artifact.address, Likeness.FAIL, (), (), (), detail=detail)
    outputs, detail = _compared(trace, _tables(archive, artifact), again)
    likeness = Likeness.FAIL if detail else worst(outputs)
    if likeness is Likeness.BIT and trace.receipt.get("final_state.sha256") != _digest(again.final_state):
        likeness, detail = Likeness.TOLERANCE, "every response has the same bits, and the state at the end has not"
    checked: tuple[OutputLikeness, ...] = ()
    if reference:
        by_reference = archive.minds.wait(_reference(archive, student, trace, again))
        checked = compare(again.outputs, by_reference, relative_bound=REFERENCE_BOUND)
        if worst(checked) is Likeness.FAIL:
            likeness = Likeness.FAIL
    return ReplayVerdict(
        address=artifact.address,
        likeness=likeness,
        outputs=outputs,
        profile=profile_differences(trace.receipt, again.profile),
        reference=checked,
        reference_steps=trace.steps if reference else 0,
        detail=detail,
    )


def _trace(artifact: Artifact) -> _Trace:
    if (reason := artifact.metadata.get(ABSENT)) is not None:
        raise InvalidInput(f"{artifact.address} has no golden trace to verify: {reason}")
    receipt = {
        name.removeprefix(GOLDEN_PREFIX): value
        for name, value in artifact.metadata.items()
        if name.startswith(GOLDEN_PREFIX)
    }
    numbers = [receipt.get("seed"), receipt.get("steps"), receipt.get("minds"), receipt.get("free_length", 1)]
    seed, *counts = [number for number in numbers if type(number) is int and number >= 0] or [0]
    if len(counts) < 3 or min(counts) < 1:
        raise InvalidInput(f"{artifact.address} was deposited without a golden trace: deposit it again to have one")
    return _Trace(receipt, seed, *counts)


def _tables(archive: Archive, artifact: Artifact) -> Mapping[str, Table]:
    try:
        return archive.recording(artifact.address).tables
    except Precondition:  # a trace of many values has left nothing to describe
        return {}


async def _run(archive: Archive, student: StudentSource, trace: _Trace) -> _Again | None:
    """Make the trace again; `None` where the stimulus that the contract gives now is another one."""
    host = archive.minds.host
    session = await host.open(
        student, minds=trace.minds, execution=Execution.from_metadata(trace.receipt), sample=trace.seed
    )
    try:
        stimuli = trace.stimuli(session.contract)
        given = {port.name: array for port, array in zip(session.contract.stimuli, stimuli, strict=True)}
        if digest_arrays(given) != trace.receipt.get("stimulus.sha256"):
            return None
        responses = await session.tick(stimuli)
        names = [port.name for port in session.contract.responses]
        return _Again(
            contract=session.contract,
            stimuli=given,
            outputs=dict(zip(names, responses, strict=True)),
            final_state=await session.state(),
            profile=session.profile,
        )
    finally:
        await session.close()


def _compared(trace: _Trace, tables: Mapping[str, Table], again: _Again) -> tuple[tuple[OutputLikeness, ...], str]:
    """Compare the responses; return also where the trace contradicts itself, empty where it does not."""
    told = trace.receipt.get("outputs.sha256")
    kept: dict[str, AnyArray] = {}
    for number, port in enumerate(again.contract.responses):
        table = tables.get(f"golden.outputs.{number}")
        if table is not None:
            flat = from_table(table, steps=trace.steps, minds=trace.minds, dtype=port.dtype)
            shape = again.outputs[port.name].shape
            kept[port.name] = flat.reshape(shape) if math.prod(shape) == flat.size else flat
    if not kept:
        return _by_digest(again.outputs, same=told == digest_arrays(again.outputs)), ""
    outputs = compare(kept, again.outputs)
    return outputs, "" if told == digest_arrays(kept) else "the trace names other responses than those that are kept"


def _by_digest(outputs: Mapping[str, AnyArray], *, same: bool) -> tuple[OutputLikeness, ...]:
    if same:
        return tuple(OutputLikeness(name, Likeness.BIT, 0.0, 0.0, 0.0, _DIGEST_ONLY) for name in outputs)
    said = f"{_DIGEST_ONLY}, and theirs is another"
    return tuple(OutputLikeness(name, Likeness.FAIL, 0.0, math.inf, 0.0, said) for name in outputs)


def _digest(state: Mapping[str, AnyArray]) -> str | None:
    return digest_arrays(state) if state else None


async def _reference(archive: Archive, student: StudentSource, trace: _Trace, again: _Again) -> Mapping[str, AnyArray]:
    """Run the minds by the reference evaluator, one after the other; return the responses in the shapes of the trace."""
    contract = again.contract
    # As `signature.read_signature` tells a student that is stepped from one that takes the whole.
    stepped = bool(contract.states) or all(
        isinstance(length, int) for port in contract.stimuli for length in port.shape
    )
    minds: list[Mapping[str, AnyArray]] = []
    for mind in range(trace.minds):
        given = {
            port.name: _of_one_mind(again.stimuli[port.name][:, mind], port, stepped=stepped)
            for port in again.contract.stimuli
        }
        minds.append(
            await archive.minds.host.reference(
                student, given, limit_s=_REFERENCE_S / trace.minds, sample=trace.seed, first_mind=mind
            )
        )
    return {
        name: np.stack([_shaped(outputs[name], array) for outputs in minds], axis=1)
        for name, array in again.outputs.items()
    }


def _of_one_mind(stimulus: AnyArray, port: Port, *, stepped: bool) -> AnyArray:
    """Return a mind's stimulus, (step, *step_shape), as `fitting.fit` takes it in a whole replay."""
    if stepped:
        axes = [axis + 1 for axis in (port.time_axis, port.minds_axis) if axis is not None]
    else:
        axes = [axis for axis in (port.minds_axis,) if axis is not None and port.time_axis == 0]
    for axis in sorted(axes):
        stimulus = np.expand_dims(stimulus, axis)
    return stimulus


def _shaped(response: AnyArray, traced: AnyArray) -> AnyArray:
    """Return one mind's response of a whole replay, time first, as (step, *step_shape) of the trace where it may be."""
    wanted = (len(traced), *traced.shape[2:])
    return response.reshape(wanted) if response.size == math.prod(wanted) else response
