"""A replay gives the same bits each time, and takes nothing that does not fit."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto, helper

from engram_format.errors import Exhausted, InvalidInput
from engram_replay import digest_arrays
from engram_replay.gate import GateLimits
from engram_replay.loader import load_student
from engram_replay.runtime_calls import Calls
from engram_replay.stepper import run

RATE = np.int64(16_000)
"""Samples per second, as the voice detector wants it."""


@pytest.fixture(scope="module")
def voice() -> np.ndarray:
    """Frames of noise that swells and fades, (time, sample)."""
    noise = np.random.default_rng(7).standard_normal((40, 512))
    return (noise * np.sin(np.linspace(0, 9, 40))[:, None] * 0.2).astype(np.float32)


@pytest.fixture(scope="module")
def leaky(leaky_sum: bytes):
    return load_student(leaky_sum)


def test_a_recurrent_network_is_stepped_to_the_same_bits_each_time(silero, silero_bytes, voice):
    first = run(silero, {"input": voice, "sr": RATE})
    assert first.steps == 40
    assert first.outputs["output"].shape == (40, 1)
    assert np.ptp(first.outputs["output"]) > 0
    for again in (
        run(silero, {"input": voice, "sr": RATE}),
        run(load_student(silero_bytes), {"input": voice, "sr": RATE}),
    ):
        assert digest_arrays(again.outputs) == digest_arrays(first.outputs)
        assert digest_arrays(again.final_state) == digest_arrays(first.final_state)


def test_a_replay_goes_on_from_a_final_state(silero, voice):
    whole = run(silero, {"input": voice, "sr": RATE})
    begun = run(silero, {"input": voice[:17], "sr": RATE})
    ended = run(silero, {"input": voice[17:], "sr": RATE}, initial_state=begun.final_state)
    joined = np.concatenate([begun.outputs["output"], ended.outputs["output"]])
    assert joined.tobytes() == whole.outputs["output"].tobytes()
    assert digest_arrays(ended.final_state) == digest_arrays(whole.final_state)


def test_state_does_not_leak_from_one_replay_into_the_next(silero, voice):
    alone = run(silero, {"input": voice[:5], "sr": RATE})
    run(silero, {"input": voice[::-1], "sr": RATE})
    after = run(silero, {"input": voice[:5], "sr": RATE})
    assert digest_arrays(after.outputs) == digest_arrays(alone.outputs)


def test_a_network_without_state_takes_the_whole_to_the_same_bits_each_time(basic_pitch):
    audio = np.random.default_rng(1).standard_normal((1, 43_844, 1)).astype(np.float32)
    first, second = run(basic_pitch, {"": audio}), run(basic_pitch, {"": audio})
    assert {name: array.shape for name, array in first.outputs.items()} == {
        "StatefulPartitionedCall:0": (1, 172, 264),
        "StatefulPartitionedCall:1": (1, 172, 88),
        "StatefulPartitionedCall:2": (1, 172, 88),
    }
    assert digest_arrays(first.outputs) == digest_arrays(second.outputs)


def test_each_step_hands_the_state_on(leaky):
    x = np.array([[1, 2, 3], [0, 0, 0], [4, 4, 4]], np.float32)
    replay = run(leaky, {"x": x})
    assert replay.outputs["y"].tolist() == [[2, 4, 6], [1, 2, 3], [8.5, 9, 9.5]]
    assert replay.initial_state["level"].tolist() == [[0, 0, 0]]
    assert replay.final_state["level"].tolist() == [[4.25, 4.5, 4.75]]


def test_a_stimulus_may_keep_the_leading_axes_of_the_input(leaky):
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    kept = run(leaky, {"": x[:, np.newaxis]}).outputs["y"]
    left_out = run(leaky, {"": x}).outputs["y"]
    assert kept.shape == (2, 1, 3)
    assert left_out.shape == (2, 3)
    assert kept.tobytes() == left_out.tobytes()


def test_a_whole_stimulus_may_leave_out_the_batch(whole_tanh: bytes):
    x = np.linspace(-1, 1, 12, dtype=np.float32).reshape(4, 3)
    replay = run(load_student(whole_tanh), {"x": x})
    assert replay.steps == 4
    assert replay.outputs["y"].shape == (4, 3)
    np.testing.assert_allclose(replay.outputs["y"], np.tanh(x), rtol=1e-6)


@pytest.mark.parametrize(
    "stimulus",
    [
        pytest.param(np.array([[0, 1, 255]], np.uint8), id="uint8"),
        pytest.param(np.array([[True, False, True]]), id="bool"),
        pytest.param(np.array([[1, -5, 1 << 24]], np.int64), id="int64 in range"),
        pytest.param(np.array([[0.5, 0.25, -8]], np.float64), id="float64 without loss"),
        pytest.param(np.array([[1, 2, 3]], ">f4"), id="big-endian"),
        pytest.param(np.array([[1, 2, 3], [4, 5, 6], [7, 8, 9]], np.float32).T, id="column order"),
    ],
)
def test_a_type_that_loses_nothing_is_cast(leaky, stimulus: np.ndarray):
    replay = run(leaky, {"x": stimulus})
    expected = run(leaky, {"x": np.array(stimulus.tolist(), np.float32)})
    assert replay.stimulus["x"].dtype == np.float32
    assert digest_arrays(replay.outputs) == digest_arrays(expected.outputs)


@pytest.mark.parametrize(
    ("stimulus", "message"),
    [
        pytest.param(np.array([[0.1, 0, 0]]), "does not fit without rounding", id="float64 with loss"),
        pytest.param(np.array([[1e300, 0, 0]]), "does not fit without rounding", id="float64 out of range"),
        pytest.param(np.array([[(1 << 24) + 1, 0, 0]]), "does not fit without rounding", id="int64 out of range"),
        pytest.param(np.array([["a", "b", "c"]]), "takes numbers, not <U1", id="text"),
        pytest.param(np.array([[1j, 0, 0]], np.complex64), "takes numbers, not complex64", id="complex"),
        pytest.param(np.array([[None, 0, 0]]), "takes numbers, not object", id="objects"),
        pytest.param(np.array([[np.nan, 0, 0]], np.float32), "holds NaN or infinity", id="NaN"),
        pytest.param(np.array([[-np.inf, 0, 0]], np.float32), "holds NaN or infinity", id="infinity"),
        pytest.param(np.zeros((5, 4), np.float32), r"not one of shape \(5, 4\)", id="wrong width"),
        pytest.param(np.zeros(3, np.float32), r"not one of shape \(3,\)", id="too few axes"),
        pytest.param(np.zeros((5, 1, 1, 3), np.float32), r"not one of shape \(5, 1, 1, 3\)", id="too many axes"),
        pytest.param(np.float32(3), r"not one of shape \(\)", id="scalar"),
        pytest.param(np.zeros((0, 3), np.float32), "at least 1", id="no time"),
    ],
)
def test_a_stimulus_that_does_not_fit_is_refused(leaky, stimulus, message: str):
    with pytest.raises(InvalidInput, match=message):
        run(leaky, {"x": stimulus})


@pytest.mark.parametrize(
    "stimulus",
    [
        pytest.param({}, id="nothing"),
        pytest.param({"z": np.zeros((2, 3), np.float32)}, id="another name"),
        pytest.param({"x": np.zeros((2, 3), np.float32), "z": np.zeros((2, 3), np.float32)}, id="one too many"),
        pytest.param({"x": np.zeros((2, 3), np.float32), "": np.zeros((2, 3), np.float32)}, id="twice"),
        pytest.param({"level": np.zeros((2, 3), np.float32)}, id="a state"),
    ],
)
def test_names_that_do_not_fit_are_refused(leaky, stimulus):
    with pytest.raises(InvalidInput, match=r"the student takes 'x' float32 \(1, 3\), and the stimulus has"):
        run(leaky, stimulus)


def test_a_constant_that_is_missing_is_named(silero, voice):
    with pytest.raises(InvalidInput, match=r"'sr' int64 \(\)"):
        run(silero, {"": voice})


def test_a_constant_that_is_no_scalar_is_refused(silero, voice):
    with pytest.raises(InvalidInput, match=r"'sr' int64 \(\) does not take an array of shape \(1,\)"):
        run(silero, {"input": voice, "sr": np.array([16_000])})


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({"mood": np.zeros((1, 3), np.float32)}, "the student has no state 'mood'"),
        ({"level": np.zeros((2, 3), np.float32)}, r"does not take an array of shape \(2, 3\)"),
        ({"level": np.full((1, 3), np.nan, np.float32)}, "holds NaN"),
    ],
)
def test_a_state_that_does_not_fit_is_refused(leaky, state, message: str):
    with pytest.raises(InvalidInput, match=message):
        run(leaky, {"x": np.zeros((2, 3), np.float32)}, initial_state=state)


def test_a_stimulus_that_makes_the_network_fail_is_told_in_a_sentence(silero):
    with pytest.raises(InvalidInput, match=r"student 7ed98ddbad84 failed at step 0 \("):
        run(silero, {"input": np.zeros((2, 3), np.float32), "sr": RATE})


def test_a_replay_that_does_not_end_is_ended(endless: bytes):
    student = load_student(endless, limits=GateLimits(allow_loops=True))
    calls = Calls(student)
    with calls.within(0.2), pytest.raises(Exhausted, match=r"did not finish within 0\.2 s"):
        run(student, {"x": np.ones((1, 3), np.float32)}, calls=calls)


def test_a_replay_within_its_time_is_not_touched(leaky):
    calls = Calls(leaky)
    with calls.within(60):
        assert run(leaky, {"x": np.zeros((50, 3), np.float32)}, calls=calls).steps == 50


def test_a_constant_has_the_value_of_its_contract_unless_another_is_given(silero_bytes):
    told = {"contract.inputs.0.name": "sr", "contract.inputs.0.value": int(RATE)}
    student = load_student(silero_bytes, told=told)
    voice = np.random.default_rng(0).standard_normal((3, 1, 576)).astype(np.float32)
    by_contract = run(student, {"": voice})
    assert by_contract.stimulus["sr"] == RATE
    said = run(load_student(silero_bytes), {"input": voice, "sr": np.int64(RATE)})
    assert by_contract.outputs["output"].tobytes() == said.outputs["output"].tobytes()
    assert run(student, {"input": voice, "sr": np.int64(8000)}).stimulus["sr"] == 8000


def test_a_constant_may_be_an_array_of_one(make_network):
    nodes = [helper.make_node("Mul", ["x", "gain"], ["y"])]
    inputs = [("x", TensorProto.FLOAT, [1, 3]), ("gain", TensorProto.FLOAT, [1])]
    data = make_network(nodes, inputs, [("y", TensorProto.FLOAT, [1, 3])])
    student = load_student(data, told={"contract.inputs.0.name": "gain", "contract.inputs.0.value": 0.5})
    assert run(student, {"": np.ones((2, 3), np.float32)}).outputs["y"].tolist() == [[0.5] * 3] * 2
    assert run(student, {"x": np.ones((1, 3), np.float32), "gain": np.float32(2)}).outputs["y"].tolist() == [[2.0] * 3]


def test_a_student_with_time_behind_other_axes_loads_and_says_what_it_cannot_do(make_network):
    nodes = [helper.make_node("Tanh", ["x"], ["y"])]
    shape = ["B", 4, "T"]
    student = load_student(make_network(nodes, [("x", TensorProto.FLOAT, shape)], [("y", TensorProto.FLOAT, shape)]))
    assert student.contract.stimuli[0].time_axis == 2
    with pytest.raises(InvalidInput, match="has its time behind another axis, so no whole stimulus begins with it"):
        run(student, {"": np.ones((7, 4), np.float32)})
