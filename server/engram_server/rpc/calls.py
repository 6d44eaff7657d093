"""Calls into the engine, which is synchronous, from the service, which is not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from enum import Enum, auto
from typing import TypeVar

T = TypeVar("T")


class _End(Enum):
    END = auto()


class EngineCalls:
    """Runs calls on a bounded number of threads; no call outlives the coroutine that waits for it.

    A handler has one call under way at a time, so that handlers, which are bounded, bound the waiting calls too.
    """

    def __init__(self, *, threads: int) -> None:
        self._pool = ThreadPoolExecutor(max_workers=threads, thread_name_prefix="engram-engine")

    async def run(self, function: Callable[[], T]) -> T:
        """Return what `function` returns on a thread of the pool.

        If the waiting coroutine is cancelled, a call that has not begun is dropped and one that has is waited for: an
        engine object is used by one thread at a time, and the handler's cleaning up uses it next.
        """
        work = self._pool.submit(function)
        return await _outcome(asyncio.wrap_future(work), dropped=work.cancel)

    async def clean_up(self, function: Callable[[], None]) -> None:
        """Run `function` to its end, however often the waiting coroutine is cancelled: gRPC does so more than once."""
        await _outcome(asyncio.wrap_future(self._pool.submit(function)), dropped=lambda: False)

    async def each(self, source: Callable[[], Iterator[T]]) -> AsyncGenerator[T, None]:
        """Yield what the iterator from `source` yields, taking each item when it is asked for.

        Use it in `contextlib.aclosing`: it closes the iterator, so whoever stops early knows that the engine has stopped.
        """
        held = ExitStack()

        def begin() -> Iterator[T]:
            items = iter(source())
            # A generator holds files, leases and threads until it is closed; a plain iterator has nothing to close.
            if close := getattr(items, "close", None):
                held.callback(close)
            return items

        try:
            items = await self.run(begin)
            while (item := await self.run(lambda: next(items, _End.END))) is not _End.END:
                yield item
        finally:
            await self.clean_up(held.close)

    def close(self) -> None:
        """Wait for the threads to end."""
        self._pool.shutdown(wait=True)


async def _outcome(result: asyncio.Future[T], *, dropped: Callable[[], bool]) -> T:
    """Return a call's result; if cancelled, ask whether the call could be `dropped`, and wait for its end if not."""
    try:
        return await asyncio.shield(result)
    except asyncio.CancelledError:
        if not dropped():
            await _ended(result)
        raise


async def _ended(result: asyncio.Future[T]) -> None:
    """Wait until a call has ended, whatever came of it, and however often the waiting is cancelled."""
    while not result.done():
        try:
            await asyncio.wait([result])
        except asyncio.CancelledError:
            continue
    # Looked at, so that asyncio does not report an error that nobody waits for any more.
    if not result.cancelled():
        result.exception()
