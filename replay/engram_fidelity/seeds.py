"""Seeds that follow from a seed: one for each thing that is drawn, so that no two share their randomness."""

from __future__ import annotations

import numpy as np


def derived(*parts: int) -> int:
    """Return a seed, 0 to 2^32 - 1, that follows from whole numbers from 0: a seed, and what tells this use from others."""
    return int(np.random.SeedSequence(parts).generate_state(1)[0])
