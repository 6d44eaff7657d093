"""`engram mind`: a mind's state is an artifact, to be kept, forked, and gone on from."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from engram_client.cli.output import write_fields, write_json
from engram_client.cli.settings import Settings, archive_options
from engram_format.address import Address, ContentAddress, parse_any
from engram_format.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Mapping

    from engram_client.archive import Archive, Minds
    from engram_client.cli.replay_minds import Given
    from engram_format.address import AnyAddress
    from engram_format.catalog import AnyArray, Artifact

_STIMULUS = "A .npy or .npz file here, or an artifact that is one: (time, ...) for all minds, or (time, mind, ...)."
_TO = "The memory that keeps the state, or a path in it; by default the one that holds ADDRESS, under the time."
_SAMPLE = "The seed of the noise that a student takes to draw its own events; by default the kept state's, else the contract's."
_MAX_SEED = (1 << 63) - 1
_PERTURB = "Begin each mind with a slightly different state, which the seed repeats."


@click.group(short_help="Keep, fork and go on with the state of minds.")
def mind() -> None:
    """Keep the state of minds as an artifact, make several minds of one, and go on from it.

    A mind is one running instance of a student, with its own state.
    """


@mind.command(short_help="Run minds of a student and keep their state.")
@click.argument("student", metavar="ADDRESS")
@click.option("--stimulus", required=True, metavar="ADDRESS|FILE", help=_STIMULUS)
@click.option("--minds", type=click.IntRange(min=1), default=1, show_default=True, metavar="N", help="How many minds.")
@click.option("--perturb-state", metavar="seed=N[,scale=X]", help=_PERTURB)
@click.option("--sample", type=click.IntRange(0, _MAX_SEED), metavar="SEED", help=_SAMPLE)
@click.option("--to", metavar="VAULT/MEMORY[:PATH]", help=_TO)
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), metavar="OUT.npz", help="Write the outputs to a file here."
)
@click.option("--force", is_flag=True, help="Replace OUT.npz if it is there.")
@click.option("--author", envvar="ENGRAM_AUTHOR", help="Who keeps it; by default your user name and this machine's.")
@archive_options
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.pass_obj
def save(
    settings: Settings,
    *,
    student: str,
    stimulus: str,
    minds: int,
    perturb_state: str | None,
    sample: int | None,
    to: str | None,
    output: Path | None,
    force: bool,
    author: str | None,
    as_json: bool,
) -> None:
    """Run minds of the student at ADDRESS over a stimulus, and keep the state that they are in then."""
    from engram_client.cli.replay import stimulus_of
    from engram_client.cli.replay_minds import given_stimulus, read_perturbation
    from engram_client.local import check_destination

    place, told = parse_any(student), stimulus_of(stimulus)
    perturbation = None if perturb_state is None else read_perturbation(perturb_state)
    if output is not None:
        check_destination(output, force=force)
    with settings.open() as archive:
        kept = _place(archive, to, beside=place)
        given = given_stimulus(archive, told)
        with archive.open_minds(
            place, minds=minds, constants=given.constants, perturbation=perturbation, sample=sample
        ) as running:
            _check_sample(running, sample)
            outputs = _run(running, given, output, force=force)
            saved = running.save(kept, author=author or _this_user())
    _write(saved, outputs, output, as_json=as_json)


@mind.command(short_help="Make several minds of one kept state.")
@click.argument("checkpoint", metavar="CHECKPOINT")
@click.option("--minds", type=click.IntRange(min=1), required=True, metavar="N", help="How many minds are made of it.")
@click.option(
    "--mind",
    "row",
    type=click.IntRange(min=0),
    metavar="I",
    help="Which mind of the state, if it holds several; from 0.",
)
@click.option("--perturb-state", metavar="seed=N[,scale=X]", help=_PERTURB)
@click.option("--sample", type=click.IntRange(0, _MAX_SEED), metavar="SEED", help=_SAMPLE)
@click.option("--to", required=True, metavar="VAULT/MEMORY[:PATH]", help="The memory that keeps them, or a path in it.")
@click.option("--author", envvar="ENGRAM_AUTHOR", help="Who keeps it; by default your user name and this machine's.")
@archive_options
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.pass_obj
def fork(
    settings: Settings,
    *,
    checkpoint: str,
    minds: int,
    row: int | None,
    perturb_state: str | None,
    sample: int | None,
    to: str,
    author: str | None,
    as_json: bool,
) -> None:
    """Make several minds of one whose state is kept at CHECKPOINT, and keep them together as a new state."""
    from engram_client.cli.replay_minds import read_perturbation

    perturbation = None if perturb_state is None else read_perturbation(perturb_state)
    with settings.open() as archive:
        place = parse_any(checkpoint)
        kept = _place(archive, to, beside=place)
        student, held = _kept_state(archive, place)
        with archive.open_minds(student, initial_state=held.address, sample=sample) as parents:
            _check_sample(parents, sample)
            if row is None and parents.minds > 1:
                raise InvalidInput(f"{held.address} holds {parents.minds} minds: say which one with --mind I, from 0")
            with parents.fork([row or 0] * minds, perturbation=perturbation, sample=sample) as forked:
                saved = forked.save(kept, author=author or _this_user())
    _write(saved, {}, None, as_json=as_json)


@mind.command(short_help="Go on from a kept state.")
@click.argument("checkpoint", metavar="CHECKPOINT")
@click.option("--stimulus", required=True, metavar="ADDRESS|FILE", help=_STIMULUS)
@click.option("--sample", type=click.IntRange(0, _MAX_SEED), metavar="SEED", help=_SAMPLE)
@click.option("--save", "keep", is_flag=True, help="Keep the new state in the memory that holds CHECKPOINT.")
@click.option("--to", metavar="VAULT/MEMORY[:PATH]", help="Keep the new state in this memory, or at a path in it.")
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), metavar="OUT.npz", help="Write the outputs to a file here."
)
@click.option("--force", is_flag=True, help="Replace OUT.npz if it is there.")
@click.option("--author", envvar="ENGRAM_AUTHOR", help="Who keeps it; by default your user name and this machine's.")
@archive_options
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.pass_obj
def resume(
    settings: Settings,
    *,
    checkpoint: str,
    stimulus: str,
    sample: int | None,
    keep: bool,
    to: str | None,
    output: Path | None,
    force: bool,
    author: str | None,
    as_json: bool,
) -> None:
    """Go on with the minds whose state is kept at CHECKPOINT, exactly as if they had never stopped."""
    from engram_client.cli.replay import stimulus_of
    from engram_client.cli.replay_minds import given_stimulus
    from engram_client.local import check_destination

    if keep and to:
        raise click.UsageError("--save and --to exclude each other.")
    place, told = parse_any(checkpoint), stimulus_of(stimulus)
    if output is not None:
        check_destination(output, force=force)
    saved = None
    with settings.open() as archive:
        kept = _place(archive, to, beside=place) if keep or to else None
        student, held = _kept_state(archive, place)
        given = given_stimulus(archive, told)
        with archive.open_minds(
            student, initial_state=held.address, constants=given.constants, sample=sample
        ) as running:
            _check_sample(running, sample)
            outputs = _run(running, given, output, force=force)
            if kept is not None:
                saved = running.save(kept, author=author or _this_user())
    _write(saved, outputs, output, as_json=as_json)


def _place(archive: Archive, to: str | None, *, beside: AnyAddress) -> Address:
    """Return the memory, or the path in it, that is to keep a state: what was named, else the memory of an artifact."""
    if to is not None:
        place = Address.parse(to)
        if place.memory is None or place.version is not None:
            raise InvalidInput(
                f"{place} is no place for a state: name vault/memory or vault/memory:path, without a version"
            )
        return place
    if isinstance(beside, ContentAddress):
        beside = archive.artifact(beside).address
    return beside.at(None).of(None)


def _kept_state(archive: Archive, address: AnyAddress) -> tuple[AnyAddress, Artifact]:
    """Return the student of a kept state, by its content, and the artifact that holds the state."""
    held = archive.artifact(address)
    student = held.metadata.get("student.sha256")
    if held.metadata.get("replay.mode") != "checkpoint" or not isinstance(student, str):
        raise InvalidInput(f"{held.address} holds no state of minds: name one that `engram mind save` has kept")
    return ContentAddress(student), held


def _check_sample(minds: Minds, sample: int | None) -> None:
    if sample is not None and minds.sample_seed is None:
        raise InvalidInput("the student takes no noise that could be drawn: leave --sample out")


def _run(minds: Minds, given: Given, output: Path | None, *, force: bool) -> Mapping[str, AnyArray]:
    """Run minds over a stimulus; write the outputs where they are wanted."""
    from engram_client.cli.arrays import write_outputs
    from engram_client.cli.replay_minds import run_minds

    outputs = run_minds(minds, {name: array for name, array in given.told(minds).items() if array.ndim})
    if output is not None:
        write_outputs(output, outputs, force=force)
    return outputs


def _this_user() -> str:
    from engram_client.cli.deposit import this_user

    return this_user()


def _write(saved: Artifact | None, outputs: Mapping[str, AnyArray], output: Path | None, *, as_json: bool) -> None:
    arrays = [{"name": name, "dtype": str(array.dtype), "shape": list(array.shape)} for name, array in outputs.items()]
    if as_json:
        write_json({"outputs": arrays, "saved": saved, "written": None if output is None else str(output)})
        return
    pairs = [
        (f"output {name}", f"{array.dtype} ({', '.join(map(str, array.shape))})") for name, array in outputs.items()
    ]
    if saved is not None:
        pairs += [(name, str(value)) for name, value in sorted(saved.metadata.items())]
        pairs.append(("saved", str(saved.address)))
    if output is not None:
        pairs.append(("written", str(output)))
    write_fields(pairs)
