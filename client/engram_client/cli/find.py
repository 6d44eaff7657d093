"""`engram find`: artifacts by what is known of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from engram_client.cli.output import human_size, warn, write_json, write_table
from engram_client.cli.settings import Settings, archive_options
from engram_format.address import Address

if TYPE_CHECKING:
    from collections.abc import Iterable

    from engram_format.catalog import Artifact


@click.command(short_help="Find artifacts by their metadata and series.")
@click.argument("conditions", nargs=-1, metavar="[CONDITION]...")
@click.option("--kind", help="Only artifacts of this kind: recording, student, protocol, substrate, ..., file.")
@click.option("--in", "scope", metavar="VAULT[/MEMORY][:FOLDER]", help="Search only there.")
@archive_options
@click.option("--json", "as_json", is_flag=True, help="Print a JSON array.")
@click.pass_obj
def find(
    settings: Settings, *, conditions: tuple[str, ...], kind: str | None, scope: str | None, as_json: bool
) -> None:
    """Find the artifacts that fulfil every CONDITION, in the newest versions of all memories that you may read.

    \b
    A condition is a name, one of = != < <= > >= ~ and a value; ~ means: contains.
    engram find 'subject.species=Rattus norvegicus' 'series.sampling_rate>=20000' --kind recording

    \b
    Names are those of metadata, and
    series.name .sampling_rate .unit .dtype .samples .duration .channels .role
    family path kind size sha256 made_from time vault memory version
    """  # noqa: D301 - \b keeps click from joining the lines
    from engram_client.cli.deposit import known_kind

    place = None if scope is None else Address.parse(scope)
    with settings.open() as archive:
        found = list(archive.find(conditions, kind=known_kind(kind), scope=place, warn=warn))
    if as_json:
        write_json(found)
    else:
        write_found(found)


def write_found(artifacts: Iterable[Artifact]) -> None:
    """Write a table of artifacts of several memories."""
    rows = (
        (str(artifact.address), str(artifact.kind), human_size(artifact.size), artifact.sha256[:12])
        for artifact in artifacts
    )
    write_table(("ARTIFACT", "KIND", "SIZE", "SHA-256"), rows, right=frozenset({"SIZE"}))
