"""Running kept replays again, through every door."""

from __future__ import annotations

import numpy as np
import pytest
from engram_testing import students
from engram_testing.deposits import put
from onnx import TensorProto, helper

from engram_format.address import Address
from engram_format.catalog import Kind, Likeness
from engram_format.errors import InvalidInput, NotFound
from engram_replay import encode_npz

GRU = students.gru()
KEPT = Address("lab", "verified")
STIMULUS = np.random.default_rng(3).standard_normal((300, 64)).astype(np.float32)


def amplifier() -> bytes:
    """Return a student that multiplies its stimulus by a whole number, which is an input without axes."""
    nodes = [helper.make_node("Cast", ["gain"], ["factor"], to=TensorProto.FLOAT)]
    nodes.append(helper.make_node("Mul", ["x", "factor"], ["y"]))
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [4]) for name in "xy")
    gain = helper.make_tensor_value_info("gain", TensorProto.INT64, [])
    graph = helper.make_graph(nodes, "amplifier", [x, gain], [y])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString()


@pytest.fixture(scope="module")
def replay(archive):
    student = put(archive, KEPT.of("gru.onnx"), GRU)
    return archive.replay(student, {"": STIMULUS}, save_to=KEPT).saved


def altered(archive, replay, *, path: str, change=lambda outputs: outputs, **metadata):
    """Keep a replay that differs from a real one."""
    import io

    outputs = dict(np.load(io.BytesIO(b"".join(archive.read(replay.address)))))
    body = encode_npz(change(outputs))
    told = {**replay.metadata, **metadata}
    return put(archive, KEPT.of(path), body, kind=Kind.REPLAY, metadata=told, made_from=replay.made_from)


def test_a_replay_comes_out_the_same_to_the_bit(archive, replay):
    verdict = archive.verify_replay(replay.address)
    assert verdict.likeness is Likeness.BIT
    assert [(one.name, one.likeness, one.largest) for one in verdict.outputs] == [("y", Likeness.BIT, 0.0)]
    assert verdict.profile == ()
    assert verdict.address == replay.address


def test_the_reference_evaluator_agrees_within_its_bound(archive, replay):
    verdict = archive.verify_replay(replay.address, reference=True)
    assert verdict.likeness is Likeness.BIT
    (by_reference,) = verdict.reference
    assert by_reference.likeness is Likeness.TOLERANCE
    assert 0 < by_reference.largest < by_reference.bound
    assert verdict.reference_steps == 200


def test_the_reference_evaluator_runs_a_student_that_takes_a_constant(archive):
    contract = {"contract.inputs.0.name": "gain", "contract.inputs.0.value": 3}
    student = put(archive, KEPT.of("gain.onnx"), amplifier(), metadata=contract)
    kept = archive.replay(student, {"x": STIMULUS[:40, :4]}, save_to=KEPT).saved
    verdict = archive.verify_replay(kept.address, reference=True)
    assert verdict.likeness is Likeness.BIT
    assert [one.likeness for one in verdict.reference] == [Likeness.BIT]
    assert verdict.reference_steps == 40


def test_a_replay_under_another_runtime_is_told_from_one_under_this(archive, replay):
    address = altered(archive, replay, path="other.npz", **{"profile.onnxruntime": "1.20.1"})
    (part,) = archive.verify_replay(address).profile
    assert (part.name, part.before) == ("profile.onnxruntime", "1.20.1")


def test_a_small_difference_is_within_tolerance_and_a_large_one_fails(archive, replay):
    from engram_replay import digest_arrays

    def moved(by):
        def change(outputs):
            y = outputs["y"].copy()
            y[17, 3] += by
            return {"y": y}

        return change

    for by, expected in ((1e-6, Likeness.TOLERANCE), (1e-2, Likeness.FAIL)):
        outputs = moved(by)({"y": archive.replay(KEPT.of("gru.onnx"), {"": STIMULUS}).outputs["y"]})
        address = altered(
            archive, replay, path=f"moved-{by}.npz", change=moved(by), **{"outputs.sha256": digest_arrays(outputs)}
        )
        verdict = archive.verify_replay(address)
        assert verdict.likeness is expected
        assert verdict.outputs[0].largest == pytest.approx(by, rel=0.1)
        assert "(17, 3)" in verdict.outputs[0].detail


@pytest.mark.parametrize("name", ["outputs.sha256", "stimulus.sha256", "initial_state.sha256"])
def test_a_receipt_that_was_tampered_with_fails(archive, replay, name):
    address = altered(archive, replay, path=f"forged-{name}.npz", **{name: "0" * 64})
    verdict = archive.verify_replay(address)
    assert verdict.likeness is Likeness.FAIL
    assert verdict.detail


def test_what_is_no_replay_cannot_be_verified(archive, replay):
    with pytest.raises(InvalidInput, match="is no kept replay"):
        archive.verify_replay(KEPT.of("gru.onnx"))


def test_a_replay_whose_student_is_gone_says_so(archive, replay):
    body = encode_npz({"y": np.zeros(3, np.float32)})
    gone = "ab" * 32
    address = put(
        archive,
        KEPT.of("orphan.npz"),
        body,
        kind=Kind.REPLAY,
        metadata={"student.sha256": gone},
        made_from=(gone, replay.made_from[-1]),
    )
    with pytest.raises(NotFound, match=f"the student of .*{gone}"):
        archive.verify_replay(address)
