"""The comparison of two versions, asked of a service."""

from __future__ import annotations

from collections.abc import Iterator

import grpc

from engram.v1 import recording_pb2 as pb
from engram.v1 import recording_pb2_grpc
from engram.v1.difference_values import changes_of
from engram.v1.names import name_of
from engram_client.remote.channel import Credentials
from engram_client.remote.errors import translated
from engram_format.address import Address
from engram_format.catalog import Change


def changes(
    channel: grpc.Channel, first: Address, second: Address, *, url: str, credentials: Credentials
) -> Iterator[Change]:
    """Yield what differs between two versions, or two artifacts or folders in them, as it arrives."""
    request = pb.DiffRequest(first=name_of(first), second=name_of(second))
    call = recording_pb2_grpc.RecordingServiceStub(channel).Diff(request, metadata=credentials)
    try:
        with translated(url):
            yield from changes_of(change for response in call for change in response.changes)
    finally:
        # A reader that stops early would otherwise leave the service sending; after the end this does nothing.
        call.cancel()
