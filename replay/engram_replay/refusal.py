"""Refusals of the gate, and errors as they cross from a student's process to its parent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from engram_format.encoding import Encodable, Fields
from engram_format.errors import (
    EngramError,
    ErrorKind,
    Exhausted,
    InvalidInput,
    NotFound,
    Precondition,
    Unavailable,
)

_CLASSES: Final[Mapping[ErrorKind, type[EngramError]]] = {
    one.kind: one for one in (Exhausted, InvalidInput, NotFound, Precondition, Unavailable)
}
"""What a student's process can know. Of the archive, its keys and its bytes it knows nothing."""
_LONGEST: Final = 1000
_LONGEST_RULE: Final = 64
CONTRACT_RULE: Final = "contract"
"""The rule that a network must be what its contract says."""


class Refused(Precondition):
    """The gate lets no such network in; `rule` says by which of its rules."""

    def __init__(self, message: str, *, rule: str) -> None:
        super().__init__(message)
        self.rule = rule


def error_fields(error: Exception) -> Mapping[int, Encodable]:
    """Return an error as it is sent: its kind, its sentence and the rule of a refusal."""
    if isinstance(error, MemoryError):
        return {
            1: ErrorKind.EXHAUSTED.value,
            2: "the student asked for more memory than it may have: give it less to do",
        }
    kind = error.kind if isinstance(error, EngramError) else ErrorKind.INTERNAL
    text = str(error).encode("utf-8", "replace").decode()[:_LONGEST]
    return {1: kind.value, 2: text} | ({3: str(error.rule)} if isinstance(error, Refused) else {})


def error_of(body: bytes) -> EngramError:
    """Return the error that a process sent, its sentence as one line that a terminal can show."""
    fields = Fields.of(body, what="a student's answer", known=range(1, 4))
    text = plain(fields.text(2)[:_LONGEST])
    if fields.has(3):
        return Refused(text, rule=plain(fields.text(3)[:_LONGEST_RULE]))
    try:
        return _CLASSES[ErrorKind(fields.text(1))](text)
    except (ValueError, KeyError):
        return EngramError(text)


def plain(text: str) -> str:
    """Return a text as one line that a terminal can show as it is."""
    return "".join(letter if letter.isprintable() else " " for letter in text)
