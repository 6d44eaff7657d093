"""Columns of the catalogue: the values that artifacts have for one name, each different one once (SPEC.md section 9.3)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

from engram_format.catalog import Scalar
from engram_format.encoding import Encodable, Value
from engram_format.errors import FormatError

Rows = NDArray[np.uint32]
Values = Sequence[str] | NDArray[np.generic]

PAGE: Final = "a page of the catalogue"
"""What errors say is damaged."""
_DTYPES: Final = {"text": "", "integer": "<i8", "number": "<f8", "flag": "|u1"}


@dataclass(frozen=True, slots=True, eq=False)
class Column:
    """The values of one type that artifacts of a page have for one name: `values[index[i]]` belongs to row `rows[i]`."""

    name: str
    type: str
    """`text`, `integer`, `number` or `flag`."""
    rows: Rows
    values: Values
    """Each different value once."""
    index: Rows

    @classmethod
    def of(cls, name: str, kind: str, pairs: Sequence[tuple[int, Scalar]]) -> Self:
        """Arrange pairs of a row and its value."""
        numbers: dict[Scalar | bytes, int] = {}
        keys = [_key(value) for _, value in pairs]
        index = [numbers.setdefault(key, len(numbers)) for key in keys]
        rows = np.array([row for row, _ in pairs], np.uint32)
        distinct = [pairs[at][1] for at in _first_uses(index)]
        values: Values = [str(value) for value in distinct] if kind == "text" else np.array(distinct, _DTYPES[kind])
        return cls(name, kind, rows, values, np.array(index, np.uint32))

    def pairs(self, rows: NDArray[np.bool_] | None = None) -> Iterator[tuple[int, Scalar]]:
        """Yield rows and their values, of those rows only that are marked."""
        marked = slice(None) if rows is None else rows[self.rows]
        values: list[Scalar] = list(self.values) if isinstance(self.values, Sequence) else self.values.tolist()
        for row, number in zip(self.rows[marked].tolist(), self.index[marked].tolist(), strict=True):
            yield row, values[number]

    def to_value(self) -> list[Encodable]:
        """Return what `from_value` reads."""
        if isinstance(self.values, Sequence):
            lengths, data = joined(self.values)
        else:
            lengths, data = b"", self.values.tobytes()
        return [
            self.name,
            self.type,
            self.rows.astype("<u4").tobytes(),
            self.index.astype("<u4").tobytes(),
            lengths,
            data,
        ]

    @classmethod
    def from_value(cls, value: Value, *, count: int, repeats: bool) -> Self:
        """Check and read a column of a page of `count` rows; `repeats` says whether a row may have several values."""
        match value:
            case [str(name), str(kind), bytes(rows), bytes(index), bytes(lengths), bytes(data)] if (
                kind in _DTYPES and len(rows) == len(index) and len(rows) % 4 == 0
            ):
                places, numbers = as_rows(rows), as_rows(index)
                values: Values = split(lengths, data) if kind == "text" else _numbers(kind, lengths, data)
                steps = np.diff(places.astype(np.int64))
                rising = bool((steps >= 0).all()) if repeats else bool((steps > 0).all())
                if rising and all_below(places, count) and all_below(numbers, len(values)):
                    return cls(name, kind, places, values, numbers)
        raise FormatError(f"{PAGE} is damaged: a column is not a name and its values")


def _type(value: Scalar) -> str:
    match value:
        case bool():
            return "flag"
        case int():
            return "integer"
        case float():
            return "number"
        case _:
            return "text"


def _key(value: Scalar) -> Scalar | bytes:
    """Return what tells values apart: 0.0 and -0.0 are two, and one NaN is one."""
    return np.float64(value).tobytes() if isinstance(value, float) else value


def columns_of(items: Iterable[tuple[int, str, Scalar]]) -> tuple[Column, ...]:
    """Return the columns of rows, names and values, sorted by name and type."""
    pairs: dict[tuple[str, str], list[tuple[int, Scalar]]] = {}
    for row, name, value in items:
        pairs.setdefault((name, _type(value)), []).append((row, value))
    return tuple(Column.of(name, kind, held) for (name, kind), held in sorted(pairs.items()))


def _first_uses(index: Sequence[int]) -> Iterator[int]:
    """Yield the places at which each number of a running numbering is used first."""
    known = 0
    for at, number in enumerate(index):
        if number == known:
            known += 1
            yield at


def joined(texts: Sequence[str]) -> tuple[bytes, bytes]:
    """Return texts as their lengths in bytes and all of their bytes."""
    encoded = [text.encode() for text in texts]
    return np.array([len(text) for text in encoded], "<u4").tobytes(), b"".join(encoded)


def split(lengths: bytes, data: bytes) -> list[str]:
    """Return the texts that `joined` was given; raises `FormatError`."""
    if len(lengths) % 4:
        raise FormatError(f"{PAGE} is damaged: the lengths of its texts are cut")
    ends = np.cumsum(np.frombuffer(lengths, "<u4"), dtype=np.uint64).tolist()
    if (ends[-1] if ends else 0) != len(data):
        raise FormatError(f"{PAGE} is damaged: its texts are not as long as it says")
    if data.isascii():  # as most are: then a character is a byte, and all are decoded at once
        text = data.decode("ascii")
        return [text[start:end] for start, end in pairwise([0, *ends])]
    try:
        return [data[start:end].decode() for start, end in pairwise([0, *ends])]
    except UnicodeDecodeError as error:
        raise FormatError(f"{PAGE} is damaged: a text is not UTF-8") from error


def _numbers(kind: str, lengths: bytes, data: bytes) -> NDArray[np.generic]:
    dtype = np.dtype(_DTYPES[kind])
    if lengths or len(data) % dtype.itemsize:
        raise FormatError(f"{PAGE} is damaged: its numbers are cut")
    values = np.frombuffer(data, dtype)
    if kind != "flag":
        return values
    if not all_below(values, 2):
        raise FormatError(f"{PAGE} is damaged: a truth value is neither 0 nor 1")
    return values.astype(np.bool_)


def as_rows(data: bytes) -> Rows:
    """Read 32-bit numbers; raises `FormatError` where one is cut."""
    if len(data) % 4:
        raise FormatError(f"{PAGE} is damaged: a column is cut")
    return np.frombuffer(data, "<u4").astype(np.uint32)


def all_below(column: NDArray[np.generic], bound: int) -> bool:
    """Say whether every number is below a bound."""
    return len(column) == 0 or int(column.max()) < bound
