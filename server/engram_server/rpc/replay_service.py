"""The replay service: gathers the stimulus, calls the engine, and streams what it returns."""
# ruff: noqa: N802 - methods have the names of the contract

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping

from engram.v1 import replay_pb2 as pb
from engram.v1 import replay_pb2_grpc
from engram.v1.arrays import Assembler, disassemble
from engram.v1.names import parse_any_name, parse_name
from engram.v1.values import message_of_artifact, set_scalars
from engram.v1.verdict_values import message_of_verdict
from engram_format.address import AnyAddress
from engram_format.catalog import AnyArray, ReplayResult
from engram_format.errors import InvalidInput
from engram_server.engine import Archive
from engram_server.rpc import tick_stream
from engram_server.rpc.calls import EngineCalls
from engram_server.rpc.status import Context


class ReplayService(replay_pb2_grpc.ReplayServiceServicer):
    """Replays the students of one archive.

    Takes at most `inline_bytes` of stimulus with a batch, and `message_bytes` with a tick; minds that are left alone for
    `idle_s` seconds are let go of.
    """

    def __init__(
        self, engine: Archive, calls: EngineCalls, *, inline_bytes: int, message_bytes: int, idle_s: float
    ) -> None:
        self._engine = engine
        self._calls = calls
        self._inline_bytes = inline_bytes
        self._message_bytes = message_bytes
        self._idle_s = idle_s

    async def Replay(
        self, request_iterator: AsyncIterator[pb.ReplayRequest], context: Context
    ) -> AsyncGenerator[pb.ReplayResponse, None]:
        """Run a student over a stimulus."""
        first = await anext(request_iterator, None)
        if first is None or first.WhichOneof("step") != "start":
            raise InvalidInput("a replay begins with its student: send `start` first")
        start = first.start
        student = parse_any_name(start.student)
        save_to = parse_name(start.save_to) if start.HasField("save_to") else None
        sample = start.sample_seed if start.HasField("sample_seed") else None
        if sample is not None and start.others:
            raise InvalidInput("nothing is drawn from the responses of a group: replay its students one by one")
        stimulus = await self._stimulus(start, request_iterator)
        if not start.others:
            result = await self._calls.run(
                lambda: self._engine.replay(student, stimulus, save_to=save_to, author=start.author, sample=sample)
            )
            for response in _told(result):
                yield response
            return
        students = [student, *map(parse_any_name, start.others)]
        group = await self._calls.run(
            lambda: self._engine.replay_group(students, stimulus, save_to=save_to, author=start.author)
        )
        yield pb.ReplayResponse(group=pb.ReplayResponse.Group(form=group.form, reason=group.reason))
        for result in group.results:
            for response in _told(result):
                yield response

    def Tick(
        self, request_iterator: AsyncIterator[pb.TickRequest], context: Context
    ) -> AsyncGenerator[pb.TickResponse, None]:
        """Advance minds as stimuli arrive."""
        return tick_stream.answers(
            self._engine, request_iterator, message_bytes=self._message_bytes, idle_s=self._idle_s
        )

    async def VerifyReplay(self, request: pb.VerifyReplayRequest, context: Context) -> pb.VerifyReplayResponse:
        """Run a kept replay again and compare."""
        address = parse_any_name(request.replay)
        return message_of_verdict(
            await self._calls.run(lambda: self._engine.verify_replay(address, reference=request.reference))
        )

    async def _stimulus(
        self, start: pb.ReplayRequest.Start, steps: AsyncIterator[pb.ReplayRequest]
    ) -> AnyAddress | Mapping[str, AnyArray]:
        """Return the stimulus's address, or its arrays once the client has sent them all."""
        arrays = Assembler(limit=self._inline_bytes)
        async for step in steps:
            match step.WhichOneof("step"):
                case "header" if not start.HasField("stimulus"):
                    arrays.begin(step.header)
                case "data" if not start.HasField("stimulus"):
                    arrays.fill(step.data)
                case wrong:
                    raise InvalidInput(
                        f"a step {wrong} is out of place: name a stimulus in `start` or send arrays after it"
                    )
        return parse_any_name(start.stimulus) if start.HasField("stimulus") else arrays.finish()


def _told(result: ReplayResult) -> Iterator[pb.ReplayResponse]:
    """Yield what one student did, in parts."""
    receipt = pb.ReplayResponse.Receipt()
    set_scalars(receipt.entries, result.receipt)
    yield pb.ReplayResponse(receipt=receipt)
    for part in disassemble(result.outputs):
        yield pb.ReplayResponse(data=part) if isinstance(part, bytes) else pb.ReplayResponse(header=part)
    if result.saved is not None:
        yield pb.ReplayResponse(saved=message_of_artifact(result.saved))
