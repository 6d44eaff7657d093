"""Addresses are read in the one form in which they are written."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engram_format.address import Address, ContentAddress, check_name, check_path, parse_any
from engram_format.errors import InvalidInput

names = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}", fullmatch=True)
parts = st.text(st.characters(exclude_categories=["Cc", "Cs"], exclude_characters="/"), min_size=1, max_size=20).filter(
    lambda part: part not in (".", "..") and unicodedata.normalize("NFC", part) == part
)
paths = (
    st.lists(parts, min_size=1, max_size=5).map("/".join).filter(lambda path: unicodedata.is_normalized("NFC", path))
)
versions = st.none() | st.integers(1, 999_999_999)
addresses = st.builds(Address, names) | st.builds(Address, names, names, versions, st.none() | paths)


@given(addresses)
def test_an_address_is_read_as_it_is_written(address):
    assert Address.parse(str(address)) == address
    assert parse_any(str(address)) == address


@given(st.binary(min_size=32, max_size=32))
def test_a_content_address_is_read_as_it_is_written(digest):
    address = ContentAddress(digest.hex())
    assert ContentAddress.parse(str(address)) == address
    assert parse_any(str(address)) == address


@given(st.text(st.sampled_from("av0./@:-_ 3é\n"), max_size=14))
def test_whatever_is_read_is_written_as_it_was(text):
    try:
        address = Address.parse(text)
    except InvalidInput:
        return
    assert str(address) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "/",
        "vault/",
        "/memory",
        "vault@1",
        "vault:path",
        "vault/memory@",
        "vault/memory@0",
        "vault/memory@01",
        "vault/memory@+1",
        "vault/memory@1_0",
        "vault/memory@\u0661",
        "vault/memory@1 ",
        "vault/memory@1@2",
        "vault/memory:",
        "vault/memory/deeper",
        " vault/memory",
        "vault/memory\n",
        ".vault/memory",
        "-vault/memory",
        "vault/" + "m" * 64,
        "v\u00e4ult/memory",
        "vault/memory@12345678901234567890",
    ],
)
def test_another_form_of_address_is_refused(text):
    with pytest.raises(InvalidInput):
        Address.parse(text)


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/absolute",
        "ends/",
        "a//b",
        ".",
        "..",
        "a/../b",
        "a/./b",
        "tab\there",
        "nul\x00",
        "delete\x7f",
        "c1\x85",
        "e\u0301",
        "\udc80",
        "p" * 1025,
        "\u00e9" * 513,
    ],
)
def test_a_path_that_could_be_misread_is_refused(path):
    with pytest.raises(InvalidInput):
        check_path(path)


@pytest.mark.parametrize("path", ["a", "...", "a:b@3", "\u00e9" * 512, "p" * 1024, "with blank/ and \\", "-"])
def test_an_odd_path_is_a_path(path):
    assert check_path(path) == path
    assert Address.parse(f"vault/memory@7:{path}").path == path


@pytest.mark.parametrize(
    "text",
    [
        "sha256:" + "A" * 64,
        "sha256:" + "a" * 63,
        "sha256:" + "a" * 65,
        "sha256:" + "a" * 64 + "\n",
        "SHA256:" + "a" * 64,
        "sha256: " + "a" * 63,
        "sha256:",
    ],
)
def test_another_form_of_content_address_is_refused(text):
    with pytest.raises(InvalidInput):
        ContentAddress.parse(text)


def test_a_version_or_a_path_needs_a_memory():
    with pytest.raises(InvalidInput, match="no memory"):
        Address("vault", None, 3)
    with pytest.raises(InvalidInput, match="no memory"):
        Address("vault", None, None, "path")


def test_versions_are_numbered_from_one():
    with pytest.raises(InvalidInput, match="numbered from 1"):
        Address("vault", "memory", 0)


def test_an_address_moves_to_another_version_or_path():
    address = Address.parse("vault/memory@3:a/b")
    assert str(address.at(None)) == "vault/memory:a/b"
    assert str(address.of(None)) == "vault/memory@3"
    assert str(address.at(4).of("c")) == "vault/memory@4:c"


def test_a_refused_name_is_told_with_its_kind():
    with pytest.raises(InvalidInput, match="'a b' is no vault name"):
        check_name("a b", what="vault")
