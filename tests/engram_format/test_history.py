"""A history is what the log says, and where the log does not say it, an error (commits and histories)."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engram_format.encoding import decode, encode
from engram_format.errors import Damaged, FormatError, NotFound
from engram_format.history import (
    Commit,
    History,
    LogEntry,
    condemn_payload,
    epoch_payload,
    read_condemned,
    read_epoch,
    run_name,
)
from engram_format.ids import Digest, ObjectName, PackId, SessionId
from engram_format.location import Location, LocationPage, PackRef
from engram_format.pack import FramePlace
from engram_format.record import Record, RecordKind

EMPTY = LocationPage.of(())


def run(number: int) -> Location:
    pack = PackRef(SessionId(bytes(16)), ObjectName(bytes([number]) * 16), PackId(bytes(32)))
    return Location(pack, FramePlace(number, 100, 50, 40))


def commit(memory: str, number: int, **changes) -> Commit:
    values = {
        "parents": (),
        "author": "somebody",
        "message": "",
        "time_ns": 0,
        "tree": EMPTY,
        "artifacts": 0,
        "added": 0,
        "objects": (),
        "depends": (),
        "index_adds": EMPTY,
    }
    return Commit(memory, number, **values | changes)


def log(
    *contents: Commit | RecordKind | tuple[RecordKind, bytes] | None, after: History | None = None
) -> list[LogEntry]:
    """Chain records: a commit, `None` for one that does not decrypt, or another kind and its payload."""
    entries: list[LogEntry] = []
    previous, start = (after.last_digest, after.length) if after else (bytes(32), 0)
    for seq, content in enumerate(contents, start=start):
        kind, payload = RecordKind.COMMIT, b"sealed"
        if isinstance(content, tuple):
            kind, payload = content
        elif isinstance(content, RecordKind):
            kind = content
        record = Record(seq, previous, kind, SessionId(seq.to_bytes(16, "big")), payload)
        previous = hashlib.sha256(record.to_bytes()).digest()
        entries.append(LogEntry(record, previous, content if isinstance(content, Commit) else None))
    return entries


def test_versions_are_counted_by_memory():
    history = History().extend(log(commit("a", 1), commit("b", 1), commit("a", 2)))
    assert history.newest("a").number == 2
    assert history.at("a", 1).number == 1
    assert history.at("b", None).number == 1
    assert history.length == 3
    assert history.sessions[SessionId((2).to_bytes(16, "big"))] == ("a", 2)


@pytest.mark.parametrize("number", [0, 3, -1])
def test_a_version_that_is_not_there_is_not_found(number):
    history = History().extend(log(commit("a", 1), commit("a", 2)))
    with pytest.raises(NotFound, match="versions 1 to 2"):
        history.at("a", number)


def test_a_memory_that_is_not_there_is_not_found():
    for ask in (lambda: History().newest("a"), lambda: History().at("a", None), lambda: History().at("a", 1)):
        with pytest.raises(NotFound, match="no"):
            ask()


@given(st.lists(st.sampled_from("abc"), max_size=8), st.integers(0, 8))
def test_a_history_is_the_same_however_the_log_is_read(memories, cut):
    commits = [commit(memory, memories[: place + 1].count(memory)) for place, memory in enumerate(memories)]
    entries = log(*commits)
    assert History().extend(entries[:cut]).extend(entries[cut:]) == History().extend(entries)


def test_extending_leaves_the_history_as_it_was():
    first = History().extend(log(commit("a", 1)))
    first.extend(log(commit("a", 2), (RecordKind.CONDEMN, condemn_payload((ObjectName(bytes(16)),))), after=first))
    assert first.length == 1
    assert len(first.commits["a"]) == 1
    assert not first.condemned


def test_a_broken_chain_is_refused():
    entries = log(commit("a", 1), commit("a", 2), commit("a", 3))
    broken = [
        [entries[1]],
        [entries[0], entries[2]],
        [entries[1], entries[0]],
        [entries[0], entries[0]],
        [replace(entries[0], digest=bytes(32)), entries[1]],
        [replace(entries[0], record=replace(entries[0].record, previous=b"x" * 32))],
        [entries[0], replace(entries[1], record=replace(entries[1].record, seq=2))],
    ]
    for sequence in broken:
        with pytest.raises(FormatError, match="does not follow"):
            History().extend(sequence)


@pytest.mark.parametrize("unreadable", [None, commit("a", 1), commit("a", 4), commit("a", 0), commit("c", 2)])
def test_an_unreadable_commit_hides_the_newest_of_every_memory_and_no_older_version(unreadable):
    history = History().extend(log(commit("a", 1), commit("b", 1), commit("a", 2), unreadable))
    assert history.unreadable == (3,)
    for memory in ("a", "b"):
        with pytest.raises(Damaged, match="log record 3 cannot be read"):
            history.newest(memory)
        with pytest.raises(Damaged):
            history.at(memory, None)
    assert [history.at("a", number).number for number in (1, 2)] == [1, 2]
    assert history.at("b", 1).number == 1
    assert SessionId((3).to_bytes(16, "big")) not in history.sessions


def test_a_later_commit_does_not_mend_an_unreadable_one():
    history = History().extend(log(commit("a", 1), None, commit("a", 2), commit("a", 4)))
    assert history.unreadable == (1, 3)
    assert history.at("a", 2).number == 2
    with pytest.raises(Damaged):
        history.newest("a")


def test_an_unreadable_commit_adds_no_index_runs():
    history = History().extend(log(commit("a", 2, index_adds=LocationPage.of([run(1)]))))
    assert history.index_runs == {}


def test_condemned_objects_add_up():
    names = [ObjectName(bytes([number]) * 16) for number in range(4)]
    history = History().extend(
        log(
            (RecordKind.CONDEMN, condemn_payload((names[0],))),
            commit("a", 1),
            (RecordKind.CONDEMN, condemn_payload((names[1], names[2], names[0]))),
        )
    )
    assert history.condemned == frozenset(names[:3])


def test_index_runs_are_those_that_no_later_commit_replaced():
    history = History().extend(log(commit("a", 1, index_adds=LocationPage.of([run(1), run(2)]))))
    assert set(history.index_runs.values()) == {run(1), run(2)}
    merged = commit("a", 2, index_adds=LocationPage.of([run(3)]), index_drops=(run_name(run(1)), run_name(run(2))))
    history = history.extend(log(merged, after=history))
    assert history.index_runs == {run_name(run(3)): run(3)}
    again = commit("a", 3, index_drops=(run_name(run(1)),))
    assert history.extend(log(again, after=history)).index_runs == history.index_runs


def test_the_name_of_a_run_is_its_object_and_its_frame():
    assert run_name(run(3)) == b"\x03" * 16 + b"\x03\x00\x00\x00"


def test_the_epoch_is_the_last_one_told(identity, vault_keys):
    keys = (vault_keys.public, identity.public)
    records = [(RecordKind.EPOCH, epoch_payload(epoch=epoch, public=public)) for epoch, public in enumerate(keys)]
    history = History().extend(log(*records))
    assert (history.epoch, history.public) == (1, identity.public)
    assert read_epoch(records[0][1], seq=0) == (0, vault_keys.public)


@pytest.mark.parametrize("kind", [RecordKind.SWEPT, RecordKind.AUDIT, RecordKind.HOLD])
def test_records_that_a_reader_may_ignore_are_ignored(kind):
    history = History().extend(log(commit("a", 1), kind, commit("a", 2)))
    assert (history.length, history.newest("a").number) == (3, 2)


@pytest.mark.parametrize("kind", [RecordKind.DROP, RecordKind.SHRED])
def test_records_that_a_reader_must_understand_are_refused(kind):
    with pytest.raises(FormatError, match=f"is a {kind.name}"):
        History().extend(log(commit("a", 1), kind))


@pytest.mark.parametrize(
    ("kind", "payload"),
    [
        (RecordKind.EPOCH, b""),
        (RecordKind.EPOCH, encode({1: 0, 2: bytes(1215)})),
        (RecordKind.EPOCH, encode({1: -1, 2: bytes(1216)})),
        (RecordKind.EPOCH, encode({1: 0, 2: bytes(1216), 3: 0})),
        (RecordKind.CONDEMN, b""),
        (RecordKind.CONDEMN, encode({1: [bytes(15)]})),
        (RecordKind.CONDEMN, encode({1: bytes(16)})),
    ],
)
def test_a_damaged_public_payload_is_refused(kind, payload):
    with pytest.raises(FormatError, match="log record 0"):
        History().extend(log((kind, payload)))


def test_condemned_names_are_read_as_they_were_written():
    names = tuple(ObjectName(bytes([number]) * 16) for number in range(3))
    assert read_condemned(condemn_payload(names), seq=0) == names


texts = st.text(max_size=10)
counts = st.integers(0, 2**64 - 1)
commits = st.builds(
    commit,
    st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}", fullmatch=True),
    counts,
    parents=st.lists(st.binary(min_size=32, max_size=32).map(Digest), max_size=2).map(tuple),
    author=texts,
    message=texts,
    time_ns=st.integers(-(2**63), 2**63),
    artifacts=counts,
    added=counts,
    objects=st.lists(st.binary(min_size=16, max_size=16).map(ObjectName), max_size=3).map(tuple),
    depends=st.lists(st.binary(min_size=16, max_size=16).map(ObjectName), max_size=3).map(tuple),
    index_adds=st.lists(st.integers(0, 9), max_size=3).map(lambda numbers: LocationPage.of(map(run, numbers))),
    index_drops=st.lists(st.binary(min_size=20, max_size=20), max_size=2).map(tuple),
)


@given(commits)
def test_a_commit_is_read_as_it_was_written(written):
    again = Commit.from_bytes(written.to_bytes(), what="a commit")
    assert again.to_bytes() == written.to_bytes()
    assert again.version_id == Digest(hashlib.sha256(written.to_bytes()).digest())
    assert replace(again, tree=EMPTY, index_adds=EMPTY) == replace(written, tree=EMPTY, index_adds=EMPTY)


@pytest.mark.parametrize("field", range(1, 14))
def test_a_commit_without_one_of_its_fields_is_refused(field):
    fields = decode(commit("a", 1).to_bytes(), what="it")
    with pytest.raises(FormatError, match=f"field {field}"):
        Commit.from_bytes(encode({key: value for key, value in fields.items() if key != field}), what="a commit")
    with pytest.raises(FormatError, match=f"field {field}"):
        Commit.from_bytes(encode(fields | {field: None}), what="a commit")


def test_a_commit_comes_back_with_its_catalogue_or_without():
    for catalogue in (None, EMPTY):
        data = commit("a", 1, catalogue=catalogue).to_bytes()
        back = Commit.from_bytes(data, what="it")
        assert (back.catalogue is None) == (catalogue is None)
        assert back.to_bytes() == data
