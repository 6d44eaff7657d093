"""A picture of a jewel's run: e-values over pairs, with the thresholds and the transitions."""

from __future__ import annotations

import io
from typing import Final

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from engram_fidelity.jewel import Run

_INK: Final = "#2b2f36"
_QUIET: Final = "#8a919c"
_JUDGES: Final = ("#22577a", "#38a3a5", "#b08900", "#6a4c93")
_GUARD: Final = "#c1121f"
_RANGE: Final = (-6.0, 8.0)
"""Powers of ten that are shown; what lies beyond is drawn at the edge."""


def draw_course(run: Run, *, title: str) -> bytes:
    """Return a PNG: above, the switch e-value of each judge; below, the guard's; over the pairs seen."""
    figure = Figure(figsize=(9.0, 5.4), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
    pairs, powers = run.course[:, 0], np.clip(run.course[:, 1:] / np.log(10), *_RANGE)
    for number, name in enumerate(run.judges):
        above.plot(pairs, powers[:, 2 + number], color=_JUDGES[number % len(_JUDGES)], lw=1.4, label=name)
    below.plot(pairs, powers[:, 0], color=_GUARD, lw=1.4, label="guard")
    above.axhline(np.log10(run.rules.attempts / run.rules.alpha), color=_QUIET, lw=0.9, ls="--")
    below.axhline(np.log10(1 / run.rules.alpha), color=_QUIET, lw=0.9, ls="--")
    for change in run.transitions:
        for axes in (above, below):
            axes.axvline(change.pair, color=_QUIET, lw=0.8)
        place = above.get_xaxis_transform()
        above.text(
            change.pair, 1.01 + 0.05 * (change.number % 2), str(change.after), transform=place, fontsize=7, color=_INK
        )
    for axes, limit, what in (
        (above, np.log10(run.rules.attempts / run.rules.alpha), "a judge agrees"),
        (below, np.log10(1 / run.rules.alpha), "the guard takes back"),
    ):
        place = axes.get_yaxis_transform()
        axes.text(0.06, limit, what, transform=place, ha="left", va="bottom", fontsize=7, color=_QUIET)
    above.set_ylabel("log10 of switch e-values", color=_INK)
    below.set_ylabel("log10 of the guard", color=_INK)
    below.set_xlabel("pairs of windows", color=_INK)
    for axes in (above, below):
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(colors=_INK, labelsize=8)
        if len(pairs):
            axes.legend(frameon=False, fontsize=8, loc="best")
    figure.suptitle(title[:110], fontsize=10, color=_INK, parse_math=False)
    data = io.BytesIO()
    figure.savefig(data, format="png", metadata={"Software": None})
    return data.getvalue()
