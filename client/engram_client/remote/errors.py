"""What gRPC says went wrong, as the error that the engine raised, or as one about the way to it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import grpc

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

_KIND_KEY: Final = "engram-error-kind"

_CLASSES: Final[dict[str, type[EngramError]]] = {
    error.kind.value: error
    for error in (
        InvalidInput,
        NotFound,
        AlreadyExists,
        Conflict,
        Denied,
        Precondition,
        Unavailable,
        Exhausted,
        Damaged,
        EngramError,
    )
}

_KINDS: Final = {
    grpc.StatusCode.INVALID_ARGUMENT: ErrorKind.INVALID,
    grpc.StatusCode.OUT_OF_RANGE: ErrorKind.INVALID,
    grpc.StatusCode.NOT_FOUND: ErrorKind.NOT_FOUND,
    grpc.StatusCode.ALREADY_EXISTS: ErrorKind.EXISTS,
    grpc.StatusCode.ABORTED: ErrorKind.CONFLICT,
    grpc.StatusCode.PERMISSION_DENIED: ErrorKind.DENIED,
    grpc.StatusCode.UNAUTHENTICATED: ErrorKind.DENIED,
    grpc.StatusCode.FAILED_PRECONDITION: ErrorKind.PRECONDITION,
    grpc.StatusCode.RESOURCE_EXHAUSTED: ErrorKind.EXHAUSTED,
    grpc.StatusCode.DATA_LOSS: ErrorKind.DAMAGED,
}
"""Kinds by status code, for answers that do not come from an Engram service but from what lies before it."""

_CUT = (
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.CANCELLED,
    grpc.StatusCode.UNKNOWN,
)
"""Codes by which gRPC says that an answer did not come."""


def error_of_kind(kind: str, message: str) -> EngramError:
    """Return the error of a kind; one that this client does not know yet is an `EngramError`."""
    return _CLASSES.get(kind, EngramError)(message)


def error_of(error: grpc.RpcError, *, url: str) -> EngramError:
    """Return what an error of gRPC means to whoever called."""
    code, details = error.code(), error.details() or ""
    for entry in error.trailing_metadata() or ():
        if entry.key == _KIND_KEY:
            kind = entry.value.decode() if isinstance(entry.value, bytes) else entry.value
            return error_of_kind(kind, details)
    if code in _CUT:
        return Unavailable(f"{url} does not answer ({details:.300}): {_advice(details, url=url)}")
    if code is grpc.StatusCode.UNIMPLEMENTED:
        return Precondition(
            f"{url} does not know this call ({details:.300}): use a service and a client of one version"
        )
    return error_of_kind(_KINDS.get(code, ErrorKind.INTERNAL).value, f"{url} refused the call: {details:.300}")


def _advice(details: str, *, url: str) -> str:
    """Return what to do about a connection that failed."""
    if "CERTIFICATE_VERIFY_FAILED" in details:
        return "its certificate is not one that is trusted here; name the certificates to trust with --ca-file"
    if url.startswith("grpc://") and "Socket closed" in details:
        return "it may speak TLS; try grpcs:// instead of grpc://"
    return "check the address and that the service runs, wait and retry"


@contextmanager
def translated(url: str) -> Iterator[None]:
    """Raise an error of ours for each error of gRPC inside the block."""
    try:
        yield
    except grpc.RpcError as error:
        raise error_of(error, url=url) from error
