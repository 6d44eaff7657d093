"""Where minds run: students loaded once each in a process of their own, sessions of minds in them.

Asynchronous, and used from one event loop. The engine holds one host; both doors reach it through the engine.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from engram_format.catalog import AnyArray, Scalar
from engram_format.encoding import Encodable
from engram_format.errors import EngramError, Exhausted, FormatError, InvalidInput, NotFound, Unavailable
from engram_replay.contract import CONTRACT_PREFIX, Contract, Port
from engram_replay.execution import Execution
from engram_replay.nursery import Nursery
from engram_replay.process import StudentProcess
from engram_replay.wire import Op, pack_shapes, pack_tick, raw, unpack_plain

_SWEEP_S: Final = 5.0
_SMALL_S: Final = 10.0
"""How long opening, forking and reading a state may take."""


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
    sessions: int = 4096
    idle_s: float = 600.0
    """A session that is not used for so long ends, and a student without sessions too."""
    budget_bytes: int = 4 << 30
    """Memory of all students together; those without sessions are let go of first, the longest unused one first."""


@dataclass(frozen=True, slots=True)
class StudentSource:
    """A student that can be loaded: its digest, and how to get its bytes when they are needed."""

    sha256: str
    read: Callable[[], bytes]
    """Called on a thread of its own, at most once for each loading."""
    told: Mapping[str, Scalar] = field(default_factory=dict)
    """The artifact's metadata; a contract in it has precedence over what the network tells."""

    @property
    def name(self) -> str:
        """The student as errors name it."""
        return f"student {self.sha256[:12]}"


@dataclass(frozen=True, slots=True)
class Answer:
    """What a whole replay gave."""

    outputs: Mapping[str, AnyArray]
    """The responses by name, time first."""
    final_state: Mapping[str, AnyArray]
    stimulus: Mapping[str, AnyArray]
    """What was given, in the network's types."""
    receipt: Mapping[str, Scalar]


class Loaded:
    """A student that has a process."""

    def __init__(self, process: StudentProcess, contract: Contract, profile: Mapping[str, Scalar]) -> None:
        self.process = process
        self.contract = contract
        self.profile = profile
        self.sessions: set[MindSession] = set()
        self.used = 0.0


class MindSession:
    """Some minds of one student, each with its own state, that advance together.

    Calls are answered in the order in which they are made. After `close`, or when the student's process is gone, every call
    raises: `NotFound` for a session that is closed or has expired, `Unavailable` where the process ended.
    """

    def __init__(
        self, host: MindHost, loaded: Loaded, *, number: int, minds: int, student: StudentSource, execution: Execution
    ) -> None:
        self._host = host
        self._loaded = loaded
        self._number = number
        self._dtypes = [port.dtype for port in loaded.contract.responses]
        self._closed = ""
        self.used = asyncio.get_running_loop().time()
        self.student = student
        self.execution = execution
        self.minds = minds
        self.steps = 0

    @property
    def contract(self) -> Contract:
        """What the student takes and gives."""
        return self._loaded.contract

    @property
    def profile(self) -> Mapping[str, Scalar]:
        """The execution profile, flat: what the bits depend on beside student, stimulus and state."""
        return self._loaded.profile

    async def tick(self, stimuli: Sequence[AnyArray], *, allow_nan: bool = False) -> list[AnyArray]:
        """Advance all minds by the steps that the stimuli have; return the responses.

        Stimuli come in the order of the contract, each (step, mind, *step_shape) in the port's type; responses likewise.
        Raises `InvalidInput` for arrays that do not fit or hold NaN or infinity, and `Exhausted` past the deadline; the state
        is then as it was before.
        """
        ports = self.contract.stimuli
        if len(stimuli) != len(ports):
            raise InvalidInput(
                f"{self.student.name} takes {len(ports)} stimuli, not {len(stimuli)}: give one for each port"
            )
        steps = stimuli[0].shape[0] if stimuli[0].ndim else 0
        for port, array in zip(ports, stimuli, strict=True):
            port.check(array, outer=(steps, self.minds))
        return await self.tick_raw(
            steps, [array.shape for array in stimuli], [raw(array) for array in stimuli], allow_nan=allow_nan
        )

    async def tick_raw(
        self,
        steps: int,
        shapes: Sequence[tuple[int, ...]],
        stimuli: Sequence[bytes | memoryview],
        *,
        allow_nan: bool = False,
    ) -> list[AnyArray]:
        """Advance as `tick` does, with the stimuli as bytes in C order and their full shapes, which are checked likewise."""
        if steps < 1:
            raise InvalidInput("a tick has no steps: give at least one")
        self._check_open()
        limit_s = self._host.limits.call_s
        body = [pack_tick(self._number, steps, limit_s=limit_s, allow_nan=allow_nan), pack_shapes(shapes), *stimuli]
        answer = await self._loaded.process.exchange(Op.TICK, body, limit_s=limit_s)
        self.steps += steps
        try:
            responses = unpack_plain(answer, self._dtypes)
            for port, response in zip(self.contract.responses, responses, strict=True):
                _check_outer(port, response, steps=steps, minds=self.minds)
        except (FormatError, InvalidInput) as error:
            raise self._loaded.process.finish(
                Unavailable(f"{self.student.name} gave an answer that cannot be: its process was ended")
            ) from error
        return responses

    async def state(self) -> Mapping[str, AnyArray]:
        """Return the state by the names of the state inputs, each (mind, *step_shape)."""
        self._check_open()
        return (await self._loaded.process.ask(Op.STATE, {1: self._number}, limit_s=_SMALL_S))[1]

    async def fork(self, rows: Sequence[int]) -> MindSession:
        """Return a new session whose minds begin with the states of these minds; a mind may be taken more than once."""
        self._check_open()
        forked = self._host.admit(self._loaded, minds=len(rows), student=self.student, execution=self.execution)
        try:
            head: dict[int, Encodable] = {1: self._number, 2: forked._number, 3: list(rows)}
            await self._loaded.process.ask(Op.FORK, head, limit_s=_SMALL_S)
        except BaseException:
            forked.end("it was never opened")
            raise
        forked.steps = self.steps
        return forked

    async def close(self) -> None:
        """Let go of the state; closing twice is no error."""
        self.end("it was closed")

    def end(self, reason: str) -> None:
        """End the session at once; `reason` is told to whoever uses it afterwards."""
        if not self._closed:
            self._closed = reason
            self._loaded.process.send(Op.CLOSE, {1: self._number})
            self._host.dismiss(self._loaded, self)

    @property
    def number(self) -> int:
        """The session's number, unique in its host."""
        return self._number

    def _check_open(self) -> None:
        if self._closed:
            raise NotFound(f"session {self._number} of {self.student.name} is gone, {self._closed}: open a new one")
        self.used = self._loaded.used = asyncio.get_running_loop().time()


class MindHost:
    """The students that are loaded, and their sessions."""

    def __init__(self, limits: HostLimits | None = None) -> None:
        self.limits = limits or HostLimits()
        self._nursery = Nursery()
        self._students: dict[tuple[object, ...], asyncio.Task[Loaded]] = {}
        self._numbers = itertools.count(1)
        self._sessions: set[MindSession] = set()
        self._sweeper: asyncio.Task[None] | None = None

    async def open(
        self,
        student: StudentSource,
        *,
        minds: int = 1,
        execution: Execution | None = None,
        constants: Mapping[str, Scalar] | None = None,
        initial_state: Mapping[str, AnyArray] | None = None,
    ) -> MindSession:
        """Open a session, loading the student if it is not loaded.

        States that are not given begin as zeros. Raises `Refused` where the gate refuses the student, `InvalidInput` where it
        or the state do not fit, `Exhausted` for too many sessions or no memory.
        """
        chosen = execution or Execution()
        loaded = await self._loaded(student, chosen)
        session = self.admit(loaded, minds=minds, student=student, execution=chosen)
        try:
            head: dict[int, Encodable] = {1: session.number, 2: minds, 3: dict(constants or {})}
            await loaded.process.ask(Op.OPEN, head, initial_state, limit_s=_SMALL_S)
        except BaseException:
            session.end("it was never opened")
            raise
        return session

    async def contract(self, student: StudentSource, *, execution: Execution | None = None) -> Contract:
        """Return a student's contract, loading it if it is not loaded."""
        return (await self._loaded(student, execution or Execution())).contract

    async def profile(self, student: StudentSource, *, execution: Execution | None = None) -> Mapping[str, Scalar]:
        """Return the execution profile under which a student runs here."""
        return (await self._loaded(student, execution or Execution())).profile

    async def infer(
        self,
        student: StudentSource,
        feed: Mapping[str, AnyArray],
        *,
        execution: Execution | None = None,
        allow_nan: bool = False,
    ) -> Mapping[str, AnyArray]:
        """Call the network once, with all its inputs in its own order of axes; return all its outputs."""
        loaded = await self._loaded(student, execution or Execution())
        limit_s = self.limits.call_s
        return (await loaded.process.ask(Op.INFER, {1: limit_s, 2: allow_nan}, feed, limit_s=limit_s))[1]

    async def replay(
        self,
        student: StudentSource,
        stimulus: Mapping[str, AnyArray],
        *,
        execution: Execution | None = None,
        initial_state: Mapping[str, AnyArray] | None = None,
        limit_s: float | None = None,
    ) -> Answer:
        """Run a student over a whole stimulus, in a process that does nothing else and ends afterwards.

        Raises as `open` does, and `Exhausted` past `limit_s`, by default the host's limit of a call.
        """
        loaded = await self._load(student, execution or Execution())
        limit_s = self.limits.call_s if limit_s is None else limit_s
        given = {f"s:{name}": array for name, array in stimulus.items()}
        given |= {f"i:{name}": array for name, array in (initial_state or {}).items()}
        try:
            head, arrays = await loaded.process.ask(Op.REPLAY, {1: limit_s}, given, limit_s=limit_s)
        finally:
            loaded.process.finish(Unavailable("the replay is over"))
        return Answer(
            outputs=_under("o:", arrays),
            final_state=_under("f:", arrays),
            stimulus=_under("s:", arrays),
            receipt=_scalars(head.mapping(1)),
        )

    async def close(self) -> None:
        """End all sessions and processes."""
        if self._sweeper is not None:
            self._sweeper.cancel()
        for session in list(self._sessions):
            session.end("the host was closed")
        for task in list(self._students.values()):
            task.cancel()
        self._students.clear()
        await asyncio.to_thread(self._nursery.close)

    def admit(self, loaded: Loaded, *, minds: int, student: StudentSource, execution: Execution) -> MindSession:
        """Return a session that has a number and a place; raises `Exhausted` where there is none."""
        if len(self._sessions) >= self.limits.sessions:
            raise Exhausted(f"{self.limits.sessions} sessions of minds are open, the bound: close some and retry")
        session = MindSession(
            self, loaded, number=next(self._numbers), minds=minds, student=student, execution=execution
        )
        self._sessions.add(session)
        loaded.sessions.add(session)
        return session

    def dismiss(self, loaded: Loaded, session: MindSession) -> None:
        """Take a session's place back."""
        self._sessions.discard(session)
        loaded.sessions.discard(session)

    async def _loaded(self, student: StudentSource, execution: Execution) -> Loaded:
        """Return a student that is loaded, loading it once however many ask."""
        told = tuple(sorted(_contract_in(student.told).items()))
        key = (student.sha256, execution, told)
        task = self._students.get(key)
        if task is None or (task.done() and (task.exception() is not None or task.result().process.ended)):
            task = asyncio.create_task(self._load(student, execution))
            self._students[key] = task
        if self._sweeper is None:
            self._sweeper = asyncio.create_task(self._sweep())
        try:
            loaded = await asyncio.shield(task)
        except EngramError:
            if self._students.get(key) is task:
                del self._students[key]
            raise
        loaded.used = asyncio.get_running_loop().time()
        return loaded

    async def _load(self, student: StudentSource, execution: Execution) -> Loaded:
        self._make_room()
        data, process = await asyncio.gather(
            asyncio.to_thread(student.read),
            StudentProcess.start(self._nursery, memory_bytes=self.limits.memory_bytes, what=student.name),
        )
        try:
            return await self._born(process, student, data, execution)
        except BaseException:
            process.finish(Unavailable(f"{student.name} was not loaded"))
            raise

    async def _born(self, process: StudentProcess, student: StudentSource, data: bytes, execution: Execution) -> Loaded:
        """Give a process its student."""
        if len(data) > self.limits.student_bytes:
            raise Exhausted(
                f"{student.name} has {len(data)} bytes and at most {self.limits.student_bytes} are loaded: "
                "raise the bound to replay it"
            )
        head: dict[int, Encodable] = {1: dict(_contract_in(student.told)), 2: dict(execution.to_fields())}
        fields, _ = await process.ask(Op.LOAD, head, rest=[data], limit_s=self.limits.load_s)
        contract = Contract.from_metadata(_scalars(fields.mapping(1)))
        if contract is None:
            raise Unavailable(f"{student.name} gave no contract: its process was ended")
        return Loaded(process, contract, _scalars(fields.mapping(2)))

    def _make_room(self) -> None:
        """End students without sessions until the rest fit the budget; raises `Exhausted` where that is not enough."""
        here = [
            task.result()
            for task in self._students.values()
            if task.done() and not task.cancelled() and not task.exception()
        ]
        held = sum(loaded.process.private_bytes for loaded in here)
        for loaded in sorted((one for one in here if not one.sessions), key=lambda one: one.used):
            if held <= self.limits.budget_bytes:
                return
            held -= loaded.process.private_bytes
            loaded.process.finish(Unavailable("the student was let go of to make room: open a new session"))
        if held > self.limits.budget_bytes:
            raise Exhausted(
                f"the students in use hold {held >> 20} MiB of {self.limits.budget_bytes >> 20}: close sessions and retry"
            )

    async def _sweep(self) -> None:
        """End what is not used any more, and forget what has ended."""
        while True:
            await asyncio.sleep(min(_SWEEP_S, self.limits.idle_s / 4))
            oldest = asyncio.get_running_loop().time() - self.limits.idle_s
            for session in [one for one in self._sessions if one.used < oldest]:
                session.end(f"it was not used for {self.limits.idle_s:g} s")
            for key, task in list(self._students.items()):
                if not task.done():
                    continue
                if task.cancelled() or task.exception() or task.result().process.ended:
                    del self._students[key]
                elif not task.result().sessions and task.result().used < oldest:
                    task.result().process.finish(Unavailable("the student was not used and let go of"))
                    del self._students[key]


def _check_outer(port: Port, response: AnyArray, *, steps: int, minds: int) -> None:
    if response.shape[:2] != (steps, minds) and not (response.ndim >= 2 and port.time_axis is None):
        raise InvalidInput(f"response {port.name!r} has shape {response.shape}")


def _contract_in(metadata: Mapping[str, Scalar]) -> dict[str, Scalar]:
    return {name: value for name, value in metadata.items() if name.startswith(CONTRACT_PREFIX)}


def _under(prefix: str, arrays: Mapping[str, AnyArray]) -> dict[str, AnyArray]:
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}


def _scalars(values: Mapping[str, object]) -> dict[str, Scalar]:
    return {name: value for name, value in values.items() if isinstance(value, str | int | float | bool)}
