"""Running kept replays again, through every door."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from engram_testing import students
from engram_testing.deposits import put
from onnx import TensorProto, helper

from engram_format.address import Address, ContentAddress
from engram_format.catalog import Kind, Likeness
from engram_format.errors import InvalidInput, NotFound
from engram_replay import encode_npz
from engram_replay.contract_file import parse_contract

GRU = students.gru()
KEPT = Address("lab", "verified")
SILERO = Path(__file__).parent.parent / "data" / "onnx_real" / "silero_vad_16k_op15.onnx"
SILERO_TOLD = '[inputs.sr]\nvalue = 16000\n[inputs.input]\nshape = ["batch", 576]\n'
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
        archive.verify_replay(ContentAddress(replay.made_from[-1]))


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


class TestAStudent:
    """What is verified of a student is the golden trace that was made when it was deposited."""

    def test_that_answers_as_at_its_deposit_is_the_same_to_the_bit(self, archive):
        address = put(archive, KEPT.of("golden.onnx"), students.gru(hidden=32))
        verdict = archive.verify_replay(address)
        assert verdict.likeness is Likeness.BIT
        assert [(one.name, one.likeness) for one in verdict.outputs] == [("y", Likeness.BIT)]
        assert (verdict.profile, verdict.detail, verdict.address) == ((), "", address)

    def test_that_is_real_and_has_free_axes_and_a_constant_is_verified_too(self, archive):
        told = parse_contract(SILERO_TOLD, what="silero.toml").to_metadata()
        address = put(archive, KEPT.of("silero.onnx"), SILERO.read_bytes(), kind=Kind.STUDENT, metadata=told)
        verdict = archive.verify_replay(address)
        assert verdict.likeness is Likeness.BIT
        assert [one.name for one in verdict.outputs] == ["output"]

    def test_is_checked_by_the_reference_evaluator_within_its_bound(self, archive):
        address = put(archive, KEPT.of("checked.onnx"), students.gru(hidden=32))
        verdict = archive.verify_replay(address, reference=True)
        (by_reference,) = verdict.reference
        assert by_reference.likeness is Likeness.TOLERANCE
        assert 0 < by_reference.largest < by_reference.bound
        assert verdict.reference_steps == archive.artifact(address).metadata["golden.steps"]

    @pytest.mark.parametrize("kind", ["tcn", "hazard", "spiking", "reservoir"])
    def test_of_any_usual_kind_is_checked_by_the_reference_evaluator(self, archive, kind):
        address = put(archive, KEPT.of(f"{kind}.onnx"), getattr(students, kind)(), kind=Kind.STUDENT)
        verdict = archive.verify_replay(address, reference=True)
        assert verdict.likeness is Likeness.BIT
        assert all(one.likeness is not Likeness.FAIL for one in verdict.reference)
        assert [one.name for one in verdict.reference] == [one.name for one in verdict.outputs]

    def test_of_large_responses_is_verified_by_its_digest(self, archive):
        data = students.transformer(channels=128, width=16, layers=1, heads=2)
        verdict = archive.verify_replay(put(archive, KEPT.of("large.onnx"), data))
        assert verdict.likeness is Likeness.BIT

    def test_without_a_golden_trace_says_why(self, archive):
        address = put(archive, KEPT.of("untold.onnx"), SILERO.read_bytes(), kind=Kind.STUDENT)
        with pytest.raises(InvalidInput, match="has no golden trace to verify: .*'sr' has no value"):
            archive.verify_replay(address)

    def test_that_is_given_another_constant_since_differs_by_it(self, archive):
        address = put(archive, KEPT.of("gain.onnx"), gain(), kind=Kind.STUDENT, metadata=told_gain(1.0))
        for value, expected in ((1.0 + 2e-6, Likeness.TOLERANCE), (1.5, Likeness.FAIL)):
            changed = archive.annotate(address.at(None), set=told_gain(value))
            verdict = archive.verify_replay(changed.address)
            (y,) = verdict.outputs
            assert (verdict.likeness, y.likeness) == (expected, expected)
            assert y.largest == pytest.approx(value - 1.0, rel=0.2)
        assert archive.verify_replay(address).likeness is Likeness.BIT

    def test_whose_contract_gives_another_stimulus_since_fails_and_says_so(self, archive):
        address = put(archive, KEPT.of("wider.onnx"), gain(), kind=Kind.STUDENT, metadata=told_gain(1.0))
        wider = {"contract.inputs.0.shape": '["minds",4]'}
        verdict = archive.verify_replay(archive.annotate(address.at(None), set=wider).address)
        assert verdict.likeness is Likeness.FAIL
        assert "the contract is another one" in verdict.detail


def gain() -> bytes:
    """`y` = `k` `x`; `k` is a constant."""
    tensor = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node("Mul", ["x", "k"], ["y"])],
        "gain",
        [tensor("x", TensorProto.FLOAT, ["minds", "n"]), tensor("k", TensorProto.FLOAT, [])],
        [tensor("y", TensorProto.FLOAT, ["minds", "n"])],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString()


def told_gain(value: float) -> dict[str, object]:
    said = f'[inputs.x]\nshape = ["minds", 3]\n[inputs.k]\nvalue = {value}\n'
    return dict(parse_contract(said, what="gain.toml").to_metadata())
