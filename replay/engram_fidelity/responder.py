"""Whatever answers a stimulus: a student in an archive, an endpoint, a simulated donor, a function."""

from __future__ import annotations

from typing import Protocol

from engram_fidelity.experiment import Counts, Stimulus


class Responder(Protocol):
    """A network that can be asked. What it answers at a bin depends on that bin and those before it, never on later ones."""

    @property
    def channels(self) -> int:
        """How many values one bin of its stimulus has."""
        ...

    @property
    def cells(self) -> int:
        """How many cells answer."""
        ...

    def sample(self, stimulus: Stimulus, *, repeats: int, seed: int) -> Counts:
        """Answer a stimulus (time, channel) freely, `repeats` times from the state of rest: (repeat, time, cell).

        The same seed gives the same answer where the responder is a program; tissue knows no seed.
        """
        ...


class RateResponder(Responder, Protocol):
    """A responder that can also tell what it would answer on average."""

    def expected(self, stimulus: Stimulus, *, seed: int) -> Stimulus:
        """Return the expected count of each cell in each bin, (time, cell), float32.

        Of one whose answer depends on its own spikes, the mean of many free runs that the seed repeats.
        """
        ...
