"""The life of a service: how it starts, and how it stops."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import grpc
import pytest
from engram_testing.services import eventually
from engram_testing.simulator import ENDLESS, MIB, SimulatedArchive
from grpc_health.v1 import health_pb2, health_pb2_grpc

from engram_client.remote import connect
from engram_format.address import Address
from engram_format.catalog import ArtifactSpec
from engram_format.errors import Precondition, Unavailable
from engram_server.config import ServeConfig
from engram_server.rpc.serve import serving

BARS = Address("retina", "bars")


@contextmanager
def stopping(*, grace_s: float) -> Iterator[tuple[SimulatedArchive, int, threading.Event]]:
    """A service on a thread that stops when the event is set."""
    archive = SimulatedArchive()
    archive.add_version(BARS, {ENDLESS: (ArtifactSpec(path=ENDLESS, size=0), b"")}, message="", author="")
    ready, stop = threading.Event(), threading.Event()
    ports: list[int] = []

    def run() -> None:
        with serving(ServeConfig(port=0, grace_s=grace_s), archive) as port:
            ports.append(port)
            ready.set()
            stop.wait()

    thread = threading.Thread(target=run)
    thread.start()
    assert ready.wait(10)
    try:
        yield archive, ports[0], stop
    finally:
        stop.set()
        thread.join()
    assert archive.closed


def test_a_taken_port_is_refused() -> None:
    with serving(ServeConfig(port=0), SimulatedArchive()) as port:
        second = SimulatedArchive()
        with (
            pytest.raises(Precondition, match=f"cannot listen on 127.0.0.1:{port}"),
            serving(ServeConfig(port=port), second),
        ):
            pass
        assert second.closed


def test_a_restore_in_progress_is_finished_while_new_calls_are_refused() -> None:
    with stopping(grace_s=30) as (archive, port, stop), connect(f"grpc://127.0.0.1:{port}") as remote:
        pieces = remote.read(BARS.of(ENDLESS))
        next(pieces)
        stop.set()
        assert eventually(lambda: not _answers(port))
        before = archive.pulled
        for _ in range(40):
            assert len(next(pieces)) == MIB
        assert archive.pulled > before
        assert not archive.closed
        pieces.close()
        assert eventually(lambda: archive.closed)
        assert archive.closed_reads == 1


def _answers(port: int) -> bool:
    with connect(f"grpc://127.0.0.1:{port}") as remote:
        try:
            list(remote.vaults())
        except Unavailable:
            return False
        return True


def test_an_answer_under_way_when_the_service_stops_arrives_whole() -> None:
    data = bytes(8 * MIB)
    for _ in range(5):
        with stopping(grace_s=30) as (archive, port, stop), connect(f"grpc://127.0.0.1:{port}") as remote:
            archive.add_version(BARS, {"x": (ArtifactSpec(path="x", size=len(data)), data)}, message="", author="")
            pieces = remote.read(BARS.of("x"))
            first = next(pieces)
            stop.set()
            assert first + b"".join(pieces) == data


def test_after_the_grace_period_calls_are_cut_and_cleaned_up() -> None:
    with stopping(grace_s=0.2) as (archive, port, stop), connect(f"grpc://127.0.0.1:{port}") as remote:
        deposit = remote.open_deposit(BARS, session="0" * 32)
        pieces = remote.read(BARS.of(ENDLESS))
        next(pieces)
        stop.set()
        with pytest.raises(Unavailable):
            for _ in pieces:
                time.sleep(0.01)
        with pytest.raises(Unavailable):
            deposit.begin(ArtifactSpec(path="x", size=1))
        deposit.close()
        assert eventually(lambda: archive.closed)
        assert (archive.closed_reads, archive.closed_deposits) == (1, 1)


def test_a_watcher_of_the_health_sees_the_end_and_does_not_delay_it() -> None:
    with stopping(grace_s=60) as (archive, port, stop), grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(), timeout=30)
        assert next(watch).status == health_pb2.HealthCheckResponse.SERVING
        stop.set()
        assert next(watch).status == health_pb2.HealthCheckResponse.NOT_SERVING
        assert eventually(lambda: archive.closed)


SERVER = """
import sys
sys.path.insert(0, "tests")
from engram_server.config import ServeConfig
from engram_server.rpc.serve import serve
from engram_testing.simulator import SimulatedArchive
archive = SimulatedArchive()
serve(ServeConfig(port=0, grace_s=5), archive, ready=lambda port: print(port, flush=True))
print("closed" if archive.closed else "open", flush=True)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_process_in_order(number: signal.Signals, pytestconfig: pytest.Config) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", SERVER],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=pytestconfig.rootpath,
    ) as process:
        assert process.stdout is not None
        port = int(process.stdout.readline())
        with connect(f"grpc://127.0.0.1:{port}") as remote:
            assert list(remote.vaults()) == []
            deposit = remote.open_deposit(BARS, session="0" * 32)
            process.send_signal(number)
            time.sleep(0.3)
            assert process.poll() is None
            deposit.close()
            output, errors = process.communicate(timeout=30)
    assert (output, errors, process.returncode) == ("closed\n", "", 0)
