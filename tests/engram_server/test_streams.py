"""What streams hold while they last, and that they let go of it."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import grpc
import numpy as np
import pytest
from engram_testing.services import Service, eventually, service
from engram_testing.simulator import ENDLESS, MIB, SimulatedArchive

from engram.v1 import archive_pb2 as pb
from engram.v1 import archive_pb2_grpc, replay_pb2, replay_pb2_grpc
from engram_client.remote import RemoteArchive, connect
from engram_format.address import Address
from engram_format.catalog import ArtifactSpec
from engram_format.errors import InvalidInput, Unavailable
from engram_server.config import ServeConfig

BARS = Address("retina", "bars")
SESSION = "0123456789abcdef" * 2
MEMORY = "vaults/retina/memories/bars"


@pytest.fixture(name="served")
def _served() -> Iterator[Service]:
    with service() as running:
        running.archive.add_version(BARS, {ENDLESS: (ArtifactSpec(path=ENDLESS, size=0), b"")}, message="", author="")
        yield running


def engine_threads() -> int:
    return sum(thread.name.startswith("engram-engine") for thread in threading.enumerate())


def test_a_slow_reader_stops_the_engine(served: Service) -> None:
    pieces = served.remote.read(BARS.of(ENDLESS))
    next(pieces)
    time.sleep(0.5)
    held = served.archive.pulled
    time.sleep(0.5)
    assert served.archive.pulled == held
    assert held <= 16 * MIB
    for _ in range(50):
        next(pieces)
    assert served.archive.pulled > held
    pieces.close()
    assert eventually(lambda: served.archive.closed_reads == 1)


def test_a_restore_that_is_given_up_closes_the_engines_iterator(served: Service) -> None:
    for _ in range(20):
        pieces = served.remote.read(BARS.of(ENDLESS))
        next(pieces)
        pieces.close()
    assert eventually(lambda: served.archive.closed_reads == 20)


def test_an_error_in_the_middle_of_a_restore_arrives_as_itself(served: Service) -> None:
    pieces = served.remote.read(BARS.of(ENDLESS))
    next(pieces)
    served.archive.fail_with = Unavailable("the bucket does not answer: wait")
    with pytest.raises(Unavailable, match="bucket"):
        list(pieces)
    assert served.archive.closed_reads == 1


def test_a_slow_engine_stops_the_depositor(served: Service) -> None:
    served.archive.write_s = 0.01
    sent = 0
    with served.remote.open_deposit(BARS, session=SESSION) as deposit:
        deposit.begin(ArtifactSpec(path="x", size=1 << 40))
        lead = []
        for _ in range(32):
            deposit.write(bytes(MIB))
            sent += MIB
            lead.append(sent - served.archive.written)
    assert max(lead) <= 16 * MIB


def test_a_killed_depositor_leaves_a_resumable_session_and_no_thread(served: Service) -> None:
    before = engine_threads()
    program = f"""
import sys
from engram_client.remote import connect
from engram_format.address import Address
from engram_format.catalog import ArtifactSpec
deposit = connect("grpc://{served.target}").open_deposit(Address("retina", "bars"), session="{SESSION}")
deposit.begin(ArtifactSpec(path="x", size=1 << 40))
while True:
    deposit.write(bytes(1 << 20))
    print("sent", flush=True)
"""
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as depositor:
        assert depositor.stdout is not None
        for _ in range(5):
            depositor.stdout.readline()
        depositor.kill()
    assert eventually(lambda: served.archive.closed_deposits == 1)
    assert engine_threads() - before <= ServeConfig().workers
    written = served.archive.written
    time.sleep(0.2)
    assert served.archive.written == written
    with served.remote.open_deposit(BARS, session=SESSION) as deposit:
        assert deposit.begin(ArtifactSpec(path="x", size=1 << 40)) >= MIB


def test_a_depositor_that_goes_while_the_engine_works_is_waited_for(served: Service) -> None:
    served.archive.write_s = 0.5
    deposit = served.remote.open_deposit(BARS, session=SESSION)
    deposit.begin(ArtifactSpec(path="x", size=4))
    deposit.write(b"1234")
    time.sleep(0.1)
    deposit._call.cancel()
    time.sleep(0.1)
    assert served.archive.closed_deposits == 0  # the write is not over
    assert eventually(lambda: served.archive.closed_deposits == 1)
    assert served.archive.written == 4


@pytest.mark.parametrize(
    ("steps", "sentence"),
    [
        ([], "send `open` first"),
        ([pb.DepositRequest()], "send `open` first"),
        ([pb.DepositRequest(data=b"x")], "send `open` first"),
        ([pb.DepositRequest(open=pb.DepositRequest.Open(memory="x", session=SESSION))], "no resource name"),
        (
            [pb.DepositRequest(open=pb.DepositRequest.Open(memory=MEMORY, session=SESSION))] * 2,
            "open others on their own",
        ),
        (
            [pb.DepositRequest(open=pb.DepositRequest.Open(memory=MEMORY, session=SESSION)), pb.DepositRequest()],
            "a step of a deposit is empty",
        ),
        (
            [
                pb.DepositRequest(open=pb.DepositRequest.Open(memory=MEMORY, session=SESSION)),
                pb.DepositRequest(data=bytes(MIB + 1)),
            ],
            "send at most 1048576",
        ),
    ],
)
def test_steps_out_of_place_are_refused(served: Service, steps: list[pb.DepositRequest], sentence: str) -> None:
    with grpc.insecure_channel(served.target) as channel:
        call = archive_pb2_grpc.ArchiveServiceStub(channel).Deposit(iter(steps), timeout=10)
        with pytest.raises(grpc.RpcError) as raised:
            list(call)
        assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert sentence in (raised.value.details() or "")
    assert eventually(lambda: not any(session.open for session in served.archive.sessions.values()))


@pytest.mark.parametrize(
    "steps",
    [
        [],
        [replay_pb2.ReplayRequest(data=b"x")],
        [replay_pb2.ReplayRequest(start=replay_pb2.ReplayRequest.Start(student=f"{MEMORY}/artifacts/x"))] * 2,
        [
            replay_pb2.ReplayRequest(
                start=replay_pb2.ReplayRequest.Start(student=f"{MEMORY}/artifacts/x", stimulus=f"{MEMORY}/artifacts/y")
            ),
            replay_pb2.ReplayRequest(header=replay_pb2.ArrayHeader(element_type="ELEMENT_TYPE_INT8")),
        ],
        [
            replay_pb2.ReplayRequest(
                start=replay_pb2.ReplayRequest.Start(
                    student=f"{MEMORY}/artifacts/x", others=[f"{MEMORY}/artifacts/y"], sample_seed=1
                )
            ),
        ],
    ],
)
def test_a_replay_out_of_order_is_refused(served: Service, steps: list[replay_pb2.ReplayRequest]) -> None:
    with grpc.insecure_channel(served.target) as channel, pytest.raises(grpc.RpcError) as raised:
        list(replay_pb2_grpc.ReplayServiceStub(channel).Replay(iter(steps), timeout=10))
    assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT


def test_a_page_token_or_size_of_nobody_is_refused(served: Service) -> None:
    with grpc.insecure_channel(served.target) as channel:
        stub = archive_pb2_grpc.ArchiveServiceStub(channel)
        for request in (
            pb.ListVaultsRequest(page_token="***"),
            pb.ListVaultsRequest(page_token="_____w=="),
            pb.ListVaultsRequest(page_size=-1),
        ):
            with pytest.raises(grpc.RpcError) as raised:
                stub.ListVaults(request, timeout=10)
            assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT


def test_calls_beyond_the_bound_are_told_to_wait() -> None:
    with service(ServeConfig(port=0, calls=2, workers=2, grace_s=1)) as served:
        served.archive.add_version(BARS, {ENDLESS: (ArtifactSpec(path=ENDLESS, size=0), b"")}, message="", author="")
        readers = [served.remote.read(BARS.of(ENDLESS)) for _ in range(2)]
        for reader in readers:
            next(reader)
        # HTTP/2 lets one connection have two streams as well, so the third call comes over another one.
        with connect(f"grpc://{served.target}") as other, pytest.raises(Unavailable, match="its bound"):
            list(other.vaults())
        readers[0].close()
        with connect(f"grpc://{served.target}") as other:
            assert eventually(lambda: answers(other))
        readers[1].close()


def answers(remote: RemoteArchive) -> bool:
    try:
        list(remote.vaults())
    except Unavailable:
        return False
    return True


def test_a_stimulus_beyond_the_bound_is_refused_before_it_is_sent() -> None:
    with (
        service(ServeConfig(port=0, inline_bytes=1000)) as served,
        pytest.raises(InvalidInput, match="replay it by its address"),
    ):
        served.remote.replay(BARS.of("x"), {"": np.zeros(126)})


def test_the_archive_is_closed_with_its_service() -> None:
    with service() as served:
        archive: SimulatedArchive = served.archive
        assert not archive.closed
    assert archive.closed
