"""Functions, counted as if they were written out: each is counted once, so that no bomb takes longer than its bytes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import onnx

from engram_replay.gate.limits import Gate, Rule, shown
from engram_replay.gate.walk import FunctionKey, called_by, key_of, with_inner_nodes


def check_functions(model: onnx.ModelProto, gate: Gate) -> Mapping[FunctionKey, onnx.FunctionProto]:
    """Return the functions by key; refuse those that recur, lie too deep, shadow operators, or unfold into too many nodes."""
    functions: dict[FunctionKey, onnx.FunctionProto] = {}
    for function in model.functions:
        key = key_of(function)
        if key in functions or not key[0] or not key[1]:
            raise gate.refusal(
                Rule.FUNCTION,
                f"defines function {shown(function.name)} twice, or under the name of an operator",
                remedy="export it without functions",
            )
        functions[key] = function
    calls = {key: [called_by(node) for node in with_inner_nodes(function.node)] for key, function in functions.items()}
    extents: dict[FunctionKey, _Extent] = {}
    for key in functions:
        _measure(key, calls, extents, gate)
    total = sum(extents.get(called_by(node), _OPERATOR).nodes for node in with_inner_nodes(model.graph.node))
    if total > gate.limits.max_nodes:
        raise gate.refusal(
            Rule.FUNCTION_BOMB,
            f"has {_count(total)} nodes once its functions are written out, and at most {gate.limits.max_nodes} are replayed",
            remedy="export a smaller network",
        )
    if max((extent.depth for extent in extents.values()), default=0) > gate.limits.max_depth:
        raise gate.refusal(
            Rule.NESTING,
            f"has functions that lie more than {gate.limits.max_depth} deep",
            remedy="export it without functions",
        )
    return functions


@dataclass(frozen=True, slots=True)
class _Extent:
    """What the call of a function, or an operator, comes to."""

    nodes: int = 1
    """With the call itself, so that functions without nodes count too."""
    depth: int = 0
    """Of functions within functions; 0 for an operator."""


_OPERATOR = _Extent()


def _joined(called: Iterable[FunctionKey], extents: Mapping[FunctionKey, _Extent]) -> _Extent:
    inner = [extents.get(key, _OPERATOR) for key in called]
    return _Extent(
        nodes=1 + sum(extent.nodes for extent in inner), depth=1 + max((extent.depth for extent in inner), default=0)
    )


def _measure(
    start: FunctionKey,
    calls: Mapping[FunctionKey, list[FunctionKey]],
    extents: dict[FunctionKey, _Extent],
    gate: Gate,
) -> None:
    """Find the extent of a function and of those that it calls, from the innermost outwards."""
    path = [(start, iter(calls[start]))]
    on_path = {start}
    while path:
        key, rest = path[-1]
        inner = next((called for called in rest if called in calls and called not in extents), None)
        if inner is None:
            extents[key] = _joined(calls[key], extents)
            on_path.discard(key)
            path.pop()
        elif inner in on_path:
            raise gate.refusal(
                Rule.RECURSIVE_FUNCTION,
                f"has function {shown(inner[1])} that calls itself",
                remedy="export it without functions",
            )
        else:
            path.append((inner, iter(calls[inner])))
            on_path.add(inner)


def _count(total: int) -> str:
    """Return the number, or its order where writing it out would fill a page."""
    return str(total) if total < 10**15 else f"more than 2**{total.bit_length() - 1}"
