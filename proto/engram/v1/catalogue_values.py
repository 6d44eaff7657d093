"""What is found, annotated and compared as messages, and messages as values; both ends of the wire use these functions."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from engram.v1 import archive_pb2
from engram.v1 import recording_pb2 as pb
from engram.v1.names import name_of
from engram.v1.values import artifact_of, fitting, message_of_artifact, set_scalars
from engram_format.address import Address
from engram_format.catalog import Alteration, Change, Kind, Metadata


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


def message_of_change(change: Change) -> pb.Change:
    """Say a change."""
    return pb.Change(
        path=change.path,
        before=None if change.before is None else message_of_artifact(change.before),
        after=None if change.after is None else message_of_artifact(change.after),
        shared=change.shared,
        metadata=_messages_of_alterations(change.metadata),
        series=_messages_of_alterations(change.series),
    )


def change_of(message: pb.Change) -> Change:
    """Return a change."""
    return Change(
        path=message.path,
        before=artifact_of(message.before) if message.HasField("before") else None,
        after=artifact_of(message.after) if message.HasField("after") else None,
        shared=message.shared,
        metadata=tuple(_alterations_of(message.metadata)),
        series=tuple(_alterations_of(message.series)),
    )


def _number_of(kind: Kind) -> archive_pb2.ArtifactKind.ValueType:
    return archive_pb2.ArtifactKind.Value(f"ARTIFACT_KIND_{kind.name}")


def _messages_of_alterations(alterations: Iterable[Alteration]) -> Iterator[pb.Alteration]:
    for item in alterations:
        with fitting(f"the alteration of {item.name!r:.200}"):
            yield pb.Alteration(name=item.name, before=item.before, after=item.after)


def _alterations_of(messages: Iterable[pb.Alteration]) -> Iterator[Alteration]:
    for item in messages:
        yield Alteration(
            name=item.name,
            before=item.before if item.HasField("before") else None,
            after=item.after if item.HasField("after") else None,
        )
