"""The picture of a learning curve and of coverage."""

from __future__ import annotations

from typing import TYPE_CHECKING

from engram_fidelity.coverage import Coverage
from engram_fidelity.learning_curve import LearningCurve
from engram_fidelity.report.style import LIGHT, Theme, figure, finish, legend, pixels, png

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def draw_coverage(coverage: Coverage, curve: LearningCurve | None, theme: Theme = LIGHT) -> bytes:
    """Return a PNG: cells of stimulus space visited, and fidelity, both against minutes."""
    drawn = figure(3.0, theme)
    first, *rest = drawn.subplots(1, 1 if curve is None else 2, squeeze=False)[0]
    first.step(coverage.minutes, coverage.visited_after, where="post", color=theme.student, linewidth=1.5)
    first.axhline(coverage.cells, color=theme.quiet, linewidth=0.9, linestyle=(0, (4, 3)))
    first.annotate(
        f"{coverage.cells} cells", (0.99, coverage.cells), xycoords=("axes fraction", "data"), ha="right", va="top",
        xytext=(0, -3), textcoords="offset points", fontsize=7.5, color=theme.quiet,
    )  # fmt: skip
    first.set_ylim(0, coverage.cells * 1.06)
    first.set_xlim(left=0)
    first.set_xlabel("minutes of training")
    first.set_ylabel("cells visited")
    finish(first, theme, title="Stimulus space")
    if curve is not None:
        _draw_curve(rest[0], curve, theme)
    return png(pixels(drawn))


def _draw_curve(axes: Axes, curve: LearningCurve, theme: Theme) -> None:
    longest = max(one.minutes for one in curve.points)
    axes.fill_between(curve.minutes, curve.low, curve.high, color=theme.student, alpha=0.18, linewidth=0)
    known = [minutes for minutes in curve.minutes if minutes <= longest]
    beyond = [minutes for minutes in curve.minutes if minutes >= longest]
    axes.plot(known, [curve.law.at(one) for one in known], color=theme.student, linewidth=1.5, label="fitted")
    axes.plot(
        beyond, [curve.law.at(one) for one in beyond], color=theme.student, linewidth=1.5, linestyle=(0, (2, 1.5)),
        label="extrapolated",
    )  # fmt: skip
    axes.scatter(
        [one.minutes for one in curve.points],
        [one.fidelity for one in curve.points],
        s=16,
        color=theme.real,
        zorder=3,
        label="a fit",
    )
    axes.axhline(curve.need.target, color=theme.good, linewidth=1.0, linestyle=(0, (4, 3)), label="target")
    axes.set_xscale("log")
    shown = [tick for tick in (0.1, 0.3, 1, 3, 10, 30, 100, 300, 1000) if curve.minutes[0] <= tick <= curve.minutes[-1]]
    axes.set_xticks(shown, [f"{tick:g}" for tick in shown])
    axes.set_xticks([], minor=True)
    axes.set_xlabel("minutes of training")
    axes.set_ylabel("CC_norm, bins of 20 ms")
    finish(axes, theme, title="Fidelity of a quick fit")
    legend(axes, theme, place="lower right")
