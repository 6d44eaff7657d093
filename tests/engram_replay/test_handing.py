"""Networks reach their process in parts, and are held once."""

from __future__ import annotations

import asyncio
import hashlib
import threading
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from engram_testing import students

from engram_format.errors import Damaged, Exhausted
from engram_replay import HostLimits, MindHost, StudentSource
from engram_replay.handing import Parts

GRU = students.gru(hidden=16)
STIMULUS = {"": np.ones((3, 64), np.float32)}
MIB = 1 << 20


def run(scenario, limits: HostLimits | None = None):
    """Run a scenario over a host."""

    async def whole():
        host = MindHost(limits)
        try:
            return await scenario(host)
        finally:
            await host.close()

    return asyncio.run(whole())


def source(read: Callable[[], Parts], data: bytes = GRU) -> StudentSource:
    return StudentSource(hashlib.sha256(data).hexdigest(), read)


def cut(data: bytes, length: int) -> Callable[[], Iterator[bytes | memoryview]]:
    return lambda: (memoryview(data)[at : at + length] for at in range(0, len(data), length))


@pytest.mark.parametrize("length", [1, 1000, len(GRU) - 1, len(GRU)])
def test_a_student_in_parts_is_the_student(length):
    async def scenario(host):
        whole = await host.replay(source(lambda: GRU), STIMULUS)
        parts = source(cut(GRU, length))
        assert (await host.replay(parts, STIMULUS)).receipt == whole.receipt
        assert (await host.replay_group([parts, source(lambda: GRU)], STIMULUS)).answers[0].receipt["student.sha256"]
        by_reference = await host.reference(parts, STIMULUS, limit_s=10.0)
        assert by_reference["y"].shape == whole.outputs["y"].shape

    run(scenario)


def test_a_large_student_is_held_once_where_it_runs_and_in_parts_on_its_way():
    large = students.reservoir(hidden=3300)
    held = []

    def parts() -> Iterator[bytes]:
        for at in range(0, len(large), MIB):
            held.append(at)
            yield large[at : at + MIB]

    async def scenario(host):
        await host.contract(source(parts, large))
        return host._residents._here()[0].process.look()

    assert run(scenario) < 1.7 * len(large)
    assert len(held) == -(-len(large) // MIB)


def test_a_student_that_is_too_large_is_refused_before_all_of_it_is_read():
    read = []

    def endless() -> Iterator[bytes]:
        while True:
            read.append(MIB)
            yield bytes(MIB)

    async def scenario(host):
        with pytest.raises(Exhausted, match=f"more than {3 * MIB} bytes"):
            await host.open(source(endless))
        with pytest.raises(Exhausted, match=f"more than {3 * MIB} bytes together"):
            await host.replay_group([source(endless), source(endless)], STIMULUS)

    run(scenario, HostLimits(student_bytes=3 * MIB))
    assert sum(read) == 8 * MIB


def test_a_student_whose_bytes_break_off_is_not_loaded_and_the_next_one_is():
    def broken() -> Iterator[bytes]:
        yield GRU[:-1]
        raise Damaged("the rest cannot be read")

    async def scenario(host):
        with pytest.raises(Damaged, match="the rest"):
            await host.open(source(broken))
        with pytest.raises(Damaged, match="the rest"):
            await host.reference(source(broken), STIMULUS, limit_s=10.0)
        await host.replay(source(lambda: GRU), STIMULUS)

    run(scenario)


def test_students_that_are_lent_or_on_their_way_count_in_the_budget_and_among_the_processes():
    other = students.gru(hidden=17)
    waiting = threading.Event()

    def slow() -> Iterator[bytes]:
        waiting.wait(20)
        yield other

    async def scenario(host):
        loading = asyncio.create_task(host.contract(source(slow, other)))
        await asyncio.sleep(0.1)
        with pytest.raises(Exhausted, match="at most 1 are loaded"):
            await host.open(source(lambda: GRU))
        waiting.set()
        await loading
        # A student that nobody uses makes room, and one that a replay has for itself does not.
        replaying = asyncio.create_task(host.replay(source(lambda: GRU), {"": np.ones((20_000, 64), np.float32)}))
        while not host._residents._lent:
            await asyncio.sleep(0.001)
        with pytest.raises(Exhausted, match="at most 1 are loaded"):
            await host.open(source(lambda: other, other))
        await replaying
        await host.open(source(lambda: other, other))

    run(scenario, HostLimits(processes=1))
