"""`engram vault`: the units of key, deduplication and erasure."""

from __future__ import annotations

import click

from engram_client.cli.browse import write_vaults
from engram_client.cli.output import write_json
from engram_client.cli.settings import Settings, archive_options


@click.group(short_help="Make and list vaults.")
def vault() -> None:
    """Make and list vaults: each has keys of its own, and can be erased by destroying them."""


@vault.command()
@click.argument("name")
@archive_options
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.pass_obj
def create(settings: Settings, *, name: str, as_json: bool) -> None:
    """Make the vault NAME, as a rule one for each subject or project."""
    with settings.open() as archive:
        made = archive.create_vault(name)
    if as_json:
        write_json(made)
    else:
        write_vaults([made])


@vault.command()
@archive_options
@click.option("--json", "as_json", is_flag=True, help="Print a JSON array.")
@click.pass_obj
def ls(settings: Settings, *, as_json: bool) -> None:
    """List the vaults that your identity can open."""
    with settings.open() as archive:
        found = list(archive.vaults())
    if as_json:
        write_json(found)
    else:
        write_vaults(found)
