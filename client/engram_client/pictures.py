"""Pictures of recordings: stacked traces with their unit and scale, and rasters of spike times."""

from __future__ import annotations

import io
import math
import warnings
from collections.abc import Sequence
from typing import Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from numpy.typing import NDArray

from engram_client.envelope import Envelope

_INK: Final = "#2b2f36"
_QUIET: Final = "#8a919c"
_TRACES: Final = ("#22577a", "#38839c")
_WIDTH_IN: Final = 11.0
_DPI: Final = 150
_LONGEST_TEXT: Final = 120
_FARTHEST: Final = 1e300
"""Values further from 0 are drawn there: the height of a picture must still be a number."""
COLUMNS: Final = 1400
"""Columns into which a picture's time is cut, about as many as it has pixels."""
_PREFIXES: Final = ((1.0, ""), (1e-3, "m"), (1e-6, "\N{MICRO SIGN}"), (1e-9, "n"), (1e-12, "p"))


def draw_traces(
    envelope: Envelope,
    times_s: NDArray[np.float64],
    span: tuple[float, float],
    *,
    channels: Sequence[str],
    unit: str,
    title: str,
    subtitle: str,
    axis: str,
) -> bytes:
    """Return a PNG of traces, one above the other, the first on top, with a bar that tells their common scale.

    `times_s` is the place of each column of the envelope on the horizontal `axis`, whose ends are `span`; `unit` is the
    SI's of its values.
    """
    channels, unit = [_line(name) for name in channels], _line(unit)
    count = len(channels)
    figure = _figure(height_in=min(1.9 + 0.42 * count, 14.0) if count > 1 else 4.0)
    axes = figure.subplots()
    low, high = envelope.low, envelope.high
    seen = np.isfinite(low) & np.isfinite(high)
    low, high = (np.clip(np.where(seen, ends, np.nan), -_FARTHEST, _FARTHEST) for ends in (low, high))
    if count == 1:
        factor, symbol = _prefixed(_largest(low, high), unit)
        _draw_trace(axes, times_s, low[:, 0] / factor, high[:, 0] / factor, colour=_TRACES[0], exact=envelope.is_exact)
        axes.set_ylabel(f"{channels[0]} ({symbol})" if symbol else channels[0], color=_INK)
    else:
        middle = _middle(low, high)
        spacing = _spacing(low - middle, high - middle)
        for number in range(count):
            base = -number * spacing - middle[number]
            _draw_trace(
                axes,
                times_s,
                low[:, number] + base,
                high[:, number] + base,
                colour=_TRACES[number % len(_TRACES)],
                exact=envelope.is_exact,
            )
        every = max(1, math.ceil(count / 40))
        axes.set_yticks([-number * spacing for number in range(0, count, every)], list(channels)[::every])
        axes.set_ylim(-(count - 0.25) * spacing, 0.75 * spacing)
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
        _draw_scale(axes, spacing, unit)
    _finish(axes, *span, axis=axis)
    _entitle(axes, title, subtitle)
    return _png(figure)


def draw_raster(
    rows: Sequence[NDArray[np.float64]],
    start_s: float,
    stop_s: float,
    *,
    names: Sequence[str],
    title: str,
    subtitle: str,
) -> bytes:
    """Return a PNG of a raster: for each row, the first on top, a mark at each of its times, in seconds."""
    count = len(rows)
    figure = _figure(height_in=min(1.9 + 0.28 * count, 14.0))
    axes = figure.subplots()
    width = (stop_s - start_s) / (2 * COLUMNS)
    for number, times_s in enumerate(rows):
        shown = times_s[(times_s >= start_s) & (times_s < stop_s)]
        # Marks that fall onto one another are drawn once: a picture has only so many columns.
        places = start_s + np.unique(np.floor((shown - start_s) / width)) * width if width else shown
        axes.vlines(places, number - 0.4, number + 0.4, color=_TRACES[number % len(_TRACES)], linewidth=0.8)
    every = max(1, math.ceil(count / 50))
    axes.set_yticks(range(0, count, every), [_line(name) for name in names][::every])
    axes.set_ylim(count - 0.4, -0.6)
    axes.set_ylabel("row", color=_INK)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    _finish(axes, start_s, stop_s, axis="time (s)")
    _entitle(axes, title, subtitle)
    return _png(figure)


def _draw_trace(
    axes: Axes,
    times_s: NDArray[np.float64],
    low: NDArray[np.float64],
    high: NDArray[np.float64],
    *,
    colour: str,
    exact: bool,
) -> None:
    if exact:
        axes.plot(times_s, low, color=colour, linewidth=0.8, solid_joinstyle="round")
    else:  # between the extremes of a column the trace went everywhere; the edge keeps flat stretches visible
        axes.fill_between(times_s, low, high, facecolor=colour, edgecolor=colour, linewidth=0.5)


def _middle(low: NDArray[np.float64], high: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the median of each trace, and 0 for one that has no values."""
    found = np.zeros(low.shape[1])
    some = np.isfinite(low).any(axis=0)
    if some.any():
        found[some] = np.nanmedian(low[:, some] / 2 + high[:, some] / 2, axis=0)
    return found


def _spacing(low: NDArray[np.float64], high: NDArray[np.float64]) -> float:
    """Return how far apart traces are drawn: most do not touch their neighbours."""
    heights = np.fmax.reduce(high, axis=0) - np.fmin.reduce(low, axis=0)
    heights = heights[np.isfinite(heights)]
    return float(np.percentile(heights, 80)) * 1.05 or 1.0 if len(heights) else 1.0


def _draw_scale(axes: Axes, spacing: float, unit: str) -> None:
    """Draw beside the traces a bar of a round length, and say how much it stands for."""
    length = _round_below(spacing)
    factor, symbol = _prefixed(length, unit)
    place = axes.get_yaxis_transform()
    top = 0.25 * spacing
    axes.plot([1.012, 1.012], [top - length, top], transform=place, color=_INK, linewidth=2, clip_on=False)
    label = f"{length / factor:.6g} {symbol}".strip()
    axes.text(1.02, top - length / 2, label, transform=place, va="center", ha="left", fontsize=9, color=_INK)


def _round_below(value: float) -> float:
    """Return the greatest of 1, 2 or 5 times a power of ten that is not above a value."""
    power = 10.0 ** math.floor(math.log10(value))
    return next(step * power for step in (5.0, 2.0, 1.0) if step * power <= value * (1 + 1e-9))


def _prefixed(value: float, unit: str) -> tuple[float, str]:
    """Return the factor and the symbol of the unit in which a value is best read."""
    if len(unit) > 2 or not unit:
        return 1.0, unit
    factor, prefix = next((item for item in _PREFIXES if abs(value) >= item[0]), _PREFIXES[0])
    return factor, f"{prefix}{unit}"


def _largest(low: NDArray[np.float64], high: NDArray[np.float64]) -> float:
    return float(max(np.fmax.reduce(np.abs(low), axis=None), np.fmax.reduce(np.abs(high), axis=None)))


def _figure(*, height_in: float) -> Figure:
    return Figure(figsize=(_WIDTH_IN, height_in), layout="constrained", facecolor="white")


def _entitle(axes: Axes, title: str, subtitle: str) -> None:
    axes.set_title(_line(title), loc="left", fontsize=12, color=_INK, pad=22)
    axes.text(0, 1, _line(subtitle), transform=axes.transAxes, fontsize=9, color=_QUIET, va="bottom", ha="left").set_y(
        1.0 + 6 / (axes.bbox.height or 1)
    )


def _finish(axes: Axes, start: float, stop: float, *, axis: str) -> None:
    """Leave only what is read: the lower axis, small grey ticks, and no empty borders."""
    axes.set_xlim(start, stop if stop > start else start + 1)
    axes.set_xlabel(axis, color=_INK)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(_QUIET)
    axes.tick_params(colors=_QUIET, labelsize=8)
    for label in axes.get_yticklabels():
        label.set_color(_INK)


def _line(text: str) -> str:
    """Return what a file calls something as one line without control characters, cut where nobody would read on."""
    return "".join(letter if letter.isprintable() else " " for letter in text[:_LONGEST_TEXT])


def _png(figure: Figure) -> bytes:
    for text in figure.findobj(Text):
        if isinstance(text, Text):
            text.set_parse_math(False)  # never as formulas: what a file calls something may hold dollar signs
    sink = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # such as that a font lacks a letter: a box in its place tells as much
        FigureCanvasAgg(figure).print_figure(sink, format="png", dpi=_DPI)
    return sink.getvalue()
