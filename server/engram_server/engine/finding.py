"""The use case of finding: conditions asked of the catalogues of all newest versions."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator, Sequence

from engram_format.address import Address
from engram_format.catalog import Artifact, Kind
from engram_format.catalogue import CataloguePage, CatalogueRow
from engram_format.condition import BUILT_IN, Condition, marks
from engram_format.errors import InvalidInput
from engram_format.history import Commit
from engram_store.reader import VaultReader


def find(
    readers: Iterator[VaultReader],
    conditions: Sequence[Condition],
    *,
    kind: Kind | None,
    scope: Address | None,
    warn: Callable[[str], None],
) -> Iterator[Artifact]:
    """Yield the artifacts that fulfil all conditions, by vault, memory and path; `warn` is told of names that none has."""
    if scope is not None and scope.version is not None:
        raise InvalidInput(f"only newest versions are searched: write {scope.at(None)} without the version")
    names: set[str] = set()
    for reader in readers:
        for commit in _newest(reader, scope):
            for page in reader.catalogue(commit):
                names |= page.names
                yield from _found(reader.store.name, commit, page, conditions, kind=kind, scope=scope)
    for name in dict.fromkeys(condition.name for condition in conditions):
        if name not in BUILT_IN and name not in names:
            warn(_unknown(name, sorted(names | BUILT_IN)))


def _newest(reader: VaultReader, scope: Address | None) -> Iterator[Commit]:
    history = reader.history()
    if scope is not None and scope.memory is not None:
        yield history.newest(scope.memory)
        return
    if not history.commits:
        history.require_readable()
    for memory in sorted(history.commits):
        yield history.newest(memory)


def _found(
    vault: str,
    commit: Commit,
    page: CataloguePage,
    conditions: Sequence[Condition],
    *,
    kind: Kind | None,
    scope: Address | None,
) -> Iterator[Artifact]:
    below = None if scope is None else scope.path
    marked = marks(page, conditions, kind=kind, vault=vault, memory=commit.memory, version=commit.number)
    if not marked.any():
        return
    for row in page.rows(marked):
        if below is None or row.path == below or row.path.startswith(f"{below}/"):
            yield _artifact(vault, commit, row)


def _artifact(vault: str, commit: Commit, row: CatalogueRow) -> Artifact:
    return Artifact(
        address=Address(vault, commit.memory, commit.number, row.path),
        kind=row.kind,
        size=row.size,
        sha256=str(row.sha256),
        stored_size=row.stored_size,
        frames=row.frames,
        time_ns=row.time_ns,
        metadata=row.metadata,
        made_from=tuple(map(str, row.made_from)),
        mode=row.mode,
    )


def _unknown(name: str, known: list[str]) -> str:
    near = difflib.get_close_matches(name[:256], known[:10_000], n=3, cutoff=0.5)
    hint = f"did you mean {', '.join(near)}?" if near else "see 'engram show' of an artifact for the names that it has"
    return f"no artifact that was searched has anything named {name!r:.200}: {hint}"
