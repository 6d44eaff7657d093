"""`engram deposit`: files in."""

from __future__ import annotations

import getpass
import os
import socket
from pathlib import Path
from typing import TYPE_CHECKING

import click

from engram_client.cli.metadata import read_metadata
from engram_client.cli.output import progress, warn, write_json
from engram_client.cli.settings import Settings, archive_options
from engram_format.address import Address, parse_any
from engram_format.errors import InvalidInput, Unavailable

if TYPE_CHECKING:
    from engram_format.catalog import Kind, Scalar


@click.command(short_help="Put files in, as a new version.")
@click.argument("files", nargs=-1, required=True, metavar="FILE...", type=click.Path(path_type=Path))
@click.option(
    "--to", "to", required=True, metavar="VAULT/MEMORY[:PATH]", help="Where the files go; a new memory is made."
)
@click.option("--kind", help="Overrides what the content shows: recording, student, protocol, substrate, ..., file.")
@click.option("-m", "--message", default="", help="What this version is, for those who read its log.")
@click.option("--author", envvar="ENGRAM_AUTHOR", help="Who deposits; by default your user name and this machine's.")
@click.option("--subject", metavar="ID", help="The subject that was recorded; short for --meta subject.id=ID.")
@click.option("--meta", multiple=True, metavar="NAME=VALUE", help="Something to note with every file; may be repeated.")
@click.option("--made-from", multiple=True, metavar="ADDRESS", help="What the files were made from; may be repeated.")
@archive_options
@click.option("--json", "as_json", is_flag=True, help="Print the version as one JSON document.")
@click.pass_obj
def deposit(
    settings: Settings,
    *,
    files: tuple[Path, ...],
    to: str,
    kind: str | None,
    message: str,
    author: str | None,
    subject: str | None,
    meta: tuple[str, ...],
    made_from: tuple[str, ...],
    as_json: bool,
) -> None:
    """Deposit files and folders as one new version of a memory.

    A file goes under its own name, or to the PATH given; what is in a folder under its path in the folder. A deposit that was
    cut goes on when the same command is run again. Nothing is added unless all of it arrived, unchanged meanwhile.
    """
    from engram_client.journal import Journal
    from engram_client.transfer import deposit_files

    place, wanted, metadata = Address.parse(to), known_kind(kind), _metadata(meta, subject=subject)
    try:
        with settings.open() as archive, progress("depositing") as show:
            version = deposit_files(
                archive,
                files,
                to=place,
                kind=wanted,
                message=message,
                author=author or this_user(),
                metadata=metadata,
                made_from=[archive.artifact(parse_any(address)).sha256 for address in made_from],
                progress=show,
                warn=warn,
                journal=Journal.of_user(),
            )
    except Unavailable as error:
        raise Unavailable(f"{error}; the same command then goes on from what has arrived") from error
    if as_json:
        write_json(version)
    else:
        click.echo(f"{version.address}  {version.added} added, {version.artifacts} in all")


def known_kind(text: str | None) -> Kind | None:
    """Read the option `--kind`."""
    from engram_format.catalog import Kind

    try:
        return None if text is None else Kind(text)
    except ValueError as error:
        raise click.BadParameter(f"{text!r} is none of {', '.join(Kind)}.", param_hint="--kind") from error


def _metadata(told: tuple[str, ...], *, subject: str | None) -> dict[str, Scalar]:
    """Return what is to be noted with every file."""
    metadata = read_metadata(told, option="--meta")
    if subject is None:
        return metadata
    if "subject.id" in metadata:
        raise InvalidInput("metadata 'subject.id' is given twice: give it once")
    return {"subject.id": subject} | metadata


def this_user() -> str:
    """Return who works here, as `name@machine`."""
    try:
        name = getpass.getuser()
    except (KeyError, OSError, ImportError):
        name = str(os.getuid())  # a container's user often has no name
    return f"{name}@{socket.gethostname()}"
