"""`engram annotate`: other metadata, as a new version."""

from __future__ import annotations

import click

from engram_client.cli.output import write_json
from engram_client.cli.settings import Settings, archive_options
from engram_format.address import Address


@click.command(short_help="Change what is noted with an artifact.")
@click.argument("address")
@click.option("--set", "told", multiple=True, metavar="NAME=VALUE", help="A value to note; may be repeated.")
@click.option("--unset", multiple=True, metavar="NAME", help="A name to remove; may be repeated.")
@click.option("-m", "--message", default="", help="Why, for those who read the memory's log.")
@click.option("--author", envvar="ENGRAM_AUTHOR", help="Who annotates; by default your user name and this machine's.")
@archive_options
@click.option("--json", "as_json", is_flag=True, help="Print the artifact as one JSON document.")
@click.pass_obj
def annotate(
    settings: Settings,
    *,
    address: str,
    told: tuple[str, ...],
    unset: tuple[str, ...],
    message: str,
    author: str | None,
    as_json: bool,
) -> None:
    """Change the metadata of an artifact of a memory's newest version, as a new version; its bytes stay as they are.

    ADDRESS is vault/memory:path. Consent is noted as consent.duo (such as GRU,IRB), consent.model_training and
    consent.reidentification (true or false), consent.withdrawal and consent.obc.
    """
    from engram_client.cli.deposit import this_user
    from engram_client.cli.metadata import read_metadata

    place, changes = Address.parse(address), read_metadata(told, option="--set")
    with settings.open() as archive:
        artifact = archive.annotate(place, set=changes, unset=unset, message=message, author=author or this_user())
    if as_json:
        write_json(artifact)
    else:
        click.echo(str(artifact.address))
