"""NumPy's files are planned by their headers: the numbers are those of `numpy.load`, and a header that lies costs the series."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
from engram_testing.series_reader import NOWHERE, check_planned, fuzz, mutations, numbers, plan_bytes, series_of
from hypothesis import given, settings
from hypothesis import strategies as st

from engram_layout import ArraySegment, OpaqueSegment
from engram_layout.npy import plan_npy, plan_npz

NUMERIC = [
    "?",
    *(
        f"{order}{code}"
        for order in "<>"
        for code in ("i2", "i4", "i8", "u2", "u4", "u8", "f2", "f4", "f8", "c8", "c16")
    ),
    "i1",
    "u1",
]


def saved(array: np.ndarray, **options: bool) -> bytes:
    sink = io.BytesIO()
    np.save(sink, array, **options)
    return sink.getvalue()


def headed(text: str, content: bytes = bytes(4000), *, version: int = 1) -> bytes:
    """An array file whose header is `text`."""
    width = 2 if version == 1 else 4
    return b"\x93NUMPY" + bytes([version, 0]) + len(text).to_bytes(width, "little") + text.encode() + content


def told(descr: object = "<i2", order: object = False, shape: object = (2000,)) -> str:
    return repr({"descr": descr, "fortran_order": order, "shape": shape})


@pytest.mark.parametrize("code", NUMERIC)
@pytest.mark.parametrize("shape", [(), (1,), (1500,), (700, 3), (7, 30, 5)])
def test_the_numbers_are_those_that_numpy_loads(code: str, shape: tuple[int, ...]):
    array = np.random.default_rng(1).integers(0, 100, shape).astype(code)
    data = saved(array)
    planned = plan_bytes(plan_npy, data)
    check_planned(planned, size=len(data))
    series = series_of(planned)["/array"]
    assert series.info.shape == shape
    np.testing.assert_array_equal(numbers(data, series), array)
    assert numbers(data, series).dtype == array.dtype


def test_an_array_is_cut_between_its_rows():
    data = saved(np.zeros((900, 6), "<f4"))
    planned = plan_bytes(plan_npy, data)
    (array,) = planned.plan.arrays
    assert (array.dtype, array.lag, array.row) == ("<f4", 6, 24)
    assert [type(segment) for segment in planned.plan.segments] == [OpaqueSegment, ArraySegment]


def test_fortran_order_of_three_axes_is_no_series_whose_axes_would_be_exchanged():
    planned = plan_bytes(plan_npy, saved(np.zeros((90, 20, 20), order="F")))
    assert planned.plan.description.series == ()
    assert "Fortran order" in planned.warnings[0]
    assert len(planned.plan.arrays) == 1


def test_time_is_the_last_stored_axis_in_fortran_order():
    array = np.asfortranarray(np.arange(6000).reshape(2000, 3))
    data = saved(array)
    series = series_of(plan_bytes(plan_npy, data))["/array"]
    assert (series.info.shape, series.info.time_axis) == ((3, 2000), 1)
    assert series.info.view_shape == array.shape
    np.testing.assert_array_equal(numbers(data, series).T, array)


@pytest.mark.parametrize(
    "array",
    [
        np.zeros(900, [("t", "<f8"), ("code", ">i2")]),
        np.array(["spike", "bars"] * 500),
        np.zeros(900, "<M8[ns]"),
        np.zeros(900, np.longdouble),
        np.zeros(900, "V7"),
    ],
    ids=["records", "texts", "dates", "long doubles", "bytes"],
)
def test_what_is_no_number_is_bytes_of_a_fixed_length(array: np.ndarray):
    data = saved(array)
    series = series_of(plan_bytes(plan_npy, data))["/array"]
    assert series.info.dtype == f"|V{array.dtype.itemsize}"
    assert not series.info.is_numeric
    assert numbers(data, series).tobytes() == array.tobytes()


def test_byte_strings_keep_their_type():
    assert series_of(plan_bytes(plan_npy, saved(np.array([b"abc"] * 900))))["/array"].info.dtype == "|S3"


def test_a_file_that_is_cut_off_keeps_its_whole_rows():
    planned = plan_bytes(plan_npy, saved(np.zeros((900, 6), "<f4"))[:-1])
    assert series_of(planned)["/array"].info.shape == (899, 6)
    assert planned.warnings == ("the file is cut off: of 900 rows 899 are there",)
    fortran = plan_bytes(plan_npy, saved(np.zeros((900, 6), order="F"))[:-1])
    assert fortran.plan.description is None


def test_what_follows_the_array_is_told():
    planned = plan_bytes(plan_npy, saved(np.zeros(900)) + b"more")
    assert planned.warnings == ("4 bytes behind the array are none of it",)
    assert planned.plan.segments[-1] == OpaqueSegment(planned.plan.size - 4, 4)


def test_timestamps_of_open_ephys_are_in_seconds(tmp_path: Path):
    folder = tmp_path / "continuous" / "Probe-100.ProbeA-AP"
    folder.mkdir(parents=True)
    (tmp_path / "structure.oebin").write_text("{}")
    series = series_of(plan_bytes(plan_npy, saved(np.arange(900) / 30_000), folder / "timestamps.npy"))
    assert series["/timestamps"].info.unit == "s"
    series = series_of(plan_bytes(plan_npy, saved(np.arange(900)), folder / "sample_numbers.npy"))
    assert series["/sample_numbers"].info.unit == ""


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(saved(np.array([{}, []], dtype=object), allow_pickle=True), id="objects"),
        pytest.param(headed(told(shape=(-1,))), id="negative size"),
        pytest.param(headed(told(shape=(True,))), id="truth value as size"),
        pytest.param(headed(told(shape=(2**62, 2**62))), id="size beyond all bounds"),
        pytest.param(headed(told(shape=[5])), id="shape as a list"),
        pytest.param(headed(told(shape=(1,) * 40)), id="forty axes"),
        pytest.param(headed(told(order=1)), id="order as a number"),
        pytest.param(headed(told(descr="|O8")), id="object type"),
        pytest.param(headed(told(descr="<q9")), id="unknown type"),
        pytest.param(headed(told(descr="V999999999")), id="elements of a gigabyte"),
        pytest.param(headed(told(descr="<U0")), id="empty texts"),
        pytest.param(headed(told(descr=[("a",)])), id="half a field"),
        pytest.param(headed(told(descr=7)), id="number as a type"),
        pytest.param(headed("(" * 900), id="open brackets"),
        pytest.param(headed("-" * 9000 + "1"), id="nine thousand signs"),
        pytest.param(headed("{'descr': '<i2'}"), id="no shape"),
        pytest.param(headed("{[]: 1}"), id="list as a key"),
        pytest.param(headed("__import__('os')"), id="a call"),
        pytest.param(headed(" " * 20_000, version=2), id="header of 20,000 bytes"),
        pytest.param(headed("\xff", version=3)[:-4001] + b"\xff" * 20, id="no utf-8"),
        pytest.param(headed(told(shape=()), b"\0"), id="scalar cut off"),
    ],
)
def test_a_header_that_lies_makes_the_file_opaque(data: bytes):
    planned = plan_bytes(plan_npy, data)
    assert planned.plan.segments == (OpaqueSegment(0, len(data)),)
    assert planned.warnings


def test_a_file_cut_at_any_byte_of_its_header_is_opaque():
    data = saved(np.arange(900))
    for length in range(128):
        assert plan_bytes(plan_npy, data[:length]).plan.description is None


def test_an_archive_of_stored_arrays_has_them_as_series():
    arrays = {
        "stimulus": np.arange(3000.0).reshape(-1, 3),
        "spikes": np.arange(5, dtype=">i4"),
        "empty": np.zeros((0, 4)),
    }
    sink = io.BytesIO()
    np.savez(sink, **arrays)
    data = sink.getvalue()
    planned = plan_bytes(plan_npz, data)
    check_planned(planned, size=len(data))
    series = series_of(planned)
    assert list(series) == ["/stimulus", "/spikes", "/empty"]
    for name, array in arrays.items():
        np.testing.assert_array_equal(numbers(data, series[f"/{name}"]), array)
    assert [array.name for array in planned.plan.arrays] == ["/stimulus"]


def test_compressed_members_stay_opaque():
    sink = io.BytesIO()
    np.savez_compressed(sink, a=np.zeros(3000))
    with zipfile.ZipFile(sink, "a") as archive:
        archive.writestr("b.npy", saved(np.arange(3000)))
        archive.writestr("notes.txt", b"x" * 4000)
        archive.writestr("broken.npy", b"x" * 4000)
    planned = plan_bytes(plan_npz, sink.getvalue())
    assert list(series_of(planned)) == ["/b"]
    assert planned.warnings[0] == "1 of 4 arrays are compressed and have no series"
    assert "'broken.npy' has no series" in planned.warnings[1]


def test_an_archive_with_long_fields_is_read():
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w") as archive, archive.open("a.npy", "w", force_zip64=True) as member:
        member.write(saved(np.arange(3000)))
    data = sink.getvalue()
    np.testing.assert_array_equal(numbers(data, series_of(plan_bytes(plan_npz, data))["/a"]), np.arange(3000))


def archive_bytes() -> bytes:
    sink = io.BytesIO()
    np.savez(sink, a=np.arange(600), b=np.ones((4, 200), "<i2"))
    return sink.getvalue()


def test_an_archive_that_is_cut_off_is_opaque():
    data = archive_bytes()
    for length in range(0, len(data), 7):
        planned = plan_bytes(plan_npz, data[:length])
        assert planned.plan.description is None
        assert planned.warnings


def test_members_that_lie_in_the_same_bytes_are_refused():
    data = bytearray(archive_bytes())
    first, second = data.index(b"PK\x01\x02"), data.rindex(b"PK\x01\x02")
    data[second + 42 : second + 46] = data[first + 42 : first + 46]
    data[second + 46] = data[first + 46]
    assert "same bytes" in plan_bytes(plan_npz, bytes(data).replace(b"b.npy", b"a.npy")).warnings[0]


def test_two_thousand_mutated_headers_are_opaque_or_described_within_the_file():
    outcomes = fuzz(plan_npy, saved(np.zeros((400, 3), [("t", "<f8"), ("v", "<i2", 3)])), header_bytes=140)
    assert min(outcomes.values()) > 20
    data = archive_bytes()
    directory = data.index(b"PK\x01\x02")
    for mutated in mutations(data[directory:], 2000):
        check_planned(plan_bytes(plan_npz, data[:directory] + mutated), size=directory + len(mutated))


@settings(deadline=None)
@given(
    st.binary(max_size=600), st.sampled_from([b"\x93NUMPY\1\0\x76\0{'descr': '", b"\x93NUMPY\2\0", b"\x93NUMPY\1\0"])
)
def test_any_bytes_behind_the_first_are_opaque_or_covered(content: bytes, magic: bytes):
    data = magic + content
    check_planned(plan_bytes(plan_npy, data), size=len(data))
    for zipped in (b"PK\3\4" + content, b"PK\3\4" + content + archive_bytes()[-22:]):
        check_planned(plan_bytes(plan_npz, zipped, NOWHERE), size=len(zipped))
