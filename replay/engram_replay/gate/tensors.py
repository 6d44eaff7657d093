"""Stored tensors: inside the file, of numbers, and of exactly the bytes that their shape and type ask for."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

import onnx
from onnx import TensorProto

from engram_replay.gate.limits import Gate, Rule, shown
from engram_replay.gate.walk import all_graphs, all_nodes
from engram_replay.refusal import Refused

BITS: Final[Mapping[int, int]] = {
    TensorProto.BOOL: 8,
    TensorProto.INT8: 8,
    TensorProto.UINT8: 8,
    TensorProto.INT16: 16,
    TensorProto.UINT16: 16,
    TensorProto.INT32: 32,
    TensorProto.UINT32: 32,
    TensorProto.INT64: 64,
    TensorProto.UINT64: 64,
    TensorProto.FLOAT16: 16,
    TensorProto.BFLOAT16: 16,
    TensorProto.FLOAT: 32,
    TensorProto.DOUBLE: 64,
    TensorProto.FLOAT8E4M3FN: 8,
    TensorProto.FLOAT8E4M3FNUZ: 8,
    TensorProto.FLOAT8E5M2: 8,
    TensorProto.FLOAT8E5M2FNUZ: 8,
    TensorProto.INT4: 4,
    TensorProto.UINT4: 4,
}
"""Of one element, by type: the types of booleans and real numbers. Any other is refused."""
_LISTS: Final[Mapping[int, str]] = {
    TensorProto.FLOAT: "float_data",
    TensorProto.DOUBLE: "double_data",
    TensorProto.INT64: "int64_data",
    TensorProto.UINT32: "uint64_data",
    TensorProto.UINT64: "uint64_data",
}
"""Where a type's elements are listed if they are not raw; other types in `int32_data`."""
_ALL_LISTS: Final = ("float_data", "int32_data", "int64_data", "double_data", "uint64_data", "string_data")


def size_of(dims: tuple[int, ...]) -> int:
    """Return how many elements a tensor of such axes has, an axis without any counted as one: the bound for arithmetic."""
    return math.prod(max(length, 1) for length in dims)


def bytes_of(elements: int, element_type: int) -> int:
    """Return the bytes of so many elements; where the type is not known, at least that many."""
    return (elements * BITS.get(element_type, 8) + 7) // 8


def check_tensors(model: onnx.ModelProto, gate: Gate) -> int:
    """Check every tensor of the network, wherever it stands, and return the bytes of all."""
    total = 0
    for count, (tensor, place) in enumerate(_stored(model, gate), start=1):
        if count > gate.limits.max_tensors:
            raise gate.refusal(
                Rule.TOO_MANY_TENSORS,
                f"stores more than {gate.limits.max_tensors} tensors",
                remedy="export a smaller network, or raise the bound",
            )
        total += _check_tensor(tensor, f"tensor {shown(tensor.name)}{place}", gate)
    return total


def _stored(model: onnx.ModelProto, gate: Gate) -> Iterator[tuple[onnx.TensorProto, str]]:
    if model.training_info:
        raise gate.refusal(Rule.TRAINING, "brings training with it", remedy="export it for inference")
    for graph in all_graphs(model):
        if graph.sparse_initializer:
            raise _sparse(gate)
        for tensor in graph.initializer:
            yield tensor, ""
    for node in all_nodes(model):
        yield from _in_attributes(node.attribute, f" of node {shown(node.name)}", gate)
    for function in model.functions:
        yield from _in_attributes(function.attribute_proto, f" of function {shown(function.name)}", gate)


def _in_attributes(
    attributes: Iterable[onnx.AttributeProto], place: str, gate: Gate
) -> Iterator[tuple[onnx.TensorProto, str]]:
    for attribute in attributes:
        if attribute.HasField("sparse_tensor") or attribute.sparse_tensors:
            raise _sparse(gate)
        if attribute.HasField("tp") or attribute.type_protos:
            raise gate.refusal(
                Rule.TENSOR_TYPE,
                f"has a type as attribute {shown(attribute.name)}{place}",
                remedy="export it with tensors only",
            )
        if attribute.HasField("t"):
            yield attribute.t, place
        for tensor in attribute.tensors:
            yield tensor, place


def _sparse(gate: Gate) -> Refused:
    return gate.refusal(Rule.SPARSE, "stores a tensor sparse", remedy="export it with dense tensors")


def _check_tensor(tensor: onnx.TensorProto, name: str, gate: Gate) -> int:
    """Return the tensor's bytes, or refuse it."""
    if tensor.external_data or tensor.data_location != TensorProto.DEFAULT:
        raise gate.refusal(
            Rule.EXTERNAL_DATA,
            f"keeps {name} in another file",
            remedy="save the network with its weights inside and deposit it again",
        )
    if tensor.data_type not in BITS:
        raise refused_type(name, tensor.data_type, gate)
    dims = tuple(tensor.dims)
    if any(length < 0 for length in dims[: gate.limits.max_rank]) or tensor.HasField("segment"):
        raise _mismatch(f"{name} of shape {_shape(dims)}", gate)
    check_size(dims, tensor.data_type, name, gate)
    elements = math.prod(dims)
    size = bytes_of(elements, tensor.data_type)
    listed = _LISTS.get(tensor.data_type, "int32_data")
    lengths = {field: len(getattr(tensor, field)) for field in _ALL_LISTS}
    count = lengths.pop(listed)
    if tensor.HasField("raw_data"):
        raw = tensor.raw_data
        right = len(raw) == size and not count
        if right and tensor.data_type == TensorProto.BOOL:
            right = not raw.translate(None, b"\0\1")
    else:
        right = count == (size if BITS[tensor.data_type] < 8 else elements)
    if not right or any(lengths.values()):
        raise _mismatch(f"{name} of shape {_shape(dims)}", gate)
    return size


def check_size(dims: tuple[int, ...], element_type: int, name: str, gate: Gate) -> None:
    """Refuse a tensor that is too large, by its axes (at least so long, none negative) and type."""
    limits = gate.limits
    elements = size_of(dims[: limits.max_rank])
    if (
        len(dims) > limits.max_rank
        or elements > limits.max_tensor_elements
        or bytes_of(elements, element_type) > limits.max_tensor_bytes
    ):
        raise gate.refusal(
            Rule.TENSOR_SIZE,
            f"has {name} of shape {_shape(dims)} or more, and at most {limits.max_tensor_elements} elements of "
            f"{limits.max_tensor_bytes} bytes along {limits.max_rank} axes are replayed",
            remedy="export a smaller network, or raise the bound",
        )


def refused_type(name: str, element_type: int, gate: Gate) -> Refused:
    """Return the refusal of a tensor that holds no numbers."""
    known = element_type in TensorProto.DataType.values()
    kind = TensorProto.DataType.Name(element_type).lower() if known else f"number {element_type}"
    return gate.refusal(
        Rule.TENSOR_TYPE,
        f"has {name} of type {kind}",
        remedy="export it with booleans, whole numbers, float16, float32 or float64 there",
    )


def _mismatch(name: str, gate: Gate) -> Refused:
    return gate.refusal(
        Rule.TENSOR_DATA, f"has {name} whose data is not what its shape and type ask for", remedy="export it again"
    )


def _shape(dims: tuple[int, ...]) -> str:
    return f"({', '.join(str(length) for length in dims[:8])}{', ...' if len(dims) > 8 else ''})"
