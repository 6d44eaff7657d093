"""`engram diff`: what differs between two versions."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import click

from engram_client.cli.output import human_size, printable, write_json
from engram_client.cli.settings import Settings, archive_options
from engram_format.address import Address

if TYPE_CHECKING:
    from engram_format.catalog import Alteration, Artifact, Change


@click.command(short_help="Show what differs between two versions.")
@click.argument("first")
@click.argument("second")
@archive_options
@click.option("--json", "as_json", is_flag=True, help="Print a JSON array.")
@click.pass_obj
def diff(settings: Settings, *, first: str, second: str, as_json: bool) -> None:
    """Show which artifacts SECOND adds (+), lacks (-) and changes (~) against FIRST, and how much of them it shares.

    FIRST and SECOND are two versions, vault/memory[@version], or two artifacts or folders, vault/memory[@version]:path.
    """
    older, newer = Address.parse(first), Address.parse(second)
    with settings.open() as archive:
        changes = list(archive.diff(older, newer))
    if as_json:
        write_json(changes)
        return
    for line in change_lines(changes):
        click.echo(printable(line))


def change_lines(changes: Iterable[Change]) -> Iterator[str]:
    """Say each change in a line, and under it what of its metadata and series differs."""
    for change in changes:
        before, after = change.before, change.after
        if after is None:
            yield f"- {change.path}{_size(before)}"
        elif before is None:
            yield f"+ {change.path}{_size(after)}"
        else:
            yield f"~ {change.path}{_size(after)}, {human_size(change.shared)} shared"
        for alteration in change.metadata:
            yield f"    {_said(alteration)}"
        for alteration in change.series:
            yield f"    series {_said(alteration)}"


def _size(artifact: Artifact | None) -> str:
    return "" if artifact is None else f"  {human_size(artifact.size)}"


def _said(alteration: Alteration) -> str:
    if alteration.before is None:
        return f"+ {alteration.name} = {alteration.after}"
    if alteration.after is None:
        return f"- {alteration.name} = {alteration.before}"
    return f"~ {alteration.name}: {alteration.before} -> {alteration.after}"
