"""Every hostile student in an archive behind a real service: refused with a reason, while everybody else goes on."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import grpc
import numpy as np
import pytest
from engram_testing.hostile_students import ATTACKS, Attack
from engram_testing.processes import family, files, private_mib, state
from engram_testing.programs import User
from engram_testing.services import eventually
from engram_testing.students import gru

from engram.v1 import replay_pb2 as pb
from engram.v1 import replay_pb2_grpc
from engram.v1.arrays import disassemble
from engram_client.remote import connect
from engram_format.address import Address
from engram_format.catalog import ArtifactSpec

LARGEST = 2_000_000
MOST_S = 30.0
"""The longest that a refusal may take: loading has 20 s, and a call nobody waits for ends soon."""
GONE_S = 3.0
"""So long a client waits for a network that runs for hours."""
CODES = {
    grpc.StatusCode.FAILED_PRECONDITION,
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
    grpc.StatusCode.UNAVAILABLE,
}
MEMORY = Address("v", "hostile")


def sized(attacks: Sequence[Attack]) -> dict[str, tuple[Attack, bytes]]:
    made = {f"{number:03}": (attack, attack.make()) for number, attack in enumerate(attacks)}
    return {name: (attack, data) for name, (attack, data) in made.items() if len(data) <= LARGEST}


def one_of_each() -> list[Attack]:
    """Return the first attack that each rule refuses, and the first that fails in each way where none does.

    Those that only take time are left to the nightly run.
    """
    found: dict[tuple[str | None, str], Attack] = {}
    for attack in ATTACKS:
        if not attack.does.endswith("takes time"):
            found.setdefault((attack.rule, attack.does), attack)
    return list(found.values())


@contextmanager
def refusal():
    """Hold what a call that must fail was told: its status code, its sentence, and the gate's rule."""
    told: dict[str, object] = {}
    with pytest.raises(grpc.RpcError) as raised:
        yield told
    error = raised.value
    trailing = {entry.key: entry.value for entry in error.trailing_metadata() or ()}
    told |= {"code": error.code(), "sentence": error.details(), "rule": trailing.get("engram-refused-by")}


def replayed(stub: replay_pb2_grpc.ReplayServiceStub, student: str, stimulus: Mapping[str, np.ndarray]) -> None:
    def requests():
        yield pb.ReplayRequest(start=pb.ReplayRequest.Start(student=student))
        for part in disassemble(stimulus):
            yield pb.ReplayRequest(data=part) if isinstance(part, bytes) else pb.ReplayRequest(header=part)

    list(stub.Replay(requests(), timeout=MOST_S))


def ticked(stub: replay_pb2_grpc.ReplayServiceStub, student: str, *steps: bytes, timeout: float = MOST_S) -> None:
    """Open a mind of a student and step it."""
    calls = [pb.TickRequest(open=pb.TickRequest.Open(student=student))]
    calls += [pb.TickRequest(step=pb.TickRequest.Step(steps=1, stimuli=[data])) for data in steps]
    list(stub.Tick(iter(calls), timeout=timeout))


def given(attack: Attack) -> list[dict[str, np.ndarray]]:
    """Return stimuli that may set a student off: as it was made for, and with an axis of time before."""
    if not attack.stimulus:
        return [{"x": np.ones((1, 1), np.float32)}]
    return [dict(attack.stimulus), {name: array[np.newaxis] for name, array in attack.stimulus.items()}]


@pytest.mark.timeout(300)
def test_hostile_students_are_refused_while_a_good_one_goes_on(tmp_path):
    attacks = sized(one_of_each())
    assert len(attacks) > 25
    refuse(attacks, tmp_path)


@pytest.mark.nightly
@pytest.mark.timeout(900)
def test_every_hostile_student_is_refused_while_a_good_one_goes_on(tmp_path):
    attacks = sized(ATTACKS)
    assert len(attacks) > 130
    refuse(attacks, tmp_path)


def refuse(attacks: Mapping[str, tuple[Attack, bytes]], tmp_path: Path) -> None:
    """Try the attacks on a service, one after another."""
    user = User(tmp_path, str(tmp_path / "archive"))
    user.runs("init")
    user.runs("vault", "create", "v")
    with user.service() as service, connect(service.url) as remote:
        pid = service.process.pid
        put_all(remote, attacks)
        with grpc.insecure_channel(service.url.removeprefix("grpc://")) as channel:
            stub = replay_pb2_grpc.ReplayServiceStub(channel)
            stimulus = np.random.default_rng(5).standard_normal((2 * len(attacks) + 10, 2, 4)).astype(np.float32)
            good, calm = (remote.open_minds(MEMORY.of("good.onnx"), minds=2) for _ in range(2))
            expected = calm.tick(stimulus)["y"]
            done = 0

            def goes_on() -> None:
                nonlocal done
                answer = good.tick(stimulus[done : done + 1])["y"]
                assert answer.tobytes() == expected[done : done + 1].tobytes()
                done += 1

            goes_on()
            memory, open_files, processes = private_mib(pid), files(pid), len(list(family(pid)))
            for name, (attack, _) in attacks.items():
                began = time.monotonic()
                attempt(stub, f"vaults/v/memories/hostile/artifacts/{name}.onnx", attack)
                assert time.monotonic() - began < MOST_S + GONE_S, attack
                goes_on()
            # Those that the gate lets in stay for a while in case that they are asked for again; none of them runs.
            most = 4 + 2 * sum(attack.rule is None for attack, _ in attacks.values())
            assert eventually(lambda: len(list(family(pid))) <= most, within_s=20)
            assert eventually(lambda: not [one for one in family(pid) if state(one) == "Z"], within_s=20)
            assert eventually(lambda: [state(one) for one in list(family(pid))[1:]].count("R") == 0, within_s=20)
            goes_on()
            more = len(list(family(pid))) - processes
            assert private_mib(pid) - memory < 24 * (more + 1)
            assert files(pid) - open_files <= most
            replayed(stub, "vaults/v/memories/hostile/artifacts/good.onnx", {"x": stimulus[:3, 0]})
    assert service.process.returncode == 0


def put_all(remote, attacks: Mapping[str, tuple[Attack, bytes]]) -> None:
    """Deposit all students as one version, which examines each of them."""
    with remote.open_deposit(MEMORY, session="0" * 32) as deposit:
        students = {name: data for name, (_, data) in attacks.items()} | {
            "good": gru(stimuli=4, hidden=16, responses=3)
        }
        for name, data in students.items():
            deposit.begin(ArtifactSpec(path=f"{name}.onnx", size=len(data)))
            if data:
                deposit.write(data)
            deposit.end(sha256=hashlib.sha256(data).hexdigest())
        deposit.commit(message="", author="a test")


def attempt(stub: replay_pb2_grpc.ReplayServiceStub, student: str, attack: Attack) -> None:
    """Replay a hostile student, in one go and by ticks; it is refused, or what it does ends."""
    if attack.does == "run takes time":
        # Whoever asked for it goes away.
        with refusal() as told:
            ticked(stub, student, np.ones(1, "<f4").tobytes(), timeout=GONE_S)
        assert told["code"] is grpc.StatusCode.DEADLINE_EXCEEDED
        return
    for stimulus in given(attack):
        with refusal() as told:
            replayed(stub, student, stimulus)
        assert told["code"] in CODES, (attack, told)
        assert len(str(told["sentence"])) > 20, (attack, told)
        assert str(told["sentence"]).isprintable(), (attack, told)
    if attack.rule is not None:
        assert told["rule"] == (attack.rule or None), (attack, told)
        with refusal() as told:
            ticked(stub, student)
        assert told["rule"] == (attack.rule or None), (attack, told)
    if attack.rule:
        assert told["code"] is grpc.StatusCode.FAILED_PRECONDITION, (attack, told)
