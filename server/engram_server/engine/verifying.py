"""The use case of verifying a replay: run it again as it was run, and compare with what was kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from engram_format.address import AnyAddress, ContentAddress
from engram_format.catalog import AnyArray, Artifact, Kind, Likeness, OutputLikeness, ReplayVerdict
from engram_format.errors import InvalidInput, NotFound
from engram_replay import Execution, StudentSource, digest_arrays
from engram_replay.drawing import DIGEST, split
from engram_replay.host import Answer
from engram_replay.noise import takes_noise
from engram_replay.verification import REFERENCE_BOUND, compare, profile_differences, worst
from engram_server.engine.golden_verdict import verify_golden
from engram_server.engine.many_minds import MANY_MINDS, run_again
from engram_server.engine.minds import read_arrays, source_of
from engram_server.engine.sampling import contract_of, drawn_again, kept_seed

if TYPE_CHECKING:
    from engram_server.engine.archive import Archive

_REFERENCE_STEPS: Final = 200
"""Steps that the reference evaluator runs: it is tens of times slower than the runtime."""
_REFERENCE_S: Final = 100.0


@dataclass(frozen=True, slots=True)
class _Kept:
    """A kept replay with all that it was made from."""

    artifact: Artifact
    outputs: Mapping[str, AnyArray]
    """What the network gave."""
    drawn: Mapping[str, AnyArray]
    """What was drawn from that."""
    network: Artifact
    student: StudentSource
    stimulus: Mapping[str, AnyArray]
    execution: Execution
    sample: int | None
    """The seed of the noise that the student takes, if it takes any."""
    states: Mapping[str, AnyArray] | None
    """Of a replay of many minds: the states that they began with."""


def verify_replay(archive: Archive, address: AnyAddress, *, reference: bool) -> ReplayVerdict:
    """Run a kept replay, or the golden trace of a student, again and say how alike it is.

    Student and stimulus of a replay are found by the digests that it was made from. Raises `InvalidInput` for an artifact that
    is neither a replay nor a student with a trace, and `NotFound` where student or stimulus are not in any vault that can be
    opened.
    """
    artifact = archive.artifact(address)
    if artifact.kind is Kind.STUDENT:
        return verify_golden(archive, artifact, reference=reference)
    kept = _kept(archive, artifact)
    if reference and kept.states is not None:
        raise InvalidInput(
            f"{kept.artifact.address} is a replay of many minds, and the reference evaluator runs one: "
            "verify it without, or replay one mind"
        )
    again = archive.minds.wait(_run(archive, kept))
    outputs = compare(kept.outputs, again.outputs)
    detail = _contradiction(kept, again)
    if DIGEST in kept.artifact.metadata:
        # From what was kept: a last digit that differs on another machine says nothing of how was drawn.
        redrawn, reason = _drawn_again(archive, kept)
        outputs, detail = outputs + compare(kept.drawn, redrawn), detail or reason
    likeness = Likeness.FAIL if detail else worst(outputs)
    checked: tuple[OutputLikeness, ...] = ()
    steps = 0
    if reference:
        short, steps = _first_steps(kept, again)
        by_reference = archive.minds.wait(_reference(archive, kept, short))
        first = {name: array[: by_reference[name].shape[0]] for name, array in again.outputs.items()}
        checked = compare(first, by_reference, relative_bound=REFERENCE_BOUND)
        if worst(checked) is Likeness.FAIL:
            likeness = Likeness.FAIL
    return ReplayVerdict(
        address=kept.artifact.address,
        likeness=likeness,
        outputs=outputs,
        profile=profile_differences(kept.artifact.metadata, again.receipt),
        reference=checked,
        reference_steps=steps,
        detail=detail,
    )


def _kept(archive: Archive, artifact: Artifact) -> _Kept:
    student, *stimulus = artifact.made_from or ("",)
    if artifact.kind is not Kind.REPLAY or artifact.metadata.get("student.sha256") != student or not stimulus:
        raise InvalidInput(
            f"{artifact.address} is no kept replay: name one that `engram replay --save` has made, or a student"
        )
    network = _by_content(archive, student, what="student", of=artifact)
    recorded = _by_content(archive, stimulus[-1], what="stimulus", of=artifact)
    outputs = read_arrays(archive, artifact)
    drawn: Mapping[str, AnyArray] = {}
    if DIGEST in artifact.metadata:
        outputs, drawn = split(outputs)
    return _Kept(
        artifact=artifact,
        outputs=outputs,
        drawn=drawn,
        network=network,
        student=source_of(archive, network, limit=archive.minds.limits.student_bytes),
        stimulus=read_arrays(archive, recorded),
        execution=Execution.from_metadata(artifact.metadata),
        sample=_noise_seed(network, artifact),
        states=_states(archive, artifact, stimulus[:-1]),
    )


def _noise_seed(network: Artifact, artifact: Artifact) -> int | None:
    """Return the seed of the noise that a student took in a replay; raises `InvalidInput` where the receipt lacks it."""
    if not takes_noise(network.metadata):
        return None
    return kept_seed(artifact.metadata)


def _states(archive: Archive, artifact: Artifact, made_from: Sequence[str]) -> Mapping[str, AnyArray] | None:
    """Return the states that many minds began with, none where the student has none; `None` for a replay of one mind."""
    if artifact.metadata.get("replay.mode") != MANY_MINDS:
        return None
    if not made_from:
        return {}
    return read_arrays(archive, _by_content(archive, made_from[-1], what="initial state", of=artifact))


def _by_content(archive: Archive, sha256: str, *, what: str, of: Artifact) -> Artifact:
    try:
        return archive.artifact(ContentAddress(sha256))
    except NotFound as error:
        raise NotFound(
            f"the {what} of {of.address}, sha256:{sha256}, is in no vault that you can open: deposit it again to verify"
        ) from error


def _drawn_again(archive: Archive, kept: _Kept) -> tuple[Mapping[str, AnyArray], str]:
    """Draw from the kept outputs again; where that cannot be, say why."""
    try:
        contract = contract_of(archive, kept.network, kept.student)
        return drawn_again(kept.outputs, contract, kept.artifact.metadata), ""
    except InvalidInput as error:
        return {}, str(error)


async def _run(archive: Archive, kept: _Kept) -> Answer:
    if kept.states is not None:
        minds = kept.artifact.metadata.get("replay.minds")
        return await run_again(
            archive,
            kept.student,
            kept.stimulus,
            kept.states,
            minds=minds if isinstance(minds, int) else 1,
            execution=kept.execution,
            sample=kept.sample,
        )
    return await archive.minds.host.replay(kept.student, kept.stimulus, execution=kept.execution, sample=kept.sample)


async def _reference(archive: Archive, kept: _Kept, stimulus: Mapping[str, AnyArray]) -> Mapping[str, AnyArray]:
    return await archive.minds.host.reference(kept.student, stimulus, limit_s=_REFERENCE_S, sample=kept.sample)


def _first_steps(kept: _Kept, again: Answer) -> tuple[Mapping[str, AnyArray], int]:
    """Return the first steps of the stimulus, or all of it where a network takes the whole, and how many they are."""
    steps = int(again.receipt["replay.steps"])
    if again.receipt["replay.mode"] != "step" or steps <= _REFERENCE_STEPS:
        return kept.stimulus, steps
    short = {name: array[:_REFERENCE_STEPS] if array.ndim else array for name, array in kept.stimulus.items()}
    return short, _REFERENCE_STEPS


def _contradiction(kept: _Kept, again: Answer) -> str:
    """Say where the kept receipt is not of what is kept, or was made from something else."""
    told = kept.artifact.metadata
    if told.get("outputs.sha256") != digest_arrays(kept.outputs):
        return "the receipt names other outputs than those that are kept"
    if DIGEST in told and told.get(DIGEST) != digest_arrays(kept.drawn):
        return "the receipt names other draws than those that are kept"
    for name in ("stimulus.sha256", "initial_state.sha256"):
        if told.get(name) != again.receipt.get(name):
            return f"the receipt's {name} is not that of what it was made from"
    return ""
