"""Reading the headers of files with distrust: what is not there, not finite or not plain text is refused with a sentence.

Every planner of a family reads by these functions and is wrapped in `opaque_if_refused`, so that a header that lies costs the
series and never the bytes.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from datetime import date, datetime
from functools import wraps
from pathlib import Path
from typing import BinaryIO, Final, Protocol

from engram_format.errors import FormatError
from engram_layout.opaque import plan_opaque
from engram_layout.plan import Planned

MIN_ARRAY_BYTES: Final = 2048
"""Shorter arrays stay in the opaque segments around them: a segment of their own costs more than it saves."""
MAX_SIDECAR_BYTES: Final = 4 * 2**20
_MAX_ROW_BYTES: Final = 2**20
_MAX_TEXT: Final = 1000

_NUMBER: Final = re.compile(r"[+-]?(?:\d{1,18}(?:\.\d{0,18})?|\.\d{1,18})(?:[eE][+-]?\d{1,3})?", re.ASCII)
_MOMENT: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{6})?", re.ASCII)
_WHOLE: Final = re.compile(r"[+-]?\d{1,18}", re.ASCII)


class Planner(Protocol):
    """A planner of one family: `path` only tells where sidecar files may lie."""

    def __call__(self, file: BinaryIO, *, size: int, path: Path) -> Planned:
        """Return the plan of a file of `size` bytes."""


def opaque_if_refused(family: str) -> Callable[[Planner], Planner]:
    """Make a planner total: where it raises `FormatError` or `ValueError`, the file is opaque and the reason is a warning."""

    def wrap(plan: Planner) -> Planner:
        @wraps(plan)
        def planned(file: BinaryIO, *, size: int, path: Path) -> Planned:
            try:
                return plan(file, size=size, path=path)
            except (FormatError, ValueError) as error:
                reason = plain_text(str(error))
                return Planned(
                    plan_opaque(size), warnings=(f"the {family} file is kept as plain bytes, without series: {reason}",)
                )

        return planned

    return wrap


def read_at(file: BinaryIO, offset: int, length: int, *, what: str) -> bytes:
    """Return exactly `length` bytes from `offset` on; raises `FormatError` if the file ends before."""
    if offset < 0 or length < 0 or offset >= 2**63:
        raise FormatError(f"{what} lies outside the file")
    file.seek(offset)
    data = file.read(length)
    if len(data) != length:
        raise FormatError(f"the file ends within {what}")
    return data


def read_sidecar(path: Path) -> bytes | None:
    """Return a whole small file that lies beside the one that is planned, or `None` if there is none that can be read."""
    try:
        if not path.is_file() or path.stat().st_size > MAX_SIDECAR_BYTES:
            return None
        with path.open("rb") as file:
            data = file.read(MAX_SIDECAR_BYTES + 1)
    except (OSError, ValueError):
        return None
    return data if len(data) <= MAX_SIDECAR_BYTES else None


def plain_text(text: str | bytes) -> str:
    """Return one line of text that can be stored: bytes as UTF-8 or else Latin-1, no control characters, cut at 1,000."""
    if isinstance(text, bytes):
        text = _decoded(text[: 4 * _MAX_TEXT])
    line = "".join(letter if letter.isprintable() else " " for letter in text[: 4 * _MAX_TEXT])
    return " ".join(line.split())[:_MAX_TEXT]


def _decoded(data: bytes) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return data.decode("latin-1")


def unit_text(text: str | bytes) -> str:
    """Return a unit as the file has it, with `u` for micro in all of its spellings."""
    return plain_text(text).replace("\N{MICRO SIGN}", "u").replace("\N{GREEK SMALL LETTER MU}", "u")


def number(text: str, *, what: str) -> float:
    """Return the finite decimal number that `text` is; raises `FormatError`."""
    stripped = text.strip(" \t\r\n\0")
    if not _NUMBER.fullmatch(stripped):
        raise FormatError(f"{what} is not a number but {plain_text(text)!r:.60}")
    return finite(float(stripped), what=what)


def whole(text: str, *, what: str) -> int:
    """Return the whole decimal number that `text` is; raises `FormatError`."""
    stripped = text.strip(" \t\r\n\0")
    if not _WHOLE.fullmatch(stripped):
        raise FormatError(f"{what} is not a whole number but {plain_text(text)!r:.60}")
    return int(stripped)


def finite(value: float, *, what: str) -> float:
    """Return `value` if it is neither infinite nor NaN; raises `FormatError`."""
    if not math.isfinite(value):
        raise FormatError(f"{what} is {value}")
    return value


def positive(value: float, *, what: str) -> float:
    """Return `value` if it is finite and above zero; raises `FormatError`."""
    if not math.isfinite(value) or value <= 0:
        raise FormatError(f"{what} is {value}")
    return value


def iso_time(year: int, month: int, day: int, seconds: float = 0.0) -> str | None:
    """Return a moment in ISO 8601 without a zone, for none of these headers has one, or `None` if there is no such moment."""
    if not 0 <= seconds < 86_400:
        return None
    try:
        millis = round(seconds * 1000)
        moment = datetime(year, month, day, millis // 3_600_000 % 24, millis // 60_000 % 60, millis // 1000 % 60)
    except ValueError:
        return None
    return moment.isoformat() + (f".{millis % 1000:03d}" if millis % 1000 else "")


def iso_moment(text: str) -> str | None:
    """Return `text` if it is a moment in ISO 8601 that there is, without a zone, else `None`."""
    try:
        return text if _MOMENT.fullmatch(text) and datetime.fromisoformat(text) else None
    except ValueError:
        return None


def iso_date(year: int, month: int, day: int) -> str | None:
    """Return a date in ISO 8601, or `None` if there is no such date."""
    try:
        return date(year, month, day).isoformat()
    except ValueError:
        return None


def row_of(elements: int, item: int) -> tuple[int, int]:
    """Return `lag` and `row` of an array whose moments are `elements` of `item` bytes, side by side.

    A moment that fills more than a frame is no unit to cut at: such an array is cut anywhere and compared with its neighbour.
    """
    return (elements, elements * item) if 1 <= elements * item <= _MAX_ROW_BYTES else (1, item)
