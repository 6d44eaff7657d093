"""Bytes become a student, or one sentence says why not."""

from __future__ import annotations

import hashlib
from contextlib import suppress

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from engram_format.errors import Exhausted, InvalidInput
from engram_replay.gate import Refused
from engram_replay.loader import load_student
from engram_replay.signature import Mode
from engram_replay.stepper import run

X = [("x", TensorProto.FLOAT, [1, 3])]
Y = [("y", TensorProto.FLOAT, [1, 3])]


def test_a_real_recurrent_network_is_understood(silero, silero_bytes):
    signature = silero.signature
    assert silero.sha256 == hashlib.sha256(silero_bytes).hexdigest()
    assert signature.mode is Mode.STEP
    assert [(pair.before.name, pair.after.name) for pair in signature.states] == [("state", "stateN")]
    assert [stimulus.tensor.name for stimulus in signature.stimuli] == ["input"]
    assert [constant.name for constant in signature.constants] == ["sr"]
    assert [response.name for response in signature.responses] == ["output"]


def test_a_real_network_without_state_is_understood(basic_pitch):
    assert basic_pitch.signature.mode is Mode.WHOLE
    assert basic_pitch.signature.states == ()


@pytest.mark.parametrize("data", [b"", b"not a network", b"\x89HDF\r\n\x1a\n" + bytes(100), bytes(1000)])
def test_bytes_that_are_no_network_are_refused(data: bytes):
    with pytest.raises(InvalidInput, match="is no ONNX network"):
        load_student(data)


@pytest.mark.parametrize("share", [0.001, 0.1, 0.5, 0.999])
def test_a_cut_network_is_refused(silero_bytes: bytes, share: float):
    with pytest.raises(InvalidInput):
        load_student(silero_bytes[: int(len(silero_bytes) * share)])


@settings(deadline=None, max_examples=60, derandomize=True)
@given(st.data())
def test_a_damaged_network_is_loaded_or_refused(leaky_sum: bytes, data):
    damaged = bytearray(leaky_sum)
    for _ in range(data.draw(st.integers(1, 3))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] ^= data.draw(st.integers(1, 255))
    with suppress(InvalidInput, Refused):
        load_student(bytes(damaged))


def test_a_student_above_the_bound_is_refused(leaky_sum: bytes):
    with pytest.raises(Exhausted, match=f"at most {len(leaky_sum) - 1} can be loaded"):
        load_student(leaky_sum, max_bytes=len(leaky_sum) - 1)


def test_a_student_that_reads_other_files_is_refused(make_network, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "weights").write_bytes(np.ones(3, np.float32).tobytes())
    weight = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[3], data_location=TensorProto.EXTERNAL)
    weight.external_data.add(key="location", value="weights")
    data = make_network([helper.make_node("Add", ["x", "w"], ["y"])], X, Y, initializers=[weight])
    with pytest.raises(Refused, match="keeps tensor 'w' in another file"):
        load_student(data)


def test_a_student_that_reads_other_files_in_a_branch_is_refused(make_network):
    weight = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[1, 3], data_location=TensorProto.EXTERNAL)
    weight.external_data.add(key="location", value="weights")
    value = [helper.make_tensor_value_info("b", TensorProto.FLOAT, [1, 3])]
    hidden = helper.make_graph([helper.make_node("Constant", [], ["b"], value=weight)], "then", [], value)
    plain = helper.make_graph([helper.make_node("Identity", ["x"], ["b"])], "else", [], value)
    yes = helper.make_tensor("yes", TensorProto.BOOL, [], [True])
    node = helper.make_node("If", ["yes"], ["y"], then_branch=hidden, else_branch=plain)
    with pytest.raises(Refused, match="in another file"):
        load_student(make_network([node], X, Y, initializers=[yes]))


def test_a_student_that_draws_random_numbers_is_refused(make_network):
    noise = helper.make_node("RandomNormalLike", ["x"], ["noise"], name="noisy")
    data = make_network([noise, helper.make_node("Add", ["x", "noise"], ["y"])], X, Y)
    with pytest.raises(Refused, match=r"draws random numbers in node 'noisy' \(RandomNormalLike\)"):
        load_student(data)


def doubling(name: str, inner: str, domain: str) -> onnx.FunctionProto:
    nodes = [helper.make_node(inner, ["a"], ["b"], domain=domain), helper.make_node(inner, ["b"], ["c"], domain=domain)]
    return helper.make_function(
        "f", name, ["a"], ["c"], nodes, [helper.make_opsetid("", 17), helper.make_opsetid("f", 1)]
    )


def test_a_student_that_unfolds_without_an_end_is_refused(make_network):
    functions = [doubling("f0", "Neg", ""), *(doubling(f"f{n}", f"f{n - 1}", "f") for n in range(1, 40))]
    node = helper.make_node("f39", ["x"], ["y"], domain="f")
    with pytest.raises(Refused, match=f"has {2**41 - 1} nodes"):
        load_student(make_network([node], X, Y, functions=functions, domains=["f"]))


def test_a_function_that_calls_itself_is_refused(make_network):
    functions = [doubling("f0", "f1", "f"), doubling("f1", "f0", "f")]
    node = helper.make_node("f0", ["x"], ["y"], domain="f")
    with pytest.raises(Refused, match="calls itself"):
        load_student(make_network([node], X, Y, functions=functions, domains=["f"]))


def test_a_student_with_an_unknown_operator_is_refused(make_network):
    data = make_network([helper.make_node("Dream", ["x"], ["y"], domain="somewhere")], X, Y, domains=["somewhere"])
    with pytest.raises(Refused, match="an operator that is not replayed"):
        load_student(data)


def test_a_student_of_texts_is_refused(make_network):
    data = make_network(
        [helper.make_node("Identity", ["x"], ["y"])], [("x", TensorProto.STRING, [1])], [("y", TensorProto.STRING, [1])]
    )
    with pytest.raises(Refused, match="input or output 'x' of type string"):
        load_student(data)


def test_a_network_names_its_own_states(leaky_sum: bytes, parse):
    model = parse(leaky_sum)
    for node in model.graph.node:
        for names in (node.input, node.output):
            names[:] = ["result" if name == "level_out" else "before" if name == "level" else name for name in names]
    model.graph.input[1].name = "before"
    model.graph.output[1].name = "result"
    assert load_student(model.SerializeToString()).signature.states == ()
    helper.set_model_props(model, {"engram.state.before": "result"})
    student = load_student(model.SerializeToString())
    assert [(pair.before.name, pair.after.name) for pair in student.signature.states] == [("before", "result")]


def test_loading_writes_nothing_to_the_terminal(silero_bytes: bytes, leaky_sum: bytes, capfd):
    student = load_student(leaky_sum)
    run(student, {"": np.ones((2, 3), np.float32)})
    with pytest.raises(InvalidInput):
        load_student(silero_bytes[:-500])
    assert capfd.readouterr() == ("", "")
