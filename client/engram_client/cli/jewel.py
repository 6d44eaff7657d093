"""`engram jewel`: a student beside a living network, or a recording of one, until it may take its place."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from engram_client.cli.durations import BinWidth
from engram_client.cli.output import warn, write_fields, write_json
from engram_client.cli.settings import Settings, archive_options
from engram_format.address import Address

if TYPE_CHECKING:
    from engram_client.fidelity.jewels import JewelRun
    from engram_fidelity.jewel import Transition


@click.group(short_help="Let a student learn beside a network until it may take its place.")
def jewel() -> None:
    """Let a student sit beside a network: predict, observe, learn, and be judged, until it may take the network's place."""


@jewel.command(short_help="Run a student beside a recording, as if it happened now.")
@click.option("--student", required=True, metavar="ADDRESS", help="The student.")
@click.option("--recording", required=True, metavar="ADDRESS", help="What the network did, played as if it were live.")
@click.option("--to", metavar="VAULT/MEMORY:PATH", help="The folder that the log is deposited in.")
@click.option("--alpha", type=float, default=0.05, show_default=True, help="How likely a wrong switch may be.")
@click.option(
    "--eps", type=float, default=0.05, show_default=True, help="How much better than chance anyone may tell them apart."
)
@click.option(
    "--rate-eps",
    type=float,
    default=0.05,
    show_default=True,
    help="By what share the student's rate may be off; more for a network that itself wanders more.",
)
@click.option(
    "--draws", type=click.IntRange(1, 1000), default=8, show_default=True, help="The student's answers to each."
)
@click.option("--learn", is_flag=True, help="Learn each cell's gain before being judged; consent must allow it.")
@click.option(
    "--attempts", type=click.IntRange(1, 1000), default=1, show_default=True, help="Students that may be judged."
)
@click.option("--shuffle", is_flag=True, help="Play the presentations in an order drawn by the seed.")
@click.option("--bin", "bin_s", type=BinWidth(), default="5ms", show_default=True, help="The width of a bin.")
@click.option("--stimulus", metavar="SERIES", help="The series that the cells saw, where there are several.")
@click.option("--seed", type=click.IntRange(0, 2**63 - 1), default=0, show_default=True, help="Repeats a run.")
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), metavar="OUT.png", help="Draw the e-values over pairs to a file."
)
@click.option("--force", is_flag=True, help="Replace OUT.png if it is there.")
@click.option("--author", envvar="ENGRAM_AUTHOR", help="Who runs it; by default your user name and this machine's.")
@archive_options
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.pass_obj
def run(
    settings: Settings,
    *,
    student: str,
    recording: str,
    to: str | None,
    alpha: float,
    eps: float,
    rate_eps: float,
    draws: int,
    learn: bool,
    attempts: int,
    shuffle: bool,
    bin_s: float,
    stimulus: str | None,
    seed: int,
    output: Path | None,
    force: bool,
    author: str | None,
    as_json: bool,
) -> None:
    """Run a student beside a recording: LEARNING, SHADOW, ELIGIBLE, SWITCHED, and REVERTED if they come apart.

    The student takes over when every judge's e-value against "they can be told apart" has reached 1/alpha while the guard is
    quiet. What it was trained on is left out. Every transition is deposited, with its numbers, in one version.
    """
    from engram_client.cli.deposit import this_user
    from engram_client.fidelity.jewels import run_jewel
    from engram_client.fidelity.made import beside, check_place, network_address
    from engram_client.local import check_destination, written_whole
    from engram_fidelity.extras import need
    from engram_fidelity.jewel import Rules

    place = None if to is None else Address.parse(to)
    judged, played = network_address(student), network_address(recording)
    if place is not None:
        check_place(place, what="a run")
    rules = Rules(alpha=alpha, eps=eps, rate_eps=rate_eps, draws=draws, attempts=attempts, seed=seed)
    if output is not None:
        check_destination(output, force=force)
        need("matplotlib", "certify")
    with settings.open() as archive:
        done = run_jewel(
            archive,
            student=judged,
            recording=played,
            to=place or beside(archive, judged, "jewels/*"),
            rules=rules,
            learn=learn,
            shuffle=shuffle,
            bin_s=bin_s,
            stimulus=stimulus,
            author=author or this_user(),
            warn=warn,
            told=lambda change: None if as_json else _tell(change),
        )
    if output is not None:
        from engram_client.jewel_picture import draw_course

        with written_whole(output, force=force) as file:
            file.write(draw_course(done.run, title=f"{student} beside {recording}"))
    _write(done, as_json=as_json)


def _tell(change: Transition) -> None:
    click.echo(
        f"pair {change.pair}, {change.elapsed_s:.1f} s: {change.before} -> {change.after}, {change.why}", err=True
    )


def _write(done: JewelRun, *, as_json: bool) -> None:
    if as_json:
        write_json({"log": done.log, "transitions": list(done.transitions)})
        return
    told, run_ = done.log.metadata, done.run
    pairs = [
        ("state", str(run_.state)),
        ("presentations", str(run_.presentations)),
        ("pairs", str(run_.pairs)),
        ("switched after", "-" if run_.switched_at is None else f"{run_.switched_at} judged pairs"),
        *((f"told apart by {name}", f"{value:.3f}") for name, value in run_.two_afc.items()),
        ("rates within", f"{100 * run_.margin:.1f} %" if run_.margin == run_.margin else "-"),
        ("seed", str(told["jewel.seed"])),
        ("log", str(done.log.address)),
    ]
    write_fields(pairs)
