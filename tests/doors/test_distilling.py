"""A recording is distilled through every door: read, learned from, and the student deposited whole, or nothing at all."""

from __future__ import annotations

import numpy as np
import pytest
from engram_testing.experiments import CELLS, CHANNELS, small_experiment

from engram_client.contract import contract_in
from engram_client.fidelity.distilling import Recipe, distill_recording
from engram_client.fidelity.reading import read_experiment
from engram_client.transfer import deposit_files
from engram_fidelity.distill import distill
from engram_format.address import Address
from engram_format.catalog import Kind
from engram_format.errors import Denied, InvalidInput, NotFound

PLACE = Address("lab", "distilled")
TO = PLACE.of("students/fast.onnx")
CONSENT = {"consent.duo": "GRU", "consent.model_training": True}
RECIPE = Recipe(tier="fast", seed=3, updates=30)


def save(path, **changed):
    """Write a small experiment as a file of arrays."""
    experiment = small_experiment(once=8, repeats=4)
    trials = [(number, one.stimulus, counts) for number, one in enumerate(experiment.trials) for counts in one.counts]
    arrays = {
        "stimulus": np.stack([stimulus for _, stimulus, _ in trials]),
        "counts": np.stack([counts for _, _, counts in trials]),
        "bin_s": np.array(0.005),
        "stimulus_id": np.array([number for number, _, _ in trials]),
    }
    for name, change in changed.items():
        arrays[name] = change(arrays[name])
    np.savez(path, **arrays)
    return path


@pytest.fixture(scope="module")
def recording(archive, tmp_path_factory):
    path = save(tmp_path_factory.mktemp("recording") / "small.npz")
    deposit_files(
        archive,
        [path],
        to=PLACE,
        kind=Kind.RECORDING,
        message="",
        author="a test",
        metadata={"subject.id": "s1", **CONSENT},
    )
    return archive.artifact(PLACE.of("small.npz"))


@pytest.fixture(scope="module")
def student(archive, recording):
    return distill_recording(archive, recording.address, to=TO, recipe=RECIPE, author="a test")


@pytest.fixture
def spoiled(archive, tmp_path, request):
    """Deposit a recording with something wrong, or without consent; return its address."""

    def deposit(*, metadata=CONSENT, **changed):
        name = "".join(char for char in request.node.name if char.isalnum())[:50]
        place = Address("lab", name)
        deposit_files(
            archive,
            [save(tmp_path / "spoiled.npz", **changed)],
            to=place,
            kind=Kind.RECORDING,
            message="",
            author="a test",
            metadata=metadata,
        )
        return place.of("spoiled.npz")

    return deposit


def test_the_student_is_what_distilling_the_experiment_gives(archive, recording, student):
    experiment = read_experiment(archive, recording.address, bin_s=0.005)
    made = distill(experiment, tier="fast", seed=3, updates=30)
    assert b"".join(archive.read(student.address)) == made.network
    assert {name: student.metadata[name] for name in made.metadata} == made.metadata


def test_it_has_its_contract_its_origin_and_the_consent_of_the_recording(student, recording):
    assert student.kind is Kind.STUDENT
    assert student.made_from == (recording.sha256,)
    assert {name: student.metadata[name] for name in CONSENT} == CONSENT
    contract = contract_in(student.metadata)
    assert contract.sampling_interval_s == 0.005
    assert [len(port.channels) for port in (*contract.stimuli, *contract.responses)] == [len(CHANNELS), len(CELLS)]
    assert "golden.absent" not in student.metadata


def test_it_is_replayed_by_the_archive(archive, student):
    stimulus = small_experiment(once=1, repeats=0).trials[0].stimulus
    rate = archive.replay(student.address, {"stimulus": stimulus[:, np.newaxis]}).outputs["rate"]
    assert rate.shape[0] == len(stimulus)
    assert np.isfinite(rate).all()


def test_its_teacher_is_among_what_it_was_made_from(archive, recording, student):
    recipe = Recipe(tier="linear", seed=1, updates=5, teacher=student.address)
    taught = distill_recording(archive, recording.address, to=PLACE.of("students/taught.onnx"), recipe=recipe)
    assert taught.made_from == (recording.sha256, student.sha256)
    assert taught.metadata["distill.soft"] is True


def nothing_was_deposited(archive, place):
    return [one.address.path for one in archive.artifacts(place.of(None))] == ["spoiled.npz"]


@pytest.mark.parametrize(
    "metadata",
    [{}, {"consent.duo": "GRU"}, {"consent.duo": "GRU", "consent.model_training": False}],
    ids=["unsaid", "silent", "forbidden"],
)
def test_a_recording_whose_consent_does_not_allow_it_is_not_distilled(archive, spoiled, metadata):
    place = spoiled(metadata=metadata)
    with pytest.raises(Denied, match="consent does not allow to train models"):
        distill_recording(archive, place, to=place.of("student.onnx"), recipe=RECIPE)
    assert nothing_was_deposited(archive, place)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"counts": np.zeros_like}, "no cell fired"),
        ({"stimulus": np.ones_like}, "the stimulus never changes"),
        ({"stimulus": lambda stimulus: np.where(stimulus > 0, np.nan, 0).astype(np.float32)}, "NaN"),
        ({"counts": lambda counts: counts[:, :-7]}, "the same bins"),
        ({"counts": lambda counts: counts.astype(np.int64) - 1}, "has a count of -1"),
    ],
    ids=["silent", "constant", "nan", "mismatched", "negative"],
)
def test_a_recording_that_teaches_nothing_leaves_nothing_behind(archive, spoiled, changed, message):
    place = spoiled(**changed)
    with pytest.raises(InvalidInput, match=message) as raised:
        distill_recording(archive, place, to=place.of("student.onnx"), recipe=RECIPE)
    assert "\n" not in str(raised.value)
    assert nothing_was_deposited(archive, place)


def test_a_bin_that_the_recording_has_not_is_refused(archive, recording):
    with pytest.raises(InvalidInput):
        distill_recording(archive, recording.address, to=TO, recipe=Recipe(tier="fast", bin_s=0.007, updates=5))


@pytest.mark.parametrize("to", ["lab/distilled", "lab/distilled@1:x.onnx", "lab"])
def test_a_student_needs_a_place_that_can_be_written(archive, recording, to):
    with pytest.raises(InvalidInput, match="is no place for a student"):
        distill_recording(archive, recording.address, to=Address.parse(to), recipe=RECIPE)


def test_a_base_that_is_no_student_and_a_recording_that_is_not_there_are_said(archive, recording):
    recipe = Recipe(share=recording.address, updates=5)
    with pytest.raises(InvalidInput, match="is no base to share"):
        distill_recording(archive, recording.address, to=TO, recipe=recipe)
    with pytest.raises(NotFound):
        distill_recording(archive, PLACE.of("absent.nwb"), to=TO, recipe=RECIPE)
