"""What every door does with a jewel, an extraction and a transfer: computed here, deposited there, whole or not at all."""

from __future__ import annotations

import io
import json

import numpy as np
import pytest
from engram_testing import teachers
from engram_testing.deposits import put

from engram_client.contract import contract_metadata
from engram_client.fidelity.extracting import Asking, extract_student
from engram_client.fidelity.jewels import run_jewel
from engram_client.fidelity.pools import Wanted
from engram_client.fidelity.students import ArchiveStudent
from engram_client.fidelity.transferring import Steering, transfer_between
from engram_client.transfer import deposit_files
from engram_fidelity.jewel import Rules, State
from engram_format.address import Address
from engram_format.catalog import Kind
from engram_format.errors import Denied, InvalidInput, NotFound

PLACE = Address("lab", "jewels")
ALLOWED = {"consent.duo": "GRU", "consent.model_training": True}
QUICK = Rules(eps=0.15, rate_eps=0.15)


def deposited(archive, name: str, *, seed: int = 1, lags: int = 1):
    made = teachers.student(seed=seed, lags=lags)
    return put(archive, PLACE.of(name), made.network, kind=Kind.STUDENT, metadata=contract_metadata(made.contract))


@pytest.fixture(scope="module")
def student(archive):
    return deposited(archive, "student.onnx")


@pytest.fixture(scope="module")
def kept(archive, tmp_path_factory):
    """Deposit a recording in memory as the file that it would be."""

    def keep(name: str, data: bytes, **metadata):
        path = tmp_path_factory.mktemp("recording") / name
        path.write_bytes(data)
        deposit_files(archive, [path], to=PLACE, message="", author="a test", metadata=metadata)
        return PLACE.of(name)

    return keep


@pytest.fixture(scope="module")
def same(kept):
    return kept("same.npz", teachers.recording(trials=12), **ALLOWED)


def paths(archive, folder: str) -> list[str]:
    return [artifact.address.path for artifact in archive.artifacts(PLACE.of(folder))]


def test_a_student_that_is_as_the_recording_is_switched_to_and_every_transition_is_deposited(archive, student, same):
    done = run_jewel(archive, student=student, recording=same, to=PLACE.of("jewels/one"), rules=QUICK, author="a test")
    assert done.run.state == State.SWITCHED
    assert paths(archive, "jewels/one") == [
        "jewels/one/000-shadow.json",
        "jewels/one/001-eligible.json",
        "jewels/one/002-switched.json",
        "jewels/one/run.json",
    ]
    digests = {archive.artifact(address).sha256 for address in (student, same)}
    assert all(set(one.made_from) == digests for one in (done.log, *done.transitions))
    told = json.loads(b"".join(archive.read(done.transitions[1].address)))
    assert (told["student"]["sha256"], told["recording"]["sha256"]) == tuple(
        archive.artifact(address).sha256 for address in (student, same)
    )
    assert told["numbers"]["log_e.switch"] >= np.log(20)
    log = json.loads(b"".join(archive.read(done.log.address)))
    assert (log["state"], log["switched_at"]) == ("SWITCHED", done.run.switched_at)
    assert len(log["course"]["rows"][0]) == len(log["course"]["columns"])
    assert archive.artifact(done.log.address).metadata["jewel.state"] == "SWITCHED"


def test_a_student_learns_the_rates_of_a_recording_and_its_gains_are_kept(archive, kept, student):
    other = kept("louder.npz", teachers.recording(trials=4, rate=1.4, seed=3), **ALLOWED)
    learned = run_jewel(
        archive, student=student, recording=other, to=PLACE.of("jewels/learned"), rules=QUICK, learn=True
    )
    log = json.loads(b"".join(archive.read(learned.log.address)))
    assert np.mean(log["gains"]) == pytest.approx(1.4, abs=0.1)
    assert (log["state"], log["transitions"]) == (str(learned.run.state), [])


def test_learning_from_a_recording_needs_its_consent(archive, kept, student):
    silent = kept("unsaid.npz", teachers.recording(trials=4))
    with pytest.raises(Denied, match="consent"):
        run_jewel(archive, student=student, recording=silent, to=PLACE.of("jewels/denied"), rules=QUICK, learn=True)
    with pytest.raises(NotFound):
        archive.artifact(PLACE.of("jewels/denied/run.json"))


def test_a_network_without_spikes_is_no_reason_to_fall(archive, kept, student):
    silent = kept("silent.npz", teachers.recording(trials=4, silent=True), **ALLOWED)
    done = run_jewel(archive, student=student, recording=silent, to=PLACE.of("jewels/silent"), rules=QUICK, learn=True)
    assert done.run.switched_at is None


def test_what_the_student_was_trained_on_is_no_evidence(archive, same):
    made = teachers.student()
    trained = {"distill.training": json.dumps([str(number) for number in range(12)])}
    address = put(
        archive,
        PLACE.of("trained.onnx"),
        made.network,
        kind=Kind.STUDENT,
        metadata={**contract_metadata(made.contract), **trained},
    )
    with pytest.raises(InvalidInput, match="trained on every stimulus"):
        run_jewel(archive, student=address, recording=same, to=PLACE.of("jewels/seen"), rules=QUICK)


def test_a_student_of_other_electrodes_is_refused(archive, kept, student):
    rng = np.random.default_rng(0)
    held = io.BytesIO()
    np.savez(held, stimulus=rng.random((2, 200, 3), np.float32), counts=np.ones((2, 200, 4), np.uint8), bin_s=0.005)
    other = kept("other.npz", held.getvalue())
    with pytest.raises(InvalidInput, match="channels"):
        run_jewel(archive, student=student, recording=other, to=PLACE.of("jewels/other"), rules=QUICK)


@pytest.mark.parametrize("lags", [1, 5])
def test_a_student_is_made_by_asking_another_and_runs_in_the_archive(archive, lags):
    teacher = deposited(archive, f"teacher-{lags}.onnx", lags=lags)
    asking = Asking(queries=60, batch=20, stimuli=Wanted(clip_s=0.1), memory_s=0.05)
    done = extract_student(archive, teacher, to=PLACE.of(f"extracted-{lags}.onnx"), asking=asking, author="a test")
    assert done.student.kind == Kind.STUDENT
    assert done.student.made_from == done.ledger.made_from == (archive.artifact(teacher).sha256,)
    ledger = json.loads(b"".join(archive.read(done.ledger.address)))
    assert [query["number"] for query in ledger["queries"]] == list(range(1, 61))
    assert all(query["time"] for query in ledger["queries"])
    assert done.student.metadata["extract.random_queries"] == 40
    answering = ArchiveStudent(archive, done.student.address, bin_s=teachers.BIN_S)
    assert answering.cell_names == tuple(map(str, range(teachers.CELLS)))
    stimulus = np.random.default_rng(0).random((30, teachers.CHANNELS)).astype(np.float32)
    assert np.allclose(answering.expected(stimulus, seed=0), done.extracted.expected(stimulus), atol=1e-4)


def test_a_recording_is_no_teacher(archive):
    recording = put(archive, PLACE.of("kept.bin"), b"spikes", kind=Kind.RECORDING)
    with pytest.raises(InvalidInput, match="is a recording, no student: name an ONNX network"):
        extract_student(archive, recording, to=PLACE.of("none.onnx"), asking=Asking(queries=60), author="a test")


def test_the_ledger_tells_every_question_that_a_teacher_was_asked(archive, student, monkeypatch):
    asked = []
    sample = ArchiveStudent.sample

    def counted(self, stimulus, *, repeats, seed):
        asked.append(repeats)
        return sample(self, stimulus, repeats=repeats, seed=seed)

    monkeypatch.setattr(ArchiveStudent, "sample", counted)
    asking = Asking(queries=20, bin_s=0.005)
    done = extract_student(archive, student, to=PLACE.of("students/asked.onnx"), asking=asking)
    assert sum(asked) == len(done.extracted.ledger) == 20


def test_a_transfer_is_reported_with_its_stimulations(archive, student):
    other = deposited(archive, "other.onnx", seed=2)
    steering = Steering(loop=12, held_out=8, rounds=1)
    done = transfer_between(
        archive, student, other, to=PLACE.of("transfers/one.json"), steering=steering, author="a test"
    )
    report = json.loads(b"".join(archive.read(done.report.address)))
    assert report["after"]["kl_bits_per_spike"] < report["before"]["kl_bits_per_spike"]
    assert (report["queries"], len(report["course"])) == (36, 2)
    assert set(done.report.made_from) == {archive.artifact(address).sha256 for address in (student, other)}
    assert done.stimulations.kind == Kind.PROTOCOL
    assert done.stimulations.address.path == "transfers/one.stimulations.npy"
