"""A jewel over an archive: a deposited student beside a deposited recording, which is played as if it happened now.

Every transition is deposited as an artifact of its own, beside the log of the whole run, in one version.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Final

from engram_client.fidelity.made import Made, as_json, check_place, check_seed, consent_of, deposit_made
from engram_client.fidelity.permission import may_be_trained_on, may_be_used
from engram_client.fidelity.reading import read_experiment
from engram_client.fidelity.seen import Seen, seen_in_line
from engram_client.fidelity.students import ArchiveStudent
from engram_fidelity.digest import experiment_sha256
from engram_fidelity.experiment import Experiment
from engram_fidelity.jewel import Calibrated, Calibration, Rules, Run, Transition, recorded, run
from engram_format.address import Address, AnyAddress, check_note
from engram_format.catalog import Artifact, Kind, Scalar
from engram_format.errors import InvalidInput

if TYPE_CHECKING:
    from engram_client.archive import Archive

_COURSE_ROWS: Final = 1000
"""Rows of the course that a log holds at most; of more, every second, third, ..."""


@dataclass(frozen=True, slots=True, eq=False)
class JewelRun:
    """A run and what was deposited of it."""

    run: Run
    log: Artifact
    transitions: tuple[Artifact, ...]


def run_jewel(
    archive: Archive,
    *,
    student: AnyAddress,
    recording: AnyAddress,
    to: Address,
    rules: Rules,
    learn: bool = False,
    shuffle: bool = False,
    bin_s: float = 0.005,
    stimulus: str | None = None,
    author: str = "",
    warn: Callable[[str], None] = lambda _: None,
    told: Callable[[Transition], None] = lambda _: None,
) -> JewelRun:
    """Run a student beside a recording and deposit the log at the path of `to`, a folder; return both.

    With `learn`, each cell's gain is learned while the jewel is LEARNING, which the recording's consent must allow (`Denied`). With
    `shuffle`, presentations come in an order that the seed of the rules draws, which takes the network's slow drift out. Stimuli
    that the student was trained on are left out, as its metadata name them. Raises what `read_experiment` and `run` raise; nothing
    is deposited then.
    """
    check_place(to, what="a run")
    check_note(author, what="author")
    check_seed(rules.seed)
    source = archive.artifact(recording)
    may_be_used(archive, source)
    if learn:
        may_be_trained_on(archive, source)
    judged = ArchiveStudent(archive, student, bin_s=bin_s)
    whole = read_experiment(archive, source.address, bin_s=bin_s, stimulus=stimulus, warn=warn)
    judged.check(whole)
    unseen = _unseen(whole, judged.artifact, seen_in_line(archive, judged.artifact, source, whole, stimulus=stimulus))
    done = run(
        recorded(unseen, seed=rules.seed if shuffle else None),
        judged,
        rules=rules,
        bin_s=bin_s,
        learner=Calibration() if learn else None,
        told=told,
    )
    about: dict[str, object] = {
        "student": {"address": str(judged.artifact.address), "sha256": judged.artifact.sha256},
        "recording": {"address": str(source.address), "sha256": source.sha256},
        "experiment_sha256": experiment_sha256(unseen),
        "bin_s": bin_s,
        "rules": asdict(rules),
        "shuffled": shuffle,
    }
    made = [
        Made(f"{to.path}/run.json", as_json(_log(done, about)), Kind.FILE, {**_metadata(done), **consent_of(source)})
    ]
    made += [
        Made(
            f"{to.path}/{change.number:03d}-{change.after.lower()}.json",
            as_json({"transition": 1, **about, **asdict(change)}),
            Kind.FILE,
            {
                "jewel.transition": change.number,
                "jewel.before": str(change.before),
                "jewel.after": str(change.after),
                **consent_of(source),
            },
        )
        for change in done.transitions
    ]
    log, *transitions = deposit_made(
        archive,
        made,
        to=to,
        sources=(judged.artifact, source),
        message=f"A jewel that ended {done.state}: {judged.artifact.address} beside {source.address}",
        author=author,
    )
    return JewelRun(done, log, tuple(transitions))


def _unseen(experiment: Experiment, student: Artifact, seen: Seen) -> Experiment:
    """Leave out the stimuli that the student was trained on or chosen by."""
    left = [trials.stimulus_id for trials in experiment.trials if trials.stimulus_id not in seen.stimuli]
    if not left:
        raise InvalidInput(
            f"{student.address} was trained on every stimulus of the recording: bring a recording with others, or repeats"
        )
    return experiment.of(left)


def _metadata(done: Run) -> dict[str, Scalar]:
    numbers = {"jewel.rate_margin": done.margin}
    numbers |= {f"jewel.two_afc.{name}": value for name, value in done.two_afc.items()}
    return {
        "jewel.state": str(done.state),
        "jewel.alpha": done.rules.alpha,
        "jewel.eps": done.rules.eps,
        "jewel.seed": done.rules.seed,
        "jewel.presentations": done.presentations,
        "jewel.pairs": done.pairs,
        **({} if done.switched_at is None else {"jewel.switched_at": done.switched_at}),
        **{name: value for name, value in numbers.items() if math.isfinite(value)},
    }


def _log(done: Run, about: dict[str, object]) -> dict[str, object]:
    step = -(-len(done.course) // _COURSE_ROWS) or 1
    student = done.student
    return {
        "jewel": 1,
        **about,
        "state": str(done.state),
        "attempt": done.attempt,
        "presentations": done.presentations,
        "pairs": done.pairs,
        "switched_at": done.switched_at,
        "two_afc": dict(done.two_afc),
        "rate_margin": done.margin,
        "gains": student.gains.tolist() if isinstance(student, Calibrated) else None,
        "transitions": [asdict(change) for change in done.transitions],
        "course": {
            "columns": ["pair", "log_e.guard", "log_e.switch", *(f"log_e.switch.{name}" for name in done.judges)],
            "every": step,
            "rows": done.course[::step].round(4).tolist(),
        },
    }
