"""The sizes of all values, as far as they are known before a run, followed through the network from its inputs and constants.

Every node is visited once for each time that it would be run, branches and functions among them, so that at most
`GateLimits.max_nodes` are. What this cannot know, such as lengths that the stimulus has, is left to the limits of the run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, TypeAlias

import onnx

from engram_replay.gate import elementwise, layers, making, moving
from engram_replay.gate.calls import MEANINGS, Call
from engram_replay.gate.limits import Gate, Rule, shown
from engram_replay.gate.operators import LOOPS, RANDOM
from engram_replay.gate.tensors import bytes_of, size_of
from engram_replay.gate.values import FREE, Length, Value, joined, least, literal
from engram_replay.gate.walk import FunctionKey, called_by, domain_of, inner_graphs

_RULES: Final = (elementwise, layers, making, moving)
"""The modules that have entered their operators' rules."""

_OUTPUT: Final = 12
"""The work for an output, where that for an input is 1."""
_NOT_PLAIN: Final = LOOPS | RANDOM | {"If"}

Names: TypeAlias = dict[str, Value | onnx.TensorProto]
"""What is known of values by name; a stored tensor is looked at when it is first used."""
Scopes: TypeAlias = Sequence[Names]
"""The names of each graph, the innermost last."""


def check_shapes(
    model: onnx.ModelProto, functions: Mapping[FunctionKey, onnx.FunctionProto], *, opset: int, stored: int, gate: Gate
) -> Mapping[str, Value]:
    """Return what is known of the network's values by name, those in branches and functions not among them.

    Refuses a network if one of them is too large whatever the stimulus, or if all that do not depend on it are too large
    together; the `stored` bytes of its tensors are counted among these.
    """
    follower = _Follower(functions, gate, constant_bytes=stored)
    names: Names = {}
    follower.follow_graph(model.graph, [], names, opset=opset, certain=True)
    return {name: value for name, value in names.items() if isinstance(value, Value)}


@dataclass(slots=True)
class _Follower:
    functions: Mapping[FunctionKey, onnx.FunctionProto]
    gate: Gate
    constant_bytes: int
    work: int = 0
    """Names and attributes that were looked at: many calls of one function look at them anew."""
    depth: int = 0

    def follow_graph(
        self,
        graph: onnx.GraphProto,
        outer: Scopes,
        names: Names,
        *,
        opset: int,
        certain: bool,
        attributes: Mapping[str, onnx.AttributeProto] | None = None,
    ) -> list[Value]:
        """Fill in the values of a graph, and return its outputs."""
        self._charge(len(graph.input) + len(graph.initializer) + len(graph.output))
        for declared in graph.input:
            names[declared.name] = _declared(declared)
        for tensor in graph.initializer:
            names[tensor.name] = tensor
        scopes = [*outer, names]
        self._follow_nodes(graph.node, scopes, attributes or {}, opset=opset, certain=certain)
        return [_find(output.name, scopes) or Value() for output in graph.output]

    def _follow_nodes(
        self,
        nodes: Sequence[onnx.NodeProto],
        scopes: Scopes,
        attributes: Mapping[str, onnx.AttributeProto],
        *,
        opset: int,
        certain: bool,
    ) -> None:
        for node in nodes:
            self._charge(len(node.input) + _OUTPUT * len(node.output))
            for attribute in node.attribute:
                self._charge(1 + len(attribute.ints) + len(attribute.floats))
            call = Call(
                node,
                inputs=[_find(name, scopes) if name else None for name in node.input],
                attributes=_filled_in(node, attributes),
                opset=opset,
                gate=self.gate,
                certain=certain,
            )
            made = self._outputs(call, scopes, attributes)
            fixed = self._is_plain(node) and all(value.fixed for value in call.inputs if value is not None)
            for index, name in enumerate(node.output):
                if name:
                    value = made[index] if index < len(made) else Value()
                    scopes[-1][name] = value = replace(value, fixed=True) if fixed else value
                    self._check(value, call)

    def _outputs(self, call: Call, scopes: Scopes, attributes: Mapping[str, onnx.AttributeProto]) -> Sequence[Value]:
        node = call.node
        if not self._is_plain(node):
            self.depth += 1
            if self.depth > self.gate.limits.max_depth:
                raise self.gate.refusal(
                    Rule.NESTING,
                    f"has branches and functions that lie more than {self.gate.limits.max_depth} deep",
                    remedy="export it without functions",
                )
            found = self._inside(call, scopes, attributes)
            self.depth -= 1
            return found
        meaning = MEANINGS.get(node.op_type)
        known = () if meaning is None else meaning(call)
        return (known,) if isinstance(known, Value) else known

    def _inside(self, call: Call, scopes: Scopes, attributes: Mapping[str, onnx.AttributeProto]) -> Sequence[Value]:
        """Return the outputs of a node with nodes of its own."""
        function = self.functions.get(called_by(call.node))
        if function is not None:
            return self._call(function, call)
        if call.node.op_type == "If":
            return self._choose(call, scopes, attributes)
        for graph in inner_graphs(call.node):
            self.follow_graph(graph, scopes, {}, opset=call.opset, certain=False, attributes=attributes)
        return ()

    def _is_plain(self, node: onnx.NodeProto) -> bool:
        """Tell whether the outputs are made from the inputs alone, and the same each time."""
        return called_by(node) not in self.functions and node.op_type not in _NOT_PLAIN

    def _charge(self, work: int) -> None:
        self.work += work
        if self.work > self.gate.limits.max_fields:
            raise self.gate.refusal(
                Rule.FUNCTION_BOMB if self.functions else Rule.TOO_MANY_FIELDS,
                f"has more than {self.gate.limits.max_fields} names and attributes"
                f"{' once its functions are written out' if self.functions else ''}",
                remedy="export a smaller network",
            )

    def _call(self, function: onnx.FunctionProto, call: Call) -> Sequence[Value]:
        """Follow the nodes of a function with the inputs and attributes of this call."""
        attributes = {attribute.name: attribute for attribute in function.attribute_proto} | dict(call.attributes)
        given: Names = {name: call.value(index) for index, name in enumerate(function.input)}
        versions = [entry.version for entry in function.opset_import if not domain_of(entry.domain)]
        opset = versions[0] if versions else call.opset
        self._follow_nodes(function.node, [given], attributes, opset=opset, certain=call.certain)
        return [_find(name, [given]) or Value() for name in function.output]

    def _choose(self, call: Call, scopes: Scopes, attributes: Mapping[str, onnx.AttributeProto]) -> Sequence[Value]:
        """Follow both branches, since a runtime may compute what is constant in either; keep what they have in common."""
        branches = {
            name: self.follow_graph(
                call.attributes[name].g, scopes, {}, opset=call.opset, certain=False, attributes=attributes
            )
            for name in ("then_branch", "else_branch")
            if name in call.attributes
        }
        chosen = call.value(0).listed()
        if chosen in ([True], [False]):
            return branches.get("then_branch" if chosen[0] else "else_branch", ())
        return (
            [joined(one, other) for one, other in zip(*branches.values(), strict=False)] if len(branches) == 2 else ()
        )

    def _check(self, value: Value, call: Call) -> None:
        if value.shape is None:
            return
        call.check_at_least(value.shape, value.type)
        if not value.fixed:
            return
        self.constant_bytes += bytes_of(size_of(tuple(map(least, value.shape))), value.type)
        if self.constant_bytes > self.gate.limits.max_constant_bytes:
            raise self.gate.refusal(
                Rule.CONSTANT_SIZE,
                f"has more than {self.gate.limits.max_constant_bytes} bytes of tensors that do not depend on its inputs, "
                f"with those of node {shown(call.node.name)} ({shown(call.node.op_type)[1:-1]})",
                remedy="export a smaller network, or raise the bound",
            )


def _find(name: str, scopes: Scopes) -> Value | None:
    scope = next((scope for scope in reversed(scopes) if name in scope), None)
    if scope is None:
        return None
    found = scope[name]
    if isinstance(found, onnx.TensorProto):
        scope[name] = found = literal(found)
    return found


def _filled_in(
    node: onnx.NodeProto, attributes: Mapping[str, onnx.AttributeProto]
) -> Mapping[str, onnx.AttributeProto]:
    """Return the node's attributes; those that refer to the function's are replaced by these, or left out."""
    return {
        attribute.name: attributes[attribute.ref_attr_name] if attribute.ref_attr_name else attribute
        for attribute in node.attribute
        if not attribute.ref_attr_name or attribute.ref_attr_name in attributes
    }


def _declared(value: onnx.ValueInfoProto) -> Value:
    kind = value.type.tensor_type
    if value.type.WhichOneof("value") != "tensor_type":
        return Value()
    if not kind.HasField("shape"):
        return Value(kind.elem_type)
    return Value(kind.elem_type, tuple(map(_length, kind.shape.dim)))


def _length(axis: onnx.TensorShapeProto.Dimension) -> Length:
    return axis.dim_value if axis.HasField("dim_value") and axis.dim_value >= 0 else FREE
