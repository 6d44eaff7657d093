"""`engram distill` as a user meets it."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from engram_testing.experiments import small_experiment

import engram_client
from engram_client.cli import cli
from engram_client.cli.durations import BinWidth, Duration
from engram_client.embedded import create_archive
from engram_client.transfer import deposit_files
from engram_format.address import Address
from engram_format.catalog import Kind
from engram_store.identity import new_identity, save_identity

PLACE = Address("lab", "small")
CONSENT = {"consent.duo": "GRU", "consent.model_training": True}


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    folder = tmp_path_factory.mktemp("archive")
    identity = new_identity()
    save_identity(folder / "identity.txt", identity)
    create_archive(str(folder / "archive"), identity=identity)
    experiment = small_experiment(once=8, repeats=0)
    np.savez(
        folder / "small.npz",
        stimulus=np.stack([trials.stimulus for trials in experiment.trials]),
        counts=np.concatenate([trials.counts for trials in experiment.trials]),
        bin_s=0.005,
    )
    with engram_client.open(str(folder / "archive"), identity=folder / "identity.txt") as opened:
        opened.create_vault("lab")
        file = folder / "small.npz"
        deposit_files(opened, [file], to=PLACE, kind=Kind.RECORDING, message="", author="a test", metadata=CONSENT)
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


def distill(engram, to, *options, **kept):
    recording = "lab/small:small.npz"
    return engram("distill", recording, "--to", to, "--archive", "here", *options, **kept)


def test_what_was_made_is_told(engram):
    told = distill(engram, "lab/small:students/a.onnx", "--tier", "fast", "--updates", "60", "--seed", "2")
    for line in ("tier             fast", "updates          60", "parameters", "lab/small@2:students/a.onnx"):
        assert line in told.stdout
    assert "distilling (fast): reading the recording" in told.stderr
    assert "time             " in told.stdout, "seconds"
    assert "distilling (fast): 50 of 60 updates, validation loss" in told.stderr


def test_json_repeats_a_training(engram):
    options = ("--tier", "linear", "--updates", "7", "--json")
    first = json.loads(distill(engram, "lab/small:students/b.onnx", *options).stdout)
    again = json.loads(distill(engram, "lab/small:students/c.onnx", *options).stdout)
    assert first["sha256"] == again["sha256"]
    assert first["metadata"]["distill.updates"] == 7


def test_a_budget_is_noted_with_the_updates_that_it_allowed(engram):
    options = ("--tier", "linear", "--budget", "1min", "--json")
    told = json.loads(distill(engram, "lab/small:students/d.onnx", *options).stdout)
    assert told["metadata"]["distill.budget_s"] == 60.0
    assert 50 <= told["metadata"]["distill.updates"] <= 600


@pytest.mark.parametrize(
    ("options", "status", "message"),
    [
        (("--budget", "soon"), 2, "is no duration"),
        (("--budget", "0s"), 2, "is no duration"),
        (("--updates", "5", "--budget", "5s"), 2, "exclude each other"),
        (("--tier", "huge"), 2, "'huge' is not one of"),
        (("--tier", "fast", "--teacher-probabilities", "--updates", "5"), 1, "no stimulus that may teach was repeated"),
        (("--tier", "fast", "--share", "lab/small:small.npz"), 1, "is no base to share"),
    ],
)
def test_what_cannot_be_is_said_in_a_sentence(engram, options, status, message):
    result = distill(engram, "lab/small:students/e.onnx", *options, status=status)
    assert message in result.output


def test_without_torch_it_says_what_to_install(engram, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    result = distill(engram, "lab/small:students/f.onnx", "--updates", "5", status=1)
    assert "pip install 'engram[distill]'" in result.stderr


@pytest.mark.parametrize(
    ("text", "seconds"), [("5ms", 0.005), ("120s", 120), ("2min", 120), ("0.5", 0.5), ("250us", 0.00025)]
)
def test_durations_are_read(text, seconds):
    assert Duration().convert(text, None, None) == seconds


def stored(archive):
    return sum(file.stat().st_size for file in Path(archive.url).rglob("*") if file.is_file())


def test_a_student_that_shares_a_base_adds_little_to_the_archive(engram, archive):
    pytest.importorskip("torch", reason="distilling recurrent students needs torch: pip install 'engram[distill]'")
    sizes = [stored(archive)]
    base = json.loads(distill(engram, "lab/small:cohort/base.onnx", "--updates", "3", "--json").stdout)
    sizes.append(stored(archive))
    options = ("--updates", "3", "--share", "lab/small:cohort/base.onnx", "--rank", "2", "--json")
    shared = json.loads(distill(engram, "lab/small:cohort/one.onnx", *options).stdout)
    sizes.append(stored(archive))
    assert shared["made_from"][1] == base["sha256"]
    assert shared["metadata"]["distill.rank"] == 2
    assert sizes[2] - sizes[1] < 0.4 * (sizes[1] - sizes[0]), sizes


@pytest.mark.parametrize(
    ("written", "seconds"), [("5", 0.005), ("5ms", 0.005), ("0.5 ms", 0.0005), ("0.005s", 0.005), ("20000us", 0.02)]
)
def test_a_bin_width_without_a_unit_counts_milliseconds(written, seconds):
    assert BinWidth().convert(written, None, None) == seconds


def test_a_duration_without_a_unit_counts_seconds():
    assert Duration().convert("5", None, None) == 5.0
