"""What every door does with a student that is deposited: its contract is completed, and its golden trace is made."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import onnx
import pytest
from engram_testing import students
from onnx import TensorProto, helper

from engram_client.transfer import deposit_files
from engram_format.address import Address
from engram_format.catalog import ArtifactSpec, Kind, Likeness
from engram_format.errors import InvalidInput, NotFound
from engram_replay import Contract, digest_arrays
from engram_replay.contract_file import parse_contract
from engram_replay.golden import golden_stimuli

SILERO = Path(__file__).parent.parent / "data" / "onnx_real" / "silero_vad_16k_op15.onnx"
TOLD = """
sampling_interval_s = 0.032
[inputs.input]
shape = ["batch", 576]
unit = "1"
[inputs.sr]
value = 16000
[outputs.output]
distribution = "bernoulli"
channels = ["speech"]
"""


@pytest.fixture
def place(archive, request):
    """A memory of the test's own."""
    name = hashlib.sha256(request.node.name.encode()).hexdigest()[:12]
    return Address("lab", f"students-{name}")


def put(archive, place: Address, data: bytes, **spec):
    with archive.open_deposit(place, session=hashlib.sha256(str(place).encode()).hexdigest()[:32]) as deposit:
        offset = deposit.begin(ArtifactSpec(path="student.onnx", size=len(data), **spec))
        deposit.write(data[offset:])
        deposit.end(sha256=hashlib.sha256(data).hexdigest())
        return deposit.commit(message="", author="a test")


def golden_outputs(archive, address: Address, contract: Contract) -> dict[str, np.ndarray]:
    """Return the responses that were kept, from the tables of an artifact."""
    artifact, recording = archive.artifact(address), archive.recording(address)
    outputs = {}
    for number, port in enumerate(contract.responses):
        columns = recording.tables[f"golden.outputs.{number}"].columns
        values = np.array([float(value) for value in columns["value"]])
        outer = artifact.metadata["golden.steps"], artifact.metadata["golden.minds"]
        outputs[port.name] = values.reshape(*outer, *port.step_shape).astype(port.dtype)
    return outputs


def test_a_student_is_deposited_with_its_contract_and_a_golden_trace(archive, place):
    version = put(archive, place, students.gru(hidden=32))
    artifact = archive.artifact(version.address.of("student.onnx"))
    contract = Contract.from_metadata(artifact.metadata)
    assert [(port.name, port.time_axis, port.minds_axis) for port in contract.ports] == [
        ("x", 0, 1),
        ("h0", None, 1),
        ("y", 0, 1),
    ]
    assert artifact.metadata["golden.minds"] == 2
    assert 1 < artifact.metadata["golden.steps"] <= 16
    assert artifact.metadata["golden.profile.provider"] == "CPUExecutionProvider"
    outputs = golden_outputs(archive, artifact.address, contract)
    assert digest_arrays(outputs) == artifact.metadata["golden.outputs.sha256"]
    assert not (outputs["y"][:, 0] == outputs["y"][:, 1]).all()
    steps = artifact.metadata["golden.steps"]
    (stimulus,) = golden_stimuli(contract, seed=artifact.metadata["golden.seed"], steps=steps, minds=2)
    assert digest_arrays({"x": stimulus}) == artifact.metadata["golden.stimulus.sha256"]
    assert artifact.kind is Kind.STUDENT


def test_the_golden_trace_is_what_the_reference_of_onnx_computes(archive, place):
    data = students.gru(hidden=32)
    address = put(archive, place, data).address.of("student.onnx")
    contract = Contract.from_metadata(archive.artifact(address).metadata)
    kept = golden_outputs(archive, address, contract)["y"]
    (stimulus,) = golden_stimuli(contract, seed=1, steps=len(kept), minds=2)
    from onnx.reference import ReferenceEvaluator

    (expected,) = ReferenceEvaluator(onnx.load_model_from_string(data)).run(
        ["y"], {"x": stimulus, "h0": np.zeros((1, 2, 32), np.float32)}
    )
    np.testing.assert_allclose(kept, expected, rtol=1e-4, atol=1e-5)


def test_a_golden_trace_is_the_same_whenever_and_whereever_it_is_made(archive, place):
    data = students.reservoir(hidden=32)
    first = archive.artifact(put(archive, place, data).address.of("student.onnx"))
    second = archive.artifact(put(archive, Address("lab", f"{place.memory}-2"), data).address.of("student.onnx"))
    for name in ("golden.stimulus.sha256", "golden.final_state.sha256"):
        assert first.metadata[name] == second.metadata[name]


def test_a_real_network_is_told_by_a_file_what_it_does_not_say(archive, place):
    told = parse_contract(TOLD, what="silero.toml").to_metadata()
    version = deposit_files(archive, [SILERO], to=place, metadata={"subject.id": "s1", **told})
    artifact = archive.artifact(version.address.of(SILERO.name))
    contract = Contract.from_metadata(artifact.metadata)
    assert contract.constants[0].value == 16000
    assert contract.sampling_interval_s == 0.032
    assert [port.minds_axis for port in (*contract.stimuli, *contract.states, *contract.responses)] == [0, 1, 0]
    assert contract.responses[0].channels == ("speech",)
    assert artifact.metadata["subject.id"] == "s1"
    outputs = golden_outputs(archive, artifact.address, contract)
    assert digest_arrays(outputs) == artifact.metadata["golden.outputs.sha256"]
    assert (outputs["output"] > 0).all()
    # A replay takes the constant from the contract, and answers as the golden trace does.
    (stimulus,) = golden_stimuli(contract, seed=1, steps=artifact.metadata["golden.steps"], minds=2)
    done = archive.replay(artifact.address, {"input": stimulus[:, 0]})
    np.testing.assert_allclose(done.outputs["output"].ravel(), outputs["output"][:, 0].ravel(), rtol=1e-5)
    # What the planner found in the file stands beside it.
    assert archive.recording(artifact.address).series


def test_a_student_that_lacks_a_constant_is_kept_without_a_trace_and_says_why(archive, place):
    said = []
    version = deposit_files(archive, [SILERO], to=place, warn=said.append)
    artifact = archive.artifact(version.address.of(SILERO.name))
    assert "its constant 'sr' has no value" in artifact.metadata["golden.absent"]
    assert Contract.from_metadata(artifact.metadata).states[0].after == "stateN"
    assert any("has no golden trace" in sentence and "'sr'" in sentence for sentence in said)


def test_a_student_that_the_gate_refuses_is_kept_and_says_why_it_will_not_be_replayed(archive, place, tmp_path):
    network = helper.make_graph(
        [helper.make_node("RandomNormalLike", ["x"], ["y"])],
        "random",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 3])],
    )
    model = helper.make_model(network, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    file = tmp_path / "random.onnx"
    file.write_bytes(model.SerializeToString())
    said = []
    version = deposit_files(archive, [file], to=place, warn=said.append)
    artifact = archive.artifact(version.address.of("random.onnx"))
    assert artifact.metadata["golden.absent"].startswith("the student will not be replayed: ")
    assert any("will not be replayed" in sentence and "RandomNormalLike" in sentence for sentence in said)
    assert b"".join(archive.read(artifact.address)) == file.read_bytes()


def test_bytes_that_are_called_a_student_are_kept_as_they_are(archive, place):
    version = put(archive, place, b"no network at all", kind=Kind.STUDENT)
    artifact = archive.artifact(version.address.of("student.onnx"))
    assert artifact.metadata["golden.absent"].startswith("the student will not be replayed: ")
    assert b"".join(archive.read(artifact.address)) == b"no network at all"


def test_a_contract_that_contradicts_the_network_is_refused_and_nothing_is_added(archive, place):
    told = parse_contract('{"inputs": {"x": {"minds_axis": 2}}}', what="f").to_metadata()
    with pytest.raises(
        InvalidInput, match="the contract does not fit student .*: stimulus 'x' has its minds_axis where"
    ):
        put(archive, place, students.gru(hidden=8), metadata=told)
    with pytest.raises(NotFound):
        archive.version(place)
    with pytest.raises(InvalidInput, match="the inputs of the student are 'x', 'h0'"):
        put(
            archive,
            place,
            students.gru(hidden=8),
            metadata=parse_contract('{"inputs": {"X": {}}}', what="f").to_metadata(),
        )
    with pytest.raises(InvalidInput, match="'contract.colour' is no part of a contract"):
        put(archive, place, students.gru(hidden=8), metadata={"contract.colour": "red"})
    # The depositor mends it, and goes on in the same session.
    mended = parse_contract('{"inputs": {"x": {"minds_axis": 1, "unit": "V"}}}', what="f").to_metadata()
    version = put(archive, place, students.gru(hidden=8), metadata=mended)
    contract = Contract.from_metadata(archive.artifact(version.address.of("student.onnx")).metadata)
    assert contract.stimuli[0].unit == "V"


def test_a_student_of_large_responses_keeps_their_digest_only(archive, place):
    version = put(archive, place, students.transformer(channels=128, width=16, layers=1, heads=2))
    artifact = archive.artifact(version.address.of("student.onnx"))
    assert artifact.metadata["golden.steps"] == 1
    assert len(artifact.metadata["golden.outputs.sha256"]) == 64


def test_other_kinds_are_not_examined(archive, place):
    version = put(archive, place, b"a note", metadata={"contract.number": 7})
    artifact = archive.artifact(version.address.of("student.onnx"))
    assert artifact.kind is Kind.FILE
    assert artifact.metadata == {"contract.number": 7}


def test_a_contract_that_is_set_later_is_the_one_that_counts(archive, place):
    address = put(archive, place, students.reservoir(hidden=8)).address.of("student.onnx")
    archive.annotate(address.at(None), set={"contract.outputs.0.unit": "Hz"})
    assert Contract.from_metadata(archive.artifact(address.at(None)).metadata).responses[0].unit == "Hz"
    with pytest.raises(InvalidInput, match="'contract.seed' is -3"):
        archive.annotate(address.at(None), set={"contract.seed": -3})
    with pytest.raises(InvalidInput, match="'contract.inputs.0' does not say the name"):
        archive.annotate(address.at(None), unset=["contract.inputs.0.name"])


def test_a_golden_trace_is_nobodys_to_change(archive, place):
    address = put(archive, place, students.reservoir(hidden=8)).address.of("student.onnx")
    for change in ({"set": {"golden.outputs.sha256": "0" * 64}}, {"unset": ["golden.seed"]}):
        with pytest.raises(InvalidInput, match="is written by the archive alone"):
            archive.annotate(address.at(None), **change)
    assert archive.verify_replay(address).likeness is Likeness.BIT
