"""The demonstration's picture: what the retina saw, what it answered, and what its student answers."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from engram_client.demo.retina import BIN_S, Recording
from engram_client.demo.student import score

_INK = "#2b2f36"
_QUIET = "#8a919c"
_RECORD = "#a9b4c4"
_STUDENT = "#d1495b"
_SIZE_IN = (11.0, 8.2)
_DPI = 150
_STIMULUS_HEIGHT = 0.7


def draw_replay(
    rate_hz: NDArray[np.float32],
    held_out: Recording,
    *,
    cells: Sequence[int] = (1, 3, 5),
    start_s: float = 0.5,
    stop_s: float = 4.5,
) -> bytes:
    """Return a PNG of a replay beside the record: the stimulus, and for each of `cells` rasters, rates and prediction.

    `rate_hz` is the student's (time, cell) over the whole held-out stimulus. The picture shows `start_s` up to `stop_s`;
    the correlations in its titles are those of `score`, over all of the stimulus.
    """
    correlation = score(rate_hz, held_out.spikes)
    shown = slice(round(start_s / BIN_S), round(stop_s / BIN_S))
    time_s = (np.arange(shown.start, shown.stop) + 0.5) * BIN_S
    figure = Figure(figsize=_SIZE_IN, layout="constrained", facecolor="white")
    figure.suptitle(
        f"A retina's answer to moving bars, recorded and replayed (mean correlation {correlation.mean():.2f})",
        fontsize=13,
        color=_INK,
    )
    rows = figure.subplots(
        1 + 2 * len(cells), 1, sharex=True, height_ratios=[_STIMULUS_HEIGHT] + [0.75, 1.0] * len(cells)
    )
    _draw_stimulus(rows[0], held_out.stimulus[0, shown], start_s=start_s, stop_s=stop_s)
    for cell, raster, rates in zip(cells, rows[1::2], rows[2::2], strict=True):
        _draw_raster(raster, held_out.spikes[:, shown, cell], time_s)
        raster.set_title(
            f"Cell {cell + 1}: correlation {correlation[cell]:.2f}", loc="left", fontsize=10.5, color=_INK, pad=3
        )
        recorded_hz = held_out.spikes[:, shown, cell].mean(axis=0) / BIN_S
        _draw_rates(rates, time_s, recorded_hz, rate_hz[shown, cell])
    handles, labels = rows[2].get_legend_handles_labels()
    rows[0].legend(
        handles,
        labels,
        loc="lower right",
        bbox_to_anchor=(1.0, 1.0),
        ncols=2,
        frameon=False,
        fontsize=9,
        borderaxespad=0.2,
    )
    rows[-1].set_xlabel("time since the stimulus began (s)", color=_INK)
    figure.align_ylabels(rows)
    sink = io.BytesIO()
    FigureCanvasAgg(figure).print_figure(sink, format="png", dpi=_DPI)
    return sink.getvalue()


def _draw_stimulus(axes: Axes, stimulus: NDArray[np.float32], *, start_s: float, stop_s: float) -> None:
    axes.imshow(
        stimulus.T,
        aspect="auto",
        cmap="gray",
        vmin=0,
        vmax=1,
        interpolation="nearest",
        extent=(start_s, stop_s, stimulus.shape[1], 0),
    )
    axes.set_ylabel("stimulus\n(pixel)", fontsize=9, color=_INK)
    axes.set_yticks([0, stimulus.shape[1]])
    _quieten(axes)


def _draw_raster(axes: Axes, spikes: NDArray[np.float32], time_s: NDArray[np.floating]) -> None:
    repeat, when = np.nonzero(spikes)
    axes.vlines(time_s[when], repeat, repeat + 0.9, color=_INK, linewidth=0.55)
    axes.set_ylim(len(spikes), 0)
    axes.set_yticks([0, len(spikes)])
    axes.set_ylabel("repeat", fontsize=9, color=_INK)
    _quieten(axes)


def _draw_rates(
    axes: Axes, time_s: NDArray[np.floating], recorded_hz: NDArray[np.floating], student_hz: NDArray[np.floating]
) -> None:
    axes.fill_between(time_s, recorded_hz, step="mid", color=_RECORD, linewidth=0, label="retina, mean of the repeats")
    axes.plot(time_s, student_hz, color=_STUDENT, linewidth=1.5, label="student, replayed")
    axes.set_xlim(time_s[0], time_s[-1])
    axes.set_ylim(bottom=0)
    axes.set_ylabel("rate\n(spikes/s)", fontsize=9, color=_INK)
    _quieten(axes)


def _quieten(axes: Axes) -> None:
    """Leave only what is read: left and lower axis, small grey ticks."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(_QUIET)
    axes.tick_params(colors=_QUIET, labelsize=8, length=2.5)
