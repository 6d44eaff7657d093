"""Finding and annotating, asked of a service."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import grpc

from engram.v1 import recording_pb2_grpc
from engram.v1.catalogue_values import message_of_annotation, message_of_find
from engram.v1.values import artifact_of
from engram_client.remote.channel import Credentials
from engram_client.remote.errors import translated
from engram_format.address import Address
from engram_format.catalog import Artifact, Kind, Metadata


class RemoteFinding:
    """The calls over one channel. Thread-safe; its iterators are used by one thread at a time."""

    def __init__(self, channel: grpc.Channel, *, url: str, credentials: Credentials, timeout_s: float) -> None:
        self._stub = recording_pb2_grpc.RecordingServiceStub(channel)
        self._url = url
        self._credentials = credentials
        self._timeout_s = timeout_s

    def find(
        self, conditions: Iterable[str], *, kind: Kind | None, scope: Address | None, warn: Callable[[str], None]
    ) -> Iterator[Artifact]:
        """Yield the artifacts that fulfil all conditions, as they arrive."""
        call = self._stub.Find(message_of_find(conditions, kind=kind, scope=scope), metadata=self._credentials)
        try:
            with translated(self._url):
                for response in call:
                    yield from map(artifact_of, response.artifacts)
                    for sentence in response.warnings:
                        warn(sentence)
        finally:
            # A reader that stops early would otherwise leave the service sending; after the end this does nothing.
            call.cancel()

    def annotate(
        self, address: Address, *, set_: Metadata, unset: Iterable[str], message: str, author: str
    ) -> Artifact:
        """Change the metadata of an artifact, as a new version; return it there."""
        request = message_of_annotation(address, set_=set_, unset=unset, message=message, author=author)
        with translated(self._url):
            answer = self._stub.Annotate(request, timeout=self._timeout_s, metadata=self._credentials)
        return artifact_of(answer.artifact)
