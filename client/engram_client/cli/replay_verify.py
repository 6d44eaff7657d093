"""`engram replay verify`: whether a kept replay, or a student's golden trace, comes out the same when it is run again."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from engram_client.cli.errors import FAILED
from engram_client.cli.output import write_fields, write_json
from engram_client.cli.settings import Settings, archive_options
from engram_format.address import parse_any

if TYPE_CHECKING:
    from engram_format.catalog import Alteration, OutputLikeness, ReplayVerdict


@click.command(short_help="Run a kept replay, or a student's golden trace, again and compare.")
@click.argument("address", metavar="REPLAY|STUDENT")
@click.option(
    "--reference", is_flag=True, help="Also run the first steps with the ONNX reference evaluator, which is slow."
)
@archive_options
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.pass_context
def verify(ctx: click.Context, *, address: str, reference: bool, as_json: bool) -> None:
    """Run the replay kept at REPLAY again, with the same student, stimulus and settings, and compare what comes out.

    Of a STUDENT, run the golden trace again that was made when it was deposited.

    Prints `bit` where every bit is equal, `tolerance` where every value lies within the stated bound, else `fail`; the exit
    status is 1 for `fail` only.
    """
    settings: Settings = ctx.obj
    place = parse_any(address)
    with settings.open() as archive:
        verdict = archive.verify_replay(place, reference=reference)
    if as_json:
        write_json(verdict)
    else:
        write_fields(_lines(verdict))
    if str(verdict.likeness) == "fail":
        ctx.exit(FAILED)


def _lines(verdict: ReplayVerdict) -> list[tuple[str, str]]:
    lines = [(str(verdict.likeness), str(verdict.address))]
    if verdict.detail:
        lines.append(("", verdict.detail))
    lines += [(f"output {one.name}", _compared(one)) for one in verdict.outputs]
    steps = f"reference evaluator, {verdict.reference_steps} steps"
    lines += [(f"output {one.name}", f"{_compared(one)} ({steps})") for one in verdict.reference]
    lines += [(part.name, _changed(part)) for part in verdict.profile]
    return lines


def _compared(one: OutputLikeness) -> str:
    if str(one.likeness) == "bit":
        return "bit"
    said = f"{one.likeness}: differs by up to {one.largest:.3g}, the bound is {one.bound:.3g}"
    return f"{said}; {one.detail}" if one.detail else said


def _changed(part: Alteration) -> str:
    return f"was {part.before or 'not told'}, is {part.after or 'not told'}"
