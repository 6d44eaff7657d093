"""Contracts of students as a client meets them: read from a file before a deposit, and from metadata afterwards.

Values only; no runtime is loaded, and none need be installed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from engram_client.local import local_errors
from engram_format.catalog import Metadata
from engram_format.errors import InvalidInput
from engram_format.ports import MindPort
from engram_replay.contract import Contract, Port
from engram_replay.contract_file import MAX_FILE_BYTES, parse_contract
from engram_replay.told import CONTRACT_PREFIX

__all__ = ["CONTRACT_PREFIX", "Contract", "Port", "contract_in", "contract_metadata", "ports_of", "read_contract_file"]


def read_contract_file(file: Path) -> Metadata:
    """Return what a file says of a student, as metadata; raises `InvalidInput` naming the key that is wrong."""
    with local_errors(file, "read"), file.open("rb") as opened:
        data = opened.read(MAX_FILE_BYTES + 1)
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InvalidInput(f"{file} is no text in UTF-8 ({error}): save it as such") from error
    return parse_contract(text, what=str(file)).to_metadata()


def contract_metadata(contract: Mapping[str, object]) -> Metadata:
    """Return what a contract in the form of a contract file says, as metadata; raises `InvalidInput` as for a file."""
    return parse_contract(json.dumps(dict(contract)), what="the student's contract").to_metadata()


def contract_in(metadata: Metadata) -> Contract | None:
    """Return the whole contract that metadata hold; `None` where they hold none, a part of one, or something else."""
    try:
        return Contract.from_metadata(metadata)
    except InvalidInput:
        return None


def ports_of(contract: Contract) -> tuple[MindPort, ...]:
    """Return the ports of a contract as minds show them."""
    return tuple(
        MindPort(
            port.name,
            port.role.value,
            port.dtype,
            port.step_shape,
            unit=port.unit,
            channels=port.channels,
            distribution=port.distribution.value,
        )
        for port in contract.ports
    )
