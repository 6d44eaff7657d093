"""The recording service: each method converts, calls the engine, and converts back."""
# ruff: noqa: N802 - methods have the names of the contract

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing, closing

from engram.v1 import recording_pb2 as pb
from engram.v1 import recording_pb2_grpc
from engram.v1.names import parse_any_name
from engram.v1.recording_values import messages_of_blocks, messages_of_recording
from engram_server.engine import Archive
from engram_server.rpc import difference_stream
from engram_server.rpc.calls import EngineCalls
from engram_server.rpc.find_calls import FindCalls
from engram_server.rpc.status import Context


class RecordingService(FindCalls, recording_pb2_grpc.RecordingServiceServicer):
    """Serves what is in the recordings of one archive."""

    def __init__(self, engine: Archive, calls: EngineCalls) -> None:
        self._engine = engine
        self._calls = calls

    async def Describe(
        self, request: pb.DescribeRequest, context: Context
    ) -> AsyncGenerator[pb.DescribeResponse, None]:
        """Stream what was found in a recording when it was deposited."""
        address = parse_any_name(request.name)
        async with aclosing(self._calls.each(lambda: messages_of_recording(self._engine.recording(address)))) as parts:
            async for part in parts:
                yield part

    async def ReadSeries(
        self, request: pb.ReadSeriesRequest, context: Context
    ) -> AsyncGenerator[pb.ReadSeriesResponse, None]:
        """Stream a slice; the engine reads on only when the client has taken what was read."""
        async with aclosing(self._calls.each(lambda: self._blocks(request))) as parts:
            async for part in parts:
                yield part

    async def Diff(self, request: pb.DiffRequest, context: Context) -> AsyncGenerator[pb.DiffResponse, None]:
        """Stream what differs between two versions, by path."""
        async with aclosing(self._calls.each(lambda: difference_stream.responses(self._engine, request))) as parts:
            async for part in parts:
                yield part

    def _blocks(self, request: pb.ReadSeriesRequest) -> Iterator[pb.ReadSeriesResponse]:
        blocks = self._engine.read_series(
            parse_any_name(request.name),
            request.series,
            start=request.start,
            stop=request.stop if request.HasField("stop") else None,
            channels=(request.first_channel, request.stop_channel if request.HasField("stop_channel") else None),
            physical=request.physical,
        )
        with closing(blocks):
            yield from messages_of_blocks(blocks)
