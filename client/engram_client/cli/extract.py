"""`engram extract`: a student made by asking another network."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from engram_client.cli.durations import BinWidth, Duration
from engram_client.cli.output import write_fields, write_json
from engram_client.cli.settings import Settings, archive_options
from engram_format.address import Address

if TYPE_CHECKING:
    from engram_client.fidelity.extracting import Extraction


@click.command(short_help="Make a student by asking a teacher.")
@click.option("--teacher", required=True, metavar="ADDRESS", help="Who is asked: a student in the archive.")
@click.option(
    "--queries", type=click.IntRange(20, 10**6), default=400, show_default=True, metavar="N", help="Queries at most."
)
@click.option(
    "--policy",
    type=click.Choice(["mix", "bald", "disagree", "random"]),
    default="mix",
    show_default=True,
    help="mix: half what tells most, half at random. The random ones alone calibrate and certify.",
)
@click.option("--to", metavar="VAULT/MEMORY:PATH", help="Where the student goes; its ledger goes beside.")
@click.option("--recording", metavar="ADDRESS", help="Ask pieces of this recording's stimulus; without it, noise.")
@click.option("--clip", "clip_s", type=Duration(), default="500ms", show_default=True, help="The length of a query.")
@click.option("--least", type=float, default=0.0, show_default=True, help="The least amplitude of noise.")
@click.option("--greatest", type=float, default=1.0, show_default=True, help="The greatest amplitude of noise.")
@click.option(
    "--memory", "memory_s", type=Duration(), default="300ms", show_default=True, help="How far the student looks back."
)
@click.option("--bin", "bin_s", type=BinWidth(), help="The teacher's step, where its contract names none.")
@click.option("--seed", type=click.IntRange(0, 2**63 - 1), default=0, show_default=True, help="Repeats an extraction.")
@click.option("--author", envvar="ENGRAM_AUTHOR", help="Who asks; by default your user name and this machine's.")
@archive_options
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.pass_obj
def extract(
    settings: Settings,
    *,
    teacher: str,
    queries: int,
    policy: str,
    to: str | None,
    recording: str | None,
    clip_s: float,
    least: float,
    greatest: float,
    memory_s: float,
    bin_s: float | None,
    seed: int,
    author: str | None,
    as_json: bool,
) -> None:
    """Ask a teacher with stimuli that are chosen by what is not known yet, and deposit the student with its ledger.

    A teacher without states is asked with single bins, another with clips.
    """
    from engram_client.cli.deposit import this_user
    from engram_client.fidelity.extracting import Asking, extract_student
    from engram_client.fidelity.made import beside, check_place, network_address
    from engram_client.fidelity.pools import Wanted
    from engram_fidelity.extract import Policy

    place = None if to is None else Address.parse(to)
    asked = network_address(teacher)
    if place is not None:
        check_place(place, what="a student")
    stimuli = Wanted(
        recording=None if recording is None else network_address(recording),
        clip_s=clip_s,
        least=least,
        greatest=greatest,
    )
    asking = Asking(queries=queries, policy=Policy(policy), seed=seed, stimuli=stimuli, memory_s=memory_s, bin_s=bin_s)
    with settings.open() as archive:
        done = extract_student(
            archive,
            asked,
            to=place or beside(archive, asked, "students/extracted-*.onnx"),
            asking=asking,
            author=author or this_user(),
            told=lambda made: click.echo(f"{made} of {queries} queries", err=True),
        )
    _write(done, as_json=as_json)


def _write(done: Extraction, *, as_json: bool) -> None:
    if as_json:
        write_json({"student": done.student, "ledger": done.ledger})
        return
    held = done.extracted.held
    write_fields(
        [
            ("queries", str(len(done.extracted.ledger))),
            ("held-out queries", str(held.queries)),
            ("correlation by bin", f"{held.correlation:.3f}"),
            ("bits per spike", f"{held.bits_per_spike:.3f}"),
            ("expected/counted", f"{held.rate_ratio:.3f}"),
            ("student", str(done.student.address)),
            ("ledger", str(done.ledger.address)),
        ]
    )
