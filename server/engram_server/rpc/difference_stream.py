"""The comparison of two versions as the messages of its stream."""

from __future__ import annotations

from collections.abc import Iterator

from engram.v1 import recording_pb2 as pb
from engram.v1.difference_values import responses_of
from engram.v1.names import parse_name
from engram_server.engine import Archive


def responses(engine: Archive, request: pb.DiffRequest) -> Iterator[pb.DiffResponse]:
    """Yield what differs, by path; the engine goes on when the next message is asked for."""
    return responses_of(engine.diff(parse_name(request.first), parse_name(request.second)))
