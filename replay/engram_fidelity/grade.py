"""The grade of a certificate: one letter for those who read no numbers, with the reason in words.

A: no discriminator of the panel can tell the student from the network, up to an epsilon that the bets have shown, while the
guard is quiet. B: what the student answers on average is what the network answers. C: neither.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from engram_fidelity.certificate.value import Betting, Graded, Measure

MEAN_AT_LEAST: Final = 0.9
CELL_AT_LEAST: Final = 0.8


@dataclass(frozen=True, slots=True)
class Case:
    """What a grade is given for."""

    cc_norm: Measure | None
    """`None` where the repeats were too few for a ceiling."""
    betting: Betting | None
    epsilon: float
    """What grade A asks for."""
    cells: tuple[str, ...]


def grade(case: Case) -> Graded:
    """Return the letter and the reason."""
    if case.cc_norm is None:
        return Graded("C", "without repeats nobody knows how much of the answer could be told at all")
    certified = _certified(case)
    faithful, why = _mean_faithful(case.cc_norm, case.cells)
    if certified is not None:
        return Graded("A", f"no discriminator of the panel is right in more than {50 + 100 * certified:g} % of pairs")
    if faithful:
        return Graded("B", f"faithful in the mean ({why}), and {_told_apart(case)}")
    return Graded("C", f"{why}, and {_told_apart(case)}")


def _certified(case: Case) -> float | None:
    """Return the least epsilon that was shown, if it is small enough and the guard is quiet."""
    if case.betting is None or not case.betting.quiet:
        return None
    shown = [one.epsilon for one in case.betting.switches if one.reached_at is not None]
    return min((epsilon for epsilon in shown if epsilon <= case.epsilon), default=None)


def _mean_faithful(cc_norm: Measure, cells: tuple[str, ...]) -> tuple[bool, str]:
    mean = cc_norm.mean.value
    if mean is None:
        return False, f"CC_norm is not known: {cc_norm.mean.missing}"
    unknown = [name for name, one in zip(cells, cc_norm.cells, strict=True) if one.value is None]
    if unknown:
        return False, f"CC_norm of {unknown[0]} is not known"
    values = [one.value or 0.0 for one in cc_norm.cells]
    worst = min(range(len(values)), key=values.__getitem__)
    if mean < MEAN_AT_LEAST:
        return False, f"CC_norm is {mean:.3f} on average, below {MEAN_AT_LEAST:g}"
    if values[worst] < CELL_AT_LEAST:
        return False, f"CC_norm of {cells[worst]} is {values[worst]:.3f}, below {CELL_AT_LEAST:g}"
    return True, f"CC_norm {mean:.3f}, at least {values[worst]:.3f} in every cell"


def _told_apart(case: Case) -> str:
    """Say why the student is not graded A."""
    betting = case.betting
    if betting is None:
        return "nothing was bet on whether it can be told apart"
    name, share = max(betting.right.items(), key=lambda item: item[1], default=("", 0.5))
    if not betting.quiet:
        return f"told apart: the {name} discriminator is right in {100 * share:.0f} % of pairs"
    return f"{betting.repeats} repeats were too few to show that it cannot be told apart to epsilon {case.epsilon:g}"
