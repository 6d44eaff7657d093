"""Load a student from bytes in memory: never a file, one thread, one provider, so that a replay can be repeated."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import onnxruntime
from onnxruntime.capi import onnxruntime_pybind11_state as ort

from engram_format.catalog import Scalar
from engram_format.errors import Exhausted, InvalidInput
from engram_replay.contract import Contract
from engram_replay.contract_inference import infer
from engram_replay.execution import PROVIDER, Execution, Optimisation
from engram_replay.gate import GateLimits, check_network, metadata_of
from engram_replay.refusal import CONTRACT_RULE, Refused
from engram_replay.signature import Signature, Tensor, read_signature
from engram_replay.told import Told

_LIMITS = GateLimits()
ORT_ERRORS = (
    ort.EPFail,
    ort.EngineError,
    ort.Fail,
    ort.InvalidArgument,
    ort.InvalidGraph,
    ort.InvalidProtobuf,
    ort.NoModel,
    ort.NoSuchFile,
    ort.NotFound,
    ort.NotImplemented,
    ort.RuntimeException,
    RuntimeError,
    ValueError,
)
"""What the runtime raises; its errors share no base but `Exception`."""

_TYPES: Mapping[str, np.dtype[np.generic]] = {
    "tensor(bool)": np.dtype(np.bool_),
    "tensor(float16)": np.dtype(np.float16),
    "tensor(float)": np.dtype(np.float32),
    "tensor(double)": np.dtype(np.float64),
    **{f"tensor({sign}int{bits})": np.dtype(f"{sign}int{bits}") for sign in ("", "u") for bits in (8, 16, 32, 64)},
}


@dataclass(frozen=True, slots=True)
class Student:
    """A network that is loaded and may be run; it has no state of its own, so several replays may share it."""

    sha256: str
    """SHA-256 of the network's bytes, 64 hex digits."""
    signature: Signature
    contract: Contract
    session: onnxruntime.InferenceSession = field(repr=False, compare=False)

    def __str__(self) -> str:
        return f"student {self.sha256[:12]}"


def load_student(
    data: bytes,
    *,
    told: Mapping[str, Scalar] | None = None,
    execution: Execution | None = None,
    max_bytes: int = _LIMITS.max_bytes,
    limits: GateLimits = _LIMITS,
) -> Student:
    """Load an ONNX network.

    `told` are metadata that may hold a contract, whole or in part, which has precedence over what the network tells. Raises
    `InvalidInput` if the bytes are no ONNX network that can be replayed, `Refused` where the gate lets it not in, and
    `Exhausted` if there are more than `max_bytes`.
    """
    if len(data) > max_bytes:
        raise Exhausted(
            f"the student has {len(data)} bytes and at most {max_bytes} can be loaded: raise the bound to replay it"
        )
    sha256 = hashlib.sha256(data).hexdigest()
    what = f"student {sha256[:12]}"
    model = check_network(data, what=what, limits=limits)
    metadata = metadata_of(model)
    del model
    session = load_network(data, execution or Execution(), what=what)
    inputs = [_tensor(node, what=what) for node in session.get_inputs()]
    outputs = [_tensor(node, what=what) for node in session.get_outputs()]
    said = Told.from_metadata(told or {})
    try:
        contract = infer(inputs, outputs, metadata=metadata, told=said)
    except InvalidInput as error:
        if said is None:
            raise
        raise Refused(f"the contract does not fit {what}: {error}", rule=CONTRACT_RULE) from error
    paired = {port.name: port.after for port in contract.states}
    signature = read_signature(
        inputs,
        outputs,
        states=paired,
        constants={port.name: port.array for port in contract.constants},
        noise=[port.name for port in contract.noise],
    )
    return Student(sha256, signature, contract, session)


def load_network(data: bytes, execution: Execution, *, what: str) -> onnxruntime.InferenceSession:
    """Load a network that the gate has let in, or one of our own; `what` names it. Raises `InvalidInput` where that fails."""
    try:
        session = onnxruntime.InferenceSession(data, sess_options=_options(execution), providers=[PROVIDER])
    except ORT_ERRORS as error:
        raise InvalidInput(f"{what} cannot be loaded ({reason(error)}): check the network with onnx.checker") from error
    session.disable_fallback()
    # The runtime's wrapper keeps the network beside what it made of it, to make it anew for another provider: we never do.
    session._model_bytes = None
    return session


def reason(error: BaseException) -> str:
    """Return what the runtime says of an error, in one line and without its codes."""
    text = re.sub(r"^\[ONNXRuntimeError\] : \d+ : \w+ : ", "", str(error))
    return " ".join(text.split()).rstrip(".")[:300]


_LEVELS: Mapping[Optimisation, onnxruntime.GraphOptimizationLevel] = {
    Optimisation.NONE: onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL,
    Optimisation.BASIC: onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC,
    Optimisation.EXTENDED: onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED,
    Optimisation.ALL: onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL,
}


def _options(execution: Execution) -> onnxruntime.SessionOptions:
    """Return the settings that the execution profile names; all that may change a bit is set, not left to a default."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = _LEVELS[execution.optimisation]
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.intra_op_num_threads = execution.threads
    options.inter_op_num_threads = 1
    options.use_deterministic_compute = True
    options.log_severity_level = 4  # what is wrong is raised; nothing is written to the terminal
    for key, value in {
        "session.load_model_format": "ONNX",
        "session.disable_prepacking": "0" if execution.prepacking else "1",
        "session.set_denormal_as_zero": "0",
        "session.intra_op.allow_spinning": "0",
        "session.inter_op.allow_spinning": "0",
    }.items():
        options.add_session_config_entry(key, value)
    return options


def _tensor(node: onnxruntime.NodeArg, *, what: str) -> Tensor:
    dtype = _TYPES.get(node.type)
    if dtype is None:
        raise InvalidInput(
            f"{what} has {node.name!r} of type {node.type}: only tensors of booleans and real numbers are replayed"
        )
    return Tensor(name=node.name, dtype=dtype, shape=tuple(node.shape))
