"""The calls of the recording service that find and annotate: each converts, calls the engine, and converts back."""
# ruff: noqa: N802 - methods have the names of the contract

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Iterator
from contextlib import aclosing
from typing import Final, TypeVar

from engram.v1 import recording_pb2 as pb
from engram.v1.catalogue_values import kind_of_find
from engram.v1.names import parse_name
from engram.v1.values import message_of_artifact, scalars_of
from engram_server.engine import Archive
from engram_server.rpc.calls import EngineCalls
from engram_server.rpc.pages import Sized
from engram_server.rpc.status import Context

_MAX_ITEMS: Final = 500
_MAX_BYTES: Final = 1 << 20
"""A message ends at the item that takes it over this size."""

_ItemT = TypeVar("_ItemT", bound=Sized)


class FindCalls:
    """Annotate and Find; the service that inherits them has an engine and its threads."""

    _engine: Archive
    _calls: EngineCalls

    async def Annotate(self, request: pb.AnnotateRequest, context: Context) -> pb.AnnotateResponse:
        """Change the metadata of an artifact, as a new version."""
        address, changes = parse_name(request.name), scalars_of(request.set)
        artifact = await self._calls.run(
            lambda: self._engine.annotate(
                address, set=changes, unset=request.unset, message=request.message, author=request.author
            )
        )
        return pb.AnnotateResponse(artifact=message_of_artifact(artifact))

    async def Find(self, request: pb.FindRequest, context: Context) -> AsyncGenerator[pb.FindResponse, None]:
        """Stream the artifacts of the newest versions that fulfil all conditions."""
        async with aclosing(self._calls.each(lambda: self._found(request))) as parts:
            async for part in parts:
                yield part

    def _found(self, request: pb.FindRequest) -> Iterator[pb.FindResponse]:
        warnings: list[str] = []
        scope = parse_name(request.scope) if request.scope else None
        found = self._engine.find(request.conditions, kind=kind_of_find(request), scope=scope, warn=warnings.append)
        for group in _groups(map(message_of_artifact, found)):
            yield pb.FindResponse(artifacts=group)
        if warnings:
            yield pb.FindResponse(warnings=warnings)


def _groups(messages: Iterable[_ItemT]) -> Iterator[list[_ItemT]]:
    """Yield messages in groups, each of which fits one message."""
    group: list[_ItemT] = []
    size = 0
    for message in messages:
        group.append(message)
        size += message.ByteSize()
        if len(group) == _MAX_ITEMS or size >= _MAX_BYTES:
            yield group
            group, size = [], 0
    if group:
        yield group
