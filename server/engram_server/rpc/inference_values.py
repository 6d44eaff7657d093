"""Tensors of the Open Inference Protocol as arrays, and arrays as tensors.

Nothing in a request is believed: types, shapes and lengths are compared with the student's contract, in whole numbers without
bounds, before an array is made; an array then has exactly the bytes that came.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Final

import numpy as np

from engram.inference import open_inference_pb2 as pb
from engram_format.catalog import AnyArray
from engram_format.errors import Exhausted, InvalidInput
from engram_replay.contract import Port

MAX_TENSOR_BYTES: Final = (64 << 20) - (64 << 10)
"""Bytes of all tensors of a response; what is around them fits beside them into one message of 64 MiB."""

DATATYPES: Final[Mapping[str, np.dtype[np.generic]]] = {
    "BOOL": np.dtype(np.bool_),
    "UINT8": np.dtype(np.uint8),
    "UINT16": np.dtype(np.uint16),
    "UINT32": np.dtype(np.uint32),
    "UINT64": np.dtype(np.uint64),
    "INT8": np.dtype(np.int8),
    "INT16": np.dtype(np.int16),
    "INT32": np.dtype(np.int32),
    "INT64": np.dtype(np.int64),
    "FP16": np.dtype(np.float16),
    "FP32": np.dtype(np.float32),
    "FP64": np.dtype(np.float64),
}
"""The protocol's names of the types that students have."""

_NAMES: Final = {dtype: name for name, dtype in DATATYPES.items()}
_CONTENTS: Final = {
    "BOOL": "bool_contents",
    "UINT8": "uint_contents",
    "UINT16": "uint_contents",
    "UINT32": "uint_contents",
    "UINT64": "uint64_contents",
    "INT8": "int_contents",
    "INT16": "int_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
}
_SHARED_MEMORY: Final = "shared_memory_region"
_CLASSES: Final = "classification"


def datatype_of(dtype: np.dtype[np.generic]) -> str:
    """Return the protocol's name of a type; raises `InvalidInput` for one that it has no name for."""
    name = _NAMES.get(dtype.newbyteorder("="))
    if name is None:
        raise InvalidInput(
            f"the student has tensors of {dtype.name}, which the protocol cannot carry: use the replay service"
        )
    return name


def dims_of(port: Port) -> list[int]:
    """Return the length of each axis, -1 where it is free."""
    return [length if isinstance(length, int) else -1 for length in port.shape]


def arrays_of(request: pb.ModelInferRequest, *, takes: Mapping[str, Port], needs: Iterable[str]) -> dict[str, AnyArray]:
    """Return a request's inputs by name, with the network's axes; arrays of raw bytes are read-only views of the message.

    `takes` are the ports that inputs may belong to, by name, `needs` the names that must be there. Raises `InvalidInput` for
    an input that is unknown, missing or given twice, for a type, a shape or a number of elements that does not fit, and for
    elements that come twice or not at all. NaN is left to whoever runs the student.
    """
    names = [tensor.name for tensor in request.inputs]
    _check_names(names, known=takes, needs=needs)
    raw = list(request.raw_input_contents)
    if raw and len(raw) != len(names):
        raise InvalidInput(
            f"the request has {len(names)} inputs and {len(raw)} raw contents: give one of each, in the same order"
        )
    arrays: dict[str, AnyArray] = {}
    for place, tensor in enumerate(request.inputs):
        port = takes[tensor.name]
        _check_tensor(tensor, port)
        arrays[tensor.name] = _from_raw(raw[place], tensor, port) if raw else _from_contents(tensor, port)
    return arrays


def _check_names(names: Sequence[str], *, known: Mapping[str, Port], needs: Iterable[str]) -> None:
    for name in names:
        if name not in known:
            raise InvalidInput(f"the student takes no input {name!r:.100}: it takes {_listed(known)}")
    if len(set(names)) != len(names):
        raise InvalidInput(f"an input is given twice among {_listed(names)}: give each once")
    if missing := [name for name in needs if name not in names]:
        raise InvalidInput(f"the request lacks input {_listed(missing)}: the student needs it in every request")


def _check_tensor(tensor: pb.ModelInferRequest.InferInputTensor, port: Port) -> None:
    if _SHARED_MEMORY in tensor.parameters:
        raise InvalidInput(f"input {tensor.name!r} lies in shared memory, which is not offered: send its elements")
    if tensor.datatype != datatype_of(port.dtype):
        raise InvalidInput(f"input {_told(port)} is given as {tensor.datatype!r:.40}: convert it first")
    fits = len(tensor.shape) == len(port.shape) and all(
        given > 0 and (given == length or not isinstance(length, int))
        for given, length in zip(tensor.shape, port.shape, strict=True)
    )
    if not fits:
        raise InvalidInput(
            f"input {_told(port)} is given with shape {_short(tensor.shape)}: send the axes of the network, each at least 1 long"
        )


def _from_raw(data: bytes, tensor: pb.ModelInferRequest.InferInputTensor, port: Port) -> AnyArray:
    if tensor.HasField("contents"):
        raise InvalidInput(f"the elements of input {tensor.name!r} come raw and in contents: send them once")
    wanted = math.prod(tensor.shape) * port.dtype.itemsize
    if len(data) != wanted:
        raise InvalidInput(
            f"input {_told(port)} of shape {_short(tensor.shape)} has {wanted} bytes and {len(data)} came: "
            "send its elements in C order, little-endian"
        )
    little = port.dtype.newbyteorder("<")
    if port.dtype.kind == "b" and data.strip(b"\x00\x01"):
        raise InvalidInput(f"input {_told(port)} has bytes that are neither 0 nor 1: send one such byte for each flag")
    return np.frombuffer(data, little).astype(port.dtype, copy=False).reshape(tuple(tensor.shape))


def _from_contents(tensor: pb.ModelInferRequest.InferInputTensor, port: Port) -> AnyArray:
    name = _CONTENTS.get(tensor.datatype)
    if name is None:
        raise InvalidInput(f"input {_told(port)} can only come raw: send its bytes in raw_input_contents")
    if others := [field.name for field, _ in tensor.contents.ListFields() if field.name != name]:
        raise InvalidInput(f"the elements of input {_told(port)} come in {others[0]}: send them in {name}")
    values = getattr(tensor.contents, name)
    wanted = math.prod(tensor.shape)
    if len(values) != wanted:
        raise InvalidInput(
            f"input {_told(port)} of shape {_short(tensor.shape)} has {wanted} elements and {len(values)} came: "
            f"send them all in {name}"
        )
    array: AnyArray = np.array(values, dtype=_wide(port.dtype))
    cast = array.astype(port.dtype)
    if port.dtype.kind in "iu" and not (cast == array).all():
        raise InvalidInput(f"input {_told(port)} has elements beyond its type: send numbers that fit")
    return cast.reshape(tuple(tensor.shape))


def _wide(dtype: np.dtype[np.generic]) -> np.dtype[np.generic]:
    """Return the type that holds whatever the contents field of a type can say."""
    if dtype.kind in "iu" and dtype.itemsize < 8:
        return np.dtype(np.int64)
    return dtype


def outputs_asked(request: pb.ModelInferRequest, *, default: Iterable[str], offered: Collection[str]) -> list[str]:
    """Return the names of the outputs that a response must bring, in that order; raises `InvalidInput` for unknown ones."""
    names = [output.name for output in request.outputs]
    for output in request.outputs:
        if output.name not in offered:
            raise InvalidInput(f"the student gives no output {output.name!r:.100}: it gives {_listed(offered)}")
        if _SHARED_MEMORY in output.parameters:
            raise InvalidInput(
                f"output {output.name!r} is wanted in shared memory, which is not offered: leave that out"
            )
        if _CLASSES in output.parameters:
            raise InvalidInput(
                f"output {output.name!r} is wanted as classes, which are not offered: ask for its values"
            )
    if len(set(names)) != len(names):
        raise InvalidInput(f"an output is asked for twice among {_listed(names)}: ask for each once")
    return names or list(default)


def response_of(
    request: pb.ModelInferRequest, outputs: Mapping[str, AnyArray], *, version: str
) -> pb.ModelInferResponse:
    """Return the response to a request.

    Elements come raw, unless those of the request came in `contents`, which whoever writes requests by hand does. Raises
    `Exhausted` if they do not fit into a message.
    """
    if (size := sum(array.nbytes for array in outputs.values())) > MAX_TENSOR_BYTES:
        raise Exhausted(
            f"the outputs have {size} bytes and one response holds {MAX_TENSOR_BYTES}: ask for fewer steps, or use the "
            "replay service"
        )
    response = pb.ModelInferResponse(model_name=request.model_name, model_version=version, id=request.id)
    datatypes = {name: datatype_of(array.dtype) for name, array in outputs.items()}
    by_contents = not request.raw_input_contents and all(name in _CONTENTS for name in datatypes.values())
    for name, array in outputs.items():
        tensor = response.outputs.add(name=name, datatype=datatypes[name], shape=array.shape)
        if by_contents:
            getattr(tensor.contents, _CONTENTS[datatypes[name]]).extend(array.ravel().tolist())
        else:
            response.raw_output_contents.append(array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes())
    return response


def _told(port: Port) -> str:
    return f"{port.name!r} of type {datatype_of(port.dtype)} and shape {dims_of(port)}"


def _short(shape: Sequence[int]) -> str:
    shown = [str(length) for length in shape[:8]]
    return f"[{', '.join(shown)}{', ...' if len(shape) > len(shown) else ''}]"


def _listed(names: Iterable[str]) -> str:
    return ", ".join(repr(name) for name in names)[:400] or "none"
