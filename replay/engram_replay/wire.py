"""What a student's process and its parent say to each other over a socket: frames of a head in CBOR and arrays as raw bytes.

A frame is its length (4 bytes), a number that pairs answers with requests (8 bytes), one byte for what it is, and a body; all
little-endian. A tick has a body of its own, since it is what is said most often.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

import numpy as np

from engram_format.catalog import AnyArray, Scalar
from engram_format.encoding import Encodable, Fields, Value, encode
from engram_format.errors import Exhausted, FormatError, InvalidInput

MAX_FRAME_BYTES: Final = (1 << 31) - 1
"""What one message holds; a process that announces more is ended."""
_FRAME: Final = struct.Struct("<IQB")
_LENGTH: Final = struct.Struct("<I")
_TICK: Final = struct.Struct("<QIdB")
_MAX_AXES: Final = 64
MAX_HEAD_BYTES: Final = 4 << 20
"""Bytes of a body before its arrays: decoding them takes the reader's time."""
_DTYPES: Final = {
    dtype.str: dtype for code in "?bBhHiIlLqQefdg" for dtype in (np.dtype(code), np.dtype(code).newbyteorder())
}
"""The types that cross, by their names: NumPy reads far more into a text than that."""


class Op(IntEnum):
    """What a request asks for, and whether an answer is one."""

    LOAD = 1
    OPEN = 2
    TICK = 3
    STATE = 4
    FORK = 5
    CLOSE = 6
    REPLAY = 7
    INFER = 8
    REFERENCE = 9
    GROUP = 10
    PART = 11
    DONE = 64
    FAILED = 65


@dataclass(frozen=True, slots=True)
class Frame:
    """One message."""

    number: int
    op: int
    body: memoryview


def pack_frame(number: int, op: Op, body: Sequence[bytes | memoryview]) -> list[bytes | memoryview]:
    """Return the pieces of a frame, to be sent one after another; raises `Exhausted` for a body that is too large."""
    size = sum(len(piece) for piece in body)
    if size > MAX_FRAME_BYTES:
        raise Exhausted(f"{size} bytes cannot be handed on at once, only {MAX_FRAME_BYTES}: cut them into parts")
    return [_FRAME.pack(size + _FRAME.size - _LENGTH.size, number, op), *body]


class Frames:
    """Cuts what arrives into frames.

    `allowed` is told the number and the op of each frame before its body has arrived, and returns how many bytes that may have;
    it raises `FormatError` for a frame that nobody expects.
    """

    def __init__(self, allowed: Callable[[int, int], int] = lambda _number, _op: MAX_FRAME_BYTES) -> None:
        self._held = bytearray()
        self._allowed = allowed

    def feed(self, data: bytes | memoryview) -> Iterator[Frame]:
        """Yield the frames that are complete with `data`; their bodies stay valid.

        Raises `FormatError` for a frame that is larger than allowed, as soon as that can be told.
        """
        self._held += data
        at, size = 0, len(self._held)
        while size - at >= _FRAME.size:
            length, number, op = _FRAME.unpack_from(self._held, at)
            body = length + _LENGTH.size - _FRAME.size
            if not 0 <= body <= self._allowed(number, op):
                raise FormatError(f"a frame announces a body of {body} bytes, which cannot be")
            stop = at + _FRAME.size + body
            if stop > size:
                break
            yield Frame(number, op, memoryview(bytes(self._held[at + _FRAME.size : stop])))
            at = stop
        if at:
            del self._held[:at]


def pack_arrays(head: Mapping[int, Encodable], arrays: Mapping[str, AnyArray]) -> list[bytes | memoryview]:
    """Return the pieces of a body: its head, in which field 0 lists the arrays, and the arrays' bytes.

    Raises `InvalidInput` for an array that does not hold numbers, and `Exhausted` for a head that is too large.
    """
    for name, array in arrays.items():
        if array.dtype.str not in _DTYPES:
            raise InvalidInput(f"array {name!r} is of type {array.dtype}: only booleans and real numbers are replayed")
    listed: list[Encodable] = [[name, array.dtype.str, list(array.shape)] for name, array in arrays.items()]
    try:
        told = encode({**head, 0: listed})
    except ValueError as error:
        raise InvalidInput(
            f"a value cannot be handed to a student ({error}): give numbers of at most 64 bits"
        ) from error
    if len(told) > MAX_HEAD_BYTES:
        raise Exhausted(f"{len(told)} bytes of names and numbers cannot be handed on at once: give fewer")
    return [_LENGTH.pack(len(told)), told, *(raw(array) for array in arrays.values())]


def unpack_arrays(body: memoryview, *, what: str, known: range) -> tuple[Fields, dict[str, AnyArray], memoryview]:
    """Return a body's head, its arrays, and the bytes that follow them; raises `FormatError` for one that cannot be."""
    fields, at = _head(body, what=what, known=known)
    arrays: dict[str, AnyArray] = {}
    for item in fields.array(0):
        name, dtype, shape = _announced(item, what=what)
        if name in arrays:
            raise FormatError(f"{what} is damaged: it announces array {name!r} twice")
        arrays[name] = array = _array(body, at, dtype, shape, what=what)
        at += array.nbytes
    return fields, arrays, body[at:]


def _head(body: memoryview, *, what: str, known: range) -> tuple[Fields, int]:
    if len(body) < _LENGTH.size:
        raise FormatError(f"{what} is cut off: it has no head")
    start = _LENGTH.size
    stop = start + int(_LENGTH.unpack_from(body)[0])
    if stop > min(len(body), start + MAX_HEAD_BYTES):
        raise FormatError(f"{what} is damaged: its head is not all there, or too long")
    return Fields.of(bytes(body[start:stop]), what=what, known=known), stop


def _announced(item: Value, *, what: str) -> tuple[str, np.dtype[np.generic], tuple[int, ...]]:
    match item:
        case [str(name), str(text), list(lengths)] if len(lengths) <= _MAX_AXES:
            shape = tuple(length for length in lengths if type(length) is int and 0 <= length < 2**48)
            dtype = _DTYPES.get(text)
            if len(shape) == len(lengths) and dtype is not None:
                return name, dtype, shape
    raise FormatError(f"{what} is damaged: it announces no array")


def under(prefix: str, arrays: Mapping[str, AnyArray]) -> dict[str, AnyArray]:
    """Return the arrays whose names begin with a prefix, by the rest of their names."""
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}


def scalars(values: Mapping[str, object]) -> dict[str, Scalar]:
    """Return the entries that metadata may hold."""
    return {name: value for name, value in values.items() if isinstance(value, str | int | float | bool)}


def _array(body: memoryview, at: int, dtype: np.dtype[np.generic], shape: tuple[int, ...], *, what: str) -> AnyArray:
    """Return the array whose bytes begin at `at`; raises `FormatError` where they are not there, or no array is so shaped."""
    count = math.prod(shape)
    if count * dtype.itemsize > len(body) - at:
        raise FormatError(f"{what} is cut off: {len(body) - at} bytes are left for a shape of {shape}")
    try:
        return np.frombuffer(body, dtype, count, at).reshape(shape) if count else np.empty(shape, dtype)
    except ValueError as error:
        raise FormatError(f"{what} is damaged: no array has the shape {shape}") from error


def raw(array: AnyArray) -> memoryview:
    """Return an array's bytes in C order."""
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8).data


@dataclass(frozen=True, slots=True)
class Tick:
    """A request to advance a session."""

    session: int
    steps: int
    limit_s: float
    allow_nan: bool
    stimuli: memoryview
    """The shapes and then the bytes of the arrays, in the order of the contract."""


def pack_tick(session: int, steps: int, *, limit_s: float, allow_nan: bool) -> bytes:
    """Return the head of the body that asks for a tick; shapes and arrays follow."""
    return _TICK.pack(session, steps, limit_s, allow_nan)


def unpack_tick(body: memoryview) -> Tick:
    """Read the body that asks for a tick."""
    if len(body) < _TICK.size:
        raise FormatError("a tick is cut off: it has no head")
    session, steps, limit_s, allow_nan = _TICK.unpack_from(body)
    return Tick(session, steps, limit_s, bool(allow_nan), body[_TICK.size :])


def pack_shapes(shapes: Sequence[tuple[int, ...]]) -> bytes:
    """Return the shapes of arrays whose number and types both sides know; raises `InvalidInput` for one that is too large."""
    try:
        return b"".join(struct.pack(f"<B{len(shape)}I", len(shape), *shape) for shape in shapes)
    except struct.error as error:
        raise InvalidInput(f"arrays of the shapes {[*shapes]} are too large: give less at once") from error


def unpack_plain(body: memoryview, dtypes: Sequence[np.dtype[np.generic]]) -> list[AnyArray]:
    """Return the arrays of a body that holds their shapes and then their bytes, and nothing else.

    Raises `FormatError` where they do not fill it.
    """
    shapes: list[tuple[int, ...]] = []
    at = 0
    try:
        for _ in dtypes:
            axes = body[at]
            shapes.append(struct.unpack_from(f"<{axes}I", body, at + 1))
            at += 1 + 4 * axes
    except (IndexError, struct.error) as error:
        raise FormatError("arrays are cut off: a shape is missing") from error
    arrays: list[AnyArray] = []
    for shape, dtype in zip(shapes, dtypes, strict=True):
        arrays.append(array := _array(body, at, dtype, shape, what="a message of arrays"))
        at += array.nbytes
    if at != len(body):
        raise FormatError(f"arrays have {len(body) - at} bytes more than their shapes say")
    return arrays
