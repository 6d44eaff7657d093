"""`engram restore`: the exact bytes out again."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from engram_client.cli.output import printable, progress, warn
from engram_client.cli.settings import Settings, archive_options
from engram_client.local import local_errors
from engram_format.address import Address, parse_any
from engram_format.errors import InvalidInput

if TYPE_CHECKING:
    from engram_client.archive import Archive
    from engram_client.transfer import Progress
    from engram_format.address import AnyAddress


@click.command(short_help="Get the exact bytes out again.")
@click.argument("address")
@click.argument("dest")
@click.option("--start", type=click.IntRange(min=0), default=0, help="First byte of a range.  [default: 0]")
@click.option("--stop", type=click.IntRange(min=0), help="Byte after the last of a range.  [default: the end]")
@click.option("--force", is_flag=True, help="Replace a file that is there.")
@archive_options
@click.pass_obj
def restore(settings: Settings, *, address: str, dest: str, start: int, stop: int | None, force: bool) -> None:
    """Write an artifact, exactly as it was deposited, to the file or into the folder DEST, or to stdout if DEST is -.

    An ADDRESS without a path, or of a folder, restores all artifacts there below the folder DEST. A DEST that ends in / is a
    folder, and made. A file appears under its name only when it is complete and checked,
    with the time of change and the permissions that it had; so do folders, also those that hold nothing.
    """
    place = parse_any(address)
    version = place if isinstance(place, Address) and place.path is None else None
    target = Path(dest)
    if version is not None and (start or stop is not None or dest == "-"):
        raise InvalidInput(f"{version} is a whole version: name one artifact to restore a range or to stdout")
    with settings.open() as archive, progress("restoring") as show:
        if version is None and isinstance(place, Address) and _is_folder(archive, place):
            version = place
        if version is not None:
            _restore_version(archive, version, target, force=force, show=show)
            return
        if dest.endswith("/"):
            with local_errors(target, "made"):
                target.mkdir(parents=True, exist_ok=True)
        _restore_artifact(archive, place, target, start=start, stop=stop, force=force, show=show)


def _is_folder(archive: Archive, address: Address) -> bool:
    """Tell whether an address names no artifact but has some below it, or is a folder that is known and holds nothing."""
    first = next(archive.artifacts(address), None)
    if first is None:
        return next(archive.folders(address), None) is not None
    return first.address.path != address.path


def _restore_artifact(
    archive: Archive,
    place: AnyAddress,
    dest: Path,
    *,
    start: int,
    stop: int | None,
    force: bool,
    show: Progress,
) -> None:
    from engram_client.transfer import restore_file, restore_stream

    if str(dest) == "-":
        restore_stream(archive, place, sys.stdout.buffer, start=start, stop=stop, progress=show)
        return
    written = restore_file(archive, place, dest, start=start, stop=stop, progress=show, force=force)
    click.echo(printable(str(written)))


def _restore_version(archive: Archive, version: Address, dest: Path, *, force: bool, show: Progress) -> None:
    """Restore all artifacts below an address; one that cannot be is told, and does not keep the others back."""
    from engram_client.folder import restore_folder

    restore_folder(
        archive,
        version,
        dest,
        force=force,
        progress=show,
        restored=lambda path: click.echo(printable(str(path))),
        lost=warn,
    )
