"""The planner of a file is chosen by its bytes; by its name only where the bytes say nothing."""

from __future__ import annotations

import io
from pathlib import Path

import h5py
import numpy as np
import pytest

from engram_layout import HEAD_BYTES, plan_opaque
from engram_layout.planning import MIN_PLANNED_BYTES, plan_file, planner_of

HDF5 = b"\x89HDF\r\n\x1a\n\x00"
LARGE = 10 * MIN_PLANNED_BYTES


@pytest.mark.parametrize(
    ("name", "head", "planner"),
    [
        ("a.nwb", HDF5, "hdf5:plan_hdf5"),
        ("a.txt", HDF5, "hdf5:plan_hdf5"),
        ("a.bin", HDF5, "hdf5:plan_hdf5"),
        ("a.mat", b"MATLAB 7.3".ljust(512) + HDF5, "hdf5:plan_hdf5"),
        ("a.wav", b"RIFF\x00\x00\x00\x00WAVE", "wav:plan_wav"),
        ("a.npy", b"\x93NUMPY\x01\x00", "npy:plan_npy"),
        ("a.bin", b"samples", "raw:plan_raw"),
        ("A.DAT", b"samples", "raw:plan_raw"),
        ("a.txt", b"words", ""),
        ("a.vmrk", b"Brain Vision Data Exchange Marker File", ""),
    ],
)
def test_a_planner_is_chosen(name: str, head: bytes, planner: str):
    assert planner_of(Path(name), size=LARGE, head=head) == planner


def test_a_small_file_has_no_planner():
    assert planner_of(Path("a.nwb"), size=MIN_PLANNED_BYTES - 1, head=HDF5) == ""


def test_a_file_without_planner_is_opaque():
    data = b"words " * 10_000
    planned = plan_file(io.BytesIO(data), path=Path("a.txt"), size=len(data), head=data[:HEAD_BYTES])
    assert planned.plan.segments == plan_opaque(len(data)).segments
    assert planned.warnings == ()


def test_an_hdf5_file_goes_to_its_planner(tmp_path: Path):
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file["x"] = np.arange(5000)
    data = path.read_bytes()
    with path.open("rb") as file:
        planned = plan_file(file, path=path, size=len(data), head=data[:HEAD_BYTES])
    assert [series.info.name for series in planned.plan.description.series] == ["/x"]
