"""The contract of a student: what each input and output means, which axes are time and minds, and how responses are drawn.

A network names tensors; the contract says which are stimulus, state, constant and response, pairs states by name and never
by order, and gives the units and channels that the network cannot. It is kept in the student's metadata under `contract.`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import numpy as np

from engram_format.catalog import Scalar

Length = int | str | None
"""An axis as the network declares it: its length, its symbol, or `None` where it is free and has no symbol."""

CONTRACT_PREFIX: Final = "contract."
"""The names in a student's metadata that hold its contract."""


class Role(StrEnum):
    """What a tensor is to a replay."""

    STIMULUS = "stimulus"
    """Driven over time."""
    CONSTANT = "constant"
    """One value for a whole replay, such as a sampling rate."""
    STATE = "state"
    """Handed on from step to step; an output of the same contract replaces it."""
    RESPONSE = "response"
    """What the student answers."""


class Distribution(StrEnum):
    """What the values of a response are parameters of."""

    CONTINUOUS = "continuous"
    """The values themselves are the response."""
    RATE = "rate"
    """Expected counts for each step, of a Poisson distribution."""
    BERNOULLI = "bernoulli"
    """The probability of an event in each step."""


@dataclass(frozen=True, slots=True)
class Port:
    """One input or response of a student, or one state with its pair."""

    name: str
    """The network's name of it; of a state the name of the input."""
    role: Role
    dtype: np.dtype[np.generic]
    shape: tuple[Length, ...]
    time_axis: int | None = None
    """The axis along which one call takes several steps; `None` where a call takes one step."""
    minds_axis: int | None = None
    """The axis along which one call takes several minds; `None` where a call takes one mind."""
    after: str = ""
    """Of a state: the output whose value it takes after each call."""
    unit: str = ""
    channels: tuple[str, ...] = ()
    """Names of the last axis's entries; empty where they have none."""
    value: Scalar | None = None
    """Of a constant: the value that it has unless a replay gives another."""
    distribution: Distribution = Distribution.CONTINUOUS

    @property
    def step_shape(self) -> tuple[Length, ...]:
        """What one mind takes or gives in one step: the shape without the axes of time and of minds."""
        return tuple(
            length for axis, length in enumerate(self.shape) if axis not in (self.time_axis, self.minds_axis)
        )


@dataclass(frozen=True, slots=True)
class Contract:
    """What a student takes and gives.

    Arrays that cross its border are laid out as (step, mind, *step_shape), whatever the order of axes in the network; states
    as (mind, *step_shape), constants as scalars.
    """

    ports: tuple[Port, ...]
    """Stimuli, constants, states and responses, each role in the order of the network."""
    sampling_interval_s: float | None = None
    """The time between two steps, in seconds; `None` where nobody said."""
    seed: int | None = None
    """The seed of the sampler that draws events from the responses; `None` where none are drawn."""

    def of(self, role: Role) -> tuple[Port, ...]:
        """Return the ports of one role."""
        return tuple(port for port in self.ports if port.role is role)

    @property
    def stimuli(self) -> tuple[Port, ...]:
        """What is driven over time."""
        return self.of(Role.STIMULUS)

    @property
    def constants(self) -> tuple[Port, ...]:
        """What is given once."""
        return self.of(Role.CONSTANT)

    @property
    def states(self) -> tuple[Port, ...]:
        """What is handed on."""
        return self.of(Role.STATE)

    @property
    def responses(self) -> tuple[Port, ...]:
        """What the student answers."""
        return self.of(Role.RESPONSE)

    @property
    def takes_minds(self) -> bool:
        """Whether one call may take several minds: every stimulus and every state has an axis for them."""
        return all(port.minds_axis is not None for port in (*self.stimuli, *self.states, *self.responses))

    @property
    def takes_steps(self) -> bool:
        """Whether one call may take several steps: every stimulus and every response has an axis for them."""
        return all(port.time_axis is not None for port in (*self.stimuli, *self.responses))

    def to_metadata(self) -> Mapping[str, Scalar]:
        """Return the contract as flat metadata, names beginning with `contract.`."""
        raise NotImplementedError

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, Scalar]) -> Contract | None:
        """Return the contract that metadata hold, or `None` if they hold none; raises `InvalidInput` for one that cannot be."""
        raise NotImplementedError
