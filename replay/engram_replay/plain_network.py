"""A network of the usual kind, with which each process goes once through all that a student needs."""

from __future__ import annotations

from functools import cache
from typing import Final

import numpy as np
import onnx
import onnx.helper
import onnx.numpy_helper

_CHANNELS: Final = 64
_UNITS: Final = 256


@cache
def plain_network() -> bytes:
    """Return a recurrent network of the usual kind and size, all its weights zero."""
    shapes = {"w": (1, 3 * _UNITS, _CHANNELS), "r": (1, 3 * _UNITS, _UNITS), "o": (_UNITS, _CHANNELS)}
    weights = [onnx.numpy_helper.from_array(np.zeros(shape, np.float32), name) for name, shape in shapes.items()]
    axes: dict[str, list[str | int]] = {
        "x": ["time", "batch", _CHANNELS],
        "h0": [1, "batch", _UNITS],
        "h1": [1, "batch", _UNITS],
    }
    axes["y"] = ["time", 1, "batch", _CHANNELS]
    tensors = {
        name: onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, axes_of)
        for name, axes_of in axes.items()
    }
    nodes = [
        onnx.helper.make_node("GRU", ["x", "w", "r", "", "", "h0"], ["all", "h1"], hidden_size=_UNITS),
        onnx.helper.make_node("MatMul", ["all", "o"], ["y"]),
    ]
    graph = onnx.helper.make_graph(
        nodes, "plain", [tensors["x"], tensors["h0"]], [tensors["y"], tensors["h1"]], initializer=weights
    )
    opsets = [onnx.helper.make_opsetid("", 17)]
    return onnx.helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString()
