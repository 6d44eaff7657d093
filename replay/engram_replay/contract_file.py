"""The file in which a depositor says of a student what its network cannot: JSON or TOML.

    {
      "sampling_interval_s": 0.032,
      "inputs": {"sr": {"value": 16000}, "input": {"unit": "V"}},
      "outputs": {"output": {"distribution": "bernoulli", "channels": ["speech"]}}
    }

Inputs and outputs go by the network's names; the keys are those of `told.ToldPort`, and each may be left out. An axis that is
not there is `null`, or `"none"` where a TOML file has no such value.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from typing import Final, NoReturn

from engram_format.errors import InvalidInput
from engram_replay.told import MAX_PORTS, Told, ToldPort, read_interval, read_port, read_seed

MAX_FILE_BYTES: Final = 1 << 20


def parse_contract(text: str, *, what: str) -> Told:
    """Read a contract file; `what` names it in errors, which are `InvalidInput` and name the key that is wrong."""
    if len(text) > MAX_FILE_BYTES:
        raise InvalidInput(f"{what} has {len(text)} characters; a contract file has at most {MAX_FILE_BYTES}")
    told = _parsed(text, what=what)
    if unknown := sorted(told.keys() - {"sampling_interval_s", "seed", "inputs", "outputs"}):
        raise InvalidInput(
            f"{what} has the unknown key {unknown[0]!r}: it may have sampling_interval_s, seed, inputs and outputs"
        )
    interval, seed = told.get("sampling_interval_s"), told.get("seed")
    return Told(
        inputs=_ports(told, "inputs", what=what),
        outputs=_ports(told, "outputs", what=what),
        sampling_interval_s=None
        if interval is None
        else read_interval(interval, what=f"'sampling_interval_s' of {what}"),
        seed=None if seed is None else read_seed(seed, what=f"'seed' of {what}"),
    )


def _parsed(text: str, *, what: str) -> Mapping[str, object]:
    """Read the text as what it looks like: JSON begins with a brace."""
    form = "JSON" if text.lstrip().startswith("{") else "TOML"
    try:
        told: object = (
            json.loads(text, object_pairs_hook=lambda pairs: _each_once(pairs, what=what), parse_constant=_refused)
            if form == "JSON"
            else tomllib.loads(text)
        )
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"{what} is no {form} ({error}): mend it") from error
    if not isinstance(told, dict):
        raise InvalidInput(f"{what} is no {form} object: write one")
    return told


def _each_once(pairs: list[tuple[str, object]], *, what: str) -> dict[str, object]:
    found: dict[str, object] = {}
    for key, value in pairs:
        if key in found:
            raise InvalidInput(f"{what} has the key {key!r} twice: write it once")
        found[key] = value
    return found


def _refused(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number")


def _ports(told: Mapping[str, object], side: str, *, what: str) -> tuple[ToldPort, ...]:
    ports = told.get(side, {})
    if not isinstance(ports, dict) or len(ports) > MAX_PORTS:
        raise InvalidInput(
            f"{side!r} of {what} is no map of at most {MAX_PORTS} names: write one object for each tensor"
        )
    read = []
    for name, port in ports.items():
        if not isinstance(port, dict):
            raise InvalidInput(f"{name!r} in {side!r} of {what} is no object: write what is to be said of it in one")
        read.append(read_port(name, port, what=f"{name!r} in {side!r} of {what}"))
    return tuple(read)
