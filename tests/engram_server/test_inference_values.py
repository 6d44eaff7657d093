"""Tensors of the Open Inference Protocol: what fits becomes an array with every bit, and what does not is refused by name."""

from __future__ import annotations

import numpy as np
import pytest

from engram.inference import open_inference_pb2 as pb
from engram_format.errors import Exhausted, InvalidInput
from engram_replay.contract import Port, Role
from engram_server.rpc.inference_axes import Axes, check_symbols, steps_and_minds, zero_state
from engram_server.rpc.inference_parameters import Asked, parameters_of
from engram_server.rpc.inference_values import DATATYPES, arrays_of, outputs_asked, response_of


def port(name: str = "x", dtype: str = "float32", shape=("B", 3), **axes) -> Port:
    return Port(name, axes.pop("role", Role.STIMULUS), np.dtype(dtype), shape, **axes)


def request(*tensors, raw=()) -> pb.ModelInferRequest:
    return pb.ModelInferRequest(model_name="v/m:s.onnx", id="7", inputs=tensors, raw_input_contents=raw)


def tensor(name="x", datatype="FP32", shape=(2, 3), contents=None) -> pb.ModelInferRequest.InferInputTensor:
    return pb.ModelInferRequest.InferInputTensor(name=name, datatype=datatype, shape=shape, contents=contents)


def read(asked: pb.ModelInferRequest, *ports: Port, needs=("x",)):
    return arrays_of(asked, takes={one.name: one for one in ports or (port(),)}, needs=needs)


X = np.array([[1, 2, 3], [4, 5, 6]], np.float32)


@pytest.mark.parametrize("name", sorted(DATATYPES))
def test_every_type_keeps_its_bits_there_and_back(name):
    dtype = DATATYPES[name]
    array = np.random.default_rng(0).integers(0, 2, 6).astype(dtype).reshape(2, 3)
    asked = request(tensor(datatype=name), raw=[array.tobytes()])
    [given] = read(asked, port(dtype=dtype.name)).values()
    assert given.dtype == dtype
    answer = response_of(asked, {"y": given}, version="1")
    assert answer.raw_output_contents[0] == array.tobytes()
    assert (answer.outputs[0].datatype, list(answer.outputs[0].shape)) == (name, [2, 3])


FIELDS = {
    "BOOL": ("bool_contents", [True, False, True]),
    "INT8": ("int_contents", [-128, 0, 127]),
    "INT16": ("int_contents", [-32768, 0, 32767]),
    "INT32": ("int_contents", [-(2**31), 0, 2**31 - 1]),
    "INT64": ("int64_contents", [-(2**63), 0, 2**63 - 1]),
    "UINT8": ("uint_contents", [0, 1, 255]),
    "UINT16": ("uint_contents", [0, 1, 65535]),
    "UINT32": ("uint_contents", [0, 1, 2**32 - 1]),
    "UINT64": ("uint64_contents", [0, 1, 2**64 - 1]),
    "FP32": ("fp32_contents", [0.5, -0.0, 3.4e38]),
    "FP64": ("fp64_contents", [0.1, -0.0, 1e308]),
}


@pytest.mark.parametrize("name", sorted(FIELDS))
def test_elements_in_contents_are_read_and_answered_likewise(name):
    field, values = FIELDS[name]
    asked = request(tensor(datatype=name, shape=(1, 3), contents=pb.InferTensorContents(**{field: values})))
    [given] = read(asked, port(dtype=DATATYPES[name].name)).values()
    assert given.dtype == DATATYPES[name]
    answer = response_of(asked, {"y": given}, version="1")
    assert not answer.raw_output_contents
    assert list(getattr(answer.outputs[0].contents, field)) == list(
        getattr(pb.InferTensorContents(**{field: values}), field)
    )


def test_types_without_a_field_are_answered_raw():
    contents = pb.InferTensorContents(fp32_contents=[1, 2, 3])
    asked = request(tensor(shape=(1, 3), contents=contents))
    answer = response_of(asked, {"y": X, "half": X.astype(np.float16)}, version="1")
    assert [len(raw) for raw in answer.raw_output_contents] == [24, 12]


SHARED = tensor()
SHARED.parameters["shared_memory_region"].string_param = "region"

WRONG = {
    "another type": (request(tensor(datatype="FP64"), raw=[bytes(48)]), "'x' of type FP32 .* given as 'FP64'"),
    "no type": (request(tensor(datatype="float"), raw=[bytes(24)]), "given as 'float'"),
    "text": (request(tensor(datatype="BYTES"), raw=[bytes(24)]), "given as 'BYTES'"),
    "another length": (request(tensor(shape=(2, 4)), raw=[bytes(32)]), r"shape \[-1, 3\] is given with shape \[2, 4\]"),
    "an axis too few": (request(tensor(shape=(6,)), raw=[bytes(24)]), r"given with shape \[6\]"),
    "an axis too many": (request(tensor(shape=(1, 2, 3)), raw=[bytes(24)]), r"given with shape \[1, 2, 3\]"),
    "a negative length": (request(tensor(shape=(-1, 3)), raw=[b""]), r"given with shape \[-1, 3\]"),
    "no length": (request(tensor(shape=(0, 3)), raw=[b""]), r"given with shape \[0, 3\]"),
    "a huge length": (request(tensor(shape=(2**40, 3)), raw=[bytes(24)]), "has 13194139533312 bytes and 24 came"),
    "a length that would wrap": (request(tensor(shape=(2**62, 3)), raw=[bytes(0)]), "and 0 came"),
    "many axes": (request(tensor(shape=[1] * 1000), raw=[bytes(4)]), r"1, \.\.\.\]"),
    "few bytes": (request(tensor(), raw=[bytes(23)]), "has 24 bytes and 23 came"),
    "many bytes": (request(tensor(), raw=[bytes(25)]), "has 24 bytes and 25 came"),
    "no elements": (request(tensor()), "has 6 elements and 0 came"),
    "few elements": (request(tensor(contents=pb.InferTensorContents(fp32_contents=[1, 2]))), "6 elements and 2 came"),
    "a wrong field": (request(tensor(contents=pb.InferTensorContents(fp64_contents=[1.0] * 6))), "in fp32_contents"),
    "elements twice": (
        request(tensor(contents=pb.InferTensorContents(fp32_contents=[1] * 6)), raw=[bytes(24)]),
        "raw and in contents",
    ),
    "raw for another number of inputs": (request(tensor(), raw=[bytes(24), bytes(24)]), "1 inputs and 2 raw"),
    "an unknown name": (request(tensor("z"), raw=[bytes(24)]), "takes no input 'z': it takes 'x'"),
    "a name twice": (request(tensor(), tensor(), raw=[bytes(24)] * 2), "given twice"),
    "nothing": (request(), "lacks input 'x'"),
    "shared memory": (request(SHARED), "shared memory, which is not offered"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_does_not_fit_is_refused(case):
    asked, words = WRONG[case]
    with pytest.raises(InvalidInput, match=words):
        read(asked)


def test_numbers_beyond_the_type_are_refused():
    asked = request(tensor(datatype="INT8", shape=(1, 3), contents=pb.InferTensorContents(int_contents=[0, 1, 128])))
    with pytest.raises(InvalidInput, match="beyond its type"):
        read(asked, port(dtype="int8"))


def test_flags_are_bytes_of_0_or_1():
    with pytest.raises(InvalidInput, match="neither 0 nor 1"):
        read(request(tensor(datatype="BOOL", shape=(1, 3)), raw=[b"\x00\x01\x02"]), port(dtype="bool"))


def test_half_precision_must_come_raw():
    with pytest.raises(InvalidInput, match="can only come raw"):
        read(
            request(tensor(datatype="FP16", contents=pb.InferTensorContents(fp32_contents=[1] * 6))),
            port(dtype="float16"),
        )


def test_raw_bytes_are_not_copied():
    data = X.tobytes()
    [array] = read(request(tensor(), raw=[data])).values()
    assert not array.flags.owndata
    assert not array.flags.writeable


def outputs(*names: str, parameter: str = "") -> pb.ModelInferRequest:
    asked = pb.ModelInferRequest()
    for name in names:
        output = asked.outputs.add(name=name)
        if parameter:
            output.parameters[parameter].int64_param = 1
    return asked


def test_outputs_come_as_asked_for_or_all_responses():
    assert outputs_asked(outputs(), default=["y", "z"], offered=["y", "z", "h"]) == ["y", "z"]
    assert outputs_asked(outputs("h", "y"), default=["y", "z"], offered=["y", "z", "h"]) == ["h", "y"]


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        (outputs("q"), "gives no output 'q': it gives 'y', 'h'"),
        (outputs("y", "y"), "asked for twice"),
        (outputs("y", parameter="classification"), "classes"),
        (outputs("y", parameter="shared_memory_region"), "shared memory"),
    ],
)
def test_outputs_that_cannot_be_are_refused(asked, words):
    with pytest.raises(InvalidInput, match=words):
        outputs_asked(asked, default=["y"], offered=["y", "h"])


def test_a_response_too_large_for_a_message_is_said():
    huge = np.broadcast_to(np.float32(0), (1 << 24,))
    with pytest.raises(Exhausted, match="67108864 bytes"):
        response_of(request(), {"y": huge}, version="1")


def with_parameters(**values) -> pb.ModelInferRequest:
    asked = pb.ModelInferRequest()
    for name, (field, value) in values.items():
        setattr(asked.parameters[name], field, value)
    return asked


def test_a_sequence_is_named_by_a_number_or_a_text():
    assert parameters_of(with_parameters(sequence_id=("int64_param", 7))).sequence == 7
    assert parameters_of(with_parameters(sequence_id=("uint64_param", 2**64 - 1))).sequence == 2**64 - 1
    assert parameters_of(with_parameters(sequence_id=("string_param", "7"))).sequence == "7"


def test_zero_and_the_empty_text_name_no_sequence():
    assert parameters_of(with_parameters(sequence_id=("int64_param", 0))) == Asked()
    assert parameters_of(with_parameters(sequence_id=("string_param", ""))) == Asked()


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"sequence_id": ("double_param", 1.0)}, "neither a number nor a text"),
        ({"sequence_id": ("string_param", "x" * 129)}, "more than 128 bytes"),
        ({"sequence_id": ("int64_param", 1), "sequence_start": ("string_param", "true")}, "sequence_start is no flag"),
        ({"allow_nan": ("int64_param", 1)}, "allow_nan is no flag"),
        ({"sequence_start": ("bool_param", True)}, "without a name"),
    ],
)
def test_parameters_of_another_type_are_refused(values, words):
    with pytest.raises(InvalidInput, match=words):
        parameters_of(with_parameters(**values))


def test_parameters_that_are_not_known_are_not_used():
    assert parameters_of(with_parameters(priority=("uint64_param", 1), timeout=("int64_param", 5))) == Asked()


AXES = {
    "time, minds, channels": (port(shape=("T", "B", 4), time_axis=0, minds_axis=1), (5, 2, 4)),
    "minds, channels, time": (port(shape=("B", 4, "T"), time_axis=2, minds_axis=0), (2, 4, 5)),
    "minds, channels": (port(shape=("B", 4), minds_axis=0), (2, 4)),
    "channels, time": (port(shape=(4, "T"), time_axis=1), (4, 5)),
    "channels": (port(shape=(4,)), (4,)),
}


@pytest.mark.parametrize("case", AXES)
def test_axes_of_the_network_become_step_and_mind_and_come_back(case):
    one, shape = AXES[case]
    axes = Axes.of(one)
    array = np.arange(np.prod(shape)).reshape(shape)
    ours = axes.to_steps(array)
    steps, minds = axes.steps_and_minds(shape)
    assert ours.shape == (steps, minds, 4)
    assert (axes.from_steps(ours) == array).all()
    if minds == 2:
        index = [0] * len(shape)
        index[one.minds_axis] = 1
        assert ours[0, 1, 0] == array[tuple(index)]


def test_a_state_has_minds_but_no_steps():
    axes = Axes.of(port(shape=(1, "B", 4), minds_axis=1, role=Role.STATE), is_state=True)
    ours = np.arange(8).reshape(2, 1, 4)
    assert axes.from_state(ours).shape == (1, 2, 4)
    assert (axes.from_state(ours)[0, 1] == ours[1, 0]).all()


def test_inputs_agree_on_steps_minds_and_symbols():
    x, z = (
        port("x", shape=("T", "B", 4), time_axis=0, minds_axis=1),
        port("z", shape=("T", "B"), time_axis=0, minds_axis=1),
    )
    stimuli = [Axes.of(x), Axes.of(z)]
    assert steps_and_minds(stimuli, {"x": np.zeros((5, 2, 4)), "z": np.zeros((5, 2))}) == (5, 2)
    with pytest.raises(InvalidInput, match="different numbers of steps and minds"):
        steps_and_minds(stimuli, {"x": np.zeros((5, 2, 4)), "z": np.zeros((5, 3))})
    with pytest.raises(InvalidInput, match="axis 'B' is 2 long in one input and 3 in 'z'"):
        check_symbols([x, z], {"x": np.zeros((5, 2, 4)), "z": np.zeros((5, 3))})


def test_a_state_at_rest_has_the_lengths_of_the_inputs():
    state = port("h", shape=(1, "B", "K", None, 4), minds_axis=1, role=Role.STATE)
    zeros = zero_state(state, {"K": 7}, minds=2)
    assert zeros.shape == (1, 2, 7, 1, 4)
    assert zeros.dtype == np.float32
    assert not zeros.any()
