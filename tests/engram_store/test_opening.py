"""Opening an archive: what does not depend on one another is asked for at once, and the answers are the same as one by one."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest
from engram_testing.archives import MEMORY, Place, deposit, read

from engram_format.errors import Denied, NotFound, Precondition
from engram_format.identity import Identity
from engram_format.record import Record
from engram_store.backend import Backend, ObjectStat, Span
from engram_store.memory import MemoryBackend
from engram_store.repository import Repository


@pytest.fixture
def place() -> Place:
    return Place().create()


class Watched:
    """A backend that tells of each reading: `begun` before it is answered, `ended` after, as ("get", key)."""

    def __init__(self, inner: Backend, *, begun: Callable[[str, str], None], ended: Callable[[str, str], None]) -> None:
        self._inner, self._begun, self._ended = inner, begun, ended
        self.put_if_absent, self.stat, self.delete = inner.put_if_absent, inner.stat, inner.delete

    @property
    def url(self) -> str:
        return self._inner.url

    def get(self, key: str, span: Span | None = None) -> bytes:
        self._begun("get", key)
        try:
            return self._inner.get(key, span)
        finally:
            self._ended("get", key)

    def list(self, prefix: str, start_after: str = "") -> Iterator[ObjectStat]:
        self._begun("list", prefix)
        return self._inner.list(prefix, start_after)


def test_a_claim_and_the_keys_below_it_are_asked_for_at_once(place):
    both = threading.Barrier(2, timeout=30)

    def begun(operation: str, key: str) -> None:
        if key.endswith("/claim") or operation == "list":
            both.wait()

    place.keystore = Watched(place.keystore, begun=begun, ended=lambda *_: None)
    with place.open() as archive:
        assert archive.vault(MEMORY.vault).name == MEMORY.vault


def test_a_descriptor_and_the_keys_of_the_archive_are_asked_for_at_once(place):
    both = threading.Barrier(2, timeout=30)

    def watched(backend: Backend, meeting: str) -> Backend:
        return Watched(backend, begun=lambda _, key: key.startswith(meeting) and both.wait(), ended=lambda *_: None)

    Repository.open(watched(place.backend, "archive"), watched(place.keystore, "archive/"), place.identity).close()


def test_a_log_is_listed_while_its_first_records_are_read(place):
    with place.open() as archive:
        deposit(archive, {"x": b"1"})
    listed = threading.Event()

    def begun(operation: str, key: str) -> None:
        if operation == "list" and key.endswith("/log/"):
            listed.set()
        elif key.endswith(Record.key_for(0)):
            assert listed.wait(30)

    with place.open(through=lambda inner: Watched(inner, begun=begun, ended=lambda *_: None)) as archive:
        assert read(archive, "vault/memory:x") == b"1"


def test_a_record_that_is_appended_after_its_slot_was_read_and_before_the_log_is_listed_is_not_lost(place):
    empty = threading.Event()

    def begun(operation: str, key: str) -> None:
        if operation == "list" and key.endswith("/log/"):
            assert empty.wait(30)
            with place.open() as other:
                deposit(other, {"x": b"1"})

    def ended(_: str, key: str) -> None:
        if key.endswith(Record.key_for(1)):
            empty.set()

    with place.open(through=lambda inner: Watched(inner, begun=begun, ended=ended)) as archive:
        assert read(archive, "vault/memory:x") == b"1"


def test_an_archive_that_is_missing_is_told_before_its_keys_that_are_missing_too(place):
    with pytest.raises(NotFound, match="there is no archive at memory:"):
        Repository.open(MemoryBackend(), MemoryBackend(), place.identity)
    with pytest.raises(NotFound, match="there are no wrapped keys at memory:"):
        Repository.open(place.backend, MemoryBackend(), place.identity)
    with pytest.raises(Denied, match="whose keys at memory: are sealed to"):
        place.open(identity=Identity.from_entropy(b"somebody else's identity, 32 b.."))


def test_a_vault_is_not_opened_after_its_archive_was_closed(place):
    archive = place.open()
    archive.close()
    with pytest.raises(Precondition, match="the archive was closed"):
        archive.vault(MEMORY.vault)
