"""Every backend passes the conformance suite, and its slots have one winner among processes too."""

from __future__ import annotations

import multiprocessing
from concurrent.futures import ThreadPoolExecutor

import pytest

from engram_store.conformance import BackendConformance, race_from_a_process, require_one_winner_each
from engram_store.directory import DirectoryBackend
from engram_store.location import open_location
from engram_store.memory import MemoryBackend
from engram_store.wrappers import Prefixed

PROCESSES = 16


class TestMemoryBackend(BackendConformance):
    @pytest.fixture
    def backend(self):
        return MemoryBackend()


class TestDirectoryBackend(BackendConformance):
    @pytest.fixture
    def backend(self, tmp_path):
        return DirectoryBackend(tmp_path)


class TestMotoS3(BackendConformance):
    @pytest.fixture
    def backend(self, open_at, moto_s3):
        return open_at(moto_s3)


class TestSeaweedFS(BackendConformance):
    # It walks through folders, which is not the order of bytes where a name beside a folder goes on with ` ` to `.`.
    keys_in_order = ("A", "Z/z", "a/1", "a/10", "a/2", "a/b/c", "a0", "a_", "b", "~")
    # To start after a folder's bare name passes over what is in it.
    starts_between_keys = ("a/", "a/b/", "a/b/b", "a/zz", "0", "zz", "~~")
    # Each contended write may take it a second.
    race_rounds = 2

    @pytest.fixture
    def backend(self, open_at, seaweedfs):
        return open_at(seaweedfs)


class TestPrefixed(BackendConformance):
    @pytest.fixture
    def backend(self, tmp_path):
        whole = MemoryBackend()
        whole.put_if_absent("beside", b"")
        whole.put_if_absent("part-not", b"")
        return Prefixed(whole, "part")


def race(url: str, *, slots: int) -> None:
    spawn = multiprocessing.get_context("spawn")
    with spawn.Manager() as manager, ThreadPoolExecutor(PROCESSES) as waiting:
        # Each process is waited for by a thread, so that one that dies breaks the barrier instead of hanging the others.
        start = manager.Barrier(PROCESSES)
        with spawn.Pool(PROCESSES) as pool:
            answers = [pool.apply_async(race_from_a_process, (url, start, racer, slots)) for racer in range(PROCESSES)]
            wins = list(waiting.map(lambda answer: answer.get(timeout=240), answers))
    require_one_winner_each(open_location(url), wins, slots=slots)


def test_one_of_many_processes_wins_a_slot_of_a_folder(tmp_path):
    race(str(tmp_path / "archive"), slots=50)
    assert list((tmp_path / "archive" / ".tmp").iterdir()) == []


def test_one_of_many_processes_wins_a_slot_of_a_bucket(use_settings, seaweedfs):
    use_settings(seaweedfs.environment)
    race(seaweedfs.location(), slots=3)
