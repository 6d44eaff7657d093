"""`engram jewel`, `extract` and `transfer` as they are typed."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner
from engram_testing import teachers
from engram_testing.deposits import put

import engram_client
from engram_client.cli import cli
from engram_client.contract import contract_metadata
from engram_client.embedded import create_archive
from engram_client.transfer import deposit_files
from engram_format.address import Address
from engram_format.catalog import Kind
from engram_store.identity import new_identity, save_identity

PLACE = Address("lab", "tissue")
STUDENT, RECORDING = "lab/tissue:student.onnx", "lab/tissue:same.npz"


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    folder = tmp_path_factory.mktemp("archive")
    identity = new_identity()
    save_identity(folder / "identity.txt", identity)
    create_archive(str(folder / "archive"), identity=identity)
    with engram_client.open(str(folder / "archive"), identity=folder / "identity.txt") as opened:
        opened.create_vault("lab")
        for name, seed in (("student.onnx", 1), ("other.onnx", 2)):
            made = teachers.student(seed=seed)
            metadata = contract_metadata(made.contract)
            put(opened, PLACE.of(name), made.network, kind=Kind.STUDENT, metadata=metadata)
        path = folder / "same.npz"
        path.write_bytes(teachers.recording(trials=8))
        deposit_files(opened, [path], to=PLACE, message="", author="a test")
        yield opened


@pytest.fixture
def engram(archive, monkeypatch):
    monkeypatch.setattr(type(archive), "__exit__", lambda *_: None)

    def run(*args, status: int = 0):
        result = CliRunner().invoke(cli, [str(arg) for arg in args], prog_name="engram", obj=lambda _: archive)
        assert result.exit_code == status, result.output
        assert "Traceback" not in result.output
        return result

    return run


def jewel(*more) -> tuple[str, ...]:
    return ("jewel", "run", "--student", STUDENT, "--recording", RECORDING, *more)


def test_a_jewel_is_run_drawn_and_told(engram, archive, tmp_path):
    picture = tmp_path / "course.png"
    ran = engram(*jewel("--eps", "0.2", "--rate-eps", "0.2", "--to", "lab/tissue:jewels/a", "-o", picture))
    assert "LEARNING -> SHADOW" in ran.stderr
    told = dict(line.split("  ", 1) for line in ran.stdout.splitlines())
    assert told["state"].strip() in {"SHADOW", "SWITCHED"}
    assert told["log"].strip().endswith(":jewels/a/run.json")
    assert picture.read_bytes()[:4] == b"\x89PNG"


def test_a_jewel_without_a_place_is_kept_beside_the_student_and_told_as_json(engram):
    told = json.loads(engram(*jewel("--json")).stdout)
    assert told["log"]["address"].split(":")[1].startswith("jewels/2")
    assert told["log"]["metadata"]["jewel.alpha"] == 0.05
    assert [one["metadata"]["jewel.after"] for one in told["transitions"]][:1] == ["SHADOW"]


def test_a_picture_that_is_there_is_not_replaced(engram, tmp_path):
    picture = tmp_path / "course.png"
    picture.write_text("mine")
    engram(*jewel("-o", picture), status=1)
    assert picture.read_text() == "mine"


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (("--to", "lab/tissue"), "is no place for a run"),
        (("--alpha", "1"), "a level of 1"),
        (("--eps", "0.7"), "an eps of 0.7"),
    ],
)
def test_what_a_jewel_cannot_do_is_said_in_one_sentence(engram, more, told):
    said = engram(*jewel(*more), status=1).stderr
    assert told in said
    assert len(said.strip().splitlines()) == 1


EXTRACT = ("extract", "--teacher", STUDENT, "--queries", "40")
TRANSFER = ("transfer", "--from", STUDENT, "--to", "lab/tissue:other.onnx")


@pytest.mark.parametrize(
    ("command", "told"),
    [
        ((*EXTRACT, "--queries", "1000000"), "are more than memory should hold"),
        ((*EXTRACT, "--least", "-inf"), "noise from -inf to 1.0 is none"),
        ((*EXTRACT, "--least=-1e308", "--greatest", "1e308"), "which 32 bits hold"),
        ((*EXTRACT, "--greatest", "1e300"), "which 32 bits hold"),
        ((*TRANSFER, "--stimuli", "1000000"), "are more than memory should hold"),
        ((*TRANSFER, "--least=-1e308", "--greatest", "1e308"), "leave no choice"),
    ],
)
def test_what_memory_or_numbers_do_not_hold_is_refused_before_anything_is_asked(engram, archive, command, told):
    before = archive.version(PLACE).address.version
    said = engram(*command, status=1).stderr
    assert told in said
    assert len(said.strip().splitlines()) == 1
    assert archive.version(PLACE).address.version == before


@pytest.mark.parametrize(
    "command",
    [
        jewel("--seed", 2**63),
        jewel("--draws", 10**9),
        jewel("--attempts", 10**400),
        (*EXTRACT, "--seed", 10**30),
        (*EXTRACT, "--queries", 10**9),
        (*TRANSFER, "--seed", 10**30),
        (*TRANSFER, "--rounds", 10**9),
        (*TRANSFER, "--held-out", 10**9),
    ],
)
def test_a_number_out_of_all_measure_is_a_mistake_of_the_command_line(engram, command):
    assert "is not in the range" in engram(*command, status=2).stderr


@pytest.mark.parametrize("asked", [(), ("--recording", RECORDING)])
def test_a_student_is_extracted_with_its_ledger(engram, asked):
    ran = engram("extract", "--teacher", STUDENT, "--queries", 40, "--to", "lab/tissue:students/made.onnx", *asked)
    assert "40 of 40 queries" in ran.stderr
    assert "lab/tissue@" in ran.stdout
    assert ":students/made.ledger.json" in ran.stdout
    shown = engram("show", "lab/tissue:students/made.onnx").stdout
    assert "extract.policy" in shown
    assert "mix" in shown


def test_a_transfer_tells_before_and_after(engram):
    given = ("--stimuli", 12, "--held-out", 6, "--rounds", 1, "--json")
    told = json.loads(engram("transfer", "--from", STUDENT, "--to", "lab/tissue:other.onnx", *given).stdout)
    metadata = told["report"]["metadata"]
    assert metadata["transfer.after.kl_bits_per_spike"] < metadata["transfer.before.kl_bits_per_spike"]
    assert told["report"]["address"].split(":")[1].startswith("transfers/2")


@pytest.mark.parametrize(
    "command",
    [
        ("jewel", "run", "--student", STUDENT, "--recording", "endpoint://rig-1"),
        ("extract", "--teacher", "endpoint:rig-1"),
        ("transfer", "--from", STUDENT, "--to", "endpoint://rig-1"),
    ],
)
def test_an_endpoint_is_refused_in_one_sentence(engram, command):
    said = engram(*command, status=1).stderr
    assert "is an endpoint, and this archive drives none" in said
    assert len(said.strip().splitlines()) == 1


def test_students_of_other_cells_are_not_transferred_between(engram, archive):
    from engram_testing import students

    put(archive, PLACE.of("gru.onnx"), students.gru(hidden=16), kind=Kind.STUDENT)
    said = engram("transfer", "--from", STUDENT, "--to", "lab/tissue:gru.onnx", "--bin", "5ms", status=1).stderr
    assert "4 cells and the second 64" in said
