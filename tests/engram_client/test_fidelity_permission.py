"""Consent of recordings and students: what is said now holds, of everything that something is made from."""

from __future__ import annotations

import pytest
from engram_testing import teachers
from engram_testing.deposits import put

import engram_client
from engram_client.contract import contract_metadata
from engram_client.embedded import create_archive
from engram_client.fidelity.certifying import certify_student
from engram_client.fidelity.covering import cover_recording
from engram_client.fidelity.distilling import Recipe, distill_recording
from engram_client.fidelity.extracting import Asking, extract_student
from engram_client.fidelity.jewels import run_jewel
from engram_client.fidelity.permission import joined_consent, may_be_trained_on, may_be_used, may_teach
from engram_client.fidelity.transferring import Steering, transfer_between
from engram_client.transfer import deposit_files
from engram_fidelity.jewel import Rules
from engram_format.address import Address
from engram_format.catalog import Artifact, Kind
from engram_format.errors import Denied, InvalidInput, NotFound
from engram_store.identity import new_identity, save_identity

PLACE = Address("lab", "tissue")
YES = {"consent.duo": "GRU", "consent.model_training": True}
WITHDRAWN = {**YES, "consent.withdrawal": "withdrawn"}
NO = {"consent.duo": "GRU,NMDS"}


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    folder = tmp_path_factory.mktemp("archive")
    identity = new_identity()
    save_identity(folder / "identity.txt", identity)
    create_archive(str(folder / "archive"), identity=identity)
    with engram_client.open(str(folder / "archive"), identity=folder / "identity.txt") as opened:
        opened.create_vault("lab")
        yield opened


@pytest.fixture(scope="module")
def kept(archive, tmp_path_factory):
    """Deposit a recording and say what consent allows; return its address with its version."""

    def deposit(memory, metadata, *, seed=0):
        path = tmp_path_factory.mktemp("recording") / "a.npz"
        path.write_bytes(teachers.recording(trials=8, seed=seed))
        return deposit_files(archive, [path], to=Address("lab", memory), metadata=metadata).address.of("a.npz")

    return deposit


@pytest.fixture(scope="module")
def student(archive):
    """Deposit a student with a statement of consent; return its address."""

    def deposit(path, *, seed=1, made_from=(), **consent):
        made = teachers.student(seed=seed)
        metadata = {**contract_metadata(made.contract), **{f"consent.{name}": value for name, value in consent.items()}}
        return put(
            archive, PLACE.of(path), made.network, kind=Kind.STUDENT, metadata=metadata, made_from=tuple(made_from)
        )

    return deposit


def test_a_withdrawal_holds_for_versions_before_it(archive, kept):
    before = kept("withdrawn", YES, seed=1)
    may_be_trained_on(archive, archive.artifact(before))
    kept("withdrawn", WITHDRAWN, seed=1)
    for check in (may_be_trained_on, may_be_used):
        with pytest.raises(Denied):
            check(archive, archive.artifact(before))
    with pytest.raises(Denied, match="consent does not allow"):
        distill_recording(archive, before, to=PLACE.of("never.onnx"), recipe=Recipe(tier="linear", updates=1))


def test_nothing_is_done_with_a_recording_whose_consent_was_withdrawn(archive, kept, student):
    recording, known = kept("nothing", WITHDRAWN, seed=2), student("known.onnx")
    with pytest.raises(Denied, match="was withdrawn, so nothing may be done with it"):
        certify_student(archive, known, recording)
    with pytest.raises(Denied, match="was withdrawn"):
        cover_recording(archive, recording)
    with pytest.raises(Denied, match="was withdrawn"):
        run_jewel(archive, student=known, recording=recording, to=PLACE.of("jewel"), rules=Rules())


def test_a_student_whose_recording_says_no_teaches_nobody(archive, kept, student):
    recording = archive.artifact(kept("origin", NO, seed=3))
    silent = student("silent.onnx", made_from=[recording.sha256])
    with pytest.raises(Denied, match="lab/origin@1:a.npz"):
        may_teach(archive, archive.artifact(silent))
    grandchild = student("grandchild.onnx", seed=2, made_from=[archive.artifact(silent).sha256])
    with pytest.raises(Denied, match="lab/origin@1:a.npz"):
        extract_student(archive, grandchild, to=PLACE.of("copy.onnx"), asking=Asking(queries=20))
    with pytest.raises(NotFound):
        archive.artifact(PLACE.of("copy.onnx"))


def test_a_student_that_nobody_said_anything_of_may_teach(archive, student):
    may_teach(archive, archive.artifact(student("free.onnx", seed=4)))


def test_neither_a_teacher_nor_a_base_nor_a_target_may_say_no(archive, kept, student):
    recording, denied = kept("good", YES, seed=4), student("denied.onnx", seed=5, duo="GRU,NMDS")
    for recipe in (Recipe(tier="fast", updates=1, teacher=denied), Recipe(tier="default", updates=1, share=denied)):
        with pytest.raises(Denied, match="denied.onnx"):
            distill_recording(archive, recording, to=PLACE.of("never.onnx"), recipe=recipe)
    free = student("unsaid.onnx", seed=4)
    for source, target in ((free, denied), (denied, free)):
        with pytest.raises(Denied, match="denied.onnx"):
            transfer_between(archive, source, target, to=PLACE.of("never.json"), steering=Steering())


def stated(**consent) -> Artifact:
    metadata = {f"consent.{name}": value for name, value in consent.items()}
    return Artifact(PLACE.of("x"), Kind.RECORDING, 1, "0" * 64, 1, 1, 0, metadata)


def test_what_is_made_of_several_allows_what_all_of_them_allow():
    told = joined_consent(
        [
            stated(duo="GRU,IRB", model_training=True, obc="OBC 1"),
            stated(),
            stated(duo="HMB,NCU", model_training="true", reidentification=True, obc="OBC 2", withdrawal="impossible"),
        ]
    )
    assert told == {
        "consent.duo": "HMB,IRB,NCU",
        "consent.model_training": True,
        "consent.reidentification": False,
        "consent.withdrawal": "possible",
    }
    assert joined_consent([stated(duo="DS:MONDO:0005148")] * 2) == {"consent.duo": "DS:MONDO:0005148"}
    assert joined_consent([stated()]) == {}


@pytest.mark.parametrize(("one", "other"), [("POA", "HMB"), ("DS:MONDO:0005148", "DS:MONDO:0005149")])
def test_permissions_that_have_nothing_in_common_are_not_joined(one, other):
    with pytest.raises(InvalidInput, match="nothing in common: choose sources of one kind"):
        joined_consent([stated(duo=one), stated(duo=other)])
