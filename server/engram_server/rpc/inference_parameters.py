"""What the parameters of an inference request ask for; those that are not named here are not used."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from engram.inference import open_inference_pb2 as pb
from engram_format.errors import InvalidInput
from engram_format.ports import check_seed

_MAX_ID_BYTES: Final = 128


@dataclass(frozen=True, slots=True)
class Asked:
    """The parameters of one request."""

    sequence: int | str | None = None
    """The sequence that it belongs to; `None` for a request that stands alone. The number 7 and the text `7` are two."""
    start: bool = False
    """Whether the sequence begins with it."""
    end: bool = False
    """Whether the sequence ends with it."""
    allow_nan: bool = False
    """Whether inputs may hold NaN and infinity."""
    noise_seed: int | None = None
    """The seed from which the noise that a student takes is drawn; `None` where the request brings it, or goes on as begun."""
    final_mark: bool = False
    """Whether a response on a stream must say that no other follows."""


def parameters_of(request: pb.ModelInferRequest) -> Asked:
    """Read the parameters; raises `InvalidInput` for values of another type and for sequence marks without a sequence."""
    asked = Asked(
        sequence=_sequence_id(request),
        start=_flag(request, "sequence_start"),
        end=_flag(request, "sequence_end"),
        allow_nan=_flag(request, "allow_nan"),
        noise_seed=_seed(request, "noise_seed"),
        final_mark=_flag(request, "triton_enable_empty_final_response"),
    )
    if asked.sequence is None and (asked.start or asked.end):
        raise InvalidInput("a sequence is started or ended without a name: set sequence_id to a number or a text")
    return asked


def _flag(request: pb.ModelInferRequest, name: str) -> bool:
    if name not in request.parameters:
        return False
    value = request.parameters[name]
    if value.WhichOneof("parameter_choice") != "bool_param":
        raise InvalidInput(f"the parameter {name} is no flag: set its bool_param")
    return value.bool_param


def _seed(request: pb.ModelInferRequest, name: str) -> int | None:
    if name not in request.parameters:
        return None
    value = request.parameters[name]
    match value.WhichOneof("parameter_choice"):
        case "int64_param":
            seed = value.int64_param
        case "uint64_param":
            seed = value.uint64_param
        case _:
            raise InvalidInput(f"the parameter {name} is no number: set its int64_param")
    check_seed(seed)
    return seed


def _sequence_id(request: pb.ModelInferRequest) -> int | str | None:
    """Return the id; 0 and the empty text mean none, as clients send them for requests that stand alone."""
    if "sequence_id" not in request.parameters:
        return None
    value = request.parameters["sequence_id"]
    match value.WhichOneof("parameter_choice"):
        case "int64_param":
            return value.int64_param or None
        case "uint64_param":
            return value.uint64_param or None
        case "string_param":
            if len(value.string_param.encode()) > _MAX_ID_BYTES:
                raise InvalidInput(f"sequence_id has more than {_MAX_ID_BYTES} bytes: choose a shorter one")
            return value.string_param or None
        case _:
            raise InvalidInput("sequence_id is neither a number nor a text: set its int64_param or its string_param")
