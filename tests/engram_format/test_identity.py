"""A key file is read in the one form in which it is written, and opens with its passphrase only."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engram_format.encoding import decode, encode
from engram_format.errors import FormatError, Precondition
from engram_format.identity import Identity, LockCost, is_locked, parse_identity, parse_recipient

CHEAP = LockCost(memory_kib=64, passes=1, lanes=1)
SALT = b"salt of the test"


@pytest.fixture(scope="module")
def locked(identity) -> str:
    return identity.to_locked_text("open sesame", salt=SALT, cost=CHEAP)


def _lock_fields(text: str) -> dict:
    data = text.removeprefix("ENGRAM-IDENTITY-1-LOCKED:")
    return decode(base64.urlsafe_b64decode(data + "=" * (-len(data) % 4)), what="a lock")


def _lock_text(fields: dict) -> str:
    return "ENGRAM-IDENTITY-1-LOCKED:" + base64.urlsafe_b64encode(encode(fields)).decode().rstrip("=")


@given(st.binary(min_size=32, max_size=32))
@settings(max_examples=20)
def test_an_identity_is_read_as_it_is_written(entropy):
    identity = Identity.from_entropy(entropy)
    assert not is_locked(identity.to_text())
    assert parse_identity(identity.to_text(), passphrase=None) == identity
    assert parse_recipient(identity.recipient) == identity.public


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=20))
@settings(max_examples=20)
def test_a_locked_identity_opens_with_its_passphrase(identity, passphrase):
    text = identity.to_locked_text(passphrase, salt=SALT, cost=CHEAP)
    assert is_locked(text)
    assert parse_identity(text, passphrase=passphrase) == identity


def test_a_wrong_passphrase_opens_nothing(locked):
    for wrong in ("", "open sesamE", "open sesame "):
        with pytest.raises(Precondition, match="does not open"):
            parse_identity(locked, passphrase=wrong)


def test_a_locked_identity_asks_for_its_passphrase(locked):
    with pytest.raises(Precondition, match="give its passphrase"):
        parse_identity(locked, passphrase=None)


def test_another_reader_reads_the_same_seed(spec_reader, identity, locked):
    assert spec_reader.read_identity("# a comment\n" + identity.to_text() + "\n") == identity.seed
    assert spec_reader.read_identity(locked, "open sesame") == identity.seed
    costly = identity.to_locked_text("open sesame", salt=SALT, cost=LockCost(memory_kib=300, passes=2, lanes=3))
    assert spec_reader.read_identity(costly, "open sesame") == identity.seed


def test_comments_and_blank_lines_are_for_people(identity):
    text = f"# created for a test\n\n#\n{identity.to_text()}\n\n# end\n"
    assert parse_identity(text, passphrase=None) == identity


@pytest.mark.parametrize(
    "costs",
    [
        {4: 2**32, 5: 3, 6: 4},
        {4: 2**63, 5: 3, 6: 4},
        {4: 4 * 2**20 + 1, 5: 1, 6: 1},
        {4: 64, 5: 2**40, 6: 1},
        {4: 64, 5: 65, 6: 1},
        {4: 64, 5: 0, 6: 1},
        {4: 64, 5: 1, 6: 0},
        {4: 2**20, 5: 1, 6: 65},
        {4: 7, 5: 1, 6: 1},
        {4: 0, 5: 1, 6: 1},
    ],
)
def test_absurd_costs_are_refused_before_any_work(locked, costs):
    with pytest.raises(FormatError, match="impossible costs"):
        parse_identity(_lock_text(_lock_fields(locked) | costs), passphrase="open sesame")


@pytest.mark.parametrize("changed", [{4: 65}, {5: 2}, {4: 128, 6: 2}, {3: b"another salt ..."}])
def test_parameters_of_the_lock_are_bound_to_it(locked, changed):
    with pytest.raises(Precondition, match="does not open"):
        parse_identity(_lock_text(_lock_fields(locked) | changed), passphrase="open sesame")


@pytest.mark.parametrize("changed", [{1: 2}, {2: 2}, {3: b"short"}, {4: "64"}, {7: 0}, {8: 0}, {5: True}])
def test_a_lock_of_another_form_is_refused(locked, changed):
    with pytest.raises(FormatError):
        parse_identity(_lock_text(_lock_fields(locked) | changed), passphrase="open sesame")


def test_a_cut_ciphertext_is_refused(locked):
    fields = _lock_fields(locked)
    for length in (0, 15, 16, 96, 111):
        with pytest.raises(Precondition):
            parse_identity(_lock_text(fields | {7: fields[7][:length]}), passphrase="open sesame")


def _damaged(text: str):
    head, data = text.split(":")
    yield head + ":"
    yield f"{head}:{data}="
    yield f"{head}:{data[:-1]}"
    yield f"{head}:{data}A"
    yield f"{head}: {data}"
    yield f"{head}:{data[:40]}+{data[41:]}"
    yield f"{head}:{data[:40]}*{data[41:]}"
    yield f"{head}:{data[:40]}\u00e9{data[41:]}"
    yield f"{head}:{data[:40]}\n{data[40:]}"
    yield f"{head.lower()}:{data}"
    yield f"{head}{data}"
    yield f"{text}\n{text}"
    yield ""
    yield f"# {text}"


def test_a_damaged_key_file_is_refused(identity):
    for text in _damaged(identity.to_text()):
        with pytest.raises(FormatError):
            parse_identity(text, passphrase=None)


def test_a_damaged_locked_file_is_refused(locked):
    for text in _damaged(locked):
        with pytest.raises(FormatError):
            parse_identity(text, passphrase="open sesame")


def test_unused_bits_of_base64_are_zero():
    text = "ENGRAM-IDENTITY-1:" + "A" * 126 + "AB"
    assert parse_identity(text, passphrase=None).seed[-1] == 1
    recipient = "engram-recipient-1:" + "A" * 1620
    for last in ("AQ", "AB"):
        form = recipient + last
        if last == "AQ":
            assert len(parse_recipient(form)) == 1216
        else:
            with pytest.raises(FormatError, match="not canonical"):
                parse_recipient(form)


def test_a_damaged_recipient_is_refused(identity):
    text = identity.recipient
    for damaged in [
        "",
        text[:-4],
        text + "AAAA",
        text.upper(),
        text.replace(":", ""),
        " " + text,
        text + "\n",
        text + "=",
    ]:
        with pytest.raises(FormatError):
            parse_recipient(damaged)
