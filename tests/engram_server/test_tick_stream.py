"""Streams of minds on the wire: what they refuse, what they hold, and that they let go of it."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import numpy as np
import pytest
from engram_testing.services import Service, eventually, service
from engram_testing.simulator import ENDLESS
from engram_testing.students import gru

from engram.v1 import replay_pb2 as pb
from engram.v1 import replay_pb2_grpc
from engram_client.remote import connect
from engram_format.address import Address
from engram_format.catalog import ArtifactSpec
from engram_format.errors import EngramError, Exhausted, NotFound, Unavailable
from engram_server.config import ServeConfig

BARS = Address("retina", "bars")
GRU = BARS.of("gru.onnx")
STUDENT = "vaults/retina/memories/bars/artifacts/gru.onnx"
Request, Response = pb.TickRequest, pb.TickResponse


@contextmanager
def minding(config: ServeConfig | None = None) -> Iterator[Service]:
    """Serve an archive with a student and a file that never ends."""
    networks = {"gru.onnx": gru(), "wide.onnx": gru(stimuli=4, hidden=16, responses=1024)}
    files = {path: (ArtifactSpec(path=path, size=len(network)), network) for path, network in networks.items()}
    files[ENDLESS] = (ArtifactSpec(path=ENDLESS, size=0), b"")
    with service(config) as running:
        running.archive.add_version(BARS, files, message="", author="")
        yield running


@pytest.fixture(name="served", scope="module")
def _served() -> Iterator[Service]:
    with minding() as running:
        yield running


def sessions(served: Service) -> int:
    return len(served.archive.minds.host._sessions)


@contextmanager
def stream(served: Service) -> Iterator[replay_pb2_grpc.ReplayServiceStub]:
    options = [("grpc.max_receive_message_length", 64 << 20), ("grpc.use_local_subchannel_pool", 1)]
    with grpc.insecure_channel(served.target, options) as channel:
        yield replay_pb2_grpc.ReplayServiceStub(channel)


def answers(served: Service, *requests: Request) -> list[Response]:
    with stream(served) as stub:
        return list(stub.Tick(iter(requests), timeout=30))


def opening(**fields) -> Request:
    return Request(open=Request.Open(student=STUDENT, **fields))


def step(minds: int = 1, *, steps: int = 1, session: int = 0, size: int = 64) -> Request:
    data = np.ones((steps, minds, size), "<f4").tobytes()
    return Request(step=Request.Step(session=session, steps=steps, stimuli=[data]))


def test_a_stream_is_answered_in_order(served: Service) -> None:
    given = answers(
        served,
        opening(minds=2),
        step(2),
        step(2, steps=3),
        Request(fork=Request.Fork(rows=[1, 1, 0])),
        step(3, session=1),
        Request(read_state=Request.ReadState(session=1)),
        Request(close=Request.Close(session=1)),
        step(2),
    )
    kinds = [answer.WhichOneof("answer") for answer in given]
    assert kinds == ["opened", "stepped", "stepped", "forked", "stepped", "state", "closed", "stepped"]
    assert [answer.stepped.step for answer in given if answer.HasField("stepped")] == [1, 4, 5, 5]
    assert given[3].forked.session == 1
    assert [len(answer.stepped.responses[0]) for answer in given if answer.HasField("stepped")] == [
        512,
        1536,
        768,
        512,
    ]
    assert list(given[5].state.states[0].header.shape) == [3, 1, 256]
    assert eventually(lambda: sessions(served) == 0)


@pytest.mark.parametrize(
    ("requests", "sentence"),
    [
        ([], "send `open` first"),
        ([Request()], "send `open` first"),
        ([step()], "send `open` first"),
        ([Request(open=Request.Open(student="gru"))], "no resource name"),
        ([opening(), opening()], "open others on a stream of their own"),
        ([opening(), Request()], "a call on minds is empty"),
        ([opening(minds=2, states=[pb.Array(header=pb.ArrayHeader(name="h0"))])], "element type"),
    ],
)
def test_calls_out_of_place_end_the_stream(served: Service, requests: list[Request], sentence: str) -> None:
    with pytest.raises(grpc.RpcError) as raised:
        answers(served, *requests)
    assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert sentence in (raised.value.details() or "")
    assert eventually(lambda: sessions(served) == 0)


@pytest.mark.parametrize(
    ("request_", "kind", "sentence"),
    [
        (step(1), "invalid", "has 512 bytes, and 256 arrived"),
        (step(3), "invalid", "has 512 bytes, and 768 arrived"),
        (Request(step=Request.Step(steps=1)), "invalid", "0 arrays"),
        (Request(step=Request.Step(steps=1, stimuli=[bytes(512), bytes(512)])), "invalid", "2 arrays"),
        (Request(step=Request.Step(stimuli=[b""])), "invalid", "no steps"),
        (Request(step=Request.Step(steps=0xFFFFFFFF, stimuli=[bytes(512)])), "invalid", "arrived"),
        (step(2, session=7), "not_found", "no open session 7"),
        (Request(step=Request.Step(steps=1, stimuli=[np.full(128, np.inf, "<f4").tobytes()])), "invalid", "infinity"),
        (Request(fork=Request.Fork(rows=[2])), "invalid", ""),
        (Request(fork=Request.Fork(rows=[0] * 70_000)), "exhausted", "65536 of one session"),
        (Request(fork=Request.Fork(session=9, rows=[0])), "not_found", "no open session 9"),
        (Request(close=Request.Close(session=3)), "not_found", "no open session 3"),
        (Request(save=Request.Save(save_to="nowhere")), "invalid", "no resource name"),
        (Request(read_state=Request.ReadState(session=3)), "not_found", "no open session 3"),
    ],
)
def test_a_call_that_cannot_be_done_leaves_the_minds_as_they_were(
    served: Service, request_: Request, kind: str, sentence: str
) -> None:
    opened, before, failed, after = answers(served, opening(minds=2), step(2), request_, step(2))
    assert opened.opened.minds == 2
    assert (failed.failed.kind, failed.WhichOneof("answer")) == (kind, "failed")
    assert sentence in failed.failed.message
    assert (before.stepped.step, after.stepped.step) == (1, 2)
    _, _, undisturbed = answers(served, opening(minds=2), step(2), step(2))
    assert undisturbed.stepped.responses == after.stepped.responses


def test_an_answer_larger_than_a_message_is_refused_before_the_minds_advance(served: Service) -> None:
    opened, failed, after = answers(
        served,
        Request(open=Request.Open(student=STUDENT.replace("gru", "wide"))),
        step(steps=20_000, size=4),
        step(size=4),
    )
    assert opened.HasField("opened")
    assert (failed.failed.kind, after.stepped.step) == ("invalid", 1)
    assert "send at most 16368 steps" in failed.failed.message
    with served.remote.open_minds(BARS.of("wide.onnx")) as minds:  # the client cuts what is too large
        assert minds.tick(np.ones((20_000, 1, 4), np.float32))["y"].shape == (20_000, 1, 1024)


def test_a_message_beyond_64_mebibytes_is_refused_by_the_transport(served: Service) -> None:
    with pytest.raises(grpc.RpcError) as raised:
        answers(served, opening(minds=4), step(4, steps=70_000))
    assert raised.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert eventually(lambda: sessions(served) == 0)


def test_more_minds_than_a_session_takes_are_refused(served: Service) -> None:
    with pytest.raises(Exhausted, match="65536 of one session"):
        served.remote.open_minds(GRU, minds=(1 << 32) - 1)
    with served.remote.open_minds(GRU, minds=1 << 14) as many:
        assert many.tick(np.zeros((1, 1 << 14, 64), np.float32))["y"].shape == (1, 1 << 14, 64)


def test_sessions_of_one_stream_are_bounded(served: Service) -> None:
    with served.remote.open_minds(GRU) as minds:
        forks = [minds.fork([0]) for _ in range(255)]
        with pytest.raises(Exhausted, match="256 sessions"):
            minds.fork([0])
        forks.pop().close()
        minds.fork([0]).close()
        for fork in forks:
            fork.close()


def test_minds_of_a_stream_beyond_the_bound_are_refused_and_other_calls_are_not() -> None:
    with minding(ServeConfig(port=0, streams=2, calls=2, grace_s=2)) as served:
        first, second = (served.remote.open_minds(GRU) for _ in range(2))
        with pytest.raises(Exhausted, match="2 streams of minds, its bound"):
            served.remote.open_minds(GRU)
        assert served.remote.artifact(GRU).size
        first.close()
        assert eventually(lambda: sessions(served) == 1)
        readers = [served.remote.read(BARS.of(ENDLESS)) for _ in range(2)]
        for reader in readers:
            next(reader)
        with pytest.raises(Unavailable, match="its bound"):
            served.remote.artifact(GRU)
        with served.remote.open_minds(GRU) as third:  # the calls do not keep minds out
            third.tick(np.zeros((1, 1, 64), np.float32))
        for reader in readers:
            reader.close()
        second.close()


def test_minds_that_are_left_alone_are_let_go_of() -> None:
    with minding(ServeConfig(port=0, minds_idle_s=0.5, grace_s=2)) as served:
        minds = served.remote.open_minds(GRU)
        for _ in range(10):
            time.sleep(0.1)
            minds.tick(np.zeros((1, 1, 64), np.float32))
        assert eventually(lambda: sessions(served) == 0, within_s=3)
        with pytest.raises(NotFound, match=r"not used for 0\.5 s"):
            minds.tick(np.zeros((1, 1, 64), np.float32))
        with pytest.raises(NotFound, match=r"not used for 0\.5 s"):
            minds.state()
        minds.close()


def rss_mib() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / (1 << 20)


def test_a_slow_reader_stops_its_minds_and_holds_little_memory() -> None:
    with minding(ServeConfig(port=0, minds_idle_s=8, grace_s=2)) as served, stream(served) as stub:
        sent = 0
        one = step(256, steps=16)  # a mebibyte, and so is its answer

        def endless() -> Iterator[Request]:
            nonlocal sent
            yield opening(minds=256)
            while True:
                sent += 1
                yield one

        call = stub.Tick(endless())
        next(call)
        before, held = rss_mib(), -1
        deadline = time.monotonic() + 6
        while held != sent and time.monotonic() < deadline:
            held = sent
            time.sleep(0.7)
        assert sent == held < 64
        assert rss_mib() - before < 150
        for _ in range(held + 20):
            next(call)
        assert sent > held
        # Who does not read at all is taken for gone.
        assert eventually(lambda: sessions(served) == 0, within_s=20)
        call.cancel()


def test_a_client_that_vanishes_frees_its_minds_at_once(served: Service) -> None:
    program = f"""
import numpy as np
from engram_client.remote import connect
from engram_format.address import Address
minds = connect("grpc://{served.target}").open_minds(Address.parse("{GRU}"), minds=16)
forked = minds.fork([1, 2])
while True:
    minds.tick(np.zeros((1, 16, 64), np.float32))
    print("ticked", flush=True)
"""
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as client:
        assert client.stdout is not None
        client.stdout.readline()
        assert sessions(served) == 2
        client.kill()
    assert eventually(lambda: sessions(served) == 0, within_s=3)


def test_a_client_that_goes_in_the_middle_of_a_tick_frees_its_minds(served: Service) -> None:
    with stream(served) as stub:
        call = stub.Tick(iter([opening(minds=256), step(256, steps=500)]))
        next(call)
        time.sleep(0.01)
        call.cancel()
        assert eventually(lambda: sessions(served) == 0)
    assert answers(served, opening(), step())[1].stepped.step == 1


def test_minds_used_by_several_threads_take_their_turns(served: Service) -> None:
    with served.remote.open_minds(GRU, minds=2) as minds:
        forks = [minds.fork([0, 1]) for _ in range(4)]
        failures: list[Exception] = []

        def work(own) -> None:
            try:
                for _ in range(50):
                    own.tick(np.ones((1, 2, 64), np.float32))
            except EngramError as error:
                failures.append(error)

        threads = [threading.Thread(target=work, args=(own,)) for own in (minds, *forks)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not failures
        assert [own.steps for own in (minds, *forks)] == [50] * 5
        states = [own.state()["h0"] for own in (minds, *forks)]
        assert all(np.array_equal(state, states[0]) for state in states)
        for own in forks:
            own.close()
        assert minds.tick(np.ones((1, 2, 64), np.float32))["y"].shape == (1, 2, 64)


def test_a_service_that_stops_ends_its_minds_within_the_grace_period() -> None:
    with minding(ServeConfig(port=0, grace_s=0.3)) as served:
        minds = served.remote.open_minds(GRU)
        began = time.monotonic()
    assert time.monotonic() - began < 5
    with pytest.raises(Unavailable):
        minds.tick(np.zeros((1, 1, 64), np.float32))


def test_a_student_whose_process_dies_is_unavailable_and_the_service_goes_on(served: Service) -> None:
    with connect(f"grpc://{served.target}") as other, other.open_minds(GRU) as minds:
        (session,) = served.archive.minds.host._sessions
        os.kill(session._resident.process._newborn.pid, signal.SIGKILL)
        with pytest.raises(Unavailable):
            for _ in range(100):
                minds.tick(np.zeros((1, 1, 64), np.float32))
    with served.remote.open_minds(GRU) as again:
        again.tick(np.zeros((1, 1, 64), np.float32))
