"""Certificates through every door: kept with their report, made from one student and one recording, computed again."""

from __future__ import annotations

import json

import pytest
from engram_testing.certified_students import Memoryless, as_npz, experiment, told
from engram_testing.deposits import put

from engram_client.fidelity.certifying import certify_student, check_certificate, keep_certificate
from engram_client.fidelity.covering import cover_recording
from engram_client.transfer import deposit_files
from engram_fidelity.report import draw
from engram_format.address import Address
from engram_format.catalog import Kind
from engram_format.errors import FormatError, InvalidInput, NotFound, Precondition

PLACE = Address("lab", "certified")
NETWORK = Memoryless()
ALLOWED = {"consent.duo": "GRU", "consent.model_training": True}
TAUGHT = ("0", "1", "2", "3", "6")
"""The student was trained on four stimuli that were shown once, and on a part of one that was repeated."""


@pytest.fixture(scope="module")
def recording(archive, tmp_path_factory):
    file = tmp_path_factory.mktemp("recording") / "recorded.npz"
    file.write_bytes(as_npz(experiment(NETWORK)))
    version = deposit_files(archive, [file], to=PLACE, kind=Kind.RECORDING, metadata=ALLOWED)
    return archive.artifact(version.address.of("recorded.npz"))


@pytest.fixture(scope="module")
def student(archive, recording):
    taught = told(experiment(NETWORK), training=TAUGHT[:4], validation=["6[0:400]"])
    return put(
        archive,
        PLACE.of("students/memoryless.onnx"),
        NETWORK.network(),
        kind=Kind.STUDENT,
        metadata=taught,
        made_from=(recording.sha256,),
    )


@pytest.fixture(scope="module")
def kept(archive, student, recording):
    found = certify_student(archive, student, recording.address, seed=2)
    report = draw(found.certificate, found.evidence)
    return found, report, keep_certificate(archive, found.certificate, report=report, author="a test")


def test_a_certificate_lies_in_the_students_memory_with_its_report_beside_it(archive, kept, student, recording):
    found, report, artifact = kept
    assert artifact.kind is Kind.CERTIFICATE
    path = artifact.address.path
    assert path.startswith("certificates/memoryless/")
    assert path.endswith(".json")
    version = archive.version(artifact.address.of(None))
    assert version.added == 3
    assert "grade" in version.message
    assert b"".join(archive.read(artifact.address)) == found.certificate.to_json()
    stem = path.removesuffix(".json")
    assert b"".join(archive.read(artifact.address.of(f"{stem}.html"))) == report.page
    assert b"".join(archive.read(artifact.address.of(f"{stem}.png"))) == report.overview
    assert artifact.made_from == (archive.artifact(student).sha256, recording.sha256)
    page = archive.artifact(artifact.address.of(f"{stem}.html"))
    assert page.made_from == (artifact.sha256,)
    assert all(one.metadata["consent.duo"] == "GRU" for one in (artifact, page))


def test_what_it_says_stands_in_its_metadata_and_is_found(archive, kept):
    found, _, artifact = kept
    metadata = artifact.metadata
    assert metadata["certificate.grade"] == found.certificate.grade.letter
    assert metadata["certificate.cc_norm"] == found.certificate.measure("cc_norm").mean.value > 0.95
    assert metadata["certificate.repeats"] == 24
    assert metadata["certificate.ceiling"] is True
    hits = archive.find(["certificate.cc_norm>=0.9"], kind=Kind.CERTIFICATE, scope=PLACE)
    assert artifact.sha256 in {hit.sha256 for hit in hits}


def test_the_network_itself_is_never_below_b(kept):
    found, *_ = kept
    assert found.certificate.grade.letter in "AB"
    assert found.certificate.free_running.betting.quiet
    # It hears no spikes of its own: what it expects is its hazard, and rescaled intervals are in the band.
    distance, band = (found.certificate.measure(name).mean.value for name in ("rescaling_ks", "rescaling_band"))
    assert distance < 1.5 * band


def test_it_names_one_student_and_one_recording(archive, kept, student, recording):
    told = json.loads(kept[0].certificate.to_json())
    assert told["student"] == {"address": str(student), "sha256": archive.artifact(student).sha256}
    assert told["recording"]["sha256"] == recording.sha256
    assert told["profile"]["profile.onnxruntime"]
    assert told["domain"]["visited_in_training"]["value"] > 0


def test_what_the_student_was_chosen_by_does_not_count(kept):
    assert kept[0].certificate.data.stimuli == ("7",)


def test_computed_again_it_is_equal(archive, kept):
    found = check_certificate(archive, kept[2].address)
    assert found.equal, found.differences
    assert not found.changed


def test_a_forged_certificate_differs(archive, kept):
    artifact = kept[2]
    forged = json.loads(b"".join(archive.read(artifact.address)))
    forged["grade"]["letter"] = "A+"
    address = put(
        archive,
        PLACE.of("forged.json"),
        json.dumps(forged).encode(),
        kind=Kind.CERTIFICATE,
        metadata={**artifact.metadata, "certificate.cc_norm": 1.0},
        made_from=artifact.made_from,
    )
    found = check_certificate(archive, address)
    assert not found.equal
    assert [one.name for one in found.differences] == ["grade.letter", "metadata certificate.cc_norm"]


def test_a_certificate_of_what_is_not_here_says_what_is_missing(archive, kept):
    lost = json.loads(b"".join(archive.read(kept[2].address)))
    lost["student"]["sha256"] = "0" * 64
    address = put(archive, PLACE.of("lost.json"), json.dumps(lost).encode(), kind=Kind.CERTIFICATE)
    with pytest.raises(NotFound, match="the student .* is not in this archive"):
        check_certificate(archive, address)


def test_what_is_no_certificate_is_refused(archive, student):
    with pytest.raises(InvalidInput, match="is a student, no certificate: name the .json"):
        check_certificate(archive, student)
    words = put(archive, PLACE.of("certificates/words.json"), b"grade A, I swear", kind=Kind.CERTIFICATE)
    with pytest.raises(FormatError, match="no JSON"):
        check_certificate(archive, words)


def test_trials_that_the_student_was_trained_on_are_refused(archive, student, recording):
    with pytest.raises(InvalidInput, match="was trained on stimulus '6'"):
        certify_student(archive, student, recording.address, stimuli=["6"])
    taught = told(experiment(NETWORK), training=["0", "6", "7"])
    memorised = put(
        archive,
        PLACE.of("students/memorised.onnx"),
        NETWORK.network(),
        kind=Kind.STUDENT,
        metadata=taught,
        made_from=(recording.sha256,),
    )
    with pytest.raises(Precondition, match="was trained on every repeated stimulus"):
        certify_student(archive, memorised, recording.address)


def test_what_its_base_was_trained_on_does_not_count_either(archive, recording):
    shown, place = experiment(NETWORK), PLACE.of("students/base.onnx")
    base = put(
        archive,
        place,
        Memoryless(wrong=0.3).network(),
        kind=Kind.STUDENT,
        metadata=told(shown, training=["0", "6"]),
        made_from=(recording.sha256,),
    )
    child = put(
        archive,
        PLACE.of("students/child.onnx"),
        Memoryless(wrong=0.2).network(),
        kind=Kind.STUDENT,
        metadata=told(shown, training=["1"]),
        made_from=(recording.sha256, archive.artifact(base).sha256),
    )
    with pytest.raises(InvalidInput, match="was trained on stimulus '6'"):
        certify_student(archive, child, recording.address, stimuli=["6"])


def test_a_student_of_other_electrodes_and_other_bins_is_refused(archive, recording):
    other = Memoryless(channels=5)
    address = put(
        archive,
        PLACE.of("students/other.onnx"),
        other.network(),
        kind=Kind.STUDENT,
        metadata=told(experiment(other, repeats=2, training=0)),
    )
    with pytest.raises(InvalidInput, match="bring a student of this preparation"):
        certify_student(archive, address, recording.address)
    with pytest.raises(InvalidInput, match="takes a step every 0.005 s"):
        certify_student(archive, address, recording.address, bin_s=0.01)


def test_without_repeats_it_is_refused_unless_told(archive, student, tmp_path):
    file = tmp_path / "once.npz"
    file.write_bytes(as_npz(experiment(NETWORK, repeats=1, training=1)))
    version = deposit_files(archive, [file], to=PLACE, kind=Kind.RECORDING)
    once = version.address.of("once.npz")
    with pytest.raises(Precondition, match="--no-ceiling"):
        certify_student(archive, student, once)
    found = certify_student(archive, student, once, ceiling=False)
    assert found.certificate.grade.letter == "C"


def test_coverage_of_a_recording_and_of_its_students(archive, student, recording):
    found = cover_recording(archive, recording.address, target=0.8)
    assert found.coverage.visited <= found.coverage.cells
    assert found.coverage.held_out_share > 0
    assert found.curve is not None
    assert found.curve.points[-1].fidelity > found.curve.points[0].fidelity
    asked = cover_recording(archive, recording.address, students=[student, student])
    assert asked.disagreement.mean == 0
    with pytest.raises(InvalidInput, match="at least two"):
        cover_recording(archive, recording.address, students=[student])


def test_without_consent_to_train_no_student_is_made_to_tell_fidelity(archive, student, tmp_path):
    file = tmp_path / "unsaid.npz"
    file.write_bytes(as_npz(experiment(NETWORK)))
    version = deposit_files(archive, [file], to=Address("lab", "unsaid"), kind=Kind.RECORDING)
    found = cover_recording(archive, version.address.of("unsaid.npz"))
    assert found.coverage.visited > 0
    assert (found.disagreement, found.curve) == (None, None)
    assert "consent does not allow to train models" in found.missing
    asked = cover_recording(archive, version.address.of("unsaid.npz"), students=[student, student])
    assert asked.disagreement is not None, "who is there may be asked"
