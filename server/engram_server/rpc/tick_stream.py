"""One stream of minds: the calls of one client on sessions that live as long as the stream.

One message advances all minds of a session, which is what makes many minds cost little more than one: a message costs this
service ten times what the runtime needs for a step of one mind.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Sequence
from typing import Final

from engram.v1 import replay_pb2 as pb
from engram.v1.mind_values import (
    Lanes,
    arrays_of,
    execution_of,
    message_of_execution,
    message_of_port,
    messages_of_arrays,
    perturbation_of,
)
from engram.v1.names import parse_any_name, parse_name
from engram.v1.values import message_of_artifact, scalars_of, set_scalars
from engram_format.errors import EngramError, Exhausted, InvalidInput, NotFound
from engram_format.ports import MindPort
from engram_replay.session import MindSession
from engram_server.engine import Archive, open_minds
from engram_server.engine.open_minds import Opened, open_session, ports_of
from engram_server.rpc.status import sentence

MAX_SESSIONS: Final = 256
"""Sessions of one stream."""

MAX_MINDS: Final = 1 << 16
"""Minds of one session."""

_HEADROOM: Final = 1 << 16
"""Bytes of a message beside its arrays."""


async def answers(
    engine: Archive, requests: AsyncIterator[pb.TickRequest], *, message_bytes: int, idle_s: float
) -> AsyncGenerator[pb.TickResponse, None]:
    """Do the calls in turn and yield their answers.

    A call is done only when the answer to the one before is on its way, and few more are read meanwhile, so that a client
    that sends faster than its minds run, or does not read, is slowed down by HTTP/2 and nothing piles up. However the stream
    ends, its sessions end.
    """
    stream = _Stream(engine, message_bytes=message_bytes)
    ahead = _Ahead(requests)
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(idle_s) as limit:
            while (request := await ahead.next()) is not None:
                limit.reschedule(None)
                answer = await stream.answer(request)
                # From now until the next request, reading the answer included: whoever holds minds uses them.
                limit.reschedule(loop.time() + idle_s)
                yield answer
            if not stream.is_open:
                raise InvalidInput("a stream of minds begins with its student: send `open` first")
    except TimeoutError as error:
        raise NotFound(
            f"the minds were not used for {idle_s:g} s and are gone: open them again, from where they were saved"
        ) from error
    finally:
        ahead.stop()
        await _ended(stream.sessions())


class _Ahead:
    """The requests of a stream, read on a task of its own, at most two before they are asked for.

    A read is so never cancelled with its call, which in grpc.aio would leak what belongs to it; it ends when the call does.
    """

    def __init__(self, requests: AsyncIterator[pb.TickRequest]) -> None:
        self._requests = requests
        self._held: deque[pb.TickRequest] = deque()
        self._over = False
        self._fault: BaseException | None = None
        self._arrival: asyncio.Future[None] | None = None
        self._room: asyncio.Future[None] | None = None
        self._reader = asyncio.create_task(self._read())

    async def next(self) -> pb.TickRequest | None:
        """Return the next request, `None` after the last."""
        if not self._held and not self._over:
            self._arrival = asyncio.get_running_loop().create_future()
            await self._arrival
        if self._held:
            request = self._held.popleft()
            _wake(self._room)
            return request
        if self._fault is not None:
            raise self._fault
        return None

    def stop(self) -> None:
        """Take no more; a read that is under way ends with the call."""
        self._over = True
        self._held.clear()
        _wake(self._room)

    async def _read(self) -> None:
        try:
            async for request in self._requests:
                if self._over:
                    return
                self._held.append(request)
                _wake(self._arrival)
                if len(self._held) > 1:
                    self._room = asyncio.get_running_loop().create_future()
                    await self._room
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - raised where the requests are used
            self._fault = error
        finally:
            self._over = True
            _wake(self._arrival)


def _wake(waiting: asyncio.Future[None] | None) -> None:
    if waiting is not None and not waiting.done():
        waiting.set_result(None)


async def _ended(sessions: Iterable[MindSession]) -> None:
    """End sessions, however often the waiting is cancelled: gRPC does so more than once."""
    closing = asyncio.gather(*(session.close() for session in sessions), return_exceptions=True)
    while not closing.done():
        try:
            await asyncio.wait([closing])
        except asyncio.CancelledError:
            continue


def _check_count(minds: int) -> None:
    if minds > MAX_MINDS:
        raise Exhausted(f"{minds} minds are more than the {MAX_MINDS} of one session: open several sessions")


class _Held:
    """A session and how its arrays lie in messages."""

    __slots__ = ("minds", "opened", "responses", "stimuli")

    def __init__(self, opened: Opened, ports: Sequence[MindPort]) -> None:
        self.opened = opened
        self.minds = minds = opened.session
        self.stimuli = Lanes([port for port in ports if port.role == "stimulus"], minds=minds.minds)
        self.responses = Lanes([port for port in ports if port.role == "response"], minds=minds.minds)


class _Stream:
    """The sessions of one stream; used by one task."""

    def __init__(self, engine: Archive, *, message_bytes: int) -> None:
        self._engine = engine
        self._room = message_bytes - _HEADROOM
        self._sessions: dict[int, _Held] = {}
        self._ports: tuple[MindPort, ...] = ()
        self._next = 0
        self._allow_nan = False

    @property
    def is_open(self) -> bool:
        """Whether `open` was answered."""
        return self._next > 0

    def sessions(self) -> list[MindSession]:
        """Return the sessions that are open."""
        return [held.minds for held in self._sessions.values()]

    async def answer(self, request: pb.TickRequest) -> pb.TickResponse:
        """Do one call; an error of ours is an answer too, once the stream is open, and leaves the sessions as they were."""
        call = request.WhichOneof("call")
        if not self.is_open:
            if call != "open":
                raise InvalidInput("a stream of minds begins with its student: send `open` first")
            return await self._open(request.open)
        try:
            match call:
                case "step":
                    return await self._step(request.step)
                case "fork":
                    return await self._fork(request.fork)
                case "read_state":
                    return await self._state(request.read_state)
                case "save":
                    return await self._save(request.save)
                case "close":
                    await self._held(request.close.session).minds.close()
                    del self._sessions[request.close.session]
                    return pb.TickResponse(closed=pb.TickResponse.Closed())
        except EngramError as error:
            return pb.TickResponse(failed=pb.TickResponse.Failed(kind=error.kind, message=sentence(error)))
        if call == "open":
            raise InvalidInput("the minds of this stream are open: open others on a stream of their own")
        raise InvalidInput("a call on minds is empty: send step, fork, read_state, save or close")

    async def _open(self, wanted: pb.TickRequest.Open) -> pb.TickResponse:
        _check_count(wanted.minds)
        opened = await open_session(
            self._engine,
            parse_any_name(wanted.student),
            minds=wanted.minds or None,
            execution=execution_of(wanted.execution) if wanted.HasField("execution") else None,
            constants=scalars_of(wanted.constants),
            initial_state=parse_any_name(wanted.initial_state)
            if wanted.HasField("initial_state")
            else arrays_of(wanted.states),
            perturbation=perturbation_of(wanted),
            sample=wanted.sample_seed if wanted.HasField("sample_seed") else None,
        )
        minds = opened.session
        self._ports = ports_of(minds.contract)
        self._allow_nan = wanted.allow_nan
        self._add(opened)
        answer = pb.TickResponse.Opened(
            student_sha256=minds.student.sha256,
            minds=minds.minds,
            ports=map(message_of_port, self._ports),
            execution=message_of_execution(minds.execution.to_fields()),
            sampling_interval_s=minds.contract.sampling_interval_s,
            step=minds.steps,
            sample_seed=minds.sample,
        )
        set_scalars(answer.profile, minds.profile)
        return pb.TickResponse(opened=answer)

    async def _step(self, step: pb.TickRequest.Step) -> pb.TickResponse:
        held, steps = self._held(step.session), step.steps
        # Each field is taken once: every access makes its bytes anew.
        stimuli = list(step.stimuli)
        shapes = held.stimuli.shapes(stimuli, steps, step.shapes)
        due = held.responses.step_bytes
        if due is not None and steps * due > self._room:
            raise InvalidInput(
                f"{steps} steps are answered with {steps * due} bytes, more than a message holds: "
                f"send at most {max(self._room // due, 1)} steps at once"
            )
        responses = await held.minds.tick_raw(steps, shapes, stimuli, allow_nan=self._allow_nan)
        data = held.responses.data(responses)
        if due is None and sum(map(len, data)) > self._room:
            # The step is taken and nobody can be told what came of it: such minds are not gone on with.
            del self._sessions[step.session]
            await held.minds.close()
            self._check_room(sum(map(len, data)), "the session is ended: the responses")
        return pb.TickResponse(
            stepped=pb.TickResponse.Stepped(
                step=held.minds.steps, responses=data, shapes=held.responses.told(responses)
            )
        )

    async def _fork(self, wanted: pb.TickRequest.Fork) -> pb.TickResponse:
        held = self._held(wanted.session)
        if len(self._sessions) >= MAX_SESSIONS:
            raise Exhausted(f"{MAX_SESSIONS} sessions are open on this stream: close some, or open another stream")
        _check_count(len(wanted.rows))
        forked = await open_minds.fork(
            self._engine,
            held.opened,
            list(wanted.rows),
            perturbation=perturbation_of(wanted),
            sample=wanted.sample_seed if wanted.HasField("sample_seed") else None,
        )
        return pb.TickResponse(forked=pb.TickResponse.Forked(session=self._add(forked)))

    async def _state(self, wanted: pb.TickRequest.ReadState) -> pb.TickResponse:
        state = await self._held(wanted.session).minds.state()
        self._check_room(sum(array.nbytes for array in state.values()), "the states")
        return pb.TickResponse(state=pb.TickResponse.State(states=messages_of_arrays(state)))

    async def _save(self, wanted: pb.TickRequest.Save) -> pb.TickResponse:
        opened, address = self._held(wanted.session).opened, parse_name(wanted.save_to)
        saved = await open_minds.save(self._engine, opened, address, author=wanted.author)
        return pb.TickResponse(saved=pb.TickResponse.Saved(artifact=message_of_artifact(saved)))

    def _add(self, opened: Opened) -> int:
        number, self._next = self._next, self._next + 1
        self._sessions[number] = _Held(opened, self._ports)
        return number

    def _held(self, number: int) -> _Held:
        held = self._sessions.get(number)
        if held is None:
            raise NotFound(f"this stream has no open session {number}: use 0, or the number of a fork")
        return held

    def _check_room(self, size: int, what: str) -> None:
        if size > self._room:
            raise Exhausted(
                f"{what} have {size} bytes, more than the {self._room} that a message holds: take fewer minds"
            )
