"""Damage: whatever happens to a stored object, readers return what was deposited, or an error."""

from __future__ import annotations

import random

import pytest
from engram_testing.archives import MEMORY, Place, deposit, pseudo_random, read

from engram_format.address import Address
from engram_format.catalog import FindingKind
from engram_format.errors import Damaged, EngramError
from engram_store.memory import MemoryBackend

FIRST = {"a": pseudo_random(30_000), "b/c": b"text " * 4000}
SECOND = {"a": b"a newer one", "d": b"second"}
EVERYTHING = {
    **{f"vault/memory@1:{path}": data for path, data in FIRST.items()},
    **{f"vault/memory@2:{path}": data for path, data in (FIRST | SECOND).items()},
    **{f"vault/memory:{path}": data for path, data in (FIRST | SECOND).items()},
}


@pytest.fixture(scope="module", params=[True, False], ids=["with parity", "without parity"])
def pristine(request) -> Place:
    place = Place(parity=request.param).create()
    with place.open() as archive:
        deposit(archive, FIRST, message="first")
        deposit(archive, SECOND, message="second")
    return place


def copy_with(place: Place, key: str, value: bytes | None) -> Place:
    """A copy of the storage in which one object is replaced, or missing."""
    backends = []
    for original in (place.backend, place.keystore):
        backend = MemoryBackend()
        for found in original.list(""):
            data = original.get(found.key)
            if found.key == key:
                if value is None:
                    continue
                data = value
            backend.put_if_absent(found.key, data)
        backends.append(backend)
    return Place(backend=backends[0], keystore=backends[1], identity=place.identity, parity=place.parity)


def objects(place: Place) -> list[str]:
    return [
        found.key
        for backend in (place.backend, place.keystore)
        for found in backend.list("")
        if found.key != "FORMAT.md"
    ]


def stored(place: Place, key: str) -> bytes:
    backend = place.backend if key in {found.key for found in place.backend.list("")} else place.keystore
    return backend.get(key)


def everything_read(place: Place) -> dict[str, bytes]:
    """What a reader gets: artifacts by address, or nothing where an error said so."""
    got: dict[str, bytes] = {}
    try:
        archive = place.open()
    except EngramError:
        return got
    with archive:
        for address in EVERYTHING:
            try:
                got[address] = read(archive, address)
            except EngramError as error:
                assert str(error)
                assert "\n" not in str(error)
    return got


def assert_exact(got: dict[str, bytes]) -> None:
    for address, data in got.items():
        assert data == EVERYTHING[address]


def test_an_undamaged_archive_is_read_whole(pristine):
    assert everything_read(pristine) == EVERYTHING


def test_flipped_bits_in_any_object_never_come_back_as_data(pristine):
    chance = random.Random(1)
    for key in objects(pristine):
        data = stored(pristine, key)
        for place in chance.sample(range(len(data)), min(12, len(data))):
            flipped = bytearray(data)
            flipped[place] ^= 1 << chance.randrange(8)
            got = everything_read(copy_with(pristine, key, bytes(flipped)))
            assert_exact(got)
            if "/o/" in key and pristine.parity:
                assert got == EVERYTHING  # rebuilt, not only noticed
            elif "/o/" not in key and key != "archive":
                assert got != EVERYTHING  # nothing of a log record, a session or a key may be changed unnoticed


def test_truncated_objects_never_come_back_as_data(pristine):
    for key in objects(pristine):
        data = stored(pristine, key)
        for length in {0, 1, len(data) // 2, len(data) - 1}:
            assert_exact(everything_read(copy_with(pristine, key, data[:length])))


def test_missing_objects_are_errors_and_never_older_answers(pristine):
    for key in objects(pristine):
        if key == max(name for name in objects(pristine) if "/log/" in name):
            continue  # cutting off the end of a log is the one loss that shows only beside a copy (SPEC.md section 1)
        got = everything_read(copy_with(pristine, key, None))
        assert_exact(got)
        if "/log/" in key or "/s/" in key:
            assert not [address for address in got if "@" not in address]


def test_a_log_that_lost_its_end_is_read_as_it_was_then(pristine):
    last = max(key for key in objects(pristine) if "/log/" in key)
    with copy_with(pristine, last, None).open() as archive:
        assert archive.version(MEMORY).address.version == 1


def test_exchanged_objects_never_come_back_as_data(pristine):
    packs = [key for key in objects(pristine) if "/o/" in key]
    for key in packs:
        for other in packs:
            if other != key:
                assert_exact(everything_read(copy_with(pristine, key, stored(pristine, other))))


def test_damaged_packs_are_read_through_their_parity_and_reported(pristine, caplog):
    packs = [key for key in objects(pristine) if "/o/" in key]
    for key in packs:
        data = bytearray(stored(pristine, key))
        data[200:240] = bytes(40)
        damaged = copy_with(pristine, key, bytes(data))
        with damaged.open() as archive:
            findings = [finding for finding in archive.verify() if finding.result is not FindingKind.SOUND]
        assert findings
        if pristine.parity:
            assert {finding.result for finding in findings} == {FindingKind.REPAIRABLE}
            assert everything_read(damaged) == EVERYTHING
        else:
            assert FindingKind.LOST in {finding.result for finding in findings}


def test_verification_goes_on_behind_what_is_lost(pristine):
    for pack in [key for key in objects(pristine) if "/o/" in key]:
        with copy_with(pristine, pack, None).open() as archive:
            subjects = {finding.subject: finding.result for finding in archive.verify()}
        assert FindingKind.LOST in subjects.values()
        assert len([subject for subject in subjects if ": o/" in subject]) == 4  # every pack is looked at


def test_verification_names_what_is_lost(pristine):
    pack = max((key for key in objects(pristine) if "/o/" in key), key=lambda key: len(stored(pristine, key)))
    with copy_with(pristine, pack, None).open() as archive:
        findings = {finding.subject: finding for finding in archive.verify() if finding.result is not FindingKind.SOUND}
    assert {"vault/memory@1:a", "vault/memory@2:b/c"} <= findings.keys()
    assert any(pack.endswith(subject.partition(": ")[2]) for subject in findings if ": o/" in subject)
    assert all(finding.detail for finding in findings.values())


def test_verification_of_a_sound_archive_reads_every_artifact(pristine):
    with pristine.open() as archive:
        findings = list(archive.verify())
        assert {finding.result for finding in findings} == {FindingKind.SOUND}
        assert {"vault/memory@2:a", "vault/memory@2:b/c", "vault/memory@2:d"} <= {
            finding.subject for finding in findings
        }
        narrow = {finding.subject for finding in archive.verify(Address.parse("vault/memory@2:d"))}
        assert "vault/memory@2:d" in narrow
        assert "vault/memory@2:a" not in narrow


def test_a_log_with_a_hole_takes_no_new_record(pristine):
    hole = sorted(key for key in objects(pristine) if "/log/" in key)[1]
    with copy_with(pristine, hole, None).open() as archive, pytest.raises(Damaged, match="missing record"):
        deposit(archive, {"x": b"1"})


def test_an_unreadable_commit_hides_the_newest_version_but_no_older_one(pristine):
    last = max(key for key in objects(pristine) if "/log/" in key)
    data = bytearray(stored(pristine, last))
    data[-1] ^= 1
    with copy_with(pristine, last, bytes(data)).open() as archive:
        with pytest.raises(Damaged, match="cannot be read"):
            archive.version(MEMORY)
        assert read(archive, "vault/memory@1:a") == FIRST["a"]


@pytest.mark.nightly
@pytest.mark.timeout(3600)
def test_every_single_byte_of_every_object_may_be_damaged(pristine):
    for key in objects(pristine):
        data = stored(pristine, key)
        for place in range(0, len(data), 1 if len(data) < 8192 else 61):
            flipped = bytearray(data)
            flipped[place] ^= 0x10
            assert_exact(everything_read(copy_with(pristine, key, bytes(flipped))))
