"""Keys open what was sealed to them and nothing else (suite, archive keys, vault keys)."""

from __future__ import annotations

import hashlib
import hmac

import pytest
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from engram_format.encoding import encode
from engram_format.errors import FormatError, Precondition
from engram_format.identity import Identity
from engram_format.ids import VaultId
from engram_format.keys import ArchiveKeys, RecipientId, VaultKeys
from engram_format.suite import check_suite, derive, nonce, public_of, seal, unseal


def test_derive_is_hkdf_expand_with_one_block():
    key, context = b"k" * 32, b"c" * 48
    expected = HKDFExpand(SHA256(), 32, b"engram/1/pack\x00" + context).derive(key)
    assert derive(key, "pack", context[:16], context[16:]) == expected


def test_derived_keys_differ_by_label_and_context():
    made = {derive(b"k" * 32, label, bytes([part])) for label in ("pack", "commit", "record") for part in range(8)}
    assert len(made) == 24


def test_a_nonce_is_domain_and_counter_big_endian():
    assert nonce(2, 258).hex() == "000000020000000000000102"


@pytest.mark.parametrize(("version", "suite"), [(0, 1), (2, 1), (1, 0), (1, 2)])
def test_another_format_or_suite_is_refused(version, suite):
    with pytest.raises(FormatError, match=f"format {version}, suite {suite}"):
        check_suite(version, suite, what="an object")


def test_what_is_sealed_opens_with_the_seed_and_the_info(identity):
    sealed = seal(b"secret", to=identity.public, info=b"info")
    assert unseal(sealed, seed=identity.seed, info=b"info", what="it") == b"secret"
    assert len(sealed) == 1120 + len(b"secret") + 16
    other = Identity.from_entropy(bytes(32))
    for seed, info in [(other.seed, b"info"), (identity.seed, b"other"), (identity.seed, b"")]:
        with pytest.raises(Precondition, match="it does not open"):
            unseal(sealed, seed=seed, info=info, what="it")


def test_sealing_twice_shows_nothing_in_common(identity):
    one, other = (seal(b"secret", to=identity.public, info=b"") for _ in range(2))
    assert one != other


def test_no_part_of_what_is_sealed_may_change(identity):
    sealed = seal(b"secret", to=identity.public, info=b"info")
    for place in range(0, len(sealed), 37):
        changed = bytearray(sealed)
        changed[place] ^= 1
        with pytest.raises(Precondition):
            unseal(bytes(changed), seed=identity.seed, info=b"info", what="it")
    for length in (0, 1, 1087, 1088, 1119, 1120, 1136, len(sealed) - 1):
        with pytest.raises(Precondition):
            unseal(sealed[:length], seed=identity.seed, info=b"info", what="it")


@pytest.mark.parametrize("public", [b"", bytes(1216), b"\xff" * 1216, bytes(1215), bytes(1217)])
def test_a_damaged_public_key_is_refused(public):
    with pytest.raises(FormatError, match="public key is damaged"):
        seal(b"secret", to=public, info=b"")


def test_a_public_key_without_its_curve_point_is_refused(identity):
    with pytest.raises(FormatError, match="public key is damaged"):
        seal(b"secret", to=identity.public[:1184] + bytes(32), info=b"")


@pytest.mark.parametrize("length", [0, 32, 95, 97])
def test_a_seed_of_another_length_is_refused(length):
    with pytest.raises(FormatError, match="seed has 96 bytes"):
        public_of(bytes(length))


def test_another_reader_finds_the_same_public_key(spec_reader, identity):
    assert spec_reader.public_key(identity.seed) == identity.public == public_of(identity.seed)
    assert len(identity.public) == 1216


def test_archive_keys_come_back_from_their_wrapping(identity):
    keys = ArchiveKeys.from_entropy(b"e" * 32)
    assert ArchiveKeys.unwrap(keys.wrap(to=identity.public), seed=identity.seed) == keys
    assert keys.tag("retina").raw == hmac.new(keys.name_key, b"retina", hashlib.sha256).digest()[:16]


def test_vault_keys_come_back_from_their_wrapping(identity, vault_keys, vault):
    wrapped = vault_keys.wrap(to=identity.public)
    assert VaultKeys.unwrap(wrapped, seed=identity.seed, vault=vault) == vault_keys
    with pytest.raises(Precondition):
        VaultKeys.unwrap(wrapped, seed=identity.seed, vault=VaultId(bytes(16)))


def test_keys_of_another_suite_are_refused(identity):
    body = encode({1: 1, 2: 2, 3: bytes(32)})
    sealed = seal(body, to=identity.public, info=b"engram/1/archive-keys")
    with pytest.raises(FormatError, match="suite 2"):
        ArchiveKeys.unwrap(sealed, seed=identity.seed)


def test_secrets_do_not_show(identity, vault_keys, key):
    for secret in (identity, vault_keys, ArchiveKeys(bytes(32)), key):
        assert "object at" in repr(secret)


def test_a_vaults_chunking_seed_follows_from_its_id_key(vault_keys):
    first = hmac.new(vault_keys.id_key, b"engram/1/vault/chunking\x00\x01", hashlib.sha256).digest()[:8]
    assert vault_keys.chunking_seed == int.from_bytes(first, "big") // 2


def test_a_fingerprint_is_the_beginning_of_a_sha256(identity):
    assert RecipientId.of(identity.public).raw == hashlib.sha256(identity.public).digest()[:16]
    assert identity.fingerprint == RecipientId.of(identity.public)
