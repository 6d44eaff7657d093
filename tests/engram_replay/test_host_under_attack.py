"""The host against clients and students that mean no good: nobody else notices, and nothing is left behind."""

from __future__ import annotations

import asyncio
import hashlib
import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest
from engram_testing import students
from engram_testing.hostile_networks import FLOAT, INT64, model, node, squares, stored, value

from engram_format.errors import EngramError, Exhausted, InvalidInput, NotFound, Unavailable
from engram_replay import HostLimits, MindHost, StudentSource
from engram_replay import host as host_module
from engram_replay import process as process_module
from engram_replay import session as session_module

GRU = students.gru(stimuli=4, hidden=8, responses=2)
SLOW = squares(400, 512).SerializeToString()
"""Takes many seconds for a step."""


def source(data: bytes, **told) -> StudentSource:
    return StudentSource(hashlib.sha256(data).hexdigest(), lambda: data, told)


def small(seed: int) -> StudentSource:
    return source(students.gru(stimuli=4, hidden=8, responses=2, seed=seed))


def run(scenario, limits: HostLimits | None = None):
    """Run a coroutine function over a host, and close it; no process and no descriptor is left."""
    before = descriptors()

    async def whole():
        host = MindHost(limits)
        try:
            return await scenario(host)
        finally:
            began = time.monotonic()
            await host.close()
            assert time.monotonic() - began < 5

    answer = asyncio.run(whole())
    assert descriptors() <= before
    return answer


def descriptors(process: int | str = "self") -> int:
    return len(list(Path(f"/proc/{process}/fd").iterdir()))


def ones(steps: int, minds: int = 1, size: int = 4) -> list[np.ndarray]:
    return [np.ones((steps, minds, size), np.float32)]


def children(host: MindHost) -> list[int]:
    """Return the processes of the nursery, zombies included."""
    nursery = host._residents._nursery._process
    return (
        []
        if nursery is None
        else list(map(int, Path(f"/proc/{nursery.pid}/task/{nursery.pid}/children").read_text().split()))
    )


async def eventually(condition, *, within_s: float = 10) -> bool:
    for _ in range(int(within_s / 0.05)):
        if condition():
            return True
        await asyncio.sleep(0.05)
    return False


def test_a_tick_that_is_cancelled_is_carried_out_and_counted():
    async def scenario(host):
        left, calm = await host.open(source(GRU)), await host.open(source(GRU))
        for _ in range(5):
            waiting = asyncio.create_task(left.tick(ones(3)))
            await asyncio.sleep(0)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
        (after,) = await left.tick(ones(1))
        await calm.tick(ones(15))
        (expected,) = await calm.tick(ones(1))
        assert left.steps == calm.steps == 16
        assert not left._resident.process.busy
        assert not left.is_busy
        return after.tobytes(), expected.tobytes()

    after, expected = run(scenario)
    assert after == expected


def test_sessions_of_a_process_that_died_take_no_room():
    async def scenario(host):
        lost = [await host.open(source(GRU)) for _ in range(3)]
        os.kill(lost[0]._resident.process._newborn.pid, signal.SIGKILL)
        assert await eventually(lambda: lost[0].is_lost)
        kept = [await host.open(small(9)) for _ in range(3)]
        with pytest.raises(Exhausted):
            await host.open(small(9))
        with pytest.raises(Unavailable):
            await lost[1].tick(ones(1))
        await lost[1].close()
        assert len(host._sessions) == 3
        assert kept[0]._resident.sessions == 3

    run(scenario, HostLimits(sessions=3))


def test_a_thousand_sessions_that_are_opened_and_dropped_leave_nothing():
    async def scenario(host):
        keeper = await host.open(source(GRU))
        for _ in range(10):
            for session in [await host.open(source(GRU), minds=4) for _ in range(100)]:
                session.end("it was dropped")
        await keeper.tick(ones(1))
        assert len(host._sessions) == keeper._resident.sessions == 1
        assert not keeper._resident.process._asked

    run(scenario)


@pytest.mark.parametrize("minds", [0, -1, 1 << 31, 1 << 63, 1 << 70])
def test_minds_beyond_any_bound_are_refused(minds):
    async def scenario(host):
        with pytest.raises(InvalidInput, match="minds cannot be run"):
            await host.open(source(GRU), minds=minds)
        assert not host._sessions
        session = await host.open(source(GRU))
        for rows in ([-1], [1], [1 << 40], [1 << 70], [], [0] * (1 << 17)):
            with pytest.raises(InvalidInput):
                await session.fork(rows)
        assert len(host._sessions) == 1

    run(scenario)


@pytest.mark.parametrize(
    ("steps", "shapes"),
    [
        (0, [(0, 1, 4)]),
        (1 << 32, [(1 << 32, 1, 4)]),
        (1, [(1, 1, 1 << 40)]),
        (1, [(1,) * 80]),
        (1, [(0, (1 << 32) - 1, (1 << 32) - 1, (1 << 32) - 1)]),
        (1, [(1, 1, 5)]),
        (1, []),
        (1, [(1, 1, 4), (1, 1, 4)]),
        (7, [(1, 1, 4)]),
    ],
)
def test_shapes_that_lie_reach_nobody_else(steps, shapes):
    async def scenario(host):
        session, other = await host.open(source(GRU)), await host.open(source(GRU))
        with pytest.raises(InvalidInput):
            await session.tick_raw(steps, shapes, [bytes(16)])
        await other.tick(ones(1))
        await session.tick(ones(1))

    run(scenario)


@pytest.mark.parametrize("value_", [float("nan"), float("inf"), 1e300, 1 << 63, 1 << 70, 0.5, "much"])
def test_constants_that_are_no_value_of_the_type_are_refused(silero_bytes, value_):
    async def scenario(host):
        with pytest.raises(InvalidInput):
            await host.open(source(silero_bytes), constants={"sr": value_})
        assert not host._sessions

    run(scenario)


def test_a_student_that_cannot_be_read_leaves_no_process():
    def unreadable() -> bytes:
        raise NotFound("the student is gone")

    async def scenario(host):
        await host.open(source(GRU))
        for number in range(6):
            with pytest.raises(NotFound):
                await host.open(StudentSource(f"{number:064}", unreadable))
            with pytest.raises(NotFound):
                await host.replay(StudentSource(f"{number:064}", unreadable), {})
            with pytest.raises(NotFound):
                await host.reference(StudentSource(f"{number:064}", unreadable), {}, limit_s=1)
        assert await eventually(lambda: len(children(host)) <= 2)

    run(scenario)


def test_students_that_are_opened_at_once_make_no_more_processes_than_they_need():
    async def scenario(host):
        await asyncio.gather(*(host.open(small(seed)) for seed in range(6)))
        assert await eventually(lambda: len(children(host)) == 7)

    run(scenario)


def test_openings_and_replays_that_are_cancelled_leave_no_process():
    async def scenario(host):
        for pause in range(12):
            tasks = [
                asyncio.create_task(host.open(small(1))),
                asyncio.create_task(host.replay(small(2), {"x": ones(1)[0][0]})),
                asyncio.create_task(host.replay_group([small(3), small(4)], {"x": ones(1)[0][0]})),
            ]
            await asyncio.sleep(pause * 0.01)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        for session in list(host._sessions):
            await session.close()
        host._residents.end_unused(since=asyncio.get_running_loop().time() + 1)
        assert await eventually(lambda: len(children(host)) <= 1)
        assert not host._sessions

    run(scenario)


def test_a_session_is_not_idle_while_it_ticks():
    async def scenario(host):
        session = await host.open(source(SLOW))
        began = time.monotonic()
        await session.tick([np.ones((1, 1, 1, 1), np.float32)])
        assert time.monotonic() - began > 0.3, "the network is too fast for this test"
        await session.state()

    run(scenario, HostLimits(idle_s=0.1))


def test_who_asks_for_little_does_not_end_whoever_asked_for_much_before(monkeypatch):
    monkeypatch.setattr(session_module, "SMALL_S", 0.0)
    monkeypatch.setattr(host_module, "SMALL_S", 0.0)
    monkeypatch.setattr(process_module, "_GRACE_S", 0.1)

    async def scenario(host):
        steady = await host.open(source(SLOW))
        began = time.monotonic()
        long = asyncio.create_task(steady.tick([np.ones((1, 1, 1, 1), np.float32)]))
        await asyncio.sleep(0.1)
        await host.open(source(SLOW))
        assert time.monotonic() - began > 0.3, "the network is too fast for this test"
        await long

    run(scenario)


def test_one_session_that_fails_does_not_fail_those_that_share_its_call():
    picks = model(
        [node("Cast", ["x"], ["which"], to=INT64), node("Gather", ["table", "which"], ["y"])],
        inputs=[value("x", ["batch", 1])],
        outputs=[value("y", ["batch", 1], FLOAT)],
        initializers=[stored("table", range(100), np.float32)],
    ).SerializeToString()

    async def scenario(host):
        sessions = [await host.open(source(picks)) for _ in range(30)]
        given = [np.full((1, 1, 1), 999 if number % 10 == 7 else number, np.float32) for number in range(30)]
        for _ in range(5):
            answers = await asyncio.gather(
                *(session.tick([one]) for session, one in zip(sessions, given, strict=True)), return_exceptions=True
            )
            for number, answer in enumerate(answers):
                if number % 10 == 7:
                    assert isinstance(answer, InvalidInput)
                else:
                    assert answer[0].item() == number

    run(scenario)


@pytest.mark.parametrize("lengths", [(3, 3), (0, 0), (1, 3), (30_000, 30_000), (1, 2**31)])
def test_a_response_of_another_shape_than_the_contract_says_is_its_senders_affair(lengths):
    made = model(
        [
            node("Cast", ["x"], ["long"], to=INT64),
            node("Squeeze", ["long"], ["s"]),
            node("ConstantOfShape", ["s"], ["y"]),
        ],
        inputs=[value("x", ["batch", 2])],
        outputs=[value("y", ["batch", 2])],
    ).SerializeToString()

    async def scenario(host):
        bad, good = await host.open(source(made)), await host.open(source(made))
        with pytest.raises((InvalidInput, Exhausted)):
            await bad.tick([np.array(lengths, np.float32).reshape(1, 1, 2)])
        (answer,) = await good.tick([np.array([1, 2], np.float32).reshape(1, 1, 2)])
        assert answer.shape == (1, 1, 2)

    run(scenario)


def test_clients_that_tell_different_contracts_share_a_student_but_no_process():
    told = {"contract.outputs.0.name": "y", "contract.outputs.0.unit": "uV"}

    async def scenario(host):
        plain, other = await host.open(source(GRU)), await host.open(source(GRU, **told))
        assert plain._resident is not other._resident
        assert [port.unit for port in (*plain.contract.responses, *other.contract.responses)] == ["", "uV"]
        (one,), (two,) = await plain.tick(ones(2)), await other.tick(ones(2))
        return one.tobytes() == two.tobytes()

    assert run(scenario)


def test_closing_while_ticking_gives_an_answer_or_says_that_the_session_is_gone():
    async def scenario(host):
        for number in range(30):
            session = await host.open(source(GRU))
            ticks = [asyncio.create_task(session.tick(ones(1))) for _ in range(4)]
            for _ in range(number % 4):
                await asyncio.sleep(0)
            await session.close()
            for answer in await asyncio.gather(*ticks, return_exceptions=True):
                assert isinstance(answer, NotFound | list)
        assert not host._sessions

    run(scenario)


def test_students_that_come_and_go_under_a_small_budget_are_never_ended_in_use():
    async def one(host, seed: int) -> None:
        for _ in range(3):
            try:
                session = await host.open(small(seed))
            except Exhausted:
                await asyncio.sleep(0.01)
                continue
            await session.tick(ones(1))
            await session.close()

    async def scenario(host):
        await asyncio.gather(*(one(host, seed) for seed in range(8)))
        await one(host, 1)
        assert await eventually(lambda: len(children(host)) <= 4)

    run(scenario, HostLimits(processes=3))


def test_a_nursery_that_can_make_no_more_processes_keeps_those_that_it_has(monkeypatch):
    async def scenario(host):
        session = await host.open(source(GRU))
        assert await eventually(lambda: len(children(host)) == 2)
        with monkeypatch.context() as patched:
            patched.setattr(host._residents._nursery, "_spawn", lambda *_: 0)
            refused = 0
            for seed in range(1, 4):
                try:
                    await host.open(small(seed))
                except Unavailable:
                    refused += 1
            assert refused >= 2
            await session.tick(ones(1))
        await session.tick(ones(1))
        await host.open(small(9))

    run(scenario)


def test_a_host_that_is_closed_ends_what_runs_at_once_and_runs_nothing_more():
    async def scenario(host):
        session = await host.open(source(SLOW))
        calls = [
            asyncio.create_task(session.tick([np.ones((1, 1, 1, 1), np.float32)])),
            asyncio.create_task(host.replay(source(SLOW), {"x": np.ones((3, 1), np.float32)})),
            asyncio.create_task(host.open(small(5))),
        ]
        await asyncio.sleep(0.5)
        began = time.monotonic()
        await host.close()
        answers = await asyncio.gather(*calls, return_exceptions=True)
        assert time.monotonic() - began < 3
        assert all(isinstance(answer, EngramError) for answer in answers[:2])
        for later in (host.open(source(GRU)), host.contract(source(GRU)), host.replay(source(GRU), {})):
            with pytest.raises(Unavailable):
                await later
        with pytest.raises((NotFound, Unavailable)):
            await session.tick([np.ones((1, 1, 1, 1), np.float32)])

    run(scenario)


def test_two_hundred_students_leave_no_process_and_no_open_file():
    async def scenario(host):
        await host.replay(small(0), {"x": ones(2)[0][:, 0]})
        nursery = host._residents._nursery._process.pid
        open_here, open_there = descriptors(), descriptors(nursery)
        for seed in range(1, 200):
            answer = await host.replay(small(seed), {"x": ones(2)[0][:, 0]})
            assert answer.outputs["y"].shape == (2, 2)
        assert await eventually(lambda: len(children(host)) <= 5)
        host._residents.end_unused(since=asyncio.get_running_loop().time() + 1)
        assert await eventually(lambda: len(children(host)) <= 1)
        assert await eventually(lambda: descriptors() <= open_here)
        assert descriptors(nursery) <= open_there
        return nursery

    nursery = run(scenario, HostLimits(processes=4))
    assert not Path(f"/proc/{nursery}").exists()
