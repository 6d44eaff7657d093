"""Who may call: every method but those of the health service asks for a bearer token."""

from __future__ import annotations

import hashlib
import hmac
import stat
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

import grpc

from engram_format.errors import Denied, Precondition
from engram_server.rpc.status import Context, abort

RequestT = TypeVar("RequestT")
ResponseT = TypeVar("ResponseT")

_OPEN = "/grpc.health.v1.Health/"
_MIN_LENGTH = 16


def read_token(path: Path) -> str:
    """Return the token that a file holds, on its only line.

    Raises `Precondition` if the file cannot be read, if others than its owner and group can read it, or if the token is too
    short to be a secret.
    """
    try:
        with path.open(encoding="ascii") as file:
            mode = stat.S_IMODE(path.stat().st_mode)
            token = file.read().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise Precondition(
            f"the token file {path} cannot be read: write a token of ASCII letters and digits to it"
        ) from error
    if mode & stat.S_IRWXO:
        raise Precondition(f"everybody on this machine can read the token file {path}: run chmod 600 {path}")
    if len(token) < _MIN_LENGTH or not token.isprintable() or " " in token:
        raise Precondition(
            f"the token file {path} holds no token: write one of at least {_MIN_LENGTH} letters and digits on one line"
        )
    return token


class BearerToken(grpc.aio.ServerInterceptor):
    """Refuses calls that do not show the token in `authorization: Bearer TOKEN`."""

    def __init__(self, token: str) -> None:
        self._wanted = _digest(f"Bearer {token}")

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler[RequestT, ResponseT] | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler[RequestT, ResponseT] | None:
        """Let calls with the token and health checks through."""
        shown = dict(handler_call_details.invocation_metadata).get("authorization", "")
        if handler_call_details.method.startswith(_OPEN) or hmac.compare_digest(_digest(shown), self._wanted):
            return await continuation(handler_call_details)
        return grpc.stream_stream_rpc_method_handler(_refuse)


def _digest(text: str | bytes) -> bytes:
    """Make secrets equally long, so that comparing them tells nothing of their length either."""
    return hashlib.sha256(text if isinstance(text, bytes) else text.encode()).digest()


async def _refuse(_requests: Any, context: Context) -> None:  # noqa: ANN401 - requests of any method, never read
    # Whoever shows no valid token is not known, which gRPC tells apart from known and not allowed.
    await abort(
        context,
        Denied("this call shows no valid token: give the one of the service's token file"),
        code=grpc.StatusCode.UNAUTHENTICATED,
    )
