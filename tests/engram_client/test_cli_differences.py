"""What `diff` says to people and to programs, and what `show` says of consent."""

from __future__ import annotations

import hashlib
import json
import secrets

import pytest
from click.testing import CliRunner
from engram_testing.archives import MEMORY, Place, deposit, pseudo_random
from engram_testing.recordings import deposit_recording, hdf5_file
from engram_testing.simulator import SimulatedArchive

from engram_client.cli import cli
from engram_client.embedded import EmbeddedArchive
from engram_format.catalog import ArtifactSpec, Kind
from engram_store.repository import Repository

LONG = pseudo_random(8 << 20)
MORE = pseudo_random(1 << 20, seed=1)


def put(archive, path, data, metadata):
    with archive.open_deposit(MEMORY, session=secrets.token_hex(16)) as session:
        session.begin(ArtifactSpec(path=path, size=len(data), metadata=metadata))
        session.write(data)
        session.end(sha256=hashlib.sha256(data).hexdigest())
        session.commit(message="", author="a test")


@pytest.fixture(scope="module")
def place():
    place = Place().create()
    with place.open() as archive:
        deposit(archive, {"kept.txt": b"as it was", "long.bin": LONG})
        put(archive, "long.bin", LONG + MORE, {"rig": "left\x1b[31m"})
        deposit(archive, {"came.txt": b"later"})
        deposit_recording(archive, MEMORY.of("session.h5"), hdf5_file(), metadata={"consent.duo": "GRU,NPU"})
        deposit_recording(archive, MEMORY.of("unsaid.h5"), hdf5_file())
    return place


@pytest.fixture
def engram(place):
    def run(*args, status: int = 0):
        def opened(_):
            return EmbeddedArchive(Repository.open(place.backend, place.keystore, place.identity))

        result = CliRunner().invoke(cli, list(args), prog_name="engram", obj=opened)
        assert result.exit_code == status, result.output
        assert "Traceback" not in result.output
        return result

    return run


def test_each_change_has_a_line_and_what_it_consists_of(engram):
    lines = engram("diff", "vault/memory@1", "vault/memory@3").stdout.splitlines()
    assert lines[0].split() == ["+", "came.txt", "5", "B"]
    assert lines[1].startswith("~ long.bin  8.0 MiB -> 9.0 MiB  ")
    assert lines[1].endswith("%) shared")
    assert lines[2] == r"    + rig: left\x1b[31m"
    assert lines[3].startswith("1 added, 0 removed, 1 changed, 1 the same; ")
    assert len(lines) == 4


def test_what_went_has_a_minus(engram):
    lines = engram("diff", "vault/memory@3", "vault/memory@1").stdout.splitlines()
    assert lines[0].split() == ["-", "came.txt", "5", "B"]
    assert lines[-1].startswith("0 added, 1 removed, 1 changed, 1 the same; ")


def test_json_has_both_artifacts_and_a_summary(engram):
    told = json.loads(engram("diff", "vault/memory@1", "vault/memory@3", "--json").stdout)
    came, changed = told["changes"]
    assert (came["path"], came["before"], came["after"]["size"]) == ("came.txt", None, 5)
    assert changed["before"]["address"] == "vault/memory@1:long.bin"
    assert changed["after"]["address"] == "vault/memory@3:long.bin"
    assert changed["metadata"] == [{"name": "rig", "before": None, "after": "left\x1b[31m"}]
    assert changed["shared"] > 0.75 * len(LONG)
    summary = told["summary"]
    assert (summary["added"], summary["removed"], summary["changed"], summary["same"]) == (1, 0, 1, 1)
    assert summary["size"] == len(LONG) + len(MORE) + len(b"as it was") + len(b"later")
    assert summary["shared"] == changed["shared"] + len(b"as it was")


def test_one_artifact_is_compared_with_another(engram):
    out = engram("diff", "vault/memory:session.h5", "vault/memory:unsaid.h5").stdout
    assert out.splitlines()[0].endswith("(100.0 %) shared")
    assert "    - consent.duo: GRU,NPU" in out
    assert "series" not in out


def test_the_same_twice_is_the_same(engram):
    out = engram("diff", "vault/memory@2", "vault/memory@2").stdout
    assert out == "0 added, 0 removed, 0 changed, 2 the same; 9.0 MiB of 9.0 MiB (100.0 %) shared\n"


def test_an_annotation_shares_all_bytes():
    place = Place().create()

    def opened(_):
        return EmbeddedArchive(Repository.open(place.backend, place.keystore, place.identity))

    with place.open() as archive:
        deposit(archive, {"a.bin": b"aaa"})
        archive.annotate(MEMORY.of("a.bin"), set={"depth": 3}, author="a test")
    result = CliRunner().invoke(cli, ["diff", "vault/memory@1", "vault/memory"], prog_name="engram", obj=opened)
    assert result.stdout.splitlines() == [
        "~ a.bin  3 B  3 B of 3 B (100.0 %) shared",
        "    + depth: 3",
        "0 added, 0 removed, 1 changed, 0 the same; 3 B of 3 B (100.0 %) shared",
    ]


def test_a_version_and_an_artifact_are_not_compared(engram):
    result = engram("diff", "vault/memory@1", "vault/memory@3:long.bin", status=1)
    assert "name two of a kind" in result.stderr


def test_a_recording_shows_who_may_use_it(engram):
    out = engram("show", "vault/memory:session.h5").stdout
    assert "may be used for    general research (GRU, DUO:0000042)" in out
    assert "only non-profit organizations (NPU, DUO:0000045)" in out
    assert "model training     denied" in out
    assert "re-identification  denied" in out


def test_programs_are_told_what_follows_from_consent(engram):
    told = json.loads(engram("show", "vault/memory:session.h5", "--json").stdout)["consent"]
    assert (told["allows_use"], told["allows_model_training"], told["allows_reidentification"]) == (True, False, False)
    assert told["codes"] == ["DUO:0000042", "DUO:0000045"]
    assert told["says"]["model training"] == "denied"
    unsaid = json.loads(engram("show", "vault/memory:unsaid.h5", "--json").stdout)["consent"]
    assert (unsaid["allows_use"], unsaid["codes"]) == (False, [])
    assert "consent" not in json.loads(engram("show", "vault/memory:came.txt", "--json").stdout)


def test_a_recording_of_which_nothing_is_said_may_be_used_for_nothing(engram):
    assert "may be used for    nothing: consent.duo is not given" in engram("show", "vault/memory:unsaid.h5").stdout
    assert "may be used for" not in engram("show", "vault/memory:came.txt").stdout


def test_a_statement_that_is_not_understood_allows_nothing():
    archive = SimulatedArchive()
    archive.create_vault(MEMORY.vault)
    spec = ArtifactSpec(path="a.nwb", size=1, kind=Kind.RECORDING, metadata={"consent.duo": "XYZ"})
    archive.add_version(MEMORY, {"a.nwb": (spec, b"a")}, message="", author="another program")
    result = CliRunner().invoke(cli, ["show", "vault/memory:a.nwb"], prog_name="engram", obj=lambda _: archive)
    assert "may be used for  nothing: what is said of consent is not understood (consent.duo has 'XYZ'" in result.stdout
    result = CliRunner().invoke(
        cli, ["show", "vault/memory:a.nwb", "--json"], prog_name="engram", obj=lambda _: archive
    )
    told = json.loads(result.stdout)["consent"]
    assert not any((told["allows_use"], told["allows_model_training"], told["allows_reidentification"]))
    assert "not understood" in told["says"]["may be used for"]
