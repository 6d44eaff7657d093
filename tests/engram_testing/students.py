"""Recurrent students made on the spot, the same bytes in every run."""

from __future__ import annotations

import numpy as np
from onnx import TensorProto, helper, numpy_helper


def gru_student(*, stimuli: int = 64, hidden: int = 256, responses: int = 64, seed: int = 7) -> bytes:
    """A GRU with a linear readout: `x` (time, batch, stimulus), `h0` (1, batch, hidden), to `y` and `h1`."""
    random = np.random.default_rng(seed)

    def weights(name, *shape, scale):
        return numpy_helper.from_array((random.standard_normal(shape) * scale).astype(np.float32), name)

    nodes = [
        helper.make_node(
            "GRU", ["x", "w", "r", "b", "", "h0"], ["all", "h1"], hidden_size=hidden, linear_before_reset=1
        ),
        helper.make_node("Squeeze", ["all", "directions"], ["seen"]),
        helper.make_node("MatMul", ["seen", "out"], ["drive"]),
        helper.make_node("Add", ["drive", "bias"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "gru",
        [
            helper.make_tensor_value_info("x", TensorProto.FLOAT, ["time", "batch", stimuli]),
            helper.make_tensor_value_info("h0", TensorProto.FLOAT, [1, "batch", hidden]),
        ],
        [
            helper.make_tensor_value_info("y", TensorProto.FLOAT, ["time", "batch", responses]),
            helper.make_tensor_value_info("h1", TensorProto.FLOAT, [1, "batch", hidden]),
        ],
        initializer=[
            weights("w", 1, 3 * hidden, stimuli, scale=stimuli**-0.5),
            weights("r", 1, 3 * hidden, hidden, scale=hidden**-0.5),
            weights("b", 1, 6 * hidden, scale=0.1),
            numpy_helper.from_array(np.array([1], np.int64), "directions"),
            weights("out", hidden, responses, scale=hidden**-0.5),
            weights("bias", responses, scale=0.1),
        ],
    )
    return helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8, producer_name="engram tests"
    ).SerializeToString(deterministic=True)
