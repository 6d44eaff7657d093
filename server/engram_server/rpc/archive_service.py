"""The archive service: each method converts, calls the engine, and converts back."""
# ruff: noqa: N802 - methods have the names of the contract

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Final

from engram.v1 import archive_pb2 as pb
from engram.v1 import archive_pb2_grpc
from engram.v1.names import parse_any_name, parse_name
from engram.v1.values import (
    message_of_artifact,
    message_of_finding,
    message_of_memory,
    message_of_vault,
    message_of_version,
    messages_of_folders,
)
from engram_format.address import Address
from engram_format.catalog import Artifact, Memory, Vault, Version
from engram_format.errors import InvalidInput
from engram_server.engine import Archive
from engram_server.rpc import deposit_stream, restore_stream
from engram_server.rpc.calls import EngineCalls
from engram_server.rpc.pages import Page, mark_of, take
from engram_server.rpc.status import Context

MAX_CHUNK: Final = 1 << 20
"""Bytes in one message of a restore."""


class ArchiveService(archive_pb2_grpc.ArchiveServiceServicer):
    """Serves one archive."""

    def __init__(self, engine: Archive, calls: EngineCalls) -> None:
        self._engine = engine
        self._calls = calls

    async def CreateVault(self, request: pb.CreateVaultRequest, context: Context) -> pb.CreateVaultResponse:
        """Create a vault."""
        name = _vault(request.name)
        vault = await self._calls.run(lambda: self._engine.create_vault(name))
        return pb.CreateVaultResponse(vault=message_of_vault(vault))

    async def ListVaults(self, request: pb.ListVaultsRequest, context: Context) -> pb.ListVaultsResponse:
        """Return a page of vaults."""
        mark = mark_of(request.page_token)

        def list_vaults() -> Page[pb.Vault]:
            return take(
                self._engine.vaults(),
                size=request.page_size,
                follows=lambda vault: mark is None or vault.name > mark,
                message=message_of_vault,
                mark=_mark_of_vault,
            )

        page = await self._calls.run(list_vaults)
        return pb.ListVaultsResponse(vaults=page.items, next_page_token=page.next_token)

    async def ListMemories(self, request: pb.ListMemoriesRequest, context: Context) -> pb.ListMemoriesResponse:
        """Return a page of memories."""
        vault = _vault(request.parent)
        mark = mark_of(request.page_token)

        def list_memories() -> Page[pb.Memory]:
            return take(
                self._engine.memories(vault),
                size=request.page_size,
                follows=lambda memory: mark is None or _mark_of_memory(memory) > mark,
                message=message_of_memory,
                mark=_mark_of_memory,
            )

        page = await self._calls.run(list_memories)
        return pb.ListMemoriesResponse(memories=page.items, next_page_token=page.next_token)

    async def ListVersions(self, request: pb.ListVersionsRequest, context: Context) -> pb.ListVersionsResponse:
        """Return a page of versions."""
        memory = parse_name(request.parent)
        mark = _marked_address(request.page_token)

        def list_versions() -> Page[pb.Version]:
            return take(
                self._engine.versions(memory),
                size=request.page_size,
                follows=lambda version: mark is None or _number(version.address) < _number(mark),
                message=message_of_version,
                mark=_mark_of_address,
            )

        page = await self._calls.run(list_versions)
        return pb.ListVersionsResponse(versions=page.items, next_page_token=page.next_token)

    async def GetVault(self, request: pb.GetVaultRequest, context: Context) -> pb.GetVaultResponse:
        """Return one vault."""
        address = parse_name(request.name)
        vault = await self._calls.run(lambda: self._engine.vault(address.vault))
        return pb.GetVaultResponse(vault=message_of_vault(vault))

    async def GetMemory(self, request: pb.GetMemoryRequest, context: Context) -> pb.GetMemoryResponse:
        """Return one memory."""
        address = parse_name(request.name)
        memory = await self._calls.run(lambda: self._engine.memory(address))
        return pb.GetMemoryResponse(memory=message_of_memory(memory))

    async def GetVersion(self, request: pb.GetVersionRequest, context: Context) -> pb.GetVersionResponse:
        """Return one version."""
        address = parse_name(request.name)
        version = await self._calls.run(lambda: self._engine.version(address))
        return pb.GetVersionResponse(version=message_of_version(version))

    async def ListArtifacts(self, request: pb.ListArtifactsRequest, context: Context) -> pb.ListArtifactsResponse:
        """Return a page of artifacts, of the version that the first page showed."""
        parent = parse_name(request.parent)
        mark = _marked_address(request.page_token)
        address = parent if mark is None else parent.at(mark.version)

        def list_artifacts() -> Page[pb.Artifact]:
            return take(
                self._engine.artifacts(address, after="" if mark is None else _path(mark)),
                size=request.page_size,
                follows=lambda _: True,
                message=message_of_artifact,
                mark=_mark_of_address,
            )

        page = await self._calls.run(list_artifacts)
        return pb.ListArtifactsResponse(artifacts=page.items, next_page_token=page.next_token)

    async def ListFolders(
        self, request: pb.ListFoldersRequest, context: Context
    ) -> AsyncGenerator[pb.ListFoldersResponse, None]:
        """Stream what is known of folders."""
        parent = parse_name(request.parent)
        groups = self._calls.each(lambda: messages_of_folders(self._engine.folders(parent)))
        async with aclosing(groups):
            async for group in groups:
                yield pb.ListFoldersResponse(folders=group)

    async def GetArtifact(self, request: pb.GetArtifactRequest, context: Context) -> pb.GetArtifactResponse:
        """Return one artifact."""
        address = parse_any_name(request.name)
        artifact = await self._calls.run(lambda: self._engine.artifact(address))
        return pb.GetArtifactResponse(artifact=message_of_artifact(artifact))

    async def Deposit(
        self, request_iterator: AsyncIterator[pb.DepositRequest], context: Context
    ) -> AsyncGenerator[pb.DepositResponse, None]:
        """Do the steps of one session."""
        async with aclosing(deposit_stream.answers(self._engine, self._calls, request_iterator)) as answers:
            async for answer in answers:
                yield answer

    async def Restore(self, request: pb.RestoreRequest, context: Context) -> AsyncGenerator[pb.RestoreResponse, None]:
        """Stream an artifact's bytes; the engine reads on only when the client has taken what was read."""
        address = parse_any_name(request.name)
        stop = request.stop if request.HasField("stop") else None
        pieces = self._calls.each(lambda: self._engine.read(address, start=request.start, stop=stop))
        async with aclosing(pieces):
            async for piece in pieces:
                view = memoryview(piece)
                for first in range(0, len(view), MAX_CHUNK):
                    yield pb.RestoreResponse(data=bytes(view[first : first + MAX_CHUNK]))

    async def RestoreAll(
        self, request: pb.RestoreAllRequest, context: Context
    ) -> AsyncGenerator[pb.RestoreAllResponse, None]:
        """Stream many artifacts; the engine reads on only when the client has taken what was read."""
        parent = parse_name(request.parent)
        responses = self._calls.each(lambda: restore_stream.responses(self._engine.read_all(parent)))
        async with aclosing(responses):
            async for response in responses:
                yield response

    async def Verify(self, request: pb.VerifyRequest, context: Context) -> AsyncGenerator[pb.VerifyResponse, None]:
        """Stream findings as they are made."""
        scope = parse_name(request.scope) if request.scope else None
        findings = self._calls.each(lambda: self._engine.verify(scope, read_data=request.read_data))
        async with aclosing(findings):
            async for finding in findings:
                yield pb.VerifyResponse(findings=[message_of_finding(finding)])


def _vault(name: str) -> str:
    address = parse_name(name)
    if address.memory is not None:
        raise InvalidInput(f"{name!r} is more than a vault: write vaults/{address.vault}")
    return address.vault


def _mark_of_vault(vault: Vault) -> str:
    return vault.name


def _mark_of_memory(memory: Memory) -> str:
    return memory.address.memory or ""


def _mark_of_address(item: Version | Artifact) -> str:
    return str(item.address)


def _marked_address(token: str) -> Address | None:
    mark = mark_of(token)
    return None if mark is None else Address.parse(mark)


def _number(address: Address) -> int:
    return address.version or 0


def _path(address: Address) -> str:
    return address.path or ""
