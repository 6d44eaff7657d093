"""The demonstration's recording as one NWB file, made from the two MATLAB files that were published.

Run as `python -m engram_client.demo.retina_nwb [FILE]`; needs pynwb and scipy. What the sources do not say is not made up but
said to be unknown, and what was put together here is described as such: the time line above all, for the sources hold
segments and repeats, and not when they were shown.

The same versions of pynwb, hdmf, h5py and zlib write the same bytes; the tests compare content.
"""

from __future__ import annotations

import importlib
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final, cast

import numpy as np
from numpy.typing import NDArray

from engram_client.demo.retina import CELLS, PIXELS, RETINA_BARS_NWB, RETINA_FILES

if TYPE_CHECKING:
    import pynwb

RAW_HZ: Final = 600
"""Bins of the published files in one second."""
FRAME_HZ: Final = 60
"""Frames of the stimulus in one second."""
STIMULUS: Final = "bars"
"""The name of the stimulus series."""
REPEATED: Final = "repeated"
"""The stimulus id of the trials that show one stimulus again and again; the others are `segment-00` to `segment-49`."""

_RAW_IN_FRAME: Final = RAW_HZ // FRAME_HZ
_TICK_HZ: Final = 2048
"""Spike times lie on this grid, which has three points or four in every bin of 1/600 s: such numbers take little room."""
_NAMESPACE: Final = uuid.UUID("b6b0c1d4-5f0e-5c0d-9f5b-0c4f2f0b8a11")
_START: Final = datetime(1970, 1, 1, tzinfo=UTC)

_SESSION: Final = (
    "Six ganglion cells of a retina on a multi-electrode array watch moving bars: 50 segments of 36 s, each with a stimulus "
    "of its own, then 54 repeats of one stimulus of 6.667 s. The time line is a reconstruction: the published files hold "
    "segments and repeats without the times at which they were shown, and here they follow one another without a pause. "
    "The start time is a placeholder, for the date is not published with the files."
)
_SPIKES: Final = (
    "Spikes as published are counts in bins of 1/600 s. The times here lie inside these bins, near the middle, and say no "
    "more than the bins do: counting them in bins of 1/600 s of a trial gives the published counts."
)
_PUBLICATION: Final = (
    "Mahuas, Isacchini, Marre, Ferrari and Mora, A new inference approach for training shallow and deep generalized linear "
    "models of noisy interacting neurons, NeurIPS 2020"
)


@dataclass(frozen=True, slots=True, eq=False)
class Published:
    """What the two files hold, in bins of 1/600 s, with trials in the order of the file's time line."""

    stimulus: tuple[NDArray[np.uint8], ...]
    """Of each trial, (time, pixel), 0 or 1."""
    spikes: tuple[NDArray[np.uint8], ...]
    """Of each trial, (time, cell)."""
    stimulus_ids: tuple[str, ...]
    repeats: tuple[int, ...]


def load_published() -> Published:
    """Read both MATLAB files whole."""
    import scipy.io

    once, again = (cast("dict[str, NDArray[np.uint8]]", scipy.io.loadmat(file)) for file in RETINA_FILES[:2])
    segments = once["stimulus"][:, 0].transpose(2, 1, 0)
    repeated = again["stimulus_test"][:, 0].transpose(1, 0)
    answers = [*once["spikes_train"].transpose(2, 1, 0), *again["spikes_test"].transpose(2, 1, 0)]
    repeats = again["spikes_test"].shape[2]
    return Published(
        stimulus=(*segments, *[repeated] * repeats),
        spikes=tuple(answers),
        stimulus_ids=(*(f"segment-{number:02}" for number in range(len(segments))), *[REPEATED] * repeats),
        repeats=(*[0] * len(segments), *range(repeats)),
    )


def write_nwb(file: Path) -> None:
    """Write the recording to `file`, in place of what is there."""
    import pynwb

    with _counted_ids():
        content = _content(load_published())
        with pynwb.NWBHDF5IO(file, "w") as sink:
            sink.write(content)


def _content(published: Published) -> pynwb.NWBFile:
    import pynwb

    content = pynwb.NWBFile(
        session_description=_SESSION,
        identifier="engram-demo-retina-bars",
        session_start_time=_START,
        file_create_date=_START,
        session_id="retina-bars",
        experiment_description=(
            "Made by engram_client.demo.retina_nwb from nonrepeat_data_bars.mat and test_data_bars.mat of "
            "github.com/gmahuas/2stepGLM, commit 7478ad3 (MIT licence)."
        ),
        keywords=["retina", "ganglion cells", "multi-electrode array", "moving bars"],
        related_publications=[_PUBLICATION],
        notes="Sex and age of the animal are not published with the files.",
        subject=pynwb.file.Subject(
            subject_id="retina-bars",
            sex="U",
            description="The retina of one animal; the published files say nothing more of it.",
        ),
    )
    frames = np.concatenate([_frames(stimulus) for stimulus in published.stimulus])
    content.add_stimulus(
        pynwb.TimeSeries(
            name=STIMULUS,
            data=_packed(frames, chunks=(8192, PIXELS)),
            unit="brightness",
            rate=float(FRAME_HZ),
            starting_time=0.0,
            continuity="step",
            description=f"Brightness of {PIXELS} pixels in a row, 0 dark and 1 bright, in each frame of 1/60 s. "
            "The time line is a reconstruction, see the session's description.",
        )
    )
    _add_trials(content, published)
    _add_units(content, np.concatenate(published.spikes))
    return content


def _frames(stimulus: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the frames of a stimulus in bins of 1/600 s, each of which lasts ten bins."""
    grouped = stimulus.reshape(-1, _RAW_IN_FRAME, PIXELS)
    if not (grouped == grouped[:, :1]).all():
        raise ValueError("the stimulus changes within a frame of 1/60 s: the published files are not those meant here")
    return grouped[:, 0]


def _add_trials(content: pynwb.NWBFile, published: Published) -> None:
    content.add_trial_column("stimulus_id", "Which stimulus was shown; trials with one id saw the same.")
    content.add_trial_column("repeat", "Which showing of its stimulus the trial is, from 0.")
    ends = np.cumsum([len(spikes) for spikes in published.spikes])
    for end, spikes, stimulus_id, repeat in zip(
        ends.tolist(), published.spikes, published.stimulus_ids, published.repeats, strict=True
    ):
        content.add_trial(
            start_time=(end - len(spikes)) / RAW_HZ, stop_time=end / RAW_HZ, stimulus_id=stimulus_id, repeat=repeat
        )


def _add_units(content: pynwb.NWBFile, spikes: NDArray[np.uint8]) -> None:
    """Add the units with their spike times; `spikes` is (time, cell) over the whole time line."""
    import pynwb

    times = [spike_times(spikes[:, cell]) for cell in range(CELLS)]
    values = pynwb.core.VectorData(
        name="spike_times",
        description=_SPIKES,
        data=_packed(np.concatenate(times), chunks=(16384,)),
    )
    index = pynwb.core.VectorIndex(
        name="spike_times_index", data=np.cumsum([len(one) for one in times]).astype(np.uint32), target=values
    )
    content.units = pynwb.misc.Units(
        name="units",
        description="Sorted ganglion cells, in the order of the published files.",
        columns=[values, index],
        colnames=["spike_times"],
        id=list(range(CELLS)),
    )


def spike_times(counts: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Return times in seconds, rising, for counts of at most two in bins of 1/600 s from time 0 on.

    A single spike lies at the point of the grid that is nearest to the middle of its bin, two at those nearest to 0.4 ms
    before and after it; no time comes nearer to an edge than 0.18 ms.
    """
    if counts.max(initial=0) > 2:
        raise ValueError("a bin of 1/600 s holds more than two spikes: the published files are not those meant here")
    single, double = (np.flatnonzero(counts == count) for count in (1, 2))
    middles = np.concatenate([(single + 0.5) / RAW_HZ, *((double + 0.5) / RAW_HZ + away for away in (-4e-4, 4e-4))])
    ticks = np.round(middles * _TICK_HZ)
    ticks.sort()
    return ticks / _TICK_HZ


def _packed(data: NDArray[np.generic], *, chunks: tuple[int, ...]) -> object:
    import pynwb

    return pynwb.H5DataIO(data, compression="gzip", compression_opts=9, shuffle=data.dtype.itemsize > 1, chunks=chunks)


@contextmanager
def _counted_ids() -> Iterator[None]:
    """Let objects of an NWB file have ids that count up, in place of random ones, while the block lasts."""
    names = vars(importlib.import_module("hdmf.container"))
    before, numbers = names["uuid4"], iter(range(sys.maxsize))
    names["uuid4"] = lambda: uuid.uuid5(_NAMESPACE, str(next(numbers)))
    try:
        yield
    finally:
        names["uuid4"] = before


if __name__ == "__main__":
    write_nwb(Path(sys.argv[1]) if len(sys.argv) > 1 else RETINA_BARS_NWB)
