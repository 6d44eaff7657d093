"""Recognise an ONNX network by walking the protobuf fields at its beginning.

ONNX has no signature. A file is taken for one if its head is the beginning of a `ModelProto` (onnx.proto): known fields
only, each with its own wire type, no length beyond the file's end, a sane `ir_version`, and a graph that begins within the
head and is itself made of known `GraphProto` fields as far as the head shows it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

_VARINT = 0
_LENGTH_DELIMITED = 2

_IR_VERSION = 1
_GRAPH = 7

_MODEL_FIELDS: Mapping[int, int] = {
    _IR_VERSION: _VARINT,
    2: _LENGTH_DELIMITED,  # producer_name
    3: _LENGTH_DELIMITED,  # producer_version
    4: _LENGTH_DELIMITED,  # domain
    5: _VARINT,  # model_version
    6: _LENGTH_DELIMITED,  # doc_string
    _GRAPH: _LENGTH_DELIMITED,
    8: _LENGTH_DELIMITED,  # opset_import
    14: _LENGTH_DELIMITED,  # metadata_props
    20: _LENGTH_DELIMITED,  # training_info
    25: _LENGTH_DELIMITED,  # functions
    26: _LENGTH_DELIMITED,  # configuration
}
_GRAPH_FIELDS: Mapping[int, int] = dict.fromkeys((1, 2, 5, 10, 11, 12, 13, 14, 15, 16), _LENGTH_DELIMITED)

_HIGHEST_IR_VERSION = 64
"""ONNX has come to 13 in nine years; far above lies chance, not a future version."""
_MAX_VARINT_BYTES = 10


def is_onnx(head: bytes, *, size: int) -> bool:
    """Say whether a file of `size` bytes that begins with `head` is an ONNX network.

    A network whose texts before the graph are longer than the head is not recognised.
    """
    try:
        return _is_model(head, size=size)
    except _NotThisMessageError:
        return False


class _NotThisMessageError(Exception):
    """The bytes break a rule of the message that is being walked."""


@dataclass(frozen=True, slots=True)
class _Field:
    number: int
    value: int
    """The number itself, or where the bytes begin."""
    stop: int
    """The offset after the field; beyond the head if the head is cut there."""


def _is_model(head: bytes, *, size: int) -> bool:
    ir_version, has_graph = 0, False
    for field in _fields(head, start=0, stop=size, known=_MODEL_FIELDS):
        if field.number == _IR_VERSION:
            ir_version = field.value
        if field.number == _GRAPH:
            # Walked to the end for its rules; an empty graph is no network.
            has_graph = sum(1 for _ in _fields(head, start=field.value, stop=field.stop, known=_GRAPH_FIELDS)) > 0
    return has_graph and 1 <= ir_version <= _HIGHEST_IR_VERSION


def _fields(head: bytes, *, start: int, stop: int, known: Mapping[int, int]) -> Iterator[_Field]:
    """Yield the fields of the message that fills `start` up to `stop` of the file, as far as they begin within the head."""
    at = start
    while at < stop:
        tag = _varint(head, at, stop=stop)
        if tag is None:
            return
        number, wire_type = tag.value >> 3, tag.value & 7
        if known.get(number) != wire_type:
            raise _NotThisMessageError
        content = _varint(head, tag.stop, stop=stop)
        if content is None:
            return
        if wire_type == _VARINT:
            field = _Field(number, content.value, content.stop)
        else:
            field = _Field(number, content.stop, content.stop + content.value)
        if field.stop > stop:
            raise _NotThisMessageError
        yield field
        at = field.stop


@dataclass(frozen=True, slots=True)
class _Varint:
    value: int
    stop: int


def _varint(head: bytes, at: int, *, stop: int) -> _Varint | None:
    """Read the varint at offset `at` of a message that ends at `stop`; `None` if the head ends before the number does."""
    value = 0
    for count in range(_MAX_VARINT_BYTES):
        if at + count >= stop:
            raise _NotThisMessageError
        if at + count >= len(head):
            return None
        byte = head[at + count]
        value |= (byte & 0x7F) << (7 * count)
        if byte < 0x80:
            return _Varint(value, at + count + 1)
    raise _NotThisMessageError
