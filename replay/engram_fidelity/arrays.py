"""An experiment from plain arrays, as a `.npz` file has them: `stimulus`, `counts`, `bin_s` and, if wanted, `stimulus_id`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from engram_fidelity.binning import (
    Presentation,
    Stimuli,
    Warn,
    as_counts,
    bins_together,
    experiment_of,
    summed_counts,
    whole_bins,
)
from engram_fidelity.experiment import Experiment
from engram_format.errors import InvalidInput


def experiment_from_arrays(
    stimulus: NDArray[np.generic],
    counts: NDArray[np.generic],
    *,
    array_bin_s: float,
    bin_s: float,
    stimulus_ids: Sequence[str] | None = None,
    channels: Sequence[str] = (),
    cells: Sequence[str] = (),
    unit: str = "",
    warn: Warn = lambda _: None,
) -> Experiment:
    """Make an experiment of a stimulus (trial, time, channel) and counts (trial, time, cell), both in bins of `array_bin_s`.

    Either may lack the axis of trials, and is then one trial. One stimulus with counts of several trials was repeated.
    Without `stimulus_ids`, one a trial, each trial has its own. Bins of `bin_s` must be made of whole bins of the arrays.
    Raises `InvalidInput` for arrays that do not fit.
    """
    whole_bins(0.0, array_bin_s)
    together = bins_together(bin_s, 1 / array_bin_s)
    shown, answers = (array[np.newaxis] if array.ndim == 2 else array for array in (stimulus, counts))
    if shown.ndim != 3 or answers.ndim != 3 or shown.shape[1] != answers.shape[1] or shown.dtype.kind not in "iufb":
        raise InvalidInput(
            f"the arrays have shapes {stimulus.shape} and {counts.shape}: "
            "bring a stimulus (trial, time, channel) of numbers and counts (trial, time, cell) in the same bins"
        )
    trials, repeated = len(answers), len(shown) == 1
    if len(shown) not in (1, trials) or (stimulus_ids is not None and len(stimulus_ids) != trials):
        raise InvalidInput(
            f"the arrays have {len(shown)} stimuli and counts of {trials} trials: "
            "bring one stimulus, or one for each trial, and as many ids as trials"
        )
    bins = shown.shape[1] // together
    if bins == 0 or trials == 0:
        raise InvalidInput(f"the arrays last less than one bin of {bin_s:g} s: choose narrower bins")
    names = tuple(cells) or tuple(str(cell) for cell in range(answers.shape[2]))
    digits = len(str(trials - 1))
    ids = stimulus_ids or ["stimulus" if repeated else f"trial-{number:0{digits}}" for number in range(trials)]
    seen: dict[str, int] = {}
    presented, stimuli = [], Stimuli()
    for number, stimulus_id in enumerate(ids):
        repeat = seen.setdefault(stimulus_id, 0)
        seen[stimulus_id] = repeat + 1
        trial = Presentation(f"trial {number}", stimulus_id, repeat, 0.0, bins)
        source = np.asarray(shown[0 if repeated else number, : bins * together], np.float64)
        with np.errstate(over="ignore"):  # numbers that are too large come out as none, and are refused
            mean = source.reshape(bins, together, -1).mean(axis=1).astype(np.float32)
        stimuli.add(trial, mean)
        presented.append(trial)
    gathered = np.concatenate([summed_counts(_checked(answer, names), together) for answer in answers])
    return experiment_of(
        presented,
        stimuli,
        _checked(gathered, names),
        bin_s=bin_s,
        channels=tuple(channels) or tuple(str(channel) for channel in range(shown.shape[2])),
        cells=names,
        unit=unit,
        warn=warn,
    )


def _checked(counts: NDArray[np.generic], cells: Sequence[str]) -> NDArray[np.uint8]:
    if counts.shape[1] != len(cells):
        raise InvalidInput(f"the counts are of {counts.shape[1]} cells and {len(cells)} are named: name each cell once")
    columns = [as_counts(counts[:, number], cell=cell) for number, cell in enumerate(cells)]
    return np.stack(columns, axis=1) if columns else np.empty((len(counts), 0), np.uint8)
