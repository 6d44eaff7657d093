"""Bounds that take long to see: memory at any size, and every byte of a small archive damaged in turn."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys

import numpy as np
import pytest
from engram_testing.programs import User

PEAK_MB = 400


def peak_mb(user: User, *arguments: str) -> float:
    """Run a command; return the kernel's figure for its peak memory."""
    process = subprocess.Popen(
        [sys.executable, "-m", "engram_client.cli", *arguments],
        env=user.environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    return usage.ru_maxrss / 1024


def deposit_and_restore(tmp_path, *, megabytes: int) -> None:
    user = User(tmp_path, str(tmp_path / "archive"))
    user.runs("init")
    user.runs("vault", "create", "v")
    source, restored = tmp_path / "source", tmp_path / "restored"
    chance, digest = np.random.default_rng(0), hashlib.sha256()
    with source.open("wb") as file:
        for _ in range(megabytes // 10):
            piece = chance.integers(0, 64, 10_000_000, np.uint8).tobytes()
            digest.update(piece)
            file.write(piece)
    assert peak_mb(user, "deposit", str(source), "--to", "v/m") < PEAK_MB
    assert peak_mb(user, "restore", "v/m:source", str(restored)) < PEAK_MB
    with restored.open("rb") as file:
        assert hashlib.file_digest(file, "sha256").digest() == digest.digest()


def test_memory_is_bounded(tmp_path):
    deposit_and_restore(tmp_path, megabytes=600)


@pytest.mark.nightly
@pytest.mark.timeout(1800)
def test_memory_is_bounded_at_ten_times_the_size(tmp_path):
    deposit_and_restore(tmp_path, megabytes=6000)
