"""Which trials teach a student, which tell when it has learned enough, and which it is judged by and never sees.

A stimulus that was shown more than once is held out, since only repeats tell how much of an answer a stimulus explains. Of
stimuli shown once, one in ten is for validation. Where every stimulus was repeated, one in five is held out and the others
teach. A long trial is cut into pieces where there are too few trials to choose from.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from engram_fidelity.experiment import Experiment, Trials
from engram_format.errors import InvalidInput

_VALIDATION: Final = 10
"""One trial in so many is for validation."""
_HELD_OUT: Final = 5
"""One repeated stimulus in so many is held out where all are repeated."""
_PIECE_S: Final = 2.0
"""The shortest piece into which a trial is cut, in seconds."""


@dataclass(frozen=True, slots=True)
class Split:
    """An experiment in three parts, no trial in two of them."""

    training: Experiment
    validation: Experiment
    held_out: Experiment | None
    """Repeated stimuli; `None` where the experiment has none, and no student of it can be certified."""


def split(experiment: Experiment, seed: int = 0) -> Split:
    """Divide an experiment as the module says; the seed chooses which trials are for validation and which are held out.

    Pieces of a trial `x` are called `x[start:stop]`, in bins. Raises `InvalidInput` where no trial is left to learn from.
    """
    random = np.random.default_rng([seed, 0x5917])
    teaching, held_out = list(experiment.once), list(experiment.repeated)
    if not teaching:
        if len(held_out) < 2:
            raise InvalidInput(
                f"stimulus {held_out[0].stimulus_id!r} is the only one, and repeated stimuli are held out: record others, too"
            )
        chosen = _some(random, len(held_out), one_in=_HELD_OUT)
        teaching = [trials for place, trials in enumerate(held_out) if place not in chosen]
        held_out = [trials for place, trials in enumerate(held_out) if place in chosen]
    training, validation = parted(_with(experiment, teaching), random)
    return Split(training, validation, held_out=_with(experiment, held_out) if held_out else None)


def parted(experiment: Experiment, random: np.random.Generator) -> tuple[Experiment, Experiment]:
    """Divide trials into those that teach and those that tell when enough was learned; none is held out.

    Long trials are cut into pieces where there are few. Raises `InvalidInput` where there is too little for both.
    """
    teaching = _pieces(experiment.trials, bin_s=experiment.bin_s)
    if len(teaching) < 2:
        raise InvalidInput(
            f"stimulus {teaching[0].stimulus_id!r} of {teaching[0].bins * experiment.bin_s:.3g} s is all that there is to learn "
            f"from: record at least {2 * _PIECE_S:g} s"
        )
    chosen = _some(random, len(teaching), one_in=_VALIDATION)
    return (
        _with(experiment, [trials for place, trials in enumerate(teaching) if place not in chosen]),
        _with(experiment, [trials for place, trials in enumerate(teaching) if place in chosen]),
    )


def _some(random: np.random.Generator, many: int, *, one_in: int) -> set[int]:
    return set(random.permutation(many)[: max(1, many // one_in)].tolist())


def _pieces(trials: Sequence[Trials], *, bin_s: float) -> list[Trials]:
    """Cut the longest trial in two, until there are enough or no piece may be shorter."""
    pieces = list(trials)
    shortest = round(_PIECE_S / bin_s)
    cut_from = {id(one): (one, 0) for one in pieces}
    while len(pieces) < _VALIDATION:
        place = max(range(len(pieces)), key=lambda place: pieces[place].bins)
        whole = pieces[place]
        half = whole.bins // 2
        if half < shortest:
            break
        source, start = cut_from[id(whole)]
        halves = [_piece(source, start, start + half), _piece(source, start + half, start + whole.bins)]
        cut_from |= {id(halves[0]): (source, start), id(halves[1]): (source, start + half)}
        pieces[place : place + 1] = halves
    return pieces


def _piece(source: Trials, start: int, stop: int) -> Trials:
    return Trials(f"{source.stimulus_id}[{start}:{stop}]", source.stimulus[start:stop], source.counts[:, start:stop])


def _with(experiment: Experiment, trials: Sequence[Trials]) -> Experiment:
    return replace(experiment, trials=tuple(trials))
