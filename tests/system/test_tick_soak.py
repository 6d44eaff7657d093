"""Very many streams of minds, finished, broken off and refused: the service holds no more after them than before."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue

import grpc
import numpy as np
import pytest
from engram_testing.processes import files, private_mib
from engram_testing.programs import User
from engram_testing.services import eventually
from engram_testing.students import gru

from engram.v1 import replay_pb2 as pb
from engram.v1 import replay_pb2_grpc

STUDENT = "vaults/v/memories/m/artifacts/gru.onnx"
MINDS = 4
STEP = pb.TickRequest(step=pb.TickRequest.Step(steps=1, stimuli=[np.ones((1, MINDS, 64), "<f4").tobytes()]))
OPEN = pb.TickRequest(open=pb.TickRequest.Open(student=STUDENT, minds=MINDS))
WAYS = 6
CLIENTS = 4


class Stream:
    """One stream, sent to and read by hand."""

    def __init__(self, stub: replay_pb2_grpc.ReplayServiceStub) -> None:
        self._requests: SimpleQueue[pb.TickRequest | None] = SimpleQueue()
        self.call = stub.Tick(iter(self._requests.get, None), timeout=60)

    def send(self, request: pb.TickRequest) -> None:
        self._requests.put(request)

    def finish(self) -> None:
        self._requests.put(None)

    def run(self, way: int) -> None:
        """Go one of the ways in which a stream begins and ends."""
        try:
            match way:
                case 0:  # as it should be
                    for request in (OPEN, STEP, STEP):
                        self.send(request)
                        assert next(self.call).WhichOneof("answer") in ("opened", "stepped")
                    self.finish()
                    assert list(self.call) == []
                case 1:  # gone before the answer
                    self.send(OPEN)
                    self.call.cancel()
                case 2:  # gone in the middle of a step
                    self.send(OPEN)
                    next(self.call)
                    self.send(STEP)
                    self.call.cancel()
                case 3:  # refused
                    self.send(STEP)
                    with pytest.raises(grpc.RpcError):
                        next(self.call)
                case 4:  # a step that fails, then gone
                    self.send(OPEN)
                    next(self.call)
                    self.send(pb.TickRequest(step=pb.TickRequest.Step(steps=1)))
                    assert next(self.call).HasField("failed")
                    self.call.cancel()
                case 5:  # several forks, answers left unread
                    self.send(OPEN)
                    for _ in range(3):
                        self.send(pb.TickRequest(fork=pb.TickRequest.Fork(rows=[0, 1])))
                    next(self.call)
                    self.call.cancel()
        finally:
            self.finish()


def run_streams(url: str, count: int) -> None:
    local = threading.local()

    def one(number: int) -> None:
        if not hasattr(local, "stub"):
            options = [("grpc.use_local_subchannel_pool", 1)]
            local.stub = replay_pb2_grpc.ReplayServiceStub(grpc.insecure_channel(url.removeprefix("grpc://"), options))
        Stream(local.stub).run(number % WAYS)

    with ThreadPoolExecutor(CLIENTS) as clients:
        for _ in clients.map(one, range(count)):
            pass


def soak(tmp_path: Path, *, warm_up: int, count: int, growth_mib: float) -> None:
    user = User(tmp_path, str(tmp_path / "archive"))
    user.runs("init")
    user.runs("vault", "create", "v")
    student = tmp_path / "gru.onnx"
    student.write_bytes(gru(hidden=64))
    user.runs("deposit", str(student), "--to", "v/m")
    with user.service() as service:
        run_streams(service.url, warm_up)
        time.sleep(1)
        memory, handles = private_mib(service.process.pid), files(service.process.pid)
        run_streams(service.url, count)
        assert eventually(lambda: files(service.process.pid) <= handles, within_s=10)
        time.sleep(1)
        after = private_mib(service.process.pid)
        assert after - memory < growth_mib, f"{memory:.1f} MiB before, {after:.1f} MiB after"
        with grpc.insecure_channel(service.url.removeprefix("grpc://")) as channel:
            Stream(replay_pb2_grpc.ReplayServiceStub(channel)).run(0)


def test_two_thousand_streams_leave_memory_flat(tmp_path):
    soak(tmp_path, warm_up=600, count=2_000, growth_mib=4)


@pytest.mark.nightly
@pytest.mark.timeout(3600)
def test_a_hundred_thousand_streams_leave_memory_flat(tmp_path):
    soak(tmp_path, warm_up=5_000, count=100_000, growth_mib=8)
