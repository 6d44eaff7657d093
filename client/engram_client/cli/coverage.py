"""`engram coverage`: what part of stimulus space a recording visited, and minutes still needed for a target."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from engram_client.cli.durations import BinWidth
from engram_client.cli.output import as_json, printable, warn, write_fields, write_json
from engram_client.cli.settings import Settings, archive_options
from engram_format.address import parse_any
from engram_format.errors import InvalidInput

if TYPE_CHECKING:
    from engram_client.fidelity.covering import Covered


@click.command(short_help="What part of stimulus space was visited; minutes still needed.")
@click.argument("recording", metavar="RECORDING")
@click.option(
    "--student", "students", multiple=True, metavar="ADDRESS", help="A student that is asked; at least two, or none."
)
@click.option("--target", type=float, default=0.9, show_default=True, metavar="CC", help="The CC_norm that is wanted.")
@click.option(
    "--seed", type=click.IntRange(0, 2**31 - 1), default=0, show_default=True, metavar="N", help="Of all that is drawn."
)
@click.option("--bin", "bin_s", type=BinWidth(), default="5ms", show_default=True, help="The width of a bin.")
@click.option("-o", "--output", type=click.Path(path_type=Path), metavar="FILE.png", help="Draw it, too.")
@click.option("--force", is_flag=True, help="Replace a file that is there.")
@archive_options
@click.option("--json", "as_document", is_flag=True, help="Print one JSON document.")
@click.pass_obj
def coverage(
    settings: Settings,
    *,
    recording: str,
    students: tuple[str, ...],
    target: float,
    seed: int,
    bin_s: float,
    output: Path | None,
    force: bool,
    as_document: bool,
) -> None:
    """Tell what part of stimulus space RECORDING has visited, where students guess, and how many more minutes would help.

    Fidelity against minutes is that of quick students of growing parts, which nobody keeps; a better tier starts higher and
    needs fewer. Where consent does not allow to train models none is made, and fidelity is not told.
    """
    from engram_client.fidelity.covering import cover_recording
    from engram_client.local import check_destination, written_whole

    if not 0 < target < 1:
        raise InvalidInput(f"a target of {target:g} cannot be: CC_norm lies between 0 and 1")
    if output is not None:
        if output.suffix.lower() != ".png":
            raise InvalidInput(f"{output} does not end in .png: name the picture so that its format shows")
        check_destination(output, force=force)
    with settings.open() as archive:
        found = cover_recording(
            archive,
            parse_any(recording),
            students=[parse_any(one) for one in students],
            target=target,
            seed=seed,
            bin_s=bin_s,
            warn=warn,
        )
    if output is not None:
        from engram_fidelity.report.learning import draw_coverage

        picture = draw_coverage(found.coverage, found.curve)
        with written_whole(output, force=force) as file:
            file.write(picture)
    if as_document:
        told = as_json(found)
        sentence = None if found.curve is None else _sentence(found)
        write_json(
            {**(told if isinstance(told, dict) else {}), "told": sentence, "written": str(output) if output else None}
        )
        return
    write_fields(_lines(found))
    if output is not None:
        click.echo(f"written  {printable(str(output))}")


def _lines(found: Covered) -> list[tuple[str, str]]:
    covered = found.coverage
    lines = [
        ("recording", str(found.recording)),
        ("stimulus space", f"{covered.visited} of {covered.cells} cells visited ({100 * covered.share:.0f} %), "
         f"histories of {covered.history_s:g} s, evenness {covered.evenness:.2f} of 1"),
        ("minutes", f"{covered.minutes[-1]:.1f} that a student may be trained on"),
    ]  # fmt: skip
    if covered.held_out_share is not None:
        share = f"{covered.held_out_visited} of {covered.held_out} cells ({100 * covered.held_out_share:.0f} %)"
        lines.append(("held out", f"{share} were visited in training"))
    if found.disagreement is not None:
        share = f"{100 * found.disagreement.mean:.1f} % of what is expected"
        lines.append(("disagreement", f"{share}, between {found.between}"))
    if found.curve is None:
        lines.append(("target", f"not known: {found.missing}"))
        return lines
    last = max(found.curve.points, key=lambda one: one.minutes)
    lines.append(("fidelity", f"CC_norm {last.fidelity:.3f} in bins of 20 ms, of a quick student of all of it"))
    lines.append(("target", _sentence(found)))
    return lines


def _sentence(found: Covered) -> str:
    if found.curve is None:
        return ""
    return found.curve.need.sentence(found.curve.law, longest=max(one.minutes for one in found.curve.points))
