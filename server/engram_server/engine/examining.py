"""What the engine finds in a student when it is deposited: its whole contract, and its golden trace.

A student that cannot be run is kept like any other artifact; what is found in it then is why. Only a depositor's contract that
is not one of the network is refused, since it can still be mended.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import TYPE_CHECKING, Final

from engram_format.catalog import Artifact, Kind, Metadata, Scalar
from engram_format.errors import EngramError, InvalidInput
from engram_format.series import Table

if TYPE_CHECKING:
    from engram_replay import MindHost, StudentSource
    from engram_server.engine.minds import Minds
    from engram_store.annotation import Annotation

_CONTRACT: Final = "contract."
_GOLDEN: Final = "golden."
_ABSENT: Final = "golden.absent"
_NO_RUNTIME: Final = (
    "onnxruntime is not installed where the archive is opened: install engram[replay] and deposit it again"
)


@dataclass(frozen=True, slots=True)
class Findings:
    """What an examination adds to an artifact."""

    contract: Mapping[str, Scalar]
    """Metadata under `contract.`; empty where the network could not be loaded."""
    trace: Mapping[str, Scalar]
    """Metadata under `golden.`: of the trace, or why there is none."""
    tables: Mapping[str, Table] = field(default_factory=dict)


Examine = Callable[[str, int, Metadata, Callable[[], Iterator[bytes | memoryview]]], Findings]
"""Takes a student's SHA-256, its size, its depositor's metadata and how to read it."""


def said_by_depositor(metadata: Metadata) -> dict[str, Scalar]:
    """Return an artifact's metadata without those that an examination writes."""
    return {name: value for name, value in metadata.items() if not name.startswith(_GOLDEN)}


def without_contract(metadata: Metadata) -> dict[str, Scalar]:
    """Return an artifact's metadata without its contract."""
    return {name: value for name, value in metadata.items() if not name.startswith(_CONTRACT)}


def check_annotation(annotation: Annotation, annotated: Callable[[], Artifact]) -> None:
    """Raise `InvalidInput` where a student's contract would no longer be one, or its golden trace another's word."""
    names = {*annotation.set, *annotation.unset}
    if not any(name.startswith((_CONTRACT, _GOLDEN)) for name in names):
        return
    artifact = annotated()
    if artifact.kind is not Kind.STUDENT:
        return
    if written := sorted(name for name in names if name.startswith(_GOLDEN)):
        raise InvalidInput(
            f"{written[0]!r} of {artifact.address} is written by the archive alone: deposit the student again instead"
        )
    from engram_replay.told import Told

    kept = {name: value for name, value in artifact.metadata.items() if name not in annotation.unset}
    Told.from_metadata({**kept, **annotation.set})


def examine(
    minds: Callable[[], Minds], sha256: str, size: int, said: Metadata, read: Callable[[], Iterator[bytes | memoryview]]
) -> Findings:
    """Return what is found in a student; `minds` is asked only where one can be run.

    Raises `InvalidInput` where what the depositor said as `contract.` is no contract, or not one of this network.
    """
    from engram_replay import StudentSource
    from engram_replay.told import Told

    told = {name: value for name, value in said.items() if name.startswith(_CONTRACT)}
    Told.from_metadata(told)
    if find_spec("onnxruntime") is None or find_spec("onnx") is None:
        return Findings({}, {_ABSENT: _NO_RUNTIME})
    running = minds()
    if size > running.limits.student_bytes:
        reason = f"it has {size} bytes, and students of at most {running.limits.student_bytes} are run here"
        return Findings({}, {_ABSENT: f"the student will not be replayed: {reason}"})
    source = StudentSource(sha256, read, told)
    return running.wait(_examine(lambda: running.host, source))


async def _examine(host_of: Callable[[], MindHost], student: StudentSource) -> Findings:
    from engram_replay import Refused
    from engram_replay.golden import trace
    from engram_replay.refusal import CONTRACT_RULE

    host = host_of()
    try:
        contract = (await host.contract(student)).to_metadata()
    except EngramError as error:
        if isinstance(error, Refused) and error.rule == CONTRACT_RULE:
            raise InvalidInput(str(error)) from error
        return Findings({}, {_ABSENT: f"the student will not be replayed: {error}"})
    try:
        golden = await trace(host, student)
    except EngramError as error:
        return Findings(contract, {_ABSENT: str(error)})
    finally:
        host.let_go(student)
    return Findings(contract, golden.metadata, golden.tables)
