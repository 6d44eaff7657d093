"""Attributes of nodes: each is given once, and means something where it stands.

What a runtime makes of others is not defined, so two readers may differ.
"""

from __future__ import annotations

from collections.abc import Container

import onnx

from engram_replay.gate.limits import Gate, Rule, shown
from engram_replay.gate.operators import LOOPS
from engram_replay.gate.walk import FunctionKey, called_by, with_inner_nodes

_BRANCHING = LOOPS | {"If"}


def check_attributes(model: onnx.ModelProto, functions: Container[FunctionKey], gate: Gate) -> None:
    """Refuse attributes that are given twice, branches of nodes that have none, and references outside of functions."""
    for node in with_inner_nodes(model.graph.node):
        _check_node(node, functions, gate)
        for attribute in node.attribute:
            if attribute.ref_attr_name:
                raise gate.refusal(
                    Rule.UNDEFINED,
                    f"refers to attribute {shown(attribute.ref_attr_name)} of a function in node {shown(node.name)}, "
                    "which stands in none",
                    remedy="export it again",
                )
    for function in model.functions:
        defaults = [attribute.name for attribute in function.attribute_proto]
        _check_once([*function.attribute, *defaults], f"function {shown(function.name)}", gate)
        for node in with_inner_nodes(function.node):
            _check_node(node, functions, gate)


def _check_node(node: onnx.NodeProto, functions: Container[FunctionKey], gate: Gate) -> None:
    name = f"node {shown(node.name)} ({shown(node.op_type)[1:-1]})"
    _check_once([attribute.name for attribute in node.attribute], name, gate)
    branches = node.op_type in _BRANCHING and called_by(node) not in functions
    if not branches and any(attribute.HasField("g") or attribute.graphs for attribute in node.attribute):
        raise gate.refusal(
            Rule.OPERATOR,
            f"has a graph in {name}, whose operator has no branches",
            remedy="export it again",
        )


def _check_once(names: list[str], place: str, gate: Gate) -> None:
    if len(set(names)) < len(names):
        raise gate.refusal(Rule.DUPLICATE_NAME, f"gives {place} an attribute twice", remedy="export it again")
