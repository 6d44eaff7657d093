"""`engram certify` and `engram coverage`, as a user sees them."""

from __future__ import annotations

import json

import numpy as np
import pytest
from click.testing import CliRunner
from engram_testing.certified_students import Memoryless, as_npz, experiment, told
from engram_testing.deposits import put
from engram_testing.students import self_exciting

import engram_client
from engram_client.cli import cli
from engram_client.embedded import create_archive
from engram_client.transfer import deposit_files
from engram_format.address import Address
from engram_format.catalog import Kind
from engram_store.identity import new_identity, save_identity

NETWORK = Memoryless()
STUDENT, RECORDING = "lab/bars:students/a.onnx", "lab/bars:recorded.npz"
PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    folder = tmp_path_factory.mktemp("archive")
    identity = new_identity()
    save_identity(folder / "identity.txt", identity)
    create_archive(str(folder / "archive"), identity=identity)
    with engram_client.open(str(folder / "archive"), identity=folder / "identity.txt") as opened:
        opened.create_vault("lab")
        recorded = experiment(NETWORK, repeats=12)
        (folder / "recorded.npz").write_bytes(as_npz(recorded))
        allowed = {"consent.duo": "GRU", "consent.model_training": True}
        deposit_files(
            opened, [folder / "recorded.npz"], to=Address("lab", "bars"), kind=Kind.RECORDING, metadata=allowed
        )
        for name, network in (("a", NETWORK), ("b", Memoryless(wrong=0.6))):
            place = Address.parse(f"lab/bars:students/{name}.onnx")
            put(opened, place, network.network(), kind=Kind.STUDENT, metadata=told(recorded))
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


def certificates(archive) -> int:
    return sum(one.kind is Kind.CERTIFICATE for one in archive.artifacts(Address("lab", "bars")))


def test_a_certificate_is_printed_kept_and_written(engram, archive, tmp_path):
    out = tmp_path / "report"
    shown = engram("certify", STUDENT, "--against", RECORDING, "--seed", 3, "-o", out).stdout
    lines = shown.splitlines()
    assert lines[0].split()[:3] == ["CELL", "CC_norm", "CC_max"]
    assert lines[4].startswith("mean")
    assert any(line.startswith("grade ") for line in lines)
    assert "bins of 20 ms" in shown
    assert {path.name for path in out.iterdir()} >= {
        "certificate.html",
        "certificate.png",
        "certificate.json",
        "rates.png",
    }
    kept = next(line.split()[1] for line in lines if line.startswith("kept"))
    assert b"".join(archive.read(Address.parse(kept))) == (out / "certificate.json").read_bytes()
    checked = engram("certify", "--check", kept).stdout
    assert checked.startswith("equal")


def test_a_student_that_draws_its_own_spikes_is_certified_and_checked_without_a_seed_in_its_contract(
    engram, archive, tmp_path
):
    recorded = experiment(NETWORK, repeats=2)
    network, contract = tmp_path / "noisy.onnx", tmp_path / "noisy.toml"
    network.write_bytes(self_exciting(channels=len(recorded.channels), cells=len(recorded.cells), with_rate=True))
    contract.write_text(
        'sampling_interval_s = 0.005\n[inputs.noise]\nrole = "noise"\n[inputs.trace]\nafter = "trace_out"\n'
        '[outputs.spikes]\ndistribution = "bernoulli"\n[outputs.hazard]\ndistribution = "rate"\n'
    )
    engram("deposit", network, "--contract", contract, "--to", "lab/noisy")
    shown = engram("certify", "lab/noisy:noisy.onnx", "--against", RECORDING)
    assert "certifying: reading the recording" in shown.stderr
    kept = next(line.split()[1] for line in shown.stdout.splitlines() if line.startswith("kept"))
    assert engram("certify", "--check", kept).stdout.startswith("equal")
    assert archive.artifact(Address.parse(kept)).time_ns > 0


def test_one_file_is_written_by_its_ending_and_never_over_another(engram, archive, tmp_path):
    page, picture = tmp_path / "report.html", tmp_path / "report.png"
    told = json.loads(engram("certify", STUDENT, "--against", RECORDING, "-o", page, "--json").stdout)
    assert page.read_text().startswith("<!doctype html>")
    assert told["certificate"]["form"] == "engram-certificate-1"
    assert told["kept"]["kind"] == "certificate"
    assert told["written"] == [str(page)]
    before = certificates(archive)
    picture.write_bytes(b"mine")
    refused = engram("certify", STUDENT, "--against", RECORDING, "-o", picture, status=1)
    assert "exists" in refused.stderr
    engram("certify", STUDENT, "--against", RECORDING, "-o", tmp_path / "report.pdf", status=1)
    assert picture.read_bytes() == b"mine"
    assert certificates(archive) == before
    engram("certify", STUDENT, "--against", RECORDING, "-o", picture, "--force", "--to", "lab/other:mine.json")
    assert picture.read_bytes().startswith(PNG)
    assert archive.artifact(Address.parse("lab/other:mine.json")).kind is Kind.CERTIFICATE


def test_a_forged_certificate_fails_with_what_differs(engram, archive):
    written = json.loads(
        engram("certify", STUDENT, "--against", RECORDING, "--to", "lab/forged:true.json", "--json").stdout
    )
    forged = written["certificate"]
    forged["data"]["repeats"] = 99
    artifact = archive.artifact(Address.parse("lab/forged:true.json"))
    put(
        archive,
        Address.parse("lab/forged:forged.json"),
        json.dumps(forged).encode(),
        kind=Kind.CERTIFICATE,
        metadata=dict(artifact.metadata),
        made_from=artifact.made_from,
    )
    claimed = engram("show", "lab/forged:forged.json").stdout
    assert "by whoever deposited it; computed again by: engram certify --check lab/forged@" in claimed
    shown = engram("certify", "--check", "lab/forged:forged.json", status=1).stdout
    assert shown.startswith("differs")
    assert "was 99, is 12" in shown
    told = json.loads(engram("certify", "--check", "lab/forged:forged.json", "--json", status=1).stdout)
    assert [one["name"] for one in told["differences"]] == ["data.repeats"]


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        ((STUDENT,), 2, "--against RECORDING"),
        ((STUDENT, "--check", "--against", RECORDING), 2, "nothing but its address"),
        ((STUDENT, "--against", "lab/bars:nothing.npz"), 1, "nothing.npz"),
        ((STUDENT, "--against", STUDENT), 1, "is a student, no recording"),
        ((STUDENT, "--against", RECORDING, "--bin", "10"), 1, "takes a step every 0.005 s"),
        ((STUDENT, "--against", RECORDING, "--bin", "10ms"), 1, "takes a step every 0.005 s"),
        ((STUDENT, "--against", RECORDING, "--bin", "-1"), 2, "is no duration"),
        ((RECORDING, "--against", RECORDING), 1, "is a recording, no student"),
        ((STUDENT, "--check"), 1, "is a student, no certificate"),
        ((STUDENT, "--against", RECORDING, "--stimulus", "17"), 1, "no stimulus '17'"),
        ((STUDENT, "--against", RECORDING, "--to", "lab/bars@1:x.json"), 1, "no place for a certificate"),
        ((STUDENT, "--against", RECORDING, "--to", "lab/bars:x.txt"), 1, "ends in .json"),
    ],
)
def test_what_cannot_be_is_refused_in_one_sentence_and_nothing_is_kept(engram, archive, arguments, status, said):
    before = certificates(archive)
    result = engram("certify", *arguments, status=status)
    assert said in result.stderr
    assert certificates(archive) == before


def test_a_recording_in_which_nobody_fired_is_refused(engram, archive, tmp_path):
    file = tmp_path / "silent.npz"
    silent = experiment(NETWORK, repeats=2, training=1)
    file.write_bytes(as_npz(silent))
    with np.load(file) as arrays:
        held = dict(arrays)
    held["counts"] = np.zeros_like(held["counts"])
    np.savez(file, **held)
    deposit_files(archive, [file], to=Address("lab", "silent"), kind=Kind.RECORDING)
    result = engram("certify", STUDENT, "--against", "lab/silent:silent.npz", status=1)
    assert "no cell fired" in result.stderr


def test_coverage_is_told_and_drawn(engram, tmp_path):
    picture = tmp_path / "coverage.png"
    shown = engram("coverage", RECORDING, "--target", 0.5, "-o", picture).stdout
    assert "cells visited" in shown
    assert "quick students" in shown
    assert "target" in shown
    assert picture.read_bytes().startswith(PNG)
    told = json.loads(
        engram("coverage", RECORDING, "--student", STUDENT, "--student", "lab/bars:students/b.onnx", "--json").stdout
    )
    assert told["between"] == "2 students"
    assert told["disagreement"]["mean"] > 0.01
    assert told["curve"]["need"]["target"] == 0.9
    assert told["told"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--target", "1"), "between 0 and 1"),
        (("--student", STUDENT), "at least two"),
        (("-o", "coverage.jpg"), "end in .png"),
    ],
)
def test_coverage_refuses_what_cannot_be(engram, arguments, said):
    assert said in engram("coverage", RECORDING, *arguments, status=1).stderr
