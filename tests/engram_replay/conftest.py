"""Small networks made on the spot, and the real ones from the data folder."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

from engram_replay.loader import Student, load_student

DATA = Path(__file__).parents[1] / "data" / "onnx_real"


def network(nodes, inputs, outputs, *, initializers=(), functions=(), domains=()) -> bytes:
    """Return an ONNX network; inputs and outputs are (name, type, shape)."""
    graph = helper.make_graph(
        nodes,
        "network",
        [helper.make_tensor_value_info(*value) for value in inputs],
        [helper.make_tensor_value_info(*value) for value in outputs],
        initializer=list(initializers),
    )
    opsets = [helper.make_opsetid("", 17), *(helper.make_opsetid(domain, 1) for domain in domains)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8, functions=list(functions)).SerializeToString()


@pytest.fixture(scope="session")
def make_network():
    return network


@pytest.fixture(scope="session")
def leaky_sum() -> bytes:
    """A student with one state: `level_out` = 0.5 `level` + `x`, `y` = 2 `level_out`; (1, 3) all."""
    constants = [
        helper.make_tensor("half", TensorProto.FLOAT, [], [0.5]),
        helper.make_tensor("two", TensorProto.FLOAT, [], [2.0]),
    ]
    return network(
        [
            helper.make_node("Mul", ["level", "half"], ["kept"]),
            helper.make_node("Add", ["kept", "x"], ["level_out"]),
            helper.make_node("Mul", ["level_out", "two"], ["y"]),
        ],
        [("x", TensorProto.FLOAT, [1, 3]), ("level", TensorProto.FLOAT, [1, 3])],
        [("y", TensorProto.FLOAT, [1, 3]), ("level_out", TensorProto.FLOAT, [1, 3])],
        initializers=constants,
    )


@pytest.fixture(scope="session")
def whole_tanh() -> bytes:
    """A student without state that takes a stimulus of any length: `y` = tanh(`x`), (batch, time, 3)."""
    return network(
        [helper.make_node("Tanh", ["x"], ["y"])],
        [("x", TensorProto.FLOAT, ["batch", "time", 3])],
        [("y", TensorProto.FLOAT, ["batch", "time", 3])],
    )


@pytest.fixture(scope="session")
def endless() -> bytes:
    """A student whose loop does not end by itself."""
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["going"], ["going_on"]),
            helper.make_node("Add", ["carried", "carried"], ["doubled"]),
        ],
        "body",
        [
            helper.make_tensor_value_info("count", TensorProto.INT64, []),
            helper.make_tensor_value_info("going", TensorProto.BOOL, []),
            helper.make_tensor_value_info("carried", TensorProto.FLOAT, [1, 3]),
        ],
        [
            helper.make_tensor_value_info("going_on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("doubled", TensorProto.FLOAT, [1, 3]),
        ],
    )
    return network(
        [helper.make_node("Loop", ["", "yes", "x"], ["y"], body=body)],
        [("x", TensorProto.FLOAT, [1, 3])],
        [("y", TensorProto.FLOAT, [1, 3])],
        initializers=[helper.make_tensor("yes", TensorProto.BOOL, [], [True])],
    )


@pytest.fixture(scope="session")
def silero_bytes() -> bytes:
    return (DATA / "silero_vad_16k_op15.onnx").read_bytes()


@pytest.fixture(scope="session")
def silero(silero_bytes: bytes) -> Student:
    return load_student(silero_bytes)


@pytest.fixture(scope="session")
def basic_pitch() -> Student:
    return load_student((DATA / "basic_pitch_nmp.onnx").read_bytes())


@pytest.fixture(scope="session")
def parse():
    return onnx.load_model_from_string
