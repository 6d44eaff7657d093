"""The use case of replaying: student and stimulus out of the archive, what it did back into it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from engram_format.address import Address, AnyAddress
from engram_format.catalog import AnyArray, Artifact, ArtifactSpec, Kind, ReplayResult
from engram_format.errors import InvalidInput
from engram_replay import StudentSource, decode_stimulus, encode_npz
from engram_replay.host import Answer
from engram_server.engine.minds import read_whole, source_of
from engram_server.engine.saving import save_files

if TYPE_CHECKING:
    from engram_server.engine.archive import Archive

_MAX_STUDENT_BYTES: Final = 256 * 2**20
_MAX_STIMULUS_BYTES: Final = 512 * 2**20
_TIME_LIMIT_S: Final = 120.0


def replay(
    archive: Archive,
    student: AnyAddress,
    stimulus: AnyAddress | Mapping[str, AnyArray],
    *,
    save_to: Address | None,
    author: str,
    now_ns: int,
) -> ReplayResult:
    """Run a student over a stimulus; the student is decrypted in memory and never touches a disk."""
    network = archive.artifact(student)
    made_from = [network.sha256]
    if isinstance(stimulus, Mapping):
        arrays = stimulus
    else:
        recorded = archive.artifact(stimulus)
        data = read_whole(archive, recorded, limit=_MAX_STIMULUS_BYTES)
        arrays = decode_stimulus(data, max_bytes=_MAX_STIMULUS_BYTES)
        made_from.append(recorded.sha256)
    source = source_of(archive, network, limit=_MAX_STUDENT_BYTES)
    done = _run(archive, network, source, arrays)
    saved = None
    if save_to is not None:
        given = encode_npz(done.stimulus) if isinstance(stimulus, Mapping) else None
        files = _files(done, save_to, given=given, made_from=tuple(made_from), now_ns=now_ns)
        saved = save_files(archive, files, save_to, message=f"Replay of {source.name}", author=author)
    return ReplayResult(outputs=done.outputs, receipt=done.receipt, saved=saved)


def _run(archive: Archive, network: Artifact, source: StudentSource, arrays: Mapping[str, AnyArray]) -> Answer:
    async def run() -> Answer:
        return await archive.minds.host.replay(source, arrays, limit_s=_TIME_LIMIT_S)

    try:
        return archive.minds.wait(run())
    except InvalidInput as error:
        if network.kind is Kind.STUDENT:
            raise
        raise InvalidInput(f"{network.address} is a {network.kind}, not a student ({error})") from error


def _files(
    done: Answer,
    save_to: Address,
    *,
    given: bytes | None,
    made_from: tuple[str, ...],
    now_ns: int,
) -> list[tuple[ArtifactSpec, bytes]]:
    """Return what is to be kept: the outputs with the receipt as metadata, and before them a stimulus that was not kept yet."""
    moment = datetime.fromtimestamp(now_ns / 1e9, tz=UTC)
    path = save_to.path or f"replays/{moment:%Y-%m-%dT%H-%M-%S-%f}.npz"
    files = []
    if given is not None:
        stimulus_path = f"{path.removesuffix('.npz')}.stimulus.npz"
        files.append((ArtifactSpec(path=stimulus_path, size=len(given), kind=Kind.FILE, time_ns=now_ns), given))
        made_from = (*made_from, hashlib.sha256(given).hexdigest())
    outputs = encode_npz(done.outputs)
    spec = ArtifactSpec(
        path=path, size=len(outputs), kind=Kind.REPLAY, time_ns=now_ns, metadata=done.receipt, made_from=made_from
    )
    return [*files, (spec, outputs)]
