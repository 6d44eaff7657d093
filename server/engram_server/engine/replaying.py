"""The use case of replaying: student and stimulus out of the archive, what it did back into it."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from engram_format.address import Address, AnyAddress
from engram_format.catalog import AnyArray, Artifact, ArtifactSpec, Kind, ReplayResult
from engram_format.errors import Exhausted
from engram_replay import Replay, Student, decode_stimulus, encode_npz, load_student, receipt, run

if TYPE_CHECKING:
    from engram_server.engine.archive import Archive

_MAX_STUDENT_BYTES: Final = 256 * 2**20
_MAX_STIMULUS_BYTES: Final = 512 * 2**20
_TIME_LIMIT_S: Final = 600.0
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
    loaded = load_student(_read(archive, network, limit=_MAX_STUDENT_BYTES), max_bytes=_MAX_STUDENT_BYTES)
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
        saved = _save(archive, loaded, done, save_to, made_from=tuple(made_from), author=author, now_ns=now_ns)
    return ReplayResult(outputs=done.outputs, receipt=receipt(loaded, done), saved=saved)


def _save(
    archive: Archive,
    student: Student,
    done: Replay,
    save_to: Address,
    *,
    made_from: tuple[str, ...],
    author: str,
    now_ns: int,
) -> Artifact:
    """Deposit the outputs as one `.npz`, with the receipt as its metadata."""
    body = encode_npz(done.outputs)
    moment = datetime.fromtimestamp(now_ns / 1e9, tz=UTC)
    path = save_to.path or f"replays/{moment:%Y-%m-%dT%H-%M-%S-%f}.npz"
    spec = ArtifactSpec(
        path=path,
        size=len(body),
        kind=Kind.REPLAY,
        time_ns=now_ns,
        metadata=receipt(student, done),
        made_from=made_from,
    )
    memory = save_to.of(None).at(None)
    with archive.open_deposit(memory, session=secrets.token_hex(_SESSION_BYTES)) as deposit:
        deposit.begin(spec)
        deposit.write(body)
        deposit.end(sha256=hashlib.sha256(body).hexdigest())
        version = deposit.commit(message=f"Replay of {student}", author=author)
    return archive.artifact(version.address.of(path))


def _read(archive: Archive, artifact: Artifact, *, limit: int) -> bytes:
    """Read an artifact whole, if it may be held in memory."""
    if artifact.size > limit:
        raise Exhausted(f"{artifact.address} has {artifact.size} bytes; a replay takes at most {limit}")
    return b"".join(archive.read(artifact.address))
