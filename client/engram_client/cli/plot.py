"""`engram plot`: a picture of a part of a series."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from engram_client.cli.output import printable, warn
from engram_client.cli.settings import Settings, archive_options
from engram_format.errors import InvalidInput, Precondition

if TYPE_CHECKING:
    from engram_client.archive import Archive
    from engram_client.export import Part
    from engram_client.moments import Moment
    from engram_client.views import SeriesView

_MAX_TRACES: Final = 128
_DEFAULT_TRACES: Final = 32
_MAX_ROWS: Final = 1000
_MAX_TIMES: Final = 2_000_000
"""Timestamps that are read at once; of more, only those that a picture has columns for."""


@click.command(short_help="Draw a part of a series.")
@click.argument("address")
@click.option("--series", required=True, metavar="NAME", help="The series, as 'engram show' names it.")
@click.option(
    "--start", default="0", metavar="WHEN", help="From when, such as 10s, 500ms or sample 30000.  [default: 0]"
)
@click.option("--stop", metavar="WHEN", help="Up to when.  [default: the end]")
@click.option("--channels", metavar="A:B", help="Only channels, or rows of a raster, A up to B, counted from 0.")
@click.option(
    "-o", "--output", required=True, type=click.Path(path_type=Path), metavar="FILE.png", help="The picture to write."
)
@click.option("--force", is_flag=True, help="Replace a file that is there.")
@archive_options
@click.pass_obj
def plot(
    settings: Settings,
    *,
    address: str,
    series: str,
    start: str,
    stop: str | None,
    channels: str | None,
    output: Path,
    force: bool,
) -> None:
    """Draw a part of one series of the recording at ADDRESS: traces over time, or a raster of spike times.

    Values are drawn in the series' unit. Long parts are drawn by their least and greatest values, so that every spike shows.
    """
    from engram_client.local import check_destination, written_whole

    if output.suffix.lower() != ".png":
        raise InvalidInput(f"{output} does not end in .png: name the picture so that its format shows")
    check_destination(output, force=force)
    _require_matplotlib()
    with settings.open() as archive:
        picture = _picture(archive, address, series=series, start=start, stop=stop, channels=channels)
    with written_whole(output, force=force) as file:
        file.write(picture)
    click.echo(printable(str(output)))


def _require_matplotlib() -> None:
    try:
        import matplotlib.figure  # noqa: F401
    except ImportError as error:
        raise Precondition("drawing needs matplotlib: 'pip install engram[plot]'") from error


def _picture(
    archive: Archive, address: str, *, series: str, start: str, stop: str | None, channels: str | None
) -> bytes:
    from engram_client.cli.slice import chosen_part
    from engram_client.views import ArtifactView
    from engram_format.address import parse_any

    view = ArtifactView(archive, archive.artifact(parse_any(address))).series[series]
    if view.info.index:
        return _raster(view, start=start, stop=stop, rows=channels)
    if view.ndim > 2:
        raise InvalidInput(
            f"series {series!r} has {view.ndim} axes and is drawn by no traces: take it out with 'engram slice' as .npy"
        )
    if channels is None and view.ndim > 1 and view.shape[1] > _DEFAULT_TRACES:
        warn(f"channels 0:{_DEFAULT_TRACES} of {view.shape[1]} are drawn: name others with --channels")
        channels = f"0:{_DEFAULT_TRACES}"
    part = chosen_part(archive, address, series=series, start=start, stop=stop, channels=channels, physical=True)
    count = part.channels[1] - part.channels[0]
    if count > _MAX_TRACES:
        raise InvalidInput(f"{count} traces do not fit into a picture: choose at most {_MAX_TRACES} with --channels")
    return _traces(part)


def _traces(part: Part) -> bytes:
    import numpy as np

    from engram_client.envelope import Envelope
    from engram_client.pictures import COLUMNS, draw_traces

    view, info = part.view.si, part.view.info
    if view.dtype.kind == "c":
        raise InvalidInput(f"series {info.name!r} holds complex numbers and is drawn by no traces: take it out as .npy")
    envelope = Envelope(part.start, part.stop, part.channels[1] - part.channels[0], columns=COLUMNS)
    at = part.start
    for block in view.blocks(part.start, part.stop, part.channels):
        envelope.add(at, block.reshape(len(block), -1))
        at += len(block)
    timed = bool(info.sampling_rate or info.timestamps)
    if info.timestamps and part.stop - part.start <= _MAX_TIMES:
        places = view.times(part.start, part.stop)[envelope.middles.astype(np.int64) - part.start]
    elif info.timestamps:
        places = np.array([view.timestamps[int(sample)] for sample in envelope.middles], np.float64)
    elif timed:
        places = info.starting_time + envelope.middles / info.sampling_rate
    else:
        places = envelope.middles
    span = (float(places[0]), float(places[-1]))
    if timed and not info.timestamps:
        first, last = (info.starting_time + sample / info.sampling_rate for sample in (part.start, part.stop))
        span = (first, last)
    return draw_traces(
        envelope,
        places,
        span,
        channels=part.names,
        unit=view.unit,
        title=f"{info.name}",
        subtitle=_subtitle(part.view),
        axis="time (s)" if timed else "sample",
    )


def _raster(view: SeriesView, *, start: str, stop: str | None, rows: str | None) -> bytes:
    import numpy as np

    from engram_client.moments import Moment
    from engram_client.pictures import draw_raster

    ends = view.index[...].astype(np.int64)
    first, last = _rows(rows, len(ends), name=view.info.name)
    begin = int(ends[first - 1]) if first else 0
    ends = ends[first:last]
    if np.any(np.diff(ends, prepend=begin) < 0) or (len(ends) and ends[-1] > view.info.samples):
        raise InvalidInput(f"the index of series {view.info.name!r} is not rising: its rows cannot be told apart")
    times = view.physical[begin : int(ends[-1]) if len(ends) else begin]
    if not np.isfinite(times).all():
        raise InvalidInput(f"series {view.info.name!r} has times that are no numbers: take it out with 'engram slice'")
    split = np.split(times, (ends - begin)[:-1])
    low, high = Moment.parse(start), None if stop is None else Moment.parse(stop)
    latest = float(times.max()) if len(times) else 1.0
    return draw_raster(
        split,
        _seconds(low, name=view.info.name),
        latest * (1 + 1e-9) if high is None else _seconds(high, name=view.info.name),
        names=[str(number) for number in range(first, last)],
        title=view.info.name,
        subtitle=_subtitle(view),
    )


def _rows(text: str | None, count: int, *, name: str) -> tuple[int, int]:
    from engram_client.moments import parse_range

    first, last = (0, min(count, _MAX_ROWS)) if text is None else parse_range(text, count, what=f"rows of {name!r}")
    if last > count or last - first > _MAX_ROWS:
        raise InvalidInput(
            f"rows {first}:{last} cannot be drawn: {name!r} has {count}, and a picture takes {_MAX_ROWS}"
        )
    return first, last


def _seconds(moment: Moment, *, name: str) -> float:
    if moment.sample not in (None, 0):
        raise InvalidInput(f"series {name!r} holds times: say from when to when in seconds, such as 10s")
    return moment.seconds


def _subtitle(view: SeriesView) -> str:
    rate = f"{view.info.sampling_rate:.9g} Hz" if view.info.sampling_rate else ""
    return "   ".join(filter(None, (str(view.address), rate, view.info.description.partition("\n")[0][:80])))
