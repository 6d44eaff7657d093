"""Students are examined when they are deposited, whatever way their bytes have come, and nothing else is."""

from __future__ import annotations

import hashlib
import secrets

import numpy as np
import pytest
from engram_testing import students
from engram_testing.archives import MEMORY, Place, deposit, send
from engram_testing.hostile_students import ATTACKS

from engram_format.catalog import ArtifactSpec, Kind
from engram_format.errors import InvalidInput, Precondition
from engram_replay import Contract
from engram_server.engine import examining


@pytest.fixture(scope="module")
def archive():
    with Place().create().open() as archive:
        yield archive


def metadata(archive, path: str):
    return archive.artifact(MEMORY.of(path)).metadata


def test_all_students_of_a_version_are_examined_and_its_files_are_not(archive):
    files = {"a.onnx": students.reservoir(hidden=8), "b.onnx": students.gru(hidden=8), "notes.txt": b"of both"}
    version = deposit(archive, files)
    assert version.added == 3
    for path in ("a.onnx", "b.onnx"):
        assert Contract.from_metadata(metadata(archive, path)).takes_minds
        assert metadata(archive, path)["golden.steps"] > 1
    assert metadata(archive, "notes.txt") == {}


def test_a_student_that_was_cut_in_the_middle_has_the_trace_of_the_whole():
    data = students.reservoir(hidden=512, seed=3)
    place = Place().create()
    session = secrets.token_hex(16)
    with place.open() as archive, archive.open_deposit(MEMORY, session=session) as first:
        send(first, "student.onnx", data, stop_at=600_000)
    with place.open() as archive:
        with archive.open_deposit(MEMORY, session=session) as again:
            send(again, "student.onnx", data)
            again.commit(message="", author="a test")
        cut = metadata(archive, "student.onnx")
        deposit(archive, {"whole.onnx": data})
        whole = metadata(archive, "whole.onnx")
    assert cut == whole
    assert len(cut["golden.outputs.sha256"]) == 64


def test_a_trace_that_the_depositor_brings_is_not_believed(archive):
    data = students.gru(hidden=8, seed=5)
    with archive.open_deposit(MEMORY, session=secrets.token_hex(16)) as session:
        said = {"golden.outputs.sha256": "0" * 64, "golden.absent": "none", "subject.id": "s"}
        session.begin(ArtifactSpec(path="claimed.onnx", size=len(data), metadata=said))
        session.write(data)
        session.end(sha256=hashlib.sha256(data).hexdigest())
        session.commit(message="", author="a test")
    found = metadata(archive, "claimed.onnx")
    assert found["golden.outputs.sha256"] != "0" * 64
    assert "golden.absent" not in found
    assert found["subject.id"] == "s"


def test_what_is_said_of_inputs_in_another_order_leaves_nothing_behind(archive):
    data = students.gru(hidden=8, seed=6)
    said = {"contract.inputs.0.name": "h0", "contract.inputs.0.after": "h1", "contract.inputs.0.unit": "1"}
    with archive.open_deposit(MEMORY, session=secrets.token_hex(16)) as session:
        session.begin(ArtifactSpec(path="said.onnx", size=len(data), metadata=said))
        session.write(data)
        session.end(sha256=hashlib.sha256(data).hexdigest())
        session.commit(message="", author="a test")
    contract = Contract.from_metadata(metadata(archive, "said.onnx"))
    assert [(port.name, port.unit) for port in contract.ports] == [("x", ""), ("h0", "1"), ("y", "")]


def test_without_a_runtime_a_student_is_kept_and_says_that_there_was_none(archive, monkeypatch):
    monkeypatch.setattr(examining, "find_spec", lambda name: None)
    deposit(archive, {"untold.onnx": students.gru(hidden=8, seed=7)})
    assert metadata(archive, "untold.onnx") == {
        "golden.absent": "onnxruntime is not installed where the archive is opened: install engram[replay] and deposit it again"
    }


def test_a_contract_that_cannot_be_is_refused_without_a_runtime_too(archive, monkeypatch):
    monkeypatch.setattr(examining, "find_spec", lambda name: None)
    data = students.gru(hidden=8, seed=8)
    with archive.open_deposit(MEMORY, session=secrets.token_hex(16)) as session:
        session.begin(ArtifactSpec(path="odd.onnx", size=len(data), metadata={"contract.seed": -1}))
        session.write(data)
        session.end(sha256=hashlib.sha256(data).hexdigest())
        with pytest.raises(InvalidInput, match="'contract.seed' is -1"):
            session.commit(message="", author="a test")


def test_a_student_too_large_to_run_is_kept_and_says_so():
    place = Place().create()
    with place.open() as archive:
        big = archive.minds.limits.student_bytes + 1
        found = examining.examine(lambda: archive.minds, "0" * 64, big, {}, lambda: iter(()))
    assert f"it has {big} bytes" in found.trace["golden.absent"]


def test_responses_that_are_whole_numbers_beyond_binary64_are_kept_as_texts():
    from engram_replay.golden import as_table

    wide = as_table(np.array([[[2**60 + 1, -3]]], np.int64))
    assert wide.columns["value"] == ["1152921504606846977", "-3"]
    assert as_table(np.array([[[2**50, -3]]], np.int64)).columns["value"].tolist() == [2.0**50, -3.0]


def test_a_session_is_sealed_only_between_artifacts(archive):
    data = students.gru(hidden=8, seed=9)
    with archive.open_deposit(MEMORY, session=secrets.token_hex(16)) as session:
        send(session, "first.onnx", data)
        session.begin(ArtifactSpec(path="second", size=3))
        with pytest.raises(Precondition, match="'second' is not ended"):
            session.commit(message="", author="a test")
        session.write(b"abc")
        session.end(sha256=hashlib.sha256(b"abc").hexdigest())
        assert session.commit(message="", author="a test").added == 2
    assert archive.artifact(MEMORY.of("first.onnx")).kind is Kind.STUDENT


def test_hostile_students_are_kept_and_the_next_one_is_examined_as_ever():
    with Place().create().open() as archive:
        by_kind = {(attack.rule, attack.does): attack for attack in ATTACKS if attack.does != "load takes time"}
        attacks = list(by_kind.values())
        files = {f"{number}.onnx": attack.make() for number, attack in enumerate(attacks)}
        with archive.open_deposit(MEMORY, session=secrets.token_hex(16)) as session:
            for path, data in files.items():
                session.begin(ArtifactSpec(path=path, size=len(data), kind=Kind.STUDENT))
                session.write(data)
                session.end(sha256=hashlib.sha256(data).hexdigest())
            session.commit(message="", author="a test")
        for number, attack in enumerate(attacks):
            found = archive.artifact(MEMORY.of(f"{number}.onnx"))
            if attack.rule is not None:
                assert found.metadata["golden.absent"].startswith("the student will not be replayed: "), attack
            assert found.sha256 == hashlib.sha256(files[f"{number}.onnx"]).hexdigest()
        deposit(archive, {"sound.onnx": students.gru(hidden=8)})
        assert metadata(archive, "sound.onnx")["golden.steps"] > 1
