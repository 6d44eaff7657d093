"""Students of the four kinds that are usual, with random weights: recurrent, reservoir, convolution, attention.

Each function returns the bytes of an ONNX network; the same arguments give the same bytes.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
import onnx.parser
from onnx import TensorProto, helper, numpy_helper

OPSET = 21
IR_VERSION = 10


class _Graph:
    """A network while it is built: nodes and weights, each weight drawn when it is named."""

    def __init__(self, seed: int) -> None:
        self.random = np.random.default_rng(seed)
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []

    def weight(self, name: str, *shape: int, spread: float) -> str:
        return self.constant(name, (self.random.standard_normal(shape) * spread).astype(np.float32))

    def constant(self, name: str, values) -> str:
        self.weights.append(numpy_helper.from_array(np.asarray(values), name))
        return name

    def add(self, operator: str, inputs: Sequence[str], *outputs: str, **attributes) -> str:
        self.nodes.append(helper.make_node(operator, list(inputs), list(outputs), **attributes))
        return outputs[0]

    def to_bytes(self, name: str, *, inputs: dict[str, list], outputs: dict[str, list]) -> bytes:
        def declared(tensors: dict[str, list]) -> list[onnx.ValueInfoProto]:
            return [helper.make_tensor_value_info(key, TensorProto.FLOAT, shape) for key, shape in tensors.items()]

        graph = helper.make_graph(self.nodes, name, declared(inputs), declared(outputs), self.weights)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
        onnx.checker.check_model(model, full_check=True)
        return model.SerializeToString(deterministic=True)


def gru(*, stimuli: int = 64, hidden: int = 256, responses: int = 64, seed: int = 7) -> bytes:
    """A gated recurrent unit: x [T, B, stimuli] and h0 [1, B, hidden] to y [T, B, responses] and h1."""
    graph = _Graph(seed)
    weights = [
        graph.weight("W", 1, 3 * hidden, stimuli, spread=stimuli**-0.5),
        graph.weight("R", 1, 3 * hidden, hidden, spread=hidden**-0.5),
        graph.weight("bias", 1, 6 * hidden, spread=0.1),
    ]
    graph.add("GRU", ["x", *weights, "", "h0"], "all", "h1", hidden_size=hidden, linear_before_reset=1)
    graph.add("Squeeze", ["all", graph.constant("directions", np.array([1], np.int64))], "hidden")
    graph.add("MatMul", ["hidden", graph.weight("out", hidden, responses, spread=hidden**-0.5)], "linear")
    graph.add("Add", ["linear", graph.weight("out_bias", responses, spread=0.1)], "y")
    return graph.to_bytes(
        "gru",
        inputs={"x": ["T", "B", stimuli], "h0": [1, "B", hidden]},
        outputs={"y": ["T", "B", responses], "h1": [1, "B", hidden]},
    )


def spiking(*, units: int = 3) -> bytes:
    """A leaky sum h1 = h0 / 2 + x: x [B, units] and h0 [B, units] to level, counts (rates), spikes (probabilities) and h1."""
    graph = _Graph(0)
    graph.add("Mul", ["h0", graph.constant("half", np.float32(0.5))], "kept")
    graph.add("Add", ["kept", "x"], "h1")
    graph.add("Identity", ["h1"], "level")
    graph.add("Softplus", ["h1"], "positive")
    graph.add("Mul", ["positive", graph.constant("most", np.float32(3.0))], "counts")
    graph.add("Sigmoid", ["h1"], "spikes")
    shape = ["B", units]
    return graph.to_bytes(
        "spiking",
        inputs={"x": shape, "h0": shape},
        outputs={"level": shape, "counts": shape, "spikes": shape, "h1": shape},
    )


def hazard(*, units: int = 3) -> bytes:
    """Probabilities without a state: x [T, B, units] to spikes [T, B, units]."""
    graph = _Graph(0)
    graph.add("Sigmoid", ["x"], "spikes")
    return graph.to_bytes("hazard", inputs={"x": ["T", "B", units]}, outputs={"spikes": ["T", "B", units]})


def power(*, units: int = 3) -> bytes:
    """x [units] doubled three times in a loop: to y [units]."""
    tensor = helper.make_tensor_value_info
    body = helper.make_graph(
        [helper.make_node("Identity", ["on"], ["going"]), helper.make_node("Add", ["a", "a"], ["b"])],
        "body",
        [tensor("i", TensorProto.INT64, []), tensor("on", TensorProto.BOOL, []), tensor("a", TensorProto.FLOAT, None)],
        [tensor("going", TensorProto.BOOL, []), tensor("b", TensorProto.FLOAT, None)],
    )
    graph = _Graph(0)
    # The reference evaluator takes a condition that is left out for false.
    given = [graph.constant("times", np.int64(3)), graph.constant("ever", np.bool_(True)), "x"]
    graph.add("Loop", given, "y", body=body)
    return graph.to_bytes("power", inputs={"x": [units]}, outputs={"y": [units]})


def reservoir(*, stimuli: int = 64, hidden: int = 512, responses: int = 64, seed: int = 7) -> bytes:
    """One step of a reservoir: x [B, stimuli] and h0 [B, hidden] to y [B, responses] and h1."""
    graph = _Graph(seed)
    graph.add("MatMul", ["x", graph.weight("U", stimuli, hidden, spread=stimuli**-0.5)], "driven")
    graph.add("MatMul", ["h0", graph.weight("W", hidden, hidden, spread=hidden**-0.5)], "recurrent")
    graph.add("Tanh", [graph.add("Add", ["driven", "recurrent"], "sum")], "h1")
    graph.add("MatMul", ["h1", graph.weight("out", hidden, responses, spread=hidden**-0.5)], "linear")
    graph.add("Add", ["linear", graph.weight("out_bias", responses, spread=0.1)], "y")
    return graph.to_bytes(
        "reservoir",
        inputs={"x": ["B", stimuli], "h0": ["B", hidden]},
        outputs={"y": ["B", responses], "h1": ["B", hidden]},
    )


def tcn(*, channels: int = 64, layers: int = 4, kernel: int = 3, seed: int = 7) -> bytes:
    """Dilated causal convolutions that stream: x [B, channels, T] after a context ctx, to y [B, channels, To] and ctx1."""
    graph = _Graph(seed)
    context = (kernel - 1) * (2**layers - 1)
    end = graph.constant("end", np.array([2**31], np.int64))
    along_time = graph.constant("along_time", np.array([2], np.int64))
    current = graph.add("Concat", ["ctx", "x"], "seen", axis=2)
    last = graph.constant("last", np.array([-context], np.int64))
    graph.add("Slice", [current, last, end, along_time], "ctx1")
    for layer in range(layers):
        dilation = 2**layer
        kernels = graph.weight(f"kernels{layer}", channels, channels, kernel, spread=(channels * kernel) ** -0.5)
        bias = graph.weight(f"bias{layer}", channels, spread=0.1)
        graph.add("Conv", [current, kernels, bias], f"conv{layer}", dilations=[dilation], kernel_shape=[kernel])
        graph.add("Relu", [f"conv{layer}"], f"relu{layer}")
        first = graph.constant(f"first{layer}", np.array([(kernel - 1) * dilation], np.int64))
        graph.add("Slice", [current, first, end, along_time], f"kept{layer}")
        current = graph.add("Add", [f"relu{layer}", f"kept{layer}"], f"block{layer}")
    mixing = graph.weight("mixing", channels, channels, 1, spread=channels**-0.5)
    graph.add("Conv", [current, mixing, graph.weight("mixing_bias", channels, spread=0.1)], "y", kernel_shape=[1])
    return graph.to_bytes(
        "tcn",
        inputs={"x": ["B", channels, "T"], "ctx": ["B", channels, context]},
        outputs={"y": ["B", channels, "To"], "ctx1": ["B", channels, context]},
    )


def transformer(
    *, channels: int = 64, window: int = 64, width: int = 128, heads: int = 4, layers: int = 2, seed: int = 7
) -> bytes:
    """Causal attention over a window: x [B, window, channels] to y of the same shape."""
    graph = _Graph(seed)
    split = graph.constant("split", np.array([0, window, heads, width // heads], np.int64))
    joined = graph.constant("joined", np.array([0, window, width], np.int64))
    future = graph.constant("future", np.triu(np.full((window, window), -1e9, np.float32), 1))
    scale = graph.constant("scale", np.float32((width / heads) ** -0.5))
    graph.add("MatMul", ["x", graph.weight("embed", channels, width, spread=channels**-0.5)], "embedded")
    current = graph.add("Add", ["embedded", graph.weight("position", window, width, spread=0.1)], "placed")
    for layer in range(layers):
        current = _attention(
            graph, current, f"a{layer}", split=split, joined=joined, future=future, scale=scale, width=width
        )
        current = _feed_forward(graph, current, f"f{layer}", width=width)
    graph.add("MatMul", [current, graph.weight("out", width, channels, spread=width**-0.5)], "y")
    shape = ["B", window, channels]
    return graph.to_bytes("transformer", inputs={"x": shape}, outputs={"y": shape})


def _attention(
    graph: _Graph, current: str, at: str, *, split: str, joined: str, future: str, scale: str, width: int
) -> str:
    normal = _normal(graph, current, at, width=width)
    turned = {"q": [0, 2, 1, 3], "k": [0, 2, 3, 1], "v": [0, 2, 1, 3]}
    for part, order in turned.items():
        graph.add("MatMul", [normal, graph.weight(f"{at}.W{part}", width, width, spread=width**-0.5)], f"{at}.{part}")
        graph.add("Reshape", [f"{at}.{part}", split], f"{at}.{part}.split")
        graph.add("Transpose", [f"{at}.{part}.split"], f"{at}.{part}.heads", perm=order)
    graph.add("MatMul", [f"{at}.q.heads", f"{at}.k.heads"], f"{at}.score")
    graph.add("Mul", [f"{at}.score", scale], f"{at}.scaled")
    graph.add("Add", [f"{at}.scaled", future], f"{at}.past")
    graph.add("Softmax", [f"{at}.past"], f"{at}.share", axis=-1)
    graph.add("MatMul", [f"{at}.share", f"{at}.v.heads"], f"{at}.mixed")
    graph.add("Transpose", [f"{at}.mixed"], f"{at}.turned", perm=[0, 2, 1, 3])
    graph.add("Reshape", [f"{at}.turned", joined], f"{at}.joined")
    graph.add("MatMul", [f"{at}.joined", graph.weight(f"{at}.Wo", width, width, spread=width**-0.5)], f"{at}.projected")
    return graph.add("Add", [current, f"{at}.projected"], f"{at}.out")


def _feed_forward(graph: _Graph, current: str, at: str, *, width: int) -> str:
    normal = _normal(graph, current, at, width=width)
    graph.add("MatMul", [normal, graph.weight(f"{at}.up", width, 4 * width, spread=width**-0.5)], f"{at}.wide")
    graph.add("Gelu", [f"{at}.wide"], f"{at}.active")
    down = graph.weight(f"{at}.down", 4 * width, width, spread=(4 * width) ** -0.5)
    graph.add("MatMul", [f"{at}.active", down], f"{at}.narrow")
    return graph.add("Add", [current, f"{at}.narrow"], f"{at}.out")


def _normal(graph: _Graph, current: str, at: str, *, width: int) -> str:
    gain = graph.constant(f"{at}.gain", np.ones(width, np.float32))
    return graph.add(
        "LayerNormalization",
        [current, gain, graph.constant(f"{at}.shift", np.zeros(width, np.float32))],
        f"{at}.normal",
    )


def rated() -> bytes:
    """A student with a constant: x [B, N], a whole number rate and h0 [B, 1] to y = rate x + h0 and h1, the largest of rate x."""
    text = """
        <ir_version: 10, opset_import: ["" : 21]>
        rated (float[B, N] x, int64[] rate, float[B, 1] h0) => (float[B, N] y, float[B, 1] h1) {
            factor = Cast<to = 1>(rate)
            scaled = Mul(x, factor)
            y = Add(scaled, h0)
            axis = Constant<value_ints = [1]>()
            h1 = ReduceMax<keepdims = 1>(scaled, axis)
        }
    """
    return onnx.parser.parse_model(text).SerializeToString(deterministic=True)


def self_exciting(*, channels: int = 4, cells: int = 3, with_rate: bool = False) -> bytes:
    """A hazard that depends on the events before: p = sigmoid(stimulus W + trace R - 1), spikes = noise < p.

    `stimulus` [minds, channels], `noise` [minds, cells] and `trace` [minds, cells] to `spikes`, `hazard` and `trace_out`, which
    is half the trace before, and the spikes. Without a contract `noise` is taken for a stimulus.
    """
    graph = _Graph(3)
    graph.add("MatMul", ["stimulus", graph.weight("W", channels, cells, spread=0.5)], "driven")
    graph.add("MatMul", ["trace", graph.weight("R", cells, cells, spread=0.8)], "fed")
    graph.add("Sum", ["driven", "fed", graph.constant("rest", np.float32(-1.0))], "logit")
    graph.add("Sigmoid", ["logit"], "hazard")
    graph.add("Less", ["noise", "hazard"], "fired")
    graph.add("Cast", ["fired"], "spikes", to=TensorProto.FLOAT)
    graph.add("Mul", ["trace", graph.constant("half", np.float32(0.5))], "kept")
    graph.add("Add", ["kept", "spikes"], "trace_out")
    outputs: dict[str, list] = {"spikes": ["minds", cells]}
    if with_rate:
        outputs["hazard"] = ["minds", cells]
    return graph.to_bytes(
        "self_exciting",
        inputs={"stimulus": ["minds", channels], "noise": ["minds", cells], "trace": ["minds", cells]},
        outputs={**outputs, "trace_out": ["minds", cells]},
    )
