"""The numbers of every series of an HDF5 file are read from its bytes alone, bit for bit as HDF5 reads them."""

from __future__ import annotations

import ctypes
import io
import os
import subprocess
import sys
import tracemalloc
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import h5py
import numpy as np
import pytest
from engram_testing.series_bytes import UnknownFilterError, array_of, raw_bits
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engram_format.series import MAX_SERIES
from engram_layout import ArraySegment, plan_opaque
from engram_layout.hdf5 import plan_hdf5
from engram_layout.plan import MAX_SEGMENTS, Planned

TESTS = Path(__file__).parents[1]
DTYPES = [
    *("|i1", "|u1", "<i2", ">i2", "<u2", "<i4", ">u4", "<i8", ">i8", "<u8"),
    *("<f2", "<f4", ">f4", "<f8", ">f8", "<c8", ">c16", "?"),
]


def planned(data: bytes) -> Planned:
    """Plan a file and check that its plan survives the pipe."""
    result = plan_hdf5(io.BytesIO(data), size=len(data))
    again = Planned.from_bytes(result.to_bytes())
    assert again.plan.to_bytes() == result.plan.to_bytes()
    return again


def assert_series_are_what_hdf5_reads(data: bytes) -> list[str]:
    """Compare every series; returns the names."""
    result = planned(data)
    names = []
    with h5py.File(io.BytesIO(data), "r") as file:
        description = result.plan.description
        for series in description.series if description else ():
            names.append(series.info.name)
            path = series.info.name
            dataset = file[path] if isinstance(file[path], h5py.Dataset) else file[f"{path}/data"]
            assert dataset.shape == series.info.shape
            try:
                found = array_of(series, data)
            except UnknownFilterError as unknown:
                assert str(unknown) == "lzf"
                continue
            assert found.tobytes() == raw_bits(dataset), path
    return names


@dataclass(frozen=True, repr=False)
class Made:
    """An HDF5 file and the paths of its datasets, all numeric."""

    data: bytes
    names: frozenset[str]
    how: str = ""

    def __repr__(self) -> str:
        return f"{len(self.data)} bytes: {self.how}"


def written(write: Callable[[h5py.File], None], **options) -> bytes:
    """Return the bytes of a file that HDF5 wrote to a disk."""
    with TemporaryDirectory() as folder:
        path = Path(folder, "made.h5")
        with h5py.File(path, "w", **options) as file:
            write(file)
        return path.read_bytes()


@st.composite
def files(draw) -> Made:
    names: set[str] = set()
    options = {
        "userblock_size": draw(st.sampled_from([0, 512, 1024])),
        "libver": draw(st.sampled_from(["earliest", "latest"])),
    }
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    how: list[str] = [str(options)]

    def write(file: h5py.File) -> None:
        for number in range(draw(st.integers(1, 4))):
            name = f"/group{number % 2}/array{number}"
            dtype = np.dtype(draw(st.sampled_from(DTYPES)))
            shape = tuple(draw(st.lists(st.integers(0, 40), min_size=1, max_size=3)))
            values = _values(rng, dtype, shape)
            chunked = draw(st.booleans())
            settings_ = {}
            if chunked:
                settings_ = {
                    "chunks": tuple(draw(st.integers(1, max(1, length + 3))) for length in shape),
                    "maxshape": (None,) * len(shape),
                    "shuffle": draw(st.booleans()),
                    "fletcher32": draw(st.booleans()),
                    "compression": draw(st.sampled_from([None, "lzf", *range(1, 10)])),
                }
                if draw(st.booleans()):
                    settings_["fillvalue"] = _values(rng, dtype, (1,))[0]
            dataset = file.create_dataset(name, shape, dtype, **settings_)
            filled = draw(st.sampled_from(["all", "part", "none"]))
            how.append(f"{name} {dtype} {shape} {settings_} {filled}")
            if filled == "all":
                dataset[...] = values
            elif filled == "part" and values.size:
                half = tuple(slice(0, (length + 1) // 2) for length in shape)
                dataset[half] = values[half]
            if chunked and draw(st.booleans()):
                dataset.resize(tuple(draw(st.integers(0, 2 * length + 1)) for length in shape))
            names.add(name)
            if draw(st.booleans()):
                file[f"/hard{number}"] = dataset
                file[f"/soft{number}"] = h5py.SoftLink(name)
                file[f"/out{number}"] = h5py.ExternalLink("elsewhere.h5", "/x")

    data = written(write, **options)
    return Made(data, frozenset(names), "; ".join(how))


def _values(rng: np.random.Generator, dtype: np.dtype, shape: tuple[int, ...]) -> np.ndarray:
    """Return elements of any bit pattern, among them NaN with payloads and -0.0."""
    count = int(np.prod(shape, dtype=np.int64))
    if dtype.kind == "b":
        return rng.integers(0, 2, shape).astype(bool)
    return np.frombuffer(rng.bytes(count * dtype.itemsize), dtype).reshape(shape)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(files())
def test_every_array_is_rebuilt_from_the_bytes_of_its_file(made: Made):
    found = assert_series_are_what_hdf5_reads(made.data)
    with h5py.File(io.BytesIO(made.data), "r") as file:
        assert {file[name] for name in found} == {file[name] for name in made.names}


def arrays_in(result: Planned) -> list[tuple[int, int, str, tuple[str, ...], int]]:
    """Return length, chunks, element type, filters and lag of every array segment."""
    found = []
    for segment in result.plan.segments:
        if isinstance(segment, ArraySegment):
            array = result.plan.arrays[segment.array]
            filters = tuple(step.name for step in array.filters)
            found.append((segment.length, len(segment.pieces), array.dtype, filters, array.lag))
    return found


@pytest.mark.parametrize(
    ("options", "filters"),
    [
        ({"compression": 4, "shuffle": True}, ("shuffle", "deflate")),
        ({"compression": 1}, ("deflate",)),
        ({"shuffle": True}, ("shuffle",)),
        ({}, ()),
    ],
)
def test_chunks_side_by_side_are_one_segment(options: dict, filters: tuple[str, ...]):
    values = np.random.default_rng(1).integers(0, 1000, (4000, 6), dtype="i2")
    data = written(lambda file: file.create_dataset("x", data=values, chunks=(500, 6), **options))
    found = arrays_in(planned(data))
    assert {entry[2:] for entry in found} == {("<i2", filters, 6)}
    assert sum(entry[1] for entry in found) == (8 if filters else 0)
    assert len(found) <= 2
    with h5py.File(io.BytesIO(data)) as file:
        assert sum(entry[0] for entry in found) == file["x"].id.get_storage_size()


@pytest.mark.parametrize(
    "options", [{"compression": "lzf"}, {"fletcher32": True}, {"compression": 3, "fletcher32": True}]
)
def test_chunks_with_other_filters_are_opaque_and_yet_a_series(options: dict):
    values = np.arange(8000.0)
    data = written(lambda file: file.create_dataset("x", data=values, chunks=(1000,), **options))
    result = planned(data)
    assert arrays_in(result) == []
    assert [series.info.name for series in result.plan.description.series] == ["/x"]


def test_a_chunk_that_skipped_its_filters_is_an_unfiltered_segment():
    values = np.random.default_rng(1).integers(0, 1000, 4000, dtype="i2")

    def write(file: h5py.File) -> None:
        dataset = file.create_dataset("x", data=values, chunks=(2000,), compression=1, shuffle=True)
        dataset.id.write_direct_chunk((2000,), values[2000:].tobytes(), filter_mask=3)

    data = written(write)
    assert {entry[1:] for entry in arrays_in(planned(data))} == {
        (1, "<i2", ("shuffle", "deflate"), 1),
        (0, "<i2", (), 1),
    }
    assert assert_series_are_what_hdf5_reads(data) == ["/x"]


def test_what_has_no_place_of_its_own_is_no_series(tmp_path: Path):
    def write(file: h5py.File) -> None:
        compact = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        compact.set_layout(h5py.h5d.COMPACT)
        space = h5py.h5s.create_simple((4,))
        h5py.h5d.create(file.id, b"compact", h5py.h5t.NATIVE_INT32, space, compact)
        file.create_dataset("texts", data=["one", "two"])
        file.create_dataset("ragged", (3,), h5py.vlen_dtype("i4"))
        file.create_dataset("references", (3,), h5py.ref_dtype)
        file.create_dataset("empty", data=h5py.Empty("f4"))
        file["scalar"] = 3.5
        layout = h5py.VirtualLayout((4,), "i4")
        layout[:] = h5py.VirtualSource("elsewhere.h5", "x", (4,))
        file.create_virtual_dataset("virtual", layout)
        outside = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        outside.set_external(str(tmp_path / "outside").encode(), 0, 16)
        h5py.h5d.create(file.id, b"external", h5py.h5t.NATIVE_INT32, space, outside)
        file.create_dataset("unstored", (2**40, 2**10), "f8", chunks=(1, 1))
        file.create_dataset("number", data=np.arange(1000))

    result = planned(written(write))
    assert [series.info.name for series in result.plan.description.series] == ["/number"]
    assert result.warnings == ()


def test_elements_that_are_no_plain_numbers_are_bytes():
    def write(file: h5py.File) -> None:
        file["records"] = np.zeros(500, [("a", "i4"), ("b", "f8")])
        file["words"] = np.full(500, b"eight888")
        odd = h5py.h5t.NATIVE_INT32.copy()
        odd.set_precision(20)
        h5py.h5d.create(file.id, b"odd", odd, h5py.h5s.create_simple((1000,))).write(
            h5py.h5s.ALL, h5py.h5s.ALL, np.arange(1000, dtype="i4")
        )
        file["truths"] = np.ones(4000, bool)
        file.create_dataset("states", data=np.ones(4000, "u2"), dtype=h5py.enum_dtype({"on": 1, "off": 0}, "u2"))
        file["triples"] = np.zeros(500, [("x", "f4", (3,))])["x"]
        file.create_dataset("wide", data=np.zeros(500, np.longdouble))

    result = planned(written(write))
    dtypes = {
        result.plan.arrays[one.array].name: result.plan.arrays[one.array].dtype
        for one in result.plan.segments
        if isinstance(one, ArraySegment)
    }
    assert dtypes == {
        "/records": "|V12",
        "/words": "|S8",
        "/odd": "|V4",
        "/truths": "|i1",
        "/states": "<u2",
        "/triples": "<f4",
        "/wide": "|V16",
    }
    assert {one.info.name for one in result.plan.description.series} == {"/truths", "/states", "/triples"}


def test_twenty_thousand_datasets_stay_within_the_limits():
    def write(file: h5py.File) -> None:
        for number in range(20_000):
            file.create_dataset(f"d{number}", data=np.arange(3))

    result = planned(written(write, libver="latest"))
    assert len(result.plan.description.series) == MAX_SERIES
    assert any("largest" in warning for warning in result.warnings)


@pytest.mark.nightly
def test_a_million_datasets_stay_within_the_limits():
    def write(file: h5py.File) -> None:
        space = h5py.h5s.create_simple((1,))
        for number in range(1_000_000):
            h5py.h5d.create(file.id, b"d%d" % number, h5py.h5t.NATIVE_INT8, space)

    result = planned(written(write, libver="latest"))
    assert len(result.plan.segments) <= MAX_SEGMENTS
    assert any("objects of this file" in warning for warning in result.warnings)


def test_more_segments_than_a_plan_may_have_leave_the_smallest_opaque(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("engram_layout.hdf5._MAX_ARRAY_SEGMENTS", 5)

    def write(file: h5py.File) -> None:
        for number in range(10):
            file[f"d{number}"] = np.zeros(1000 + number)

    result = planned(written(write))
    assert sorted(entry[0] for entry in arrays_in(result)) == [8 * (1005 + number) for number in range(5)]
    assert len(result.plan.description.series) == 10


def test_a_chunk_that_claims_to_inflate_without_end_is_not_inflated():
    bomb = zlib.compress(bytes(2**28), 9)

    def write(file: h5py.File) -> None:
        dataset = file.create_dataset("x", (1000,), "u1", chunks=(1000,), compression=9)
        dataset.id.write_direct_chunk((0,), bomb)

    data = written(write)
    tracemalloc.start()
    result = planned(data)
    assert tracemalloc.get_traced_memory()[1] < 2**24
    tracemalloc.stop()
    assert arrays_in(result) == [(len(bomb), 1, "|u1", ("deflate",), 1)]


def test_a_truncated_file_is_opaque():
    data = written(lambda file: file.create_dataset("x", data=np.arange(9000)))
    for length in (0, 7, 100, 2000, len(data) // 2, len(data) - 1):
        result = planned(data[:length])
        assert result.plan.segments == plan_opaque(length).segments
        assert "stored as plain bytes" in result.warnings[0]


@pytest.mark.parametrize("libver", ["earliest", "latest"])
def test_a_damaged_file_never_gives_a_number_that_hdf5_does_not_read(tmp_path: Path, libver: str):
    rng = np.random.default_rng(1)

    def write(file: h5py.File) -> None:
        file["a"] = rng.normal(size=300)
        file.create_dataset("g/b", data=rng.integers(0, 99, (64, 8)), chunks=(8, 8), compression=4, shuffle=True)
        file.create_dataset("g/c", data=rng.integers(0, 99, (64, 8), dtype="u1"), chunks=(8, 5), maxshape=(None, 8))
        file.create_dataset("g/d", (100,), "f4", chunks=(10,), fillvalue=3.5)[35:60] = 2
        file.create_dataset("g/e", data=rng.normal(size=64), chunks=(8,), fletcher32=True)

    path = tmp_path / "damaged.h5"
    path.write_bytes(written(write, libver=libver))
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join([str(TESTS), os.environ.get("PYTHONPATH", "")]).rstrip(":")
    }
    lines, seeds = [], 250
    while len(lines) < seeds:
        command = [sys.executable, "-m", "engram_testing.damaged_hdf5", path, str(len(lines)), str(seeds - len(lines))]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, env=environment)
        lines += done.stdout.splitlines()
        # HDF5 may crash on such a file, which is what the limited child is for; our own code may not fail.
        assert done.returncode <= 0, done.stderr
        lines += ["crash 0"] * (done.returncode < 0)
    assert not [line for line in lines if "wrong" in line]
    assert sum(int(line.split()[1]) > 0 for line in lines) > seeds / 2


def test_chunks_at_the_edge_may_be_unfiltered_with_nothing_to_mark_them():
    values = np.arange(1000, dtype="<i4")

    def write(file: h5py.File) -> None:
        creation = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        creation.set_chunk((300,))
        creation.set_shuffle()
        # H5D_CHUNK_DONT_FILTER_PARTIAL_CHUNKS, which h5py does not offer.
        (library,) = {
            line.split()[-1] for line in Path("/proc/self/maps").read_text().splitlines() if "libhdf5-" in line
        }
        ctypes.CDLL(library).H5Pset_chunk_opts(ctypes.c_int64(creation.id), ctypes.c_uint(2))
        space = h5py.h5s.create_simple((1000,), (h5py.h5s.UNLIMITED,))
        dataset = h5py.h5d.create(file.id, b"x", h5py.h5t.STD_I32LE, space, creation)
        dataset.write(h5py.h5s.ALL, h5py.h5s.ALL, values)

    data = written(write, libver="latest")
    assert assert_series_are_what_hdf5_reads(data) == ["/x"]
