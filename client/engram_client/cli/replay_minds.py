"""Many minds in one tick stream: their stimulus, their outputs, and what is kept of them."""

from __future__ import annotations

import hashlib
import io
import secrets
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

import click
import numpy as np

from engram_client.cli.arrays import read_arrays
from engram_format.arrays import digest_arrays, encode_npz
from engram_format.catalog import ArtifactSpec, Kind, ReplayResult
from engram_format.errors import Exhausted, InvalidInput
from engram_format.ports import Perturbation, for_minds, named

if TYPE_CHECKING:
    from engram_client.archive import Archive, Minds
    from engram_format.address import Address, AnyAddress
    from engram_format.catalog import AnyArray, Artifact, Scalar

_TICK_BYTES: Final = 1 << 20
_TICK_STEPS: Final = 1024
_MAX_STIMULUS_BYTES: Final = 512 << 20
_SILENT_S: Final = 2.0
"""Work that is done so soon needs no lines of progress in a log."""


def read_perturbation(text: str) -> Perturbation:
    """Read the option `--perturb-state`: `seed=1`, or `seed=1,scale=0.01`."""
    told = dict(part.partition("=")[::2] for part in text.split(","))
    try:
        seed, scale = int(told.pop("seed")), told.pop("scale", None)
        perturbation = Perturbation(seed, None if scale is None else float(scale))
    except (KeyError, ValueError) as error:
        raise click.BadParameter(f"{text!r} is not seed=N or seed=N,scale=X.", param_hint="--perturb-state") from error
    if told or not 0 <= perturbation.seed < 1 << 64 or not 0 <= (perturbation.scale or 0) <= 1:
        raise click.BadParameter(
            f"{text!r} is not seed=N or seed=N,scale=X, a whole number and one from 0 to 1.",
            param_hint="--perturb-state",
        )
    return perturbation


@dataclass(frozen=True, slots=True)
class Given:
    """A stimulus as the user gave it."""

    arrays: Mapping[str, AnyArray]
    """By name; those without axes are constants."""
    artifact: Artifact | None
    """Where it is kept, if it is."""

    @property
    def constants(self) -> Mapping[str, Scalar]:
        """The arrays without axes, as scalars."""
        return {name: array.item() for name, array in self.arrays.items() if not array.ndim}

    def told(self, minds: Minds) -> Mapping[str, AnyArray]:
        """All arrays by the names of the ports and in their types, as they were given else."""
        return named(self.arrays, minds.ports)


def given_stimulus(archive: Archive, stimulus: AnyAddress | Mapping[str, AnyArray]) -> Given:
    """Return the arrays of a stimulus, read from the archive where it is an address."""
    if isinstance(stimulus, Mapping):
        return Given({name: np.asarray(array) for name, array in stimulus.items()}, None)
    artifact = archive.artifact(stimulus)
    if artifact.size > _MAX_STIMULUS_BYTES:
        raise Exhausted(
            f"{artifact.address} has {artifact.size} bytes, at most {_MAX_STIMULUS_BYTES} are replayed: cut it"
        )
    data = io.BytesIO(b"".join(archive.read(artifact.address)))
    return Given(read_arrays(data, str(artifact.address)), artifact)


def replay_minds(
    archive: Archive,
    student: AnyAddress,
    stimulus: AnyAddress | Mapping[str, AnyArray],
    *,
    minds: int | None,
    perturbation: Perturbation | None,
    sample: int | None,
    save_to: Address | None,
    author: str,
) -> ReplayResult:
    """Run many minds of a student over a stimulus, and keep what they did in a new version of memory `save_to` if given.

    With a seed to `sample` from, what is drawn from the responses stands beside them; the noise that a student takes is drawn
    from it too, else from the contract's.
    """
    given = given_stimulus(archive, stimulus)
    with archive.open_minds(
        student, minds=minds or 1, constants=given.constants, perturbation=perturbation, sample=sample
    ) as running:
        if sample is not None:
            from engram_client.sampling import check_sampling, drawn_from

            check_sampling(running, seed=sample)
        initial = running.state()
        told = given.told(running)
        outputs = run_minds(running, {name: array for name, array in told.items() if array.ndim})
        receipt: dict[str, Scalar] = {
            "student.sha256": running.student_sha256,
            "stimulus.sha256": digest_arrays(told),
            "initial_state.sha256": digest_arrays(initial),
            "final_state.sha256": digest_arrays(running.state()),
            "outputs.sha256": digest_arrays(outputs),
            "replay.mode": "minds",
            "replay.minds": running.minds,
            "replay.steps": running.steps,
            **running.profile,
        }
        if sample is not None:
            receipt["sample.seed"] = sample
            if drawn := drawn_from(running, outputs, seed=sample):
                receipt["drawn.sha256"] = digest_arrays(drawn)
                outputs |= drawn
        elif running.sample_seed is not None:
            receipt["sample.seed"] = running.sample_seed
    if perturbation is not None:
        receipt["perturbation.seed"] = perturbation.seed
        if perturbation.scale is not None:
            receipt["perturbation.scale"] = perturbation.scale
    saved = None
    if save_to is not None:
        saved = _saved(archive, save_to, given, told, initial, outputs, receipt=receipt, author=author)
    return ReplayResult(outputs=outputs, receipt=receipt, saved=saved)


def run_minds(minds: Minds, driven: Mapping[str, AnyArray], *, doing: str = "replaying") -> dict[str, AnyArray]:
    """Run minds over a stimulus and return the outputs by name, (time, mind, ...), showing how far they are.

    The stimulus is (time, ...), which all minds are given, or (time, mind, ...), one for each; leading axes of a step that
    are 1 long may be left out.
    """
    ports = {port.name: port for port in minds.ports if port.role == "stimulus"}
    views = {name: for_minds(array, ports[name], minds=minds.minds) for name, array in driven.items()}
    lengths = {len(view) for view in views.values()}
    if len(lengths) != 1 or not (total := lengths.pop()):
        raise InvalidInput(
            f"the stimuli have {[len(view) for view in views.values()]} steps: give all the same number, at least 1"
        )
    per_step = sum(view.nbytes for view in views.values()) // total
    stride = max(min(_TICK_BYTES // max(per_step, 1), _TICK_STEPS), 1)
    outputs: dict[str, AnyArray] = {}
    with _steps_shown(doing, total, minds=minds.minds) as show:
        for first in range(0, total, stride):
            stop = min(first + stride, total)
            # Minds that share a stimulus share its memory here, and get copies of it a part at a time.
            answer = minds.tick({name: np.ascontiguousarray(view[first:stop]) for name, view in views.items()})
            for name, part in answer.items():
                if name not in outputs:
                    outputs[name] = np.empty((total, *part.shape[1:]), part.dtype)
                elif outputs[name].shape[1:] != part.shape[1:]:
                    raise InvalidInput(f"output {name!r} changes its shape from step to step: it is no one array")
                outputs[name][first:stop] = part
            show(stop)
    return outputs


def _saved(
    archive: Archive,
    save_to: Address,
    given: Given,
    stimulus: Mapping[str, AnyArray],
    initial: Mapping[str, AnyArray],
    outputs: Mapping[str, AnyArray],
    *,
    receipt: Mapping[str, Scalar],
    author: str,
) -> Artifact:
    """Keep the outputs with their receipt, and with them what they were made from and is not kept yet; return the outputs."""
    now_ns = time.time_ns()
    stem = save_to.path or f"replays/{datetime.fromtimestamp(now_ns / 1e9, tz=UTC):%Y-%m-%dT%H-%M-%S-%f}.npz"
    stem = stem.removesuffix(".npz")
    files: list[tuple[str, Kind, bytes]] = []
    if initial:
        files.append((f"{stem}.state.npz", Kind.FILE, encode_npz(initial)))
    if given.artifact is None:
        files.append((f"{stem}.stimulus.npz", Kind.FILE, encode_npz(stimulus)))
    # In this order: `engram replay verify` finds the stimulus last, and before it the states that the minds began with.
    made_from = [str(receipt["student.sha256"]), *(hashlib.sha256(body).hexdigest() for _, _, body in files)]
    if given.artifact is not None:
        made_from.append(given.artifact.sha256)
    files.append((f"{stem}.npz", Kind.REPLAY, encode_npz(outputs)))
    with archive.open_deposit(save_to.of(None).at(None), session=secrets.token_hex(16)) as deposit:
        for path, kind, body in files:
            is_replay = kind is Kind.REPLAY
            deposit.begin(
                ArtifactSpec(
                    path=path,
                    size=len(body),
                    kind=kind,
                    time_ns=now_ns,
                    metadata=receipt if is_replay else {},
                    made_from=tuple(made_from) if is_replay else (),
                )
            )
            deposit.write(body)
            deposit.end(sha256=hashlib.sha256(body).hexdigest())
        version = deposit.commit(message=f"replay of {receipt['replay.minds']} minds", author=author)
    return archive.artifact(version.address.of(f"{stem}.npz"))


@contextmanager
def _steps_shown(doing: str, total: int, *, minds: int) -> Iterator[Callable[[int], None]]:
    """Yield what shows how many steps are done: a bar on a terminal, a line at every tenth part of long work elsewhere."""
    if not sys.stderr.isatty():
        yield _lines(f"{doing} {minds} minds", total)
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("steps"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as shown:
        task = shown.add_task(f"{doing} {minds} minds", total=total)
        yield lambda done: shown.update(task, completed=done)


def _lines(doing: str, total: int) -> Callable[[int], None]:
    began, told = time.monotonic(), 0

    def show(done: int) -> None:
        nonlocal told
        tenths = 10 * done // total
        if tenths > told and time.monotonic() - began > _SILENT_S:
            click.echo(f"{doing}: {10 * tenths} % ({done} of {total} steps)", err=True)
        told = max(told, tenths)

    return show
