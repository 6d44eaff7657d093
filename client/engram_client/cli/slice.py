"""`engram slice`: a part of a series out of a recording."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from engram_client.cli.output import human_size, printable, write_json
from engram_client.cli.settings import Settings, archive_options
from engram_format.address import parse_any

if TYPE_CHECKING:
    from engram_client.archive import Archive
    from engram_client.export import Part


@click.command("slice", short_help="Get a part of a series out of a recording.")
@click.argument("address")
@click.option("--series", required=True, metavar="NAME", help="The series, as 'engram show' names it.")
@click.option(
    "--start", default="0", metavar="WHEN", help="From when, such as 10s, 500ms or sample 30000.  [default: 0]"
)
@click.option("--stop", metavar="WHEN", help="Up to when.  [default: the end]")
@click.option("--channels", metavar="A:B", help="Only channels A up to B, counted from 0.  [default: all]")
@click.option("--physical", is_flag=True, help="Write physical values, as float64, in place of the stored numbers.")
@click.option(
    "-o",
    "--output",
    required=True,
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="The file to write; its name ends in .npy, .csv or .nwb.",
)
@click.option("--force", is_flag=True, help="Replace a file that is there.")
@archive_options
@click.option("--json", "as_json", is_flag=True, help="Print what was written as one JSON document.")
@click.pass_obj
def slice_(
    settings: Settings,
    *,
    address: str,
    series: str,
    start: str,
    stop: str | None,
    channels: str | None,
    physical: bool,
    output: Path,
    force: bool,
    as_json: bool,
) -> None:
    """Write a part of one series of the recording at ADDRESS to a file; nothing else of the recording is fetched.

    Times are seconds from the session's reference time, as the recording tells them; plain numbers are samples.
    """
    from engram_client.export import write_part

    with settings.open() as archive:
        part = chosen_part(
            archive, address, series=series, start=start, stop=stop, channels=channels, physical=physical
        )
        write_part(part, output, force=force)
    _tell(part, output, as_json=as_json)


def chosen_part(
    archive: Archive,
    address: str,
    *,
    series: str,
    start: str,
    stop: str | None,
    channels: str | None,
    physical: bool,
) -> Part:
    """Return the part of a series that a command line names."""
    from engram_client.export import Part
    from engram_client.moments import Moment, parse_channels
    from engram_client.views import ArtifactView
    from engram_format.slicing import channel_count, select

    first, last = Moment.parse(start), None if stop is None else Moment.parse(stop)
    artifact = ArtifactView(archive, archive.artifact(parse_any(address)))
    view = artifact.series[series]
    select(view.info)  # which says so if the series holds no numbers
    chosen = (0, channel_count(view.info)) if channels is None else parse_channels(channels, view)
    return Part(
        artifact,
        view.physical if physical else view,
        first.of(view),
        view.info.samples if last is None else last.of(view),
        chosen,
    )


def _tell(part: Part, output: Path, *, as_json: bool) -> None:
    info, size = part.view.info, output.stat().st_size
    if as_json:
        write_json(
            {
                "file": str(output),
                "size": size,
                "artifact": part.artifact.artifact.address,
                "series": info.name,
                "start": part.start,
                "stop": part.stop,
                "channels": list(part.channels),
                "shape": list(part.shape),
                "dtype": part.view.dtype.str,
                "unit": info.unit,
                "physical": part.view.is_physical,
                "sampling_rate": info.sampling_rate,
            }
        )
        return
    shape = " x ".join(map(str, part.shape))
    rate = f" at {info.sampling_rate:.9g} Hz" if info.sampling_rate else ""
    unit = f" in {info.unit}" if part.view.is_physical and info.unit else ""
    click.echo(
        printable(
            f"{output}  {info.name}[{part.start}:{part.stop}]  {shape} {part.view.dtype}{unit}{rate}  {human_size(size)}"
        )
    )
