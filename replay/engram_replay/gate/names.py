"""Names: each stands for one value, and every node uses only values that are made before it.

So there are no cycles, and a walk in the order of the nodes meets every value before it is used.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import onnx

from engram_replay.gate.limits import Gate, Rule, shown
from engram_replay.gate.walk import inner_graphs


def check_names(model: onnx.ModelProto, gate: Gate) -> None:
    """Check the values' names in the network and in each of its functions."""
    graph = model.graph
    _check_graph(graph, [], gate)
    for function in model.functions:
        place = f"function {shown(function.name)}"
        names: set[str] = set()
        for name in function.input:
            _define(name, names, [names], place, gate)
        _check_nodes(function.node, [names], place, gate)
        _check_made(function.output, [names], place, gate)


def _check_graph(graph: onnx.GraphProto, outer: Sequence[set[str]], gate: Gate) -> None:
    place = f"graph {shown(graph.name)}"
    names: set[str] = set()
    scopes = [*outer, names]
    for value in graph.input:
        _define(value.name, names, scopes, place, gate)
    inputs = frozenset(names)
    stored: set[str] = set()
    for tensor in graph.initializer:
        if tensor.name in inputs:
            _define(tensor.name, stored, [stored], place, gate)
        else:
            _define(tensor.name, names, scopes, place, gate)
    _check_nodes(graph.node, scopes, place, gate)
    _check_made([value.name for value in graph.output], [names] if not outer else scopes, place, gate)


def _check_nodes(nodes: Sequence[onnx.NodeProto], scopes: Sequence[set[str]], place: str, gate: Gate) -> None:
    for node in nodes:
        for name in node.input:
            if name and not any(name in scope for scope in scopes):
                later = any(name in other.output for other in nodes)
                raise gate.refusal(
                    Rule.CYCLE if later else Rule.UNDEFINED,
                    f"uses {shown(name)} in node {shown(node.name)} ({shown(node.op_type)[1:-1]}) of {place}, and "
                    + ("makes it only after that" if later else "nothing makes it"),
                    remedy="export it again, with its nodes in order",
                )
        for graph in inner_graphs(node):
            _check_graph(graph, scopes, gate)
        for name in node.output:
            if name:
                _define(name, scopes[-1], scopes, place, gate)


def _define(name: str, names: set[str], scopes: Sequence[set[str]], place: str, gate: Gate) -> None:
    if not name or any(name in scope for scope in scopes):
        raise gate.refusal(
            Rule.DUPLICATE_NAME,
            f"has {f'two values of name {shown(name)}' if name else 'a value without a name'} in {place}",
            remedy="export it again, with one name for each value",
        )
    names.add(name)


def _check_made(names: Iterable[str], scopes: Sequence[set[str]], place: str, gate: Gate) -> None:
    seen: set[str] = set()
    for name in names:
        if not any(name in scope for scope in scopes):
            raise gate.refusal(
                Rule.UNDEFINED, f"has output {shown(name)} of {place}, and nothing makes it", remedy="export it again"
            )
        _define(name, seen, [seen], f"the outputs of {place}", gate)
