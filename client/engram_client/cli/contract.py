"""What `engram show` tells of a student: its contract and its golden trace."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

import click

from engram_client.cli.output import write_fields, write_table

if TYPE_CHECKING:
    from engram_client.contract import Contract, Port
    from engram_format.catalog import Metadata, Scalar

_CONTRACT: Final = "contract."
_GOLDEN: Final = "golden."
_PROFILE: Final = ("onnxruntime", "provider", "form", "optimisation", "threads")
"""The part of the profile that is written; `--json` has all."""
_MANY: Final = 8
"""More channels than this are counted only."""


def plain_metadata(metadata: Metadata) -> Metadata:
    """Return the metadata without what `write_student` writes in another form."""
    if _contract_in(metadata) is None:
        return metadata
    return {name: value for name, value in metadata.items() if not name.startswith((_CONTRACT, _GOLDEN))}


def write_student(metadata: Metadata) -> None:
    """Write the contract and the golden trace that metadata hold, if they hold a contract."""
    contract = _contract_in(metadata)
    if contract is None:
        return
    click.echo()
    headers = ("TENSOR", "ROLE", "TYPE", "SHAPE", "TIME", "MINDS", "AFTER", "UNIT", "CHANNELS", "MEANS")
    write_table(headers, map(_row, contract.ports))
    fields = [
        *_field("one step", contract.sampling_interval_s, "{:.9g} s"),
        *_field("sampler's seed", contract.seed, "{}"),
        *_golden_fields(metadata),
    ]
    if fields:
        click.echo()
        write_fields(fields)


def _contract_in(metadata: Metadata) -> Contract | None:
    if not any(name.startswith(_CONTRACT) for name in metadata):
        return None
    from engram_client.contract import contract_in

    return contract_in(metadata)


def _row(port: Port) -> tuple[str, ...]:
    shape = " x ".join("?" if length is None else str(length) for length in port.shape) or "1"
    channels = ", ".join(port.channels) if len(port.channels) <= _MANY else f"{len(port.channels)} named"
    return (
        port.name,
        str(port.role),
        port.dtype.name,
        shape,
        _axis(port.time_axis),
        _axis(port.minds_axis),
        port.after or "-",
        port.unit or "-",
        channels or "-",
        _meaning(port),
    )


def _axis(axis: int | None) -> str:
    return "-" if axis is None else f"axis {axis}"


def _meaning(port: Port) -> str:
    if port.role == "constant":
        return "not said" if port.value is None else str(port.value)
    return str(port.distribution) if port.role == "response" else "-"


def _golden_fields(metadata: Metadata) -> Iterable[tuple[str, str]]:
    if absent := metadata.get(f"{_GOLDEN}absent"):
        yield "golden trace", f"none: {absent}"
    if f"{_GOLDEN}outputs.sha256" not in metadata:
        return
    told = {name: metadata.get(f"{_GOLDEN}{name}", "-") for name in ("steps", "minds", "seed", "outputs.sha256")}
    yield "golden trace", f"{told['steps']} steps of {told['minds']} minds, seed {told['seed']}"
    yield "its responses", f"sha256 {told['outputs.sha256']}"
    made_by = {name: metadata.get(f"{_GOLDEN}profile.{name}") for name in _PROFILE}
    yield "made by", ", ".join(f"{name} {value}" for name, value in made_by.items() if value is not None)


def _field(name: str, value: Scalar | None, form: str) -> list[tuple[str, str]]:
    return [] if value is None else [(name, form.format(value))]
