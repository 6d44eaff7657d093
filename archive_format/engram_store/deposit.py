"""The deposit pipeline: bytes in, frames in packs, one commit (SPEC.md section 11).

    begin, write -> cut -> [content id, find, encode, decode]* -> pack -> [seal, verify, put] -> end -> commit

The parts in brackets run in other threads; queues are bounded, so memory does not grow with the artifact.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Final, Self

from engram_format.address import check_name, check_note, check_path, check_sha256
from engram_format.catalog import ArtifactSpec, Folder, Metadata
from engram_format.chunking import Chunker
from engram_format.codecs import Zstd
from engram_format.consent import check_consent
from engram_format.errors import Conflict, Damaged, InvalidInput, Precondition
from engram_format.folders import check_folder
from engram_format.history import Commit, History
from engram_format.ids import ContentId, Digest, SessionId
from engram_format.location import MAX_PAGE_FRAMES
from engram_format.manifest import MAX_MODE, check_metadata
from engram_format.series import Description
from engram_layout import Plan, plan_opaque
from engram_store.array_encoder import ArrayEncoder
from engram_store.arriving import Arriving
from engram_store.commit import Ended, commit_session
from engram_store.cutting import Cutter, Piece
from engram_store.dedup import KnownContent
from engram_store.frames import FrameReader
from engram_store.packing import EncodedFrame, PackWriter, encode_verified, verified
from engram_store.trail import Found, Resumed, Trail, find_session
from engram_store.vault import VaultStore

_FRAMES_IN_FLIGHT: Final = 16
_BYTES_IN_FLIGHT: Final = 16 * 2**20
"""Originals being encoded at once, in frames and in bytes; with two workers more would only wait."""
_ROOM: Final = 8192
"""More than one row and one path add to a trail."""
_MAX_ORIGINS: Final = 1024


@dataclass(frozen=True, slots=True)
class _Encoded:
    content: ContentId
    raw_size: int
    frame: EncodedFrame | None
    """`None` where the vault already holds this content."""


class DepositSession:
    """One session into one memory of a vault: several artifacts, one version. Used by one thread at a time.

    Opened again under the same id after a cut, it reads what its packs tell and goes on; what was stored is not stored again.
    After a failure inside the pipeline nothing more is accepted: opening the session again goes on from what is stored.
    """

    def __init__(
        self,
        store: VaultStore,
        frames: FrameReader,
        *,
        memory: str,
        session: SessionId,
        parity: bool,
        workers: Executor,
        clock: Callable[[], int] = time.time_ns,
        entropy: Callable[[int], bytes] = os.urandom,
    ) -> None:
        self._store, self._frames, self._workers = store, frames, workers
        self._memory = check_name(memory, what="memory")
        self._session, self._parity, self._clock, self._entropy = session, parity, clock, entropy
        self._trail = Trail()
        self._in_flight: deque[Future[_Encoded]] = deque()
        self._in_flight_bytes = 0
        self._sending: dict[str, int] = {}
        self._durable: dict[str, int] = {}
        self._current: Arriving | None = None
        self._ended: dict[str, Ended] = {}
        self._broken: BaseException | None = None
        self._packs: PackWriter | None = None
        history = store.refresh()
        self._next_number = len(history.commits.get(memory, ())) + 1
        self._committed = self._find_commit(history)
        if self._committed is None:
            history.require_readable()
            self._resume(history)

    @property
    def session(self) -> SessionId:
        """The session's id."""
        return self._session

    @property
    def committed(self) -> Commit | None:
        """What this session has committed, if it has."""
        return self._committed

    @property
    def next_number(self) -> int:
        """The number that this session's version has if nobody commits to the memory before it does."""
        return self._next_number

    def durable(self, path: str) -> int:
        """Return how many bytes of the artifact at `path` would survive a crash now."""
        return self._durable.get(path, 0)

    def begin(self, spec: ArtifactSpec, plan: Plan | None = None) -> int:
        """Start or continue an artifact; return the offset, in bytes, from which data is needed.

        A `plan` says where its arrays lie; without one its bytes are taken as they are.
        """
        self._writer()
        if self._current is not None:
            raise Precondition(f"artifact {self._current.spec.path!r} is not ended: end it before another begins")
        _check_spec(spec)
        if spec.path in self._ended:
            raise InvalidInput(f"artifact {spec.path!r} was deposited in this session already")
        resumed = self._resumed.get(spec.path, Resumed())
        if resumed.rows.size > spec.size:
            raise Conflict(
                f"{spec.path!r} had {resumed.rows.size} bytes when this session was cut and has {spec.size} now: "
                "deposit it in a new session"
            )
        plan = plan_opaque(spec.size) if plan is None else plan
        if plan.size != spec.size:
            raise InvalidInput(f"the plan of {spec.path!r} is one of {plan.size} bytes, and {spec.size} were announced")
        current = Arriving(spec, plan, resumed.rows, hashlib.sha256())
        for original in self._frames.stream(resumed.rows):  # SHA-256 goes on from where it was, over what is stored
            current.take(original)
        self._resumed.pop(spec.path, None)
        self._current = current
        self._cutter = Cutter(plan, self._chunker, start=current.received)
        return current.received

    def write(self, data: bytes | memoryview) -> None:
        """Take the next bytes of the artifact; waits while the pipeline is full."""
        current = self._require_current()
        if current.received + len(data) > current.spec.size:
            raise InvalidInput(
                f"{current.spec.path!r} was announced with {current.spec.size} bytes and has more: it grew during the deposit"
            )
        with self._unbroken():
            current.take(data)
            for piece in self._cutter.feed(data):
                self._encode(current, piece)

    def end(self, *, sha256: str) -> Ended:
        """Close the artifact.

        Raises `InvalidInput` where size or SHA-256 are not what was announced; this session can then not be committed.
        """
        current = self._require_current()
        check_sha256(sha256)
        with self._unbroken():
            self._drain()
            digest = Digest(current.digest.digest())
            if current.received != current.spec.size or str(digest) != sha256:
                raise InvalidInput(
                    f"{current.spec.path!r} arrived with {current.received} bytes and SHA-256 {digest}, announced were "
                    f"{current.spec.size} bytes and {sha256}: it changed during the deposit; deposit it again"
                )
            if current.rows.size != current.received:
                raise Damaged(f"the recipe of {current.spec.path!r} has a hole: deposit it in a new session")
            self._trail.end(current.spec.path, digest)
            self._make_room_for_trail()
        kind = current.spec.kind or current.kind
        ended = Ended(current.spec, kind, digest, current.rows, (current.segment,), current.plan.description)
        self._ended[current.spec.path] = ended
        self._current = None
        return ended

    @property
    def ended(self) -> tuple[Ended, ...]:
        """The artifacts that have ended."""
        return tuple(self._ended.values())

    def seal(self) -> tuple[Ended, ...]:
        """Make all that has ended durable, and return it: from now on it can be read with `original`."""
        packs = self._writer()
        if self._current is not None:
            raise Precondition(
                f"artifact {self._current.spec.path!r} is not ended: end it before the session is sealed"
            )
        with self._unbroken():
            packs.finish()
        return self.ended

    def original(self, path: str) -> Iterator[bytes | memoryview]:
        """Yield the bytes of an artifact of this session, which is sealed."""
        return self._frames.stream(self._ended[path].rows)

    def describe(self, path: str, *, metadata: Metadata, description: Description | None) -> None:
        """Set what is said of an artifact that has ended and is not committed yet."""
        self._writer()
        ended = self._ended[path]
        spec = replace(ended.spec, metadata=check_metadata(metadata))
        self._ended[path] = replace(ended, spec=spec, description=description)

    def commit(self, *, message: str, author: str, folders: Iterable[Folder] = ()) -> Commit:
        """Store what is left and append the version to the log; repeating it returns the same version.

        `folders` says what is known of folders in it, those that hold nothing among them.
        """
        if self._committed is not None:
            return self._committed
        packs = self._writer()
        check_note(message, what="message")
        check_note(author, what="author")
        known = {folder.path: check_folder(folder) for folder in folders}
        if self._current is not None:
            raise Precondition(f"artifact {self._current.spec.path!r} is not ended: end it before the session commits")
        if not self._ended:
            raise InvalidInput("a version needs at least one artifact: deposit one before the session commits")
        with self._unbroken():
            packs.finish()
        self._committed = commit_session(
            self._store,
            self._frames,
            self._key,
            self._session,
            memory=self._memory,
            ended=list(self._ended.values()),
            known=self._known,
            packs=list(packs.names),
            message=message,
            author=author,
            folders=known,
            parity=self._parity,
            clock=self._clock,
            entropy=self._entropy,
        )
        return self._committed

    def close(self) -> None:
        """Let go of threads and buffers; what was not committed can be resumed."""
        for future in self._in_flight:
            future.cancel()
        self._in_flight.clear()
        if self._packs is not None:
            self._packs.close()
            self._packs = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _find_commit(self, history: History) -> Commit | None:
        done = history.sessions.get(self._session)
        if done is None:
            return None
        memory, number = done
        if memory != self._memory:
            raise Conflict(f"session {self._session} was committed into memory {memory!r}: use a new session")
        return history.at(memory, number)

    def _resume(self, history: History) -> None:
        """Start the session, or find what an earlier process has stored of it."""
        resumes = self._store.session_exists(self._session)
        self._key = (
            self._store.resumed_key(self._session)
            if resumes
            else self._store.create_session(self._session, secret=self._entropy(32))
        )
        self._known = KnownContent.of(self._store, history, self._frames, parity=self._parity)
        found = find_session(self._store, self._key, self._known) if resumes else Found()
        self._resumed = found.artifacts
        self._durable = {path: artifact.rows.size for path, artifact in found.artifacts.items()}
        self._chunker = Chunker(seed=self._store.chunking_seed)
        self._packs = PackWriter(
            self._store,
            self._key,
            self._session,
            parity=self._parity,
            first=len(found.names),
            trail=self._take_trail,
            stored=self._note_stored,
            entropy=self._entropy,
        )
        self._packs.names[:0] = found.names

    def _writer(self) -> PackWriter:
        if self._committed is not None:
            raise Precondition(f"session {self._session} is committed: deposit more in a new session")
        if self._broken is not None:
            raise Precondition(
                f"session {self._session} has failed ({self._broken}): open it again to go on from what is stored"
            )
        if self._packs is None:
            raise Precondition(f"session {self._session} is closed: open it again")
        return self._packs

    def _require_current(self) -> Arriving:
        self._writer()
        if self._current is None:
            raise Precondition("no artifact is begun: begin one before its bytes are sent")
        return self._current

    @contextlib.contextmanager
    def _unbroken(self) -> Iterator[None]:
        """After a failure in here, whatever it was, frames may be missing: the session must not go on as if none were."""
        try:
            yield
        except BaseException as error:
            self._broken = error
            raise

    def _encode(self, current: Arriving, piece: Piece) -> None:
        encoder = None if piece.array is None else current.encoder(piece.array)
        self._in_flight.append(self._workers.submit(self._encode_one, piece, encoder, level=current.level_for(piece)))
        self._in_flight_bytes += len(piece.data)
        self._drain(frames=_FRAMES_IN_FLIGHT, originals=_BYTES_IN_FLIGHT)

    def _encode_one(self, piece: Piece, encoder: ArrayEncoder | None, *, level: int) -> _Encoded:
        original = piece.data
        content = ContentId.of(original, id_key=self._store.id_key)
        if self._known.find(content, raw_size=len(original)) is not None:
            return _Encoded(content, len(original), None)
        if encoder is None:
            return _Encoded(content, len(original), encode_verified(original, (Zstd(level=level),)))
        return _Encoded(content, len(original), verified(original, encoder.candidates(original, pieces=piece.chunks)))

    def _drain(self, *, frames: int = 0, originals: int = 0) -> None:
        """Wait until no more than so many frames, and bytes of originals, are under way."""
        while self._in_flight and (len(self._in_flight) > frames or self._in_flight_bytes > originals):
            encoded = self._in_flight.popleft().result()
            self._in_flight_bytes -= encoded.raw_size
            self._place(encoded)

    def _place(self, encoded: _Encoded) -> None:
        """Give the frame its place, in order: where its content lies already, or in the current pack."""
        current = self._require_current()
        location = self._known.find(encoded.content, raw_size=encoded.raw_size)
        if location is None and encoded.frame is not None:
            room = self._trail.room_for(current.spec.path)
            location = self._writer().add(encoded.frame, content=encoded.content, trail_bytes=room)
            self._known.add(encoded.content, location)
        if location is None:
            raise Damaged(f"frame {encoded.content} was known and is not any more")
        current.rows.append(location)
        self._trail.append(current.spec.path, location)
        self._make_room_for_trail()

    def _make_room_for_trail(self) -> None:
        """Send the current pack off where its table could not hold more trail: known content leaves rows without frames."""
        packs = self._writer()
        if self._trail.rows >= MAX_PAGE_FRAMES or not packs.has_room(trail_bytes=self._trail.bytes_bound + _ROOM):
            packs.ensure_pack()
            packs.flush(full=False)

    def _take_trail(self) -> bytes:
        trail, self._sending = self._trail.take()
        return trail

    def _note_stored(self) -> None:
        for path, advance in self._sending.items():
            self._durable[path] = self._durable.get(path, 0) + advance
        self._sending = {}


def _check_spec(spec: ArtifactSpec) -> None:
    """Raise `InvalidInput` for what cannot be stored."""
    check_path(spec.path)
    check_consent(check_metadata(spec.metadata))
    for digest in spec.made_from:
        check_sha256(digest)
    if not 0 <= spec.mode <= MAX_MODE:
        raise InvalidInput(f"artifact {spec.path!r} has permission bits that do not exist: {spec.mode:o}")
    if spec.size < 0 or not -(2**63) <= spec.time_ns < 2**63 or len(spec.made_from) > _MAX_ORIGINS:
        raise InvalidInput(
            f"artifact {spec.path!r} has a size below 0, a time beyond 64 bits, or more than {_MAX_ORIGINS} origins"
        )
