"""Whatever a file does to its parser, the depositor gets a plan, and nothing else of his is touched."""

from __future__ import annotations

import ctypes
import os
import socket
import time
from pathlib import Path

import h5py
import numpy as np
import pytest

from engram_format.encoding import encode
from engram_layout import HEAD_BYTES, plan_opaque
from engram_layout.hdf5 import plan_hdf5
from engram_layout.plan import Planned
from engram_layout.planning import MIN_PLANNED_BYTES
from engram_layout.sandbox import Limits, PlannerProcess

TESTS = Path(__file__).parents[1]
SIGNATURE = b"\x89HDF\r\n\x1a\n\x00"
"""By this a file is given to the child, whatever follows."""


class HostileProcess(PlannerProcess):
    module = "engram_testing.hostile_child"


class BabblingProcess(PlannerProcess):
    module = "engram_testing.babbling_child"


@pytest.fixture(autouse=True)
def _children_find_the_tests(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(TESTS), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep))


def made(folder: Path, name: str, content: bytes = SIGNATURE) -> Path:
    path = folder / f"{name}.h5"
    path.write_bytes(content.ljust(20_000, b"\0"))
    return path


def ask(process: PlannerProcess, path: Path) -> Planned:
    data = path.read_bytes()
    return process.plan(path, size=len(data), head=data[:HEAD_BYTES])


def assert_opaque(planned: Planned, path: Path, reason: str):
    assert planned.plan.segments == plan_opaque(path.stat().st_size).segments
    (warning,) = planned.warnings
    assert warning.startswith(f"{path.name} is stored as plain bytes: its ")
    assert reason in warning


def test_one_child_plans_many_files_as_the_planner_itself_does(tmp_path: Path):
    paths = [tmp_path / f"{number}.h5" for number in range(3)]
    with PlannerProcess() as process:
        for number, path in enumerate(paths):
            with h5py.File(path, "w") as file:
                file["x"] = np.random.default_rng(number).normal(size=5000)
            with path.open("rb") as file:
                wanted = plan_hdf5(file, size=path.stat().st_size)
            assert ask(process, path).to_bytes() == wanted.to_bytes()
            assert wanted.plan.arrays


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("die", "was ended by signal 11"),
        ("leave", "ended with code 3"),
        ("lie", "gave the plan of another file"),
        ("eat", "asked for too much memory"),
        ("write", "File too large"),
        ("open", "Too many open files"),
    ],
)
def test_a_file_that_breaks_its_parser_is_opaque_and_the_next_is_planned(tmp_path: Path, name: str, reason: str):
    with HostileProcess() as process:
        path = made(tmp_path, name)
        assert_opaque(ask(process, path), path, reason)
        assert ask(process, made(tmp_path, "well")).warnings[0].startswith("pid ")
    assert not path.with_suffix(".out").exists() or path.with_suffix(".out").stat().st_size == 0


def test_a_parser_that_hangs_is_ended(tmp_path: Path):
    with HostileProcess(Limits(wall_s=3)) as process:
        path, begin = made(tmp_path, "hang"), time.monotonic()
        assert_opaque(ask(process, path), path, "did not end within 3 s")
        assert time.monotonic() - begin < 30
        assert ask(process, made(tmp_path, "well")).warnings[0].startswith("pid ")


def test_a_parser_that_computes_without_end_is_ended(tmp_path: Path):
    with HostileProcess(Limits(cpu_s=1, wall_s=60)) as process:
        path = made(tmp_path, "spin")
        assert_opaque(ask(process, path), path, "was ended by signal 24")


def test_what_a_library_prints_does_not_reach_the_answer(tmp_path: Path):
    with HostileProcess() as process:
        assert ask(process, made(tmp_path, "print")).warnings[0].startswith("pid ")


def test_the_same_child_serves_until_it_fails(tmp_path: Path):
    with HostileProcess() as process:
        first, second = (ask(process, made(tmp_path, name)).warnings for name in ("one", "two"))
        assert first == second
        ask(process, made(tmp_path, "die"))
        assert ask(process, made(tmp_path, "three")).warnings != first


def test_the_child_sees_no_secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    with HostileProcess() as process:
        names = ask(process, made(tmp_path, "environment")).warnings
    assert "HDF5_PLUGIN_PATH" in names
    assert "AWS_SECRET_ACCESS_KEY" not in names


def test_the_child_reaches_no_server_where_the_system_lets_it_give_up_the_network(tmp_path: Path):
    with socket.create_server(("127.0.0.1", 0)) as server, HostileProcess() as process:
        path = tmp_path / "call.h5"
        path.write_bytes(_call_file(server.getsockname()[1]))
        (said,) = ask(process, path).warnings
    assert said.startswith("no network") or not _may_unshare()


def _call_file(port: int) -> bytes:
    """Return a file that begins with a port and is HDF5 behind a user block."""
    return f"{port}\n".encode().ljust(512, b"\0") + SIGNATURE.ljust(20_000, b"\0")


def _may_unshare() -> bool:
    """Say whether a process of this user may have a network of its own."""
    child = os.fork()
    if child == 0:
        libc = ctypes.CDLL(None)
        os._exit(0 if libc.unshare(0x40000000) == 0 or libc.unshare(0x50000000) == 0 else 1)
    return os.waitpid(child, 0)[1] == 0


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        pytest.param("garbage", SIGNATURE, "gave an answer that cannot be", id="no encoding"),
        pytest.param("fields", encode({1: b"", 9: 1}), "gave an answer that cannot be", id="unknown field"),
        pytest.param("empty", encode({1: b""}), "gave an answer that cannot be", id="no plan"),
        pytest.param(
            "gap", encode({1: encode({1: b"x", 2: {}, 3: []})}), "gave an answer that cannot be", id="no segments"
        ),
        pytest.param("long", SIGNATURE, "plan has 9223372036854775808 bytes", id="too long"),
    ],
)
def test_an_answer_that_cannot_be_is_refused(tmp_path: Path, name: str, content: bytes, reason: str):
    path = tmp_path / f"{name}.h5"
    path.write_bytes(content)
    head = SIGNATURE.ljust(20_000, b"\0")
    with BabblingProcess() as process:
        planned = process.plan(path, size=20_000, head=head)
    assert planned.plan.segments == plan_opaque(20_000).segments
    assert reason in planned.warnings[0]


class NoProcess(PlannerProcess):
    module = "engram_testing.there_is_no_such_child"


@pytest.mark.parametrize(
    ("name", "data"),
    [("small.h5", SIGNATURE.ljust(MIN_PLANNED_BYTES - 1, b"\0")), ("text.txt", b"words " * 10_000), ("empty.nwb", b"")],
)
def test_small_and_unknown_files_need_no_child(tmp_path: Path, name: str, data: bytes):
    path = tmp_path / name
    path.write_bytes(data)
    with NoProcess() as process:
        assert ask(process, path).warnings == ()


def test_a_child_that_cannot_start_costs_the_plan_and_nothing_else(tmp_path: Path):
    with NoProcess() as process:
        path = made(tmp_path, "well")
        assert_opaque(ask(process, path), path, "parser ended")


def test_a_file_that_is_gone_is_opaque(tmp_path: Path):
    path = tmp_path / "gone.h5"
    with PlannerProcess() as process:
        planned = process.plan(path, size=20_000, head=SIGNATURE.ljust(20_000, b"\0"))
    assert planned.plan.segments == plan_opaque(20_000).segments
    assert "FileNotFoundError" in planned.warnings[0]
