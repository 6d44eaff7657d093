"""What `engram show` tells of an artifact's lineage."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner
from engram_testing.deposits import put

import engram_client
from engram_client.cli import cli
from engram_client.embedded import create_archive
from engram_format.address import Address
from engram_format.catalog import Kind
from engram_store.identity import new_identity, save_identity

PLACE = Address("lab", "line")
GONE = "ab" * 32


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    folder = tmp_path_factory.mktemp("archive")
    identity = new_identity()
    save_identity(folder / "identity.txt", identity)
    create_archive(str(folder / "archive"), identity=identity)
    with engram_client.open(str(folder / "archive"), identity=folder / "identity.txt") as opened:
        opened.create_vault("lab")
        digests = {}
        for path, kind, origins in (
            ("a.rec", Kind.RECORDING, ()),
            ("s.onnx", Kind.STUDENT, ("a.rec", GONE)),
            ("c.json", Kind.CERTIFICATE, ("s.onnx", "a.rec")),
            ("replays/r.npz", Kind.REPLAY, ("s.onnx",)),
        ):
            made_from = tuple(digests.get(origin, origin) for origin in origins)
            address = put(opened, PLACE.of(path), path.encode(), kind=kind, made_from=made_from)
            digests[path] = opened.artifact(address).sha256
        elsewhere = Address("lab", "other").of("t.onnx")
        put(opened, elsewhere, b"t", kind=Kind.STUDENT, made_from=(digests["a.rec"],))
        yield opened


@pytest.fixture
def engram(archive, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setattr(type(archive), "__exit__", lambda *_: None)

    def run(*args):
        result = CliRunner().invoke(cli, [str(arg) for arg in args], prog_name="engram", obj=lambda _: archive)
        assert result.exit_code == 0, result.output
        return result

    return run


def lines(text: str) -> list[list[str]]:
    rows = [line.split() for line in text.splitlines()]
    return rows[rows.index(["LINEAGE", "KIND", "ARTIFACT", "CHANGED", "SHA-256"]) + 1 :]


def test_a_student_is_shown_between_its_recording_and_what_came_of_it(engram):
    told = lines(engram("show", "lab/line:s.onnx").stdout)
    assert [row[:3] for row in told[:5]] == [
        ["-1", "recording", "lab/line@4:a.rec"],
        ["-1", "-", f"sha256:{GONE},"],
        ["this", "student", "lab/line@4:s.onnx"],
        ["+1", "certificate", "lab/line@4:c.json"],
        ["+1", "replay", "lab/line@4:replays/r.npz"],
    ]


def test_lineage_is_told_to_programs(engram):
    told = json.loads(engram("show", "lab/line:s.onnx", "--json").stdout)["lineage"]
    assert [(step["distance"], step["address"], step["kind"]) for step in told["made_from"]] == [
        (1, "lab/line@4:a.rec", "recording"),
        (1, None, None),
    ]
    assert [step["address"] for step in told["led_to"]] == ["lab/line@4:c.json", "lab/line@4:replays/r.npz"]
    assert (told["searched"], told["is_whole"]) == ("lab/line", True)


def test_other_memories_are_searched_where_that_is_asked_for(engram):
    assert "lab/other@1:t.onnx" not in engram("show", "lab/line:a.rec").stdout
    assert "lab/other@1:t.onnx" in engram("show", "lab/line:a.rec", "--everywhere").stdout


def test_an_artifact_that_stands_alone_has_no_lineage(engram, archive):
    put(archive, Address("lab", "alone").of("x.bin"), b"alone")
    assert "LINEAGE" not in engram("show", "lab/alone:x.bin").stdout
