"""The numbers of every series of an HDF5 file are read from its bytes alone, bit for bit as HDF5 reads them."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import h5py
import numpy as np
from engram_testing.series_bytes import UnknownFilterError, array_of
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engram_layout.hdf5 import plan_hdf5
from engram_layout.plan import Planned

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


def raw_bits(dataset: h5py.Dataset) -> bytes:
    """Read a dataset through HDF5 with no conversion of its elements."""
    kind = dataset.id.get_type()
    out = np.zeros(dataset.size * kind.get_size(), np.uint8)
    if dataset.size:
        dataset.id.read(h5py.h5s.create_simple((dataset.size,)), dataset.id.get_space(), out, mtype=kind)
    return out.tobytes()


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
