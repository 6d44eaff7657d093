"""One stream of a deposit: the steps of one session, one after the other."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import ExitStack
from functools import partial
from typing import Final

from engram.v1 import archive_pb2 as pb
from engram.v1.names import parse_name
from engram.v1.values import folder_of, message_of_artifact, message_of_version, spec_of
from engram_format.catalog import Folder
from engram_format.errors import EngramError, FormatError, InvalidInput, Unavailable
from engram_format.folders import MAX_FOLDERS
from engram_layout.plan import MAX_PLAN_BYTES, Plan
from engram_server.engine import Archive
from engram_server.engine.deposit import Deposit
from engram_server.rpc.calls import EngineCalls
from engram_server.rpc.status import sentence

MAX_DATA: Final = 1 << 20
"""Bytes in one `data` step."""

IDLE_S: Final = 600.0
"""How long a depositor may be silent."""

PROGRESS_EVERY: Final = 4 << 20
"""Bytes between two reports of progress."""


async def answers(
    engine: Archive, calls: EngineCalls, steps: AsyncIterator[pb.DepositRequest]
) -> AsyncGenerator[pb.DepositResponse, None]:
    """Do the steps in turn and yield their answers.

    The next step is asked for only when the one before is done, so that a client that sends faster than the engine stores
    is slowed down by HTTP/2 and nothing piles up. However the stream ends, the engine's deposit is closed.
    """
    held = ExitStack()
    try:
        first = await _next(steps)
        if first is None or first.WhichOneof("step") != "open":
            raise InvalidInput("a deposit begins with its session: send `open` first")
        memory, session = parse_name(first.open.memory), first.open.session
        stream = await calls.run(lambda: _Stream(held.enter_context(engine.open_deposit(memory, session=session))))
        yield await calls.run(stream.opened)
        while (step := await _next(steps)) is not None:
            answer = await calls.run(partial(stream.answer, step))
            if answer is not None:
                yield answer
    finally:
        await calls.clean_up(held.close)


async def _next(steps: AsyncIterator[pb.DepositRequest]) -> pb.DepositRequest | None:
    """Return the next step; a client that sends nothing for long loses its place to others, and can come again."""
    try:
        async with asyncio.timeout(IDLE_S):
            return await anext(steps, None)
    except TimeoutError as error:
        raise Unavailable(f"the deposit sent nothing for {IDLE_S:.0f} s: open its session again to go on") from error


class _Stream:
    """The engine's deposit, and where in it the stream is; used by one engine thread at a time."""

    def __init__(self, deposit: Deposit) -> None:
        self._deposit = deposit
        self._path = ""
        self._unreported = 0
        self._plan = bytearray()
        self._folders: list[Folder] = []

    def opened(self) -> pb.DepositResponse:
        """Say what the session has committed."""
        version = self._deposit.committed_version
        committed = None if version is None else message_of_version(version)
        return pb.DepositResponse(opened=pb.DepositResponse.Opened(committed_version=committed))

    def answer(self, step: pb.DepositRequest) -> pb.DepositResponse | None:
        """Do one step; return its answer, `None` for data that need no report yet.

        An error in a step that the depositor waits for is an answer too, so that one file that changed on its way does not
        cost the session what it has ended before. An error in data is raised: more data may be on the way already.
        """
        match step.WhichOneof("step"):
            case "data":
                return self._write(step.data)
            case "plan":
                self._take_plan(step.plan)
                return None
            case "folders":
                self._take_folders(step.folders)
                return None
            case "begin" | "end" | "put" | "commit":
                try:
                    return self._answer(step)
                except EngramError as error:
                    return pb.DepositResponse(
                        failed=pb.DepositResponse.Failed(kind=error.kind, message=sentence(error))
                    )
            case "open":
                raise InvalidInput(f"session {self._deposit.session} is open on this stream: open others on their own")
            case _:
                raise InvalidInput("a step of a deposit is empty: send begin, data, end or commit")

    def _answer(self, step: pb.DepositRequest) -> pb.DepositResponse:
        if step.HasField("begin"):
            spec = spec_of(step.begin.spec)
            told, self._plan = bytes(self._plan), bytearray()
            offset = self._deposit.begin(spec, _plan(told) if told else None)
            self._path, self._unreported = spec.path, 0
            return pb.DepositResponse(begun=pb.DepositResponse.Begun(committed_offset=offset))
        if step.HasField("put"):
            return self._put(step.put)
        if step.HasField("end"):
            artifact = self._deposit.end(sha256=step.end.sha256)
            return pb.DepositResponse(ended=pb.DepositResponse.Ended(artifact=message_of_artifact(artifact)))
        folders, self._folders = self._folders, []
        version = self._deposit.commit(message=step.commit.message, author=step.commit.author, folders=folders)
        return pb.DepositResponse(committed=pb.DepositResponse.Committed(version=message_of_version(version)))

    def _put(self, step: pb.DepositRequest.Put) -> pb.DepositResponse:
        _check_data(step.data)
        offset = self._deposit.begin(spec_of(step.spec), _plan(step.plan) if step.plan else None)
        self._deposit.write(memoryview(step.data)[offset:])
        artifact = self._deposit.end(sha256=step.sha256)
        return pb.DepositResponse(ended=pb.DepositResponse.Ended(artifact=message_of_artifact(artifact)))

    def _take_plan(self, data: bytes) -> None:
        if len(data) > MAX_DATA or len(self._plan) + len(data) > MAX_PLAN_BYTES:
            raise InvalidInput(f"a plan has at most {MAX_PLAN_BYTES} bytes, sent in steps of at most {MAX_DATA}")
        self._plan += data

    def _take_folders(self, step: pb.DepositRequest.Folders) -> None:
        if len(self._folders) + len(step.folders) > MAX_FOLDERS:
            raise InvalidInput(f"a version has at most {MAX_FOLDERS} folders: use several memories")
        self._folders += map(folder_of, step.folders)

    def _write(self, data: bytes) -> pb.DepositResponse | None:
        _check_data(data)
        self._deposit.write(data)
        self._unreported += len(data)
        if self._unreported < PROGRESS_EVERY:
            return None
        self._unreported = 0
        durable = self._deposit.durable(self._path)
        return pb.DepositResponse(progress=pb.DepositResponse.Progress(committed_offset=durable))


def _check_data(data: bytes) -> None:
    if len(data) > MAX_DATA:
        raise InvalidInput(f"{len(data)} bytes arrived in one step: send at most {MAX_DATA}")


def _plan(data: bytes) -> Plan:
    try:
        return Plan.from_bytes(data)
    except FormatError as error:
        raise InvalidInput(f"what was sent is no plan of a file ({error}): use one version of both") from error
