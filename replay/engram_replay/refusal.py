"""Refusals of the gate, and errors as they cross from a student's process to its parent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from engram_format.encoding import Encodable, Fields
from engram_format.errors import (
    AlreadyExists,
    Conflict,
    Damaged,
    Denied,
    EngramError,
    ErrorKind,
    Exhausted,
    InvalidInput,
    NotFound,
    Precondition,
    Unavailable,
)

_CLASSES: Final[Mapping[ErrorKind, type[EngramError]]] = {
    one.kind: one
    for one in (
        AlreadyExists,
        Conflict,
        Damaged,
        Denied,
        EngramError,
        Exhausted,
        InvalidInput,
        NotFound,
        Precondition,
        Unavailable,
    )
}
_LONGEST: Final = 1000
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
    """Return the error that a process sent."""
    fields = Fields.of(body, what="a student's answer", known=range(1, 4))
    text = fields.text(2)[:_LONGEST]
    if fields.has(3):
        return Refused(text, rule=fields.text(3)[:64])
    try:
        return _CLASSES[ErrorKind(fields.text(1))](text)
    except (ValueError, KeyError):
        return EngramError(text)
