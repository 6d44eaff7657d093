"""Versions of many artifacts: found, listed and read without walking the whole tree, and one loss costs one artifact."""

from __future__ import annotations

import pytest
from engram_testing.archives import MEMORY, Place, deposit, pseudo_random

from engram_format.errors import Damaged, NotFound
from engram_store.wrappers import Metered

FILES = {f"{number % 5}/{number:03}": f"file {number} ".encode() * 50 for number in range(400)} | {
    "0-1": b"",
    "0": b"x",
}
FILES = {path: FILES[path] for path in sorted(FILES) if path != "0"}


@pytest.fixture
def short_pages(monkeypatch):
    """Pages of about ten entries, so that a tree of few artifacts has many."""
    monkeypatch.setattr("engram_format.manifest._TREE_PAGE_BYTES", 2048)


@pytest.fixture
def place(short_pages) -> Place:
    place = Place(parity=False).create()
    with place.open() as archive:
        deposit(archive, FILES)
    return place


def paths(artifacts) -> list[str]:
    return [artifact.address.path for artifact in artifacts]


def test_every_artifact_of_a_tree_of_many_pages_is_found(place):
    with place.open() as archive:
        for path, data in FILES.items():
            assert archive.artifact(MEMORY.of(path)).size == len(data)
        for path in ("", "0/", "0/0005", "5", "zzz", "0-0"):
            if path:
                with pytest.raises(NotFound):
                    archive.artifact(MEMORY.of(path.rstrip("/")).at(1))


@pytest.mark.parametrize("below", [None, "0", "3", "4", "0-1", "2/007", "nothing"])
@pytest.mark.parametrize("after", ["", "0", "0-1", "0/200", "3/008", "4/399", "zzz"])
def test_a_listing_begins_where_it_is_asked_to(place, below, after):
    with place.open() as archive:
        address = MEMORY.of(below)
        wanted = [path for path in sorted(FILES) if below is None or path == below or path.startswith(f"{below}/")]
        assert paths(archive.artifacts(address, after=after)) == [path for path in wanted if path > after]


def test_finding_one_reads_few_pages(place):
    meter = Metered(place.backend)
    with Place(backend=meter, keystore=place.keystore, identity=place.identity, parity=False).open() as archive:
        archive.version(MEMORY)
        meter.reset()
        archive.artifact(MEMORY.of("3/208"))
        # About 40 pages: halving reads 6 of them, the session's key is read once, and the manifest.
        assert meter.usage("get").calls < 12


def test_reading_many_fetches_neighbours_together(place):
    meter = Metered(place.backend)
    with Place(backend=meter, keystore=place.keystore, identity=place.identity, parity=False).open() as archive:
        read = {artifact.address.path: b"".join(pieces) for artifact, pieces in archive.read_all(MEMORY)}
    assert read == FILES
    # About 40 pages, and a handful of spans of manifests and of data.
    assert meter.usage("get").calls < 60


def test_one_damaged_artifact_keeps_no_other_back():
    files = {"a": pseudo_random(3000), "b": pseudo_random(4000), "c": pseudo_random(5000), "d": b""}
    place = Place(parity=False).create()
    with place.open() as archive:
        deposit(archive, files)
        version = archive.version(MEMORY).address
    packs = [found for found in place.backend.list("v/") if "/o/" in found.key]
    largest = max(packs, key=lambda found: found.size)
    data = bytearray(place.backend.get(largest.key))
    data[1000 + 3000] ^= 1  # in the second frame: the header takes less than a kilobyte
    place.backend.delete(largest.key)
    place.backend.put_if_absent(largest.key, bytes(data))
    got = {}
    with place.open() as archive:
        for artifact, pieces in archive.read_all(version):
            try:
                got[artifact.address.path] = b"".join(pieces)
            except Damaged as error:
                got[artifact.address.path] = error
    assert isinstance(got.pop("b"), Damaged)
    assert got == {path: content for path, content in files.items() if path != "b"}


def test_damaged_manifests_are_told_for_each_artifact():
    files = {"a": b"1" * 100, "b": b"2" * 100}
    place = Place(parity=False).create()
    with place.open() as archive:
        deposit(archive, files)
        reader = archive._repository.vault("vault")
        found = list(reader.entries(reader.history().newest("memory")))
        key = f"v/{reader.store.vault}/{found[1].manifest_at.pack.name.key}"
        data = bytearray(place.backend.get(key))
        data[found[1].manifest_at.place.offset] ^= 1
        place.backend.delete(key)
        place.backend.put_if_absent(key, bytes(data))
        results = []
        for artifact, pieces in archive.read_all(MEMORY):
            try:
                results.append((artifact.address.path, artifact.size, b"".join(pieces)))
            except Damaged:
                results.append((artifact.address.path, artifact.size, None))
    assert results == [("a", 100, files["a"]), ("b", 100, None)]
