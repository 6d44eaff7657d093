"""Who may call a service, and over what."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import grpc
import numpy as np
import pytest
from engram_testing.services import TOKEN, certificate, token_file
from engram_testing.simulator import SimulatedArchive
from google.protobuf import message_factory
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from engram.v1 import archive_pb2, archive_pb2_grpc
from engram_client.remote import connect
from engram_format.address import Address
from engram_format.errors import Denied, InvalidInput, Precondition, Unavailable
from engram_server.config import ServeConfig
from engram_server.rpc.auth import read_token
from engram_server.rpc.serve import SERVICES, serving

BARS = Address("retina", "bars")


@pytest.fixture(name="guarded", scope="module")
def _guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    path = token_file(tmp_path_factory.mktemp("secrets"))
    with serving(ServeConfig(port=0, token_file=path), SimulatedArchive()) as port:
        yield port


@pytest.mark.parametrize("token", [None, "wrong", TOKEN + "x", TOKEN[:-1], TOKEN.upper()])
def test_every_call_without_the_token_is_denied(guarded: int, token: str | None) -> None:
    with connect(f"grpc://127.0.0.1:{guarded}", token=token) as remote:
        for ask in (
            lambda: list(remote.vaults()),
            lambda: list(remote.read(BARS.of("x"))),
            lambda: list(remote.verify()),
            lambda: remote.open_deposit(BARS, session="0" * 32),
            lambda: remote.replay(BARS.of("x"), {"": np.ones(3)}),
        ):
            with pytest.raises(Denied, match="no valid token"):
                ask()


def test_a_denied_stream_ends_though_nothing_is_sent_on_it(guarded: int) -> None:
    with grpc.insecure_channel(f"127.0.0.1:{guarded}") as channel:
        heard = threading.Event()
        silent = iter(heard.wait, True)
        with pytest.raises(grpc.RpcError) as raised:
            next(archive_pb2_grpc.ArchiveServiceStub(channel).Deposit(silent, timeout=10))
        heard.set()
        assert raised.value.code() is grpc.StatusCode.UNAUTHENTICATED


def test_no_method_of_ours_is_open(guarded: int) -> None:
    with grpc.insecure_channel(f"127.0.0.1:{guarded}") as channel:
        for service in SERVICES:
            pool = archive_pb2.DESCRIPTOR.pool
            for method in pool.FindServiceByName(service).methods:
                empty = message_factory.GetMessageClass(method.input_type)().SerializeToString()
                with pytest.raises(grpc.RpcError) as raised:
                    list(channel.stream_stream(f"/{service}/{method.name}")(iter([empty]), timeout=10))
                assert raised.value.code() is grpc.StatusCode.UNAUTHENTICATED


def test_the_token_opens(guarded: int) -> None:
    with connect(f"grpc://127.0.0.1:{guarded}", token=TOKEN) as remote:
        assert list(remote.vaults()) == []
        remote.open_deposit(BARS, session="0" * 32).close()


def test_health_asks_for_no_token_and_reflection_does(guarded: int) -> None:
    with grpc.insecure_channel(f"127.0.0.1:{guarded}") as channel:
        for name in ("", *SERVICES):
            answer = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(service=name), timeout=10)
            assert answer.status == health_pb2.HealthCheckResponse.SERVING
        with pytest.raises(grpc.RpcError, match="no valid token"):
            ProtoReflectionDescriptorDatabase(channel).get_services()


def test_reflection_tells_the_services() -> None:
    with (
        serving(ServeConfig(port=0), SimulatedArchive()) as port,
        grpc.insecure_channel(f"127.0.0.1:{port}") as channel,
    ):
        assert {*SERVICES, "grpc.health.v1.Health"} <= set(ProtoReflectionDescriptorDatabase(channel).get_services())


def test_tls_is_checked_against_the_given_certificate(tmp_path: Path) -> None:
    cert, key = certificate(tmp_path)
    (tmp_path / "other").mkdir()
    other, _ = certificate(tmp_path / "other")
    config = ServeConfig(port=0, tls_cert=cert, tls_key=key, token_file=token_file(tmp_path))
    with serving(config, SimulatedArchive()) as port:
        with connect(f"grpcs://127.0.0.1:{port}", token=TOKEN, ca_file=cert) as remote:
            assert remote.create_vault("retina").name == "retina"
        with connect(f"grpcs://127.0.0.1:{port}", ca_file=cert) as remote, pytest.raises(Denied):
            list(remote.vaults())
        for url, ca_file in ((f"grpcs://127.0.0.1:{port}", other), (f"grpc://127.0.0.1:{port}", None)):
            with connect(url, token=TOKEN, ca_file=ca_file) as remote, pytest.raises(Unavailable):
                list(remote.vaults())


def test_tls_files_that_cannot_be_used_are_refused(tmp_path: Path) -> None:
    cert, key = certificate(tmp_path)
    for wrong in (tmp_path / "none.pem", key):
        with (
            pytest.raises(Precondition, match="TLS files"),
            serving(ServeConfig(port=0, tls_cert=wrong, tls_key=key), SimulatedArchive()),
        ):
            pass
    with pytest.raises(Precondition, match="CA file"):
        connect("grpcs://127.0.0.1:1", ca_file=tmp_path / "none.pem")
    with pytest.raises(InvalidInput, match="grpcs://"):
        connect("grpc://127.0.0.1:1", ca_file=cert)


def test_a_token_file_is_for_its_owner_alone(tmp_path: Path) -> None:
    assert read_token(token_file(tmp_path, mode=0o640)) == TOKEN
    for mode in (0o644, 0o602, 0o601):
        with pytest.raises(Precondition, match="chmod 600"):
            read_token(token_file(tmp_path, mode=mode))


@pytest.mark.parametrize("token", ["", "short", "two words that are long enough", "line\nline line line line"])
def test_a_token_that_is_none_is_refused(tmp_path: Path, token: str) -> None:
    with pytest.raises(Precondition, match="holds no token"):
        read_token(token_file(tmp_path, token=token))


def test_a_token_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Precondition, match="cannot be read"):
        read_token(tmp_path / "none")
    (tmp_path / "token").write_bytes(b"\xff" * 20)
    (tmp_path / "token").chmod(0o600)
    with pytest.raises(Precondition, match="cannot be read"):
        read_token(tmp_path / "token")
