"""The use case of replaying: student and stimulus out of the archive, what it did back into it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from engram_format.address import Address, AnyAddress
from engram_format.catalog import AnyArray, Artifact, ArtifactSpec, GroupResult, Kind, ReplayResult
from engram_format.errors import InvalidInput
from engram_replay import StudentSource, encode_npz
from engram_replay.drawing import check_drawable, distributions, is_drawable
from engram_replay.host import Answer
from engram_replay.noise import seed_of
from engram_server.engine.minds import read_arrays, source_of
from engram_server.engine.sampling import contract_of, sampled, with_seed
from engram_server.engine.saving import save_files

if TYPE_CHECKING:
    from engram_server.engine.archive import Archive

_TIME_LIMIT_S: Final = 120.0


def replay(
    archive: Archive,
    student: AnyAddress,
    stimulus: AnyAddress | Mapping[str, AnyArray],
    *,
    save_to: Address | None,
    author: str,
    sample: int | None,
    now_ns: int,
) -> ReplayResult:
    """Run a student over a stimulus; the student is decrypted in memory and never touches a disk.

    With a seed to `sample` from, what is drawn from the responses stands beside them. The noise that a student takes is drawn
    from the same seed, or without one from the contract's.
    """
    network = archive.artifact(student)
    arrays, recorded = _stimulus(archive, stimulus)
    source = source_of(archive, network, limit=archive.minds.limits.student_bytes)
    noise = seed_of(network.metadata, sample, what=str(network.address))
    if sample is None:
        done = _run(archive, network, source, arrays, sample=noise)
        done = done if noise is None else with_seed(done, seed=noise)
    else:
        contract = contract_of(archive, network, source)
        if noise is None or is_drawable(distributions(contract)):
            check_drawable(distributions(contract), seed=sample)
        done = sampled(_run(archive, network, source, arrays, sample=noise), contract, seed=sample)
    saved = None
    if save_to is not None:
        path = save_to.path or f"replays/{_moment(now_ns)}.npz"
        files = _files(done, path, made_from=(network.sha256,), stimulus=recorded, now_ns=now_ns)
        saved = save_files(archive, files, save_to, message=f"Replay of {source.name}", author=author)[-1]
    return ReplayResult(outputs=done.outputs, receipt=done.receipt, saved=saved)


def replay_group(
    archive: Archive,
    students: Sequence[AnyAddress],
    stimulus: AnyAddress | Mapping[str, AnyArray],
    *,
    save_to: Address | None,
    author: str,
    now_ns: int,
) -> GroupResult:
    """Run several students over one stimulus, as one network where that wins; kept as one version with a replay of each."""
    if len(students) < 2:
        raise InvalidInput("a group is of two students or more: replay a single one by itself")
    networks = [archive.artifact(student) for student in students]
    arrays, recorded = _stimulus(archive, stimulus)
    sources = [source_of(archive, network, limit=archive.minds.limits.student_bytes) for network in networks]
    done = archive.minds.wait(archive.minds.run_group(sources, arrays))
    saved: list[Artifact | None] = [None] * len(networks)
    if save_to is not None:
        folder = save_to.path or f"replays/{_moment(now_ns)}"
        files: list[tuple[ArtifactSpec, bytes]] = []
        for index, (network, answer) in enumerate(zip(networks, done.answers, strict=True)):
            path = f"{folder}/{index:03}.npz"
            more = _files(answer, path, made_from=(network.sha256,), stimulus=recorded, now_ns=now_ns)
            files += more if index == 0 else more[-1:]
        kept = save_files(archive, files, save_to, message=f"Replay of {len(networks)} students", author=author)
        saved = [artifact for artifact in kept if artifact.kind is Kind.REPLAY]
    results = [
        ReplayResult(outputs=answer.outputs, receipt=answer.receipt, saved=artifact)
        for answer, artifact in zip(done.answers, saved, strict=True)
    ]
    return GroupResult(form=done.form.value, reason=done.reason, results=tuple(results))


def _stimulus(
    archive: Archive, stimulus: AnyAddress | Mapping[str, AnyArray]
) -> tuple[Mapping[str, AnyArray], Artifact | None]:
    """Return the arrays, and the artifact that they are, if they are one."""
    if isinstance(stimulus, Mapping):
        return stimulus, None
    recorded = archive.artifact(stimulus)
    return read_arrays(archive, recorded), recorded


def _moment(now_ns: int) -> str:
    return f"{datetime.fromtimestamp(now_ns / 1e9, tz=UTC):%Y-%m-%dT%H-%M-%S-%f}"


def _run(
    archive: Archive,
    network: Artifact,
    source: StudentSource,
    arrays: Mapping[str, AnyArray],
    *,
    sample: int | None,
) -> Answer:
    async def run() -> Answer:
        return await archive.minds.host.replay(source, arrays, limit_s=_TIME_LIMIT_S, sample=sample)

    try:
        return archive.minds.wait(run())
    except InvalidInput as error:
        if network.kind is Kind.STUDENT:
            raise
        raise InvalidInput(f"{network.address} is a {network.kind}, not a student ({error})") from error


def _files(
    done: Answer, path: str, *, made_from: tuple[str, ...], stimulus: Artifact | None, now_ns: int
) -> list[tuple[ArtifactSpec, bytes]]:
    """Return what is to be kept: the outputs with the receipt as metadata, and before them a stimulus that was not kept yet."""
    files = []
    if stimulus is None:
        given = encode_npz(done.stimulus)
        stimulus_path = f"{path.removesuffix('.npz')}.stimulus.npz"
        files.append((ArtifactSpec(path=stimulus_path, size=len(given), kind=Kind.FILE, time_ns=now_ns), given))
        made_from = (*made_from, hashlib.sha256(given).hexdigest())
    else:
        made_from = (*made_from, stimulus.sha256)
    outputs = encode_npz(done.outputs)
    spec = ArtifactSpec(
        path=path, size=len(outputs), kind=Kind.REPLAY, time_ns=now_ns, metadata=done.receipt, made_from=made_from
    )
    return [*files, (spec, outputs)]
