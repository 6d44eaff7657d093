"""Going through a network's nodes, those in branches and functions among them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TypeAlias

import onnx

from engram_replay.gate.limits import Gate, Rule, shown

FunctionKey: TypeAlias = tuple[str, str, str]
"""Domain, name and overload."""


def domain_of(name: str) -> str:
    """Return a domain in its one form: the operators of ONNX itself are of the domain without a name."""
    return "" if name == "ai.onnx" else name


def called_by(node: onnx.NodeProto) -> FunctionKey:
    """Return the key of the function that the node calls if there is one, else the operator's."""
    return domain_of(node.domain), node.op_type, node.overload


def key_of(function: onnx.FunctionProto) -> FunctionKey:
    """Return the key by which nodes call the function."""
    return domain_of(function.domain), function.name, function.overload


def inner_graphs(node: onnx.NodeProto) -> Iterator[onnx.GraphProto]:
    """Yield the branches and loop bodies that a node holds."""
    for attribute in node.attribute:
        if attribute.HasField("g"):
            yield attribute.g
        yield from attribute.graphs


def with_inner_nodes(nodes: Iterable[onnx.NodeProto]) -> Iterator[onnx.NodeProto]:
    """Yield nodes and all that lie in their branches; the network has passed `check_extent`."""
    for node in nodes:
        yield node
        for graph in inner_graphs(node):
            yield from with_inner_nodes(graph.node)


def all_nodes(model: onnx.ModelProto) -> Iterator[onnx.NodeProto]:
    """Yield every node of the network and of its functions, each once."""
    yield from with_inner_nodes(model.graph.node)
    for function in model.functions:
        yield from with_inner_nodes(function.node)


def all_graphs(model: onnx.ModelProto) -> Iterator[onnx.GraphProto]:
    """Yield the network's graph and every branch, those in functions too."""
    yield model.graph
    for node in all_nodes(model):
        yield from inner_graphs(node)


def check_extent(model: onnx.ModelProto, gate: Gate) -> None:
    """Refuse a network of too many nodes, of too large ones, or of branches too deep; all later walks rely on it."""
    limits = gate.limits
    waiting = [(model.graph.node, 1), *((function.node, 1) for function in model.functions)]
    count = 0
    while waiting:
        nodes, depth = waiting.pop()
        count += len(nodes)
        if count > limits.max_nodes:
            raise gate.refusal(
                Rule.TOO_MANY_NODES,
                f"has more than {limits.max_nodes} nodes",
                remedy="export a smaller network, or raise the bound",
            )
        for node in nodes:
            if max(len(node.input), len(node.output), len(node.attribute)) > limits.max_values:
                raise gate.refusal(
                    Rule.TOO_MANY_VALUES,
                    f"has node {shown(node.name)} ({shown(node.op_type)[1:-1]}) of more than {limits.max_values} inputs, "
                    "outputs or attributes",
                    remedy="export it in smaller parts, or raise the bound",
                )
            for graph in inner_graphs(node):
                if depth >= limits.max_depth:
                    raise gate.refusal(
                        Rule.NESTING,
                        f"has branches that lie more than {limits.max_depth} deep",
                        remedy="export it without branches in branches",
                    )
                waiting.append((graph.node, depth + 1))
