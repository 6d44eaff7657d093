"""A session is sealed to its vault, and everything else follows from its key."""

from __future__ import annotations

import pytest

from engram_format.encoding import decode, encode
from engram_format.errors import FormatError, Precondition
from engram_format.ids import PackId, SessionId, VaultId
from engram_format.session import SessionHeader, SessionKey


@pytest.fixture(scope="module")
def header(key, vault, session, vault_keys):
    return SessionHeader.make(key, vault=vault, session=session, epoch=0, public=vault_keys.public)


def test_a_session_opens_with_the_vaults_seed(header, key, vault, session, vault_keys):
    again = SessionHeader.from_bytes(header.to_bytes(), vault=vault, session=session)
    assert again == header
    assert again.open(seed=vault_keys.seed) == key


def test_another_reader_opens_the_session(spec_reader, header, key, session, vault_keys):
    assert spec_reader.open_session(header.to_bytes(), vault_keys.seed) == (session.raw, key.secret)


def test_a_session_does_not_open_with_another_seed(header, identity):
    with pytest.raises(Precondition):
        header.open(seed=identity.seed)


def test_a_session_that_lies_elsewhere_is_refused(header, vault, session):
    for elsewhere in [(VaultId(bytes(16)), session), (vault, SessionId(bytes(16)))]:
        with pytest.raises(FormatError, match="belongs to session"):
            SessionHeader.from_bytes(header.to_bytes(), vault=elsewhere[0], session=elsewhere[1])


def test_a_session_whose_fields_were_changed_does_not_open(header, vault, session, vault_keys):
    fields = decode(header.to_bytes(), what="it")
    other = SessionHeader.from_bytes(encode(fields | {5: 1}), vault=vault, session=session)
    with pytest.raises(Precondition):
        other.open(seed=vault_keys.seed)
    for changed in ({5: 2**32}, {2: 2}, {3: b""}, {6: "text"}, {7: 0}):
        with pytest.raises(FormatError):
            SessionHeader.from_bytes(encode(fields | changed), vault=vault, session=session)


def test_a_field_of_a_later_version_is_ignored(header, vault, session):
    fields = decode(header.to_bytes(), what="it")
    assert SessionHeader.from_bytes(encode(fields | {1000: "new"}), vault=vault, session=session) == header


def test_names_and_keys_are_those_of_the_specification(spec_reader, key):
    pack = PackId(b"p" * 32)
    assert key.pack_key(pack) == spec_reader.derive(key.secret, "pack", pack.raw)
    assert key.commitment(pack) == spec_reader.derive(key.secret, "commit", pack.raw)
    for role in ("data", "meta"):
        for number in (0, 1, 2**40):
            assert key.object_name(role, number).raw == spec_reader.object_name(key.secret, role, number)


def test_a_sessions_names_are_all_different(key):
    names = {key.object_name(role, number) for role in ("data", "meta") for number in range(100)}
    assert len(names) == 200


@pytest.mark.parametrize("length", [0, 31, 33])
def test_a_session_key_of_another_length_is_refused(length):
    with pytest.raises(FormatError, match="32 bytes"):
        SessionKey(bytes(length))


def test_a_payload_comes_back_in_its_context_only(key):
    sealed = key.encrypt_payload(b"payload", salt=b"s" * 16, context=b"context")
    assert sealed[:16] == b"s" * 16
    assert key.decrypt_payload(sealed, context=b"context", what="it") == b"payload"
    with pytest.raises(FormatError):
        key.decrypt_payload(sealed, context=b"another", what="it")
    with pytest.raises(FormatError):
        SessionKey(bytes(32)).decrypt_payload(sealed, context=b"context", what="it")


def test_every_flipped_bit_and_every_cut_of_a_payload_is_noticed(key):
    sealed = key.encrypt_payload(b"payload", salt=b"s" * 16, context=b"")
    for bit in range(8 * len(sealed)):
        changed = bytearray(sealed)
        changed[bit // 8] ^= 1 << bit % 8
        with pytest.raises(FormatError, match="does not decrypt"):
            key.decrypt_payload(bytes(changed), context=b"", what="it")
    for length in range(len(sealed)):
        with pytest.raises(FormatError):
            key.decrypt_payload(sealed[:length], context=b"", what="it")


@pytest.mark.parametrize("salt", [b"", b"s" * 15, b"s" * 17])
def test_a_payload_needs_sixteen_bytes_of_salt(key, salt):
    with pytest.raises(FormatError, match="salt"):
        key.encrypt_payload(b"payload", salt=salt, context=b"")
