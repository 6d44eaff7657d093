"""The catalogue of a version: kept by commits, made again from manifests, and the same either way."""

from __future__ import annotations

import dataclasses
import random

import pytest
from engram_testing.archives import MEMORY, Place, deposit

from engram_format.address import Address
from engram_format.catalogue import CataloguePage, CatalogueRow, cut_rows
from engram_format.errors import Conflict
from engram_store import catalogue


@pytest.fixture
def place():
    return Place().create()


def reader_of(archive):
    return archive._repository.vault(MEMORY.vault)


def rows(reader, commit) -> list[CatalogueRow]:
    return [row for page in reader.catalogue(commit) for row in page.rows()]


def found(archive) -> list:
    return list(archive.find(["note~e"]))


def test_each_commit_carries_the_catalogue_on(place):
    with place.open() as archive:
        for number in range(4):
            deposit(archive, {f"{number}": bytes([number]), "each": bytes([number])})
            archive.annotate(MEMORY.of("each"), set={"note": f"the {number}th"})
        reader = reader_of(archive)
        for commit in reader.history().commits[MEMORY.memory]:
            assert commit.catalogue is not None
            made = [catalogue.row_of(item.entry, reader.manifest(item), None) for item in reader.entries(commit)]
            assert rows(reader, commit) == made


def test_a_version_without_a_catalogue_is_answered_the_same_and_the_next_has_one(place, monkeypatch):
    with place.open() as archive:
        deposit(archive, {"a": b"a", "b": b"b"})
        wanted = archive.annotate(MEMORY.of("a"), set={"note": "here"})
        assert found(archive) == [wanted]
    with place.open() as archive:
        with monkeypatch.context() as older:
            older.setattr("engram_store.commit.write_catalogue", lambda *_: None)  # as before there were catalogues
            deposit(archive, {"c": b"c"})
        assert reader_of(archive).history().newest(MEMORY.memory).catalogue is None
        assert found(archive) == [dataclasses.replace(wanted, address=MEMORY.at(3).of("a"))]
        deposit(archive, {"d": b"d"})
        newest = reader_of(archive).history().newest(MEMORY.memory)
        assert newest.catalogue is not None
        assert [row.path for row in rows(reader_of(archive), newest)] == ["a", "b", "c", "d"]
        assert found(archive) == [dataclasses.replace(wanted, address=MEMORY.at(4).of("a"))]


@pytest.mark.parametrize("damage", [b"", b"nonsense", CataloguePage.of([]).to_bytes()])
def test_pages_that_cannot_be_read_are_made_again(place, damage, monkeypatch):
    with place.open() as archive:
        deposit(archive, {"a": b"a"})
        wanted = archive.annotate(MEMORY.of("a"), set={"note": "here"})
        reader = reader_of(archive)
        pages = set(reader.history().newest(MEMORY.memory).catalogue)
        stream = reader.frames.stream

        def damaged(locations):
            held = list(locations)
            return iter([damage] * len(held)) if pages.intersection(held) else stream(held)

        monkeypatch.setattr(reader.frames, "stream", damaged)
        assert found(archive) == [wanted]
        deposit(archive, {"b": b"b"})
        assert [artifact.address.version for artifact in found(archive)] == [3]


def test_pages_in_which_nothing_changes_stay_where_they_are(place, monkeypatch):
    monkeypatch.setattr("engram_format.catalogue.PAGE_BYTES", 2000)
    with place.open() as archive:
        deposit(archive, {f"{number:03}": b"x%d" % number for number in range(60)})
        reader = reader_of(archive)
        first = reader.history().newest(MEMORY.memory)
        archive.annotate(MEMORY.of("030"), set={"note": "here"})
        second = reader.history().newest(MEMORY.memory)
        assert len(set(first.catalogue) & set(second.catalogue)) == len(first.catalogue) - 1 > 1
        assert [row.path for row in rows(reader, second)] == [f"{number:03}" for number in range(60)]


def test_pages_stay_few_wherever_rows_are_added(place, monkeypatch):
    monkeypatch.setattr("engram_format.catalogue.PAGE_BYTES", 4000)
    names = [f"{number:03}" for number in range(120)]
    random.Random(1).shuffle(names)
    with place.open() as archive:
        for at in range(0, len(names), 12):
            deposit(archive, {name: name.encode() for name in names[at : at + 12]})
        reader = reader_of(archive)
        newest = reader.history().newest(MEMORY.memory)
        held = rows(reader, newest)
        assert [row.path for row in held] == sorted(names)
        assert len(newest.catalogue) <= 3 * len(list(cut_rows(held)))


class Interrupted:
    """Lets another writer commit at the moment before a writer's first record is put."""

    def __init__(self, store, other) -> None:
        self._append, self._other = store.append, other

    def __call__(self, record) -> bool:
        if self._other is not None:
            other, self._other = self._other, None
            other()
        return self._append(record)


def test_an_annotation_is_made_on_top_of_what_others_have_committed_meanwhile(place, monkeypatch):
    with place.open() as archive, place.open() as another:
        deposit(archive, {"a": b"a"})

        def others():
            deposit(another, {"b": b"b"})
            another.annotate(MEMORY.of("a"), set={"theirs": "kept"})

        store = reader_of(archive).store
        monkeypatch.setattr(store, "append", Interrupted(store, others))
        changed = archive.annotate(MEMORY.of("a"), set={"mine": "too"})
        assert changed.address == MEMORY.at(4).of("a")
        assert changed.metadata == {"theirs": "kept", "mine": "too"}
        assert [a.address.path for a in archive.find(["path~a"])] == ["a"]
        assert [a.address.path for a in archive.find([])] == ["a", "b"]
        assert next(archive.find(["mine=too"])).metadata == changed.metadata


def test_an_annotation_of_bytes_that_others_have_replaced_is_a_conflict(place, monkeypatch):
    with place.open() as archive, place.open() as another:
        deposit(archive, {"a": b"a"})
        store = reader_of(archive).store
        monkeypatch.setattr(store, "append", Interrupted(store, lambda: deposit(another, {"a": b"other"})))
        with pytest.raises(Conflict, match="other bytes"):
            archive.annotate(MEMORY.of("a"), set={"mine": "too"})
        assert archive.artifact(MEMORY.of("a")).metadata == {}
        assert archive.memory(Address(MEMORY.vault, MEMORY.memory)).head == 2


def test_an_annotation_names_the_packs_that_its_artifact_needs(place):
    with place.open() as archive:
        deposit(archive, {"a": b"a"})
        archive.annotate(MEMORY.of("a"), set={"note": "here"})
        first, second = reader_of(archive).history().commits[MEMORY.memory]
        assert set(second.depends) & set(first.objects)
        assert not set(second.depends) & set(second.objects)
        assert all(finding.result == "sound" for finding in archive.verify())
