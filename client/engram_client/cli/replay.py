"""`engram replay`: run a student over a stimulus."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from engram_client.cli.output import write_fields, write_json
from engram_client.cli.replay_cluster import replay_on_cluster
from engram_client.cli.replay_group import numbered, write_group
from engram_client.cli.replay_sample import OPTION, read_sample, seed_of, with_seed
from engram_client.cli.replay_verify import verify
from engram_client.cli.settings import Settings, archive_options
from engram_format.address import Address, ContentAddress, parse_any
from engram_format.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Mapping

    from engram_client.archive import Archive
    from engram_format.address import AnyAddress
    from engram_format.catalog import AnyArray, ReplayResult


class ReplayContext(click.Context):
    """The context of a replay, of whose inner name nobody hears."""

    @property
    def command_path(self) -> str:
        """What usage and errors name: the group alone."""
        return super().command_path if self.parent is None else self.parent.command_path


class ReplayCommand(click.Command):
    """`engram replay ADDRESS ...`, which is a command of its group by an inner name only."""

    context_class = ReplayContext


class ReplayGroup(click.Group):
    """`engram replay ADDRESS ...` replays; `engram replay verify ADDRESS` runs a kept replay again."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Take what is no subcommand for the arguments of a replay."""
        if args and args[0] not in self.commands and args[0] not in ctx.help_option_names:
            args = ["run", *with_seed(args)]
        return super().parse_args(ctx, args)

    def format_help(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Tell of the replay itself, and then of the subcommands."""
        with ReplayContext(run, parent=ctx) as inner:
            run.format_help(inner, formatter)
        self.format_commands(ctx, formatter)


@click.group(cls=ReplayGroup, short_help="Run a student over a stimulus.")
def replay() -> None:
    """Run a student over a stimulus, or verify a replay that was kept."""


replay.add_command(verify)


@replay.command("run", cls=ReplayCommand, hidden=True)
@click.argument("students", metavar="ADDRESS", nargs=-1, required=True)
@click.option(
    "--stimulus",
    "stimuli",
    required=True,
    multiple=True,
    metavar="ADDRESS|FILE",
    help="A .npy or .npz file here, or an artifact that is one; the first axis of its arrays is time.",
)
@click.option("--group", is_flag=True, help="Run several students, as one network where that wins; say how and why.")
@click.option(
    "--minds",
    type=click.IntRange(min=1),
    metavar="N",
    help="Run N minds at once, each with a state of its own; outputs are then (time, mind, ...).",
)
@click.option(
    "--perturb-state",
    metavar="seed=N[,scale=X]",
    help="Begin each mind with a slightly different state, which the seed repeats.",
)
@click.option(
    OPTION,
    callback=read_sample,
    metavar="[SEED]",
    help="Draw counts and events from responses that are rates or probabilities, and the noise that a student takes; "
    "without SEED from the contract's.",
)
@click.option(
    "--engine",
    type=click.Choice(["here", "ray"]),
    default="here",
    help="Where to run; on a Ray cluster, --stimulus may be given many times, and each replay is kept.",
)
@click.option("--cluster", metavar="ADDRESS", help="The Ray cluster; by default one of this machine, for this command.")
@click.option("--save", is_flag=True, help="Keep the replay as a new version of the student's own memory.")
@click.option("--save-to", metavar="VAULT/MEMORY", help="Keep the replay as a new version of this memory.")
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), metavar="OUT.npz", help="Write the outputs to a file here."
)
@click.option("--force", is_flag=True, help="Replace OUT.npz if it is there.")
@click.option("--author", envvar="ENGRAM_AUTHOR", help="Who replays; by default your user name and this machine's.")
@archive_options
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.pass_context
def run(
    ctx: click.Context,
    *,
    students: tuple[str, ...],
    stimuli: tuple[str, ...],
    engine: str,
    cluster: str | None,
    group: bool,
    minds: int | None,
    perturb_state: str | None,
    sample: str | None,
    save: bool,
    save_to: str | None,
    output: Path | None,
    force: bool,
    author: str | None,
    as_json: bool,
) -> None:
    """Run the student at ADDRESS over a stimulus; print what came out and the digests that make it repeatable.

    With --group, several students of one memory or of many run over the same stimulus. With --engine ray, one student runs over
    many stimuli, on the workers of a cluster.
    """
    from engram_client.cli.arrays import write_outputs
    from engram_client.cli.deposit import this_user
    from engram_client.cli.replay_minds import read_perturbation, replay_minds
    from engram_client.local import check_destination

    settings: Settings = ctx.obj
    if save and save_to:
        raise click.UsageError("--save and --save-to exclude each other.")
    if sample is not None and (group or engine == "ray"):
        raise click.UsageError("--sample draws from the responses of one student here: leave out --group and --engine.")
    if engine == "ray":
        if group or minds is not None or perturb_state is not None or output is not None or len(students) > 1:
            raise click.UsageError("--engine ray runs one student over many stimuli, and keeps each replay.")
        place = _memory_of(students[0], save_to=save_to)
        replay_on_cluster(
            ctx,
            settings,
            students[0],
            stimuli,
            save_to=place,
            author=author or this_user(),
            cluster=cluster,
            as_json=as_json,
        )
        return
    if len(stimuli) > 1 or cluster is not None:
        raise click.UsageError("Several stimuli, or a cluster, need --engine ray.")
    if len(students) > 1 and not group:
        raise click.UsageError("Several students run together only with --group.")
    if group and (minds is not None or perturb_state is not None):
        raise click.UsageError("--group runs one mind of each student: leave out --minds and --perturb-state.")
    places, given = [parse_any(student) for student in students], stimulus_of(stimuli[0])
    if output is not None:
        check_destination(output, force=force)  # before the student runs, which may take long
    with settings.open() as archive:
        kept = _memory(archive, places[0], save=save, save_to=save_to)
        who, seed = author or this_user(), seed_of(archive, places[0], sample)
        if group:
            together = archive.replay_group(places, given, save_to=kept, author=who)
        elif minds is None and perturb_state is None:
            result = archive.replay(places[0], given, save_to=kept, author=who, sample=seed)
        else:
            perturbation = None if perturb_state is None else read_perturbation(perturb_state)
            result = replay_minds(
                archive,
                places[0],
                given,
                minds=minds,
                perturbation=perturbation,
                sample=seed,
                save_to=kept,
                author=who,
            )
    if group:
        if output is not None:
            write_outputs(output, numbered(together.results), force=force)
        write_group(together, students, output, as_json=as_json)
        return
    if output is not None:
        write_outputs(output, result.outputs, force=force)
    _write(result, output, as_json=as_json)


def stimulus_of(text: str) -> AnyAddress | Mapping[str, AnyArray]:
    """Return the arrays of a file here if there is one of that name, else the address of an artifact."""
    from engram_client.cli.arrays import read_stimulus

    path = Path(text)
    if path.exists():
        return read_stimulus(path)
    try:
        address = parse_any(text)
    except InvalidInput as error:
        raise InvalidInput(f"the stimulus {text!r} is neither a file here nor an address: check its name") from error
    if isinstance(address, Address) and address.path is None:
        raise InvalidInput(f"the stimulus {text!r} is neither a file here nor an artifact, as vault/memory:path")
    return address


def _memory_of(student: str, *, save_to: str | None) -> Address:
    """Return the memory in which a cluster's replays are kept: the named one, or the student's own."""
    if save_to is not None:
        return _named_memory(save_to)
    address = parse_any(student)
    if isinstance(address, ContentAddress):
        raise click.UsageError("Say where the replays are kept: --save-to VAULT/MEMORY.")
    return address.at(None).of(None)


def _memory(archive: Archive, student: AnyAddress, *, save: bool, save_to: str | None) -> Address | None:
    if save_to is not None:
        return _named_memory(save_to)
    if not save:
        return None
    if isinstance(student, ContentAddress):
        student = archive.artifact(student).address
    return student.at(None).of(None)


def _named_memory(text: str) -> Address:
    memory = Address.parse(text)
    if memory.memory is None or memory.version is not None or memory.path is not None:
        raise InvalidInput(
            f"{memory} is no place for a replay: name a memory, as vault/memory, without a version or path"
        )
    return memory


def _write(result: ReplayResult, output: Path | None, *, as_json: bool) -> None:
    outputs = [
        {"name": name, "dtype": str(array.dtype), "shape": list(array.shape)} for name, array in result.outputs.items()
    ]
    if as_json:
        written = None if output is None else str(output)
        write_json({"outputs": outputs, "receipt": result.receipt, "saved": result.saved, "written": written})
        return
    pairs = [
        (f"output {name}", f"{array.dtype} ({', '.join(map(str, array.shape))})")
        for name, array in result.outputs.items()
    ]
    pairs += [(name, str(value)) for name, value in sorted(result.receipt.items())]
    if result.saved is not None:
        pairs.append(("saved", str(result.saved.address)))
    if output is not None:
        pairs.append(("written", str(output)))
    write_fields(pairs)
