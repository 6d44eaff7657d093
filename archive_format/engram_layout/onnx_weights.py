"""The weights of an ONNX network: tensors of at least 2 KiB that lie in the file as plain numbers (`raw_data`, onnx.proto).

An initializer of a graph or of a subgraph is the series `/initializers/<name>`, a tensor that is a node's attribute
`/constants/<first output of the node>`; a name that comes again is followed by ` #2`. The numbers are least significant byte
first. Tensors in other files, packed in half bytes or written as lists of numbers have no series.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from engram_format.array_type import ArrayType
from engram_format.catalog import Scalar
from engram_format.errors import FormatError
from engram_format.series import MAX_SERIES, Contiguous, Description, Series, SeriesInfo
from engram_layout.channels import distinct
from engram_layout.header import MIN_ARRAY_BYTES, opaque_if_refused, plain_text
from engram_layout.plan import ArraySegment, Planned, covering
from engram_layout.protobuf import LENGTH_DELIMITED, VARINT, Field, MessageFile

_DTYPES: Final = {
    1: "<f4",
    2: "|u1",
    3: "|i1",
    4: "<u2",
    5: "<i2",
    6: "<i4",
    7: "<i8",
    9: "|b1",
    10: "<f2",
    11: "<f8",
    12: "<u4",
    13: "<u8",
    14: "<c8",
    15: "<c16",
    16: "|V2",  # bfloat16, which numpy lacks
    17: "|V1",  # the four kinds of float8
    18: "|V1",
    19: "|V1",
    20: "|V1",
}
_MAX_DEPTH: Final = 16
_MAX_AXES: Final = 32
_MAX_NAME: Final = 4096
_EXTERNAL: Final = 1

_MODEL_IR, _MODEL_GRAPH, _MODEL_OPSET = 1, 7, 8
_MODEL_TEXTS: Final = {2: "onnx.producer", 3: "onnx.producer_version"}
_OPSET_DOMAIN, _OPSET_VERSION = 1, 2
_GRAPH_NODE, _GRAPH_NAME, _GRAPH_INITIALIZER = 1, 2, 5
_NODE_OUTPUT, _NODE_ATTRIBUTE = 2, 5
_ATTRIBUTE_TENSOR, _ATTRIBUTE_GRAPH, _ATTRIBUTE_TENSORS, _ATTRIBUTE_GRAPHS = 5, 6, 10, 11
_TENSOR_DIMS, _TENSOR_TYPE, _TENSOR_NAME, _TENSOR_RAW, _TENSOR_LOCATION = 1, 2, 8, 9, 14


@dataclass(frozen=True, slots=True)
class _Tensor:
    name: str
    """Of the series, but for a number behind one that comes again."""
    dtype: str
    shape: tuple[int, ...]
    offset: int
    length: int


@opaque_if_refused("ONNX")
def plan_onnx(file: BinaryIO, *, size: int, path: Path) -> Planned:
    """Plan an ONNX file of `size` bytes; one that breaks a rule of protobuf or of its tensors is opaque, with the reason."""
    message = MessageFile(file, size=size)
    metadata: dict[str, Scalar] = {}
    tensors: list[_Tensor] = []
    for field in message.fields(0, size):
        if field.number == _MODEL_GRAPH:
            tensors.extend(_graph(message, _submessage(field), depth=0))
            metadata |= _graph_name(message, field)
        else:
            metadata |= _fact(message, field)
    if "onnx.ir_version" not in metadata:
        raise FormatError("it does not say which version of ONNX it has")
    tensors = tensors[:MAX_SERIES]
    names = distinct(tensor.name for tensor in tensors)
    named = list(zip(names, tensors, strict=True))
    arrays = tuple(ArrayType(name, tensor.dtype, 1, int(tensor.dtype[2:])) for name, tensor in named)
    found = [ArraySegment(tensor.offset, tensor.length, index) for index, tensor in enumerate(tensors)]
    description = Description("onnx", tuple(_series(name, tensor) for name, tensor in named))
    metadata["onnx.weights"] = sum(math.prod(tensor.shape) for tensor in tensors)
    return Planned(covering(size, found, arrays, description=description), metadata)


def _series(name: str, tensor: _Tensor) -> Series:
    return Series(SeriesInfo(name=name, dtype=tensor.dtype, shape=tensor.shape), Contiguous(tensor.offset))


def _submessage(field: Field) -> Field:
    if field.wire_type != LENGTH_DELIMITED:
        raise FormatError(f"field {field.number} at byte {field.start} is no message")
    return field


def _fact(message: MessageFile, field: Field) -> dict[str, Scalar]:
    if field.number == _MODEL_IR and field.wire_type == VARINT:
        return {"onnx.ir_version": field.value} if field.value < 2**63 else {}
    if field.number in _MODEL_TEXTS and field.wire_type == LENGTH_DELIMITED:
        text = plain_text(message.content(field, most=_MAX_NAME))
        return {_MODEL_TEXTS[field.number]: text} if text else {}
    if field.number == _MODEL_OPSET and field.wire_type == LENGTH_DELIMITED:
        return _opset(message, field)
    return {}


def _opset(message: MessageFile, field: Field) -> dict[str, Scalar]:
    domain, version = "", 0
    for part in message.fields(field.start, field.stop):
        if part.number == _OPSET_DOMAIN and part.wire_type == LENGTH_DELIMITED:
            domain = plain_text(message.content(part, most=_MAX_NAME))
        if part.number == _OPSET_VERSION and part.wire_type == VARINT:
            version = part.value
    return {"onnx.opset": version} if domain in ("", "ai.onnx") and version < 2**63 else {}


def _graph_name(message: MessageFile, graph: Field) -> dict[str, Scalar]:
    for field in message.fields(graph.start, graph.stop):
        if field.number == _GRAPH_NAME and field.wire_type == LENGTH_DELIMITED:
            text = plain_text(message.content(field, most=_MAX_NAME))
            return {"onnx.graph": text} if text else {}
    return {}


def _graph(message: MessageFile, graph: Field, *, depth: int) -> Iterator[_Tensor]:
    if depth > _MAX_DEPTH:
        raise FormatError(f"its graphs are nested more than {_MAX_DEPTH} deep")
    for field in message.fields(graph.start, graph.stop):
        # What is shorter than a tensor of 2 KiB cannot hold one.
        if field.wire_type != LENGTH_DELIMITED or field.value < MIN_ARRAY_BYTES:
            continue
        if field.number == _GRAPH_INITIALIZER:
            yield from _tensor(message, field, prefix="/initializers/")
        if field.number == _GRAPH_NODE:
            yield from _node(message, field, depth=depth)


def _node(message: MessageFile, node: Field, *, depth: int) -> Iterator[_Tensor]:
    output = ""
    attributes = []
    for field in message.fields(node.start, node.stop):
        if field.number == _NODE_OUTPUT and field.wire_type == LENGTH_DELIMITED and not output:
            output = plain_text(message.content(field, most=_MAX_NAME))
        if field.number == _NODE_ATTRIBUTE:
            attributes.append(_submessage(field))
    for attribute in attributes:
        if attribute.value < MIN_ARRAY_BYTES:
            continue
        for field in message.fields(attribute.start, attribute.stop):
            if field.number in (_ATTRIBUTE_TENSOR, _ATTRIBUTE_TENSORS):
                yield from _tensor(message, _submessage(field), prefix="/constants/", name=output)
            if field.number in (_ATTRIBUTE_GRAPH, _ATTRIBUTE_GRAPHS):
                yield from _graph(message, _submessage(field), depth=depth + 1)


def _tensor(message: MessageFile, tensor: Field, *, prefix: str, name: str = "") -> Iterator[_Tensor]:
    dims: list[int] = []
    kind, raw, is_external = 0, None, False
    for field in message.fields(tensor.start, tensor.stop):
        is_bytes = field.wire_type == LENGTH_DELIMITED
        if field.number == _TENSOR_DIMS and (is_bytes or field.wire_type == VARINT):
            dims += message.numbers(field, most=_MAX_AXES)
        elif field.number == _TENSOR_TYPE and field.wire_type == VARINT:
            kind = field.value
        elif field.number == _TENSOR_LOCATION and field.wire_type == VARINT:
            is_external = field.value == _EXTERNAL
        elif field.number == _TENSOR_NAME and is_bytes:
            name = name or plain_text(message.content(field, most=_MAX_NAME))
        elif field.number == _TENSOR_RAW and is_bytes:
            if raw is not None:
                raise FormatError(f"the tensor at byte {tensor.start} has its numbers twice")
            raw = field
    if raw is None or is_external or raw.value < MIN_ARRAY_BYTES or kind not in _DTYPES:
        return
    dtype = _DTYPES[kind]
    if len(dims) > _MAX_AXES or math.prod(dims) * int(dtype[2:]) != raw.value:
        raise FormatError(f"the tensor {name!r:.100} of shape {dims[:8]} does not go with its {raw.value} bytes")
    yield _Tensor(f"{prefix}{name}", dtype, tuple(dims), raw.start, raw.value)
