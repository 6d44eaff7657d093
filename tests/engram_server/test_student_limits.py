"""What a service allows students to cost is what its operator said."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest
from engram_testing import students
from engram_testing.deposits import put
from engram_testing.services import eventually

import engram_client
from engram_client.archive import Archive
from engram_client.embedded import create_archive
from engram_format.address import Address
from engram_format.catalog import Kind, Likeness
from engram_format.errors import EngramError, Exhausted, Precondition, Unavailable
from engram_server.config import ServeConfig
from engram_server.engine import open_archive
from engram_server.rpc.serve import serving
from engram_store.identity import new_identity

PLACE = Address("lab", "limits")
STIMULUS = np.arange(12, dtype=np.float32).reshape(4, 3)


@contextmanager
def archive_of(folder, **limits) -> Iterator[Archive]:
    """A new archive behind a service with these limits."""
    identity, place = new_identity(), str(folder / "archive")
    create_archive(place, identity=identity)
    with (
        serving(ServeConfig(port=0, grace_s=2, **limits), open_archive(place, identity=identity)) as port,
        engram_client.open(f"grpc://127.0.0.1:{port}") as archive,
    ):
        archive.create_vault("lab")
        yield archive


def test_a_loop_is_refused_unless_the_operator_allows_it(tmp_path):
    with archive_of(tmp_path) as archive:
        student = put(archive, PLACE.of("power.onnx"), students.power(), kind=Kind.STUDENT)
        assert "Loop" in archive.artifact(student).metadata["golden.absent"]
        with pytest.raises(Precondition, match="have the operator allow loops"):
            archive.replay(student, {"": STIMULUS})


def test_a_loop_that_is_allowed_runs_in_every_way(tmp_path):
    with archive_of(tmp_path, allow_loops=True) as archive:
        student = put(archive, PLACE.of("power.onnx"), students.power(), kind=Kind.STUDENT)
        done = archive.replay(student, {"": STIMULUS}, save_to=PLACE)
        assert np.array_equal(done.outputs["y"], 8 * STIMULUS)
        with archive.open_minds(student) as minds:
            assert np.array_equal(minds.tick(STIMULUS[:, None])["y"][:, 0], 8 * STIMULUS)
        group = archive.replay_group([student, student], {"": STIMULUS})
        assert all(np.array_equal(one.outputs["y"], 8 * STIMULUS) for one in group.results)
        for address in (done.saved.address, student):
            verdict = archive.verify_replay(address, reference=True)
            assert verdict.likeness is Likeness.BIT
            assert verdict.reference[0].likeness is Likeness.BIT


def test_no_more_sessions_are_open_at_once_than_are_allowed(tmp_path):
    with archive_of(tmp_path, sessions=2) as archive:
        student = put(archive, PLACE.of("gru.onnx"), students.gru(hidden=8))
        with (
            archive.open_minds(student),
            archive.open_minds(student),
            pytest.raises(Exhausted, match="2 sessions of minds are open"),
        ):
            archive.open_minds(student)
        assert eventually(lambda: opens(archive, student))


def opens(archive: Archive, student: Address) -> bool:
    try:
        archive.open_minds(student).close()
    except Exhausted:
        return False
    return True


def test_minds_that_are_left_alone_are_let_go_of_after_the_time_that_was_said(tmp_path):
    with archive_of(tmp_path, minds_idle_s=0.5) as archive:
        student = put(archive, PLACE.of("gru.onnx"), students.gru(hidden=8))
        with archive.open_minds(student) as minds:
            stimulus = np.zeros((1, 1, 64), np.float32)
            minds.tick(stimulus)
            time.sleep(2)
            with pytest.raises(EngramError, match="not used for 0.5 s"):
                minds.tick(stimulus)


def test_a_student_runs_in_the_least_memory_and_a_large_one_needs_more(tmp_path):
    least = 64 << 20
    with archive_of(tmp_path, student_memory_bytes=least, memory_budget_bytes=least) as archive:
        small = put(archive, PLACE.of("gru.onnx"), students.gru(hidden=32))
        assert archive.replay(small, {"": np.zeros((3, 64), np.float32)}).outputs["y"].shape[0] == 3
        large = put(archive, PLACE.of("large.onnx"), students.reservoir(hidden=4096), kind=Kind.STUDENT)
        assert archive.artifact(large).metadata["golden.absent"].startswith("the student will not be replayed: ")
        with pytest.raises((Exhausted, Unavailable), match="memory"):
            archive.replay(large, {"": np.zeros((3, 64), np.float32)})
