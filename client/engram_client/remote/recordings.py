"""What is in recordings, asked of a service."""

from __future__ import annotations

from collections.abc import Generator

import grpc

from engram.v1 import recording_pb2 as pb
from engram.v1 import recording_pb2_grpc
from engram.v1.names import name_of
from engram.v1.recording_values import blocks_of, recording_of
from engram.v1.values import fitting
from engram_client.remote.channel import Credentials
from engram_client.remote.errors import translated
from engram_format.address import AnyAddress
from engram_format.catalog import AnyArray, Recording


class RemoteRecordings:
    """The calls of the recording service over one channel. Thread-safe; its iterators are used by one thread at a time."""

    def __init__(self, channel: grpc.Channel, *, url: str, credentials: Credentials, timeout_s: float) -> None:
        self._stub = recording_pb2_grpc.RecordingServiceStub(channel)
        self._url = url
        self._credentials = credentials
        self._timeout_s = timeout_s

    def recording(self, address: AnyAddress) -> Recording:
        """Return what was found in an artifact when it was deposited."""
        request = pb.DescribeRequest(name=name_of(address))
        with translated(self._url):
            return recording_of(self._stub.Describe(request, timeout=self._timeout_s, metadata=self._credentials))

    def read_series(
        self,
        address: AnyAddress,
        series: str,
        *,
        start: int,
        stop: int | None,
        channels: tuple[int, int | None] | None,
        physical: bool,
    ) -> Generator[AnyArray, None, None]:
        """Yield the blocks of a slice as they arrive."""
        first, last = channels or (0, None)
        with fitting(f"the slice {start}:{stop}, {first}:{last} of {series!r:.200}"):
            request = pb.ReadSeriesRequest(
                name=name_of(address),
                series=series,
                start=start,
                stop=stop,
                first_channel=first,
                stop_channel=last,
                physical=physical,
            )
        call = self._stub.ReadSeries(request, metadata=self._credentials)
        try:
            with translated(self._url):
                yield from blocks_of(call)
        finally:
            # A reader that stops early would otherwise leave the service sending; after the end this does nothing.
            call.cancel()
