"""Students in processes of their own: sessions of minds, bits, limits and ends."""

from __future__ import annotations

import asyncio
import hashlib
import os
import signal
from pathlib import Path

import numpy as np
import pytest
from engram_testing import students

from engram_format.errors import Exhausted, FormatError, InvalidInput, NotFound, Unavailable
from engram_replay import Execution, Form, HostLimits, MindHost, Optimisation, Refused, StudentSource
from engram_replay.wire import Frames

RNG = np.random.default_rng(1)
GRU = students.gru()


def source(data: bytes, **told) -> StudentSource:
    return StudentSource(hashlib.sha256(data).hexdigest(), lambda: data, told)


def run(scenario, limits: HostLimits | None = None):
    """Run a coroutine function over a host, and close it."""

    async def whole():
        host = MindHost(limits)
        try:
            return await scenario(host)
        finally:
            await host.close()

    return asyncio.run(whole())


def noise(steps: int, minds: int) -> np.ndarray:
    return RNG.standard_normal((steps, minds, 64)).astype(np.float32)


@pytest.mark.parametrize("make", [students.gru, students.reservoir, students.tcn])
def test_a_mind_answers_the_same_bits_alone_and_among_256(make):
    stimulus = noise(6, 256)

    async def scenario(host):
        alone = await host.open(source(make()))
        many = await host.open(source(make()), minds=256)
        (expected,) = await alone.tick([stimulus[:, 100:101]])
        (together,) = await many.tick([stimulus])
        return expected, together

    expected, together = run(scenario)
    assert expected.shape == (6, 1, 64)
    assert together[:, 100:101].tobytes() == expected.tobytes()


@pytest.mark.parametrize("minds", [1, 2, 16, 64])
def test_steps_in_one_message_or_in_many_give_the_same_bits(minds):
    stimulus = noise(5, minds)

    async def scenario(host):
        once, often = await host.open(source(GRU), minds=minds), await host.open(source(GRU), minds=minds)
        (whole,) = await once.tick([stimulus])
        parts = [(await often.tick([stimulus[step : step + 1]]))[0] for step in range(5)]
        assert (await once.state())["h0"].tobytes() == (await often.state())["h0"].tobytes()
        assert once.steps == often.steps == 5
        return whole, np.concatenate(parts)

    whole, parts = run(scenario)
    assert whole.tobytes() == parts.tobytes()


def test_the_order_of_minds_changes_no_bit():
    stimulus, order = noise(3, 16), RNG.permutation(16)

    async def scenario(host):
        one, other = await host.open(source(GRU), minds=16), await host.open(source(GRU), minds=16)
        return (await one.tick([stimulus]))[0], (await other.tick([stimulus[:, order]]))[0]

    one, other = run(scenario)
    assert one[:, order].tobytes() == other.tobytes()


def test_one_thread_and_two_and_no_optimisation_give_the_same_bits():
    stimulus = noise(4, 3)

    async def scenario(host):
        answers = []
        for execution in (Execution(), Execution(threads=2), Execution(optimisation=Optimisation.NONE)):
            session = await host.open(source(GRU), minds=3, execution=execution)
            answers.append((await session.tick([stimulus]))[0].tobytes())
        return answers

    assert len(set(run(scenario))) == 1


@pytest.mark.parametrize("form", [Form.STACKED, Form.SHARED])
def test_forms_never_mix_within_a_session(form):
    async def scenario(host):
        with pytest.raises(InvalidInput, match="a form of groups"):
            await host.open(source(GRU), execution=Execution(form=form))
        with pytest.raises(InvalidInput, match="a form of groups"):
            await host.infer(source(GRU), {}, execution=Execution(form=form))

    run(scenario)


def test_sessions_that_tick_at_once_answer_what_each_answers_by_itself():
    stimuli = [noise(1, 1 + number % 5) for number in range(40)]

    async def scenario(host):
        sessions = [await host.open(source(GRU), minds=stimulus.shape[1]) for stimulus in stimuli]
        together = await asyncio.gather(
            *(session.tick([stimulus]) for session, stimulus in zip(sessions, stimuli, strict=True))
        )
        again = []
        for stimulus in stimuli:
            session = await host.open(source(GRU), minds=stimulus.shape[1])
            again.append(await session.tick([stimulus]))
        return together, again

    together, again = run(scenario)
    assert all(one[0].tobytes() == other[0].tobytes() for one, other in zip(together, again, strict=True))


def test_ticks_of_one_session_are_answered_in_order():
    stimulus = noise(8, 2)

    async def scenario(host):
        hurried, calm = await host.open(source(GRU), minds=2), await host.open(source(GRU), minds=2)
        at_once = await asyncio.gather(*(hurried.tick([stimulus[step : step + 1]]) for step in range(8)))
        return np.concatenate([answer[0] for answer in at_once]), (await calm.tick([stimulus]))[0]

    at_once, calm = run(scenario)
    assert at_once.tobytes() == calm.tobytes()


def test_a_fork_goes_on_as_the_original_and_leaves_it_alone():
    first, second = noise(3, 4), noise(3, 4)

    async def scenario(host):
        session = await host.open(source(GRU), minds=4)
        await session.tick([first])
        forked = await session.fork([2, 2, 0])
        (branch,) = await forked.tick([second[:, [2, 2, 0]]])
        (trunk,) = await session.tick([second])
        assert forked.steps == 6
        return branch, trunk

    branch, trunk = run(scenario)
    assert branch.tobytes() == trunk[:, [2, 2, 0]].tobytes()


def test_a_state_that_was_read_can_be_gone_on_from():
    first, second = noise(3, 4), noise(3, 4)

    async def scenario(host):
        session = await host.open(source(GRU), minds=4)
        await session.tick([first])
        resumed = await host.open(source(GRU), minds=4, initial_state=await session.state())
        return (await session.tick([second]))[0], (await resumed.tick([second]))[0]

    one, other = run(scenario)
    assert one.tobytes() == other.tobytes()


@pytest.mark.parametrize(
    ("stimulus", "message"),
    [
        (noise(2, 3), r"stimulus 'x' takes float32 of shape \(2, 2, 64\), not float32 of shape \(2, 3, 64\)"),
        (noise(2, 2).astype(np.float64), "not float64"),
        (np.full((1, 2, 64), np.nan, np.float32), "holds NaN or infinity"),
        (noise(2, 2)[:0], "no steps"),
    ],
    ids=["minds", "type", "NaN", "steps"],
)
def test_a_stimulus_that_does_not_fit_is_refused_and_changes_nothing(stimulus, message):
    good = noise(1, 2)

    async def scenario(host):
        tried, calm = await host.open(source(GRU), minds=2), await host.open(source(GRU), minds=2)
        with pytest.raises(InvalidInput, match=message):
            await tried.tick([stimulus])
        return (await tried.tick([good]))[0], (await calm.tick([good]))[0]

    tried, calm = run(scenario)
    assert tried.tobytes() == calm.tobytes()


def test_nan_is_taken_where_it_is_allowed():
    stimulus = np.full((1, 1, 64), np.nan, np.float32)

    async def scenario(host):
        session = await host.open(source(students.reservoir()))
        return (await session.tick([stimulus], allow_nan=True))[0]

    assert np.isnan(run(scenario)).all()


def test_a_network_that_fails_while_running_leaves_the_state_as_it_was(make_network):
    from onnx import TensorProto, helper

    picks = make_network(
        [
            helper.make_node("Add", ["level", "x"], ["level_out"]),
            helper.make_node("Cast", ["x"], ["which"], to=TensorProto.INT64),
            helper.make_node("Gather", ["table", "which"], ["y"]),
        ],
        [("x", TensorProto.FLOAT, ["batch", 1]), ("level", TensorProto.FLOAT, ["batch", 1])],
        [("y", TensorProto.FLOAT, ["batch", 1]), ("level_out", TensorProto.FLOAT, ["batch", 1])],
        initializers=[helper.make_tensor("table", TensorProto.FLOAT, [2], [10.0, 20.0])],
    )

    async def scenario(host):
        session = await host.open(source(picks))
        await session.tick([np.ones((1, 1, 1), np.float32)])
        with pytest.raises(InvalidInput, match="failed at step 0"):
            await session.tick([np.full((1, 1, 1), 99, np.float32)])
        return (await session.state())["level"]

    assert run(scenario).tolist() == [[1.0]]


def test_a_session_that_is_closed_or_unused_says_so():
    async def scenario(host):
        session = await host.open(source(GRU))
        await session.close()
        await session.close()
        with pytest.raises(NotFound, match="it was closed"):
            await session.tick([noise(1, 1)])
        idle = await host.open(source(GRU))
        await asyncio.sleep(1.5)
        with pytest.raises(NotFound, match=r"it was not used for 0\.5 s"):
            await idle.tick([noise(1, 1)])

    run(scenario, HostLimits(idle_s=0.5))


def test_no_more_sessions_than_there_is_room_for():
    async def scenario(host):
        sessions = [await host.open(source(GRU)) for _ in range(3)]
        with pytest.raises(Exhausted, match="3 sessions of minds are open"):
            await host.open(source(GRU))
        with pytest.raises(Exhausted):
            await sessions[0].fork([0])
        await sessions[0].close()
        await host.open(source(GRU))

    run(scenario, HostLimits(sessions=3))


def test_a_thousand_sessions_of_a_student_hold_one_copy_of_it():
    async def scenario(host):
        await host.open(source(GRU))
        pid = (await processes(host))[0]
        before = private(pid)
        for _ in range(999):
            await host.open(source(GRU))
        assert len(await processes(host)) == 1
        return private(pid) - before

    assert run(scenario) < 20 << 20  # 999 states of 1 KiB, and what belongs to them; 999 students would be 1.2 GB


def test_memory_comes_back_when_a_student_is_let_go_of():
    async def scenario(host):
        first = await host.open(source(GRU))
        (pid,) = await processes(host)
        await first.close()
        # The budget is below what any student holds: whoever is not in use makes room.
        await host.open(source(students.reservoir()))
        for _ in range(100):
            if not Path(f"/proc/{pid}/maps").exists() or not Path(f"/proc/{pid}/maps").read_bytes():
                return True
            await asyncio.sleep(0.05)
        return False

    assert run(scenario, HostLimits(budget_bytes=1 << 20))


def test_students_in_use_are_not_let_go_of():
    async def scenario(host):
        session = await host.open(source(GRU))
        with pytest.raises(Exhausted, match="the students in use hold"):
            await host.open(source(students.reservoir()))
        await session.tick([noise(1, 1)])

    run(scenario, HostLimits(budget_bytes=1 << 20))


def test_a_process_that_dies_takes_only_its_own_sessions_with_it():
    async def scenario(host):
        lost, kept = await host.open(source(GRU)), await host.open(source(students.reservoir()))
        os.kill(lost._resident.process._newborn.pid, signal.SIGKILL)
        with pytest.raises(Unavailable, match="ended"):
            for _ in range(100):
                await lost.tick([noise(1, 1)])
                await asyncio.sleep(0.02)
        await kept.tick([noise(1, 1)])
        again = await host.open(source(GRU))
        await again.tick([noise(1, 1)])

    run(scenario)


def test_a_network_without_end_is_ended_and_the_rest_goes_on(endless: bytes):
    async def scenario(host):
        kept = await host.open(source(GRU))
        session = await host.open(source(endless))
        with pytest.raises(Exhausted, match=r"did not finish within 0\.5 s"):
            await session.tick([np.ones((1, 1, 1, 3), np.float32)])
        await kept.tick([noise(1, 1)])

    run(scenario, HostLimits(call_s=0.5, allow_loops=True))


def test_loops_are_let_in_only_where_the_operator_allows_them(endless: bytes):
    async def scenario(host):
        with pytest.raises(Refused, match="Loop"):
            await host.open(source(endless))

    run(scenario)


def test_a_call_that_waits_for_a_long_one_of_another_session_is_answered(endless: bytes, monkeypatch):
    monkeypatch.setattr("engram_replay.session.SMALL_S", 0.1)

    async def scenario(host):
        busy, other = await host.open(source(endless)), await host.open(source(endless))
        tick = asyncio.create_task(busy.tick([np.ones((1, 1, 1, 3), np.float32)]))
        await asyncio.sleep(0.1)
        assert await other.state() == {}
        with pytest.raises(Exhausted, match="did not finish within 3 s"):
            await tick

    run(scenario, HostLimits(call_s=3.0, allow_loops=True))


def test_a_process_that_does_not_answer_is_ended_though_nobody_waits_any_more():
    async def scenario(host):
        session = await host.open(source(GRU))
        process = session._resident.process
        os.kill(process._newborn.pid, signal.SIGSTOP)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(session.tick([noise(1, 1)]), 0.1)
        for _ in range(100):
            if process.ended:
                break
            await asyncio.sleep(0.05)
        with pytest.raises(Exhausted, match=r"did not answer within 0\.5 s"):
            await session.tick([noise(1, 1)])

    run(scenario, HostLimits(call_s=0.5))


def test_students_that_cannot_be_read_and_students_loaded_at_once_leave_no_process_behind():
    def unreadable() -> bytes:
        raise Unavailable("the bytes of the student are not there: retry")

    async def scenario(host):
        await asyncio.gather(*(host.open(source(students.gru(hidden=8, seed=seed))) for seed in range(3)))
        for number in range(4):
            with pytest.raises(Unavailable, match="are not there"):
                await host.open(StudentSource(f"{number:064x}", unreadable))
            await asyncio.sleep(0.3)
        with pytest.raises(Unavailable, match="are not there"):
            await host.reference(StudentSource("f" * 64, unreadable), {}, limit_s=1)
        await asyncio.sleep(1)
        nursery = host._residents._nursery._process.pid
        return len(Path(f"/proc/{nursery}/task/{nursery}/children").read_text().split())

    assert run(scenario) <= 3 + 1  # those that are loaded, and a spare one for the next


def test_a_student_that_asks_for_more_memory_than_it_may_have_is_refused(make_network):
    from onnx import TensorProto, helper

    bomb = make_network(
        [
            helper.make_node("Cast", ["x"], ["times"], to=TensorProto.INT64),
            helper.make_node("Tile", ["row", "times"], ["y"]),
        ],
        [("x", TensorProto.FLOAT, [1])],
        [("y", TensorProto.FLOAT, [None])],
        initializers=[helper.make_tensor("row", TensorProto.FLOAT, [1024], [1.0] * 1024)],
    )

    async def scenario(host):
        with pytest.raises(Exhausted, match="asked for more memory than it may have"):
            await host.replay(source(bomb), {"x": np.full((1, 1), 2**20, np.float32)})
        await (await host.open(source(GRU))).tick([noise(1, 1)])

    run(scenario, HostLimits(memory_bytes=1 << 30))


def test_a_students_process_has_no_network_no_files_and_no_secrets(monkeypatch):
    monkeypatch.setenv("ENGRAM_SECRET", "a secret")

    async def scenario(host):
        await host.open(source(GRU))
        (pid,) = await processes(host)
        limits = Path(f"/proc/{pid}/limits").read_text()
        assert "Max file size             0 " in limits
        assert b"ENGRAM_SECRET" not in Path(f"/proc/{pid}/environ").read_bytes()
        folder = Path(f"/proc/{pid}/cwd")
        assert str(folder.readlink()).endswith("(deleted)")
        assert not list(folder.iterdir())
        return {line.split(":")[0].strip() for line in Path(f"/proc/{pid}/net/dev").read_text().splitlines()[2:]}

    names = run(scenario)
    if names != {"lo"}:
        pytest.skip("this machine lets a process give up neither the network nor its user namespace")


def test_a_whole_replay_equals_its_ticks():
    stimulus = noise(5000, 1)

    async def scenario(host):
        whole = await host.replay(source(GRU), {"": stimulus[:, 0]})
        session = await host.open(source(GRU))
        parts = [(await session.tick([stimulus[at : at + 700]]))[0] for at in range(0, 5000, 700)]
        return whole.outputs["y"], np.concatenate(parts)[:, 0], whole.final_state["h0"], (await session.state())["h0"]

    whole, parts, final, state = run(scenario)
    assert whole.tobytes() == parts.tobytes()
    assert final.tobytes() == state.tobytes()


def test_a_group_of_many_students_of_different_kinds_runs_in_bounded_memory():
    kinds = [students.gru(stimuli=2, hidden=4, responses=1), students.reservoir(stimuli=2, hidden=4, responses=1)]

    async def scenario(host):
        return await host.replay_group([source(kinds[number % 2]) for number in range(300)], {"": np.ones((3, 2), "f")})

    done = run(scenario, HostLimits(memory_bytes=1 << 30))
    assert done.form == "solo"
    assert len({answer.receipt["outputs.sha256"] for answer in done.answers}) == 2


def test_a_group_of_too_many_bytes_is_refused_before_all_are_read():
    read: list[int] = []

    def big(number: int) -> StudentSource:
        return StudentSource(f"{number:064x}", lambda: read.append(number) or bytes(600))

    async def scenario(host):
        with pytest.raises(Exhausted, match="more than 1000 bytes together"):
            await host.replay_group([big(number) for number in range(5)], {})

    run(scenario, HostLimits(student_bytes=1000))
    assert read == [0, 1]


def test_loops_that_the_operator_allows_are_let_into_a_group(endless: bytes):
    async def scenario(host):
        with pytest.raises(Exhausted, match="did not finish within"):
            await host.replay_group([source(endless), source(endless)], {"": np.ones((1, 1, 3), np.float32)})

    run(scenario, HostLimits(call_s=0.5, allow_loops=True))


@pytest.mark.parametrize("length", [0, 8, (1 << 31) + 9, (1 << 32) - 1])
def test_a_frame_that_nobody_sends_is_not_waited_for(length: int):
    with pytest.raises(FormatError, match=f"a body of {length - 9} bytes, which cannot be"):
        list(Frames().feed(length.to_bytes(4, "little") + bytes(9)))


def test_a_restarted_host_gives_the_same_bits():
    stimulus = noise(20, 3)

    async def scenario(host):
        return (await (await host.open(source(GRU), minds=3)).tick([stimulus]))[0].tobytes()

    assert len({run(scenario) for _ in range(3)}) == 1


def test_a_real_voice_detector_runs(silero_bytes: bytes):
    frames = RNG.standard_normal((10, 512)).astype(np.float32) / 10

    async def scenario(host):
        return await host.replay(source(silero_bytes), {"input": frames, "sr": np.asarray(16000)})

    assert run(scenario).outputs["output"].shape[0] == 10


async def processes(host) -> list[int]:
    return [resident.process._newborn.pid for resident in host._residents._here()]


def private(pid: int) -> int:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) << 10 for line in lines if line.startswith("Private_"))
