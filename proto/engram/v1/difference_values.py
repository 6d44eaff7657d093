"""What differs between versions as messages, and messages as values; both ends of the wire use these functions."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Final

from engram.v1 import recording_pb2 as pb
from engram.v1.values import artifact_of, fitting, message_of_artifact
from engram_format.catalog import Alteration, Change

_MAX_BYTES: Final = 1 << 20
"""A message ends at the change, or the alteration, that takes it over this size."""
_MAX_CHANGES: Final = 500


def messages_of_change(change: Change) -> Iterator[pb.Change]:
    """Say a change; one with too many alterations for a message goes on in others of its path, without its artifacts."""
    with fitting(f"the change of {change.path!r:.200}"):
        message = pb.Change(
            path=change.path,
            before=None if change.before is None else message_of_artifact(change.before),
            after=None if change.after is None else message_of_artifact(change.after),
            shared=change.shared,
        )
    size = message.ByteSize()
    for alterations, is_series in ((change.metadata, False), (change.series, True)):
        for told in map(_message_of_alteration, alterations):
            if size + told.ByteSize() > _MAX_BYTES and (message.metadata or message.series):
                yield message
                message, size = pb.Change(path=change.path), 0
            (message.series if is_series else message.metadata).append(told)
            size += told.ByteSize()
    yield message


def changes_of(messages: Iterable[pb.Change]) -> Iterator[Change]:
    """Yield changes, each when its last part has arrived."""
    held: Change | None = None
    for message in messages:
        part = _change_of(message)
        if part.before is None and part.after is None and held is not None and held.path == part.path:
            held = replace(held, metadata=held.metadata + part.metadata, series=held.series + part.series)
            continue
        if held is not None:
            yield held
        held = part
    if held is not None:
        yield held


def responses_of(changes: Iterable[Change]) -> Iterator[pb.DiffResponse]:
    """Say changes in messages of bounded size."""
    group: list[pb.Change] = []
    size = 0
    for message in (message for change in changes for message in messages_of_change(change)):
        group.append(message)
        size += message.ByteSize()
        if len(group) == _MAX_CHANGES or size >= _MAX_BYTES:
            yield pb.DiffResponse(changes=group)
            group, size = [], 0
    if group:
        yield pb.DiffResponse(changes=group)


def _change_of(message: pb.Change) -> Change:
    return Change(
        path=message.path,
        before=artifact_of(message.before) if message.HasField("before") else None,
        after=artifact_of(message.after) if message.HasField("after") else None,
        shared=message.shared,
        metadata=_alterations_of(message.metadata),
        series=_alterations_of(message.series),
    )


def _message_of_alteration(item: Alteration) -> pb.Alteration:
    with fitting(f"the alteration of {item.name!r:.200}"):
        return pb.Alteration(name=item.name, before=item.before, after=item.after)


def _alterations_of(messages: Sequence[pb.Alteration]) -> tuple[Alteration, ...]:
    return tuple(
        Alteration(
            name=item.name,
            before=item.before if item.HasField("before") else None,
            after=item.after if item.HasField("after") else None,
        )
        for item in messages
    )
