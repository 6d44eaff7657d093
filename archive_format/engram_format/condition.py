"""Conditions: what a person asks of artifacts, such as `series.sampling_rate>=20000`.

A condition is a name, an operator and a value. Quotes around the value are optional; a value in quotes is a text, whatever
it looks like. Where both are numbers they are compared as numbers, else as texts, by code point. An artifact fulfils a
condition if one of its values for the name does; `!=` is fulfilled by exactly those artifacts that do not fulfil `=`.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from engram_format.catalog import Kind, Scalar
from engram_format.catalogue import CataloguePage, Column
from engram_format.errors import InvalidInput

Mask = NDArray[np.bool_]

BUILT_IN: Final = frozenset({"path", "kind", "size", "sha256", "made_from", "time", "vault", "memory", "version"})
"""Names of what is known of every artifact (`made_from` may have several values, or none), beside metadata and series."""

_FORM: Final = re.compile(r"\s*(?P<name>[^=!<>~]*?)\s*(?P<op>!=|<=|>=|=|<|>|~)(?P<value>.*)", re.DOTALL)
_NUMBER: Final = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d{1,4})?", re.ASCII)
_QUOTES: Final = "\"'"
_MAX_CHARS: Final = 4096
_ORDERS: Final[Mapping[str, Callable[[Any, Any], Any]]] = {
    "=": operator.eq,
    "!=": operator.eq,  # and then turned round
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_KINDS: Final = [str(kind) for kind in Kind]


@dataclass(frozen=True, slots=True)
class Condition:
    """One thing that artifacts are asked for."""

    name: str
    op: str
    text: str
    """The value as it was written, without quotes."""
    number: int | float | None
    """The value if it is a number and was not written in quotes."""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a name, one of `= != < <= > >= ~`, and a value; raises `InvalidInput`."""
        found = _FORM.fullmatch(text) if len(text) <= _MAX_CHARS else None
        value = found["value"].strip() if found else ""
        if found is None or not found["name"] or not value:
            raise InvalidInput(
                f"{text!r:.200} is no condition: write a name, one of = != < <= > >= ~, and a value, "
                "such as subject.species='Rattus norvegicus'"
            )
        if value[0] in _QUOTES:
            if len(value) < 2 or value[-1] != value[0]:
                raise InvalidInput(f"the condition {text!r:.200} opens a quote and does not close it: close it")
            return cls(found["name"], found["op"], value[1:-1], None)
        return cls(found["name"], found["op"], value, _number(value))

    def __str__(self) -> str:
        value = self.text if self.number is not None else f'"{self.text}"'
        return f"{self.name}{self.op}{value}"

    def holds(self, value: Scalar) -> bool:
        """Tell whether one value fulfils the condition."""
        equal_or_ordered = self._ask(value)
        return not equal_or_ordered if self.op == "!=" else equal_or_ordered

    def marks(self, page: CataloguePage, *, vault: str, memory: str, version: int) -> Mask:
        """Return which rows of a page, of a version of a memory, fulfil the condition."""
        marked = self._built_in(page, {"vault": vault, "memory": memory, "version": version})
        for column in page.columns(self.name):
            marked[column.rows[self._column(column)]] = True
        return ~marked if self.op == "!=" else marked

    def _ask(self, value: Scalar) -> bool:
        if self.op == "~":
            return self.text.casefold() in _text(value).casefold()
        if self.number is not None and isinstance(value, int | float) and not isinstance(value, bool):
            return bool(_ORDERS[self.op](value, self.number))
        return bool(_ORDERS[self.op](_text(value), self.text))

    def _column(self, column: Column) -> Mask:
        """Return which entries of a column fulfil the condition; `!=` is asked as `=`."""
        values = column.values
        if self.number is not None and self.op != "~" and column.type in ("integer", "number"):
            return np.asarray(_ORDERS[self.op](values, self.number), np.bool_)[column.index]
        told: Sequence[Scalar] = values if isinstance(values, Sequence) else values.tolist()
        return np.array([self._ask(value) for value in told], np.bool_)[column.index]

    def _built_in(self, page: CataloguePage, place: Mapping[str, Scalar]) -> Mask:
        """Return which rows fulfil the condition by what every artifact has."""
        match self.name:
            case "path":
                return self._each(page.paths)
            case "kind":
                return self._each(_KINDS)[page.kinds]
            case "size" if self.number is not None and self.op != "~":
                return np.asarray(_ORDERS[self.op](page.sizes, self.number), np.bool_)
            case "size":
                return self._each(page.sizes.tolist())
            case "sha256":
                return self._each([page.digests[at : at + 32].hex() for at in range(0, len(page.digests), 32)])
            case "made_from":
                origins = [page.origins[at : at + 32].hex() for at in range(0, len(page.origins), 32)]
                marked = np.zeros(len(page), np.bool_)
                marked[page.origin_rows[self._each(origins)]] = True
                return marked
            case "time":
                return np.array(
                    [self._ask(text) if text else False for text in map(_utc, page.times.tolist())], np.bool_
                )
            case name if name in place:
                return np.full(len(page), self._ask(place[name]), np.bool_)
            case _:
                return np.zeros(len(page), np.bool_)

    def _each(self, values: Iterable[Scalar]) -> Mask:
        return np.array([self._ask(value) for value in values], np.bool_)


def marks(
    page: CataloguePage, conditions: Iterable[Condition], *, kind: Kind | None, vault: str, memory: str, version: int
) -> Mask:
    """Return which rows of a page fulfil all conditions and are of a kind."""
    marked = np.ones(len(page), np.bool_) if kind is None else page.kinds == list(Kind).index(kind)
    for condition in conditions:
        if not marked.any():
            break
        marked = marked & condition.marks(page, vault=vault, memory=memory, version=version)
    return marked


def _number(text: str) -> int | float | None:
    if not _NUMBER.fullmatch(text):
        return None
    return int(text) if re.fullmatch(r"[+-]?\d{1,18}", text, re.ASCII) else float(text)


def _text(value: Scalar) -> str:
    """Return a value as it is written in a condition."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return value if isinstance(value, str) else str(value)


def _utc(time_ns: int) -> str:
    """Return a time as `2026-11-24T02:40:11Z`; empty where it is unknown."""
    if time_ns == 0:
        return ""
    try:
        return datetime.fromtimestamp(time_ns // 1_000_000_000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (OverflowError, ValueError, OSError):
        return ""
