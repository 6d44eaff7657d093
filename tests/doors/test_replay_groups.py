"""Several students over one stimulus, through every door."""

from __future__ import annotations

import numpy as np
import onnx
import onnx.numpy_helper
import pytest
from engram_testing import students
from engram_testing.deposits import put

from engram_format.address import Address
from engram_format.catalog import Likeness
from engram_format.errors import InvalidInput

GROUP = Address("lab", "group")
STIMULUS = np.random.default_rng(4).standard_normal((50, 64)).astype(np.float32)


@pytest.fixture(scope="module")
def small(archive):
    return [put(archive, GROUP.of(f"small/{seed}.onnx"), students.gru(hidden=64, seed=seed)) for seed in range(5)]


@pytest.fixture(scope="module")
def large(archive):
    return [put(archive, GROUP.of(f"large/{seed}.onnx"), students.reservoir(seed=seed)) for seed in range(2)]


def with_readout(seed: int) -> bytes:
    """Return a student with the same recurrent layer as the others and a readout of its own."""
    model = onnx.load_model_from_string(students.gru(hidden=64))
    own = np.random.default_rng(seed).standard_normal((64, 64)).astype(np.float32) / 8
    (readout,) = (tensor for tensor in model.graph.initializer if tensor.name == "out")
    readout.CopyFrom(onnx.numpy_helper.from_array(own, "out"))
    return model.SerializeToString(deterministic=True)


def test_small_students_run_as_one_network_and_answer_as_each_by_itself(archive, small):
    together = archive.replay_group(small, {"": STIMULUS})
    assert together.form == "stacked-2"
    assert "5 students run as one network" in together.reason
    for student, result in zip(small, together.results, strict=True):
        alone = archive.replay(student, {"": STIMULUS})
        np.testing.assert_allclose(result.outputs["y"], alone.outputs["y"], atol=1e-5)
        assert result.receipt["student.sha256"] == alone.receipt["student.sha256"]
        assert result.receipt["profile.form"] == "stacked-2"
        assert alone.receipt["profile.form"] == "solo"


def test_large_students_run_one_by_one_with_the_bits_of_each(archive, large):
    together = archive.replay_group(large, {"": STIMULUS})
    assert together.form == "solo"
    assert "one by one" in together.reason
    for student, result in zip(large, together.results, strict=True):
        assert result.outputs["y"].tobytes() == archive.replay(student, {"": STIMULUS}).outputs["y"].tobytes()


def test_the_bits_of_a_student_do_not_depend_on_its_company(archive, small):
    whole = archive.replay_group(small, {"": STIMULUS})
    part = archive.replay_group([small[3], small[1]], {"": STIMULUS})
    assert part.results[0].outputs["y"].tobytes() == whole.results[3].outputs["y"].tobytes()
    assert part.results[1].outputs["y"].tobytes() == whole.results[1].outputs["y"].tobytes()


def test_a_replay_in_a_group_is_kept_and_verified_alone_to_the_bit(archive, small):
    together = archive.replay_group(small, {"": STIMULUS}, save_to=GROUP)
    for result in together.results[:2]:
        verdict = archive.verify_replay(result.saved.address)
        assert (verdict.likeness, verdict.profile) == (Likeness.BIT, ())


def test_a_replay_on_a_shared_base_is_verified_alone_to_the_bit(archive):
    together = archive.replay_group(
        [put(archive, GROUP.of(f"readouts/{seed}.onnx"), with_readout(seed)) for seed in range(3)],
        {"": STIMULUS},
        save_to=GROUP,
    )
    assert together.form == "shared-1"
    verdict = archive.verify_replay(together.results[2].saved.address)
    assert (verdict.likeness, verdict.profile) == (Likeness.BIT, ())


def test_students_of_different_kinds_run_one_by_one(archive, small, large):
    together = archive.replay_group([small[0], large[0]], {"": STIMULUS})
    assert together.form == "solo"
    assert "architecture" in together.reason


def test_one_student_is_no_group(archive, small):
    with pytest.raises(InvalidInput, match="two students or more"):
        archive.replay_group(small[:1], {"": STIMULUS})
