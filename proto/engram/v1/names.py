"""Resource names: addresses as the wire contract writes them (see the head of archive.proto).

| address              | name                                             |
|----------------------|--------------------------------------------------|
| `retina`             | `vaults/retina`                                  |
| `retina/bars`        | `vaults/retina/memories/bars`                    |
| `retina/bars@3`      | `vaults/retina/memories/bars/versions/3`         |
| `retina/bars@3:a/b`  | `vaults/retina/memories/bars/versions/3/artifacts/a/b` |
| `retina/bars:a/b`    | `vaults/retina/memories/bars/artifacts/a/b`      |
| `sha256:0f..`        | `artifacts/sha256:0f..`                          |
"""

from __future__ import annotations

import re

from engram_format.address import Address, AnyAddress, ContentAddress
from engram_format.errors import InvalidInput

_CONTENT_PREFIX = "artifacts/"
_NAME = re.compile(
    r"vaults/(?P<vault>[^/]*)"
    r"(?:/memories/(?P<memory>[^/]*)"
    r"(?:/versions/(?P<version>[1-9][0-9]{0,8}))?"
    r"(?:/artifacts/(?P<path>.*))?)?",
    re.DOTALL,
)


def name_of(address: AnyAddress) -> str:
    """Write an address as a resource name."""
    if isinstance(address, ContentAddress):
        return f"{_CONTENT_PREFIX}{address}"
    name = f"vaults/{address.vault}"
    if address.memory is not None:
        name += f"/memories/{address.memory}"
    if address.version is not None:
        name += f"/versions/{address.version}"
    if address.path is not None:
        name += f"/artifacts/{address.path}"
    return name


def parse_name(name: str) -> Address:
    """Read the name of a vault, a memory, a version or an artifact, as `name_of` writes it, and nothing else."""
    found = _NAME.fullmatch(name)
    if not found:
        raise InvalidInput(
            f"{name!r} is no resource name: write vaults/VAULT[/memories/MEMORY[/versions/NUMBER][/artifacts/PATH]]"
        )
    version = found["version"]
    return Address(
        vault=found["vault"],
        memory=found["memory"],
        version=None if version is None else int(version),
        path=found["path"],
    )


def parse_any_name(name: str) -> AnyAddress:
    """Read the name of an artifact by its content, or any name that `parse_name` reads."""
    if name.startswith(_CONTENT_PREFIX):
        return ContentAddress.parse(name.removeprefix(_CONTENT_PREFIX))
    return parse_name(name)
