"""The use cases of minds: students out of an archive, run by a host, and their states kept in it."""

from __future__ import annotations

import asyncio
import hashlib
import threading
from collections.abc import Coroutine, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, TypeVar

from engram_format.address import Address, AnyAddress
from engram_format.catalog import AnyArray, Artifact, ArtifactSpec, Kind, Scalar
from engram_format.errors import Exhausted, InvalidInput
from engram_replay import (
    Contract,
    Execution,
    HostLimits,
    MindHost,
    MindSession,
    StudentSource,
    decode_stimulus,
    digest_arrays,
    encode_npz,
)
from engram_replay.drawing import SEED
from engram_replay.host import GroupAnswer
from engram_replay.noise import seed_of
from engram_server.engine.saving import save_files

if TYPE_CHECKING:
    from engram_server.engine.archive import Archive

T = TypeVar("T")

_MAX_ARRAY_BYTES: Final = 512 << 20
"""Of a stimulus, of responses, of states: what is read whole, and what it becomes."""
CONSTANT_PREFIX: Final = "constant."
"""The entries of such an artifact's metadata that hold the constants of its minds."""
CHECKPOINT: Final = "checkpoint"
"""The `replay.mode` of an artifact that holds the state of minds."""


class Minds:
    """The minds of one archive's students. Coroutines run in one loop: the service's, or one on a thread of its own."""

    def __init__(self, archive: Archive, limits: HostLimits | None = None) -> None:
        self._archive = archive
        self._limits = limits or HostLimits()
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._host: MindHost | None = None

    def bind(self, loop: asyncio.AbstractEventLoop, limits: HostLimits | None = None) -> None:
        """Run in this loop from now on, and within these limits if given; sessions of another loop end."""
        self.close()
        with self._lock:
            self._loop = loop
            self._limits = limits or self._limits

    @property
    def limits(self) -> HostLimits:
        """What students may cost."""
        return self._limits

    @property
    def host(self) -> MindHost:
        """The host of all sessions; to be used in its loop."""
        with self._lock:
            if self._host is None:
                self._host = MindHost(self._limits)
            return self._host

    def wait(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine in the loop from any other thread, and return what it returns."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._running()).result()

    async def source(self, student: AnyAddress) -> tuple[Artifact, StudentSource]:
        """Return a student's artifact and how to load it; raises `NotFound`."""
        artifact = await asyncio.to_thread(self._archive.artifact, student)
        return artifact, source_of(self._archive, artifact, limit=self._limits.student_bytes)

    async def open(
        self,
        student: AnyAddress,
        *,
        minds: int = 1,
        execution: Execution | None = None,
        constants: Mapping[str, Scalar] | None = None,
        initial_state: Mapping[str, AnyArray] | AnyAddress | None = None,
        sample: int | None = None,
        steps: int = 0,
    ) -> MindSession:
        """Open a session of a student's minds, with the states given or kept at an address, that have taken so many steps.

        Noise is drawn from the seed `sample`, else from the contract's.

        Raises as `MindHost.open` does, and `InvalidInput` where the state at the address is another student's.
        """
        artifact, source = await self.source(student)
        if initial_state is None or isinstance(initial_state, Mapping):
            state = initial_state
        else:
            state = await asyncio.to_thread(self._kept_state, artifact, initial_state)
        return await self.host.open(
            source,
            minds=minds,
            execution=execution,
            constants=constants,
            initial_state=state,
            sample=seed_of(artifact.metadata, sample, what=str(artifact.address)),
            steps=steps,
        )

    async def contract(self, student: AnyAddress) -> tuple[Artifact, Contract]:
        """Return a student and its contract."""
        artifact, source = await self.source(student)
        return artifact, await self.host.contract(source)

    async def infer(
        self, student: AnyAddress, feed: Mapping[str, AnyArray], *, allow_nan: bool = False
    ) -> Mapping[str, AnyArray]:
        """Call a student's network once, inputs and outputs in its own order of axes."""
        _, source = await self.source(student)
        return await self.host.infer(source, feed, allow_nan=allow_nan)

    async def run_group(self, students: Sequence[StudentSource], stimulus: Mapping[str, AnyArray]) -> GroupAnswer:
        """Run several students over one stimulus, as one network where that wins."""
        return await self.host.replay_group(students, stimulus)

    async def save(
        self,
        session: MindSession,
        save_to: Address,
        *,
        author: str,
        now_ns: int,
        constants: Mapping[str, Scalar] | None = None,
    ) -> Artifact:
        """Keep the state of a session's minds, and the constants that they were given, as a new version of a memory."""
        state, steps = await session.state(), session.steps  # another thread may go on while these are kept
        return await asyncio.to_thread(self._save, session, state, steps, save_to, author, now_ns, constants or {})

    async def end(self) -> None:
        """End all sessions and processes at once, and run nothing more; whoever waits for an answer gets `Unavailable`."""
        await self.host.close()

    def close(self) -> None:
        """End all sessions and processes."""
        with self._lock:
            host, thread, loop = self._host, self._thread, self._loop
            self._host = self._thread = self._loop = None
        if loop is None:
            return
        if host is not None and loop.is_running():
            asyncio.run_coroutine_threadsafe(host.close(), loop).result()
        if thread is not None:
            loop.call_soon_threadsafe(loop.stop)
            thread.join()
            loop.close()

    def _running(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                self._thread = threading.Thread(target=self._loop.run_forever, name="engram-minds", daemon=True)
                self._thread.start()
            return self._loop

    def _kept_state(self, student: Artifact, address: AnyAddress) -> Mapping[str, AnyArray]:
        kept = self._archive.artifact(address)
        if kept.metadata.get("replay.mode") != CHECKPOINT:
            raise InvalidInput(f"{kept.address} holds no state of minds: name one that `engram mind save` has kept")
        if kept.metadata.get("student.sha256") != student.sha256:
            raise InvalidInput(f"{kept.address} is the state of another student than {student.address}: name its own")
        return read_arrays(self._archive, kept)

    def _save(
        self,
        session: MindSession,
        state: Mapping[str, AnyArray],
        steps: int,
        save_to: Address,
        author: str,
        now_ns: int,
        constants: Mapping[str, Scalar],
    ) -> Artifact:
        if not state:
            raise InvalidInput(
                f"{session.student.name} has no state that could be kept: it answers each step by itself"
            )
        body = encode_npz(state)
        moment = datetime.fromtimestamp(now_ns / 1e9, tz=UTC)
        metadata: dict[str, Scalar] = {
            "replay.mode": CHECKPOINT,
            "student.sha256": session.student.sha256,
            "mind.count": session.minds,
            "mind.step": steps,
            "state.sha256": digest_arrays(state),
            **{f"{CONSTANT_PREFIX}{name}": value for name, value in constants.items()},
            **session.profile,
        }
        if session.sample is not None:
            metadata[SEED] = session.sample
        spec = ArtifactSpec(
            path=save_to.path or f"minds/{moment:%Y-%m-%dT%H-%M-%S-%f}.npz",
            size=len(body),
            kind=Kind.REPLAY,
            time_ns=now_ns,
            metadata=metadata,
            made_from=(session.student.sha256,),
        )
        return save_files(
            self._archive, [(spec, body)], save_to, message=f"Minds of {session.student.name}", author=author
        )[0]


def source_of(archive: Archive, artifact: Artifact, *, limit: int) -> StudentSource:
    """Return how a student is loaded; its bytes are decrypted into memory and never touch a disk."""

    def read() -> Iterator[bytes]:
        check_size(artifact, limit=limit)
        digest = hashlib.sha256()
        for part in archive.read(artifact.address):
            digest.update(part)
            yield part
        if digest.hexdigest() != artifact.sha256:
            raise AssertionError("a whole read is checked against the artifact's digest")

    return StudentSource(artifact.sha256, read, artifact.metadata)


def read_whole(archive: Archive, artifact: Artifact, *, limit: int) -> bytes:
    """Read an artifact whole, if it may be held in memory."""
    check_size(artifact, limit=limit)
    return b"".join(archive.read(artifact.address))


def read_arrays(archive: Archive, artifact: Artifact) -> Mapping[str, AnyArray]:
    """Read an artifact that holds arrays, if they may be held in memory."""
    return decode_stimulus(read_whole(archive, artifact, limit=_MAX_ARRAY_BYTES), max_bytes=_MAX_ARRAY_BYTES)


def check_size(artifact: Artifact, *, limit: int) -> None:
    """Raise `Exhausted` for an artifact of more bytes than a replay takes."""
    if artifact.size > limit:
        raise Exhausted(f"{artifact.address} has {artifact.size} bytes; a replay takes at most {limit}")
