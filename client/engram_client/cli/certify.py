"""`engram certify`: how alike a student and a recording are, as an artifact that anyone can compute again."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from engram_client.cli.durations import BinWidth
from engram_client.cli.errors import FAILED
from engram_client.cli.output import as_json, as_json_map, printable, warn, write_fields, write_json, write_table
from engram_client.cli.settings import Settings, archive_options
from engram_format.address import Address, parse_any
from engram_format.errors import InvalidInput

if TYPE_CHECKING:
    from engram_client.fidelity.certifying import Check
    from engram_fidelity.certificate import Certificate, Estimate, Measure
    from engram_fidelity.report import Report
    from engram_format.catalog import Artifact

_TABLE: Final = (
    ("cc_norm", "CC_norm"),
    ("cc_max", "CC_max"),
    ("feve", "FEVE"),
    ("bits_per_spike", "BITS/SPIKE"),
    ("smoothed_oracle_bits_per_spike", "ORACLE"),
    ("fano.real", "FANO NETWORK"),
    ("fano.student", "FANO STUDENT"),
    ("rate_error", "RATE OFF BY"),
)
"""What is told of each cell, and under which header."""
_MOST_DIFFERENCES: Final = 30


@click.command(short_help="Hold a student against a recording's repeats.")
@click.argument("student", metavar="STUDENT|CERTIFICATE")
@click.option("--against", metavar="RECORDING", help="The recording whose repeats it is held against.")
@click.option("--check", "checking", is_flag=True, help="Compute CERTIFICATE again and compare every number.")
@click.option("--to", metavar="VAULT/MEMORY[:PATH.json]", help="Where it is kept; by default in the student's memory.")
@click.option("--stimulus", "stimuli", multiple=True, metavar="ID", help="Only this stimulus; may be repeated.")
@click.option(
    "--seed", type=click.IntRange(0, 2**31 - 1), default=0, show_default=True, metavar="N", help="Of all that is drawn."
)
@click.option("--bin", "bin_s", type=BinWidth(), default="5ms", show_default=True, help="The width of a bin.")
@click.option("--no-ceiling", is_flag=True, help="Also without repeats; that is written in, and the grade is C.")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    metavar="DIR|FILE",
    help="Write the report here too: a folder, or one file that ends in .html, .png or .json.",
)
@click.option("--force", is_flag=True, help="Replace files that are there.")
@click.option("--author", envvar="ENGRAM_AUTHOR", help="Who certifies; by default your user name and this machine's.")
@archive_options
@click.option("--json", "as_document", is_flag=True, help="Print one JSON document.")
@click.pass_context
def certify(
    ctx: click.Context,
    *,
    student: str,
    against: str | None,
    checking: bool,
    to: str | None,
    stimuli: tuple[str, ...],
    seed: int,
    bin_s: float,
    no_ceiling: bool,
    output: Path | None,
    force: bool,
    author: str | None,
    as_document: bool,
) -> None:
    """Hold STUDENT against the answers of the network to stimuli that it was not trained on, and keep the certificate.

    Grade A: no discriminator can tell it from the network; B: faithful in the mean; C: neither. The certificate names exactly one
    student and one recording; with --check it is computed again, and the exit status is 1 where anything differs.
    """
    from engram_client.cli.deposit import this_user
    from engram_client.fidelity.certifying import certify_student, check_place, keep_certificate
    from engram_fidelity.report import draw

    settings: Settings = ctx.obj
    if checking:
        if against is not None or to is not None or output is not None or stimuli or no_ceiling:
            raise click.UsageError("--check computes a certificate again as it was: give nothing but its address.")
        _check(ctx, settings, student, as_document=as_document)
        return
    if against is None:
        raise click.UsageError("Say against which recording: --against RECORDING.")
    place = None if to is None else Address.parse(to)
    if place is not None:
        check_place(place)
    if output is not None:
        _check_output(output, force=force)
    with settings.open() as archive:
        done = certify_student(
            archive,
            parse_any(student),
            parse_any(against),
            seed=seed,
            ceiling=not no_ceiling,
            stimuli=stimuli,
            bin_s=bin_s,
            warn=warn,
            told=_tell,
        )
        report = draw(done.certificate, done.evidence)
        kept = keep_certificate(archive, done.certificate, report=report, to=place, author=author or this_user())
    written = [] if output is None else _write_report(output, done.certificate, report, force=force)
    _write(done.certificate, kept, written, as_document=as_document)


def _tell(doing: str) -> None:
    click.echo(f"certifying: {doing} ...", err=True)


def _check_output(output: Path, *, force: bool) -> None:
    from engram_client.local import check_destination

    if output.suffix.lower() in (".html", ".png", ".json"):
        check_destination(output, force=force)
    elif output.suffix:
        raise InvalidInput(f"{output} is no report: name a folder, or a file that ends in .html, .png or .json")


def _write_report(output: Path, certificate: Certificate, report: Report, *, force: bool) -> list[Path]:
    from engram_client.local import local_errors, written_whole

    files = {".html": report.page, ".png": report.overview, ".json": certificate.to_json()}
    if output.suffix.lower() in files:
        wanted = {output: files[output.suffix.lower()]}
    else:
        with local_errors(output, "made"):
            output.mkdir(parents=True, exist_ok=True)
        wanted = {output / f"certificate{suffix}": data for suffix, data in files.items()}
        wanted |= {output / f"{name}.png": data for name, data in report.pictures.items()}
    for path, data in wanted.items():
        with written_whole(path, force=force) as file:
            file.write(data)
    return list(wanted)


def _write(certificate: Certificate, kept: Artifact, written: list[Path], *, as_document: bool) -> None:
    import json

    if as_document:
        told = json.loads(certificate.to_json())
        files = [str(path) for path in written]
        write_json({"certificate": told, "kept": as_json_map(kept), "written": as_json(files)})
        return
    _write_cells(certificate)
    write_fields(_lines(certificate))
    click.echo(f"kept     {printable(str(kept.address))}")
    for path in written:
        click.echo(f"written  {printable(str(path))}")


def _write_cells(certificate: Certificate) -> None:
    """Tell the measures of each cell, their mean and their 10th percentile."""
    columns = [(header, found) for name, header in _TABLE if (found := _measure(certificate, name)) is not None]
    rows = [
        [name, *(_number(measure.cells[place], header) for header, measure in columns)]
        for place, name in enumerate(certificate.data.cells)
    ]
    rows.append(["mean", *(_number(measure.mean, header) for header, measure in columns)])
    rows.append(["10th percentile", *(_number(measure.p10, header) for header, measure in columns)])
    headers = ["CELL", *(header for header, _ in columns)]
    write_table(headers, rows, right=frozenset(headers[1:]))


def _measure(certificate: Certificate, name: str) -> Measure | None:
    try:
        return certificate.measure(name)
    except KeyError:
        return None


def _number(one: Estimate, header: str) -> str:
    if one.value is None:
        return "-"
    return f"{100 * one.value:+.0f} %" if header == "RATE OFF BY" else f"{one.value:.3f}"


def _lines(certificate: Certificate) -> list[tuple[str, str]]:
    free, settings = certificate.free_running, certificate.settings
    fine, coarse, window = (width * 1e3 for width in (settings.bin_s, settings.coarse_s, settings.window_s))
    widths = f"CC in bins of {coarse:g} ms, likelihood of {fine:g} ms, Fano of {window:g} ms"
    lines = [
        ("grade", f"{certificate.grade.letter}: {certificate.grade.reason}"),
        ("student", certificate.student.address),
        (
            "recording",
            f"{certificate.recording.address}, {certificate.data.repeats} repeats of {_stimuli(len(certificate.data.stimuli))}",
        ),
        ("widths", f"{widths}; the first {settings.score_from_s:g} s are not scored"),
    ]
    cc_norm = _measure(certificate, "cc_norm")
    if cc_norm is not None:
        lines.append(("CC_norm", _with_interval(cc_norm.mean)))
    lines += [
        (f"AUC {one.classifier}", f"{_with_interval(one.auc)}; network against itself {_with_interval(one.control)}")
        for one in free.discriminators
    ]
    if free.betting is not None:
        shown = [one.epsilon for one in free.betting.switches if one.reached_at is not None]
        alike = f"alike to epsilon {min(shown):g}" if shown else "not shown to be alike"
        guard = "never fired" if free.betting.quiet else f"fired after {free.betting.guard_at}"
        power = f"; power for epsilon {free.epsilon_with_power:.3f}" if free.epsilon_with_power is not None else ""
        lines.append(
            ("bets", f"{free.betting.repeats} repeats of {free.betting.pairs} pairs: the guard {guard}, {alike}{power}")
        )
    if certificate.drift is not None:
        flagged = (
            "FLAGGED: the first half of the repeats differs from the second"
            if certificate.drift.flagged
            else "none seen"
        )
        lines.append(("donor drift", f"{flagged} (AUC {_with_interval(certificate.drift.auc)})"))
    domain = certificate.domain
    known = domain.visited_in_training.value
    trained = "" if known is None else f", {100 * known:.0f} % of them visited in training"
    lines.append(("domain", f"{domain.visited} of {domain.cells} cells of stimulus space{trained}"))
    return lines


def _stimuli(number: int) -> str:
    return "1 stimulus" if number == 1 else f"{number} stimuli"


def _with_interval(one: Estimate) -> str:
    if one.value is None:
        return f"not known ({one.missing})"
    if one.low is None or one.high is None:
        return f"{one.value:.3f}"
    return f"{one.value:.3f} ({one.low:.3f} to {one.high:.3f})"


def _check(ctx: click.Context, settings: Settings, address: str, *, as_document: bool) -> None:
    from engram_client.fidelity.certifying import check_certificate

    with settings.open() as archive:
        found = check_certificate(archive, parse_any(address), warn=warn, told=_tell)
    if as_document:
        write_json(
            {
                "equal": found.equal,
                "differences": as_json(found.differences),
                "unusual": as_json(found.unusual),
                "changed": as_json(found.changed),
            }
        )
    else:
        write_fields(_verdict(found))
    if not found.equal:
        ctx.exit(FAILED)


def _verdict(found: Check) -> list[tuple[str, str]]:
    claim = found.claim
    if found.equal:
        lines = [("equal", f"grade {found.again.grade.letter}: every number came out the same")]
    else:
        count = len(found.differences)
        lines = [("differs", f"{count} {'value' if count == 1 else 'values'}")]
        shown = found.differences[:_MOST_DIFFERENCES]
        lines += [(one.name, f"was {one.before}, is {one.after}") for one in shown]
        if len(found.differences) > len(shown):
            lines.append(("", f"and {len(found.differences) - len(shown)} more"))
    lines += [(f"lax or strict {one.name}", f"{one.before}, usually {one.after}") for one in found.unusual]
    lines += [("student", claim.student.address), ("recording", claim.recording.address)]
    lines += [(one.name, f"was {one.before}, is {one.after}") for one in found.changed]
    return lines
