"""Calls into the engine: none outlives who waits for it, and cleaning up is never dropped."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import aclosing

import pytest

from engram_server.rpc.calls import EngineCalls


def test_a_cancelled_call_is_waited_for_however_often_it_is_cancelled() -> None:
    begun, go_on, over = threading.Event(), threading.Event(), threading.Event()

    def slow() -> None:
        begun.set()
        go_on.wait(10)
        over.set()

    async def main() -> None:
        calls = EngineCalls(threads=1)
        task = asyncio.create_task(calls.run(slow))
        await asyncio.to_thread(begun.wait, 10)
        for _ in range(3):
            task.cancel()
            await asyncio.sleep(0.01)
        assert not task.done()
        go_on.set()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert over.is_set()
        calls.close()

    asyncio.run(main())


def test_a_call_that_has_not_begun_is_dropped_but_cleaning_up_is_not() -> None:
    go_on = threading.Event()
    ran: list[str] = []

    async def main() -> None:
        calls = EngineCalls(threads=1)
        blocking = asyncio.create_task(calls.run(lambda: go_on.wait(10)))
        dropped = asyncio.create_task(calls.run(lambda: ran.append("call")))
        kept = asyncio.create_task(calls.clean_up(lambda: ran.append("cleaning up")))
        await asyncio.sleep(0.05)
        for task in (dropped, kept):
            task.cancel()
        await asyncio.sleep(0.05)
        assert dropped.cancelled()
        assert not kept.done()
        go_on.set()
        await blocking
        with pytest.raises(asyncio.CancelledError):
            await kept
        calls.close()

    asyncio.run(main())
    assert ran == ["cleaning up"]


def test_an_error_after_cancelling_is_nobodys(caplog: pytest.LogCaptureFixture) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def fail() -> None:
        begun.set()
        go_on.wait(10)
        raise ValueError("too late")

    async def main() -> None:
        calls = EngineCalls(threads=1)
        task = asyncio.create_task(calls.run(fail))
        await asyncio.to_thread(begun.wait, 10)
        task.cancel()
        await asyncio.sleep(0.01)
        go_on.set()
        with pytest.raises(asyncio.CancelledError):
            await task
        calls.close()

    asyncio.run(main())
    assert "too late" not in caplog.text


def test_an_iterator_is_closed_by_whoever_stops_early() -> None:
    closed = threading.Event()

    def items() -> Iterator[int]:
        try:
            yield from range(100)
        finally:
            closed.set()

    async def main() -> None:
        calls = EngineCalls(threads=2)
        async with aclosing(calls.each(items)) as some:
            assert await anext(some) == 0
            assert await anext(some) == 1
            assert not closed.is_set()
        assert closed.is_set()
        assert [n async for n in calls.each(lambda: iter([1, 2]))] == [1, 2]
        calls.close()

    asyncio.run(main())
