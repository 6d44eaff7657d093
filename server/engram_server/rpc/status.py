"""The edge of the service: errors become gRPC statuses here and nowhere else, and calls are counted.

The status code follows from the error's kind by one table. The kind itself goes along in the trailing metadata, so that a
client raises the error that the engine raised.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from typing import Any, Final, TypeVar

import grpc

from engram_format.errors import EngramError, ErrorKind, Exhausted, Unavailable
from engram_replay.refusal import Refused

log = logging.getLogger(__name__)

RequestT = TypeVar("RequestT")
ResponseT = TypeVar("ResponseT")
Context = grpc.aio.ServicerContext[Any, Any]

KIND_KEY: Final = "engram-error-kind"
"""The trailing metadata that carries an error's kind."""

RULE_KEY: Final = "engram-refused-by"
"""The trailing metadata that names the rule by which the gate refused a student."""

CODES: Final = {
    ErrorKind.INVALID: grpc.StatusCode.INVALID_ARGUMENT,
    ErrorKind.NOT_FOUND: grpc.StatusCode.NOT_FOUND,
    ErrorKind.EXISTS: grpc.StatusCode.ALREADY_EXISTS,
    ErrorKind.CONFLICT: grpc.StatusCode.ABORTED,
    ErrorKind.DENIED: grpc.StatusCode.PERMISSION_DENIED,
    ErrorKind.PRECONDITION: grpc.StatusCode.FAILED_PRECONDITION,
    ErrorKind.UNAVAILABLE: grpc.StatusCode.UNAVAILABLE,
    ErrorKind.EXHAUSTED: grpc.StatusCode.RESOURCE_EXHAUSTED,
    ErrorKind.DAMAGED: grpc.StatusCode.DATA_LOSS,
    ErrorKind.INTERNAL: grpc.StatusCode.INTERNAL,
}
"""The one table from kinds of errors to status codes."""

_OURS = ("/engram.", "/inference.")
_LASTING: Final = frozenset({"/engram.v1.ReplayService/Tick", "/inference.GRPCInferenceService/ModelStreamInfer"})
"""Streams that are open for as long as somebody works with them, at rest nearly all of the time."""
_MAX_MESSAGE_BYTES = 2000  # gRPC escapes a message threefold at worst and cuts headers at 8 KiB


def sentence(error: EngramError) -> str:
    """Return an error's sentence as the wire can carry it."""
    return str(error).encode("utf-8", "replace")[:_MAX_MESSAGE_BYTES].decode("utf-8", "ignore")


async def abort(context: Context, error: EngramError, *, code: grpc.StatusCode | None = None) -> None:
    """End the call with an error: its kind, its sentence, and the status code of its kind or `code`."""
    told = [(KIND_KEY, error.kind.value)]
    if isinstance(error, Refused):
        told.append((RULE_KEY, error.rule.encode("ascii", "replace").decode()))
    await context.abort(code or CODES[error.kind], sentence(error), tuple(told))


def fault(error: Exception, *, method: str) -> EngramError:
    """Log a fault of ours with its traceback; return the error that tells the client only under which id."""
    incident = secrets.token_hex(4)
    log.error("%s: incident %s", method, incident, exc_info=error)
    return EngramError(
        f"the service met a fault of its own, incident {incident}: ask its operator to look into its log"
    )


class Edge(grpc.aio.ServerInterceptor):
    """Around every call of ours: translates its errors, closes what it streams, and bounds how many there are.

    Streams that last are bounded on their own, so that neither they nor the other calls keep each other out.
    """

    def __init__(self, *, calls: int, streams: int) -> None:
        self._calls = calls
        self._streams = streams
        self._active = 0
        self._lasting = 0
        self._idle = asyncio.Event()
        self._idle.set()

    async def idle(self) -> None:
        """Wait until no call is in progress, its cleaning up included."""
        await self._idle.wait()

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler[RequestT, ResponseT] | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler[RequestT, ResponseT] | None:
        """Wrap the handlers of our services; health and reflection are left alone."""
        handler = await continuation(handler_call_details)
        if handler is None or not handler_call_details.method.startswith(_OURS):
            return handler
        return self._wrapped(handler, method=handler_call_details.method)

    def _wrapped(
        self, handler: grpc.RpcMethodHandler[RequestT, ResponseT], *, method: str
    ) -> grpc.RpcMethodHandler[RequestT, ResponseT]:
        behaviour: Any = handler.unary_unary or handler.unary_stream or handler.stream_stream

        async def one(request: RequestT, context: Context) -> ResponseT:
            async with self._call(context, method=method):
                response: ResponseT = await behaviour(request, context)
                return response

        async def many(request: RequestT | AsyncIterator[RequestT], context: Context) -> None:
            # Written rather than yielded: a client that goes away then cancels `write`, the generator is closed at once,
            # and what the servicer holds is let go before this call counts as ended.
            responses: AsyncGenerator[ResponseT, None] = behaviour(request, context)
            async with self._call(context, method=method), aclosing(responses):
                async for response in responses:
                    await context.write(response)

        if not handler.response_streaming:
            return grpc.unary_unary_rpc_method_handler(one, handler.request_deserializer, handler.response_serializer)
        make = (
            grpc.stream_stream_rpc_method_handler if handler.request_streaming else grpc.unary_stream_rpc_method_handler
        )
        return make(many, handler.request_deserializer, handler.response_serializer)

    @asynccontextmanager
    async def _call(self, context: Context, *, method: str) -> AsyncIterator[None]:
        lasting = method in _LASTING
        self._active += 1
        self._lasting += lasting
        self._idle.clear()
        try:
            self._admit(lasting=lasting)
            yield
        except EngramError as error:
            if error.kind in (ErrorKind.INTERNAL, ErrorKind.DAMAGED):
                log.exception("%s: %s", method, error.kind.value)
            await abort(context, error)
        except Exception as error:  # noqa: BLE001 - the one catch-all: an error that escapes here leaks memory in grpc.aio
            await abort(context, fault(error, method=method))
        finally:
            self._active -= 1
            self._lasting -= lasting
            if not self._active:
                self._idle.set()

    def _admit(self, *, lasting: bool) -> None:
        if lasting and self._lasting > self._streams:
            raise Exhausted(
                f"the service holds {self._streams} streams of minds, its bound: close some, or ask its operator"
            )
        if not lasting and self._active - self._lasting > self._calls:
            raise Unavailable(f"the service is at work on {self._calls} calls, its bound: wait and retry")
