"""Plan any file: the table from formats to their planners, each imported only when a file of its format comes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import BinaryIO, Final

from engram_layout.detect import Format, detect_format
from engram_layout.opaque import plan_opaque
from engram_layout.plan import Planned

MIN_PLANNED_BYTES: Final = 2048
"""Smaller files are never looked into: their arrays would save less than it costs to describe them."""

_PLANNERS: Final[Mapping[Format, str]] = {
    Format.HDF5: "hdf5:plan_hdf5",
    Format.EDF: "edf:plan_edf",
    Format.BDF: "edf:plan_edf",
    Format.ABF1: "abf:plan_abf",
    Format.ABF2: "abf:plan_abf",
    Format.BRAINVISION_HEADER: "brainvision:plan_brainvision",
    Format.WAV: "wav:plan_wav",
    Format.NPY: "npy:plan_npy",
    Format.NPZ: "npy:plan_npz",
    Format.ONNX: "onnx_weights:plan_onnx",
}
"""Module of this package and its function `(file, *, size, path) -> Planned`."""
_RAW: Final = "raw:plan_raw"
_RAW_SUFFIXES: Final = frozenset({".bin", ".dat", ".eeg", ".avg", ".seg"})


def planner_of(path: Path, *, size: int, head: bytes) -> str:
    """Return `module:function` of the planner for a file, or an empty text if it is opaque without a look.

    `head` is the file's first `HEAD_BYTES`, or all of it. `path` counts only where the bytes say nothing: raw samples
    (`.bin`, `.dat`, BrainVision's `.eeg`) are described by a file beside them.
    """
    if size < MIN_PLANNED_BYTES:
        return ""
    found = detect_format(head, size=size)
    if found is Format.UNKNOWN and path.suffix.lower() in _RAW_SUFFIXES:
        return _RAW
    return _PLANNERS.get(found, "")


def plan_file(file: BinaryIO, *, path: Path, size: int, head: bytes) -> Planned:
    """Return the plan of one file; `path` is where sidecars are looked for beside it.

    Raises whatever a parser raises on a hostile file; `sandbox.PlannerProcess` runs this where that does no harm.
    """
    name = planner_of(path, size=size, head=head)
    if not name:
        return Planned(plan_opaque(size))
    module, _, function = name.partition(":")
    plan: Callable[..., Planned] = getattr(import_module(f"engram_layout.{module}"), function)
    return plan(file, size=size, path=path)
