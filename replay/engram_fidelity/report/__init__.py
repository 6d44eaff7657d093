"""A certificate for people: pictures, and one page that holds them."""

from engram_fidelity.report.drawing import Report, draw
from engram_fidelity.report.evidence import BetTrace, Evidence

__all__ = ["BetTrace", "Evidence", "Report", "draw"]
