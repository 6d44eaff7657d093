"""What `engram deposit --contract` takes, and what `engram show` then tells of a student."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from click.testing import CliRunner
from engram_testing import students

import engram_client
from engram_client.cli import cli
from engram_client.embedded import create_archive
from engram_format.address import Address
from engram_store.identity import new_identity, save_identity

SILERO = Path(__file__).parent.parent / "data" / "onnx_real" / "silero_vad_16k_op15.onnx"
CONTRACT = {
    "sampling_interval_s": 0.032,
    "seed": 7,
    "inputs": {"input": {"shape": ["batch", 576], "unit": "1"}, "sr": {"value": 16000}},
    "outputs": {"output": {"distribution": "bernoulli", "channels": ["speech\x1b[31m"]}},
}


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    folder = tmp_path_factory.mktemp("archive")
    identity = new_identity()
    save_identity(folder / "identity.txt", identity)
    create_archive(str(folder / "archive"), identity=identity)
    with engram_client.open(str(folder / "archive"), identity=folder / "identity.txt") as opened:
        opened.create_vault("lab")
        yield opened


@pytest.fixture
def engram(archive, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setattr(type(archive), "__exit__", lambda *_: None)

    def run(*args, status: int = 0):
        result = CliRunner().invoke(cli, [str(arg) for arg in args], prog_name="engram", obj=lambda _: archive)
        assert result.exit_code == status, result.output
        assert "Traceback" not in result.output
        return result

    return run


@pytest.fixture
def contract_file(tmp_path):
    file = tmp_path / "contract.json"
    file.write_text(json.dumps(CONTRACT))
    return file


def test_a_contract_is_deposited_and_shown(engram, contract_file):
    engram("deposit", SILERO, "--to", "lab/silero", "--contract", contract_file)
    shown = engram("show", f"lab/silero:{SILERO.name}").stdout
    rows = [line.split() for line in shown.splitlines()]
    assert ["TENSOR", "ROLE", "TYPE", "SHAPE", "TIME", "MINDS", "AFTER", "UNIT", "CHANNELS", "MEANS"] in rows
    assert ["sr", "constant", "int64", "1", "-", "-", "-", "-", "-", "16000"] in rows
    assert [
        "state",
        "state",
        "float32",
        "2",
        "x",
        "batch",
        "x",
        "128",
        "-",
        "axis",
        "1",
        "stateN",
        "-",
        "-",
        "-",
    ] in rows
    assert any(row[:2] == ["output", "response"] and row[-1] == "bernoulli" for row in rows)
    assert "0.032 s" in shown
    assert "steps of 2 minds, seed 1" in shown
    assert "contract.inputs" not in shown
    assert "\x1b" not in shown
    told = json.loads(engram("show", f"lab/silero:{SILERO.name}", "--json").stdout)
    assert told["metadata"]["contract.seed"] == 7


def test_a_student_without_a_trace_says_why(engram):
    result = engram("deposit", SILERO, "--to", "lab/untold")
    assert f"{SILERO.name} has no golden trace: " in result.stderr
    assert "'sr'" in result.stderr
    assert "golden trace  none: " in " ".join(engram("show", f"lab/untold:{SILERO.name}").stdout.split(" "))


def test_a_part_of_a_contract_is_shown_as_it_stands(engram, tmp_path):
    file = tmp_path / "notes.txt"
    file.write_text("x")
    engram("deposit", file, "--to", "lab/notes", "--meta", "contract.number=7")
    assert "contract.number" in engram("show", "lab/notes:notes.txt").stdout


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "contract.json is no JSON"),
        ('{"inputs": {"sr": {"valu": 1}}}', "'sr' in 'inputs' of .*contract.json has the unknown key 'valu'"),
        (
            '{"inputs": {"SR": {"value": 1}}}',
            "the contract speaks of 'SR', and the inputs of the student are 'input', 'state', 'sr'",
        ),
        ('{"inputs": {"sr": {"value": 0.5}}}', "constant 'sr' has the value 0.5"),
    ],
)
def test_a_contract_that_cannot_be_is_refused_in_one_sentence(engram, archive, tmp_path, text, message):
    file = tmp_path / "contract.json"
    file.write_text(text)
    result = engram("deposit", SILERO, "--to", "lab/wrong", "--contract", file, status=1)
    (sentence,) = [line for line in result.stderr.splitlines() if line.startswith("engram: ")]
    assert re.search(message, sentence)
    assert Address("lab", "wrong") not in [memory.address for memory in archive.memories("lab")]


def test_a_contract_is_of_one_student(engram, contract_file, tmp_path):
    other = tmp_path / "gru.onnx"
    other.write_bytes(students.gru(hidden=4))
    for args in ([SILERO, other], [tmp_path], [SILERO, "--kind", "file"]):
        result = engram("deposit", *args, "--to", "lab/two", "--contract", contract_file, status=1)
        assert "deposit its file alone with --contract" in result.stderr
    result = engram(
        "deposit", other, "--to", "lab/two", "--contract", contract_file, "--meta", "contract.seed=1", status=1
    )
    assert "'contract.seed' is part of a contract" in result.stderr
    engram("deposit", other, "--to", "lab/two", "--contract", tmp_path / "missing.json", status=1)


def test_usage_of_a_replay_names_the_command_that_was_typed():
    for arguments in (["lab/m:x.onnx", "--bogus"], ["lab/m:x.onnx"], ["--help"]):
        told = CliRunner().invoke(cli, ["replay", *arguments], prog_name="engram").output
        assert "Usage: engram replay [OPTIONS] ADDRESS" in told
        assert "replay run" not in told
