"""Parts of networks that are not as they should be, for the attacks that `hostile_students` lists."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise

import numpy as np
import onnx
from onnx import AttributeProto, GraphProto, NodeProto, TensorProto, helper, numpy_helper

FLOAT, INT64, BOOL = TensorProto.FLOAT, TensorProto.INT64, TensorProto.BOOL
node = helper.make_node


def value(name: str, shape: Sequence[int | str] | None = ("n",), kind: int = FLOAT) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, shape)


def stored(name: str, items: object, dtype: type[np.generic] = np.int64) -> TensorProto:
    return numpy_helper.from_array(np.array(items, dtype), name)


def model(
    nodes: Iterable[NodeProto],
    *,
    inputs: Iterable[onnx.ValueInfoProto] = (value("x"),),
    outputs: Iterable[onnx.ValueInfoProto] = (value("y", None),),
    initializers: Iterable[TensorProto] = (),
    functions: Iterable[onnx.FunctionProto] = (),
    opset: int = 21,
    domains: Iterable[str] = (),
) -> onnx.ModelProto:
    graph = helper.make_graph(list(nodes), "g", list(inputs), list(outputs), list(initializers))
    opsets = [helper.make_opsetid("", opset), *(helper.make_opsetid(domain, 1) for domain in domains)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=10, functions=list(functions))


def function(name: str, nodes: Sequence[NodeProto], *, domain: str = "own") -> onnx.FunctionProto:
    """Return a function of one input `a` and one output `b`."""
    return helper.make_function(
        domain, name, ["a"], ["b"], nodes, [helper.make_opsetid("", 21), helper.make_opsetid("own", 1)]
    )


def call(name: str, a: str, b: str) -> NodeProto:
    return node(name, [a], [b], domain="own")


def tensor(dims: Sequence[int], raw: bytes = b"", *, name: str = "w", kind: int = FLOAT) -> TensorProto:
    """Return a tensor as it is told, whether that fits or not."""
    made = TensorProto(name=name, data_type=kind, dims=dims)
    made.raw_data = raw
    return made


def elsewhere(location: str, *, offset: int = 0, name: str = "w") -> TensorProto:
    """Return a tensor of four numbers that lies in another file."""
    made = TensorProto(name=name, data_type=FLOAT, dims=[4], data_location=TensorProto.EXTERNAL)
    for key, text in {"location": location, "offset": str(offset), "length": "16"}.items():
        made.external_data.add(key=key, value=text)
    return made


def holding(*tensors: TensorProto) -> onnx.ModelProto:
    """Return a network that answers with the first of some stored tensors."""
    kind = tensors[0].data_type
    out = value("y", None, kind)
    return model([node("Identity", [tensors[0].name], ["y"])], outputs=[out], initializers=tensors)


def computing(
    operator: str, inputs: Sequence[str], *initializers: TensorProto, **attributes: object
) -> onnx.ModelProto:
    """Return a network of one node, which takes `x` of free length and stored tensors."""
    return model([node(operator, inputs, ["y"], **attributes)], initializers=initializers)


def changed(made: onnx.ModelProto, change: Callable[[onnx.ModelProto], object]) -> onnx.ModelProto:
    change(made)
    return made


# --- branches, loops and functions --------------------------------------------------------------------------------------------


def branch(nodes: Sequence[NodeProto], out: str = "z", initializers: Sequence[TensorProto] = ()) -> GraphProto:
    return helper.make_graph(list(nodes), "branch", [], [value(out, None)], list(initializers))


def chosen(taken: GraphProto, *, out: str = "y", other: GraphProto | None = None) -> NodeProto:
    plain = branch([node("Identity", ["x"], ["e"])], "e")
    return node("If", ["yes"], [out], then_branch=taken, else_branch=other or plain)


def nested_branches(depth: int) -> onnx.ModelProto:
    inner = branch([node("Identity", ["x"], ["z0"])], "z0")
    for level in range(1, depth + 1):
        other = branch([node("Identity", ["x"], [f"e{level}"])], f"e{level}")
        inner = branch([chosen(inner, out=f"z{level}", other=other)], f"z{level}")
    return model([chosen(inner)], inputs=[value("x"), value("yes", [], BOOL)])


def bottomless_branches(depth: int) -> bytes:
    """Return the bytes of branches within branches, deeper than any library would write them."""
    headers: list[bytes] = []
    size = 0
    for _ in range(depth):
        for number in (6, 5, 1):  # a graph in an attribute, an attribute in a node, a node in a graph
            header = tagged(number, size)
            headers.append(header)
            size += len(header)
    return tagged(7, size) + b"".join(reversed(headers))


def tagged(number: int, length: int) -> bytes:
    return varint(number << 3 | 2) + varint(length)


def varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])


def loop(step: NodeProto) -> onnx.ModelProto:
    """Return a network that repeats a step from `a` to `b` without an end."""
    body = helper.make_graph(
        [node("Identity", ["on"], ["going"]), step],
        "body",
        [value("i", [], INT64), value("on", [], BOOL), value("a", None)],
        [value("going", [], BOOL), value("b", None)],
    )
    return computing("Loop", ["", "ever", "x"], stored("ever", True, np.bool_), body=body)


def scan() -> onnx.ModelProto:
    body = helper.make_graph([node("Identity", ["a"], ["b"])], "body", [value("a", [])], [value("b", [])])
    return computing("Scan", ["x"], body=body, num_scan_inputs=1)


def function_bomb(innermost: Sequence[NodeProto], depth: int) -> onnx.ModelProto:
    """Return functions that each call the one before twice."""
    functions = [function("f0", innermost)]
    for level in range(1, depth):
        functions.append(function(f"f{level}", [call(f"f{level - 1}", "a", "m"), call(f"f{level - 1}", "m", "b")]))
    return model([call(f"f{depth - 1}", "x", "y")], functions=functions, domains=["own"])


def functions_in_a_row(depth: int) -> onnx.ModelProto:
    functions = [function("f0", [node("Neg", ["a"], ["b"])])]
    functions += [function(f"f{level}", [call(f"f{level - 1}", "a", "b")]) for level in range(1, depth)]
    return model([call(f"f{depth - 1}", "x", "y")], functions=functions[::-1], domains=["own"])


def functions_in_branches(depth: int) -> onnx.ModelProto:
    """Return functions within branches within functions: neither lies deep by itself."""
    functions = [function("f0", [node("Neg", ["a"], ["b"])])]
    for level in range(1, depth):
        inner = branch([call(f"f{level - 1}", "a", "z0")], "z0")
        for turn in range(1, depth):
            other = branch([node("Neg", ["a"], [f"e{turn}"])], f"e{turn}")
            inside = node("If", ["yes"], [f"z{turn}"], then_branch=inner, else_branch=other)
            inner = branch([inside], f"z{turn}")
        top = node("If", ["yes"], ["b"], then_branch=inner, else_branch=branch([node("Neg", ["a"], ["e"])], "e"))
        yes = node("Constant", [], ["yes"], value=stored("t", True, np.bool_))
        functions.append(function(f"f{level}", [yes, top]))
    return model([call(f"f{depth - 1}", "x", "y")], functions=functions, domains=["own"])


def heavy_function(tensors: int, calls: int) -> onnx.ModelProto:
    """Return many calls of a function whose branch stores many tensors that nobody uses."""
    kept = [stored(f"w{index}", [], np.float32) for index in range(tensors)]
    taken = branch([node("Identity", ["a"], ["z"])], "z", kept)
    inside = node("If", ["yes"], ["b"], then_branch=taken, else_branch=branch([node("Neg", ["a"], ["e"])], "e"))
    yes = node("Constant", [], ["yes"], value=stored("t", True, np.bool_))
    names = ["x", *(f"v{index}" for index in range(calls - 1)), "y"]
    nodes = [call("f", one, other) for one, other in pairwise(names)]
    return model(nodes, functions=[function("f", [yes, inside])], domains=["own"])


def recursive_in_a_branch() -> onnx.ModelProto:
    yes = node("Constant", [], ["yes"], value=stored("t", True, np.bool_))
    inside = node(
        "If",
        ["yes"],
        ["b"],
        then_branch=branch([call("f", "a", "z")]),
        else_branch=branch([node("Neg", ["a"], ["e"])], "e"),
    )
    return model([call("f", "x", "y")], functions=[function("f", [yes, inside])], domains=["own"])


def bomb_in_an_attribute() -> onnx.ModelProto:
    """Return a function that makes as many zeros as an attribute of its call says."""
    constant = NodeProto(op_type="Constant", output=["s"])
    constant.attribute.append(AttributeProto(name="value_ints", ref_attr_name="size", type=AttributeProto.INTS))
    made = function("f", [constant, node("ConstantOfShape", ["s"], ["z"]), node("Add", ["a", "z"], ["b"])])
    made.attribute.append("size")
    return model([node("f", ["x"], ["y"], domain="own", size=[2**40])], functions=[made], domains=["own"])


def default_elsewhere() -> onnx.ModelProto:
    constant = NodeProto(op_type="Constant", output=["c"])
    constant.attribute.append(AttributeProto(name="value", ref_attr_name="v", type=AttributeProto.TENSOR))
    made = function("f", [constant, node("Add", ["a", "c"], ["b"])])
    made.attribute_proto.append(AttributeProto(name="v", type=AttributeProto.TENSOR, t=elsewhere("w.bin")))
    return model([call("f", "x", "y")], functions=[made], domains=["own"])


# --- sizes --------------------------------------------------------------------------------------------------------------------


def doubled(times: int, first: str = "x", *initializers: TensorProto) -> onnx.ModelProto:
    names = [first, *(f"v{index}" for index in range(times - 1)), "y"]
    nodes = [node("Concat", [one, one], [other], axis=0) for one, other in pairwise(names)]
    return model(nodes, initializers=initializers)


def many_constants(count: int, size: int) -> onnx.ModelProto:
    """Return so many constants of so many numbers each, none of which depends on the stimulus."""
    nodes = [node("ConstantOfShape", ["s"], [f"v{index}"]) for index in range(count)]
    added = [node("ReduceSum", [f"v{index}"], [f"r{index}"], keepdims=0) for index in range(count)]
    last = node("Sum", ["x", *(f"r{index}" for index in range(count))], ["y"])
    return model([*nodes, *added, last], initializers=[stored("s", [size])])


def outer_product(operator: str, size: int) -> onnx.ModelProto:
    """Return a table of `size` rows and columns, from two lists."""
    nodes = [
        node("ConstantOfShape", ["rows"], ["a"]),
        node("ConstantOfShape", ["columns"], ["b"]),
        node("Einsum", ["a", "b"], ["c"], equation="ij,jk->ik")
        if operator == "Einsum"
        else node(operator, "ab", ["c"]),
        node("ReduceSum", ["c"], ["r"], keepdims=0),
        node("Add", ["x", "r"], ["y"]),
    ]
    return model(nodes, initializers=[stored("rows", [size, 1]), stored("columns", [1, size])])


def convolved(operator: str, **attributes: object) -> onnx.ModelProto:
    weights = [stored("w", np.ones((1, 1, 3)), np.float32)] if operator.startswith("Conv") else []
    made = node(operator, ["x", *(tensor.name for tensor in weights)], ["y"], **attributes)
    return model([made], inputs=[value("x", [1, 1, 8])], initializers=weights)


def squares(count: int, size: int) -> onnx.ModelProto:
    """Return products of tables, one after the other: little memory, and hours."""
    nodes = [node("ConstantOfShape", ["s"], ["c"]), node("Add", ["c", "x"], ["v0"])]
    nodes += [node("MatMul", [f"v{index}", "c"], [f"v{index + 1}"]) for index in range(count)]
    return model(
        [*nodes, node("ReduceSum", [f"v{count}"], ["y"])],
        inputs=[value("x", [1, 1])],
        initializers=[stored("s", [size, size])],
    )


def chain(length: int) -> onnx.ModelProto:
    names = ["x", *(f"v{index}" for index in range(length - 1)), "y"]
    return model(node("Neg", [one], [other]) for one, other in pairwise(names))


def split_often(nodes: int, parts: int) -> onnx.ModelProto:
    cuts = [
        node("Split", ["w"], [f"v{cut}.{part}" for part in range(parts)], num_outputs=parts) for cut in range(nodes)
    ]
    return model([*cuts, node("Neg", ["x"], ["y"])], initializers=[stored("w", [0] * 240)])


def packed_zeros(count: int) -> bytes:
    """Return a tensor of whole numbers that takes one byte for each and eight once it is read."""
    numbers = tagged(7, count) + bytes(count)
    kind_and_dims = b"\x10\x07\x08" + varint(count)
    listed = tagged(5, len(numbers) + len(kind_and_dims)) + kind_and_dims + numbers
    return tagged(7, len(listed)) + listed


def empty_nodes(count: int) -> bytes:
    return tagged(7, 2 * count) + b"\x0a\x00" * count


# --- what a network may not hold ----------------------------------------------------------------------------------------------


def sparse(dims: Sequence[int]) -> onnx.SparseTensorProto:
    return helper.make_sparse_tensor(stored("sparse", [1], np.float32), stored("where", [0]), dims)


def passing() -> onnx.ModelProto:
    return computing("Neg", ["x"])


def segmented() -> TensorProto:
    made = tensor([1], bytes(4))
    made.segment.begin, made.segment.end = 0, 1 << 40
    return made


def listed_twice() -> TensorProto:
    made = tensor([1], bytes(4))
    made.float_data.append(1.0)
    return made


def two_attributes() -> NodeProto:
    made = node("Softmax", ["x"], ["y"], axis=0)
    made.attribute.append(helper.make_attribute("axis", 1))
    return made


def sequence_input() -> onnx.ModelProto:
    sequence = helper.make_tensor_sequence_value_info("s", FLOAT, [1])
    return model([node("Neg", ["x"], ["y"])], inputs=[value("x"), sequence])
