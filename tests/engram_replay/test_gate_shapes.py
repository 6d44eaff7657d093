"""What the gate says of shapes and contents, against what the operators' own examples give."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from onnx.backend.test.case.node import collect_testcases

from engram_replay.gate import GateLimits, Refused, check_network
from engram_replay.gate.functions import check_functions
from engram_replay.gate.limits import Gate
from engram_replay.gate.operators import REPLAYED
from engram_replay.gate.shapes import check_shapes
from engram_replay.gate.values import Free, Value

GATE = Gate("it", GateLimits(allow_loops=True))
ONLY_RUNS_TELL = {"Attention", "AveragePool", "Compress", "DFT", "Einsum", "LayerNormalization", "MaxPool", "NonZero"}
ONLY_RUNS_TELL |= {"Resize", "TopK", "Unique"}


class Example:
    """A network of one operator, with inputs and the outputs that ONNX's reference gives."""

    def __init__(self, name: str, model: onnx.ModelProto, inputs: list[Any], outputs: list[Any]) -> None:
        self.name, self.model, self.inputs, self.outputs = name, model, inputs, outputs

    def followed(self, *, stored: bool) -> dict[str, Value]:
        """Return what the gate knows of the values; with `stored`, the inputs are part of the network."""
        made = onnx.ModelProto()
        made.CopyFrom(self.model)
        if stored:
            made.graph.initializer.extend(
                numpy_helper.from_array(array, declared.name)
                for declared, array in zip(made.graph.input, self.inputs, strict=True)
            )
        functions = check_functions(made, GATE)
        return dict(check_shapes(made, functions, opset=made.opset_import[0].version, stored=0, gate=GATE))


def collected() -> Iterator[Example]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        cases = collect_testcases(None)
    for case in cases:
        for inputs, outputs in case.data_sets:
            arrays = [*inputs, *outputs]
            if not all(isinstance(array, np.ndarray) and array.dtype.kind in "biuf" for array in arrays):
                continue
            if 0 in [length for array in inputs for length in array.shape] or len(inputs) < len(case.model.graph.input):
                continue  # the gate takes every axis of free length to have one element
            try:
                check_network(case.model.SerializeToString(), what="it", limits=GATE.limits)
            except Refused:
                continue
            yield Example(case.name, case.model, list(inputs), list(outputs))


@pytest.fixture(scope="module")
def examples() -> list[Example]:
    return list(collected())


def wrong(known: Value, found: np.ndarray) -> bool:
    """Tell whether what is known of a value is not so."""
    if known.type and known.type != onnx.helper.np_dtype_to_tensor_dtype(found.dtype):
        return True
    if known.shape is None:
        return False
    if len(known.shape) != found.ndim or any(
        length.least > max(actual, 1) if isinstance(length, Free) else length != actual
        for length, actual in zip(known.shape, found.shape, strict=True)
    ):
        return True
    if known.items is None:
        return False
    pairs = zip(known.items.reshape(-1).tolist(), found.reshape(-1).tolist(), strict=True)
    return any(item is not None and item != actual for item, actual in pairs)


@pytest.mark.parametrize("stored", [False, True], ids=["as inputs", "as constants"])
def test_what_is_known_of_an_operators_outputs_is_so(examples: list[Example], stored: bool):
    assert len(examples) > 1000
    for example in examples:
        known = example.followed(stored=stored)
        for output, found in zip(example.model.graph.output, example.outputs, strict=True):
            assert not wrong(known[output.name], found), (example.name, known[output.name], found.shape)


def test_shapes_are_known_where_the_inputs_are(examples: list[Example]):
    shown = set()
    for example in examples:
        operator = example.model.graph.node[0].op_type
        shown.add(operator)
        if len(example.model.graph.node) > 1 or operator in ONLY_RUNS_TELL or operator not in REPLAYED:
            continue
        known = example.followed(stored=True)[example.model.graph.output[0].name]
        assert known.shape == example.outputs[0].shape, example.name
    assert len(shown & REPLAYED) > 130


def test_shapes_are_followed_through_a_real_network(silero_bytes: bytes):
    model = check_network(silero_bytes, what="it")
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 2
    model.graph.input[0].type.tensor_type.shape.dim[1].dim_value = 576
    model.graph.input[1].type.tensor_type.shape.dim[1].dim_value = 2
    known = check_shapes(model, {}, opset=15, stored=0, gate=GATE)
    inferred = onnx.shape_inference.infer_shapes(model)
    compared = 0
    for declared in inferred.graph.value_info:
        dims = [axis.dim_value for axis in declared.type.tensor_type.shape.dim]
        shape = known[declared.name].shape
        if shape is not None and all(isinstance(length, int) for length in shape) and dims and all(dims):
            assert list(shape) == dims
            compared += 1
    assert compared > 20
