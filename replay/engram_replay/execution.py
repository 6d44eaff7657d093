"""The execution profile: all that the bits of a replay depend on beside student, stimulus and state."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

PROVIDER: Final = "CPUExecutionProvider"


class Form(StrEnum):
    """How minds are brought to the runtime; forms give different last digits, and never mix within a session."""

    SOLO = "solo"
    """One student, its weights as the network holds them, minds as rows."""
    STACKED = "stacked"
    """Several students of one architecture in one network, their weights stacked, at least two rows for each."""
    SHARED = "shared"
    """Several students with a common base, which runs once for all; only what differs is stacked."""


class Optimisation(StrEnum):
    """How far the runtime rewrites the network before it runs it."""

    NONE = "none"
    BASIC = "basic"
    EXTENDED = "extended"
    ALL = "all"


@dataclass(frozen=True, slots=True)
class Execution:
    """The part of the profile that a caller chooses; what the machine adds is told by `profile.profile`."""

    form: Form = Form.SOLO
    threads: int = 1
    optimisation: Optimisation = Optimisation.ALL
    prepacking: bool = True
