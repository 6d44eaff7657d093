"""What the parent believes from a student's process, when the process is no longer ours: nothing that cannot be."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import struct
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from engram_testing.lying_process import (
    CONTRACT,
    PROFILE,
    STUDENT,
    Lie,
    LyingNursery,
    answered,
    framed,
    hanging_up,
    saying,
)

from engram_format.encoding import encode
from engram_format.errors import EngramError, Exhausted, InvalidInput, Unavailable
from engram_replay import HostLimits, MindHost, StudentSource
from engram_replay.wire import Op, pack_shapes

SOURCE = StudentSource(hashlib.sha256(STUDENT).hexdigest(), lambda: STUDENT)
STIMULUS = np.ones((1, 2, 4), np.float32)
MIB = 1 << 20


def lied_to(about: Op, lie: Lie, scenario: Callable[[MindHost], object], *, ends: bool = True) -> EngramError:
    """Run a scenario over a host whose processes lie; return the error that came out. No more than 64 MiB are taken."""

    async def whole() -> Exception | None:
        host = MindHost(HostLimits(call_s=0.3, load_s=0.3, answer_bytes=16 * MIB))
        nursery = LyingNursery(about, lie)
        host._residents._nursery = nursery
        raised: Exception | None = None
        try:
            await scenario(host)
        except Exception as error:  # noqa: BLE001 - which it is, is what is tested
            raised = error
            if ends:
                assert nursery.killed, "the process was not ended"
        finally:
            await host.close()
        return raised

    before = resident_bytes()
    raised = asyncio.run(asyncio.wait_for(whole(), 20))
    assert isinstance(raised, EngramError), repr(raised)
    # What the liar itself holds goes with its thread, which may have to wait for a processor.
    until = time.monotonic() + 10
    while resident_bytes() - before >= 64 * MIB and time.monotonic() < until:
        time.sleep(0.01)
    assert resident_bytes() - before < 64 * MIB
    return raised


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


async def tick(host: MindHost) -> None:
    session = await host.open(SOURCE, minds=2)
    await session.tick([STIMULUS])


async def replay(host: MindHost) -> None:
    await host.replay(SOURCE, {"x": STIMULUS[:, 0]})


async def state(host: MindHost) -> None:
    await (await host.open(SOURCE, minds=2)).state()


def endlessly(make: Callable[[int], bytes]) -> Lie:
    def lie(connection, frame):
        for number in itertools.count():
            connection.sendall(make(frame.number if number < 0 else frame.number + number))

    return lie


def shaped(*shape: int, data: bytes = b"") -> Callable[[int], bytes]:
    return lambda number: framed(number, Op.DONE, pack_shapes([shape]) + data)


def failed(fields: dict[int, object]) -> Callable[[int], bytes]:
    return lambda number: framed(number, Op.FAILED, encode(fields))


def listing(*arrays: list[object], data: bytes = b"", head: dict[int, object] | None = None) -> Callable[[int], bytes]:
    told = encode({**(head or {1: {}}), 0: list(arrays)})
    return lambda number: framed(number, Op.DONE, struct.pack("<I", len(told)) + told + data)


GARBAGE: dict[str, Lie] = {
    "noise": saying(np.random.default_rng(3).bytes(100_000)),
    "zeros": saying(bytes(100_000)),
    "a frame of two gigabytes": lambda connection, frame: [
        connection.sendall((2**31).to_bytes(4, "little") + frame.number.to_bytes(8, "little") + b"\x40"),
        *(connection.sendall(bytes(MIB)) for _ in range(2048)),
    ],
    "a frame of half a gigabyte": lambda connection, frame: [
        connection.sendall((2**29).to_bytes(4, "little") + frame.number.to_bytes(8, "little") + b"\x40"),
        *(connection.sendall(bytes(MIB)) for _ in range(512)),
    ],
    "a frame shorter than its head": saying(b"\1\0\0\0" + bytes(100)),
    "no such op": saying(lambda number: framed(number, 99, b"")),
    "a request": saying(lambda number: framed(number, Op.TICK, b"")),
    "an answer to what was never asked": endlessly(lambda number: framed(number + 10**6, Op.DONE, b"")),
    "many answers to what was never asked": endlessly(lambda number: framed(number + 10**6, Op.DONE, bytes(MIB))),
    "half a head, then silence": saying(b"\x20\0\0"),
    "half a frame, then silence": saying(lambda number: framed(number, Op.DONE, bytes(50))[:-20]),
    "silence": saying(),
    "hanging up": hanging_up,
    "half a frame and hanging up": lambda connection, frame: [
        connection.sendall(framed(frame.number, Op.DONE, bytes(50))[:-20]),
        hanging_up(connection, frame),
    ],
    "a failure that is none": saying(lambda number: framed(number, Op.FAILED, b"\xff\xff")),
    "a failure of 64 MiB": saying(lambda number: framed(number, Op.FAILED, bytes(64 * MIB))),
    "a failure without words": saying(failed({1: "invalid"})),
    "an empty answer": saying(lambda number: framed(number, Op.DONE, b"")),
}


@pytest.mark.parametrize("scenario", [tick, replay, state], ids=["tick", "replay", "state"])
@pytest.mark.parametrize("name", GARBAGE)
def test_garbage_ends_the_process_with_an_error_of_ours(name, scenario):
    about = {tick: Op.TICK, replay: Op.REPLAY, state: Op.STATE}[scenario]
    error = lied_to(about, GARBAGE[name], scenario)
    assert isinstance(error, Exhausted if "silence" in name else Unavailable)


@pytest.mark.parametrize("name", GARBAGE)
def test_garbage_in_place_of_a_contract_ends_the_process(name):
    lied_to(Op.LOAD, GARBAGE[name], tick)


@pytest.mark.parametrize(
    "answer",
    [
        shaped(1, 2, 2),  # no bytes
        shaped(1, 2, 2, data=bytes(17)),
        shaped(1, 3, 2, data=bytes(24)),
        shaped(2, 2, 2, data=bytes(32)),
        shaped(1, 2, 3, data=bytes(24)),
        shaped(1, 2, 2, 1, data=bytes(16)),
        shaped(4, data=bytes(16)),
        shaped(data=bytes(4)),
        shaped(2**32 - 1, 2**32 - 1, 2**32 - 1),
        shaped(0, 2**32 - 1, 2**32 - 1, 2**32 - 1),
        shaped(*[1] * 200, data=bytes(4)),
        lambda number: framed(number, Op.DONE, b"\xff\0\0"),
    ],
)
def test_responses_of_a_shape_that_cannot_be_end_the_process(answer):
    assert isinstance(lied_to(Op.TICK, saying(answer), tick), Unavailable)


@pytest.mark.parametrize(
    "listed",
    [
        ["o:y", "O", [1]],
        ["o:y", "|V1000000", [1]],
        ["o:y", "|S4", [4]],
        ["o:y", "<M8[s]", [1]],
        ["o:y", "f4,f4", [1]],
        ["o:y", "4f4", [1]],
        ["o:y", "(" * 5000, [1]],
        ["o:y", "(2,", [1]],
        ["o:y", "no type", [1]],
        ["o:y", "", [1]],
        ["o:y", "<f4", [2**48]],
        ["o:y", "<f4", [2**40, 2**40]],
        ["o:y", "<f4", [0, 2**47, 2**47]],
        ["o:y", "<f4", [-1, -1]],
        ["o:y", "<f4", [1] * 65],
        ["o:y", "<f4", [1] * 64],
        ["o:y", "<f4", 1],
        ["o:y", "<f4", [1.0]],
        ["o:y", "<f4"],
        [1, "<f4", [1]],
        "o:y",
        ["o:y", "<f4", [1, 2]],
        ["o:other", "<f4", [1]],
        ["f:other", "<f4", [1]],
    ],
)
def test_arrays_that_cannot_be_end_the_process(listed):
    assert isinstance(lied_to(Op.REPLAY, saying(listing(listed, data=bytes(8))), replay), Unavailable)


@pytest.mark.parametrize(
    "told",
    [
        {1: []},
        {1: 1},
        {1: {"student.sha256": "0" * 64}},
        {1: {}},
        {1: {str(number): "x" * 1000 for number in range(1000)}},
        {},
    ],
)
def test_receipts_that_cannot_be_end_the_process(told):
    lie = saying(
        listing(
            ["o:y", "<f4", [1, 2]],
            ["f:h0", "<f4", [1, 8]],
            ["s:x", "<f4", [1, 4]],
            data=bytes(8 + 32 + 16),
            head=told,
        )
    )
    assert isinstance(lied_to(Op.REPLAY, lie, replay), Unavailable)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("shape", "-1"),
        ("shape", "99999999999999999999"),
        ("dtype", "object"),
        ("role", "king"),
        ("time_axis", 10**18),
        ("minds_axis", -7),
        ("value", float("nan")),
        ("value", float("inf")),
        ("value", 2**63),
        ("after", ""),
        ("channels", "a\na"),
    ],
)
def test_contracts_that_cannot_be_end_the_process(name, value):
    entries = [key for key in CONTRACT if key.endswith(f".{name}")] or [f"contract.input.x.{name}"]

    def lie(connection, frame):
        told = {**CONTRACT, **dict.fromkeys(entries, value)}
        connection.sendall(answered(frame, {1: told, 2: dict(PROFILE), 3: True, 4: True}))

    lied_to(Op.LOAD, lie, tick)


def test_what_a_process_says_of_its_failure_is_one_plain_line():
    said = failed({1: "invalid", 2: "ask for less\x1b[2J\r\n\x00\u202egnp\ud7ff" + "x" * 5000})
    error = lied_to(Op.TICK, saying(said), tick, ends=False)
    assert isinstance(error, InvalidInput)
    assert str(error).isprintable()
    assert len(str(error)) <= 1000


@pytest.mark.parametrize("kind", ["denied", "damaged", "conflict", "exists", "king"])
def test_a_process_cannot_speak_for_the_archive(kind):
    error = lied_to(Op.TICK, saying(failed({1: kind, 2: "your archive is broken"})), tick, ends=False)
    assert error.kind.value == "internal"


def test_a_whole_replay_of_a_liar_leaves_no_process_for_the_next():
    async def twice(host: MindHost) -> None:
        with pytest.raises(EngramError):
            await replay(host)
        assert not any(host._residents._idle.values())
        await replay(host)

    lied_to(Op.REPLAY, saying(listing(["o:y", "O", [1]])), twice)
