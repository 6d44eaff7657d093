"""`engram deposit`: files in."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from engram_client.cli.metadata import read_metadata
from engram_client.cli.output import Json, as_json_map, human_size, progress, warn, write_json, write_table
from engram_client.cli.settings import Settings, archive_options
from engram_format.address import Address, parse_any
from engram_format.errors import InvalidInput, Unavailable

if TYPE_CHECKING:
    from engram_client.transfer import Arrival
    from engram_format.catalog import Kind, Scalar

_MANY: Final = 20
"""More files than this are not told one by one."""


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
@click.option(
    "--contract",
    "contract_file",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="What a student's inputs and outputs mean, as far as its network does not say it: JSON or TOML.",
)
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
    contract_file: Path | None,
    as_json: bool,
) -> None:
    """Deposit files and folders as one new version of a memory.

    A file goes under its own name, or to the PATH given; what is in a folder under its path in the folder. A deposit that was
    cut goes on when the same command is run again. Nothing is added unless all of it arrived, unchanged meanwhile.
    """
    from engram_client.journal import Journal
    from engram_client.transfer import deposit_files

    place, wanted, metadata = Address.parse(to), known_kind(kind), _metadata(meta, subject=subject)
    if contract_file is not None:
        wanted = _kind_of_student(files, wanted)
        metadata = _with_contract(metadata, contract_file)
    arrivals: list[Arrival] = []
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
                arrived=arrivals.append,
                journal=Journal.of_user(),
            )
    except Unavailable as error:
        raise Unavailable(f"{error}; the same command then goes on from what has arrived") from error
    if as_json:
        write_json({**as_json_map(version), "deposited": [_told(arrival) for arrival in arrivals]})
        return
    _write_arrivals(arrivals)
    click.echo(f"{version.address}  {version.added} added, {version.artifacts} in all")


def _told(arrival: Arrival) -> dict[str, Json]:
    artifact, found = arrival.artifact, arrival.description
    return {
        "path": artifact.address.path,
        "kind": str(artifact.kind),
        "size": artifact.size,
        "stored_size": artifact.stored_size,
        "sha256": artifact.sha256,
        "family": None if found is None else found.family,
        "series": [] if found is None else [series.info.name for series in found.series],
        "metadata": as_json_map(artifact.metadata),
    }


def _write_arrivals(arrivals: list[Arrival]) -> None:
    """Say of each file how small it became and what was found in it; of many files only what they come to together."""
    if len(arrivals) > _MANY:
        size = sum(arrival.artifact.size for arrival in arrivals)
        stored = sum(arrival.artifact.stored_size for arrival in arrivals)
        series = sum(len(arrival.description.series) for arrival in arrivals if arrival.description is not None)
        click.echo(f"{len(arrivals)} files  {_shrunk(size, stored)}  {series} series")
        return
    rows = [
        (
            arrival.artifact.address.path or "",
            str(arrival.artifact.kind),
            human_size(arrival.artifact.size),
            human_size(arrival.artifact.stored_size),
            _ratio(arrival.artifact.size, arrival.artifact.stored_size),
            "-" if arrival.description is None else f"{len(arrival.description.series)} ({arrival.description.family})",
            str(len(arrival.artifact.metadata)),
        )
        for arrival in arrivals
    ]
    headers = ("PATH", "KIND", "SIZE", "STORED", "RATIO", "SERIES", "METADATA")
    if rows:
        write_table(headers, rows, right=frozenset({"SIZE", "STORED", "RATIO", "METADATA"}))


def _shrunk(size: int, stored: int) -> str:
    return f"{human_size(size)} in {human_size(stored)} ({_ratio(size, stored)})"


def _ratio(size: int, stored: int) -> str:
    """Return the stored part of the size."""
    return f"{stored / size:.2f}" if size else "-"


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


def _kind_of_student(files: tuple[Path, ...], kind: Kind | None) -> Kind:
    """Return the kind of what a contract is for: one file, a student."""
    from engram_format.catalog import Kind

    if kind not in (None, Kind.STUDENT) or len(files) != 1 or files[0].is_dir():
        raise InvalidInput("a contract is of one student: deposit its file alone with --contract")
    return Kind.STUDENT


def _with_contract(metadata: dict[str, Scalar], file: Path) -> dict[str, Scalar]:
    """Return the metadata with what the file says of a student."""
    from engram_client.contract import CONTRACT_PREFIX, read_contract_file

    if twice := [name for name in metadata if name.startswith(CONTRACT_PREFIX)]:
        raise InvalidInput(f"metadata {twice[0]!r} is part of a contract, and --contract says it all: take one away")
    return metadata | dict(read_contract_file(file))


def this_user() -> str:
    """Return who works here, as `name@machine`."""
    import getpass
    import socket

    try:
        name = getpass.getuser()
    except (KeyError, OSError, ImportError):
        name = str(os.getuid())  # a container's user often has no name
    return f"{name}@{socket.gethostname()}"
