"""The errors of the format, and the kinds by which every layer's errors are handled.

A kind says what the caller does next; it is stable and the list only grows. One table in the server maps kinds to gRPC
status codes, one in the command line maps them to exit codes. A message is one sentence: the object, what is wrong, what to do.
"""

from __future__ import annotations

from enum import StrEnum
from typing import ClassVar


class ErrorKind(StrEnum):
    """What a caller does about an error; sent over the wire, so names are never changed."""

    INVALID = "invalid"
    """The request cannot be right: mend it."""
    NOT_FOUND = "not_found"
    """The named thing is not there: tell the user."""
    EXISTS = "exists"
    """The name is taken: choose another or read what is there."""
    CONFLICT = "conflict"
    """Somebody else was first: read again and retry."""
    DENIED = "denied"
    """The credentials do not allow it: ask for them."""
    PRECONDITION = "precondition"
    """Something must be done first: an identity, an archive, a free session."""
    UNAVAILABLE = "unavailable"
    """The storage or the service does not answer: wait and retry."""
    EXHAUSTED = "exhausted"
    """A disk, a quota or a bound is used up: make room."""
    DAMAGED = "damaged"
    """Stored bytes are not what was written: stop, keep the bytes, repair."""
    INTERNAL = "internal"
    """A fault of ours."""


class EngramError(Exception):
    """The base of every error that Engram raises on purpose; `kind` says what to do about it."""

    kind: ClassVar[ErrorKind] = ErrorKind.INTERNAL


class InvalidInput(EngramError):
    """The caller asked for something that cannot be."""

    kind = ErrorKind.INVALID


class NotFound(EngramError):
    """The named object does not exist."""

    kind = ErrorKind.NOT_FOUND


class AlreadyExists(EngramError):
    """The name to be created is taken."""

    kind = ErrorKind.EXISTS


class Conflict(EngramError):
    """Another writer was first; reading again and retrying is safe."""

    kind = ErrorKind.CONFLICT


class Denied(EngramError):
    """Credentials are missing or do not allow the operation."""

    kind = ErrorKind.DENIED


class Precondition(EngramError):
    """The system is not in the state that the operation needs."""

    kind = ErrorKind.PRECONDITION


class Unavailable(EngramError):
    """A storage or a service did not answer; waiting and retrying is right."""

    kind = ErrorKind.UNAVAILABLE


class Exhausted(EngramError):
    """A disk, a quota or a bound is used up."""

    kind = ErrorKind.EXHAUSTED


class Damaged(EngramError):
    """Stored bytes are not what was written; they are never returned as data."""

    kind = ErrorKind.DAMAGED


class FormatError(Damaged):
    """Bytes do not have the form that SPEC.md gives them."""
