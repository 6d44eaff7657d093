"""How the pictures of a report look: two themes, few colours, nothing that is not read.

The colours keep apart for people who see no red or green; pictures are narrow enough to be read on a telephone.
"""

from __future__ import annotations

import io
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from engram_fidelity.extras import need

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Pixels = NDArray[np.uint8]

WIDTH_IN: Final = 6.4
_DPI: Final = 180
_LONGEST_TEXT: Final = 60


@dataclass(frozen=True, slots=True)
class Theme:
    """The colours of a picture."""

    paper: str
    ink: str
    quiet: str
    faint: str
    real: str
    """The network."""
    student: str
    second: str
    """A second kind of test."""
    bad: str
    good: str


LIGHT: Final = Theme(
    paper="#ffffff",
    ink="#20242b",
    quiet="#6b7280",
    faint="#dfe3e8",
    real="#3f4a5a",
    student="#c2541b",
    second="#1f6f9f",
    bad="#a3262f",
    good="#25704a",
)
DARK: Final = Theme(
    paper="#14171c",
    ink="#e8eaed",
    quiet="#9aa3af",
    faint="#333a44",
    real="#b9c2cf",
    student="#f0894a",
    second="#62b5e5",
    bad="#f08088",
    good="#6fcf9a",
)


def figure(height_in: float, theme: Theme) -> Figure:
    """Return an empty figure."""
    found: Figure = need("matplotlib.figure", "certify").Figure(
        figsize=(WIDTH_IN, height_in), layout="constrained", facecolor=theme.paper
    )
    return found


def finish(axes: Axes, theme: Theme, *, title: str = "") -> None:
    """Leave only what is read: two thin axes, small ticks, a title on the left."""
    axes.set_facecolor(theme.paper)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(theme.quiet)
    axes.spines[["left", "bottom"]].set_linewidth(0.7)
    axes.tick_params(colors=theme.quiet, labelsize=7.5, width=0.7, length=3)
    for label in (*axes.get_yticklabels(), *axes.get_xticklabels()):
        label.set_color(theme.ink)
    for label in (axes.xaxis.label, axes.yaxis.label):
        label.set_color(theme.ink)
        label.set_fontsize(8.5)
    if title:
        axes.set_title(line(title), loc="left", fontsize=9.5, color=theme.ink)


def legend(
    axes: Axes, theme: Theme, *, place: str = "best", columns: int = 1, anchor: tuple[float, float] | None = None
) -> None:
    """Name the lines; with an anchor, that corner of the names lies there, in parts of the axes."""
    if not axes.get_legend_handles_labels()[1]:
        return
    names: Any = axes.legend
    names(
        loc=place,
        ncols=columns,
        fontsize=7.5,
        frameon=False,
        labelcolor=theme.ink,
        handlelength=1.4,
        bbox_to_anchor=anchor,
    )


def cell(name: str) -> str:
    """Return what a cell is called where nothing says that it is one."""
    return f"cell {name}" if name.isdigit() else line(name)


def line(text: str) -> str:
    """Return a name from a file as one printable line, not too long."""
    told = "".join(letter if letter.isprintable() else " " for letter in text)
    return told if len(told) <= _LONGEST_TEXT else f"{told[: _LONGEST_TEXT - 1]}\N{HORIZONTAL ELLIPSIS}"


def pixels(drawn: Figure) -> Pixels:
    """Return what a figure looks like, (row, column, RGB)."""
    text = need("matplotlib.text", "certify").Text
    for one in drawn.findobj(text):
        one.set_parse_math(False)  # names of cells may hold dollar signs
    canvas = need("matplotlib.backends.backend_agg", "certify").FigureCanvasAgg(drawn)
    drawn.set_dpi(_DPI)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # such as that a font lacks a letter: a box in its place tells as much
        canvas.draw()
    seen: Pixels = np.asarray(canvas.buffer_rgba(), np.uint8)[:, :, :3]
    return seen


def png(seen: Pixels) -> bytes:
    """Return pixels as PNG, the same bytes for the same pixels."""
    sink = io.BytesIO()
    need("PIL.Image", "certify").fromarray(np.ascontiguousarray(seen)).save(sink, format="PNG")
    return sink.getvalue()
