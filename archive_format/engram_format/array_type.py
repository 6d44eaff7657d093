"""What the elements of an array in a file are, and how their bytes were filtered before they were written.

A planner (`engram_layout`) names the arrays of a file by these values, the codecs choose by them, and a series says by them
how its bytes become numbers again (SPEC.md section 9).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Self

from engram_format.encoding import Encodable, Value
from engram_format.errors import FormatError

_DTYPE: Final = re.compile(r"[|<>](?:b1|[iu](?:1|2|3|4|8)|f(?:2|4|8)|c(?:8|16)|[SV][1-9][0-9]{0,8})")
_MAX_FILTERS: Final = 32


@dataclass(frozen=True, slots=True)
class Filter:
    """One step that a file's own library applied to a chunk: `deflate`, `shuffle`, `fletcher32`, `lzf`, or `hdf5:<number>`.

    `parameters` are the library's own: for `deflate` the level (a hint, for files do not always say it), for `shuffle` the
    bytes of an element.
    """

    name: str
    parameters: tuple[int, ...] = ()

    def to_value(self) -> list[Encodable]:
        """Return what `from_value` reads."""
        return [self.name, list(self.parameters)]

    @classmethod
    def from_value(cls, value: Value, *, what: str) -> Self:
        """Check and read one filter."""
        match value:
            case [str(name), [*parameters]] if len(name) <= 64 and len(parameters) <= 64:
                numbers = tuple(item for item in parameters if type(item) is int and 0 <= item < 2**32)
                if len(numbers) == len(parameters):
                    return cls(name, numbers)
        raise FormatError(f"{what} is damaged: a filter is not a name and its numbers")


@dataclass(frozen=True, slots=True)
class ArrayType:
    """The common properties of the segments of one array.

    `dtype` is numpy's text form with its byte order (`<i2`), and also `<i3` for the 24-bit integers of BDF and WAV, which
    numpy lacks. `S` and `V` are bytes of a fixed length of which nothing more is assumed.
    """

    name: str
    """The array's name in its file, such as `/acquisition/ElectricalSeries/data`."""
    dtype: str
    lag: int
    """Elements from one sample of a channel to its next: channels side by side are as many as there are, else 1."""
    row: int
    """Bytes after which an unfiltered segment may be cut: all elements of one moment."""
    filters: tuple[Filter, ...] = ()
    """In the order in which they were applied when the file was written."""
    chunk: int = 0
    """Bytes of one chunk before the filters; 0 where the segments are not chunks with filters."""

    def __post_init__(self) -> None:
        check_dtype(self.dtype, what=f"array {self.name!r:.100}")
        if not 1 <= self.lag < 2**32 or not 1 <= self.row < 2**32 or not 0 <= self.chunk < 2**32:
            raise FormatError(f"array {self.name!r:.100} has a lag, a row or a chunk that cannot be")
        if bool(self.filters) != bool(self.chunk) or len(self.filters) > _MAX_FILTERS:
            raise FormatError(
                f"array {self.name!r:.100} has filters without chunks, chunks without filters, or too many"
            )

    @property
    def item_bytes(self) -> int:
        """Bytes of one element."""
        return item_bytes(self.dtype)

    def to_value(self) -> list[Encodable]:
        """Return what `from_value` reads."""
        filters: list[Encodable] = [step.to_value() for step in self.filters]
        return [self.name, self.dtype, self.lag, self.row, filters, self.chunk]

    @classmethod
    def from_value(cls, value: Value, *, what: str) -> Self:
        """Check and read."""
        match value:
            case [str(name), str(dtype), int(lag), int(row), [*filters], int(chunk)]:
                steps = tuple(Filter.from_value(step, what=what) for step in filters)
                return cls(name, dtype, lag, row, steps, chunk)
            case _:
                raise FormatError(f"{what} is damaged: an array is not described as one")


def check_dtype(text: str, *, what: str) -> str:
    """Return the text of an element type that the format knows; raises `FormatError`."""
    if not _DTYPE.fullmatch(text):
        raise FormatError(f"{what} has the unknown element type {text!r:.100}")
    return text


def item_bytes(dtype: str) -> int:
    """Return the bytes of one element of a checked type."""
    return int(dtype[2:])
