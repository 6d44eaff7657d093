"""Artifacts with their bytes, put together from the parts that a service streams."""

from __future__ import annotations

from collections.abc import Iterator

from engram.v1 import archive_pb2 as pb
from engram.v1.values import artifact_of
from engram_format.catalog import Artifact
from engram_format.errors import Damaged, EngramError

Part = pb.RestoreAllResponse.Part


def artifacts_of(parts: Iterator[Part]) -> Iterator[tuple[Artifact, Iterator[bytes]]]:
    """Yield artifacts, each with its bytes; what is not taken of one is skipped when the next is asked for."""
    begins = next(parts, None)
    while begins is not None:
        if not begins.HasField("artifact"):
            raise EngramError("the service sent bytes of no artifact: use a service and a client of one version")
        pieces = _Pieces(parts)
        yield artifact_of(begins.artifact), pieces
        begins = pieces.skip()


class _Pieces(Iterator[bytes]):
    """The bytes of one artifact; knows the part with which the next artifact begins once it has come to it."""

    def __init__(self, parts: Iterator[Part]) -> None:
        self._parts = parts
        self._next: Part | None = None
        self._ended = False

    def __next__(self) -> bytes:
        if self._ended:
            raise StopIteration
        part = next(self._parts, None)
        if part is not None and part.HasField("data"):
            return part.data
        if part is not None and part.HasField("lost"):
            raise Damaged(part.lost)
        self._next, self._ended = part, True
        raise StopIteration

    def skip(self) -> Part | None:
        """Pass over what was not taken; return what begins the next artifact, `None` at the end."""
        while not self._ended:
            try:
                next(self, None)
            except Damaged:
                continue
        return self._next
