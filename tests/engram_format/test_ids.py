"""Identifiers have a fixed length and one text form."""

from __future__ import annotations

import hashlib
import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engram_format.descriptor import ArchiveId
from engram_format.errors import FormatError
from engram_format.ids import ContentId, Digest, ObjectName, PackId, SessionId, VaultId
from engram_format.keys import NameTag, RecipientId

LENGTHS = {ArchiveId: 16, VaultId: 16, SessionId: 16, ObjectName: 16, RecipientId: 16, NameTag: 16, PackId: 32} | {
    ContentId: 32,
    Digest: 32,
}


@pytest.mark.parametrize("kind", LENGTHS)
def test_the_specification_gives_the_length(kind):
    length = LENGTHS[kind]
    assert kind(bytes(length)).raw == bytes(length)
    for other in (0, length - 1, length + 1, 48 - length, 64):
        with pytest.raises(FormatError, match=f"has {length} bytes, not {other}"):
            kind(bytes(other))


@given(
    st.sampled_from(list(LENGTHS)).flatmap(
        lambda kind: st.builds(kind, st.binary(min_size=kind.LENGTH, max_size=kind.LENGTH))
    )
)
def test_an_identifier_is_read_as_it_is_written(identifier):
    assert type(identifier).parse(str(identifier)) == identifier


@pytest.mark.parametrize(
    "text",
    [
        "",
        "A" * 32,
        "a" * 31,
        "a" * 33,
        "a" * 31 + "g",
        "a" * 31 + "\n",
        "a" * 30 + " a",
        "0x" + "a" * 30,
        "a" * 31 + "\u0661",
        "aa " * 10 + "aa",
    ],
)
def test_another_text_is_refused(text):
    with pytest.raises(FormatError, match="lower-case hex"):
        VaultId.parse(text)


def test_identifiers_of_different_kinds_are_not_equal():
    assert VaultId(bytes(16)) != SessionId(bytes(16))


def test_a_content_id_depends_on_the_vault():
    one, other = (ContentId.of(b"frame", id_key=bytes([vault]) * 32) for vault in (1, 2))
    assert one != other
    assert one.raw == hmac.new(b"\x01" * 32, b"frame", hashlib.sha256).digest()


def test_a_digest_is_sha256():
    assert str(Digest.of(b"abc")) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_a_packs_place_begins_with_two_digits_of_its_name():
    assert ObjectName(bytes(range(16))).key == "o/00/000102030405060708090a0b0c0d0e0f"
