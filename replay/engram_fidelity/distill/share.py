"""Students that share a base: of a cohort of one architecture, all weights but a few are the base's, bit for bit.

The archive keeps what is the same once, and a replay of the cohort reads it once: what makes sixteen minds cost about one.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from engram_fidelity.distill.basis import Scale
from engram_fidelity.distill.gru import Recurrent
from engram_fidelity.experiment import Experiment
from engram_fidelity.graph import GruWeights, weights_of
from engram_format.errors import InvalidInput

RANK: Final = 4
"""Of the deltas, unless told otherwise."""

_HELD: Final = (
    "scale.mean",
    "scale.factor",
    "inner.weight",
    "inner.bias",
    "memory.input",
    "memory.recurrent",
    "memory.bias",
)


def read_base(network: bytes) -> Recurrent:
    """Read the weights that a student of the tier `default` can give, from its network; its own deltas are not among them.

    Raises `InvalidInput` for any other network.
    """
    held = weights_of(network)
    if missing := [name for name in _HELD if name not in held]:
        raise InvalidInput(
            f"the base holds no weights {missing[0]!r}: name a student that was distilled in the tier default"
        )
    scale = Scale(held["scale.mean"], held["scale.factor"])
    unit = GruWeights(input=held["memory.input"][0], recurrent=held["memory.recurrent"][0], bias=held["memory.bias"][0])
    names = ("input", "recurrent", "input_bias", "recurrent_bias")
    weights = {"inner": held["inner.weight"], "inner_bias": held["inner.bias"]}
    weights |= {name: np.ascontiguousarray(one) for name, one in zip(names, unit.to_torch(), strict=True)}
    return Recurrent(scale, weights)


def check_base(base: Recurrent, experiment: Experiment) -> None:
    """Raise `InvalidInput` where the base takes another stimulus than the experiment has."""
    if (channels := len(base.scale.mean)) != len(experiment.channels):
        raise InvalidInput(
            f"the base takes {channels} channels where the recording has {len(experiment.channels)}: "
            "name a base of the same stimulus"
        )
