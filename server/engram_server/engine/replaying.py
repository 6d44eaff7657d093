"""The use case of replaying: student and stimulus out of the archive, what it did back into it."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from engram_format.address import Address, AnyAddress
from engram_format.catalog import AnyArray, Artifact, ArtifactSpec, Kind, ReplayResult
from engram_format.errors import Exhausted, InvalidInput
from engram_replay import Replay, Student, decode_stimulus, encode_npz, load_student, receipt, run

if TYPE_CHECKING:
    from engram_server.engine.archive import Archive

_MAX_STUDENT_BYTES: Final = 256 * 2**20
_MAX_STIMULUS_BYTES: Final = 512 * 2**20
_TIME_LIMIT_S: Final = 120.0
_SESSION_BYTES: Final = 16


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
    loaded = _load(archive, network)
    made_from = [network.sha256]
    if isinstance(stimulus, Mapping):
        arrays = stimulus
    else:
        recorded = archive.artifact(stimulus)
        arrays = decode_stimulus(_read(archive, recorded, limit=_MAX_STIMULUS_BYTES), max_bytes=_MAX_STIMULUS_BYTES)
        made_from.append(recorded.sha256)
    done = run(loaded, arrays, timeout_s=_TIME_LIMIT_S)
    saved = None
    if save_to is not None:
        given = encode_npz(done.stimulus) if isinstance(stimulus, Mapping) else None
        files = _files(loaded, done, save_to, given=given, made_from=tuple(made_from), now_ns=now_ns)
        saved = _save(archive, files, save_to, message=f"Replay of {loaded}", author=author)
    return ReplayResult(outputs=done.outputs, receipt=receipt(loaded, done), saved=saved)


def _load(archive: Archive, network: Artifact) -> Student:
    try:
        return load_student(_read(archive, network, limit=_MAX_STUDENT_BYTES), max_bytes=_MAX_STUDENT_BYTES)
    except InvalidInput as error:
        if network.kind is Kind.STUDENT:
            raise
        raise InvalidInput(f"{network.address} is a {network.kind}, not a student ({error})") from error


def _files(
    student: Student,
    done: Replay,
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
    metadata = receipt(student, done)
    spec = ArtifactSpec(
        path=path, size=len(outputs), kind=Kind.REPLAY, time_ns=now_ns, metadata=metadata, made_from=made_from
    )
    return [*files, (spec, outputs)]


def _save(
    archive: Archive, files: list[tuple[ArtifactSpec, bytes]], save_to: Address, *, message: str, author: str
) -> Artifact:
    """Deposit the files as one version; return the last."""
    memory = save_to.of(None).at(None)
    with archive.open_deposit(memory, session=secrets.token_hex(_SESSION_BYTES)) as deposit:
        for spec, body in files:
            deposit.begin(spec)
            deposit.write(body)
            deposit.end(sha256=hashlib.sha256(body).hexdigest())
        version = deposit.commit(message=message, author=author)
    return archive.artifact(version.address.of(files[-1][0].path))


def _read(archive: Archive, artifact: Artifact, *, limit: int) -> bytes:
    """Read an artifact whole, if it may be held in memory."""
    if artifact.size > limit:
        raise Exhausted(f"{artifact.address} has {artifact.size} bytes; a replay takes at most {limit}")
    return b"".join(archive.read(artifact.address))
