"""Depositing: what goes in comes out, once, whatever happens in between."""

from __future__ import annotations

import hashlib
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from engram_testing.archives import MEMORY, Place, deposit, pseudo_random, read, send

from engram_format.address import Address, ContentAddress
from engram_format.catalog import ArtifactSpec, Kind
from engram_format.errors import (
    AlreadyExists,
    Conflict,
    Damaged,
    Denied,
    Exhausted,
    InvalidInput,
    NotFound,
    Precondition,
    Unavailable,
)
from engram_format.identity import Identity
from engram_store.wrappers import Metered

SESSION = "5e" * 16


@pytest.fixture
def place() -> Place:
    return Place().create()


@pytest.fixture
def archive(place):
    with place.open() as archive:
        yield archive


def stored_bytes(place: Place) -> int:
    return sum(found.size for found in place.backend.list("v/"))


def test_what_is_deposited_comes_back_bit_for_bit(archive):
    files = {
        "empty": b"",
        "one byte": b"x",
        "folder/small.txt": b"hello" * 100,
        "random.bin": pseudo_random(9_000_000),
        "zeros.bin": bytes(20_000_000),
        "ünï/cødé": b"name",
    }
    version = deposit(archive, files, piece=777_777)
    assert version.address == MEMORY.at(1)
    assert version.added == version.artifacts == len(files)
    for path, data in files.items():
        assert read(archive, f"vault/memory:{path}") == data
        artifact = archive.artifact(version.address.of(path))
        assert artifact.size == len(data)
        assert artifact.sha256 == hashlib.sha256(data).hexdigest()


def test_a_version_holds_what_the_one_before_held_and_older_versions_stay(archive):
    first = deposit(archive, {"a": b"old", "b": b"kept"})
    second = deposit(archive, {"a": b"new"})
    assert second.parents == (first.version_id,)
    assert [str(artifact.address) for artifact in archive.artifacts(MEMORY)] == ["vault/memory@2:a", "vault/memory@2:b"]
    assert read(archive, "vault/memory:a") == b"new"
    assert read(archive, "vault/memory@1:a") == b"old"
    assert read(archive, "vault/memory:b") == b"kept"
    assert [version.address.version for version in archive.versions(MEMORY)] == [2, 1]


def test_an_artifact_is_found_by_its_content(archive):
    deposit(archive, {"deep/inside": b"a memory"})
    wanted = ContentAddress(hashlib.sha256(b"a memory").hexdigest())
    assert archive.artifact(wanted).address == MEMORY.at(1).of("deep/inside")
    assert b"".join(archive.read(wanted)) == b"a memory"
    with pytest.raises(NotFound, match="no vault that you can open"):
        archive.artifact(ContentAddress("00" * 32))


def test_the_kind_is_seen_from_the_content_and_can_be_overridden(archive):
    hdf5 = b"\x89HDF\r\n\x1a\n" + bytes(4096)
    with archive.open_deposit(MEMORY, session=SESSION) as session:
        for path, kind in (("seen.txt", None), ("said.txt", Kind.SUBSTRATE)):
            session.begin(
                ArtifactSpec(path=path, size=len(hdf5), kind=kind, metadata={"subject.species": "Mus musculus"})
            )
            session.write(hdf5)
            session.end(sha256=hashlib.sha256(hdf5).hexdigest())
        session.commit(message="", author="")
    assert archive.artifact(MEMORY.of("seen.txt")).kind is Kind.RECORDING
    assert archive.artifact(MEMORY.of("said.txt")).kind is Kind.SUBSTRATE
    assert archive.artifact(MEMORY.of("said.txt")).metadata == {"subject.species": "Mus musculus"}


def test_equal_content_is_stored_once(archive, place):
    data = pseudo_random(12_000_000)
    deposit(archive, {"first": data})
    before = stored_bytes(place)
    deposit(archive, {"second": data}, to=Address("vault", "another"))
    assert stored_bytes(place) - before < 40_000
    shifted = b"a new header" + data
    deposit(archive, {"third": shifted})
    assert stored_bytes(place) - before < 5_000_000
    assert read(archive, "vault/memory:third") == shifted
    assert read(archive, "vault/another:second") == data


def test_content_is_not_shared_between_vaults(archive, place):
    archive.create_vault("other")
    data = pseudo_random(3_000_000)
    deposit(archive, {"x": data})
    before = stored_bytes(place)
    deposit(archive, {"x": data}, to=Address("other", "memory"))
    assert stored_bytes(place) - before > len(data)


def test_many_small_versions_keep_finding_their_content_after_runs_are_merged(archive):
    blocks = [pseudo_random(600_000, seed=seed) for seed in range(20)]
    for seed, block in enumerate(blocks):
        deposit(archive, {f"block-{seed}": block})
    again = deposit(archive, {f"again-{seed}": block for seed, block in enumerate(blocks)})
    artifacts = list(archive.artifacts(again.address))
    assert len(artifacts) == 40
    assert read(archive, "vault/memory:again-7") == blocks[7]


def test_a_cut_deposit_goes_on_from_its_last_durable_pack(place):
    data = pseudo_random(100_000_000)
    with place.open() as archive, archive.open_deposit(MEMORY, session=SESSION) as session:
        send(session, "before", b"complete before the cut")
        send(session, "big", data, stop_at=90_000_000)
    after_cut = stored_bytes(place)
    with place.open() as archive, archive.open_deposit(MEMORY, session=SESSION) as session:
        assert send(session, "before", b"complete before the cut") in (0, 23)
        started = send(session, "big", data)
        assert 50_000_000 < started <= 90_000_000
        version = session.commit(message="", author="")
        assert version.added == 2
        assert read(archive, "vault/memory:big") == data
        assert all(finding.result == "sound" for finding in archive.verify())
    assert after_cut < stored_bytes(place) < 1.12 * len(data)  # parity 6.7 %, padding, descriptions; nothing twice


def test_a_file_that_changed_between_cut_and_resumption_is_refused_and_nothing_is_added(place):
    data = pseudo_random(100_000_000)
    with place.open() as archive, archive.open_deposit(MEMORY, session=SESSION) as session:
        send(session, "big", data, stop_at=90_000_000)
    changed = b"X" + data[1:]
    with place.open() as archive:
        with (
            archive.open_deposit(MEMORY, session=SESSION) as session,
            pytest.raises(InvalidInput, match="changed during"),
        ):
            assert send(session, "big", changed) > 0
        assert list(archive.memories("vault")) == []


def test_committing_again_returns_the_same_version(place):
    with place.open() as archive:
        version = deposit(archive, {"a": b"1"}, session=SESSION)
    with place.open() as archive, archive.open_deposit(MEMORY, session=SESSION) as session:
        assert session.committed_version == version
        assert session.commit(message="another", author="other") == version
        with pytest.raises(Precondition, match="is committed"):
            session.begin(ArtifactSpec(path="b", size=0))
    with place.open() as archive, pytest.raises(Conflict, match="use a new session"):
        archive.open_deposit(Address("vault", "elsewhere"), session=SESSION)


def test_two_processes_that_drive_one_session_do_not_both_win(place):
    data = pseudo_random(5_000_000)
    with place.open() as one, place.open() as other:
        first = one.open_deposit(MEMORY, session=SESSION)
        second = other.open_deposit(MEMORY, session=SESSION)
        with first, second:
            send(first, "big", data)
            first.commit(message="", author="")
            with pytest.raises(Precondition, match="continued by another process"):
                send(second, "big", data)
                second.commit(message="", author="")
        assert len(list(one.versions(MEMORY))) == 1


def test_writers_that_race_into_one_memory_all_get_a_version(place):
    writers = 8
    barrier = threading.Barrier(writers)

    def write(number: int) -> int:
        with place.open() as archive, archive.open_deposit(MEMORY, session=f"{number:032x}") as session:
            send(session, f"file-{number}", f"content {number}".encode())
            barrier.wait()
            return session.commit(message=f"{number}", author="racer").address.version or 0

    with ThreadPoolExecutor(writers) as threads:
        numbers = sorted(threads.map(write, range(writers)))
    assert numbers == list(range(1, writers + 1))
    with place.open() as archive:
        assert len(list(archive.artifacts(MEMORY))) == writers  # nobody's artifact was lost by another's tree
        for number in range(writers):
            assert read(archive, f"vault/memory:file-{number}") == f"content {number}".encode()


def test_what_arrives_must_be_what_was_announced(archive):
    with archive.open_deposit(MEMORY, session=SESSION) as session:
        session.begin(ArtifactSpec(path="a", size=3))
        with pytest.raises(InvalidInput, match="grew"):
            session.write(b"four")
        session.write(b"xyz")
        with pytest.raises(InvalidInput, match="SHA-256"):
            session.end(sha256="00" * 32)
    with archive.open_deposit(MEMORY, session="5f" * 16) as session:
        session.begin(ArtifactSpec(path="a", size=3))
        session.write(b"xy")
        with pytest.raises(InvalidInput, match="2 bytes"):
            session.end(sha256=hashlib.sha256(b"xy").hexdigest())
    assert list(archive.memories("vault")) == []


@pytest.mark.parametrize("path", ["", "/abs", "a//b", "../up", "a/./b", "nul\0", "new\nline", "x" * 1025])
def test_paths_that_could_mean_something_else_are_refused(archive, path):
    with (
        archive.open_deposit(MEMORY, session=SESSION) as session,
        pytest.raises(InvalidInput, match="is no artifact path"),
    ):
        session.begin(ArtifactSpec(path=path, size=0))


def test_a_session_needs_an_artifact_and_ends_each_before_the_next(archive):
    with archive.open_deposit(MEMORY, session=SESSION) as session:
        with pytest.raises(InvalidInput, match="at least one artifact"):
            session.commit(message="", author="")
        session.begin(ArtifactSpec(path="a", size=1))
        with pytest.raises(Precondition, match="not ended"):
            session.begin(ArtifactSpec(path="b", size=1))
        with pytest.raises(Precondition, match="not ended"):
            session.commit(message="", author="")


def test_names_that_are_not_there_are_said(archive):
    deposit(archive, {"recording.nwb": b"x"})
    with pytest.raises(NotFound, match="there is no vault 'nowhere'"):
        list(archive.memories("nowhere"))
    with pytest.raises(NotFound, match="no memory 'nothing'"):
        archive.version(Address("vault", "nothing"))
    with pytest.raises(NotFound, match="has no version 7"):
        archive.version(MEMORY.at(7))
    with pytest.raises(NotFound, match="did you mean 'recording.nwb'"):
        archive.artifact(MEMORY.of("recordng.nwb"))


def test_another_identity_is_denied(place):
    stranger = Identity.from_entropy(b"somebody else's 32 byte entropy!")
    with pytest.raises(Denied, match=f"identity {stranger.fingerprint} cannot open this archive"):
        place.open(identity=stranger)


def test_a_missing_archive_says_how_to_make_one():
    with pytest.raises(NotFound, match="engram init"):
        Place().open()


def test_an_archive_is_not_made_twice(place):
    with pytest.raises(AlreadyExists, match="there is an archive"):
        place.create()


def test_a_vault_is_not_made_twice_and_of_two_racers_one_wins(place):
    with place.open() as one, place.open() as other:

        def create(archive) -> bool:
            try:
                archive.create_vault("contested")
            except AlreadyExists:
                return False
            return True

        with ThreadPoolExecutor(2) as threads:
            assert sorted(threads.map(create, (one, other))) == [False, True]
        assert [vault.name for vault in one.vaults()] == ["contested", "vault"]


def test_a_range_of_a_large_artifact_reads_little(place):
    data = pseudo_random(64_000_000)
    with place.open() as archive:
        deposit(archive, {"large": data})
    meters = []

    def meter(backend):
        meters.append(Metered(backend))
        return meters[-1]

    # Where content is cut follows from the vault's key, so a single range may lie across two long pieces.
    for start in (11_000_000, 31_000_000, 51_000_000):
        with place.open(through=meter) as archive:
            pieces = archive.read(MEMORY.of("large"), start=start, stop=start + 1_000_000)
            assert b"".join(pieces) == data[start : start + 1_000_000]
    read = [meter.usage("get").bytes_out for meter in meters]
    assert sorted(read)[1] < 3_000_000


def test_every_range_is_exact(archive):
    data = pseudo_random(5_000_000)
    deposit(archive, {"x": data})
    address = MEMORY.of("x")
    edges = [0, 1, 499_999, 524_288, 524_289, 1_000_000, 4_999_999, 5_000_000]
    for start in edges:
        for stop in edges:
            if start <= stop:
                assert b"".join(archive.read(address, start=start, stop=stop)) == data[start:stop]
    with pytest.raises(InvalidInput, match="do not lie in an artifact of 5000000 bytes"):
        list(archive.read(address, start=0, stop=5_000_001))


def only_objects(place: Place, part: str) -> list[str]:
    return [found.key for found in place.backend.list("v/") if f"/{part}/" in found.key]


def test_content_of_a_lost_pack_is_stored_anew(place):
    data = pseudo_random(3_000_000)
    with place.open() as archive:
        deposit(archive, {"x": data})
    pack = max(only_objects(place, "o"), key=lambda key: place.backend.stat(key).size)
    damaged = bytearray(place.backend.get(pack))
    damaged[1_000_000:2_500_000] = bytes(1_500_000)  # more than parity rebuilds
    place.backend.delete(pack)
    place.backend.put_if_absent(pack, damaged)
    with place.open() as archive:
        deposit(archive, {"again": data}, to=Address("vault", "again"))
        assert read(archive, "vault/again:again") == data
        with pytest.raises(Damaged, match="deposit its content again"):
            read(archive, "vault/memory:x")
    place.backend.delete(pack)
    before = stored_bytes(place)
    with place.open() as archive:
        assert read(archive, "vault/again:again") == data
        deposit(archive, {"third": data}, to=Address("vault", "again"))
    assert stored_bytes(place) - before < 40_000  # and found where it is now, beside where it was


def test_nothing_is_committed_behind_a_record_that_cannot_be_read(place):
    with place.open() as archive:
        deposit(archive, {"x": b"1"})
        deposit(archive, {"x": b"2"}, session=SESSION)
    (header,) = [key for key in only_objects(place, "s") if SESSION in key]
    sealed = place.backend.get(header)
    place.backend.delete(header)
    with place.open() as archive:
        with pytest.raises(Damaged, match="cannot be read: restore it from a copy before you deposit"):
            deposit(archive, {"x": b"3"})
        with pytest.raises(Damaged, match="which version"):
            list(archive.memories("vault"))
    place.backend.put_if_absent(header, sealed)
    with place.open() as archive:
        assert read(archive, "vault/memory@2:x") == b"2"
        assert deposit(archive, {"x": b"3"}).address.version == 3


def test_a_session_that_failed_takes_nothing_more_and_can_be_opened_again(place):
    data = pseudo_random(2_000_000)
    with place.open() as archive:
        with archive.open_deposit(MEMORY, session=SESSION) as session:
            session.begin(ArtifactSpec(path="a", size=len(data)))
            session.write(data)
            with pytest.raises(InvalidInput, match="changed during the deposit"):
                session.end(sha256="00" * 32)
            for use in (
                lambda: session.end(sha256=hashlib.sha256(data).hexdigest()),
                lambda: session.commit(message="", author=""),
                lambda: session.begin(ArtifactSpec(path="b", size=0)),
            ):
                with pytest.raises(Precondition, match="has failed"):
                    use()
        assert deposit(archive, {"a": data}, session=SESSION).added == 1
        assert read(archive, "vault/memory:a") == data


def test_many_small_known_files_fit_beside_a_nearly_full_pack(place):
    small = {f"folder/{number:05}": b"the same small file" for number in range(12_000)}
    files = {"big": pseudo_random(61_500_000), **small}
    with place.open() as archive:
        assert deposit(archive, files).added == 12_001
        assert read(archive, "vault/memory:folder/11999") == b"the same small file"
        assert len(list(archive.artifacts(MEMORY.of("folder")))) == 12_000


def test_a_path_is_an_artifact_or_a_folder(archive):
    deposit(archive, {"a/b": b"1"})
    with pytest.raises(InvalidInput, match="'a/b' cannot lie below 'a'"):
        deposit(archive, {"a": b"2"})


def test_a_session_is_open_once_at_a_time(archive, monkeypatch):
    monkeypatch.setattr("engram_server.engine.sessions._CLOSING_S", 0.2)
    with archive.open_deposit(MEMORY, session=SESSION):
        with pytest.raises(Unavailable, match="is open already"):
            archive.open_deposit(MEMORY, session=SESSION)
        others = [archive.open_deposit(MEMORY, session=f"{number:032x}") for number in range(7)]
        with pytest.raises(Exhausted, match="8 deposits are under way"):
            archive.open_deposit(MEMORY, session="ff" * 16)
        for other in others:
            other.close()
    archive.open_deposit(MEMORY, session=SESSION).close()


@pytest.mark.parametrize(
    "call",
    [
        lambda session: session.begin(ArtifactSpec(path="a", size=-1)),
        lambda session: session.begin(ArtifactSpec(path="a", size=0, time_ns=2**70)),
        lambda session: session.begin(ArtifactSpec(path="a", size=0, made_from=("zz",))),
        lambda session: session.begin(ArtifactSpec(path="a", size=0, made_from=("ab" * 32,) * 2000)),
        lambda session: session.begin(ArtifactSpec(path="a", size=0, metadata={"x": float(1), "y": "\udcff"})),
        lambda session: session.commit(message="\udcff", author=""),
        lambda session: session.commit(message="x" * 70_000, author=""),
    ],
)
def test_what_cannot_be_stored_is_refused_before_anything_is(archive, call):
    with archive.open_deposit(MEMORY, session=SESSION) as session, pytest.raises(InvalidInput):
        call(session)
