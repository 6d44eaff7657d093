"""Noise in the process of a student: where a network has axes of time, of minds or neither, and what a contract may say of it."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from engram_testing import students
from onnx import TensorProto, helper

from engram_format.errors import Exhausted, InvalidInput
from engram_replay.contract import Contract, Role
from engram_replay.contract_file import parse_contract
from engram_replay.loader import Student, load_student
from engram_replay.noise import Noise, seed_of, takes_noise
from engram_replay.refusal import Refused
from engram_replay.sampler import uniform_noise
from engram_replay.signature import Mode
from engram_replay.stepper import run

TOLD = '[inputs.noise]\nrole = "noise"\n'
F32 = np.dtype(np.float32)


def told(text: str = TOLD) -> dict[str, object]:
    return dict(parse_contract(text, what="a.toml").to_metadata())


def fires(*, x: list, noise: list, h: list | None = None, kind: int = TensorProto.FLOAT) -> bytes:
    """`y` is 1 where `noise` < `x`, else 0; with a state `h`, `h_out` counts these."""
    tensor = helper.make_tensor_value_info
    weights: list[onnx.TensorProto] = []
    nodes = [helper.make_node("Less", ["noise", "x"], ["fired"]), helper.make_node("Cast", ["fired"], ["y"], to=kind)]
    inputs, outputs = [tensor("x", kind, x), tensor("noise", kind, noise)], [tensor("y", kind, x)]
    if h is not None:
        if len(x) > len(h):
            nodes.append(helper.make_node("ReduceSum", ["y", "along"], ["sum"], keepdims=0))
            nodes.append(helper.make_node("Add", ["h", "sum"], ["h_out"]))
            weights.append(helper.make_tensor("along", TensorProto.INT64, [1], [0]))
        else:
            nodes.append(helper.make_node("Add", ["h", "y"], ["h_out"]))
        inputs.append(tensor("h", kind, h))
        outputs.append(tensor("h_out", kind, h))
    graph = helper.make_graph(nodes, "fires", inputs, outputs, weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString()


def load(data: bytes, text: str = TOLD) -> Student:
    return load_student(data, told=told(text))


STIMULUS = np.full((9, 2), 0.5, np.float32)
BOTH = np.full((9, 3, 2), 0.5, np.float32)


def wanted(steps: int = 9, minds: int = 1, *, dtype: np.dtype = F32, first_mind: int = 0) -> np.ndarray:
    noise = uniform_noise((steps, minds, 2), dtype, seed=4, first_mind=first_mind)
    return (noise < 0.5).astype(dtype)


@pytest.mark.parametrize(
    ("network", "mode", "stimulus", "shape"),
    [
        (fires(x=[2], noise=[2], h=[2]), Mode.STEP, STIMULUS, (9, 1, 2)),
        (fires(x=[1, 2], noise=[1, 2]), Mode.STEP, STIMULUS, (9, 1, 2)),
        (fires(x=["minds", 2], noise=["minds", 2], h=["minds", 2]), Mode.STEP, STIMULUS, (9, 1, 2)),
        (fires(x=["minds", 2], noise=["minds", 2], h=["minds", 2]), Mode.STEP, BOTH, (9, 3, 2)),
        (fires(x=["minds", 2], noise=["minds", 2]), Mode.WHOLE, STIMULUS, (9, 1, 2)),
        (fires(x=["time", "minds", 2], noise=["time", "minds", 2]), Mode.WHOLE, BOTH, (9, 3, 2)),
        (fires(x=["time", 2], noise=["time", 2]), Mode.WHOLE, STIMULUS, (9, 1, 2)),
    ],
)
def test_a_whole_replay_takes_the_noise_of_its_steps_and_minds(network, mode, stimulus, shape):
    student = load(network)
    assert student.signature.mode is mode
    done = run(student, {"x": stimulus}, sample=4)
    assert np.array_equal(done.outputs["y"].reshape(shape), wanted(*shape[:2]))
    assert done.stimulus.keys() == {"x"}


def test_steps_that_share_a_call_take_the_same_noise_as_those_that_do_not():
    student = load(fires(x=["time", "minds", 2], noise=["time", "minds", 2], h=["minds", 2]))
    stimulus = np.full((9, 1, 3, 2), 0.5, np.float32)
    apart, together = (run(student, {"x": stimulus}, sample=4, join_steps=join) for join in (False, True))
    assert np.array_equal(apart.outputs["y"][:, 0], wanted(minds=3))
    assert np.array_equal(together.outputs["y"][:, 0], wanted(minds=3))
    assert np.array_equal(together.final_state["h"], wanted(minds=3).sum(axis=0))
    # Several steps of the network's own in each step of the stimulus are numbered one after another.
    several = run(student, {"x": stimulus[:8].reshape(4, 2, 3, 2)}, sample=4)
    assert np.array_equal(several.outputs["y"].reshape(8, 3, 2), wanted(8, 3))


def test_a_mind_may_be_another_than_the_first():
    student = load(fires(x=["minds", 2], noise=["minds", 2], h=["minds", 2]))
    done = run(student, {"x": STIMULUS}, sample=4, first_mind=2)
    assert np.array_equal(done.outputs["y"].reshape(9, 1, 2), wanted(minds=1, first_mind=2))


@pytest.mark.parametrize(("kind", "dtype"), [(TensorProto.FLOAT16, np.float16), (TensorProto.DOUBLE, np.float64)])
def test_noise_may_be_of_any_floating_type(kind, dtype):
    student = load(fires(x=["minds", 2], noise=["minds", 2], h=["minds", 2], kind=kind))
    done = run(student, {"x": STIMULUS.astype(dtype)}, sample=4)
    assert np.array_equal(done.outputs["y"].reshape(9, 1, 2), wanted(dtype=np.dtype(dtype)))


def test_without_a_seed_a_replay_asks_for_one():
    with pytest.raises(InvalidInput, match="takes the noise 'noise': give a seed to draw it from"):
        run(load(fires(x=[2], noise=[2], h=[2])), {"x": STIMULUS})


def test_the_noise_of_minds_is_the_same_however_it_is_taken():
    ports = load(students.self_exciting()).contract.noise
    whole = uniform_noise((3000, 2, 3), F32, seed=6)
    noise = Noise(ports, seed=6, minds=2, step=0)
    at = 0
    for steps in (1, 1, 5, 700, 1, 2000):
        (taken,) = noise.take(steps)
        (again,) = noise.take(steps)
        assert np.array_equal(taken, whole[at : at + steps])
        assert np.array_equal(again, taken)
        noise.advance(steps)
        at += steps
    (later,) = Noise(ports, seed=6, minds=2, step=at).take(3)
    assert np.array_equal(later, whole[at : at + 3])
    (forked,) = noise.forked(minds=1, seed=None).take(3)
    assert np.array_equal(forked, whole[at : at + 3, :1])
    (other,) = noise.forked(minds=1, seed=7).take(3)
    assert np.array_equal(other, uniform_noise((3, 1, 3), F32, seed=7, first_step=at))
    with pytest.raises(Exhausted, match="numbers of noise are taken at once"):
        noise.take(1 << 26)


def test_a_contract_with_noise_comes_back_from_metadata():
    contract = load(students.self_exciting(with_rate=True)).contract
    assert [port.role for port in contract.ports][:3] == [Role.STIMULUS, Role.NOISE, Role.STATE]
    assert [port.minds_axis for port in contract.ports] == [0] * 5
    assert Contract.from_metadata(contract.to_metadata()) == contract
    assert contract.to_metadata()["contract.inputs.1.role"] == "noise"


def test_noise_is_told_and_never_guessed():
    assert load_student(students.self_exciting()).contract.noise == ()
    assert parse_contract('{"inputs": {"noise": {"role": "noise"}}}', what="a.json") == parse_contract(
        TOLD, what="a.toml"
    )


@pytest.mark.parametrize(
    ("network", "text", "message"),
    [
        (fires(x=[2], noise=[2]), '[inputs.x]\nrole = "noise"\n' + TOLD, "has no stimulus"),
        (fires(x=[2], noise=["n", "k"]), TOLD, "has a free axis beside those of time and minds"),
        (fires(x=["minds", 2], noise=[1, 2]), TOLD + "[inputs.x]\nminds_axis = 0\n", "say it of every stimulus, noise"),
        (fires(x=[2], noise=[2], kind=TensorProto.INT64), TOLD, "noise is float16, float32 or float64"),
        (
            fires(x=[2], noise=[2], h=[2]),
            TOLD + '[inputs.h]\nrole = "noise"\nafter = "h_out"\n',
            "is told as noise and has a next",
        ),
        (fires(x=[2], noise=[2]), TOLD + "value = 1\n", "only constants have one"),
        (fires(x=[2], noise=[2]), '[outputs.y]\nrole = "noise"\n', "is told as a noise"),
    ],
)
def test_a_contract_whose_noise_cannot_be_is_refused(network, text, message):
    with pytest.raises(Refused, match=message):
        load(network, text)


def test_a_free_axis_of_noise_may_be_said():
    student = load(fires(x=["n", 2], noise=["n", "k"], h=["n", 2]), TOLD + 'shape = ["n", 2]\n')
    assert np.array_equal(run(student, {"x": STIMULUS}, sample=4).outputs["y"].reshape(9, 1, 2), wanted())


def test_the_seed_is_what_was_given_or_the_contracts():
    plain, seeded = told(), told("seed = 3\n" + TOLD)
    assert (takes_noise(plain), takes_noise({}), takes_noise(told("seed = 3\n"))) == (True, False, False)
    assert (seed_of(plain, 5, what="it"), seed_of(seeded, 5, what="it"), seed_of(seeded, None, what="it")) == (5, 5, 3)
    assert seed_of(told("seed = 3\n"), None, what="it") is None
    with pytest.raises(InvalidInput, match="it takes the noise 'noise', and neither you nor its contract said"):
        seed_of(plain, None, what="it")
    with pytest.raises(InvalidInput, match="cannot be kept"):
        seed_of(plain, 1 << 63, what="it")
