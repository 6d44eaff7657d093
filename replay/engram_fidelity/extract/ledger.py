"""The ledger: every query that a student was made from, in order, so that anyone can see what was asked and what for."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from engram_fidelity.experiment import Counts, Stimulus
from engram_fidelity.extract.policies import Policy


@dataclass(frozen=True, slots=True)
class Query:
    """One question to the teacher, and its answer by digest."""

    number: int
    """From 1."""
    policy: Policy
    """Which part of a policy chose it: of `mix`, `random` or `bald`."""
    held_out: bool
    """Whether it was kept from training, to certify with; only random queries are."""
    stimulus: int
    """Its number in the pool."""
    stimulus_sha256: str
    answer_sha256: str
    time: str
    """When it was asked, as the caller's clock says; empty where there is none."""


def digest(array: Stimulus | Counts) -> str:
    """Return the SHA-256 of an array: of its dtype, its shape, and its elements in C order, little-endian."""
    plain = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
    return hashlib.sha256(f"{plain.dtype.str} {plain.shape} ".encode() + plain.tobytes()).hexdigest()


def as_json(ledger: tuple[Query, ...], about: dict[str, Any]) -> bytes:
    """Return the ledger as a JSON document, with what is said `about` it in front."""
    document = {"ledger": 1, **about, "queries": [asdict(query) for query in ledger]}
    return (json.dumps(document, indent=1, ensure_ascii=False) + "\n").encode()
