"""Finding, annotating and comparing through every door."""

from __future__ import annotations

import hashlib
import secrets

import numpy as np
import pytest
from engram_testing.archives import pseudo_random

from engram_client.sharing import Shared, shared_with_version_before
from engram_client.transfer import deposit_files
from engram_format.address import Address
from engram_format.catalog import Alteration, ArtifactSpec, Kind
from engram_format.errors import InvalidInput, NotFound, Precondition

RATS = Address("lab", "rats")
MICE = Address("lab", "mice")
BIG = pseudo_random(6 << 20)


def put(archive, to: Address, files, *, metadata=None):
    """Deposit files, each with metadata of its own."""
    with archive.open_deposit(to, session=secrets.token_hex(16)) as deposit:
        for path, data in files.items():
            told = (metadata or {}).get(path, {})
            deposit.begin(ArtifactSpec(path=path, size=len(data), metadata=told, mode=0o644))
            deposit.write(data)
            deposit.end(sha256=hashlib.sha256(data).hexdigest())
        return deposit.commit(message="", author="a test")


@pytest.fixture(scope="module")
def filled(archive):
    rats = {f"day{n}/rat{n}.bin": f"rat {n}".encode() for n in range(5)}
    metadata = {
        path: {"subject.species": "Rattus norvegicus", "depth": 100.0 * n, "n": n, "done": n == 3}
        for n, path in enumerate(rats)
    }
    put(archive, RATS, rats, metadata=metadata)
    put(archive, MICE, {"mouse.bin": b"mouse"}, metadata={"mouse.bin": {"subject.species": "Mus musculus"}})
    return archive


def found(archive, *conditions, **options) -> list[str]:
    return [str(artifact.address) for artifact in archive.find(conditions, **options)]


def test_artifacts_are_found_by_their_metadata_in_all_memories(filled):
    assert found(filled, "subject.species~mus ") == ["lab/mice@1:mouse.bin"]
    assert found(filled, "subject.species='Rattus norvegicus'", "depth>=300") == [
        "lab/rats@1:day3/rat3.bin",
        "lab/rats@1:day4/rat4.bin",
    ]
    assert found(filled, "done=true") == ["lab/rats@1:day3/rat3.bin"]
    assert found(filled, "depth>1e9") == []


def test_what_is_found_is_all_that_is_known_of_the_artifact(filled):
    for artifact in filled.find([], scope=RATS):
        assert artifact == filled.artifact(artifact.address)
        assert artifact.metadata


def test_a_search_is_bounded_to_a_vault_a_memory_or_a_folder_and_to_a_kind(filled):
    assert found(filled, "path~bin", scope=MICE) == ["lab/mice@1:mouse.bin"]
    assert found(filled, "path~rat", scope=RATS.of("day2")) == ["lab/rats@1:day2/rat2.bin"]
    assert "lab/mice@1:mouse.bin" in found(filled, scope=Address("lab"))
    assert found(filled, "path~rat", kind=Kind.STUDENT) == []
    assert len(found(filled, "path~rat", kind=Kind.FILE, scope=RATS)) == 5
    with pytest.raises(InvalidInput, match="newest"):
        found(filled, scope=RATS.at(1))
    with pytest.raises(NotFound):
        found(filled, scope=Address("lab", "nowhere"))
    with pytest.raises(NotFound):
        found(filled, scope=Address("nowhere"))


def test_a_condition_that_cannot_be_read_is_refused(filled):
    with pytest.raises(InvalidInput, match="is no condition"):
        found(filled, "species")


def test_a_name_that_no_artifact_has_is_warned_of_with_the_nearest(filled):
    said: list[str] = []
    assert found(filled, "subject.speces=x", "size>0", warn=said.append) == []
    (sentence,) = said
    assert "'subject.speces'" in sentence
    assert "subject.species" in sentence


def test_a_recording_is_found_by_its_series(archive, tmp_path):
    np.save(tmp_path / "spikes.npy", np.arange(40_000, dtype="<i2").reshape(-1, 4))
    version = deposit_files(
        archive, [tmp_path / "spikes.npy"], to=Address("lab", "arrays"), message="", author="a test"
    )
    recording = archive.recording(version.address.of("spikes.npy"))
    assert found(archive, f"family={recording.family}", "series.dtype='<i2'", "series.samples=10000") == [
        "lab/arrays@1:spikes.npy"
    ]
    assert found(archive, "series.channels=4", "series.samples<10000") == []


def test_annotating_is_a_new_version_of_the_same_bytes(archive):
    to = Address("lab", "annotated")
    files = {"a.bin": b"aaa", "b.bin": b"bbb"}
    put(archive, to, files, metadata={"a.bin": {"subject.species": "Mus", "old": 1}})
    before = archive.artifact(to.of("a.bin"))
    after = archive.annotate(
        to.of("a.bin"), set={"subject.species": "Mus musculus"}, unset=["old"], message="its name", author="ada"
    )
    assert after == archive.artifact(to.at(2).of("a.bin"))
    assert after.metadata == {"subject.species": "Mus musculus"}
    assert (after.sha256, after.mode, after.stored_size) == (before.sha256, before.mode, before.stored_size)
    assert b"".join(archive.read(to.of("a.bin"))) == b"aaa"
    version = archive.version(to)
    assert (version.address, version.message, version.author, version.artifacts) == (to.at(2), "its name", "ada", 2)
    assert archive.artifact(to.at(1).of("a.bin")).metadata == {"subject.species": "Mus", "old": 1}
    assert found(archive, "subject.species='Mus musculus'", scope=to) == ["lab/annotated@2:a.bin"]
    assert found(archive, "old=1", scope=to) == []
    assert found(archive, scope=to) == ["lab/annotated@2:a.bin", "lab/annotated@2:b.bin"]
    (change,) = archive.diff(to.at(1), to.at(2))
    assert change.shared == change.after.size == 3
    assert change.metadata == (
        Alteration("old", "1", None),
        Alteration("subject.species", "Mus", "Mus musculus"),
    )
    with pytest.raises(Precondition, match="newest version @2"):
        archive.annotate(to.at(1).of("a.bin"), set={"x": 1})


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"set": {}}, "nothing is to be changed"),
        ({"unset": ["x"]}, "no metadata 'x'"),
        ({"set": {"x": 1}, "unset": ["x"]}, "do one of them"),
        ({"set": {"consent.duo": "IRB"}}, "exactly one permission"),
        ({"set": {"subject.species": "Mus musculus"}}, "already"),
    ],
)
def test_an_annotation_that_cannot_be_is_refused(filled, changes, sentence):
    with pytest.raises(InvalidInput, match=sentence):
        filled.annotate(MICE.of("mouse.bin"), **changes)
    with pytest.raises(NotFound):
        filled.annotate(MICE.of("none.bin"), set={"x": 1})
    assert filled.memory(MICE).head == 1


def test_a_deposit_with_consent_that_is_not_known_is_refused(archive):
    with pytest.raises(InvalidInput, match="true or false"):
        put(archive, Address("lab", "refused"), {"a": b"a"}, metadata={"a": {"consent.model_training": "maybe"}})


def test_a_difference_says_what_was_added_changed_and_shared(archive):
    to = Address("lab", "differing")
    put(archive, to, {"same": b"same", "big": BIG, "small": b"one"})
    put(archive, to, {"same": b"same", "big": BIG + b"appended", "new": b"new"})
    changes = {change.path: change for change in archive.diff(to.at(1), to)}
    assert set(changes) == {"big", "new"}
    assert changes["new"].before is None
    assert changes["new"].after == archive.artifact(to.of("new"))
    assert changes["big"].before == archive.artifact(to.at(1).of("big"))
    assert len(BIG) // 2 < changes["big"].shared < len(BIG) + 8
    back = {change.path: change for change in archive.diff(to, to.at(1))}
    assert back["new"].after is None
    assert list(archive.diff(to, to)) == []
    (one,) = archive.diff(to.at(1).of("big"), to.of("big"))
    assert one == changes["big"]
    total = sum(artifact.size for artifact in archive.artifacts(to))
    assert shared_with_version_before(archive, to.at(2)) == Shared(
        total - len("new") - (len(BIG) + 8 - changes["big"].shared), total
    )
    assert shared_with_version_before(archive, to.at(1)) is None
    with pytest.raises(InvalidInput, match="two of a kind"):
        list(archive.diff(to, to.of("big")))
    with pytest.raises(NotFound):
        list(archive.diff(to.of("none"), to.of("big")))


def test_memories_of_one_vault_share_and_vaults_do_not(archive):
    other = Address("lab2", "copy")
    archive.create_vault("lab2")
    put(archive, Address("lab", "first"), {"big": BIG})
    put(archive, Address("lab", "second"), {"big": BIG, "x": b"x"})
    put(archive, other, {"big": BIG[:-1]})
    assert [change.path for change in archive.diff(Address("lab", "first"), Address("lab", "second"))] == ["x"]
    (change,) = archive.diff(Address("lab", "first"), other)
    assert (change.path, change.shared) == ("big", 0)


def test_a_difference_says_what_became_of_the_series(archive, tmp_path):
    to = Address("lab", "grown")
    for length in (10_000, 12_000):
        np.save(tmp_path / "spikes.npy", np.arange(4 * length, dtype="<i2").reshape(-1, 4))
        deposit_files(archive, [tmp_path / "spikes.npy"], to=to, message="", author="a test")
    (change,) = archive.diff(to.at(1), to.at(2))
    (series,) = change.series
    assert series.before == "<i2 (10000, 4)"
    assert series.after == "<i2 (12000, 4)"
