"""Minds of an archive that is used first and served afterwards."""

from __future__ import annotations

import numpy as np
import pytest
from engram_testing.archives import MEMORY, Place, deposit
from engram_testing.students import gru
from onnx import TensorProto, helper

from engram_client.remote import connect
from engram_format.errors import NotFound, Precondition
from engram_server.config import ServeConfig
from engram_server.rpc.serve import serving

STIMULUS = np.ones((3, 1, 64), np.float32)


def test_minds_move_to_the_service_that_begins_and_those_before_end():
    place = Place().create()
    archive = place.open()
    deposit(archive, {"gru.onnx": gru()})
    student = MEMORY.of("gru.onnx")
    before = archive.open_minds(student)
    (expected,) = before.tick(STIMULUS).values()
    with serving(ServeConfig(port=0), archive) as port, connect(f"grpc://127.0.0.1:{port}") as remote:
        with pytest.raises(NotFound, match="the host was closed"):
            before.tick(STIMULUS)
        with remote.open_minds(student) as minds:
            assert minds.tick(STIMULUS)["y"].tobytes() == expected.tobytes()
        assert remote.replay(student, {"": STIMULUS[:, 0]}).outputs["y"].tobytes() == expected.tobytes()


def looped() -> bytes:
    """Return a student that doubles its stimulus twice, in a loop."""
    body = helper.make_graph(
        [helper.make_node("Identity", ["going"], ["on"]), helper.make_node("Add", ["v", "v"], ["w"])],
        "doubling",
        [tensor("i", TensorProto.INT64), tensor("going", TensorProto.BOOL), tensor("v", TensorProto.FLOAT, 3)],
        [tensor("on", TensorProto.BOOL), tensor("w", TensorProto.FLOAT, 3)],
    )
    twice = helper.make_tensor("twice", TensorProto.INT64, [], [2])
    graph = helper.make_graph(
        [helper.make_node("Loop", ["twice", "", "x"], ["y"], body=body)],
        "looped",
        [tensor("x", TensorProto.FLOAT, 3)],
        [tensor("y", TensorProto.FLOAT, 3)],
        [twice],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString()


def tensor(name: str, kind: int, *shape: int):
    return helper.make_tensor_value_info(name, kind, shape)


def test_a_service_runs_loops_where_its_operator_allows_them():
    place = Place().create()
    archive = place.open()
    deposit(archive, {"looped.onnx": looped()})
    student, stimulus = MEMORY.of("looped.onnx"), {"": np.ones((2, 3), np.float32)}
    with pytest.raises(Precondition, match="Loop"):
        archive.replay(student, stimulus)
    config = ServeConfig(port=0, allow_loops=True)
    with serving(config, archive) as port, connect(f"grpc://127.0.0.1:{port}") as remote:
        assert (remote.replay(student, stimulus).outputs["y"] == 4).all()
