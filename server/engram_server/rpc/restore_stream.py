"""Many artifacts with their bytes as a stream of messages of about one size."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import closing
from typing import Final

from engram.v1 import archive_pb2 as pb
from engram.v1.values import message_of_artifact
from engram_format.catalog import Artifact
from engram_format.errors import Damaged
from engram_server.rpc.status import sentence

MAX_DATA: Final = 1 << 20
"""Bytes in one part."""

_ENOUGH_BYTES: Final = 1 << 20
"""A message ends with the part that takes it over this size."""

Part = pb.RestoreAllResponse.Part


def responses(artifacts: Iterator[tuple[Artifact, Iterator[bytes]]]) -> Iterator[pb.RestoreAllResponse]:
    """Yield messages with what the artifacts are and what bytes they have."""
    parts: list[Part] = []
    size = 0
    with closing(_parts(artifacts)) as all_parts:
        for part in all_parts:
            parts.append(part)
            size += part.ByteSize()
            if size >= _ENOUGH_BYTES:
                yield pb.RestoreAllResponse(parts=parts)
                parts, size = [], 0
    if parts:
        yield pb.RestoreAllResponse(parts=parts)


def _parts(artifacts: Iterator[tuple[Artifact, Iterator[bytes]]]) -> Generator[Part, None, None]:
    for artifact, pieces in artifacts:
        yield Part(artifact=message_of_artifact(artifact))
        try:
            for piece in pieces:
                view = memoryview(piece)
                for first in range(0, len(view), MAX_DATA):
                    yield Part(data=bytes(view[first : first + MAX_DATA]))
        except Damaged as error:
            yield Part(lost=sentence(error))
