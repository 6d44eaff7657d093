"""Drawing counts and events from what minds answer, where they are driven by a client.

Numbers only; no runtime is loaded, and none need be installed.
"""

from __future__ import annotations

from collections.abc import Mapping

from engram_client.archive import Minds
from engram_format.catalog import AnyArray
from engram_replay.drawing import check_drawable, draw_minds, is_drawable
from engram_replay.told import Distribution

__all__ = ["check_sampling", "counts_drawn", "drawn_from"]


def check_sampling(minds: Minds, *, seed: int) -> None:
    """Raise `InvalidInput` where nothing can be drawn from what minds will answer, nor for what they take."""
    if minds.sample_seed is None or is_drawable(_distributions(minds)):
        check_drawable(_distributions(minds), seed=seed)


def drawn_from(minds: Minds, outputs: Mapping[str, AnyArray], *, seed: int, first_step: int = 0) -> dict[str, AnyArray]:
    """Return what is drawn from responses (step, mind, ...) of minds, by the names `<response>.drawn`, if anything is.

    Steps are numbered over the minds' whole life: `first_step` is that of the first row, so that a part is drawn as it
    would be in the whole.
    """
    if not is_drawable(_distributions(minds)):
        return {}
    return draw_minds(outputs, _distributions(minds), seed=seed, first_step=first_step)


def _distributions(minds: Minds) -> Mapping[str, Distribution]:
    return {port.name: Distribution(port.distribution) for port in minds.ports if port.role == "response"}


def counts_drawn(expected: AnyArray, *, seed: int, first_step: int = 0) -> AnyArray:
    """Return counts drawn by a Poisson distribution from expected counts (step, mind, cell), as `drawn_from` draws them."""
    (drawn,) = draw_minds({"": expected}, {"": Distribution.RATE}, seed=seed, first_step=first_step).values()
    return drawn
