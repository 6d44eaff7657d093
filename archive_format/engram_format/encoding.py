"""The one encoding of structured values: deterministic CBOR (RFC 8949 section 4.2.1; SPEC.md section 4).

Two byte strings never mean the same value: `decode` refuses whatever `encode` would not have written.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final, Never

import cbor2

from engram_format.errors import FormatError

Encodable = (
    int
    | float
    | str
    | bytes
    | bool
    | None
    | Sequence["Encodable"]
    | Mapping[int, "Encodable"]
    | Mapping[str, "Encodable"]
)
"""What may be encoded: 64-bit integers, float64, text, bytes, booleans, null, arrays, and maps with either integer keys
(objects of the format) or text keys (metadata), never mixed."""

Value = int | float | str | bytes | bool | None | list["Value"] | dict[int, "Value"] | dict[str, "Value"]
"""What decoding returns."""

_MAX_DEPTH = 16
_MAX_ITEMS: Final = 2**21
"""So many values, counting those in arrays and maps, are decoded at once: each takes some 60 bytes and a microsecond."""
_MIN_INT, _MAX_INT = -(2**63), 2**64 - 1


def _refuse_tag(_decoder: object) -> Never:
    raise ValueError("tags are not allowed")


class _NoTags(dict[int, Callable[[object], Never]]):
    """A table of tag decoders that refuses every tag, before the library spends time on what it holds."""

    def __missing__(self, tag: int) -> Callable[[object], Never]:
        return _refuse_tag


_NO_TAGS: Final = _NoTags()
_STRINGS: Final = (2, 3)
_LONGEST_SHORT: Final = 23
"""A length or a number up to this stands in an item's first byte, a greater one in 1, 2, 4 or 8 bytes behind it."""


def encode(value: Encodable) -> bytes:
    """Return the only encoding of `value`."""
    _check(value, depth=0)
    return cbor2.dumps(value, canonical=True)


def decode(data: bytes, *, what: str) -> Value:
    """Return the value that `data` encodes; `what` names the object in the error.

    Raises `FormatError` for anything but one complete, canonical encoding of an allowed value.
    """
    if len(data) > _MAX_ITEMS:  # fewer bytes hold fewer items
        _check_count(data, what=what)
    try:
        value: Value = cbor2.loads(
            data, max_depth=_MAX_DEPTH, allow_indefinite=False, allow_duplicate_keys=False, semantic_decoders=_NO_TAGS
        )
        _check(value, depth=0)
        canonical = cbor2.dumps(value, canonical=True)
    except (cbor2.CBORError, ValueError, OverflowError) as error:
        raise FormatError(f"{what} is damaged: it is not deterministic CBOR ({error})") from error
    if canonical != data:
        raise FormatError(f"{what} is damaged: its encoding is not the canonical one")
    return value


def _check_count(data: bytes, *, what: str) -> None:
    """Raise `FormatError` where there are more items than may be held, before any of them is made.

    Only heads are looked at: bytes and texts are passed over. What is no CBOR ends the count and is left to the decoder.
    """
    at = items = 0
    size = len(data)
    while at < size:
        items += 1
        if items > _MAX_ITEMS:
            raise FormatError(f"{what} has more than {_MAX_ITEMS} values")
        major, short = data[at] >> 5, data[at] & 31
        at += 1
        length = short
        if short > _LONGEST_SHORT:
            width = 1 << short - _LONGEST_SHORT - 1
            length = int.from_bytes(data[at : at + width], "big")
            at += width
        if major in _STRINGS:
            at += length


def _check(value: object, *, depth: int) -> None:
    """Raise `ValueError` unless the value is of the allowed types all the way down."""
    if depth + isinstance(value, list | tuple | dict) > _MAX_DEPTH:
        raise ValueError("values are nested too deeply")
    match value:
        case None | bool() | float() | str() | bytes():
            pass
        case int():
            if not _MIN_INT <= value <= _MAX_INT:
                raise ValueError("an integer does not fit 64 bits")
        case list() | tuple():
            for item in value:
                _check(item, depth=depth + 1)
        case dict():
            if len({type(key) for key in value}) > 1 or not all(
                type(key) is str or (type(key) is int and key >= 0) for key in value
            ):
                raise ValueError("the keys of a map are all unsigned integers or all text")
            for key, item in value.items():
                _check(key, depth=depth + 1)
                _check(item, depth=depth + 1)
        case _:
            raise ValueError(f"a {type(value).__name__} cannot be stored")


class Fields:
    """Typed access to the fields of one decoded map with integer keys.

    Every getter raises `FormatError` where the field is missing or of another type, so that a parser is a list of
    expectations. Keys from 1000 on are room for later versions and are ignored; an unknown key below is an error.
    """

    __slots__ = ("_map", "_what")

    def __init__(self, value: Value, *, what: str, known: range) -> None:
        if not isinstance(value, dict) or any(not isinstance(key, int) for key in value):
            raise FormatError(f"{what} is damaged: it is not a map with integer keys")
        unknown = [key for key in value if isinstance(key, int) and key not in known and key < 1000]
        if unknown:
            raise FormatError(f"{what} has the unknown field {unknown[0]}: it was written by a newer version of Engram")
        self._map: dict[int, Value] = {key: item for key, item in value.items() if isinstance(key, int)}
        self._what = what

    @classmethod
    def of(cls, data: bytes, *, what: str, known: range) -> Fields:
        """Decode `data` and wrap its map."""
        return cls(decode(data, what=what), what=what, known=known)

    def integer(self, key: int) -> int:
        """Return an integer that is not negative."""
        value = self._map.get(key)
        if type(value) is not int or value < 0:
            raise self._wrong(key, "an unsigned integer")
        return value

    def signed(self, key: int) -> int:
        """Return an integer."""
        value = self._map.get(key)
        if type(value) is not int:
            raise self._wrong(key, "an integer")
        return value

    def number(self, key: int) -> float:
        """Return a float64."""
        value = self._map.get(key)
        if not isinstance(value, float):
            raise self._wrong(key, "a number with a binary fraction")
        return value

    def flag(self, key: int) -> bool:
        """Return a truth value."""
        value = self._map.get(key)
        if not isinstance(value, bool):
            raise self._wrong(key, "true or false")
        return value

    def text(self, key: int) -> str:
        """Return a text."""
        value = self._map.get(key)
        if not isinstance(value, str):
            raise self._wrong(key, "a text")
        return value

    def raw(self, key: int, length: int | None = None) -> bytes:
        """Return bytes, of exactly `length` if given."""
        value = self._map.get(key)
        if not isinstance(value, bytes) or (length is not None and len(value) != length):
            raise self._wrong(key, "bytes" if length is None else f"{length} bytes")
        return value

    def array(self, key: int) -> list[Value]:
        """Return an array."""
        value = self._map.get(key)
        if not isinstance(value, list):
            raise self._wrong(key, "an array")
        return value

    def raws(self, key: int, length: int) -> tuple[bytes, ...]:
        """Return an array of byte strings of exactly `length` each."""
        values = tuple(value for value in self.array(key) if isinstance(value, bytes) and len(value) == length)
        if len(values) != len(self.array(key)):
            raise self._wrong(key, f"an array of {length}-byte strings")
        return values

    def mapping(self, key: int) -> dict[str, Value]:
        """Return a map with text keys."""
        value = self._map.get(key)
        if not isinstance(value, dict):
            raise self._wrong(key, "a map")
        texts = {name: item for name, item in value.items() if isinstance(name, str)}
        if len(texts) != len(value):
            raise self._wrong(key, "a map with text keys")
        return texts

    def has(self, key: int) -> bool:
        """Tell whether the field is there."""
        return key in self._map

    def _wrong(self, key: int, expected: str) -> FormatError:
        return FormatError(f"{self._what} is damaged: field {key} is not {expected}")
