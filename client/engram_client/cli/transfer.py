"""`engram transfer`: a second network is stimulated until it answers as a first one does."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from engram_client.cli.durations import BinWidth, Duration
from engram_client.cli.output import write_fields, write_json
from engram_client.cli.settings import Settings, archive_options
from engram_format.address import Address

if TYPE_CHECKING:
    from engram_client.fidelity.transferring import Transfer


@click.command(short_help="Stimulate one network until it answers as another.")
@click.option("--from", "source", required=True, metavar="STUDENT", help="The student whose answers are wanted.")
@click.option("--to", "target", required=True, metavar="STUDENT", help="The student that is stimulated.")
@click.option("--report", metavar="VAULT/MEMORY:PATH", help="Where the report goes.")
@click.option("--recording", metavar="ADDRESS", help="Use pieces of this recording's stimulus; without it, noise.")
@click.option("--clip", "clip_s", type=Duration(), default="500ms", show_default=True, help="The length of a stimulus.")
@click.option("--stimuli", type=click.IntRange(4, 10**6), default=60, show_default=True, help="Stimuli in the loop.")
@click.option("--held-out", type=click.IntRange(2, 10**6), default=24, show_default=True, help="Stimuli to judge by.")
@click.option("--rounds", type=click.IntRange(1, 1000), default=4, show_default=True, help="Rounds of the loop.")
@click.option("--least", type=float, default=0.0, show_default=True, help="The least amplitude that may be given.")
@click.option(
    "--greatest", type=float, default=1.0, show_default=True, help="The greatest amplitude that may be given."
)
@click.option("--bin", "bin_s", type=BinWidth(), help="The students' step, where their contracts name none.")
@click.option("--seed", type=click.IntRange(0, 2**63 - 1), default=0, show_default=True, help="Repeats a transfer.")
@click.option("--author", envvar="ENGRAM_AUTHOR", help="Who does it; by default your user name and this machine's.")
@archive_options
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.pass_obj
def transfer(
    settings: Settings,
    *,
    source: str,
    target: str,
    report: str | None,
    recording: str | None,
    clip_s: float,
    stimuli: int,
    held_out: int,
    rounds: int,
    least: float,
    greatest: float,
    bin_s: float | None,
    seed: int,
    author: str | None,
    as_json: bool,
) -> None:
    """Seek stimulations of one student with which it answers as another does, within limits, and report before and after.

    Likeness is judged on stimuli that the loop has not seen, by fresh answers. The report and the stimulations are deposited.
    """
    from engram_client.cli.deposit import this_user
    from engram_client.fidelity.made import beside, check_place, network_address
    from engram_client.fidelity.pools import Wanted
    from engram_client.fidelity.transferring import Steering, transfer_between
    from engram_fidelity.transfer import Limits

    place = None if report is None else Address.parse(report)
    first, second = network_address(source), network_address(target)
    if place is not None:
        check_place(place, what="a report")
    limits = Limits(least, greatest)
    shown = Wanted(
        recording=None if recording is None else network_address(recording),
        clip_s=clip_s,
        least=least,
        greatest=greatest,
    )
    steering = Steering(
        stimuli=shown, loop=stimuli, held_out=held_out, rounds=rounds, limits=limits, seed=seed, bin_s=bin_s
    )
    with settings.open() as archive:
        done = transfer_between(
            archive,
            first,
            second,
            to=place or beside(archive, first, "transfers/*.json"),
            steering=steering,
            author=author or this_user(),
            told=lambda number, apart: click.echo(f"round {number}: {apart:.3f} bits/spike apart", err=True),
        )
    _write(done, as_json=as_json)


def _write(done: Transfer, *, as_json: bool) -> None:
    if as_json:
        write_json({"report": done.report, "stimulations": done.stimulations})
        return
    before, after = done.transferred.before, done.transferred.after
    write_fields(
        [
            ("MMD^2", f"{before.mmd2:.4f} -> {after.mmd2:.4f}"),
            ("told apart (AUC)", f"{before.auc:.3f} -> {after.auc:.3f}"),
            ("KL (bits/spike)", f"{before.kl_bits_per_spike:.3f} -> {after.kl_bits_per_spike:.3f}"),
            ("stimulations tried", str(done.transferred.queries)),
            ("report", str(done.report.address)),
            ("stimulations", str(done.stimulations.address)),
        ]
    )
