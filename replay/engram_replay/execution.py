"""The execution profile: all that the bits of a replay depend on beside student, stimulus and state."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Self

from engram_format.catalog import Scalar
from engram_format.errors import InvalidInput

PROVIDER: Final = "CPUExecutionProvider"
_MAX_THREADS: Final = 64


class Form(StrEnum):
    """How minds are brought to the runtime; forms give different last digits, and never mix within a session.

    A change that may change a bit of a form gets a new number.
    """

    SOLO = "solo"
    """One student, its weights as the network holds them, minds as rows."""
    STACKED = "stacked-2"
    """Several students of one architecture in one network, their weights stacked, each row multiplied by itself."""
    SHARED = "shared-1"
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
    shared: tuple[str, ...] = ()
    """The weights that the form `shared-1` keeps once for all students, by their places (`stacking.shared_weights`)."""

    def __post_init__(self) -> None:
        if not 1 <= self.threads <= _MAX_THREADS:
            raise InvalidInput(f"a student cannot run on {self.threads} threads: choose 1 to {_MAX_THREADS}")

    def to_fields(self) -> Mapping[str, Scalar]:
        """Return the choices by name."""
        return {
            "form": self.form.value,
            "threads": self.threads,
            "optimisation": self.optimisation.value,
            "prepacking": self.prepacking,
        } | ({"shared": "\n".join(self.shared)} if self.shared else {})

    @classmethod
    def from_fields(cls, fields: Mapping[str, Scalar]) -> Self:
        """Read what `to_fields` returns, missing ones as by default; raises `InvalidInput` for what cannot be."""
        chosen = {**cls().to_fields(), **fields}
        try:
            return cls(
                Form(str(chosen["form"])),
                int(chosen["threads"]),
                Optimisation(str(chosen["optimisation"])),
                bool(chosen["prepacking"]),
                tuple(str(chosen.get("shared", "")).splitlines()),
            )
        except ValueError as error:
            raise InvalidInput(f"there is no such execution profile ({error}): leave it to the default") from error
