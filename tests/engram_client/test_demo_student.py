"""The demonstration's student is always the same, knows the retina, and is replayed as it was meant."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import onnx
import pytest

from engram_client.demo.picture import draw_replay
from engram_client.demo.retina import NWB_FILE, RETINA_FILES, Recording, load_held_out, load_training
from engram_client.demo.student import RetinaModel, build_student, fit, score
from engram_format.catalog import Kind
from engram_layout import HEAD_BYTES, detect_kind
from engram_replay.loader import load_student
from engram_replay.signature import Mode
from engram_replay.stepper import run


@pytest.fixture(scope="module")
def held_out() -> Recording:
    return load_held_out()


@pytest.fixture(scope="module")
def model() -> RetinaModel:
    return fit(load_training())


@pytest.fixture(scope="module")
def network(model: RetinaModel) -> bytes:
    return model.to_onnx()


def test_the_recording_has_the_shapes_that_it_promises(held_out: Recording):
    training = load_training(segments=3)
    assert training.stimulus.shape == (3, 7200, 31)
    assert training.spikes.shape == (3, 7200, 6)
    assert held_out.stimulus.shape == (1, 1333, 31)
    assert held_out.spikes.shape == (54, 1333, 6)
    assert held_out.stimulus.min() == 0
    assert held_out.stimulus.max() == 1
    assert 4 < held_out.spikes.mean() / 0.005 < 20, "spikes per second of a cell"


def test_the_student_predicts_a_stimulus_it_has_never_seen(model: RetinaModel, held_out: Recording):
    correlation = score(model.predict(held_out.stimulus[0]), held_out.spikes)
    assert correlation.shape == (6,)
    assert correlation.mean() > 0.83
    assert correlation.min() > 0.76


def test_the_student_is_built_to_the_same_bytes_in_another_process(network: bytes, tmp_path):
    program = (
        "import sys; from pathlib import Path; from engram_client.demo import retina, student;"
        "Path(sys.argv[1]).write_bytes(student.build_student(retina.load_training()))"
    )
    subprocess.run([sys.executable, "-c", program, str(tmp_path / "again.onnx")], check=True, timeout=120)
    assert (tmp_path / "again.onnx").read_bytes() == network


def test_another_recording_gives_another_student(network: bytes):
    assert build_student(load_training(segments=2)) != network


def test_the_student_is_a_sound_network_with_state(network: bytes):
    onnx.checker.check_model(onnx.load_model_from_string(network), full_check=True)
    assert detect_kind(network[:HEAD_BYTES], size=len(network)) is Kind.STUDENT
    signature = load_student(network).signature
    assert signature.mode is Mode.STEP
    assert [(pair.before.name, pair.after.name) for pair in signature.states] == [("state", "state_out")]
    assert [response.name for response in signature.responses] == ["rate_hz"]


def test_a_replay_gives_what_the_weights_say(network: bytes, model: RetinaModel, held_out: Recording):
    replay = run(load_student(network), {"": held_out.stimulus[0]})
    expected = model.predict(held_out.stimulus[0])
    assert replay.outputs["rate_hz"].shape == expected.shape == (1333, 6)
    np.testing.assert_allclose(replay.outputs["rate_hz"], expected, rtol=1e-5, atol=1e-3)


def test_a_shuffled_prediction_scores_nothing(held_out: Recording):
    oracle = held_out.spikes[::2].mean(axis=0)
    shuffled = np.random.default_rng(0).permutation(oracle)
    repeats = held_out.spikes[1::2]
    assert score(oracle, repeats).min() > 0.75
    assert np.abs(score(shuffled, repeats)).max() < 0.2


def test_the_picture_is_a_png(model: RetinaModel, held_out: Recording):
    picture = draw_replay(model.predict(held_out.stimulus[0]), held_out)
    assert picture.startswith(b"\x89PNG\r\n\x1a\n")
    assert len(picture) > 50_000


def test_the_files_to_deposit_are_there():
    for path in (*RETINA_FILES, NWB_FILE):
        assert path.stat().st_size > 10_000
        assert (path.parent / "LICENSE").exists()
    assert detect_kind(NWB_FILE.read_bytes()[:HEAD_BYTES], size=NWB_FILE.stat().st_size) is Kind.RECORDING
