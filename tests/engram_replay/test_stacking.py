"""Many students of one architecture are one network, and each is what it is alone."""

from __future__ import annotations

import itertools
import re

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from engram_format.errors import InvalidInput
from engram_replay.execution import Form
from engram_replay.stacking import CannotStack, architecture_of, choose, shared_base, shared_weights, stack

CHANNELS = 6


def student(nodes, held, inputs, outputs, *, opset=21, metadata=None) -> onnx.ModelProto:
    """Return a network; inputs and outputs are name -> shape, all of 32-bit floats."""
    graph = helper.make_graph(
        nodes,
        "student",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in inputs.items()],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in outputs.items()],
        initializer=[numpy_helper.from_array(np.asarray(array), name) for name, array in held.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    helper.set_model_props(model, metadata or {})
    onnx.checker.check_model(model, full_check=True)
    return model


def weights(seed):
    chance = np.random.default_rng(seed)
    return lambda *shape: (chance.standard_normal(shape) * 0.4).astype(np.float32)


def written_out(seed: int, *, units: int = 16, base: int | None = None, prefix: str = "", readout=None):
    """A student written step by step; with `base` its recurrent weights come from that seed."""
    own, common = weights(seed), weights(seed if base is None else base)
    held = {
        "U": common(CHANNELS, units),
        "W": common(units, units),
        "V": own(units, 4) if readout is None else readout,
        "b": own(4),
    }
    nodes = [
        helper.make_node("MatMul", ["x", prefix + "U"], [prefix + "driven"]),
        helper.make_node("MatMul", ["h0", prefix + "W"], [prefix + "recurrent"]),
        helper.make_node("Add", [prefix + "driven", prefix + "recurrent"], [prefix + "sum"]),
        helper.make_node("Tanh", [prefix + "sum"], ["h1"]),
        helper.make_node("Gemm", ["h1", prefix + "V", prefix + "b"], ["y"]),
    ]
    inputs = {"x": ["batch", CHANNELS], "h0": ["batch", units]}
    outputs = {"y": ["batch", 4], "h1": ["batch", units]}
    return student(nodes, {prefix + name: array for name, array in held.items()}, inputs, outputs)


def cell(operator: str, seed: int, *, units: int = 8, steps="time", bias=True, gates=None, shared=None, **attributes):
    """A student around a recurrent operator, with every output of it used."""
    draw = weights(seed if shared is None else shared)
    gates = gates or {"GRU": 3, "LSTM": 4, "RNN": 1}[operator]
    states = ["h0", "c0"] if operator == "LSTM" else ["h0"]
    afters = ["h1", "c1"] if operator == "LSTM" else ["h1"]
    held = {"W": draw(1, gates * units, CHANNELS), "R": draw(1, gates * units, units)}
    if bias:
        held["B"] = draw(1, 2 * gates * units)
    held |= {"V": weights(seed)(units, 4), "one": np.array([1])}
    nodes = [
        helper.make_node(
            operator, ["x", "W", "R", "B" if bias else "", "", *states], ["Y", *afters], hidden_size=units, **attributes
        ),
        helper.make_node("Squeeze", ["Y", "one"], ["S"]),
        helper.make_node("MatMul", ["S", "V"], ["y"]),
    ]
    inputs = {"x": [steps, "batch", CHANNELS], **{name: [1, "batch", units] for name in states}}
    outputs = {"y": [steps, "batch", 4], **{name: [1, "batch", units] for name in afters}}
    return student(nodes, held, inputs, outputs)


def many_operators(seed: int, *, batch: int | str = "batch"):
    """A student that goes through each of the other operators that change shapes, or take elements by themselves."""
    draw = weights(seed)
    held = {
        "W": draw(24, CHANNELS),
        "c": draw(24),
        "scale": draw(1, 3, 8),
        "gain": np.float32(seed + 1.5),
        "M": draw(8, 8),
        "shape": np.array([0, 3, 8]),
        "flat": np.array([-1, 24]),
        "lengths": np.array([10, 14]),
        "starts": np.array([2]),
        "ends": np.array([10]),
        "last": np.array([-1]),
        "second": np.array([1]),
    }
    nodes = [
        helper.make_node("Gemm", ["x", "W", "c"], ["g"], transB=1, alpha=0.5, beta=2.0),
        helper.make_node("Reshape", ["g", "shape"], ["cube"]),
        helper.make_node("Mul", ["cube", "scale"], ["scaled"]),
        helper.make_node("Transpose", ["scaled"], ["turned"], perm=[0, 2, 1]),
        helper.make_node("Softplus", ["turned"], ["soft"]),
        helper.make_node("Transpose", ["soft"], ["back"], perm=[0, 2, 1]),
        helper.make_node("MatMul", ["back", "M"], ["mixed"]),
        helper.make_node("Reshape", ["mixed", "flat"], ["row"]),
        helper.make_node("Split", ["row", "lengths"], ["left", "right"], axis=1),
        helper.make_node("Slice", ["right", "starts", "ends", "second"], ["middle"]),
        helper.make_node("Concat", ["left", "middle"], ["joined"], axis=-1),
        helper.make_node("Unsqueeze", ["joined", "second"], ["raised"]),
        helper.make_node("Sigmoid", ["raised"], ["open"]),
        helper.make_node("Squeeze", ["open", "second"], ["lowered"]),
        helper.make_node("Constant", [], ["shift"], value_float=0.25 * seed),
        helper.make_node("Sub", ["lowered", "shift"], ["shifted"]),
        helper.make_node("Exp", ["shifted"], ["grown"]),
        helper.make_node("Div", ["grown", "gain"], ["weighed"]),
        helper.make_node("Relu", ["weighed"], ["y"]),
    ]
    return student(nodes, held, {"x": [batch, CHANNELS]}, {"y": [batch, 18]})


def vectors(seed: int):
    """A student without a batch: its input is one vector."""
    draw = weights(seed)
    nodes = [
        helper.make_node("MatMul", ["x", "W"], ["wx"]),
        helper.make_node("Add", ["wx", "b"], ["sum"]),
        helper.make_node("Tanh", ["sum"], ["h"]),
        helper.make_node("MatMul", ["h", "v"], ["dot"]),
        helper.make_node("Mul", ["dot", "h"], ["y"]),
    ]
    return student(nodes, {"W": draw(CHANNELS, 5), "b": draw(5), "v": draw(5)}, {"x": [CHANNELS]}, {"y": [5]})


def summed_weights(seed: int):
    """A student whose weights are a sum of two, one of them the same in all."""
    nodes = [helper.make_node("Add", ["A", "B"], ["W"]), helper.make_node("MatMul", ["x", "W"], ["y"])]
    held = {"A": weights(99)(CHANNELS, 3), "B": weights(seed)(1, 3)}
    return student(nodes, held, {"x": ["batch", CHANNELS]}, {"y": ["batch", 3]})


def two_layers(seed: int, *, units: int = 8):
    """A student as exporters write it: batch before time, two layers in a row, their states in one tensor each."""
    draw = weights(seed)
    held = {
        "W1": draw(1, 3 * units, CHANNELS),
        "R1": draw(1, 3 * units, units),
        "B1": draw(1, 6 * units),
        "W2": draw(1, 4 * units, units),
        "R2": draw(1, 4 * units, units),
        "one": np.array([1]),
    }
    nodes = [
        helper.make_node("Transpose", ["x"], ["by time"], perm=[1, 0, 2]),
        helper.make_node("GRU", ["by time", "W1", "R1", "B1", "", "h0"], ["Y1", "h1"], hidden_size=units),
        helper.make_node("Squeeze", ["Y1", "one"], ["S1"]),
        helper.make_node("LSTM", ["S1", "W2", "R2", "", "", "g0", "c0"], ["Y2", "g1", "c1"], hidden_size=units),
        helper.make_node("Squeeze", ["Y2", "one"], ["S2"]),
        helper.make_node("Transpose", ["S2"], ["y"], perm=[1, 0, 2]),
    ]
    states = {name: [1, "batch", units] for name in ("h0", "g0", "c0")}
    afters = {name: [1, "batch", units] for name in ("h1", "g1", "c1")}
    inputs = {"x": ["batch", "time", CHANNELS], **states}
    return student(nodes, held, inputs, {"y": ["batch", "time", units], **afters})


FAMILIES = {
    "written out": written_out,
    "GRU": lambda seed: cell("GRU", seed),
    "GRU that resets after the product": lambda seed: cell("GRU", seed, linear_before_reset=1),
    "GRU without bias": lambda seed: cell("GRU", seed, bias=False),
    "GRU that resets after the product, without bias": lambda seed: cell(
        "GRU", seed, bias=False, linear_before_reset=1
    ),
    "GRU of one step": lambda seed: cell("GRU", seed, steps=1, activations=["Sigmoid", "Tanh"]),
    "LSTM": lambda seed: cell("LSTM", seed),
    "LSTM without bias": lambda seed: cell("LSTM", seed, bias=False),
    "RNN": lambda seed: cell("RNN", seed),
    "rectified RNN": lambda seed: cell("RNN", seed, activations=["Relu"]),
    "two layers": two_layers,
    "many operators": many_operators,
    "batch of one": lambda seed: many_operators(seed, batch=1),
    "vectors": vectors,
    "summed weights": summed_weights,
}


def feeds(model: onnx.ModelProto, minds: int, *, rows: int = 3, seed: int = 1) -> dict[str, np.ndarray]:
    """Return what a group of such students takes: free batch axes with so many rows, time of one step."""
    draw = weights(seed)
    lengths = {"batch": rows, "time": 1}

    def shape(value):
        return [
            lengths[axis.dim_param] if axis.dim_param else axis.dim_value for axis in value.type.tensor_type.shape.dim
        ]

    return {value.name: draw(minds, *shape(value)) * 3 for value in model.graph.input}


def run(network: bytes | onnx.ModelProto, feed) -> dict[str, np.ndarray]:
    data = network if isinstance(network, bytes) else network.SerializeToString()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    names = [value.name for value in session.get_outputs()]
    return dict(zip(names, session.run(names, feed), strict=True))


def one_by_one(models, feed) -> dict[str, np.ndarray]:
    """Run each student by itself; return what they answer, minds in front."""
    rows = [run(model, {name: array[mind] for name, array in feed.items()}) for mind, model in enumerate(models)]
    return {name: np.stack([row[name] for row in rows]) for name in rows[0]}


def same(one, other) -> bool:
    return all(one[name].tobytes() == other[name].tobytes() for name in one.keys() | other.keys())


@pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES.keys())
def test_a_stack_answers_as_its_students_do_one_by_one(family):
    models = [family(seed) for seed in range(5)]
    network, feed = stack(models), feeds(models[0], 5)
    onnx.checker.check_model(onnx.load_model_from_string(network), full_check=True)
    together, alone = run(network, feed), one_by_one(models, feed)
    assert together.keys() == alone.keys()
    for name, expected in alone.items():
        assert together[name].shape == expected.shape
        assert np.ptp(expected) > 0
        np.testing.assert_allclose(together[name], expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("family", [written_out, FAMILIES["GRU"], FAMILIES["LSTM"], two_layers, many_operators])
def test_the_bits_of_a_mind_do_not_depend_on_its_company(family):
    models = [family(seed) for seed in range(16)]
    feed = feeds(models[0], 16)
    whole = run(stack(models), feed)
    for minds in (2, 3, 5, 8, 15):
        part = run(stack(models[:minds]), {name: array[:minds] for name, array in feed.items()})
        assert same(part, {name: array[:minds] for name, array in whole.items()})
    order = np.random.default_rng(3).permutation(16)
    turned = run(stack([models[mind] for mind in order]), {name: array[order] for name, array in feed.items()})
    assert same(turned, {name: array[order] for name, array in whole.items()})
    twice = run(stack([models[7]] * 2), {name: array[[7, 7]] for name, array in feed.items()})
    assert same(twice, {name: array[[7, 7]] for name, array in whole.items()})


@pytest.mark.parametrize(("family", "axis"), [(written_out, 1), (FAMILIES["GRU"], 2), (FAMILIES["LSTM"], 2)])
@pytest.mark.parametrize("form", ["stacked", "shared"])
def test_the_bits_of_a_row_do_not_depend_on_other_rows(family, axis, form):
    models = [family(seed) for seed in range(3)]
    network = stack(models) if form == "stacked" else shared_base([models[0]] * 3, shared=["0", "1"])
    feed = feeds(models[0], 3, rows=70)
    many = run(network, feed)
    for rows in ([0], [1, 0], [5, 69, 2], list(range(69, -1, -1)), list(range(17))):
        fewer = run(network, {name: array.take(rows, axis) for name, array in feed.items()})
        assert same(fewer, {name: array.take(rows, axis) for name, array in many.items()})


@pytest.mark.parametrize("units", [16, 200])
def test_the_bits_of_wide_students_hold_too(units: int):
    models = [written_out(seed, units=units) for seed in range(4)]
    feed = feeds(models[0], 4, rows=9)
    whole = run(stack(models), feed)
    first = run(stack(models[:2]), {name: array[:2, :1] for name, array in feed.items()})
    assert same(first, {name: array[:2, :1] for name, array in whole.items()})


def test_a_step_hands_its_state_to_the_next():
    models = [cell("GRU", seed) for seed in range(3)]
    together, alone = (stack(models), models)
    feed = feeds(models[0], 3)
    expected, state = dict(feed), dict(feed)
    for _ in range(20):
        state["h0"] = run(together, state)["h1"]
        expected["h0"] = one_by_one(alone, expected)["h1"]
    np.testing.assert_allclose(state["h0"], expected["h0"], atol=1e-5)


def test_a_stack_of_a_recurrent_operator_takes_one_step():
    network = onnx.load_model_from_string(stack([cell("GRU", seed) for seed in range(2)]))
    shapes = {
        value.name: [axis.dim_param or axis.dim_value for axis in value.type.tensor_type.shape.dim]
        for value in (*network.graph.input, *network.graph.output)
    }
    assert shapes == {
        "x": [2, 1, "batch", CHANNELS],
        "h0": [2, 1, "batch", 8],
        "y": [2, 1, "batch", 4],
        "h1": [2, 1, "batch", 8],
    }


def test_the_same_students_make_the_same_network():
    models = [cell("LSTM", seed) for seed in range(3)]
    assert stack(models) == stack(models)


def test_a_stack_keeps_what_its_students_say_alike():
    models = [written_out(seed) for seed in range(2)]
    for seed, model in enumerate(models):
        helper.set_model_props(model, {"engram.state.h0": "h1", "trained": f"run {seed}"})
    said = {entry.key: entry.value for entry in onnx.load_model_from_string(stack(models)).metadata_props}
    assert said == {"engram.state.h0": "h1", "engram.stack.form": "stacked-2", "engram.stack.minds": "2"}


# A shared base


def readouts(count: int, *, units: int = 64):
    return [written_out(seed, units=units, base=99) for seed in range(count)]


def deltas(count: int):
    """Students of one base with thin matrices of their own, held as a pair."""

    def one(seed):
        base, own = weights(99), weights(seed)
        held = {"W": base(32, 32), "U": base(CHANNELS, 32), "A": own(32, 2), "B": own(2, 32)}
        nodes = [
            helper.make_node("MatMul", ["h0", "W"], ["common"]),
            helper.make_node("MatMul", ["h0", "A"], ["thin"]),
            helper.make_node("MatMul", ["thin", "B"], ["delta"]),
            helper.make_node("MatMul", ["x", "U"], ["driven"]),
            helper.make_node("Sum", ["common", "delta", "driven"], ["sum"]),
            helper.make_node("Tanh", ["sum"], ["h1"]),
            helper.make_node("Identity", ["h1"], ["y"]),
        ]
        return student(
            nodes, held, {"x": ["batch", CHANNELS], "h0": ["batch", 32]}, {"y": ["batch", 32], "h1": ["batch", 32]}
        )

    return [one(seed) for seed in range(count)]


def cells_with_readouts(operator):
    return lambda count: [cell(operator, seed, units=24, shared=99) for seed in range(count)]


BASES = {
    "readouts": readouts,
    "deltas": deltas,
    "GRU": cells_with_readouts("GRU"),
    "LSTM": cells_with_readouts("LSTM"),
    "RNN": cells_with_readouts("RNN"),
    "summed weights": lambda count: [summed_weights(seed) for seed in range(count)],
}


@pytest.mark.parametrize("group", BASES.values(), ids=BASES.keys())
def test_students_of_one_base_answer_as_they_do_one_by_one(group):
    models = group(6)
    network, feed = shared_base(models), feeds(models[0], 6)
    assert network is not None
    assert len(network) < len(stack(models))
    together, alone = run(network, feed), one_by_one(models, feed)
    for name, expected in alone.items():
        np.testing.assert_allclose(together[name], expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("group", [readouts, BASES["GRU"]])
def test_what_the_base_computes_has_the_bits_of_a_student_alone(group):
    models = group(4)
    feed = feeds(models[0], 4)
    assert same({"h1": run(shared_base(models), feed)["h1"]}, {"h1": one_by_one(models, feed)["h1"]})


@pytest.mark.parametrize("group", BASES.values(), ids=BASES.keys())
def test_the_bits_of_a_mind_on_a_shared_base_do_not_depend_on_its_company(group):
    models = group(16)
    feed = feeds(models[0], 16)
    whole = run(shared_base(models), feed)
    for minds in (2, 3, 9):
        part = run(shared_base(models[:minds]), {name: array[:minds] for name, array in feed.items()})
        assert same(part, {name: array[:minds] for name, array in whole.items()})
    order = np.random.default_rng(3).permutation(16)
    turned = run(shared_base([models[mind] for mind in order]), {name: array[order] for name, array in feed.items()})
    assert same(turned, {name: array[order] for name, array in whole.items()})
    again = shared_base([models[7]] * 2, shared=shared_weights(models))
    twice = run(again, {name: array[[7, 7]] for name, array in feed.items()})
    assert same(twice, {name: array[[7, 7]] for name, array in whole.items()})


def test_the_network_of_a_shared_base_names_what_is_shared():
    said = {entry.key: entry.value for entry in onnx.load_model_from_string(shared_base(readouts(2))).metadata_props}
    assert said == {"engram.stack.form": "shared-1", "engram.stack.minds": "2", "engram.stack.shared": "0 1"}
    assert shared_weights(readouts(2)) == ("0", "1")


def test_students_that_share_little_have_no_base():
    assert shared_base([written_out(seed) for seed in range(3)]) is None
    assert shared_base([written_out(seed, readout=np.ones((16, 4), np.float32)) for seed in range(3)]) is None


@pytest.mark.parametrize("places", [["2"], ["0", "W"], ["7"]])
def test_a_weight_that_is_not_shared_cannot_be_said_to_be(places):
    with pytest.raises(InvalidInput, match=r"no weight '(2|W|7)' that these students share: name some of 0, 1"):
        shared_base(readouts(2), shared=places)


def test_a_record_of_what_is_shared_holds_for_students_with_other_inner_names():
    models = [written_out(1, base=9), written_out(2, base=9, prefix="onnx::")]
    feed = feeds(models[0], 2)
    whole = run(shared_base(models), feed)
    again = shared_base([models[1]] * 2, shared=shared_weights(models))
    twice = run(again, {name: array[[1, 1]] for name, array in feed.items()})
    assert same(twice, {name: array[[1, 1]] for name, array in whole.items()})


# Architectures


def test_students_that_differ_in_weights_and_inner_names_are_of_one_architecture():
    one, other = written_out(1), written_out(2, prefix="onnx::")
    assert architecture_of(one) == architecture_of(other)
    assert len(architecture_of(one)) == 64
    feed = feeds(one, 2)
    together, alone = run(stack([one, other]), feed), one_by_one([one, other], feed)
    np.testing.assert_allclose(together["y"], alone["y"], rtol=1e-5, atol=1e-5)


def test_a_difference_that_is_not_one_of_weights_is_another_architecture():
    made = itertools.chain(
        [written_out(1), written_out(1, units=17), vectors(1), many_operators(1), many_operators(1, batch=1)],
        [cell("GRU", 1), cell("GRU", 1, linear_before_reset=1), cell("GRU", 1, steps=1), cell("LSTM", 1)],
    )
    digests = [architecture_of(model) for model in made]
    other_axis = many_operators(1)
    (axis,) = (tensor for tensor in other_axis.graph.initializer if tensor.name == "starts")
    axis.CopyFrom(numpy_helper.from_array(np.array([3]), "starts"))
    digests.append(architecture_of(other_axis))
    assert len(set(digests)) == len(digests) == 10


def test_students_of_two_architectures_are_not_stacked():
    with pytest.raises(CannotStack, match="they are of 2 architectures"):
        stack([written_out(1), written_out(2, units=17)])


@pytest.mark.parametrize("count", [0, 1])
def test_fewer_than_two_students_are_no_stack(count: int):
    with pytest.raises(CannotStack, match="two students or more"):
        stack([written_out(1)] * count)


# Refusals


def convolution():
    held = {"K": weights(1)(3, 3, 2)}
    nodes = [helper.make_node("Conv", ["x", "K"], ["y"], name="front")]
    return student(nodes, held, {"x": ["batch", 3, 9]}, {"y": ["batch", 3, 8]})


def weights_on_the_left():
    nodes = [helper.make_node("MatMul", ["W", "x"], ["y"])]
    return student(nodes, {"W": weights(1)(3, 3)}, {"x": [3, "batch"]}, {"y": [3, "batch"]})


def reshaped_by_an_input():
    graph = helper.make_graph(
        [helper.make_node("Reshape", ["x", "shape"], ["y"])],
        "student",
        [
            helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 4]),
            helper.make_tensor_value_info("shape", TensorProto.INT64, [2]),
        ],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None, None])],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=8)


def stateless_cell():
    model = cell("GRU", 1)
    model.graph.node[0].input[5] = ""
    del model.graph.input[1]
    return model


def branch():
    part = helper.make_graph(
        [helper.make_node("Tanh", ["x"], ["t"])],
        "part",
        [],
        [helper.make_tensor_value_info("t", TensorProto.FLOAT, [3])],
    )
    nodes = [helper.make_node("If", ["yes"], ["y"], then_branch=part, else_branch=part)]
    return student(nodes, {"yes": np.array(True)}, {"x": [3]}, {"y": [3]})


def old():
    nodes = [helper.make_node("Tanh", ["x"], ["y"])]
    return student(nodes, {}, {"x": [3]}, {"y": [3]}, opset=12)


def weight_as_output():
    nodes = [helper.make_node("Tanh", ["x"], ["y"])]
    return student(nodes, {"W": weights(1)(3)}, {"x": [3]}, {"y": [3], "W": [3]})


REFUSED = {
    "Conv": (convolution, r"node 'front' \(Conv\) cannot be stacked, an operator that needs"),
    "weights on the left": (weights_on_the_left, r"node 'y' \(MatMul\) cannot be stacked, it begins with weights"),
    "shape from an input": (reshaped_by_an_input, r"node 'y' \(Reshape\) cannot be stacked, 'shape' is computed"),
    "several steps": (
        lambda: cell("GRU", 1, steps=4),
        r"node 'Y' \(GRU\) cannot be stacked, it takes more than one step",
    ),
    "backwards": (lambda: cell("RNN", 1, direction="reverse"), r"\(RNN\) cannot be stacked, its direction"),
    "clipped": (lambda: cell("LSTM", 1, clip=1.0), r"\(LSTM\) cannot be stacked, its clip"),
    "odd functions": (
        lambda: cell("GRU", 1, activations=["HardSigmoid", "Tanh"]),
        r"\(GRU\) cannot be stacked, its activations",
    ),
    "no state": (stateless_cell, r"\(GRU\) cannot be stacked, its state is not an input"),
    "branches": (branch, "they hold functions, branches or loops"),
    "old opset": (old, "they are of opset 12: convert them to opset 13 or later"),
    "weight as output": (weight_as_output, "output 'W' comes from weights alone"),
}


@pytest.mark.parametrize(("make", "message"), REFUSED.values(), ids=REFUSED.keys())
def test_what_cannot_be_stacked_is_named(make, message: str):
    with pytest.raises(CannotStack, match=message):
        stack([make(), make()])


def test_weights_in_another_file_are_not_read(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model = written_out(1)
    onnx.save_model(model, "m.onnx", save_as_external_data=True, location="outside", size_threshold=0)
    outside = onnx.load_model("m.onnx", load_external_data=False)
    for attempt in (architecture_of, lambda model: stack([model] * 2), lambda model: choose([model] * 2)):
        with pytest.raises(InvalidInput, match="lies in another file"):
            attempt(outside)


def test_weights_that_are_cut_short_are_told():
    model = written_out(1)
    model.graph.initializer[0].raw_data = model.graph.initializer[0].raw_data[:-4]
    with pytest.raises(InvalidInput, match="'U' does not hold what its shape says"):
        stack([model] * 2)


# Choosing


@pytest.mark.parametrize(
    ("models", "form", "reason"),
    [
        ([written_out(1)], Form.SOLO, "one student runs by itself"),
        ([written_out(1), written_out(1)], Form.SOLO, "2 students are one and the same"),
        ([written_out(1), cell("GRU", 1)], Form.SOLO, "2 students run one by one: they are of 2 architectures"),
        ([convolution(), written_out(1)], Form.SOLO, "2 architectures"),
        (
            [written_out(1), written_out(2)],
            Form.STACKED,
            "2 students run as one network with stacked weights: with 2 KiB",
        ),
        (
            [written_out(seed, units=300) for seed in range(3)],
            Form.SOLO,
            r"3 students run one by one: each has 363 KiB of weights for itself in layers of 300 units.*up to 256 KiB",
        ),
        (
            [written_out(seed, units=300, base=9) for seed in range(3)],
            Form.SHARED,
            "on a shared base: of 363 KiB of weights each has 5 KiB for itself",
        ),
    ],
)
def test_the_form_follows_from_sizes_and_is_explained(models, form: Form, reason: str):
    choice = choose(models)
    assert choice.form is form
    assert (choice.network is None) == (form is Form.SOLO)
    assert re.search(reason, choice.reason)


@pytest.mark.parametrize(("models", "few"), [([written_out(1), written_out(2)], 4), (readouts(2), 16)])
def test_minds_of_many_rows_run_one_by_one(models, few: int):
    assert choose(models, rows=few).network is not None
    choice = choose(models, rows=few + 1)
    assert choice.form is Form.SOLO
    assert f"with {few + 1} rows each" in choice.reason


def test_a_group_that_cannot_be_stacked_is_told_why():
    other = convolution()
    other.graph.initializer[0].CopyFrom(numpy_helper.from_array(weights(2)(3, 3, 2), "K"))
    choice = choose([convolution(), other])
    assert choice.form is Form.SOLO
    assert choice.reason.startswith("2 students run one by one: node 'front' (Conv) cannot be stacked")
