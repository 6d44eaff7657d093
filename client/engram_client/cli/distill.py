"""`engram distill`: a student from a recording."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from engram_client.cli.durations import BinWidth, Duration
from engram_client.cli.output import human_size, warn, write_fields, write_json
from engram_client.cli.settings import Settings, archive_options
from engram_format.address import Address, parse_any

if TYPE_CHECKING:
    from engram_format.catalog import Artifact

_TIERS = ("linear", "fast", "default", "spiking")
_TARGETS = ("cpu-stream", "batch", "crossbar-32")


@click.command(short_help="Make a student of a recording.")
@click.argument("recording", metavar="ADDRESS")
@click.option("--to", required=True, metavar="VAULT/MEMORY:PATH", help="Where the student is deposited.")
@click.option(
    "--tier",
    type=click.Choice(_TIERS),
    default="default",
    show_default=True,
    help="linear: a filter a cell. fast: a hidden layer over the last 0.6 s, numpy only. default: recurrent. "
    "spiking: recurrent, with a history of its own spikes. The latter two need torch.",
)
@click.option(
    "--seed", type=click.IntRange(0, 2**63 - 1), default=0, show_default=True, metavar="N", help="Repeats a training."
)
@click.option("--budget", type=Duration(), metavar="DURATION", help="The most time to learn for, such as 120s.")
@click.option(
    "--updates",
    type=click.IntRange(min=1),
    metavar="N",
    help="Exactly so many updates, as an earlier student's metadata say: the same training again.",
)
@click.option("--bin", "bin_s", type=BinWidth(), default="5ms", show_default=True, help="The width of a bin, one step.")
@click.option("--stimulus", metavar="SERIES", help="The series that the cells saw, where there are several.")
@click.option(
    "--target",
    type=click.Choice(_TARGETS),
    help="The hardware: cpu-stream (one mind), batch (many minds, wider), crossbar-32 (31 levels a weight).",
)
@click.option("--share", metavar="ADDRESS", help="Share the weights of this student of the tier default.")
@click.option(
    "--rank", type=click.IntRange(0, 64), metavar="R", help="Of what is changed of shared weights; 0: a read-out only."
)
@click.option(
    "--teacher-probabilities",
    is_flag=True,
    help="Learn half from the smoothed answer to repeated stimuli, where such may teach; else from --teacher.",
)
@click.option("--teacher", metavar="ADDRESS", help="Learn half from what this student expects.")
@click.option("-m", "--message", default="", help="What this version is, for those who read its log.")
@click.option("--author", envvar="ENGRAM_AUTHOR", help="Who deposits; by default your user name and this machine's.")
@archive_options
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.pass_obj
def distill(
    settings: Settings,
    *,
    recording: str,
    to: str,
    tier: str,
    seed: int,
    budget: float | None,
    updates: int | None,
    bin_s: float,
    stimulus: str | None,
    target: str | None,
    share: str | None,
    rank: int | None,
    teacher_probabilities: bool,
    teacher: str | None,
    message: str,
    author: str | None,
    as_json: bool,
) -> None:
    """Make a student of the recording at ADDRESS and deposit it.

    It learns on this machine, from stimuli that were shown once; repeated ones are held out, and `engram certify` judges by
    them. The recording's consent must allow to train models. The same seed and number of updates give the same bytes on one
    machine.
    """
    from engram_client.cli.deposit import this_user
    from engram_client.fidelity.distilling import Recipe, distill_recording
    from engram_client.fidelity.made import check_place

    if budget is not None and updates is not None:
        raise click.UsageError("--budget and --updates exclude each other.")
    source, place = parse_any(recording), Address.parse(to)
    check_place(place, what="a student")
    recipe = Recipe(
        tier=tier,
        seed=seed,
        bin_s=bin_s,
        updates=updates,
        budget_s=budget,
        target=target,
        soft=teacher_probabilities,
        teacher=None if teacher is None else parse_any(teacher),
        share=None if share is None else parse_any(share),
        rank=rank,
        stimulus=stimulus,
    )
    began = time.monotonic()
    with settings.open() as archive, _progress(f"distilling ({tier})") as show:
        student = distill_recording(
            archive,
            source,
            to=place,
            recipe=recipe,
            message=message,
            author=author or this_user(),
            warn=warn,
            progress=show,
        )
    if as_json:
        write_json(student)
        return
    _write(student, seconds=time.monotonic() - began)


def _write(student: Artifact, *, seconds: float) -> None:
    told = student.metadata
    shown = [
        (
            name,
            f"{told[f'distill.{key}']:.6g}"
            if isinstance(told[f"distill.{key}"], float)
            else str(told[f"distill.{key}"]),
        )
        for name, key in (
            ("tier", "tier"),
            ("updates", "updates"),
            ("validation loss", "loss.validation"),
            ("parameters", "parameters"),
            ("target", "target"),
            ("held out", "held_out"),
        )
        if f"distill.{key}" in told
    ]
    if told.get("distill.calibrated"):  # what progress told was before that
        shown = [(name, f"{value}, calibrated" if name == "validation loss" else value) for name, value in shown]
    write_fields(
        [
            *shown,
            ("time", f"{seconds:.0f} s"),
            ("size", human_size(student.size)),
            ("sha256", student.sha256),
            ("student", str(student.address)),
        ]
    )


@contextmanager
def _progress(doing: str) -> Iterator[Callable[[int, int, float], None]]:
    """Yield what shows updates and the loss: a bar on a terminal, a line at every tenth part elsewhere."""
    if not sys.stderr.isatty():
        yield _Lines(doing)
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("updates, loss {task.fields[loss]}", markup=False),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(doing, total=None, loss="-")
        yield lambda made, total, loss: bar.update(task, completed=made, total=total or None, loss=f"{loss:.5f}")


class _Lines:
    """A line of progress for logs and pipes: before the first update, and at every tenth part."""

    def __init__(self, doing: str) -> None:
        self._doing = doing
        self._tenths = 0
        click.echo(f"{doing}: reading the recording; the first updates take longest ...", err=True)

    def __call__(self, made: int, total: int, loss: float) -> None:
        tenths = 10 * made // total if total else 0
        if tenths > self._tenths:
            self._tenths = tenths
            click.echo(f"{self._doing}: {made} of {total} updates, validation loss {loss:.5f}", err=True)
