"""The pictures of a report, each drawn into a figure or a part of one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from engram_fidelity.certificate.value import Certificate, Estimate
from engram_fidelity.report.evidence import BetTrace, Evidence
from engram_fidelity.report.style import LIGHT, Pixels, Theme, figure, finish, legend, line, pixels
from engram_fidelity.report.style import cell as named

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import FigureBase

F64 = NDArray[np.float64]

_MOST_CELLS: Final = 12
"""So many cells are drawn each by itself: those that fired most."""
_LONGEST_S: Final = 10.0
_MOST_REPEATS: Final = 60


@dataclass(frozen=True, slots=True)
class Picture:
    """One picture and what it shows."""

    name: str
    title: str
    says: str
    """A sentence for those who do not see it, and for those who read it the first time."""
    height_in: Callable[[Certificate], float]
    draw: Callable[[FigureBase, Certificate, Evidence, Theme], None]

    def pixels(self, certificate: Certificate, evidence: Evidence, theme: Theme = LIGHT) -> Pixels:
        """Draw it."""
        drawn = figure(self.height_in(certificate), theme)
        self.draw(drawn, certificate, evidence, theme)
        return pixels(drawn)


def head(certificate: Certificate, theme: Theme = LIGHT) -> Pixels:
    """Draw the grade, the student and the reason, to stand above the pictures."""
    drawn = figure(0.9, theme)
    grade = certificate.grade
    drawn.text(
        0.02, 0.5, grade.letter, fontsize=34, weight="bold", color=grade_colour(grade.letter, theme), va="center"
    )
    drawn.text(0.12, 0.66, line(certificate.student.address), fontsize=10, color=theme.ink, va="center")
    drawn.text(0.12, 0.3, _folded(grade.reason), fontsize=8, color=theme.quiet, va="center")
    return pixels(drawn)


def grade_colour(letter: str, theme: Theme) -> str:
    """Return the colour of a grade."""
    return {"A": theme.good, "B": theme.second}.get(letter, theme.bad)


def _folded(text: str, *, width: int = 96) -> str:
    lines, current = [], ""
    for word in text.split():
        if current and len(current) + 1 + len(word) > width:
            lines.append(current)
            current = word
        else:
            current = f"{current} {word}".strip()
    return "\n".join([*lines, current])


def _shown_cells(evidence: Evidence) -> list[int]:
    fired = evidence.real.sum(axis=(0, 1), dtype=np.int64)
    return sorted(np.argsort(-fired, kind="stable")[:_MOST_CELLS].tolist())


def _count(certificate: Certificate) -> int:
    return min(len(certificate.data.cells), _MOST_CELLS)


def _rates(values: F64, *, bins: int, bin_s: float) -> F64:
    """Return (..., time) in wider bins, in spikes per second."""
    wide = values.shape[-1] // bins
    return np.asarray(values[..., : wide * bins].reshape(*values.shape[:-1], wide, bins).mean(axis=-1) / bin_s)


def _draw_rates(place: FigureBase, certificate: Certificate, evidence: Evidence, theme: Theme) -> None:
    cells, settings = _shown_cells(evidence), certificate.settings
    bins = max(1, round(settings.coarse_s / settings.bin_s))
    last = min(evidence.real.shape[1], round(_LONGEST_S / settings.bin_s))
    rows = _axes(place, len(cells), 1, sharex=True)
    for axes, cell in zip(rows[:, 0], cells, strict=True):
        real = _rates(evidence.real[:, :last, cell].astype(np.float64), bins=bins, bin_s=settings.bin_s)
        told = _rates(evidence.expected[:last, cell], bins=bins, bin_s=settings.bin_s)
        times = (np.arange(len(told)) + 0.5) * bins * settings.bin_s
        mean = real.mean(axis=0)
        if len(real) > 1:
            error = 1.96 * real.std(axis=0, ddof=1) / np.sqrt(len(real))
            axes.fill_between(
                times, np.maximum(mean - error, 0), mean + error, color=theme.real, alpha=0.3, linewidth=0
            )
        axes.plot(times, mean, color=theme.real, linewidth=0.9, label="network")
        axes.plot(times, told, color=theme.student, linewidth=1.0, label="student")
        for joint in evidence.joints:
            if joint < last:
                axes.axvline(joint * settings.bin_s, color=theme.faint, linewidth=0.8)
        axes.set_xlim(0, max(float(times[-1]), 1e-9))
        axes.set_ylim(bottom=0)
        axes.yaxis.get_major_locator().set_params(nbins=3)
        finish(axes, theme)
        axes.set_ylabel(named(certificate.data.cells[cell])[:12], rotation=0, ha="right", va="center")
    legend(rows[0, 0], theme, place="lower right", columns=2, anchor=(1.0, 0.95))
    rows[0, 0].set_title(
        "Rates, spikes/s: mean of the repeats with its 95 % band", loc="left", fontsize=9.5, color=theme.ink
    )
    rows[-1, 0].set_xlabel("scored time (s)")


def _draw_raster(place: FigureBase, certificate: Certificate, evidence: Evidence, theme: Theme) -> None:
    cell = int(evidence.real.sum(axis=(0, 1), dtype=np.int64).argmax())
    settings = certificate.settings
    last = min(evidence.real.shape[1], round(_LONGEST_S / settings.bin_s))
    (row,) = _axes(place, 1, 2, sharex=True, sharey=True)
    for axes, counts, name, colour in zip(
        row,
        (evidence.real, evidence.drawn),
        ("network", "student, free-running"),
        (theme.real, theme.student),
        strict=True,
    ):
        shown = counts[:_MOST_REPEATS, :last, cell]
        repeats, bins = np.nonzero(shown)
        axes.scatter(bins * settings.bin_s, repeats + 1, s=1.1, marker="|", color=colour, linewidths=0.7)
        axes.set_ylim(len(shown) + 0.9, 0.1)
        axes.set_xlim(0, last * settings.bin_s)
        axes.set_xlabel("scored time (s)")
        finish(axes, theme, title=f"{named(certificate.data.cells[cell])[:16]}: {name}")
    row[0].set_ylabel("repeat")


def _draw_cells(place: FigureBase, certificate: Certificate, evidence: Evidence, theme: Theme) -> None:
    norm, top, absolute = (_maybe(certificate, name) for name in ("cc_norm", "cc_max", "cc_abs"))
    ((axes,),) = _axes(place, 1, 1)
    cells = _shown_cells(evidence)
    places = np.arange(len(cells), dtype=np.float64)
    if norm is not None:
        for limit in (0.8, 0.9):
            axes.axhline(limit, color=theme.faint, linewidth=0.9, zorder=0)
        _intervals(axes, places - 0.14, [norm[cell] for cell in cells], theme.student, "CC_norm")
    if absolute is not None:
        _intervals(axes, places + 0.14, [absolute[cell] for cell in cells], theme.second, "CC_abs")
    if top is not None:
        values = [top[cell].value for cell in cells]
        known = [(spot, value) for spot, value in zip(places, values, strict=True) if value is not None]
        for number, (spot, value) in enumerate(known):
            label = "CC_max: the ceiling of CC_abs" if number == 0 else None
            axes.hlines(value, spot - 0.3, spot + 0.3, color=theme.real, linewidth=1.6, label=label)
    axes.set_xticks(places, [named(certificate.data.cells[cell])[:10] for cell in cells])
    low, high = axes.get_ylim()
    axes.set_ylim(min(low, 0.68), min(max(high, 1.02), 1.3))
    width = certificate.settings.coarse_s * 1e3
    finish(axes, theme, title=f"Correlation with the repeats, bins of {width:g} ms, 95 % intervals")
    # Below the cells: inside, the names would lie on the points of a cell that is badly met.
    legend(axes, theme, place="upper center", columns=3, anchor=(0.5, -0.1))


def _intervals(axes: Axes, places: F64, told: list[Estimate], colour: str, label: str) -> None:
    known = [(spot, one) for spot, one in zip(places, told, strict=True) if one.value is not None]
    if not known:
        return
    spots = [spot for spot, _ in known]
    values = np.array([one.value for _, one in known], np.float64)
    ends = np.array(
        [(one.value if one.low is None else one.low, one.value if one.high is None else one.high) for _, one in known]
    )
    below, above = np.maximum(values - ends[:, 0].astype(float), 0), np.maximum(ends[:, 1].astype(float) - values, 0)
    axes.errorbar(spots, values, yerr=(below, above), fmt="o", ms=4.5, color=colour, elinewidth=1.3, label=label)


def _draw_statistics(place: FigureBase, certificate: Certificate, evidence: Evidence, theme: Theme) -> None:
    ((one, two, three),) = _axes(place, 1, 3)
    _draw_calibration(one, evidence, certificate.settings.bin_s, theme)
    _draw_intervals_between_spikes(two, evidence, certificate.settings.bin_s, theme)
    real, drawn = (_maybe(certificate, name) for name in ("fano.real", "fano.student"))
    if real is not None and drawn is not None:
        cells = _shown_cells(evidence)
        for spot, cell in enumerate(cells):
            ends = [known[cell].value for known in (real, drawn)]
            if None not in ends:
                three.plot([spot, spot], ends, color=theme.faint, linewidth=2, zorder=0)
        for known, colour, label in ((real, theme.real, "network"), (drawn, theme.student, "student")):
            values = [np.nan if known[cell].value is None else known[cell].value for cell in cells]
            three.plot(range(len(cells)), values, "o", ms=4.5, color=colour, label=label)
        three.set_xticks(range(len(cells)), [str(cell) for cell in cells])
        three.set_xlabel("cell")
        three.set_ylim(bottom=0)
        legend(three, theme)
    finish(three, theme, title=f"Fano factor, {certificate.settings.window_s * 1e3:g} ms")


def _draw_calibration(axes: Axes, evidence: Evidence, bin_s: float, theme: Theme) -> None:
    told = evidence.expected.ravel() / bin_s
    seen = evidence.real.mean(axis=0, dtype=np.float64).ravel() / bin_s
    order = np.argsort(told, kind="stable")
    groups = [group for group in np.array_split(order, 20) if len(group)]
    x = np.array([told[group].mean() for group in groups])
    y = np.array([seen[group].mean() for group in groups])
    highest = max(float(x.max()), float(y.max()), 1e-9) * 1.05
    axes.plot([0, highest], [0, highest], color=theme.quiet, linewidth=0.8, linestyle=(0, (4, 3)))
    axes.plot(x, y, "o-", ms=3.5, color=theme.student, linewidth=0.9)
    axes.set_xlim(0, highest)
    axes.set_ylim(0, highest)
    axes.set_xlabel("student says (spikes/s)")
    axes.set_ylabel("network fires (spikes/s)")
    finish(axes, theme, title="Calibration")


def _draw_intervals_between_spikes(axes: Axes, evidence: Evidence, bin_s: float, theme: Theme) -> None:
    most = max(4, round(0.15 / bin_s))
    for counts, colour, label in ((evidence.real, theme.real, "network"), (evidence.drawn, theme.student, "student")):
        found = between_spikes(counts, most=most)
        share = found / max(found.sum(), 1)
        axes.step(np.arange(most) * bin_s * 1e3, share, where="mid", color=colour, linewidth=1.2, label=label)
    axes.set_xlabel("to the next spike (ms)")
    axes.set_ylabel("share")
    axes.set_ylim(bottom=0)
    finish(axes, theme, title="Intervals")
    legend(axes, theme)


def between_spikes(counts: NDArray[np.uint8], *, most: int) -> F64:
    """Count the intervals between one spike and the next by their length in bins, (length,) up to `most`, over all cells."""
    found = np.zeros(most)
    trains = np.moveaxis(counts, 1, -1).reshape(-1, counts.shape[1])
    found[0] = np.maximum(trains.astype(np.int64) - 1, 0).sum()
    for train in trains:
        gaps = np.diff(np.flatnonzero(train))
        found += np.bincount(gaps[gaps < most], minlength=most)
    return found


def _draw_bets(place: FigureBase, certificate: Certificate, evidence: Evidence, theme: Theme) -> None:
    ((one, two),) = _axes(place, 1, 2, sharey=True)
    limit = -np.log10(certificate.settings.alpha)
    shown = [(one, evidence.bets, "Student against network"), (two, evidence.control, "Network against itself")]
    for axes, trace, title in shown:
        axes.axhline(limit, color=theme.quiet, linewidth=0.9, linestyle=(0, (4, 3)))
        if trace is None:
            axes.text(0.5, 0.4, "too few repeats", transform=axes.transAxes, ha="center", color=theme.quiet, fontsize=8)
        else:
            _draw_trace(axes, trace, certificate.settings.epsilon, theme)
        axes.set_xlabel("repeats bet on")
        finish(axes, theme, title=title)
    one.set_ylabel("evidence, log10 e")
    # What is far below nothing is as good as nothing: the line of decision is to be seen.
    low, high = one.get_ylim()
    one.set_ylim(max(low, -6), min(max(high, 3), 14))
    one.annotate(
        "decided",
        (0.99, limit),
        xycoords=("axes fraction", "data"),
        ha="right",
        va="bottom",
        fontsize=7,
        color=theme.quiet,
    )
    legend(two if evidence.control is not None else one, theme, place="lower left")


def _draw_trace(axes: Axes, trace: BetTrace, epsilon: float, theme: Theme) -> None:
    repeats = np.arange(1, len(trace.guard) + 1)
    axes.plot(repeats, np.clip(trace.guard, -40, 40), color=theme.bad, linewidth=1.3, label="guard: they differ")
    for value, grown in sorted(trace.switches.items()):
        if value == epsilon:
            label = f"switch: alike to {value:g}"
            axes.plot(repeats, np.clip(grown, -40, 40), color=theme.good, linewidth=1.3, label=label)


def _maybe(certificate: Certificate, name: str) -> tuple[Estimate, ...] | None:
    try:
        return certificate.measure(name).cells
    except KeyError:
        return None


def _axes(place: FigureBase, rows: int, columns: int, **shared: bool) -> Any:  # noqa: ANN401 - numpy's array of objects
    subplots: Any = place.subplots
    return subplots(rows, columns, squeeze=False, **shared)


PICTURES: Final = (
    Picture(
        "rates",
        "What it answers on average",
        "For each cell the rate of the network, averaged over the repeats, and what the student expects.",
        lambda certificate: 0.9 + 0.72 * _count(certificate),
        _draw_rates,
    ),
    Picture(
        "cells",
        "How well that fits, cell by cell",
        "CC_norm is the correlation with what the stimulus explains at all; 1 is the ceiling.",
        lambda _: 2.8,
        _draw_cells,
    ),
    Picture(
        "raster",
        "What it answers each time",
        "Spikes of the cell that fired most: each row is one repeat, of the network and of the student running freely.",
        lambda _: 2.6,
        _draw_raster,
    ),
    Picture(
        "statistics",
        "How it fires",
        "Whether it says the right rates, the intervals between spikes, and how much counts vary from repeat to repeat.",
        lambda _: 2.4,
        _draw_statistics,
    ),
    Picture(
        "bets",
        "Whether it can be told apart",
        "A discriminator that has learned from earlier repeats bets on each later one; above the broken line it is decided.",
        lambda _: 2.5,
        _draw_bets,
    ),
)
"""In the order in which they are read."""
