"""A service does not listen where it must not."""

from __future__ import annotations

from pathlib import Path

import pytest

from engram_format.errors import InvalidInput, Precondition
from engram_replay import HostLimits
from engram_server.config import ServeConfig

CERT, KEY, TOKEN = Path("cert.pem"), Path("key.pem"), Path("token")


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.10", "localhost", "::1", "[::1]"])
def test_this_machine_needs_neither_tls_nor_token(host: str) -> None:
    assert ServeConfig(host=host).is_local


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "archive.example", "localhost.example", ""])
def test_other_machines_need_both(host: str) -> None:
    for partly in ({}, {"token_file": TOKEN}, {"tls_cert": CERT, "tls_key": KEY}):
        with pytest.raises(Precondition, match="give a TLS certificate, its key and a token file"):
            ServeConfig(host=host, **partly)
    assert not ServeConfig(host=host, tls_cert=CERT, tls_key=KEY, token_file=TOKEN).is_local


@pytest.mark.parametrize(
    "wrong",
    [
        {"port": -1},
        {"port": 65536},
        {"workers": 0},
        {"calls": 0},
        {"inline_bytes": 0},
        {"sessions": 0},
        {"student_memory_bytes": 2},
        {"memory_budget_bytes": 0},
        {"minds_idle_s": 0},
        {"minds_idle_s": float("inf")},
        {"grace_s": -1},
        {"grace_s": float("nan")},
        {"tls_cert": CERT},
        {"tls_key": KEY},
    ],
)
def test_values_that_cannot_be_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(InvalidInput):
        ServeConfig(**wrong)


def test_an_ipv6_address_is_bracketed() -> None:
    assert ServeConfig(host="::1", port=5).target == ServeConfig(host="[::1]", port=5).target == "[::1]:5"


def test_what_students_may_cost_is_by_default_what_a_host_allows() -> None:
    assert ServeConfig().students == HostLimits()
    told = ServeConfig(allow_loops=True, student_memory_bytes=1 << 30, sessions=7, minds_idle_s=5)
    assert told.students == HostLimits(allow_loops=True, memory_bytes=1 << 30, sessions=7, idle_s=5)
