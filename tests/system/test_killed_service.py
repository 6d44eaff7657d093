"""A service that is killed in the middle of a deposit: a new one goes on, exactly, and stores nothing twice."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
from engram_testing.programs import User

import engram_client
from engram_format.address import Address
from engram_format.catalog import ArtifactSpec
from engram_format.errors import EngramError

SIZE = 200_000_000
MEMORY = Address("rig", "night")
SESSION = "a1" * 16
PIECE = 1 << 20


def size_of(archive: Path) -> int:
    """Add up what is stored; a killed writer may leave the name under which it was writing, which is no object."""
    stored = [path for path in archive.rglob("*") if path.is_file() and ".tmp" not in path.relative_to(archive).parts]
    return sum(path.stat().st_size for path in stored)


def send(deposit, data: bytes, *, start: int, stop: int) -> None:
    for at in range(start, stop, PIECE):
        deposit.write(data[at : min(at + PIECE, stop)])


def test_a_killed_service_loses_nothing_that_it_acknowledged(tmp_path):
    data = np.random.default_rng(7).bytes(SIZE)
    user = User(tmp_path, str(tmp_path / "archive"))
    user.runs("init")
    user.runs("vault", "create", "rig")
    with user.service() as first, engram_client.open(first.url) as archive:
        deposit = archive.open_deposit(MEMORY, session=SESSION)
        assert deposit.begin(ArtifactSpec(path="recording", size=SIZE)) == 0
        send(deposit, data, start=0, stop=150_000_000)
        first.kill()
        with pytest.raises(EngramError):
            send(deposit, data, start=150_000_000, stop=SIZE)
            deposit.end(sha256=hashlib.sha256(data).hexdigest())
        deposit.close()
    with user.service() as second, engram_client.open(second.url) as archive:
        with archive.open_deposit(MEMORY, session=SESSION) as deposit:
            start = deposit.begin(ArtifactSpec(path="recording", size=SIZE))
            assert 50_000_000 < start <= 150_000_000
            send(deposit, data, start=start, stop=SIZE)
            deposit.end(sha256=hashlib.sha256(data).hexdigest())
            version = deposit.commit(message="a night", author="rig")
        assert version.address == MEMORY.at(1)
        digest = hashlib.sha256()
        for piece in archive.read(version.address.of("recording")):
            digest.update(piece)
        assert digest.digest() == hashlib.sha256(data).digest()
        assert all(finding.result == "sound" for finding in archive.verify())
    # Random bytes do not compress: parity (1/15), padding of the last pack and little else may be added, and no second copy.
    assert size_of(tmp_path / "archive") < 1.12 * SIZE
