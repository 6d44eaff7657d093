"""Bounds that take long to see: memory at any size, and every byte of a small archive damaged in turn."""

from __future__ import annotations

import hashlib
import subprocess
import sys

import numpy as np
import pytest
from engram_testing import students
from engram_testing.programs import User

PEAK_MB = 400


_PROGRAM = """
import atexit, pathlib, sys
peak = pathlib.Path(sys.argv.pop(1))
atexit.register(lambda: peak.write_text(pathlib.Path("/proc/self/status").read_text()))
from engram_client.cli import main
main()
"""


def peak_mb(user: User, *arguments: str) -> float:
    """Run a command; return the peak memory of its process as it saw it itself (what the kernel tells a parent includes
    the parent's own size)."""
    status = user.home / "status"
    subprocess.run(
        [sys.executable, "-c", _PROGRAM, status, *arguments], env=user.environment, check=True, capture_output=True
    )
    line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) / 1024


def deposit_and_restore(tmp_path, *, megabytes: int, noise: bool = True) -> None:
    user = User(tmp_path, str(tmp_path / "archive"))
    user.runs("init")
    user.runs("vault", "create", "v")
    source, restored = tmp_path / "source", tmp_path / "restored"
    chance, digest = np.random.default_rng(0), hashlib.sha256()
    with source.open("wb") as file:
        for _ in range(megabytes // 10):
            piece = chance.integers(0, 64, 10_000_000, np.uint8).tobytes() if noise else bytes(10_000_000)
            digest.update(piece)
            file.write(piece)
    assert peak_mb(user, "deposit", str(source), "--to", "v/m") < PEAK_MB
    assert peak_mb(user, "restore", "v/m:source", str(restored)) < PEAK_MB
    with restored.open("rb") as file:
        assert hashlib.file_digest(file, "sha256").digest() == digest.digest()


def test_memory_is_bounded(tmp_path):
    deposit_and_restore(tmp_path, megabytes=600)


def test_memory_is_bounded_where_little_becomes_much(tmp_path):
    deposit_and_restore(tmp_path, megabytes=600, noise=False)


def test_memory_is_bounded_where_large_students_are_deposited_and_replayed(tmp_path):
    user = User(tmp_path, str(tmp_path / "archive"))
    user.runs("init")
    user.runs("vault", "create", "v")
    networks = [tmp_path / f"{seed}.onnx" for seed in range(3)]
    for seed, network in enumerate(networks):
        network.write_bytes(students.reservoir(hidden=3300, seed=seed))
        assert network.stat().st_size > 44_000_000
    stimulus = tmp_path / "stimulus.npy"
    np.save(stimulus, np.ones((3, 64), np.float32))
    assert peak_mb(user, "deposit", *map(str, networks), "--to", "v/m") < PEAK_MB
    assert "golden" in user.runs("show", "v/m:0.onnx").out
    replay = ("replay", "v/m:0.onnx", "--stimulus", str(stimulus), "--output", str(tmp_path / "outputs.npz"))
    assert peak_mb(user, *replay) < PEAK_MB


@pytest.mark.nightly
@pytest.mark.timeout(1800)
def test_memory_is_bounded_at_ten_times_the_size(tmp_path):
    deposit_and_restore(tmp_path, megabytes=6000)
