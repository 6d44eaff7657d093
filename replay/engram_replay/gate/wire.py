"""What parsing a network would cost, told from its bytes alone.

A message of many empty parts takes a hundred times its bytes once it is parsed, and so does a list of small numbers eight times.
So the tags and lengths are walked first, without making anything. The walk also refuses what two parsers may read in two
ways: parts that are unknown to ours, parts of another form than declared, groups, and text that is not UTF-8.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final, cast

import onnx
from google.protobuf.descriptor import Descriptor, FieldDescriptor

from engram_format.errors import InvalidInput
from engram_replay.gate.limits import Gate, Rule
from engram_replay.refusal import Refused

_MAX_DEPTH: Final = 100
"""Messages within messages; no parser of protobuf goes deeper unless told to."""
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
"""Wire types; 3 and 4 are groups, which ONNX does not use."""


class _Content(Enum):
    MESSAGE = auto()
    TEXT = auto()
    BYTES = auto()
    NUMBER = auto()


_MESSAGE, _TEXT = _Content.MESSAGE, _Content.TEXT


@dataclass(slots=True)
class _Field:
    content: _Content
    wire_type: int
    repeated: bool
    spread: int
    """Bytes in memory of what one byte of a packed list may hold, where that is more than one; else 0."""
    parts: Mapping[int, _Field]
    """The fields of the message that stands in this one; empty otherwise."""


def check_cost(data: bytes, gate: Gate) -> None:
    """Raise `Refused` if parsing `data` would take too much, and `InvalidInput` if it is no such message."""
    limits = gate.limits
    fields: Mapping[int, _Field] = _MODEL
    outer: list[tuple[int, Mapping[int, _Field]]] = []
    at, end = 0, len(data)
    left = limits.max_fields
    text = listed = 0
    has_graph = False
    while True:
        if at >= end:
            if at > end:
                raise _malformed(gate)
            if not outer:
                return
            end, fields = outer.pop()
            continue
        tag = data[at]
        at += 1
        if tag > 0x7F:
            tag, at = _varint(data, at - 1, end, gate)
        field = fields.get(tag >> 3)
        if field is None:
            raise _unknown(tag, gate) if has_graph else _malformed(gate)
        left -= 1
        if left < 0:
            raise _too_many_fields(gate)
        wire_type = tag & 7
        if wire_type == _BYTES and (field.wire_type == _BYTES or field.repeated):
            length, at = _varint(data, at, end, gate)
            stop = at + length
            if stop > end:
                raise _malformed(gate)
            if field.content is _MESSAGE:
                has_graph = has_graph or field is _GRAPH
                outer.append((end, fields))
                if len(outer) > _MAX_DEPTH:
                    raise _too_deep(gate)
                end, fields = stop, field.parts
                continue
            if field.content is _TEXT:
                text += length
                if text > limits.max_text:
                    raise _too_much_text(gate)
                _check_utf8(data, at, stop, gate)
            listed += length * field.spread
            if listed > limits.max_listed:
                raise _too_many_numbers(gate)
            at = stop
        elif wire_type != field.wire_type:
            raise _malformed(gate)
        elif wire_type == _VARINT:
            _, at = _varint(data, at, end, gate)
        else:
            at += 4 if wire_type == _FIXED32 else 8


def _varint(data: bytes, at: int, end: int, gate: Gate) -> tuple[int, int]:
    """Return the number at `at`, and where it ends."""
    if at < end and data[at] < 0x80:
        return data[at], at + 1
    value = shift = 0
    while at < end and shift < 70:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
    raise _malformed(gate)


def _check_utf8(data: bytes, at: int, stop: int, gate: Gate) -> None:
    try:
        data[at:stop].decode()
    except UnicodeDecodeError as error:
        raise _malformed(gate) from error


def _malformed(gate: Gate) -> InvalidInput:
    return InvalidInput(f"{gate.what} is no ONNX network, or not the whole of one: deposit the file again")


def _too_many_fields(gate: Gate) -> Refused:
    return gate.refusal(
        Rule.TOO_MANY_FIELDS,
        f"consists of more than {gate.limits.max_fields} fields",
        remedy="export a smaller network, without the names of inner values",
    )


def _too_deep(gate: Gate) -> Refused:
    return gate.refusal(
        Rule.NESTING, "is nested too deep to be read", remedy="export it without branches within branches"
    )


def _too_much_text(gate: Gate) -> Refused:
    return gate.refusal(
        Rule.TOO_MUCH_TEXT,
        f"has more than {gate.limits.max_text} bytes of names and metadata",
        remedy="remove its documentation and metadata",
    )


def _too_many_numbers(gate: Gate) -> Refused:
    return gate.refusal(
        Rule.TOO_MANY_BYTES,
        f"lists numbers one by one that would take more than {gate.limits.max_listed} bytes when read",
        remedy="export it with tensors as raw data, or raise the bound",
    )


def _unknown(tag: int, gate: Gate) -> InvalidInput | Refused:
    if tag & 7 not in (_VARINT, _FIXED64, _BYTES, _FIXED32) or not 0 < tag >> 3 < 1000:
        return _malformed(gate)
    return gate.refusal(
        Rule.UNKNOWN_FIELD,
        f"has a field of number {tag >> 3} that ONNX {onnx.__version__} does not know",
        remedy="export it with that version or an older one",
    )


_WIRE_TYPES: Final = {
    FieldDescriptor.TYPE_DOUBLE: _FIXED64,
    FieldDescriptor.TYPE_FLOAT: _FIXED32,
    FieldDescriptor.TYPE_BYTES: _BYTES,
    FieldDescriptor.TYPE_STRING: _BYTES,
    FieldDescriptor.TYPE_MESSAGE: _BYTES,
}
_CONTENTS: Final = {
    FieldDescriptor.TYPE_BYTES: _Content.BYTES,
    FieldDescriptor.TYPE_STRING: _Content.TEXT,
    FieldDescriptor.TYPE_MESSAGE: _Content.MESSAGE,
}


def _fields_of(message: Descriptor, known: dict[str, dict[int, _Field]]) -> dict[int, _Field]:
    """Return the fields of a kind of message by number; messages that hold their own kind share one table."""
    if message.full_name not in known:
        fields = known[message.full_name] = {}
        for field in message.fields:
            wire_type = _WIRE_TYPES.get(field.type, _VARINT)
            fields[field.number] = _Field(
                content=_CONTENTS.get(field.type, _Content.NUMBER),
                wire_type=wire_type,
                repeated=field.is_repeated,
                spread=_spread(field.type, wire_type),
                parts=_fields_of(field.message_type, known) if field.message_type else {},
            )
    return known[message.full_name]


def _spread(kind: int, wire_type: int) -> int:
    if wire_type != _VARINT:
        return 0
    return 4 if kind in (FieldDescriptor.TYPE_INT32, FieldDescriptor.TYPE_ENUM) else 8


_MODEL: Final = _fields_of(cast(Descriptor, onnx.ModelProto.DESCRIPTOR), {})
_GRAPH: Final = _MODEL[onnx.ModelProto.DESCRIPTOR.fields_by_name["graph"].number]
