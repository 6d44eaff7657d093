"""The use case of comparing: what was added, removed and changed, and how much of it was there before."""

from __future__ import annotations

from collections.abc import Iterator

from engram_format.catalog import Artifact, Change
from engram_server.engine import describe
from engram_store.difference import Difference, Held, Side, differences


def changes(first: Side, second: Side) -> Iterator[Change]:
    """Yield what differs between two sides, by path; artifacts that are the same in both are left out."""
    return map(_change, differences(first, second))


def _change(difference: Difference) -> Change:
    return Change(
        path=difference.path,
        before=_artifact(difference.before),
        after=_artifact(difference.after),
        shared=difference.shared,
        metadata=difference.metadata,
        series=difference.series,
    )


def _artifact(held: Held | None) -> Artifact | None:
    return None if held is None else describe.artifact(held.reader.store.name, held.found, held.manifest)
