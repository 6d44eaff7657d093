"""What a student may not be: rules on the network itself, checked before the runtime sees it.

The runtime would read other files on behalf of a network, expand nested functions without an end, or draw random numbers.
The first two are attacks, the third makes every replay different.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import chain

import onnx
from google.protobuf.message import DecodeError, Message

from engram_format.errors import InvalidInput

_MAX_NODES = 1_000_000
"""Nodes after all functions are written out."""
_MAX_DEPTH = 64
"""Functions that call one another."""
_RANDOM_OPERATORS = frozenset(
    {"Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike"}
)


def check_network(data: bytes, *, what: str) -> onnx.ModelProto:
    """Parse a network and return it if it may be replayed; `what` names it in errors.

    Raises `InvalidInput` if the bytes are no ONNX network, or if it keeps tensors outside of itself, is of more than a
    million nodes when its functions are written out, or draws random numbers.
    """
    try:
        model = onnx.load_model_from_string(data)
    except DecodeError as error:
        raise InvalidInput(f"{what} is no ONNX network, or not the whole of one: deposit the file again") from error
    if not model.HasField("graph") or not model.graph.output:
        raise InvalidInput(f"{what} is no ONNX network: it holds no graph with outputs")
    _check_kept_inside(model, what=what)
    _check_size(model, what=what)
    _check_nodes(model, what=what)
    return model


def _check_kept_inside(model: onnx.ModelProto, *, what: str) -> None:
    """Refuse tensors that lie in other files, wherever in the message they stand: the runtime would open those files."""
    waiting: list[Message] = [model]
    while waiting:
        message = waiting.pop()
        if isinstance(message, onnx.TensorProto) and (
            message.external_data or message.data_location != onnx.TensorProto.DEFAULT
        ):
            raise InvalidInput(
                f"{what} keeps tensor {message.name[:80]!r} in another file: save the network with its weights inside and "
                "deposit it again"
            )
        for field, value in message.ListFields():
            if field.message_type is not None:
                waiting.extend([value] if isinstance(value, Message) else value)


def _check_size(model: onnx.ModelProto, *, what: str) -> None:
    """Count the nodes with functions written out, each function once, so that counting never takes long."""
    functions = {(function.domain, function.name, function.overload): function for function in model.functions}
    sizes: dict[tuple[str, str, str], int] = {}

    def size_of(nodes: Iterable[onnx.NodeProto], *, depth: int) -> int:
        if depth > _MAX_DEPTH:
            raise InvalidInput(
                f"{what} has functions that call themselves or lie too deep: export it without functions"
            )
        total = 0
        for node in chain.from_iterable(map(_with_inner_nodes, nodes)):
            key = (node.domain, node.op_type, node.overload)
            if key in functions and key not in sizes:
                sizes[key] = size_of(functions[key].node, depth=depth + 1)
            total += sizes.get(key, 1)
        return total

    size = size_of(model.graph.node, depth=0)
    if size > _MAX_NODES:
        raise InvalidInput(
            f"{what} has {size} nodes and at most {_MAX_NODES} can be replayed: export a smaller network"
        )


def _check_nodes(model: onnx.ModelProto, *, what: str) -> None:
    for node in _all_nodes(model):
        draws = node.op_type in _RANDOM_OPERATORS
        if draws or (node.op_type == "Dropout" and _trains(node)):
            raise InvalidInput(
                f"{what} draws random numbers in node {node.name[:80]!r} ({node.op_type}), so no replay would equal another: "
                "make its noise an input, or export the network for inference"
            )


def _trains(node: onnx.NodeProto) -> bool:
    """Tell whether a Dropout may drop anything: its third input, the training mode, is given."""
    return len(node.input) > 2 and bool(node.input[2])


def _all_nodes(model: onnx.ModelProto) -> Iterator[onnx.NodeProto]:
    for nodes in (model.graph.node, *(function.node for function in model.functions)):
        yield from chain.from_iterable(map(_with_inner_nodes, nodes))


def _with_inner_nodes(node: onnx.NodeProto) -> Iterator[onnx.NodeProto]:
    """Yield a node and those in the branches and loop bodies that it holds."""
    yield node
    for graph in _inner_graphs(node):
        yield from chain.from_iterable(map(_with_inner_nodes, graph.node))


def _inner_graphs(node: onnx.NodeProto) -> Iterator[onnx.GraphProto]:
    for attribute in node.attribute:
        if attribute.HasField("g"):
            yield attribute.g
        yield from attribute.graphs


def metadata_of(model: onnx.ModelProto) -> Mapping[str, str]:
    """Return the network's own metadata."""
    return {entry.key: entry.value for entry in model.metadata_props}
