"""What a network declares: its versions, its inputs and outputs, and the shapes that it gives to values within."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import onnx
from onnx import TensorProto

from engram_replay.gate.limits import Gate, Rule, shown
from engram_replay.gate.tensors import check_size, refused_type
from engram_replay.gate.walk import all_graphs, domain_of

_STREAMED = frozenset(
    {
        TensorProto.BOOL,
        TensorProto.INT8,
        TensorProto.UINT8,
        TensorProto.INT16,
        TensorProto.UINT16,
        TensorProto.INT32,
        TensorProto.UINT32,
        TensorProto.INT64,
        TensorProto.UINT64,
        TensorProto.FLOAT16,
        TensorProto.FLOAT,
        TensorProto.DOUBLE,
    }
)
"""The types that a stimulus, a state or a response may have."""
_SAID_TO_BE_FREE = -1
"""What some exporters declare as the length of an axis that is free."""


def check_versions(model: onnx.ModelProto, gate: Gate) -> int:
    """Return the version of ONNX's own operators; refuse versions that are not replayed."""
    limits = gate.limits
    if not limits.min_ir_version <= model.ir_version <= limits.max_ir_version:
        raise gate.refusal(
            Rule.IR_VERSION,
            f"is a file of version {model.ir_version}, and those of {limits.min_ir_version} to {limits.max_ir_version} "
            "are replayed",
            remedy="save it with onnx.version_converter or export it anew",
        )
    version = _opset(model.opset_import, gate)
    for function in model.functions:
        if any(not domain_of(entry.domain) for entry in function.opset_import):
            _opset(function.opset_import, gate)
    return version


def _opset(entries: Sequence[onnx.OperatorSetIdProto], gate: Gate) -> int:
    limits = gate.limits
    domains = [domain_of(entry.domain) for entry in entries]
    versions = [entry.version for entry in entries if not domain_of(entry.domain)]
    if len(set(domains)) < len(domains) or not versions or not limits.min_opset <= versions[0] <= limits.max_opset:
        said = " and ".join(str(version) for version in versions[:3]) or "no version"
        raise gate.refusal(
            Rule.OPSET,
            f"uses operators of {said}, and one version of {limits.min_opset} to {limits.max_opset} is replayed",
            remedy="convert it with onnx.version_converter or export it anew",
        )
    return versions[0]


def check_declared(model: onnx.ModelProto, gate: Gate) -> None:
    """Refuse inputs and outputs that no student has, and declared shapes beyond the bounds."""
    graph = model.graph
    stored = {tensor.name for tensor in graph.initializer}
    fed = [value for value in graph.input if value.name not in stored]
    if max(len(fed), len(graph.output)) > gate.limits.max_values:
        raise gate.refusal(
            Rule.TOO_MANY_VALUES,
            f"has more than {gate.limits.max_values} inputs or outputs",
            remedy="export it with fewer",
        )
    for value in (*fed, *graph.output):
        if value.type.WhichOneof("value") != "tensor_type":
            raise gate.refusal(
                Rule.SIGNATURE,
                f"has {shown(value.name)} that is no tensor among its inputs and outputs",
                remedy="export it with tensors only",
            )
        if value.type.tensor_type.elem_type not in _STREAMED:
            raise refused_type(f"input or output {shown(value.name)}", value.type.tensor_type.elem_type, gate)
    for inner in all_graphs(model):
        _check_values((*inner.input, *inner.output, *inner.value_info), gate)
    for function in model.functions:
        _check_values(function.value_info, gate)


def _check_values(values: Iterable[onnx.ValueInfoProto], gate: Gate) -> None:
    for value in values:
        kind = value.type.WhichOneof("value")
        if kind is None:
            continue
        if kind != "tensor_type":
            raise gate.refusal(
                Rule.TENSOR_TYPE,
                f"declares {shown(value.name)} that is no tensor",
                remedy="export it with tensors only",
            )
        tensor = value.type.tensor_type
        dims = tuple(axis.dim_value for axis in tensor.shape.dim)
        if any(length < _SAID_TO_BE_FREE for length in dims):
            raise gate.refusal(
                Rule.TENSOR_SIZE,
                f"declares {shown(value.name)} with an axis of negative length",
                remedy="export it again",
            )
        check_size(dims, tensor.elem_type, f"value {shown(value.name)}", gate)
