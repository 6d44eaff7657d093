"""Requests of one stream: answered together, in order, within bounds of number and bytes; nothing is left behind."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest

from engram_server.rpc.in_order import InOrder
from engram_server.rpc.room import Room

MIB = 1 << 20


async def numbers(count: int, *, taken: list[int] | None = None):
    for number in range(count):
        if taken is not None:
            taken.append(number)
        yield number


def in_order(requests, handle, *, request_bytes=lambda _: 1, response_bytes=lambda _: 1):
    return InOrder(requests, handle, request_bytes=request_bytes, response_bytes=response_bytes)


def test_answers_come_in_the_order_of_the_requests_whichever_is_ready_first():
    async def slow_first(number: int) -> int:
        await asyncio.sleep(0.05 if number == 0 else 0)
        return number

    async def main():
        async with in_order(numbers(10), slow_first) as answers:
            return [answer async for answer in answers]

    assert asyncio.run(main()) == list(range(10))


def test_requests_are_begun_in_order_and_answered_at_the_same_time():
    begun: list[int] = []
    together = asyncio.Event()

    async def handle(number: int) -> int:
        begun.append(number)
        if len(begun) == 8:
            together.set()
        await together.wait()
        return number

    async def main():
        async with in_order(numbers(8), handle) as answers:
            return [answer async for answer in answers]

    assert asyncio.run(main()) == begun == list(range(8))


@pytest.mark.parametrize(("size", "bound"), [(1, 40), (16 * MIB, 8)])
def test_a_slow_reader_slows_the_one_who_asks(size, bound):
    taken: list[int] = []

    async def handle(number: int) -> int:
        return number

    async def main():
        requests = numbers(1000, taken=taken)
        async with in_order(requests, handle, request_bytes=lambda _: size) as answers:
            async for answer in answers:
                await asyncio.sleep(0.01)
                assert len(taken) <= answer + bound
                if answer == 20:
                    break

    asyncio.run(main())
    assert len(taken) < 100


def test_large_answers_count_too():
    taken: list[int] = []

    async def handle(number: int) -> int:
        return number

    async def main():
        requests = numbers(1000, taken=taken)
        async with in_order(requests, handle, response_bytes=lambda _: 32 * MIB) as answers:
            async for answer in answers:
                await asyncio.sleep(0.001)
                if answer == 100:
                    break
                assert answer < 50 or len(taken) <= answer + 4

    asyncio.run(main())


def test_leaving_early_stops_what_is_under_way():
    stopped: list[int] = []

    async def forever(number: int) -> int:
        try:
            if number:
                await asyncio.sleep(1000)
        finally:
            stopped.append(number)
        return number

    async def main():
        async with in_order(numbers(5), forever) as answers:
            async for _ in answers:
                await asyncio.sleep(0.01)
                break
        return len(asyncio.all_tasks())

    assert asyncio.run(main()) == 1
    assert sorted(stopped) == list(range(5))


def test_an_error_comes_out_in_its_place():
    async def handle(number: int) -> int:
        if number == 3:
            raise ValueError("three")
        return number

    async def main():
        seen = []
        with suppress(ValueError):
            async with in_order(numbers(5), handle) as answers:
                async for answer in answers:
                    seen.append(answer)
        return seen

    assert asyncio.run(main()) == [0, 1, 2]


def test_an_error_of_the_requests_comes_out_after_the_answers():
    async def broken():
        yield 1
        raise ValueError("no more")

    async def handle(number: int) -> int:
        return number

    async def main():
        seen = []
        with pytest.raises(ValueError, match="no more"):
            async with in_order(broken(), handle) as answers:
                async for answer in answers:
                    seen.append(answer)
        return seen

    assert asyncio.run(main()) == [1]


def test_room_is_given_in_the_order_of_asking():
    async def main():
        room, order = Room(10), []

        async def work(name: str, size: int) -> None:
            async with room.taken(size):
                order.append(name)
                await asyncio.sleep(0.01)

        await asyncio.gather(work("first", 8), work("all", 100), work("small", 1), work("other", 2))
        async with room.taken(10):
            return order

    assert asyncio.run(main()) == ["first", "all", "small", "other"]


def test_whoever_stops_waiting_for_room_leaves_it_to_others():
    async def main():
        room = Room(10)
        held = await room.take(10)
        waiting = [asyncio.create_task(room.take(size)) for size in (10, 3, 4)]
        await asyncio.sleep(0)
        waiting[0].cancel()
        await asyncio.sleep(0)
        room.give(held)
        assert [await task for task in waiting[1:]] == [3, 4]
        last = asyncio.create_task(room.take(5))
        await asyncio.sleep(0)
        room.give(7)
        last.cancel()  # its turn has come already
        with suppress(asyncio.CancelledError):
            room.give(await last)
        async with room.taken(10):
            pass

    asyncio.run(main())


def test_whoever_stops_waiting_in_the_moment_in_which_room_is_given_back_holds_none():
    async def main() -> None:
        room = Room(10)
        held = await room.take(10)
        gone = asyncio.create_task(room.take(10))
        await asyncio.sleep(0)
        gone.cancel()
        room.give(held)
        with pytest.raises(asyncio.CancelledError):
            await gone
        async with asyncio.timeout(1):
            assert await room.take(10) == 10

    asyncio.run(main())
