"""Depositing from memory, through any door."""

from __future__ import annotations

import hashlib

from engram_format.address import Address
from engram_format.catalog import ArtifactSpec


def put(archive, address: Address, data: bytes, **spec) -> Address:
    """Deposit bytes as one artifact; return its address with its version. The same again is the same version."""
    session = hashlib.sha256(str(address).encode() + data + repr(spec).encode()).hexdigest()[:32]
    with archive.open_deposit(address.of(None), session=session) as deposit:
        deposit.begin(ArtifactSpec(path=address.path or "", size=len(data), **spec))
        deposit.write(data)
        deposit.end(sha256=hashlib.sha256(data).hexdigest())
        return deposit.commit(message="", author="a test").address.of(address.path)
