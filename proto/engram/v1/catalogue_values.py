"""What is found and annotated as messages, and messages as values; both ends of the wire use these functions."""

from __future__ import annotations

from collections.abc import Iterable

from engram.v1 import archive_pb2
from engram.v1 import recording_pb2 as pb
from engram.v1.names import name_of
from engram.v1.values import artifact_of, fitting, set_scalars
from engram_format.address import Address
from engram_format.catalog import Kind, Metadata


def message_of_find(conditions: Iterable[str], *, kind: Kind | None, scope: Address | None) -> pb.FindRequest:
    """Ask for artifacts."""
    with fitting("what is asked for"):
        return pb.FindRequest(
            conditions=conditions,
            kind=archive_pb2.ARTIFACT_KIND_UNSPECIFIED if kind is None else _number_of(kind),
            scope="" if scope is None else name_of(scope),
        )


def kind_of_find(request: pb.FindRequest) -> Kind | None:
    """Return the kind that is asked for, if one is."""
    # An artifact of that kind says it, so that one table of kinds is enough.
    if request.kind == archive_pb2.ARTIFACT_KIND_UNSPECIFIED:
        return None
    return artifact_of(archive_pb2.Artifact(name="vaults/v/memories/m/artifacts/a", kind=request.kind)).kind


def message_of_annotation(
    address: Address, *, set_: Metadata, unset: Iterable[str], message: str, author: str
) -> pb.AnnotateRequest:
    """Ask for a change of metadata."""
    with fitting(f"the annotation of {address}"):
        request = pb.AnnotateRequest(name=name_of(address), unset=unset, message=message, author=author)
    set_scalars(request.set, set_)
    return request


def _number_of(kind: Kind) -> archive_pb2.ArtifactKind.ValueType:
    return archive_pb2.ArtifactKind.Value(f"ARTIFACT_KIND_{kind.name}")
