"""Arrays become bytes in one way only, and no bytes do harm on the way back."""

from __future__ import annotations

import hashlib
import io
import pickle
import zipfile
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from engram_format.errors import EngramError, Exhausted, InvalidInput
from engram_replay import ONLY_STIMULUS, decode_stimulus, digest_array, digest_arrays, encode_npz

numbers = hnp.arrays(
    st.one_of(hnp.boolean_dtypes(), hnp.integer_dtypes(), hnp.unsigned_integer_dtypes(), hnp.floating_dtypes()),
    hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5),
)
names = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=20).filter(
    lambda name: "\\" not in name
)


def npy(array: np.ndarray) -> bytes:
    sink = io.BytesIO()
    np.save(sink, array)
    return sink.getvalue()


def npz(**arrays: np.ndarray) -> bytes:
    sink = io.BytesIO()
    np.savez_compressed(sink, **arrays)
    return sink.getvalue()


@given(st.dictionaries(names, numbers, min_size=1, max_size=4))
def test_arrays_come_back_from_their_npz(arrays):
    data = encode_npz(arrays)
    assert data == encode_npz(dict(reversed(arrays.items())))
    decoded = decode_stimulus(data)
    assert digest_arrays(decoded) == digest_arrays(arrays)
    assert set(np.load(io.BytesIO(data)).files) == set(arrays)


def test_the_bytes_of_an_npz_are_always_these():
    data = encode_npz({"rate": np.arange(6, dtype=np.float32).reshape(3, 2), "n": np.int64(3)})
    assert hashlib.sha256(data).hexdigest() == "1d5e534f6635ea76db248b62c66b33c3580c2da8845a84f8669f9393c0278dd8"


@given(numbers, st.sampled_from("CF"), st.sampled_from("<>"))
def test_an_array_in_any_order_is_read(array, order: str, endian: str):
    written = np.asarray(array, dtype=array.dtype.newbyteorder(endian), order=order)
    decoded = decode_stimulus(npy(written))[ONLY_STIMULUS]
    np.testing.assert_array_equal(decoded, array)
    assert digest_array(decoded) == digest_array(array)


def test_the_digest_is_what_its_docstring_says():
    array = np.array([[1, 2], [3, 4]], np.int16)
    expected = hashlib.sha256(b"engram-array int16 2,2\n\x01\x00\x02\x00\x03\x00\x04\x00").hexdigest()
    assert digest_array(array) == expected
    assert digest_array(np.asfortranarray(array)) == expected
    assert digest_array(array.astype(">i2")) == expected
    both = f'engram-arrays 2\n{expected} "a\\n"\n{expected} "\\u00e9"\n'
    assert digest_arrays({"é": array, "a\n": array}) == hashlib.sha256(both.encode()).hexdigest()


def test_the_digest_tells_shape_type_and_name_apart():
    array = np.zeros(4, np.float32)
    others = [array.reshape(2, 2), array.view(np.int32), array.astype(np.float64), array[:3]]
    assert len({digest_array(other) for other in [array, *others]}) == 5
    assert digest_arrays({"a": array}) != digest_arrays({"b": array})


@pytest.mark.parametrize("data", [b"", b"text", b"PK\x03\x04", b"\x93NUMPY", b"\x93NUMPY\x01\x00\xff\xff{", bytes(500)])
def test_bytes_that_hold_no_arrays_are_refused(data: bytes):
    with pytest.raises(InvalidInput):
        decode_stimulus(data)


@pytest.mark.parametrize("whole", [npy(np.arange(50.0)), npz(a=np.arange(50.0), b=np.arange(3))])
def test_a_cut_file_is_refused_wherever_it_is_cut(whole: bytes):
    for length in range(len(whole)):
        with pytest.raises(InvalidInput):
            decode_stimulus(whole[:length])


def test_bytes_behind_an_array_are_refused():
    with pytest.raises(InvalidInput, match="cut off or too long"):
        decode_stimulus(npy(np.arange(5)) + b"\0")


class Harm:
    def __reduce__(self):
        return (pytest.fail, ("the stimulus was unpickled",))


def test_nothing_is_unpickled():
    array = np.array([Harm()], dtype=object)
    for data in (npy(array), npz(a=array)):
        with pytest.raises(InvalidInput, match="describes no array of numbers"):
            decode_stimulus(data)
    with pytest.raises(InvalidInput):
        decode_stimulus(pickle.dumps(Harm()))


@pytest.mark.parametrize(
    "array", [np.array(["text"]), np.array([1j]), np.zeros(2, [("a", "f4"), ("b", "i2")]), np.zeros(1, "M8[s]")]
)
def test_arrays_of_other_things_than_numbers_are_refused(array: np.ndarray):
    with pytest.raises(InvalidInput):
        decode_stimulus(npy(array))


def test_a_bomb_is_not_unpacked():
    bomb = npz(a=np.zeros(3_000_000))
    assert len(bomb) < 50_000
    with pytest.raises(Exhausted, match="at most 1000000 may be replayed"):
        decode_stimulus(bomb, max_bytes=1_000_000)
    with pytest.raises(Exhausted):
        decode_stimulus(npy(np.zeros(3000)), max_bytes=1000)


def test_a_bomb_that_lies_about_its_size_is_not_unpacked():
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.npy", npy(np.zeros(3_000_000)))
    honest = (3_000_000 * 8 + 128).to_bytes(4, "little")
    assert sink.getvalue().count(honest) == 2
    with pytest.raises(InvalidInput):
        decode_stimulus(sink.getvalue().replace(honest, (1000).to_bytes(4, "little")), max_bytes=1_000_000)


def test_an_array_that_announces_more_than_it_has_is_refused():
    data = npy(np.zeros(8)).replace(b"(8,), }            ", b"(9999999999999,), }")
    with pytest.raises(InvalidInput, match="announces 79999999999992 bytes"):
        decode_stimulus(data)


def test_a_zip_of_other_things_is_refused():
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w") as archive:
        archive.writestr("readme.txt", "hello")
    with pytest.raises(InvalidInput, match=r"holds 'readme\.txt'"):
        decode_stimulus(sink.getvalue())


def test_an_empty_zip_is_refused():
    with pytest.raises(InvalidInput, match="holds 0 arrays"):
        decode_stimulus(encode_npz({}))


@pytest.mark.parametrize("name", ["", "a\0b"])
def test_a_name_that_a_file_cannot_have_is_refused(name: str):
    with pytest.raises(InvalidInput, match="cannot be saved under the name"):
        encode_npz({name: np.zeros(1)})


@given(st.data())
def test_damaged_bytes_give_arrays_or_one_of_our_errors(data):
    whole = bytearray(
        data.draw(st.sampled_from([npy(np.arange(4.0)), npz(a=np.arange(4.0), b=np.array([True, False]))]))
    )
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    with suppress(EngramError):
        decode_stimulus(bytes(whole), max_bytes=1 << 20)
