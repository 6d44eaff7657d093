"""`engram diff`: what differs between two versions, and how much of the newer one was there before."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from engram_client.cli.output import as_json as told_as_json
from engram_client.cli.output import human_size, printable, write_json
from engram_client.cli.settings import Settings, archive_options
from engram_format.address import Address

if TYPE_CHECKING:
    from engram_format.catalog import Alteration, Artifact, Change


@dataclass(frozen=True, slots=True)
class Summary:
    """How two versions compare as a whole; sizes are bytes of originals."""

    added: int
    removed: int
    changed: int
    same: int
    size: int
    """Bytes of all artifacts of the newer version."""
    shared: int
    """Bytes of the newer version that the older one is kept in too."""

    @classmethod
    def of(cls, changes: Iterable[Change], newer: Iterable[Artifact], *, one_vault: bool) -> Summary:
        """Count the changes, and what of the newer version is not among them, which within a vault is shared whole."""
        changes = list(changes)
        sizes = [artifact.size for artifact in newer]
        told = [change.after.size for change in changes if change.after is not None]
        unchanged = sum(sizes) - sum(told) if one_vault else 0
        return cls(
            added=sum(change.before is None for change in changes),
            removed=sum(change.after is None for change in changes),
            changed=sum(change.before is not None and change.after is not None for change in changes),
            same=len(sizes) - len(told),
            size=sum(sizes),
            shared=unchanged + sum(change.shared for change in changes),
        )

    def __str__(self) -> str:
        counts = f"{self.added} added, {self.removed} removed, {self.changed} changed, {self.same} the same"
        return f"{counts}; {_part(self.shared, self.size)} shared"


@click.command(short_help="Show what differs between two versions.")
@click.argument("first")
@click.argument("second")
@archive_options
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.pass_obj
def diff(settings: Settings, *, first: str, second: str, as_json: bool) -> None:
    """Show what SECOND adds (+), lacks (-) and changes (~) against FIRST, and how many bytes both are kept in.

    FIRST and SECOND are two versions, vault/memory[@version], or two artifacts or folders, vault/memory[@version]:path.
    What is the same in both is counted only. Under a changed artifact stand its metadata and series that differ.
    """
    older, newer = Address.parse(first), Address.parse(second)
    with settings.open() as archive:
        changes = list(archive.diff(older, newer))
        summary = Summary.of(changes, archive.artifacts(newer), one_vault=older.vault == newer.vault)
    if as_json:
        write_json({"changes": [told_as_json(change) for change in changes], "summary": summary})
        return
    for line in _lines(changes):
        click.echo(printable(line).rstrip())
    click.echo(str(summary))


def _lines(changes: Sequence[Change]) -> Iterator[str]:
    """Say each change in a line, and under it what of its metadata and series differs."""
    rows = [_row(change) for change in changes]
    widths = [max((len(printable(row[column])) for row in rows), default=0) for column in range(2)]
    for change, (path, size, shared) in zip(changes, rows, strict=True):
        yield f"{path.ljust(widths[0])}  {size.rjust(widths[1])}  {shared}"
        yield from (f"    {_said(item)}" for item in change.metadata)
        yield from (f"    series {_said(item)}" for item in change.series)


def _row(change: Change) -> tuple[str, str, str]:
    match change.before, change.after:
        case None, after:
            return f"+ {change.path}", human_size(after.size if after else 0), ""
        case before, None:
            return f"- {change.path}", human_size(before.size), ""
        case before, after:
            old, new = human_size(before.size), human_size(after.size)
            sizes = new if old == new else f"{old} -> {new}"
            return f"~ {change.path}", sizes, f"{_part(change.shared, after.size)} shared"


def _part(shared: int, size: int) -> str:
    percent = f" ({100 * shared / size:.1f} %)" if size else ""
    return f"{human_size(shared)} of {human_size(size)}{percent}"


def _said(alteration: Alteration) -> str:
    if alteration.before is None:
        return f"+ {alteration.name}: {alteration.after}"
    if alteration.after is None:
        return f"- {alteration.name}: {alteration.before}"
    return f"~ {alteration.name}: {alteration.before} -> {alteration.after}"
