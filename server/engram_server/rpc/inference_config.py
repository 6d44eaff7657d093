"""A student as clients of the Open Inference Protocol see it: its tensors, and how it is served."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from engram.inference import model_config_pb2 as config_pb
from engram.inference import open_inference_pb2 as pb
from engram_replay.contract import Port, Role
from engram_server.rpc.inference_models import Model
from engram_server.rpc.inference_values import datatype_of, dims_of

PLATFORM: Final = "onnxruntime_onnx"
_BACKEND: Final = "onnxruntime"
_MAX_BATCH: Final = 1024
"""What is told to clients, which choose their batches by it; larger ones are taken as far as memory goes."""


def metadata_of(model: Model, *, name: str) -> pb.ModelMetadataResponse:
    """Return a student's tensors; `name` is what the client calls it."""
    message = pb.ModelMetadataResponse(name=name, versions=[model.version], platform=PLATFORM)
    for port in model.inputs.values():
        message.inputs.add(name=port.name, datatype=datatype_of(port.dtype), shape=dims_of(port))
    for port in model.contract.responses:
        message.outputs.add(name=port.name, datatype=datatype_of(port.dtype), shape=dims_of(port))
    return message


def config_of(model: Model, *, name: str, idle_s: float) -> config_pb.ModelConfig:
    """Return how a student is served; one with state is served in sequences, which rest for at most `idle_s`."""
    contract = model.contract
    batches = _takes_batches((*model.inputs.values(), *contract.responses))
    message = config_pb.ModelConfig(
        name=name,
        platform=PLATFORM,
        backend=_BACKEND,
        max_batch_size=_MAX_BATCH if batches else 0,
        model_transaction_policy=config_pb.ModelTransactionPolicy(decoupled=False),
    )
    for port in model.inputs.values():
        message.input.add(
            name=port.name,
            data_type=_type_of(port),
            dims=_dims(port, batches=batches),
            optional=port.value is not None or port.role is Role.NOISE,
        )
    for port in contract.responses:
        message.output.add(name=port.name, data_type=_type_of(port), dims=_dims(port, batches=batches))
    if contract.states:
        sequences = message.sequence_batching
        sequences.max_sequence_idle_microseconds = int(idle_s * 1e6)
        sequences.direct.SetInParent()
        for port in contract.states:
            _add_state(sequences, port)
    return message


def _add_state(sequences: config_pb.ModelSequenceBatching, port: Port) -> None:
    state = sequences.state.add(
        input_name=port.name, output_name=port.after, data_type=_type_of(port), dims=dims_of(port)
    )
    state.initial_state.add(data_type=_type_of(port), dims=dims_of(port), zero_data=True, name="zero")


def _takes_batches(ports: Iterable[Port]) -> bool:
    """Tell whether the first axis of every tensor is that of minds, and free; the protocol knows batches there only."""
    return all(port.minds_axis == 0 and not isinstance(port.shape[0], int) for port in ports)


def _dims(port: Port, *, batches: bool) -> list[int]:
    return dims_of(port)[1:] if batches else dims_of(port)


def _type_of(port: Port) -> config_pb.DataType.ValueType:
    return config_pb.DataType.Value(f"TYPE_{datatype_of(port.dtype)}")
