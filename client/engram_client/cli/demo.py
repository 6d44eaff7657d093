"""`engram demo`: the main job, on real data, in one command."""

from __future__ import annotations

import tempfile
from pathlib import Path

import click

from engram_format.errors import InvalidInput


@click.command(short_help="See the main job on real data.")
@click.option(
    "--dir",
    "folder",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Keep the archive, its key and the picture in this new or empty folder; by default in a temporary one.",
)
def demo(*, folder: Path | None) -> None:
    """Keep and replay a real memory: a retina's recording, a real NWB file, and a student, through the service."""
    from engram_client.demo.run import run
    from engram_client.local import local_errors

    if folder is None:
        folder = Path(tempfile.mkdtemp(prefix="engram-demo-"))
    else:
        with local_errors(folder, "read"):
            in_use = folder.exists() and any(folder.iterdir())
        if in_use:
            raise InvalidInput(f"{folder} is not empty: name a new folder with --dir")
    run(folder, say=click.echo)
