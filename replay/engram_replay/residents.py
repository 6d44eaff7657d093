"""Students that have a process: loaded once each, let go of when memory is short or nobody uses them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from engram_format.catalog import Scalar
from engram_format.encoding import Encodable
from engram_format.errors import EngramError, Exhausted, FormatError, Unavailable
from engram_replay.contract import CONTRACT_PREFIX, Contract
from engram_replay.execution import Execution
from engram_replay.handing import Handing, Parts
from engram_replay.nursery import Nursery
from engram_replay.process import StudentProcess
from engram_replay.wire import Op, scalars

_ABANDONED_S: Final = 1.0
"""How long a student may go on with a call whose caller has gone, and all sessions with it."""

Key = tuple[object, ...]
"""What students in one process have in common: digest, contract as told, execution."""


@dataclass(frozen=True, slots=True)
class HostLimits:
    """What students may cost."""

    student_bytes: int = 256 << 20
    """The largest network that is loaded."""
    memory_bytes: int = 2 << 30
    """Address space of a student's process beyond what it has at rest."""
    load_s: float = 20.0
    call_s: float = 120.0
    """The longest that one call may take."""
    answer_bytes: int = 2 << 30
    """The largest answer that is taken from a student's process."""
    sessions: int = 4096
    minds: int = 1 << 16
    """Minds of one session."""
    processes: int = 256
    """Students that are loaded at once; each has a process and one open socket."""
    idle_s: float = 600.0
    """A session that is not used for so long ends, and a student without sessions too."""
    allow_loops: bool = False
    """Let `Loop` and `Scan` pass the gate: for students from trusted hands."""
    budget_bytes: int = 4 << 30
    """Memory of all students together; those without sessions are let go of first, the longest unused one first."""


@dataclass(frozen=True, slots=True)
class StudentSource:
    """A student that can be loaded: its digest, and how to get its bytes when they are needed."""

    sha256: str
    read: Callable[[], Parts]
    """Returns the network's bytes, whole or as parts that follow one another.

    Called on a thread, at most once for each loading; so is each part asked for, by one thread at a time.
    """
    told: Mapping[str, Scalar] = field(default_factory=dict)
    """The artifact's metadata; a contract in it has precedence over what the network tells."""

    @property
    def name(self) -> str:
        """The student as errors name it."""
        return f"student {self.sha256[:12]}"


_SPARE_AFTER_S: Final = 0.1
"""A spare process is made when the student before it is loaded, not beside it."""
_AT_REST_BYTES: Final = 12 << 20
"""What a process holds for itself without a student."""


class Resident:
    """A student that has a process."""

    def __init__(
        self, process: StudentProcess, contract: Contract, profile: Mapping[str, Scalar], *, held_bytes: int
    ) -> None:
        self.process = process
        self.contract = contract
        self.profile = profile
        self.sessions = 0
        self.held_bytes = held_bytes
        """Memory that the process alone held when it was last looked at, which takes milliseconds; at first an estimate."""
        self.used = asyncio.get_running_loop().time()

    @property
    def in_use(self) -> bool:
        """Whether it has sessions, or is answering."""
        return self.sessions > 0 or self.process.busy

    def touch(self) -> None:
        """Note that it is used now."""
        self.used = asyncio.get_running_loop().time()


class Residents:
    """The students of one host. Used from one event loop."""

    def __init__(self, limits: HostLimits) -> None:
        self._limits = limits
        self._nursery = Nursery()
        self._shared: dict[Key, asyncio.Task[Resident]] = {}
        self._idle: dict[Key, list[Resident]] = {}
        self._lent: set[Resident] = set()
        """Students that one replay each has for itself."""
        self._arriving: set[Handing] = set()
        """Students on their way."""
        self._spare: asyncio.Task[StudentProcess] | None = None
        """A process that is ready for the next student: making one takes longer than loading a student."""

    async def shared(self, student: StudentSource, execution: Execution) -> Resident:
        """Return the student that all sessions share, loading it once however many ask.

        Raises `Refused` where the gate refuses it, `InvalidInput` where it is no network, `Exhausted` for no memory.
        """
        resident = await self._loaded(student, execution)
        if resident.process.ended:
            # It was let go of to make room for another, in the moment between its loading and its first use.
            resident = await self._loaded(student, execution)
        resident.touch()
        return resident

    async def _loaded(self, student: StudentSource, execution: Execution) -> Resident:
        key = _key(student, execution)
        task = self._shared.get(key)
        if task is None or (task.done() and not _lives(task)):
            task = asyncio.create_task(self._load(student, execution))
            self._shared[key] = task
        try:
            return await asyncio.shield(task)
        except EngramError:
            if self._shared.get(key) is task:
                del self._shared[key]
            raise

    async def borrow(self, student: StudentSource, execution: Execution) -> Resident:
        """Return a student that nobody else uses until it is given back."""
        idle = self._idle.get(_key(student, execution), [])
        resident = None
        while idle and (resident is None or resident.process.ended):
            resident = idle.pop()
        if resident is None or resident.process.ended:
            resident = await self._load(student, execution)
        self._lent.add(resident)
        return resident

    def give_back(self, student: StudentSource, execution: Execution, resident: Resident) -> None:
        """Keep a student that was borrowed for whoever borrows it next."""
        self._lent.discard(resident)
        if not resident.process.ended:
            resident.touch()
            self._idle.setdefault(_key(student, execution), []).append(resident)

    def let_go(self, student: StudentSource, execution: Execution) -> None:
        """End the process that sessions share, if there is one without sessions."""
        task = self._shared.get(_key(student, execution))
        if task is None or not task.done() or not _lives(task) or task.result().in_use:
            return
        task.result().process.finish(Unavailable("the student was let go of: open a new session"))
        self._forget()

    async def look(self) -> None:
        """Look at how much memory each student holds, on a thread: it takes milliseconds for each."""
        for resident in [*self._here(), *self._lent]:
            resident.held_bytes = await asyncio.to_thread(resident.process.look)

    def end_unused(self, *, since: float) -> None:
        """End students that have no sessions and were not used since a time of the loop's clock, or run on for nobody."""
        for resident in self._here():
            if not resident.in_use and (resident.used < since or resident.process.abandoned_s > _ABANDONED_S):
                resident.process.finish(Unavailable("the student was not used and let go of"))
        self._forget()

    async def close(self) -> None:
        """End all processes."""
        spare, self._spare = self._spare, None
        loading = [*self._shared.values(), *([] if spare is None else [spare])]
        for task in loading:
            task.cancel()
        for resident in self._here():
            resident.process.finish(Unavailable("the host was closed"))
        if spare is not None and spare.done() and not spare.cancelled() and spare.exception() is None:
            spare.result().finish(Unavailable("the host was closed"))
        # Before anything is waited for: a process that is being made is ended as soon as it is there.
        await asyncio.to_thread(self._nursery.close)
        await asyncio.gather(*loading, return_exceptions=True)
        self._forget()

    async def _load(self, student: StudentSource, execution: Execution) -> Resident:
        self._make_room()
        network = Handing(student.read)
        self._arriving.add(network)
        try:
            await network.begin()  # what cannot be read needs no process
            process = await self.process(what=student.name)
            try:
                most = self._limits.student_bytes
                await network.give_to(process, most_bytes=most, too_large=too_large(student, most))
                return await self._settle(process, student, network.size, execution)
            except BaseException:
                process.finish(Unavailable(f"{student.name} was not loaded"))
                raise
        finally:
            self._arriving.discard(network)

    async def process(self, *, what: str) -> StudentProcess:
        """Return a process without a student, to be ended by the caller, and let another one be made for the next."""
        spare, self._spare = self._spare, None
        if spare is not None and not spare.done():
            spare.cancel()  # it still waits for its time, or is being made: one that is made now is as soon there
            spare = None
        # One that could not be made when nobody needed it says nothing of now.
        ready = None if spare is None or spare.cancelled() or spare.exception() else spare.result()
        process = await self._start() if ready is None or ready.ended else ready
        if self._spare is None:  # several students may be loaded at once: one spare is enough for all
            self._spare = asyncio.create_task(self._start(after_s=_SPARE_AFTER_S))
        process.what = what
        return process

    async def _start(self, *, after_s: float = 0.0) -> StudentProcess:
        await asyncio.sleep(after_s)
        return await StudentProcess.start(self._nursery, memory_bytes=self._limits.memory_bytes, what="a student")

    async def _settle(
        self, process: StudentProcess, student: StudentSource, size: int, execution: Execution
    ) -> Resident:
        """Have a process load the student of `size` bytes that it was given."""
        head: dict[int, Encodable] = {
            1: dict(contract_in(student.told)),
            2: dict(execution.to_fields()),
            3: self._limits.allow_loops,
        }
        fields, _ = await process.ask(Op.LOAD, head, limit_s=self._limits.load_s)
        with process.believing():
            contract = Contract.from_metadata(scalars(fields.mapping(1)))
            if contract is None:
                raise FormatError("a student without a contract")
            return Resident(process, contract, scalars(fields.mapping(2)), held_bytes=_estimate(size))

    def _make_room(self) -> None:
        """End students without sessions until the rest fit the budget; raises `Exhausted` where that is not enough."""
        self._forget()
        here = self._here()
        held = sum(one.held_bytes for one in (*here, *self._lent))
        held += sum(_estimate(network.size) for network in self._arriving)
        count = len(here) + len(self._lent) + len(self._arriving)
        for resident in sorted((one for one in here if not one.in_use), key=lambda one: one.used):
            if held <= self._limits.budget_bytes and count < self._limits.processes:
                break
            held -= resident.held_bytes
            count -= 1
            resident.process.finish(Unavailable("the student was let go of to make room: open a new session"))
        self._forget()
        if held > self._limits.budget_bytes:
            raise Exhausted(
                f"the students in use hold {held >> 20} MiB of {self._limits.budget_bytes >> 20}: close sessions and retry"
            )
        if count >= self._limits.processes:
            raise Exhausted(
                f"{count} students are in use, and at most {self._limits.processes} are loaded: close sessions and retry"
            )

    def _here(self) -> list[Resident]:
        """Return the students that are loaded, without those that are lent."""
        return [
            *(task.result() for task in self._shared.values() if task.done() and _lives(task)),
            *(resident for idle in self._idle.values() for resident in idle if not resident.process.ended),
        ]

    def _forget(self) -> None:
        """Forget students whose processes have ended."""
        self._lent = {resident for resident in self._lent if not resident.process.ended}
        for key, task in list(self._shared.items()):
            if task.done() and not _lives(task):
                del self._shared[key]
        self._idle = {
            key: alive for key, idle in self._idle.items() if (alive := [one for one in idle if not one.process.ended])
        }


def _estimate(size: int) -> int:
    """Return about the memory, in bytes, that a student of `size` bytes takes until it is looked at."""
    return _AT_REST_BYTES + 2 * size


def too_large(student: StudentSource, most_bytes: int) -> Exhausted:
    """Return the error of a student that has more bytes than may be loaded."""
    return Exhausted(
        f"{student.name} has more than {most_bytes} bytes, the bound of what is loaded: raise the bound to replay it"
    )


def _lives(task: asyncio.Task[Resident]) -> bool:
    """Say whether a loading that is over gave a student whose process is still there."""
    return not task.cancelled() and task.exception() is None and not task.result().process.ended


def _key(student: StudentSource, execution: Execution) -> Key:
    return student.sha256, execution, tuple(sorted(contract_in(student.told).items()))


def contract_in(metadata: Mapping[str, Scalar]) -> dict[str, Scalar]:
    """Return the entries of metadata that say a contract."""
    return {name: value for name, value in metadata.items() if name.startswith(CONTRACT_PREFIX)}
