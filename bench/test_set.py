"""Write the test set of the comparisons: two recordings, three students, and second versions of the recordings.

    python bench/test_set.py FOLDER [--seconds 54]

`first/` has `recording.nwb` (int16, contiguous), `recording_gzip.nwb` (another recording, in gzip-4 chunks of 1 s x 64
channels) and the weights of a student, float32, valid ONNX: `base.onnx`, `tuned_end.onnx` (the last third of its layers changed
a little) and `tuned_all.onnx` (all of them). `second/` has the recordings again, with metadata edited and 2 % appended: the
contiguous one as an exporter writes it anew, the chunked one as h5py appends in place. 54 seconds make 470 MB in `first/`. The same
seconds always give the same samples and weights.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

import extracellular
import h5py
import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

CONTIGUOUS, CHUNKED = "recording.nwb", "recording_gzip.nwb"
SERIES = "/acquisition/ElectricalSeries"
CLASSES = {
    "int16": (CONTIGUOUS,),
    "gzip-4": (CHUNKED,),
    "weights": ("base.onnx", "tuned_end.onnx", "tuned_all.onnx"),
}
"""The files of `first/` by what they hold."""

_APPENDED = 0.02
_WEIGHT_BYTES_PER_S = 40 * 2**20 / 54
_LAYER_WIDTHS = (48, 256, 512, 768, 1024, 1536)
_TUNING = 1e-3
"""Standard deviation of a change, in those of the layer's weights."""

Weights = list[NDArray[np.float32]]


def write(folder: Path, *, seconds: float) -> None:
    """Write `first/` and `second/` below a folder."""
    first, second = folder / "first", folder / "second"
    for place in (first, second):
        place.mkdir(parents=True)
    for name, seed in ((CONTIGUOUS, 20_260_101), (CHUNKED, 20_260_102)):
        samples = extracellular.recording(seconds * (1 + _APPENDED), seed=seed)
        count = round(seconds * extracellular.RATE_HZ)
        _write_recording(first / name, samples[:count], chunked=name == CHUNKED)
        if name == CHUNKED:
            shutil.copyfile(first / name, second / name)
            _append(second / name, samples[count:])
        else:
            _write_recording(second / name, samples, chunked=False)
        _edit(second / name)
    for name, weights in zip(CLASSES["weights"], _students(round(seconds * _WEIGHT_BYTES_PER_S)), strict=True):
        _write_student(first / name, weights)


def _write_recording(path: Path, samples: NDArray[np.int16], *, chunked: bool) -> None:
    storage = {"chunks": (extracellular.RATE_HZ, extracellular.CHANNELS), "maxshape": (None, extracellular.CHANNELS)}
    with h5py.File(path, "w") as file:
        file.attrs["nwb_version"] = "2.7.0"
        file.attrs["neurodata_type"] = "NWBFile"
        file["identifier"] = path.stem
        file["session_description"] = "generated session, first take" + " " * 200
        file["session_start_time"] = "2026-01-01T10:00:00+00:00"
        file["general/subject/subject_id"] = "mouse-01"
        series = file.create_group(SERIES)
        series.attrs["neurodata_type"] = "ElectricalSeries"
        compressed = storage | {"compression": "gzip", "compression_opts": 4} if chunked else {}
        data = series.create_dataset("data", data=samples, **compressed)
        data.attrs["conversion"], data.attrs["unit"] = extracellular.STEP_UV * 1e-6, "volts"
        series["starting_time"] = 0.0
        series["starting_time"].attrs["rate"] = float(extracellular.RATE_HZ)
        times = np.random.default_rng(5).uniform(0, len(samples) / extracellular.RATE_HZ, 20_000)
        file["units/spike_times"] = np.sort(times)


def _append(path: Path, samples: NDArray[np.int16]) -> None:
    with h5py.File(path, "r+") as file:
        data = file[f"{SERIES}/data"]
        before = len(data)
        data.resize(before + len(samples), axis=0)
        data[before:] = samples


def _edit(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        del file["session_description"]
        file["session_description"] = "generated session, notes corrected" + "." * 300
        file["general/subject/age"] = "P90D"


def _students(size: int) -> tuple[Weights, Weights, Weights]:
    """Return the layers of three students with `size` bytes of weights each or a little more: each (width, width)."""
    chance = np.random.default_rng(77)
    base: Weights = []
    while sum(layer.nbytes for layer in base) < size:
        width = int(chance.choice(_LAYER_WIDTHS))
        scale = np.float32(chance.uniform(0.01, 0.06))
        base.append(scale * chance.standard_normal((width, width), np.float32))
    kept = len(base) * 7 // 10
    return base, base[:kept] + _tuned(base[kept:], chance), _tuned(base, chance)


def _tuned(layers: Weights, chance: np.random.Generator) -> Weights:
    return [
        layer + np.float32(_TUNING) * layer.std() * chance.standard_normal(layer.shape, np.float32) for layer in layers
    ]


def _write_student(path: Path, layers: Weights) -> None:
    """Write a network in which each layer turns an input of its own into an output of its own."""
    nodes, inputs, outputs, weights = [], [], [], []
    for number, layer in enumerate(layers):
        name = f"layer{number:03d}"
        nodes.append(helper.make_node("MatMul", [f"{name}.in", f"{name}.weight"], [f"{name}.out"]))
        inputs.append(helper.make_tensor_value_info(f"{name}.in", TensorProto.FLOAT, [1, len(layer)]))
        outputs.append(helper.make_tensor_value_info(f"{name}.out", TensorProto.FLOAT, [1, len(layer)]))
        weights.append(onnx.numpy_helper.from_array(layer, f"{name}.weight"))
    model = helper.make_model(helper.make_graph(nodes, path.stem, inputs, outputs, weights))
    onnx.checker.check_model(model)
    onnx.save(model, path)


def main() -> None:
    """Write the set and print what it is."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seconds", type=float, default=54.0)
    options = parser.parse_args()
    write(options.folder, seconds=options.seconds)
    for path in sorted(options.folder.rglob("*.*")):
        print(f"{path.stat().st_size / 1e6:8.1f} MB  {path.relative_to(options.folder)}")


if __name__ == "__main__":
    main()
