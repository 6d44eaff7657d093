"""Annotating: a new version of which one artifact has other metadata and the same recipe; no data is moved."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from engram_format.address import check_note
from engram_format.catalog import Metadata, Scalar
from engram_format.consent import check_consent
from engram_format.errors import Conflict, InvalidInput
from engram_format.history import Commit, History
from engram_format.ids import Digest, SessionId
from engram_format.location import PackRef
from engram_format.manifest import Manifest, TreeEntry, check_metadata
from engram_format.series import Description
from engram_store.commit import MetaWriter, commit_session
from engram_store.dedup import KnownContent
from engram_store.reader import VaultReader

SESSION_SECRET_BYTES = 32


@dataclass(frozen=True, slots=True)
class Annotation:
    """What is to become of an artifact's metadata."""

    set: Mapping[str, Scalar]
    unset: frozenset[str]

    def __post_init__(self) -> None:
        both = self.unset.intersection(self.set)
        if both:
            raise InvalidInput(f"metadata {min(both)!r} is to be set and to be removed: do one of them")
        if not self.set and not self.unset:
            raise InvalidInput("nothing is to be changed: give a name and a value to set, or a name to remove")
        check_metadata(self.set)

    def of(self, metadata: Metadata, *, what: str) -> dict[str, Scalar]:
        """Return the metadata as they are after it; raises `InvalidInput` where they could not be, or are the same."""
        missing = sorted(self.unset.difference(metadata))
        if missing:
            known = ", ".join(sorted(metadata)) or "it has none"
            raise InvalidInput(f"{what} has no metadata {missing[0]!r} to be removed: choose of {known:.500}")
        changed = {name: value for name, value in metadata.items() if name not in self.unset} | dict(self.set)
        if (
            all(name in metadata and _same(value, metadata[name]) for name, value in self.set.items())
            and not self.unset
        ):
            raise InvalidInput(f"{what} has these metadata already: nothing is to be changed")
        check_consent(check_metadata(changed))
        return changed


@dataclass(frozen=True, slots=True)
class _Annotated:
    """An artifact with other metadata."""

    entry: TreeEntry
    described: Manifest
    description: Description | None
    packs: frozenset[PackRef]

    def manifest(self, _: MetaWriter) -> Manifest:
        """Return the new manifest."""
        return self.described


def annotate(
    reader: VaultReader,
    memory: str,
    path: str,
    annotation: Annotation,
    *,
    session: SessionId,
    message: str,
    author: str,
    parity: bool,
    clock: Callable[[], int],
    entropy: Callable[[int], bytes],
) -> Commit:
    """Append a version in which the artifact at `path` has other metadata; return it.

    Where another writer has appended a version meanwhile, the change is made to that one. Raises `Conflict` where the
    artifact has other bytes there.
    """
    check_note(message, what="message")
    check_note(author, what="author")
    history = reader.history()
    history.require_readable()
    digest = reader.find(history.newest(memory), path).entry.sha256

    def follow(newer: History) -> list[_Annotated]:
        return [_annotated(reader, newer.newest(memory), path, annotation, expected=digest)]

    first = follow(history)
    key = reader.store.create_session(session, secret=entropy(SESSION_SECRET_BYTES))
    return commit_session(
        reader.store,
        reader.frames,
        key,
        session,
        memory=memory,
        ended=first,
        known=KnownContent(),
        packs=[],
        message=message,
        author=author,
        parity=parity,
        clock=clock,
        entropy=entropy,
        based_on=history,
        follow=follow,
    )


def _annotated(
    reader: VaultReader, commit: Commit, path: str, annotation: Annotation, *, expected: Digest
) -> _Annotated:
    found = reader.find(commit, path)
    what = f"{reader.store.name}/{commit.memory}@{commit.number}:{path}"
    if found.entry.sha256 != expected:
        raise Conflict(
            f"{what} has other bytes than the artifact that was to be annotated: look at it and annotate again"
        )
    manifest = reader.manifest(found)
    changed = replace(manifest, metadata=annotation.of(manifest.metadata, what=what))
    return _Annotated(found.entry, changed, reader.description(manifest), frozenset(_packs(reader, manifest)))


def _packs(reader: VaultReader, manifest: Manifest) -> Iterator[PackRef]:
    """Yield the packs that an artifact's recipe and description lie in."""
    held: Iterable[PackRef]
    for located in (manifest.pages, manifest.description, *reader.locations(manifest)):
        held = () if located is None else located.packs
        yield from held


def _same(first: Scalar, second: Scalar) -> bool:
    return type(first) is type(second) and first == second
