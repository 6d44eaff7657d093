"""An experiment out of a deposited recording, through either door: what students are distilled from and certified against.

What a recording must hold is written in SPEC.md section 9.7. Series are read in blocks, those of the stimulus once and in
the order of time; what is held is the experiment itself, of at most `MAX_BYTES`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from engram_client.fidelity.answers import ON_GRID, Counted, Source, Spikes, channel_names, width_of
from engram_fidelity.arrays import experiment_from_arrays
from engram_fidelity.binning import (
    BinAverage,
    Clock,
    Presentation,
    Stimuli,
    Warn,
    experiment_of,
    presentations,
    segments,
    whole_bins,
)
from engram_fidelity.digest import experiment_sha256
from engram_fidelity.experiment import Experiment
from engram_format.address import AnyAddress
from engram_format.catalog import Artifact, Kind
from engram_format.consent import Consent
from engram_format.errors import Denied, Exhausted, InvalidInput
from engram_format.series import SeriesInfo, Table
from engram_format.slicing import native_dtype

if TYPE_CHECKING:
    from engram_client.archive import Archive

__all__ = ["MAX_BYTES", "SEGMENT_S", "allow_training", "experiment_sha256", "read_experiment"]

MAX_BYTES: Final = 2**30
"""The largest experiment that is held."""
SEGMENT_S: Final = 30.0
"""A session without trials is cut into segments of so many seconds."""

_MAX_TIMESTAMPS: Final = 2**24
_MAX_GAP: Final = 2**16
"""Samples between two trials that are read all the same, which costs less than asking twice."""
_MAX_CHANNELS: Final = 2**20
_MAX_TRIALS: Final = 10_000
"""Of arrays; of a table, as many are described."""


def allow_training(artifact: Artifact) -> None:
    """Raise `Denied` where nothing says that a model may be trained on an artifact, or something forbids it."""
    try:
        consent = Consent.of(artifact.metadata)
    except InvalidInput as error:
        raise Denied(
            f"{artifact.address} must not be distilled: what is said of consent is not understood ({error})"
        ) from error
    if not consent.allows_model_training:
        raise Denied(
            f"consent does not allow to train models on {artifact.address}, so it must not be distilled: where those who "
            "gave consent have agreed, say so with 'engram annotate ADDRESS --set consent.duo=GRU "
            "--set consent.model_training=true'"
        )


def read_experiment(
    archive: Archive,
    address: AnyAddress,
    *,
    bin_s: float = 0.005,
    stimulus: str | None = None,
    warn: Warn = lambda _: None,
) -> Experiment:
    """Read a recording as an experiment in bins of `bin_s` seconds.

    `stimulus` names the stimulus series, which is by default the only one in `/stimulus/presentation`. `warn` is told what
    was cut or assumed. Whether a model may be trained on it is not asked here but by `allow_training`. Raises `InvalidInput`
    where the recording does not hold an experiment, saying what to add, and `Exhausted` where it is too large.
    """
    whole_bins(0.0, bin_s)
    recording = archive.recording(address)
    if recording.artifact.kind is Kind.STUDENT:
        raise InvalidInput(
            f"{recording.artifact.address} is a student, no recording: name the recording that holds stimuli and spikes"
        )
    # By the version that was found: a newer one may come while this one is read.
    source = Source(archive, recording.artifact.address, recording, {info.name: info for info in recording.series})
    if recording.family == "npz":
        return _from_arrays(source, bin_s=bin_s, stimulus=stimulus, warn=warn)
    shown = _stimulus(source, stimulus)
    if width_of(shown) > _MAX_CHANNELS or native_dtype(shown.dtype).kind == "c":
        raise InvalidInput(
            f"series {shown.name!r} has complex numbers or more than {_MAX_CHANNELS} channels: choose another"
        )
    clock = _clock(source, shown)
    trials = _trials(source, clock, bin_s=bin_s, warn=warn)
    answers = Spikes.of(source) or Counted.of(source, shown)
    _check_size(source, trials, channels=width_of(shown), cells=len(answers.cells))
    stimuli = _read_stimuli(source, shown, clock, trials, bin_s=bin_s)
    return experiment_of(
        trials,
        stimuli,
        answers.read(source, trials, bin_s=bin_s),
        bin_s=bin_s,
        channels=channel_names(shown),
        cells=answers.cells,
        unit=shown.unit,
        warn=warn,
    )


def _stimulus(source: Source, named: str | None) -> SeriesInfo:
    """Return the series that the cells saw."""
    times = {info.timestamps for info in source.infos.values()}
    presented = [
        info
        for info in source.infos.values()
        if info.name.startswith("/stimulus/presentation/") and info.name not in times and info.is_numeric
    ]
    if named is not None:
        info = source.infos.get(named) or source.infos.get(f"/stimulus/presentation/{named}")
        if info is None or not info.is_numeric:
            near = ", ".join(info.name for info in presented[:5]) or "none in /stimulus/presentation"
            raise InvalidInput(f"{source.name} has no series {named!r} of numbers as a stimulus: it has {near}")
        return info
    if not presented:
        raise InvalidInput(
            f"{source.name} has no stimulus: add what was shown as a TimeSeries to /stimulus/presentation, or name a series "
            "with --stimulus"
        )
    if len(presented) > 1:
        names = ", ".join(info.name for info in presented[:5])
        raise InvalidInput(f"{source.name} has {len(presented)} stimulus series: name one with --stimulus: {names}")
    return presented[0]


def _clock(source: Source, info: SeriesInfo) -> Clock:
    if not info.timestamps:
        return Clock(info.samples, start_s=info.starting_time, rate_hz=info.sampling_rate)
    if info.samples > _MAX_TIMESTAMPS:
        raise Exhausted(
            f"series {info.name!r} has {info.samples} timestamps, too many: give it a starting time and a rate"
        )
    times = source.infos.get(info.timestamps)
    if times is None or times.shape != (info.samples,):
        raise InvalidInput(
            f"the timestamps of series {info.name!r} in {source.name} are not one for each of its samples: mend them"
        )
    blocks = source.blocks(info.timestamps, 0, None, physical=True)
    return Clock(info.samples, times_s=np.concatenate([np.asarray(block, np.float64).ravel() for block in blocks]))


def _trials(source: Source, clock: Clock, *, bin_s: float, warn: Warn) -> tuple[Presentation, ...]:
    """Return the trials as far as the stimulus lasts; of a session without trials, its segments."""
    table = source.recording.tables.get("trials")
    if table is None:
        warn(
            f"{source.name} has no trials: the session is cut into segments of {SEGMENT_S:g} s, each shown once; "
            "without repeats nothing distilled from it can be certified"
        )
        if not (clock.stop_s - clock.start_s) / bin_s < MAX_BYTES:
            raise Exhausted(f"{source.name} lasts too long for bins of {bin_s:g} s: choose wider bins")
        return segments(clock.start_s, clock.stop_s, segment_s=SEGMENT_S, bin_s=bin_s)
    rows = next((info.samples for name, info in source.infos.items() if name == "/intervals/trials/id"), table.rows)
    if rows > table.rows:
        warn(f"{source.name} has {rows} trials, of which the first {table.rows} are described and used")
    if "stimulus_id" not in table.columns:
        warn(
            f"the trials of {source.name} have no column stimulus_id: every trial counts as a stimulus of its own, shown once"
        )
    starts, stops = (_numbers(source, table, name) for name in ("start_time", "stop_time"))
    repeats = _numbers(source, table, "repeat") if "repeat" in table.columns else None
    if repeats is not None and (repeats != np.floor(repeats)).any():
        raise InvalidInput(f"the trials of {source.name} have repeats that are no whole numbers: count them from 0")
    late = (stops > clock.stop_s + ON_GRID * bin_s) & (starts < clock.stop_s)
    for row in np.flatnonzero(late).tolist():
        warn(f"trial {row} of {source.name} outlasts the stimulus, which ends at {clock.stop_s:g} s, and is cut there")
    return presentations(
        starts.tolist(),
        np.where(late, clock.stop_s, stops).tolist(),
        bin_s=bin_s,
        stimulus_ids=_texts(table, "stimulus_id"),
        repeats=None if repeats is None else [int(repeat) for repeat in repeats],
        warn=warn,
    )


def _numbers(source: Source, table: Table, name: str) -> NDArray[np.float64]:
    column = table.columns.get(name)
    if not isinstance(column, np.ndarray) or not (np.isfinite(column).all() or name != "repeat"):
        raise InvalidInput(f"the trials of {source.name} have no column {name} of numbers: add one")
    return column


def _texts(table: Table, name: str) -> list[str] | None:
    column = table.columns.get(name)
    if column is None:
        return None
    return [value if isinstance(value, str) else _id(float(value)) for value in column]


def _id(number: float) -> str:
    return str(int(number)) if number.is_integer() else repr(number)


def _check_size(source: Source, trials: Sequence[Presentation], *, channels: int, cells: int) -> None:
    if channels == 0 or cells == 0:
        what = "stimulus has no channels" if channels == 0 else "recording has no units"
        raise InvalidInput(f"the {what} in {source.name}: bring a stimulus and the cells that answered it")
    longest: dict[str, int] = {}
    for trial in trials:
        longest[trial.stimulus_id] = max(trial.bins, longest.get(trial.stimulus_id, 0))
    total = sum(trial.bins for trial in trials)
    size = 4 * channels * (sum(longest.values()) + 6 * max(longest.values())) + (cells + 16) * total  # and to work on
    if size > MAX_BYTES:
        raise Exhausted(
            f"{source.name} makes an experiment of {size} bytes, more than {MAX_BYTES}: choose wider bins, "
            "or a stimulus series with fewer channels"
        )


def _read_stimuli(
    source: Source, info: SeriesInfo, clock: Clock, trials: Sequence[Presentation], *, bin_s: float
) -> Stimuli:
    """Average the stimulus in the bins of all trials, reading what they need of it once."""
    stimuli, width = Stimuli(), width_of(info)
    for run in _runs(clock, trials, bin_s):
        waiting = list(run)
        under_way: list[BinAverage] = []
        at, stop = run[0].start, max(one.stop for one in run)
        for block in source.blocks(info.name, at, stop, physical=True):
            end = at + len(block)
            while waiting and waiting[0].start < end:
                first = waiting.pop(0)
                under_way.append(BinAverage(first.trial, clock, bin_s, width))
            flat = block.reshape(len(block), width)
            for average in under_way:
                average.add(at, flat)
            at = end
            for average in [one for one in under_way if one.stop <= at]:
                under_way.remove(average)
                stimuli.add(average.trial, average.result())
    return stimuli


@dataclass(frozen=True, slots=True)
class _Span:
    """The samples that a trial needs."""

    trial: Presentation
    start: int
    stop: int


def _runs(clock: Clock, trials: Sequence[Presentation], bin_s: float) -> Iterator[list[_Span]]:
    """Yield trials whose samples lie close together, by start; raises `InvalidInput` for one outside of the stimulus."""
    run: list[_Span] = []
    end = 0
    for trial in trials:
        edges = clock.bin_edges(trial.start_s, trial.bins, bin_s)
        within = np.isfinite(edges[[0, -1]]).all()  # the stimulus may begin beyond all numbers
        start, stop = (int(np.floor(edges[0])), int(np.ceil(edges[-1]))) if within else (0, 0)
        if not 0 <= start < stop <= clock.samples:
            raise InvalidInput(
                f"{trial.name} at {trial.start_s:g} s does not lie in the stimulus, which lasts from {clock.start_s:g} s to "
                f"{clock.stop_s:g} s: leave the trial out, or bring all of the stimulus"
            )
        if run and start > end + _MAX_GAP:
            yield run
            run = []
        end = max(end, stop) if run else stop
        run.append(_Span(trial, start, stop))
    yield run


def _from_arrays(source: Source, *, bin_s: float, stimulus: str | None, warn: Warn) -> Experiment:
    """Read a `.npz` file that holds `stimulus`, `counts` and `bin_s`, and `stimulus_id` if it is wanted."""
    name = "/" + (stimulus or "stimulus").removeprefix("/")
    missing = [wanted for wanted in (name, "/counts", "/bin_s") if wanted not in source.infos]
    if missing:
        raise InvalidInput(
            f"{source.name} has no array {missing[0][1:]!r}: save stimulus (trial, time, channel), counts (trial, time, cell) and "
            "bin_s in seconds with numpy.savez, uncompressed"
        )
    size = sum(source.infos[array].samples * width_of(source.infos[array]) * 8 for array in (name, "/counts"))
    if size > MAX_BYTES:
        raise Exhausted(f"{source.name} makes an experiment of {size} bytes, more than {MAX_BYTES}: bring a part of it")
    width = source.infos["/bin_s"]
    if width.samples * width_of(width) != 1 or native_dtype(width.dtype).kind not in "iuf":
        raise InvalidInput(f"bin_s in {source.name} is not one number: save the width of a bin in seconds")
    held = source.whole("/bin_s").ravel()
    answered = source.infos["/counts"]
    trials = answered.samples if len(answered.shape) == 3 else 1
    if trials > _MAX_TRIALS:
        raise Exhausted(f"{source.name} has {trials} trials, more than {_MAX_TRIALS}: bring a part of them")
    ids = _numbered(source, trials) if "/stimulus_id" in source.infos else None
    return experiment_from_arrays(
        source.whole(name),
        source.whole("/counts"),
        array_bin_s=float(held[0]),
        bin_s=bin_s,
        stimulus_ids=ids,
        warn=warn,
    )


def _numbered(source: Source, trials: int) -> list[str]:
    """Return the ids of the stimuli, one for each trial, of a `.npz` file."""
    info = source.infos["/stimulus_id"]
    if info.shape != (trials,) or native_dtype(info.dtype).kind not in "iuf":
        raise InvalidInput(f"stimulus_id in {source.name} is not one number for each of {trials} trials: save them so")
    numbers = source.whole("/stimulus_id")
    if not np.isfinite(numbers).all():
        raise InvalidInput(f"stimulus_id in {source.name} holds NaN or infinity: give each stimulus a number")
    return [_id(float(number)) for number in numbers]
