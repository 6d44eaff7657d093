"""Files into an archive and out of it again: resumable, checked, and never half done. Works through every door."""

from __future__ import annotations

import hashlib
import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

from engram_client.archive import Archive, Deposit
from engram_client.journal import Journal, deposit_key, new_session
from engram_client.local import check_destination, local_errors, written_whole
from engram_client.sources import Source, Warn, plan_sources
from engram_format.address import Address, AnyAddress, check_note
from engram_format.catalog import Artifact, ArtifactSpec, Kind, Metadata, Version
from engram_format.errors import Conflict, Damaged, EngramError, InvalidInput, NotFound
from engram_format.manifest import fitting_metadata
from engram_format.series import Description
from engram_layout import HEAD_BYTES, Planned
from engram_layout.sandbox import PlannerProcess

_READ_BYTES = 1 << 20
_SMALL_BYTES = 64 << 10
"""A file up to this size is sent whole: to ask how much of it had arrived before a cut would take longer than to send it."""
_ON_THE_WAY = 64
_PERMISSIONS = 0o777
_UNTRACED = "golden.absent"
"""Says of a student why it has no golden trace (SPEC.md section 9.5)."""


@dataclass(frozen=True, slots=True)
class Advance:
    """How far a transfer has come."""

    subject: str
    """The file or the artifact that moves now."""
    done: int
    """Bytes so far, of the whole transfer; what an earlier run had sent is counted."""
    total: int


@dataclass(frozen=True, slots=True)
class Arrival:
    """An artifact whose bytes have arrived, and what was found in it."""

    artifact: Artifact
    description: Description | None


Progress = Callable[[Advance], None]
Arrived = Callable[[Arrival], None]


def deposit_files(
    archive: Archive,
    files: Sequence[Path],
    *,
    to: Address,
    kind: Kind | None = None,
    message: str = "",
    author: str = "",
    metadata: Metadata | None = None,
    made_from: Sequence[str] = (),
    progress: Progress | None = None,
    warn: Warn | None = None,
    arrived: Arrived | None = None,
    journal: Journal | None = None,
) -> Version:
    """Deposit files and folders as one new version of the memory `to` and return it; `plan_sources` says what goes where.

    What is known of a folder goes with it, and so does one that holds nothing.
    Each file is planned first, in a child process with limits: where its arrays lie and what it says of itself; `metadata`
    outweighs that. `made_from` holds the SHA-256 (hex) of the artifacts that these were made from. `arrived` is told of each
    artifact when it has. With a journal, a call that was cut is resumed by the same call, and one whose commit succeeded
    unnoticed returns that version. Raises `InvalidInput` if a file grows, shrinks, is changed or vanishes meanwhile; then
    nothing is added.
    """
    if to.memory is None or to.version is not None:
        raise InvalidInput(f"{to} is no place for a deposit: name a memory, as vault/memory, without a version")
    check_note(message, what="message")
    check_note(author, what="author")
    memory = to.of(None)
    given = dict(metadata or {})
    sources = plan_sources(files, to=to, warn=warn or _say_nothing)
    told = [(str(source.path), source.artifact, source.size, source.time_ns) for source in sources.files]
    students: list[str] = []

    def note(arrival: Arrival) -> None:
        if arrival.artifact.kind is Kind.STUDENT:
            students.append(arrival.artifact.address.path or "")
        if arrived is not None:
            arrived(arrival)

    key = deposit_key(
        archive.url, memory, told, folders=sources.folders, kind=kind, metadata=given, made_from=made_from
    )
    session = journal.session(key) if journal else new_session()
    try:
        with archive.open_deposit(memory, session=session) as deposit:
            version = deposit.committed_version
            if version is None:
                template = ArtifactSpec(path="", size=0, kind=kind, metadata=given, made_from=tuple(made_from))
                with PlannerProcess() as planner:
                    sending = _Sending(
                        deposit,
                        template,
                        planner,
                        progress or _say_nothing,
                        warn or _say_nothing,
                        note,
                    )
                    sending.send(sources.files)
                version = deposit.commit(message=message, author=author, folders=sources.folders)
    except (InvalidInput, Conflict, Damaged):
        # This session can never be committed; the next run of the command has to begin another.
        if journal:
            journal.forget(key)
        raise
    if journal:
        journal.forget(key)
    _tell_untraced(archive, version, students, warn=warn or _say_nothing)
    return version


def _tell_untraced(archive: Archive, version: Version, students: Sequence[str], *, warn: Warn) -> None:
    """Warn of students that could not be run when they were deposited."""
    for path in students:
        try:
            reason = archive.artifact(version.address.of(path)).metadata.get(_UNTRACED)
        except EngramError:
            return  # the version is there, whatever became of the connection since
        if reason is not None:
            warn(f"{path} has no golden trace: {reason}")


def restore_file(
    archive: Archive,
    address: AnyAddress,
    dest: Path,
    *,
    start: int = 0,
    stop: int | None = None,
    progress: Progress | None = None,
    force: bool = False,
) -> Path:
    """Write the artifact's bytes from `start` up to `stop` to `dest`, a file's name or a folder, and return the file's path.

    The file appears under its name when all bytes are there and checked, or not at all. A whole restore has the original's
    time of change and permissions; a part of an artifact is readable by its owner only. Raises
    `AlreadyExists` if the name is taken, unless `force`, and `Damaged` if what comes is not what was deposited.
    """
    artifact = archive.artifact(address)
    path = destination_of(artifact, dest)
    check_destination(path, force=force)
    with written_whole(path, force=force) as file:
        for piece in _checked(archive, artifact, start=start, stop=stop, progress=progress or _say_nothing):
            file.write(piece)
        file.flush()
        if start == 0 and stop is None:
            restore_attributes(file.fileno(), artifact)
    return path


def restore_stream(
    archive: Archive,
    address: AnyAddress,
    out: BinaryIO,
    *,
    start: int = 0,
    stop: int | None = None,
    progress: Progress | None = None,
) -> Artifact:
    """Write the artifact's bytes from `start` up to `stop` to a stream; raises `Damaged` at the end if they are not whole."""
    artifact = archive.artifact(address)
    for piece in _checked(archive, artifact, start=start, stop=stop, progress=progress or _say_nothing):
        out.write(piece)
    out.flush()
    return artifact


def restore_attributes(file: int, artifact: Artifact) -> None:
    """Give an open file the time of change and the permissions of the original, as far as they are known.

    Only permissions: a file that would run as another user, or with another group, is none of ours to make.
    """
    if artifact.time_ns:
        os.utime(file, ns=(artifact.time_ns, artifact.time_ns))
    if artifact.mode:
        os.fchmod(file, artifact.mode & _PERMISSIONS)


def destination_of(artifact: Artifact, dest: Path) -> Path:
    """Return where a restore to `dest` puts an artifact: in it, under the artifact's last name, if it is a folder."""
    with local_errors(dest, "written"):
        return dest / _path_of(artifact).rpartition("/")[2] if dest.is_dir() else dest


def _checked(
    archive: Archive, artifact: Artifact, *, start: int, stop: int | None, progress: Progress
) -> Iterator[bytes]:
    if start < 0 or start > artifact.size or (stop is not None and stop < start):
        raise InvalidInput(
            f"bytes {start} to {'the end' if stop is None else stop} are no range of {artifact.address}, "
            f"which has {artifact.size} bytes"
        )
    total = min(artifact.size, artifact.size if stop is None else stop) - start
    digest, done = hashlib.sha256(), 0
    # `artifact.address` has its version number: a newer version committed meanwhile is not mixed in.
    for piece in archive.read(artifact.address, start=start, stop=stop):
        digest.update(piece)
        done += len(piece)
        yield piece
        progress(Advance(str(artifact.address), done, total))
    whole = total == artifact.size
    if done != total or (whole and digest.hexdigest() != artifact.sha256):
        raise Damaged(
            f"{artifact.address} came back with {done} of {total} bytes and SHA-256 {digest.hexdigest()}, "
            "which is not what was deposited: run 'engram verify'"
        )


@dataclass(frozen=True, slots=True)
class _Sending:
    """Sends files into one deposit, each planned first."""

    deposit: Deposit
    template: ArtifactSpec
    planner: PlannerProcess
    progress: Progress
    warn: Warn
    arrived: Arrived

    def send(self, sources: Sequence[Source]) -> None:
        """Send all files; small ones without waiting for one to arrive before the next is sent, a bounded number of them."""
        total, done = sum(source.size for source in sources), 0
        waiting: deque[Callable[[], Arrival]] = deque()
        for source in sources:
            if source.size <= _SMALL_BYTES:
                waiting.append(self._put(source))
                self.progress(Advance(str(source.path), done + source.size, total))
            else:
                self._settle(waiting)
                for position in self._send_one(source):
                    self.progress(Advance(str(source.path), done + position, total))
            self._settle(waiting, left=_ON_THE_WAY)
            done += source.size
        self._settle(waiting)

    def _settle(self, waiting: deque[Callable[[], Arrival]], *, left: int = 0) -> None:
        """Wait until no more than so many files are on their way."""
        while len(waiting) > left:
            self.arrived(waiting.popleft()())

    def _put(self, source: Source) -> Callable[[], Arrival]:
        """Send a small file as a whole, and return what waits until it has arrived."""
        with _opened(source) as file:
            planned = self._planned(file, source)
            spec = self._spec(planned, source)
            data = _read(file, source, source.size + 1)
            if len(data) != source.size:
                raise _changed(source, "grew" if len(data) > source.size else "shrank")
            _check_still(file, source)
        arriving = self.deposit.put(spec, data, sha256=hashlib.sha256(data).hexdigest(), plan=planned.plan)
        return lambda: Arrival(arriving(), planned.plan.description)

    def _send_one(self, source: Source) -> Iterator[int]:
        """Send one file, yielding how many of its bytes have been read; the SHA-256 goes over all of them."""
        with _opened(source) as file:
            planned = self._planned(file, source)
            offset = self.deposit.begin(self._spec(planned, source), planned.plan)
            digest, position = hashlib.sha256(), 0
            while position < source.size:
                piece = _read(file, source, min(_READ_BYTES, source.size - position))
                if not piece:
                    raise _changed(source, "shrank")
                digest.update(piece)
                if position + len(piece) > offset:
                    self.deposit.write(memoryview(piece)[max(offset - position, 0) :])
                position += len(piece)
                yield position
            if _read(file, source, 1):
                raise _changed(source, "grew")
            _check_still(file, source)
            artifact = self.deposit.end(sha256=digest.hexdigest())
        self.arrived(Arrival(artifact, planned.plan.description))

    def _spec(self, planned: Planned, source: Source) -> ArtifactSpec:
        return replace(
            self.template,
            path=source.artifact,
            size=source.size,
            time_ns=source.time_ns,
            mode=source.mode,
            metadata={**self._fitting(planned, source), **self.template.metadata},
        )

    def _fitting(self, planned: Planned, source: Source) -> Metadata:
        """Return what can be kept of what the file says of itself, beside what the depositor says."""
        given = self.template.metadata
        kept = fitting_metadata(planned.metadata, given=given)
        lost = [name for name in planned.metadata if name not in kept and name not in given]
        if lost:
            shown = ", ".join(map(repr, lost[:3])) + (f" and {len(lost) - 3} more" if len(lost) > 3 else "")
            self.warn(
                f"{source.path}: {shown} in its metadata cannot be stored and stand only in the file itself: too long"
            )
        return kept

    def _planned(self, file: BinaryIO, source: Source) -> Planned:
        with local_errors(source.path, "read"):
            head = file.read(HEAD_BYTES)
            file.seek(0)
        planned = self.planner.plan(source.path, size=source.size, head=head)
        for sentence in planned.warnings:
            self.warn(f"{source.path}: {sentence}")
        return planned


@contextmanager
def _opened(source: Source) -> Iterator[BinaryIO]:
    # Looked at by name first: opening what has become a pipe would wait for ever.
    _check_unchanged(source, _status_by_name(source))
    with _present(source):
        file = source.path.open("rb", buffering=0)
    with file:
        _check_unchanged(source, os.fstat(file.fileno()))
        yield file


def _read(file: BinaryIO, source: Source, size: int) -> bytes:
    with local_errors(source.path, "read"):
        return file.read(size)


def _status_by_name(source: Source) -> os.stat_result:
    with _present(source):
        return source.path.stat()


@contextmanager
def _present(source: Source) -> Iterator[None]:
    try:
        with local_errors(source.path, "read"):
            yield
    except NotFound as error:
        raise _changed(source, "vanished") from error


def _check_unchanged(source: Source, status: os.stat_result) -> None:
    if (status.st_dev, status.st_ino) != source.inode:
        raise _changed(source, "was replaced by another file")
    if status.st_size != source.size:
        raise _changed(source, "grew" if status.st_size > source.size else "shrank")
    if status.st_mtime_ns != source.time_ns:
        raise _changed(source, "was written to")


def _check_still(file: BinaryIO, source: Source) -> None:
    """Raise unless the file that has been read is still what it was, and has its name."""
    with local_errors(source.path, "read"):
        _check_unchanged(source, os.fstat(file.fileno()))
    _check_unchanged(source, _status_by_name(source))


def _changed(source: Source, what: str) -> InvalidInput:
    return InvalidInput(
        f"{source.path} {what} while it was deposited, so nothing was added: deposit it again when nothing writes to it"
    )


def _path_of(artifact: Artifact) -> str:
    if artifact.address.path is None:
        raise InvalidInput(f"{artifact.address} names no artifact: add its path, as vault/memory:path")
    return artifact.address.path


def _say_nothing(_: object) -> None:
    pass
