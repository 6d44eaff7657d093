"""Trust: what somebody else has put into the storage or the keystore is not taken for our own, and nothing shows there."""

from __future__ import annotations

import pytest
from engram_testing.archives import MEMORY, Place, deposit

from engram_format.address import Address
from engram_format.errors import (
    AlreadyExists,
    Damaged,
)
from engram_format.history import read_epoch
from engram_format.ids import SessionId, VaultId
from engram_format.keys import ArchiveKeys, VaultKeys
from engram_format.record import Record
from engram_format.session import SessionHeader, SessionKey
from engram_store.memory import MemoryBackend

SESSION = "5e" * 16


@pytest.fixture
def place() -> Place:
    return Place().create()


def only_objects(place: Place, part: str) -> list[str]:
    return [found.key for found in place.backend.list("v/") if f"/{part}/" in found.key]


def test_a_session_that_the_storage_made_up_is_not_gone_on_with(place):
    with place.open() as archive:
        deposit(archive, {"x": b"1"})
    record = Record.from_bytes(place.backend.get(only_objects(place, "log")[0]), seq=0)
    _, public = read_epoch(record.payload, seq=0)
    vault = VaultId.parse(only_objects(place, "log")[0].split("/")[1])
    theirs = SessionHeader.make(
        SessionKey(bytes(32)), vault=vault, session=SessionId.parse(SESSION), epoch=0, public=public
    )
    place.backend.put_if_absent(f"v/{vault}/s/{SESSION}", theirs.to_bytes())
    with place.open() as archive, pytest.raises(Damaged, match="not started by anybody who may read the vault"):
        archive.open_deposit(MEMORY, session=SESSION)


def test_exchanged_vaults_are_noticed(place):
    with place.open() as archive:
        archive.create_vault("other")
    tags = sorted({found.key.split("/")[1] for found in place.keystore.list("vaults/")})
    exchanged = MemoryBackend()
    for found in place.keystore.list(""):
        parts = found.key.split("/")
        if parts[0] == "vaults":
            parts[1] = tags[1 - tags.index(parts[1])]
        exchanged.put_if_absent("/".join(parts), place.keystore.get(found.key))
    place.keystore = exchanged
    with place.open() as archive:
        with pytest.raises(Damaged, match="the key of another vault"):
            archive.version(MEMORY)
        with pytest.raises(Damaged, match="the key of another vault"):
            list(archive.vaults())


def test_keys_that_wait_for_an_archive_are_not_taken_for_its_own():
    place = Place()
    mallory = ArchiveKeys.from_entropy(bytes(32)).wrap(to=place.identity.public)
    place.keystore.put_if_absent(f"archive/{place.identity.fingerprint}", mallory)
    with pytest.raises(AlreadyExists, match="there is a key for this identity"):
        place.create()


def test_a_creation_that_was_cut_is_completed_with_keys_of_ones_own_only(place):
    for own_seed, works in ((place.identity.seed, True), (None, False)):
        name = f"cut-{works}"
        archive_keys = ArchiveKeys.unwrap(
            place.keystore.get(f"archive/{place.identity.fingerprint}"), seed=place.identity.seed
        )
        tag, vault = archive_keys.tag(name), VaultId(bytes([works]) * 16)
        keys = VaultKeys.from_entropy(b"entropy of a vault, 32 bytes....", vault=vault, name=name)
        place.keystore.put_if_absent(f"vaults/{tag}/claim", vault.raw)
        wrapped = keys.wrap(to=place.identity.public, own_seed=own_seed)
        place.keystore.put_if_absent(f"vaults/{tag}/{vault}/00000000/{place.identity.fingerprint}", wrapped)
        with place.open() as archive:
            if works:
                with pytest.raises(Damaged, match="engram vault create cut-True"):
                    list(archive.memories(name))
                assert archive.create_vault(name).vault_id == str(vault)
            else:
                with pytest.raises(Damaged, match="not made by this identity"):
                    archive.create_vault(name)


def test_no_name_and_no_content_shows_in_the_storage(place):
    with place.open() as archive:
        archive.create_vault("subject-of-the-study")
        deposit(
            archive,
            {"a-secret-name.txt": b"a secret content" * 100},
            to=Address("subject-of-the-study", "hidden-memory"),
        )
    everything = b"".join(
        found.key.encode() + backend.get(found.key)
        for backend in (place.backend, place.keystore)
        for found in backend.list("")
        if found.key != "FORMAT.md"
    )
    for word in (b"subject-of-the-study", b"a-secret-name", b"a secret content", b"hidden-memory", b"a test"):
        assert word not in everything
