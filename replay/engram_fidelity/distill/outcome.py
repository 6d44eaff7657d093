"""What distilling gives: a network, what it says of its inputs and outputs, and how it was made."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from engram_fidelity.experiment import Experiment
from engram_format.catalog import Scalar

_MOST_TEXT: Final = 20_000
_MORE: Final = re.compile(r"\.\.\. and [0-9]+ more")


@dataclass(frozen=True, slots=True)
class Distilled:
    """A student as it is deposited."""

    network: bytes
    """ONNX, opset 17: inputs `stimulus` (minds, channel) and states, outputs `rate` (minds, cell) in expected counts per bin
    and the states after the bin; the same training gives the same bytes on one machine."""
    contract: Mapping[str, object]
    """The contract in the form of a contract file (SPEC.md section 9.5)."""
    metadata: Mapping[str, Scalar]
    """How it was made, under `distill.`."""


def rate_contract(
    experiment: Experiment, *, states: Iterable[str] = ("state",), distribution: str = "rate"
) -> dict[str, object]:
    """Return the contract of a student of this experiment, in the form of a contract file.

    It takes one bin of all channels a step and answers the expected count of each cell in that bin. Each of `states` is an
    input whose next value is the output of the same name with `_out` behind it, and has the axis of minds in front.
    """
    return {
        "sampling_interval_s": experiment.bin_s,
        "inputs": {
            "stimulus": {
                "role": "stimulus",
                "minds_axis": 0,
                "channels": list(experiment.channels),
                **({"unit": experiment.unit} if experiment.unit else {}),
            },
            **{state: {"role": "state", "after": f"{state}_out", "minds_axis": 0} for state in states},
        },
        "outputs": {
            "rate": {
                "role": "response",
                "minds_axis": 0,
                "unit": "count/bin",
                "channels": list(experiment.cells),
                "distribution": distribution,
            }
        },
    }


def as_text(ids: Iterable[str]) -> str:
    """Return ids of stimuli as they stand in metadata: a JSON list, of very many the first and how many more there are."""
    every = list(ids)
    told, size = every, sum(map(len, every))
    if size > _MOST_TEXT:
        share = _MOST_TEXT * len(every) // size
        told = [*every[:share], f"... and {len(every) - share} more"]
    return json.dumps(told, ensure_ascii=False, separators=(",", ":"))


def more_of(told: str) -> bool:
    """Tell whether the last text of a list that `as_text` wrote says that there are more."""
    return _MORE.fullmatch(told) is not None
