"""Requests of one stream, answered at the same time as far as a bound allows, and in the order in which they came."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from types import TracebackType
from typing import Final, Generic, Self, TypeVar

from engram_server.rpc.room import Room

RequestT = TypeVar("RequestT")
ResponseT = TypeVar("ResponseT")

_AHEAD: Final = 32
_AHEAD_BYTES: Final = 16 << 20


class InOrder(Generic[RequestT, ResponseT]):
    """Reads ahead of the answer that is being sent: at most 32 requests, and about 16 MiB of requests and responses.

    A reader that is slow therefore slows the one who asks. Use it in an `async with` block, which stops what is under way
    when it is left, and iterate over the answers. What `handle` raises comes out where its answer would.
    """

    def __init__(
        self,
        requests: AsyncIterator[RequestT],
        handle: Callable[[RequestT], Awaitable[ResponseT]],
        *,
        request_bytes: Callable[[RequestT], int],
        response_bytes: Callable[[ResponseT], int],
    ) -> None:
        self._requests = requests
        self._handle = handle
        self._request_bytes = request_bytes
        self._response_bytes = response_bytes
        self._expected_bytes = 0
        self._room = Room(_AHEAD_BYTES)
        self._answers: asyncio.Queue[tuple[int, asyncio.Task[ResponseT]] | None] = asyncio.Queue(_AHEAD)
        self._under_way: set[asyncio.Task[ResponseT]] = set()

    async def __aenter__(self) -> Self:
        self._reader = asyncio.create_task(self._read())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        tasks = [self._reader, *self._under_way]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def __aiter__(self) -> AsyncIterator[ResponseT]:
        while (entry := await self._answers.get()) is not None:
            held, task = entry
            answer = await task
            # What a student gives for one request tells best what it will give for the next.
            self._expected_bytes = self._response_bytes(answer)
            yield answer
            self._room.give(held)
        await self._reader

    async def _read(self) -> None:
        try:
            async for request in self._requests:
                held = await self._room.take(self._request_bytes(request) + self._expected_bytes)
                task = asyncio.ensure_future(self._answer(request))
                self._under_way.add(task)
                task.add_done_callback(self._under_way.discard)
                await self._answers.put((held, task))
        except Exception:
            await self._answers.put(None)  # the error follows the answers to what came before it
            raise
        await self._answers.put(None)

    async def _answer(self, request: RequestT) -> ResponseT:
        return await self._handle(request)
