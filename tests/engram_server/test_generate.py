"""The generated code is that of the .proto files, and whoever asks is told if it is not."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.fixture(name="contract")
def _contract(tmp_path: Path, pytestconfig: pytest.Config) -> Path:
    return Path(shutil.copytree(pytestconfig.rootpath / "proto", tmp_path / "proto"))


def _run(contract: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, contract / "generate.py", *arguments], capture_output=True, text=True, check=False
    )


def test_the_generated_code_is_up_to_date(contract: Path) -> None:
    assert _run(contract, "--check").returncode == 0


def test_a_changed_contract_and_missing_code_are_named(contract: Path) -> None:
    proto = contract / "engram" / "v1" / "replay.proto"
    proto.write_text(proto.read_text().replace("string author = 4;", "string author = 4;\n    string place = 99;"))
    (contract / "engram" / "v1" / "archive_pb2.pyi").unlink()
    result = _run(contract, "--check")
    assert result.returncode == 1
    assert "(archive_pb2.pyi, replay_pb2.py, replay_pb2.pyi)" in result.stderr
    assert result.stderr.count("\n") == 1
    assert _run(contract).returncode == 0
    assert _run(contract, "--check").returncode == 0
