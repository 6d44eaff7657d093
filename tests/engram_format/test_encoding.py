"""Every value has one encoding, and every other byte string is refused."""

from __future__ import annotations

import math
import struct
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engram_format.encoding import Fields, decode, encode
from engram_format.errors import FormatError

integers = st.integers(-(2**63), 2**64 - 1)
scalars = st.none() | st.booleans() | integers | st.floats(allow_nan=False) | st.text() | st.binary()
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.integers(0, 2**64 - 1), inner, max_size=4)
        | st.dictionaries(st.text(), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(values)
def test_a_value_is_decoded_as_it_was_encoded(value):
    data = encode(value)
    again = decode(data, what="a value")
    assert repr(again) == repr(value) or again == value
    assert encode(again) == data


@given(values)
def test_another_reader_understands_what_is_encoded(spec_reader, value):
    assert spec_reader.decode_cbor(encode(value)) == value


@given(st.binary(max_size=24))
def test_bytes_are_refused_or_are_the_one_encoding_of_their_value(data):
    try:
        value = decode(data, what="a value")
    except FormatError:
        return
    assert encode(value) == data


@given(values, st.binary(min_size=1, max_size=3))
def test_trailing_bytes_are_refused(value, rest):
    with pytest.raises(FormatError):
        decode(encode(value) + rest, what="a value")


@given(values.filter(lambda value: len(encode(value)) > 1))
def test_every_beginning_of_an_encoding_is_refused(value):
    data = encode(value)
    for length in range(len(data)):
        with pytest.raises(FormatError):
            decode(data[:length], what="a value")


LONGER_FORMS = [
    "1800",
    "1817",
    "190017",
    "1900ff",
    "1a0000ffff",
    "1b00000000ffffffff",
    "3800",
    "5800",
    "590001ff",
    "780161",
]
INDEFINITE = ["5f4100ff", "7f6161ff", "9f00ff", "bf0000ff", "9fff", "bfff", "ff", "a19f01ff"]
TAGS = {
    "bignum": "c249010000000000000000",
    "small bignum": "c24101",
    "negative bignum": "c34101",
    "datetime text": "c074323031332d30332d32315432303a30343a30305a",
    "datetime number": "c11a514b67b0",
    "decimal": "c4820102",
    "bigfloat": "c5820102",
    "rational": "d81e820102",
    "pattern": "d8236161",
    "uuid": "d82550" + "00" * 16,
    "set": "d901028101",
    "shared value": "d81c80",
    "cyclic value": "d81c81d81d00",
    "self-described": "d9d9f701",
    "unknown": "da00010000f6",
    "tagged key": "a1c2410100",
}
TOO_LARGE = ["3b8000000000000000", "3bffffffffffffffff"]
FLOATS = {
    "double for half": "fb3ff0000000000000",
    "single for half": "fa3f800000",
    "double for single": "fb3ff0000020000000",
    "NaN with payload": "f97e01",
    "signalling NaN": "f97d00",
    "negative NaN": "f9fe00",
    "NaN in single": "fa7fc00000",
    "NaN in double": "fb7ff8000000000000",
    "NaN in double with payload": "fb7ff8000000000001",
    "infinity in single": "fa7f800000",
    "minus zero in single": "fa80000000",
}
KEYS = {
    "twice": "a2616101616102",
    "integer twice": "a201010102",
    "unsorted": "a202010101",
    "longer text first": "a262616101616202",
    "mixed": "a20101616102",
    "bytes": "a1416100",
    "null": "a1f600",
    "truth value": "a1f500",
    "float": "a1f93c0000",
    "array": "a18000",
    "map": "a1a000",
    "negative": "a12000",
}
OTHER = {
    "undefined": "f7",
    "simple value": "e0",
    "simple value of two bytes": "f8ff",
    "reserved length": "1c",
    "text that is not UTF-8": "62c328",
    "surrogate": "63eda080",
    "nothing": "",
    "array that declares 2^64 - 1 items": "9bffffffffffffffff",
    "map that declares 2^60 pairs": "bb1000000000000000",
    "bytes that declare 2^63 - 1": "5b7fffffffffffffff",
    "text that declares 2^63 - 1": "7b7fffffffffffffff",
}


def _cases():
    for name, group in [("longer form", LONGER_FORMS), ("indefinite length", INDEFINITE), ("too large", TOO_LARGE)]:
        yield from (pytest.param(text, id=f"{name} {text}") for text in group)
    for name, group in [("tag", TAGS), ("float", FLOATS), ("key", KEYS), ("other", OTHER)]:
        yield from (pytest.param(text, id=f"{name}: {what}") for what, text in group.items())


@pytest.mark.parametrize("text", list(_cases()))
def test_what_encode_would_not_write_is_refused(text):
    with pytest.raises(FormatError, match="a value is damaged"):
        decode(bytes.fromhex(text), what="a value")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (23, "17"),
        (24, "1818"),
        (2**64 - 1, "1bffffffffffffffff"),
        (-(2**63), "3b7fffffffffffffff"),
        (1.0, "f93c00"),
        (-0.0, "f98000"),
        (math.inf, "f97c00"),
        (math.nan, "f97e00"),
        (100000.0, "fa47c35000"),
        (1.1, "fb3ff199999999999a"),
        ({10: 0, 9: 1, 256: 2, 24: 3}, "a409010a0018180319010002"),
        ({"b": 0, "aa": 1, "a": 2}, "a361610261620062616101"),
    ],
)
def test_the_encoding_of_a_value_is_that_of_the_rfc(value, text):
    assert encode(value).hex() == text
    again = decode(bytes.fromhex(text), what="a value")
    assert again == value or math.isnan(value)


@given(st.floats(width=64))
def test_a_float_keeps_its_bits(number):
    again = decode(encode(number), what="a number")
    assert struct.pack(">d", again) == struct.pack(">d", number) or math.isnan(number)


def _nested(depth: int, innermost: object) -> object:
    value = innermost
    for level in range(depth):
        value = [value] if level % 2 else {1: value}
    return value


def _nested_bytes(depth: int) -> bytes:
    return b"\x81" * depth + b"\x00"


def test_sixteen_levels_may_be_nested_and_no_more():
    for innermost in (0, b"", "text", None):
        assert decode(encode(_nested(16, innermost)), what="a value") == _nested(16, innermost)
        with pytest.raises(ValueError, match="too deeply"):
            encode(_nested(17, innermost))
    with pytest.raises(ValueError, match="too deeply"):
        encode(_nested(16, []))
    with pytest.raises(FormatError):
        decode(b"\x81" * 16 + b"\x80", what="a value")


@pytest.mark.parametrize("depth", [17, 100, 10_000, 1_000_000])
def test_deep_nesting_is_refused(depth):
    with pytest.raises(FormatError):
        decode(_nested_bytes(depth), what="a value")


@pytest.mark.parametrize(
    "value", [2**64, -(2**63) - 1, {1: 0, "a": 0}, {-1: 0}, {True: 0}, {1.0: 0}, {b"a": 0}, object(), {1, 2}, "\ud800"]
)
def test_what_cannot_be_stored_is_not_encoded(value):
    with pytest.raises(ValueError):
        encode(value)


def _fields(value, known=range(1, 4)) -> Fields:
    return Fields(value, what="an object", known=known)


def test_an_unknown_field_is_refused_and_one_from_a_thousand_on_ignored():
    assert _fields({1: 5, 1000: 0, 2**63: "later"}).integer(1) == 5
    for unknown in (0, 4, 999):
        with pytest.raises(FormatError, match=f"unknown field {unknown}"):
            _fields({1: 5, unknown: 0})


@pytest.mark.parametrize("value", [[], "text", {"a": 1}, None, 5])
def test_fields_want_a_map_with_integer_keys(value):
    with pytest.raises(FormatError, match="not a map"):
        _fields(value)


@pytest.mark.parametrize(
    ("getter", "wrong"),
    [
        (lambda fields: fields.integer(1), [True, -1, 1.0, "1", None]),
        (lambda fields: fields.signed(1), [True, 1.0, "1", None]),
        (lambda fields: fields.flag(1), [0, 1, None]),
        (lambda fields: fields.text(1), [b"", 0, None]),
        (lambda fields: fields.raw(1), ["", 0, None]),
        (lambda fields: fields.raw(1, 2), [b"", b"a", b"abc"]),
        (lambda fields: fields.array(1), [b"", {}, None]),
        (lambda fields: fields.raws(1, 2), [[b"a"], [b"ab", b"abc"], ["ab"], b"ab"]),
        (lambda fields: fields.mapping(1), [{1: 0}, [], None]),
    ],
)
def test_a_field_of_another_type_is_refused_and_so_is_a_missing_one(getter, wrong):
    for value in wrong:
        with pytest.raises(FormatError, match="field 1 is not"):
            getter(_fields({1: value}))
    with pytest.raises(FormatError, match="field 1 is not"):
        getter(_fields({2: 0}))


@pytest.mark.timeout(20)
@pytest.mark.parametrize("tag", [2, 4, 30, 35, 258])
def test_a_tag_is_refused_before_time_is_spent_on_what_it_holds(tag):
    big = bytes([0xC2, 0x5A]) + (2_000_000).to_bytes(4, "big") + b"\xff" * 2_000_000
    pair = b"\x82\x01" + big
    text = bytes([0x7A]) + (500_000).to_bytes(4, "big") + b"(a|b)" * 100_000
    body = {2: big[1:], 4: pair, 30: pair, 35: text, 258: b"\x81" + big}[tag]
    head = bytes([0xC0 + tag]) if tag < 24 else (bytes([0xD8, tag]) if tag < 256 else b"\xd9" + tag.to_bytes(2, "big"))
    with pytest.raises(FormatError):
        decode(head + body, what="a hostile value")


@pytest.mark.parametrize("item", [b"\x80", b"\xa0", b"\x00", b"\x60"], ids=["arrays", "maps", "numbers", "texts"])
def test_more_values_than_may_be_held_are_refused_before_they_are_made(item):
    count = 2**22
    tracemalloc.start()
    try:
        with pytest.raises(FormatError, match="more than 2097152 values"):
            decode(b"\x9a" + count.to_bytes(4, "big") + item * count, what="a plan")
        assert tracemalloc.get_traced_memory()[1] < 16 * 2**20  # 8 MiB are the bytes themselves
    finally:
        tracemalloc.stop()


def test_long_bytes_and_texts_are_one_value_each():
    value: list[bytes | str] = [bytes(3 * 2**20), "x" * (3 * 2**20), b"", "y" * 255, bytes(256)]
    assert decode(encode(value), what="a plan") == value


def test_what_is_cut_inside_long_bytes_is_no_value():
    with pytest.raises(FormatError):
        decode(encode([bytes(3 * 2**20)])[:-1], what="a plan")
