"""Counts and events that are drawn from the responses of replays, through every door."""

from __future__ import annotations

import io

import numpy as np
import pytest
from engram_testing import students
from engram_testing.deposits import put

from engram_format.address import Address
from engram_format.catalog import Kind, Likeness
from engram_format.errors import InvalidInput
from engram_replay import digest_arrays, encode_npz
from engram_replay.contract_file import parse_contract
from engram_replay.sampler import draw
from engram_replay.told import Distribution

PLACE = Address("lab", "sampled")
STIMULUS = np.random.default_rng(11).standard_normal((40, 3)).astype(np.float32)
TOLD = 'seed = 5\n[outputs.counts]\ndistribution = "rate"\n[outputs.spikes]\ndistribution = "bernoulli"\n'


def told(text: str = TOLD) -> dict[str, object]:
    return dict(parse_contract(text, what="spiking.toml").to_metadata())


@pytest.fixture(scope="module")
def spiking(archive):
    """A student with state, whose responses are values, rates and probabilities."""
    return put(archive, PLACE.of("spiking.onnx"), students.spiking(), kind=Kind.STUDENT, metadata=told())


def test_counts_and_events_stand_beside_the_responses_that_they_are_drawn_from(archive, spiking):
    plain = archive.replay(spiking, {"": STIMULUS})
    done = archive.replay(spiking, {"": STIMULUS}, sample=5)
    assert sorted(done.outputs) == ["counts", "counts.drawn", "level", "spikes", "spikes.drawn"]
    counts, spikes = done.outputs["counts.drawn"], done.outputs["spikes.drawn"]
    assert (counts.dtype, counts.shape) == (np.uint16, done.outputs["counts"].shape)
    assert (spikes.dtype, spikes.shape) == (np.bool_, done.outputs["spikes"].shape)
    assert 0 < spikes.mean() < 1
    assert counts.max() > 1
    # They are those of the sampler: the stream is the number of the response.
    order = ["level", "counts", "spikes"]
    for name, kind in (("counts", Distribution.RATE), ("spikes", Distribution.BERNOULLI)):
        expected = draw(done.outputs[name].reshape(40, 1, 3), kind, seed=5, stream=order.index(name))
        assert np.array_equal(done.outputs[f"{name}.drawn"].reshape(40, 1, 3), expected)
    # The network has no part in it.
    assert done.receipt["outputs.sha256"] == plain.receipt["outputs.sha256"]
    assert done.receipt["sample.seed"] == 5
    drawn = {"counts.drawn": counts, "spikes.drawn": spikes}
    assert done.receipt["drawn.sha256"] == digest_arrays(drawn)
    assert not {"sample.seed", "drawn.sha256"} & plain.receipt.keys()


def test_the_same_seed_draws_the_same_and_another_draws_others(archive, spiking):
    first, again, other = (archive.replay(spiking, {"": STIMULUS}, sample=seed) for seed in (7, 7, 8))
    assert first.receipt["drawn.sha256"] == again.receipt["drawn.sha256"]
    assert first.receipt["drawn.sha256"] != other.receipt["drawn.sha256"]


def test_a_mind_is_drawn_alike_in_whatever_company(archive):
    """Minds that share a call of a whole replay, and one that is alone."""
    said = told('[outputs.spikes]\ndistribution = "bernoulli"\n')
    student = put(archive, PLACE.of("whole.onnx"), students.hazard(), kind=Kind.STUDENT, metadata=said)
    both = np.stack([STIMULUS, STIMULUS * 2], axis=1)
    together = archive.replay(student, {"": both}, sample=9)
    alone = archive.replay(student, {"": both[:, :1]}, sample=9)
    assert together.outputs["spikes.drawn"].shape == (40, 2, 3)
    assert np.array_equal(together.outputs["spikes.drawn"][:, :1], alone.outputs["spikes.drawn"])
    expected = draw(together.outputs["spikes"], Distribution.BERNOULLI, seed=9)
    assert np.array_equal(together.outputs["spikes.drawn"], expected)
    again = archive.replay(student, {"": both[:10]}, sample=9)
    assert np.array_equal(again.outputs["spikes.drawn"], together.outputs["spikes.drawn"][:10])


def test_what_is_drawn_is_kept_with_the_replay_and_drawn_again_when_it_is_verified(archive, spiking):
    done = archive.replay(spiking, {"": STIMULUS}, sample=5, save_to=PLACE)
    kept = np.load(io.BytesIO(b"".join(archive.read(done.saved.address))))
    assert np.array_equal(kept["spikes.drawn"], done.outputs["spikes.drawn"])
    verdict = archive.verify_replay(done.saved.address)
    assert (verdict.likeness, verdict.detail) == (Likeness.BIT, "")
    assert sorted(one.name for one in verdict.outputs) == sorted(done.outputs)


def test_draws_that_were_tampered_with_fail(archive, spiking):
    done = archive.replay(spiking, {"": STIMULUS}, sample=5, save_to=PLACE)
    forged = dict(done.outputs)
    forged["spikes.drawn"] = ~forged["spikes.drawn"]
    drawn = {name: array for name, array in forged.items() if name.endswith(".drawn")}
    for name, receipt, reason in (
        ("forged.npz", done.receipt, "other draws than those that are kept"),
        ("consistent.npz", {**done.receipt, "drawn.sha256": digest_arrays(drawn)}, ""),
    ):
        address = put(
            archive,
            PLACE.of(name),
            encode_npz(forged),
            kind=Kind.REPLAY,
            metadata=receipt,
            made_from=done.saved.made_from,
        )
        verdict = archive.verify_replay(address)
        assert verdict.likeness is Likeness.FAIL
        assert reason in verdict.detail
        likeness = {one.name: one.likeness for one in verdict.outputs}
        assert (likeness["spikes"], likeness["spikes.drawn"]) == (Likeness.BIT, Likeness.FAIL)


def test_from_continuous_responses_nothing_is_drawn(archive):
    student = put(archive, PLACE.of("gru.onnx"), students.gru(hidden=8))
    with pytest.raises(InvalidInput, match="every response of the student is continuous"):
        archive.replay(student, {"": np.zeros((3, 64), np.float32)}, sample=1)


def test_responses_that_are_no_probabilities_are_refused(archive):
    said = told('[outputs.level]\ndistribution = "bernoulli"\n')
    student = put(archive, PLACE.of("wrong.onnx"), students.spiking(), kind=Kind.STUDENT, metadata=said)
    with pytest.raises(InvalidInput, match="must be from 0 to 1: check the contract's distribution"):
        archive.replay(student, {"": STIMULUS}, sample=1)


def test_a_seed_that_could_not_be_kept_is_refused(archive, spiking):
    for seed in (-1, 1 << 63, 1 << 70):
        with pytest.raises(InvalidInput, match="cannot be kept"):
            archive.replay(spiking, {"": STIMULUS}, sample=seed)
