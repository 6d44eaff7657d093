"""The deposit pipeline: bytes in, frames in packs, one commit (SPEC.md section 11).

    begin, write -> cut -> [content id, find, compress]* -> pack -> [seal, verify, put] -> end -> commit

The parts in brackets run in other threads; queues are bounded, so memory does not grow with the artifact.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field
from types import TracebackType
from typing import Final, Self

from engram_format.address import check_name, check_path
from engram_format.catalog import ArtifactSpec
from engram_format.chunking import Chunker
from engram_format.codecs import Zstd
from engram_format.errors import Conflict, Damaged, InvalidInput, Precondition
from engram_format.history import Commit
from engram_format.ids import ContentId, Digest, SessionId
from engram_format.location import MAX_PAGE_FRAMES
from engram_format.manifest import Segment, check_metadata
from engram_layout import HEAD_BYTES, detect_kind, plan_opaque
from engram_store.commit import Ended, commit_session
from engram_store.dedup import KnownContent
from engram_store.frames import FrameReader
from engram_store.packing import EncodedFrame, PackWriter, encode_verified
from engram_store.rows import Rows
from engram_store.trail import Found, Resumed, Trail, find_session
from engram_store.vault import VaultStore

_FRAMES_IN_FLIGHT: Final = 6
"""Frames being encoded at once, of up to 4 MiB each; with two workers more would only wait."""


@dataclass(frozen=True, slots=True)
class _Encoded:
    content: ContentId
    raw_size: int
    frame: EncodedFrame | None
    """`None` where the vault already holds this content."""


@dataclass(slots=True)
class _Current:
    """The artifact that is being written."""

    spec: ArtifactSpec
    rows: Rows
    digest: hashlib._Hash
    head: bytearray = field(default_factory=bytearray)
    received: int = 0

    def take(self, data: bytes | memoryview) -> None:
        self.digest.update(data)
        if len(self.head) < HEAD_BYTES:
            self.head += data[: HEAD_BYTES - len(self.head)]
        self.received += len(data)


class DepositSession:
    """One session into one memory of a vault: several artifacts, one version. Used by one thread at a time.

    Opened again under the same id after a cut, it reads what its packs tell and goes on; what was stored is not stored again.
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
        self._sending: dict[str, int] = {}
        self._durable: dict[str, int] = {}
        self._current: _Current | None = None
        self._ended: dict[str, Ended] = {}
        history = store.refresh()
        self._committed = self._find_commit()
        if self._committed is not None:
            return
        resumes = store.session_exists(session)
        self._key = store.session_key(session) if resumes else store.create_session(session, secret=entropy(32))
        found = find_session(store, self._key) if resumes else Found()
        self._resumed = found.artifacts
        self._durable = {path: artifact.rows.size for path, artifact in found.artifacts.items()}
        self._known = KnownContent.of(history, frames)
        for content, location in found.contents:
            self._known.add(content, location)
        self._chunker = Chunker(seed=store.chunking_seed)
        self._packs = PackWriter(
            store,
            self._key,
            session,
            parity=parity,
            first=len(found.names),
            trail=self._take_trail,
            stored=self._note_stored,
            entropy=entropy,
        )
        self._packs.names[:0] = found.names

    @property
    def session(self) -> SessionId:
        """The session's id."""
        return self._session

    @property
    def committed(self) -> Commit | None:
        """What this session has committed, if it has."""
        return self._committed

    def durable(self, path: str) -> int:
        """Return how many bytes of the artifact at `path` would survive a crash now."""
        return self._durable.get(path, 0)

    def begin(self, spec: ArtifactSpec) -> int:
        """Start or continue an artifact; return the offset, in bytes, from which data is needed."""
        self._require_open()
        if self._current is not None:
            raise Precondition(f"artifact {self._current.spec.path!r} is not ended: end it before another begins")
        check_path(spec.path)
        check_metadata(spec.metadata)
        for digest in spec.made_from:
            Digest.parse(digest)
        if spec.size < 0 or spec.path in self._ended:
            raise InvalidInput(f"artifact {spec.path!r} was deposited in this session, or has a size below 0")
        resumed = self._resumed.pop(spec.path, Resumed())
        current = _Current(spec, resumed.rows, hashlib.sha256())
        if resumed.rows.size > spec.size:
            raise Conflict(
                f"{spec.path!r} had {resumed.rows.size} bytes when this session was cut and has {spec.size} now: "
                "deposit it in a new session"
            )
        for original in self._frames.stream(resumed.rows):  # SHA-256 goes on from where it was, over what is stored
            current.take(original)
        if resumed.sha256 is not None and resumed.sha256.raw != current.digest.digest():
            raise Damaged(
                f"what was stored of {spec.path!r} before the cut is not what was sent: deposit it in a new session"
            )
        self._current = current
        return current.received

    def write(self, data: bytes | memoryview) -> None:
        """Take the next bytes of the artifact; waits while the pipeline is full."""
        current = self._require_current()
        if current.received + len(data) > current.spec.size:
            raise InvalidInput(
                f"{current.spec.path!r} was announced with {current.spec.size} bytes and has more: it grew during the deposit"
            )
        current.take(data)
        self._encode(self._chunker.feed(data))

    def end(self, *, sha256: str) -> Ended:
        """Close the artifact; raises `InvalidInput` where size or SHA-256 are not what was announced."""
        current = self._require_current()
        self._encode(self._chunker.finish())
        self._drain(0)
        digest = Digest(current.digest.digest())
        if current.received != current.spec.size or digest != Digest.parse(sha256):
            raise InvalidInput(
                f"{current.spec.path!r} arrived with {current.received} bytes and SHA-256 {digest}, announced were "
                f"{current.spec.size} bytes and {sha256}: it changed during the deposit; deposit it again"
            )
        plan = plan_opaque(current.received)
        kind = current.spec.kind or detect_kind(bytes(current.head), size=current.received)
        segments = tuple(Segment("opaque", part.length, current.rows.count) for part in plan.segments)
        ended = Ended(current.spec, kind, digest, current.rows, segments)
        self._ended[current.spec.path] = ended
        self._trail.end(current.spec.path, digest)
        self._current = None
        return ended

    def commit(self, *, message: str, author: str) -> Commit:
        """Store what is left and append the version to the log; repeating it returns the same version."""
        if self._committed is not None:
            return self._committed
        if self._current is not None:
            raise Precondition(f"artifact {self._current.spec.path!r} is not ended: end it before the session commits")
        if not self._ended:
            raise InvalidInput("a version needs at least one artifact: deposit one before the session commits")
        self._packs.finish()
        self._committed = commit_session(
            self._store,
            self._frames,
            self._key,
            self._session,
            memory=self._memory,
            ended=list(self._ended.values()),
            known=self._known,
            packs=list(self._packs.names),
            message=message,
            author=author,
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
        if hasattr(self, "_packs"):
            self._packs.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _find_commit(self) -> Commit | None:
        history = self._store.refresh()
        done = history.sessions.get(self._session)
        if done is None:
            return None
        memory, number = done
        if memory != self._memory:
            raise Conflict(f"session {self._session} was committed into memory {memory!r}: use a new session")
        return history.at(memory, number)

    def _require_open(self) -> None:
        if self._committed is not None:
            raise Precondition(f"session {self._session} is committed: deposit more in a new session")

    def _require_current(self) -> _Current:
        self._require_open()
        if self._current is None:
            raise Precondition("no artifact is begun: begin one before its bytes are sent")
        return self._current

    def _encode(self, chunks: Iterator[bytes]) -> None:
        for chunk in chunks:
            self._in_flight.append(self._workers.submit(self._encode_one, chunk))
            self._drain(_FRAMES_IN_FLIGHT)

    def _encode_one(self, chunk: bytes) -> _Encoded:
        content = ContentId.of(chunk, id_key=self._store.id_key)
        if self._known.find(content, raw_size=len(chunk)) is not None:
            return _Encoded(content, len(chunk), None)
        return _Encoded(content, len(chunk), encode_verified(chunk, (Zstd(level=1),)))

    def _drain(self, left: int) -> None:
        while len(self._in_flight) > left:
            self._place(self._in_flight.popleft().result())

    def _place(self, encoded: _Encoded) -> None:
        """Give the frame its place, in order: where its content lies already, or in the current pack."""
        current = self._require_current()
        location = self._known.find(encoded.content, raw_size=encoded.raw_size)
        if location is None and encoded.frame is not None:
            location = self._packs.add(encoded.frame, content=encoded.content, trail_bytes=self._trail.bytes_bound)
            self._known.add(encoded.content, location)
        if location is None:
            raise Damaged(f"frame {encoded.content} was known and is not any more")
        current.rows.append(location)
        self._trail.append(current.spec.path, location)
        if self._trail.rows >= MAX_PAGE_FRAMES:  # long stretches of known content leave a trail too
            self._packs.ensure_pack()
            self._packs.flush(full=False)

    def _take_trail(self) -> bytes:
        trail, self._sending = self._trail.take()
        return trail

    def _note_stored(self) -> None:
        for path, advance in self._sending.items():
            self._durable[path] = self._durable.get(path, 0) + advance
        self._sending = {}
