"""What is said of a student's inputs and outputs, whole or in part, and how it stands in an artifact's metadata.

A depositor says what the network cannot; a contract says all. Both have one form in metadata: flat names under `contract.`,
inputs and outputs numbered from 0, so that a tensor's own name, which may hold anything, is a value and never a part of a name.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Self, TypeVar

import numpy as np

from engram_format.catalog import Scalar
from engram_format.errors import InvalidInput

Length = int | str | None
"""An axis as the network declares it: its length, its symbol, or `None` where it is free and has no symbol."""

CONTRACT_PREFIX: Final = "contract."
"""The names in a student's metadata that hold its contract."""
NO_AXIS: Final = -1
"""Said of an axis: there is none."""
MAX_PORTS: Final = 1024
MAX_AXES: Final = 32

_NONE: Final = "none"
_LONGEST_S: Final = 1e12
_DTYPES: Final = (
    "bool",
    "float16",
    "float32",
    "float64",
    *(f"{u}int{bits}" for u in ("", "u") for bits in (8, 16, 32, 64)),
)
_PORT_NAME = re.compile(r"(inputs|outputs)\.(0|[1-9][0-9]{0,3})\.([a-z_]+)")

_EnumT = TypeVar("_EnumT", bound=StrEnum)


class Role(StrEnum):
    """What a tensor is to a replay."""

    STIMULUS = "stimulus"
    """Driven over time."""
    NOISE = "noise"
    """Uniform numbers from 0 up to, and without, 1 that the sampler gives with each step (`noise`)."""
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
class ToldPort:
    """What is said of one input or output; `None` where nothing is."""

    name: str
    """The network's name of it."""
    role: Role | None = None
    dtype: np.dtype[np.generic] | None = None
    shape: tuple[Length, ...] | None = None
    time_axis: int | None = None
    """`NO_AXIS` says that there is none."""
    minds_axis: int | None = None
    """`NO_AXIS` says that there is none."""
    after: str | None = None
    """Of a state: the output whose value it takes after each call."""
    unit: str | None = None
    channels: tuple[str, ...] | None = None
    value: Scalar | None = None
    distribution: Distribution | None = None


@dataclass(frozen=True, slots=True)
class Told:
    """What is said of a student."""

    inputs: tuple[ToldPort, ...] = ()
    outputs: tuple[ToldPort, ...] = ()
    sampling_interval_s: float | None = None
    seed: int | None = None

    def to_metadata(self) -> Mapping[str, Scalar]:
        """Return it as flat metadata, names beginning with `contract.`."""
        told: dict[str, Scalar] = {}
        if self.sampling_interval_s is not None:
            told[f"{CONTRACT_PREFIX}sampling_interval_s"] = self.sampling_interval_s
        if self.seed is not None:
            told[f"{CONTRACT_PREFIX}seed"] = self.seed
        for side, ports in (("inputs", self.inputs), ("outputs", self.outputs)):
            for number, port in enumerate(ports):
                told |= {f"{CONTRACT_PREFIX}{side}.{number}.{key}": value for key, value in _port_values(port).items()}
        return told

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, Scalar]) -> Self | None:
        """Return what metadata say under `contract.`, `None` if nothing; raises `InvalidInput` naming what cannot be."""
        told = {
            name.removeprefix(CONTRACT_PREFIX): value
            for name, value in metadata.items()
            if name.startswith(CONTRACT_PREFIX)
        }
        if not told:
            return None
        sides: dict[str, dict[int, dict[str, Scalar]]] = {"inputs": {}, "outputs": {}}
        interval: float | None = None
        seed: int | None = None
        for name, value in told.items():
            what = f"metadata '{CONTRACT_PREFIX}{name}'"
            if name == "sampling_interval_s":
                interval = read_interval(value, what=what)
            elif name == "seed":
                seed = read_seed(value, what=what)
            elif found := _PORT_NAME.fullmatch(name):
                sides[found[1]].setdefault(int(found[2]), {})[found[3]] = value
            else:
                raise InvalidInput(f"{what} is no part of a contract: take it away")
        return cls(
            inputs=_ports(sides["inputs"], side="inputs"),
            outputs=_ports(sides["outputs"], side="outputs"),
            sampling_interval_s=interval,
            seed=seed,
        )


def read_port(name: str, told: Mapping[str, object], *, what: str) -> ToldPort:
    """Return what is said of one input or output; `what` begins every error.

    Axes are integers or `none`, shapes and channels lists or the JSON of one.
    """
    readers: Mapping[str, Callable[..., object]] = {
        "role": lambda value, what: read_word(Role, value, what=what),
        "dtype": _read_dtype,
        "shape": _read_shape,
        "time_axis": _read_axis,
        "minds_axis": _read_axis,
        "after": _read_text,
        "unit": _read_text,
        "channels": _read_channels,
        "value": _read_value,
        "distribution": lambda value, what: read_word(Distribution, value, what=what),
    }
    if unknown := sorted(told.keys() - readers.keys()):
        raise InvalidInput(f"{what} has the unknown key {unknown[0]!r}: it may have {', '.join(readers)}")
    read = {key: readers[key](value, what=f"{key!r} of {what}") for key, value in told.items()}
    return ToldPort(name, **read)  # type: ignore[arg-type]  # each reader gives its field's type


def read_word(words: type[_EnumT], value: object, *, what: str) -> _EnumT:
    """Return the word of an enumeration."""
    if isinstance(value, str) and value in tuple(words):
        return words(value)
    raise InvalidInput(f"{what} is {_short(value)}: write one of {', '.join(words)}")


def read_interval(value: object, *, what: str) -> float:
    """Return a positive count of seconds."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= _LONGEST_S:
        raise InvalidInput(f"{what} is {_short(value)}: write a number of seconds above 0, up to {_LONGEST_S:g}")
    return float(value)


def read_seed(value: object, *, what: str) -> int:
    """Return a seed."""
    if type(value) is not int or not 0 <= value < 2**63:
        raise InvalidInput(f"{what} is {_short(value)}: write an integer from 0 to 2^63 - 1")
    return value


def _port_values(port: ToldPort) -> dict[str, Scalar]:
    values: dict[str, Scalar | None] = {
        "name": port.name,
        "role": None if port.role is None else port.role.value,
        "dtype": None if port.dtype is None else port.dtype.name,
        "shape": None if port.shape is None else _json(list(port.shape)),
        "time_axis": _NONE if port.time_axis == NO_AXIS else port.time_axis,
        "minds_axis": _NONE if port.minds_axis == NO_AXIS else port.minds_axis,
        "after": port.after,
        "unit": port.unit,
        "channels": None if port.channels is None else _json(list(port.channels)),
        "value": port.value,
        "distribution": None if port.distribution is None else port.distribution.value,
    }
    return {key: value for key, value in values.items() if value is not None}


def _ports(told: Mapping[int, Mapping[str, Scalar]], *, side: str) -> tuple[ToldPort, ...]:
    if sorted(told) != list(range(len(told))) or len(told) > MAX_PORTS:
        raise InvalidInput(
            f"the {side} of a contract are not numbered from 0 on, or more than {MAX_PORTS}: number them"
        )
    ports = []
    for number in range(len(told)):
        what = f"metadata '{CONTRACT_PREFIX}{side}.{number}'"
        values: dict[str, object] = dict(told[number])
        name = values.pop("name", None)
        if not isinstance(name, str):
            raise InvalidInput(
                f"{what} does not say the name of what it is about: set {CONTRACT_PREFIX}{side}.{number}.name"
            )
        for key in ("shape", "channels"):
            if key in values:
                values[key] = _parsed(values[key], what=f"{key!r} of {what}")
        ports.append(read_port(name, values, what=what))
    names = [port.name for port in ports]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise InvalidInput(f"the {side} of a contract name {twice[0]!r} twice: name each once")
    return tuple(ports)


def _json(value: list[Length] | list[str]) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _parsed(value: object, *, what: str) -> object:
    """Read a list from its one JSON form."""
    try:
        read = json.loads(value) if isinstance(value, str) else None
    except (ValueError, RecursionError):
        read = None
    if not isinstance(read, list) or _json(read) != value:
        raise InvalidInput(f"{what} is {_short(value)}: write a list in JSON without blanks")
    return read


def _read_dtype(value: object, *, what: str) -> np.dtype[np.generic]:
    if isinstance(value, str) and value in _DTYPES:
        return np.dtype(value)
    raise InvalidInput(f"{what} is {_short(value)}: write one of {', '.join(_DTYPES)}")


def _read_shape(value: object, *, what: str) -> tuple[Length, ...]:
    if not isinstance(value, list | tuple) or len(value) > MAX_AXES:
        raise InvalidInput(f"{what} is {_short(value)}: write a list of at most {MAX_AXES} lengths, symbols and nulls")
    for length in value:
        if not (length is None or isinstance(length, str) or (type(length) is int and 0 <= length < 2**63)):
            raise InvalidInput(f"{what} holds {_short(length)}: write a length, a symbol or null for each axis")
    return tuple(value)


def _read_axis(value: object, *, what: str) -> int:
    if value is None or value == _NONE:
        return NO_AXIS
    if type(value) is not int or not 0 <= value < MAX_AXES:
        raise InvalidInput(f"{what} is {_short(value)}: write the number of an axis from 0 on, or {_NONE!r}")
    return value


def _read_text(value: object, *, what: str) -> str:
    if not isinstance(value, str):
        raise InvalidInput(f"{what} is {_short(value)}: write a text")
    return value


def _read_channels(value: object, *, what: str) -> tuple[str, ...]:
    if not isinstance(value, list | tuple) or not all(isinstance(name, str) for name in value):
        raise InvalidInput(f"{what} is {_short(value)}: write a list of names")
    return tuple(value)


def _read_value(value: object, *, what: str) -> Scalar:
    if isinstance(value, bool) or (isinstance(value, int) and -(2**63) <= value < 2**63):
        return value
    if isinstance(value, float) and math.isfinite(value):
        return value
    raise InvalidInput(f"{what} is {_short(value)}: write a number, true or false")


def _short(value: object) -> str:
    return f"{value!r:.100}"
