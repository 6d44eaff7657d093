"""The jewel: a student beside a living network, learning until nobody can tell them apart, and taking its place then."""

from engram_fidelity.jewel.learner import Calibrated, Calibration, Learner, Lesson
from engram_fidelity.jewel.panel import Classifier, Discriminator, default_panel
from engram_fidelity.jewel.runner import Rules, Run, Transition, run
from engram_fidelity.jewel.source import Presentation, Replayed, living, recorded
from engram_fidelity.jewel.states import Event, Machine, State

__all__ = [
    "Calibrated",
    "Calibration",
    "Classifier",
    "Discriminator",
    "Event",
    "Learner",
    "Lesson",
    "Machine",
    "Presentation",
    "Replayed",
    "Rules",
    "Run",
    "State",
    "Transition",
    "default_panel",
    "living",
    "recorded",
    "run",
]
