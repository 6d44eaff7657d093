"""Networks that would do more than compute."""

from __future__ import annotations

import os
import subprocess
import sys

import onnx
import pytest
from onnx import TensorProto, helper

from engram_format.errors import InvalidInput
from engram_replay.loader import load_student


def outside(name: str) -> onnx.TensorProto:
    tensor = TensorProto(name=name, data_type=TensorProto.UINT8, dims=[16], data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value="identity.txt")
    return tensor


def network(nodes, *, initializers=(), functions=()) -> bytes:
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.UINT8, [16])],
        [helper.make_tensor_value_info("y", TensorProto.UINT8, [16])],
        initializer=initializers,
    )
    domains = [helper.make_opsetid("", 17), helper.make_opsetid("mine", 1)]
    return helper.make_model(graph, opset_imports=domains, functions=functions, ir_version=9).SerializeToString()


def function_with_default() -> onnx.FunctionProto:
    constant = onnx.NodeProto(op_type="Constant", output=["out"])
    constant.attribute.append(onnx.AttributeProto(name="value", ref_attr_name="v", type=onnx.AttributeProto.TENSOR))
    default = onnx.AttributeProto(name="v", type=onnx.AttributeProto.TENSOR, t=outside("secret"))
    made = helper.make_function("mine", "F", ["in"], ["out"], [constant], [helper.make_opsetid("", 17)])
    made.attribute_proto.append(default)
    return made


@pytest.mark.parametrize(
    "data",
    [
        network([helper.make_node("Add", ["x", "w"], ["y"])], initializers=[outside("w")]),
        network([helper.make_node("Constant", [], ["y"], value=outside("w"))]),
        network([helper.make_node("F", ["x"], ["y"], domain="mine")], functions=[function_with_default()]),
    ],
    ids=["initializer", "constant", "default of a function's attribute"],
)
def test_a_network_that_would_read_another_file_is_refused(data, tmp_path, monkeypatch):
    (tmp_path / "identity.txt").write_bytes(b"a secret, 16 B..")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InvalidInput, match="in another file"):
        load_student(data)


def test_a_network_that_trains_is_refused():
    nodes = [
        helper.make_node("Constant", [], ["ratio"], value_float=0.5),
        helper.make_node("Constant", [], ["yes"], value=helper.make_tensor("t", TensorProto.BOOL, [], [True])),
        helper.make_node("Cast", ["x"], ["f"], to=TensorProto.FLOAT),
        helper.make_node("Dropout", ["f", "ratio", "yes"], ["d"]),
        helper.make_node("Cast", ["d"], ["y"], to=TensorProto.UINT8),
    ]
    with pytest.raises(InvalidInput, match="draws random numbers"):
        load_student(network(nodes))


def test_the_runtime_reports_to_nobody(tmp_path):
    script = "import engram_replay, sys; import onnxruntime; onnxruntime.InferenceSession(sys.stdin.buffer.read())"
    environment = {**os.environ, "HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    environment.pop("ORT_DISABLE_TELEMETRY", None)
    subprocess.run(
        [sys.executable, "-c", script],
        input=network([helper.make_node("Identity", ["x"], ["y"])]),
        env=environment,
        check=True,
    )
    assert list(tmp_path.rglob("*")) == []
