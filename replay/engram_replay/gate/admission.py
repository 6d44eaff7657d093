"""Whether a network may be run at all, told from its bytes: before any runtime, and before the checker of ONNX, sees it.

A runtime would read other files on behalf of a network, unfold nested functions without an end, take memory by the terabyte for a
few bytes, or draw random numbers. Each rule has a name (`Rule`) and is checked in Python, with Python's integers and in
time that the limits bound. What only a run can show is left to the limits of the process that runs it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import onnx
from google.protobuf.message import DecodeError

from engram_format.errors import InvalidInput
from engram_replay.gate.attributes import check_attributes
from engram_replay.gate.declared import check_declared, check_versions
from engram_replay.gate.functions import check_functions
from engram_replay.gate.limits import Gate, GateLimits, Rule
from engram_replay.gate.names import check_names
from engram_replay.gate.operators import check_operators
from engram_replay.gate.shapes import check_shapes
from engram_replay.gate.tensors import check_tensors
from engram_replay.gate.walk import check_extent
from engram_replay.gate.wire import check_cost

_DEFAULT: Final = GateLimits()


def check_network(data: bytes, *, what: str, limits: GateLimits = _DEFAULT) -> onnx.ModelProto:
    """Parse a network and return it if it may be replayed; `what` names it in errors.

    Raises `InvalidInput` if the bytes are no ONNX network, and `Refused` with the rule that it breaks otherwise.
    """
    gate = Gate(what, limits)
    if len(data) > limits.max_bytes:
        raise gate.refusal(
            Rule.TOO_MANY_BYTES,
            f"has {len(data)} bytes and at most {limits.max_bytes} can be loaded",
            remedy="raise the bound to replay it",
        )
    check_cost(data, gate)
    try:
        model = onnx.load_model_from_string(data)
    except DecodeError as error:
        raise InvalidInput(f"{what} is no ONNX network, or not the whole of one: deposit the file again") from error
    if not model.HasField("graph") or not model.graph.output:
        raise InvalidInput(f"{what} is no ONNX network: it holds no graph with outputs")
    check_extent(model, gate)
    stored = check_tensors(model, gate)
    opset = check_versions(model, gate)
    functions = check_functions(model, gate)
    check_operators(model, functions, gate)
    check_attributes(model, functions, gate)
    check_declared(model, gate)
    check_names(model, gate)
    check_shapes(model, functions, opset=opset, stored=stored, gate=gate)
    return model


def metadata_of(model: onnx.ModelProto) -> Mapping[str, str]:
    """Return the network's own metadata."""
    return {entry.key: entry.value for entry in model.metadata_props}
