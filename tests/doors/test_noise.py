"""Students that draw their own events from noise, which the sampler gives: the same bits through every door, however they run."""

from __future__ import annotations

import io

import numpy as np
import onnx
import onnxruntime
import pytest
from engram_testing import students
from engram_testing.deposits import put

from engram_client.cli.replay_minds import replay_minds
from engram_format.address import Address, ContentAddress
from engram_format.catalog import Kind, Likeness
from engram_format.errors import InvalidInput
from engram_format.ports import Perturbation
from engram_replay import digest_arrays
from engram_replay.contract_file import parse_contract

PLACE = Address("lab", "noise")
STEPS, CELLS, MINDS = 40, 3, 5
STIMULUS = np.random.default_rng(5).standard_normal((STEPS, 4)).astype(np.float32)
NETWORK = students.self_exciting(cells=CELLS, with_rate=True)
TOLD = '[inputs.noise]\nrole = "noise"\n'


def told(text: str) -> dict[str, object]:
    return dict(parse_contract(text, what="self_exciting.toml").to_metadata())


def other_bytes(name: str) -> bytes:
    """The same network in other bytes: a replay names its student by these, whose contract is the one that they have."""
    model = onnx.load_from_string(NETWORK)
    model.doc_string = name
    return model.SerializeToString()


def words_of(counter: list[int], key: list[int]) -> list[int]:
    """Philox4x32-10 in whole numbers, from its description."""
    c, k = list(counter), list(key)
    for _ in range(10):
        first, second = 0xD2511F53 * c[0], 0xCD9E8D57 * c[2]
        c = [(second >> 32) ^ c[1] ^ k[0], second & 0xFFFFFFFF, (first >> 32) ^ c[3] ^ k[1], first & 0xFFFFFFFF]
        k = [(k[0] + 0x9E3779B9) & 0xFFFFFFFF, (k[1] + 0xBB67AE85) & 0xFFFFFFFF]
    return c


def expected_noise(seed: int, *, steps: range, minds: range) -> np.ndarray:
    """The numbers, one by one: the high 24 bits of word i mod 4 of block i div 4 of stream 2^14."""
    key = [seed & 0xFFFFFFFF, seed >> 32]
    numbers = [
        (words_of([unit // 4, mind, step & 0xFFFFFFFF, (1 << 30) + (step >> 32)], key)[unit % 4] >> 8) / 2**24
        for step in steps
        for mind in minds
        for unit in range(CELLS)
    ]
    return np.array(numbers, np.float32).reshape(len(steps), len(minds), CELLS)


def run_by_hand(noise: np.ndarray, stimulus: np.ndarray = STIMULUS) -> np.ndarray:
    """The spikes (step, mind, cell) that the runtime itself gives, step by step, each mind alone."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(NETWORK, options, providers=["CPUExecutionProvider"])
    spikes = np.empty(noise.shape, np.float32)
    for mind in range(noise.shape[1]):
        trace = np.zeros((1, CELLS), np.float32)
        for step, given in enumerate(stimulus):
            feed = {"stimulus": given[np.newaxis], "noise": noise[step, mind : mind + 1], "trace": trace}
            (spikes[step, mind : mind + 1], trace) = session.run(["spikes", "trace_out"], feed)
    return spikes


@pytest.fixture(scope="module")
def wanted():
    """The spikes of seed 7."""
    return run_by_hand(expected_noise(7, steps=range(STEPS), minds=range(MINDS)))


@pytest.fixture(scope="module")
def student(archive):
    return put(archive, PLACE.of("seedless.onnx"), NETWORK, kind=Kind.STUDENT, metadata=told(TOLD))


@pytest.fixture(scope="module")
def seeded(archive):
    return put(
        archive, PLACE.of("seeded.onnx"), other_bytes("seeded"), kind=Kind.STUDENT, metadata=told("seed = 7\n" + TOLD)
    )


def for_all(stimulus: np.ndarray, minds: int = MINDS) -> np.ndarray:
    return np.ascontiguousarray(np.broadcast_to(stimulus[:, np.newaxis], (len(stimulus), minds, 4)))


def test_a_replay_draws_from_noise_that_anyone_can_work_out(archive, student, wanted):
    done = archive.replay(student, {"stimulus": STIMULUS}, sample=7)
    assert sorted(done.outputs) == ["hazard", "spikes"]
    assert np.array_equal(done.outputs["spikes"].reshape(STEPS, CELLS), wanted[:, 0])
    assert 0.05 < wanted.mean() < 0.95
    assert done.receipt["sample.seed"] == 7
    assert "drawn.sha256" not in done.receipt
    assert done.receipt["stimulus.sha256"] == digest_arrays({"stimulus": STIMULUS})
    other = archive.replay(student, {"": STIMULUS}, sample=8)
    assert not np.array_equal(other.outputs["spikes"], done.outputs["spikes"])


def test_minds_take_the_same_noise_in_company_and_however_their_steps_are_cut(archive, student, wanted):
    with archive.open_minds(student, minds=MINDS, sample=7) as minds:
        assert minds.sample_seed == 7
        assert [port.role for port in minds.ports] == ["stimulus", "noise", "state", "response", "response"]
        at_once = minds.tick({"stimulus": for_all(STIMULUS)})
    assert np.array_equal(at_once["spikes"], wanted)
    with archive.open_minds(student, minds=MINDS, sample=7) as minds:
        cut = [minds.tick(for_all(STIMULUS[first:stop])) for first, stop in ((0, 1), (1, 2), (2, 19), (19, STEPS))]
    assert np.array_equal(np.concatenate([part["spikes"] for part in cut]), wanted)
    with archive.open_minds(student, sample=7) as alone, archive.open_minds(student, minds=3, sample=8) as others:
        spikes = []
        for step in range(STEPS):
            others.tick(for_all(STIMULUS[step : step + 1], 3))
            spikes.append(alone.tick(STIMULUS[step : step + 1, np.newaxis])["spikes"])
    assert np.array_equal(np.concatenate(spikes), wanted[:, :1])


def test_minds_that_were_kept_go_on_with_their_own_noise(archive, student, wanted):
    with archive.open_minds(student, minds=MINDS, sample=7) as minds:
        minds.tick(for_all(STIMULUS[:15]))
        saved = minds.save(PLACE.of("kept.npz"))
    assert saved.metadata["sample.seed"] == 7
    with archive.open_minds(student, initial_state=saved.address) as minds:
        assert (minds.steps, minds.sample_seed) == (15, 7)
        rest = minds.tick(for_all(STIMULUS[15:]))
    assert np.array_equal(rest["spikes"], wanted[15:])
    with archive.open_minds(student, initial_state=saved.address, sample=8) as minds:
        other = minds.tick(for_all(STIMULUS[15:]))
    assert not np.array_equal(other["spikes"], wanted[15:])


def test_forks_of_a_mind_differ_and_the_first_goes_on_as_the_mind_of_its_number(archive, student, wanted):
    with archive.open_minds(student, sample=7) as minds:
        minds.tick(for_all(STIMULUS[:15], 1))
        with minds.fork([0, 0, 0]) as forked, minds.fork([0], sample=8) as elsewhere:
            assert (forked.sample_seed, elsewhere.sample_seed) == (7, 8)
            spikes = forked.tick(for_all(STIMULUS[15:], 3))["spikes"]
            others = elsewhere.tick(for_all(STIMULUS[15:], 1))["spikes"]
        assert np.array_equal(minds.tick(for_all(STIMULUS[15:], 1))["spikes"], wanted[15:, :1])
        with minds.fork([0, 0], perturbation=Perturbation(1, 0.5)) as moved:
            assert (moved.steps, moved.sample_seed) == (STEPS, 7)
    assert np.array_equal(spikes[:, :1], wanted[15:, :1])
    assert not np.array_equal(others, spikes[:, :1])
    assert len({spikes[:, mind].tobytes() for mind in range(3)}) == 3


def test_without_a_seed_the_contract_gives_it_and_else_a_sentence_asks_for_one(archive, student, seeded, wanted):
    done = archive.replay(seeded, {"": STIMULUS})
    assert np.array_equal(done.outputs["spikes"].reshape(STEPS, CELLS), wanted[:, 0])
    assert done.receipt["sample.seed"] == 7
    with archive.open_minds(seeded) as minds:
        assert minds.sample_seed == 7
    for act in (lambda: archive.replay(student, {"": STIMULUS}), lambda: archive.open_minds(student)):
        with pytest.raises(InvalidInput, match="takes the noise 'noise'.* give one to sample from, such as --sample 1"):
            act()


def test_noise_that_comes_with_the_stimulus_is_refused(archive, seeded):
    given = {"stimulus": STIMULUS, "noise": np.zeros((STEPS, CELLS), np.float32)}
    with pytest.raises(InvalidInput, match="is noise and comes from the sampler: leave it out"):
        archive.replay(seeded, given)
    with pytest.raises(InvalidInput, match="is noise and comes from the sampler: leave it out"):
        replay_minds(archive, seeded, given, minds=2, perturbation=None, sample=None, save_to=None, author="")
    with archive.open_minds(seeded) as minds, pytest.raises(InvalidInput, match="the minds take 'stimulus'"):
        minds.tick({name: array[:, np.newaxis] for name, array in given.items()})


def test_a_replay_is_verified_with_the_noise_of_its_receipt(archive, student, seeded):
    for named, seed in ((student, 7), (seeded, None)):
        done = archive.replay(named, {"": STIMULUS}, sample=seed, save_to=PLACE)
        kept = np.load(io.BytesIO(b"".join(archive.read(done.saved.address))))
        assert sorted(kept) == ["hazard", "spikes"]
        verdict = archive.verify_replay(done.saved.address, reference=True)
        assert (verdict.likeness, verdict.detail) == (Likeness.BIT, "")
        assert verdict.reference
        many = replay_minds(
            archive, named, {"": STIMULUS}, minds=MINDS, perturbation=None, sample=seed, save_to=PLACE, author=""
        )
        assert many.receipt["sample.seed"] == 7
        assert sorted(many.outputs) == ["hazard", "spikes"]
        assert archive.verify_replay(many.saved.address).likeness is Likeness.BIT


def test_a_replay_of_another_seed_than_its_receipt_says_fails(archive, student):
    done = archive.replay(student, {"": STIMULUS}, sample=7, save_to=PLACE)
    archive_bytes = b"".join(archive.read(done.saved.address))
    for name, receipt in (
        ("forged.npz", {**done.receipt, "sample.seed": 8}),
        ("nameless.npz", {key: value for key, value in done.receipt.items() if key != "sample.seed"}),
    ):
        forged = put(
            archive,
            PLACE.of(name),
            archive_bytes,
            kind=Kind.REPLAY,
            metadata=receipt,
            made_from=done.saved.made_from,
        )
        if name == "forged.npz":
            assert archive.verify_replay(forged).likeness is Likeness.FAIL
        else:
            with pytest.raises(InvalidInput, match=r"sample\.seed is None, and no seed"):
                archive.verify_replay(forged)


def test_a_golden_trace_has_noise_of_its_own_seed(archive, student):
    kept = archive.artifact(student)
    assert kept.metadata["golden.seed"] == 1
    assert "contract.seed" not in kept.metadata
    assert archive.verify_replay(student).likeness is Likeness.BIT
    verdict = archive.verify_replay(student, reference=True)
    assert verdict.likeness is Likeness.BIT
    assert all(one.likeness is not Likeness.FAIL for one in verdict.reference)
    spikes = archive.recording(student).tables["golden.outputs.0"].columns["value"]
    assert set(np.asarray(spikes)) == {0.0, 1.0}


def test_counts_and_noise_are_drawn_from_one_seed_and_have_nothing_in_common(archive, wanted):
    said = told(TOLD + '[outputs.hazard]\ndistribution = "bernoulli"\n')
    student = put(archive, PLACE.of("both.onnx"), other_bytes("both"), kind=Kind.STUDENT, metadata=said)
    done = archive.replay(student, {"": STIMULUS}, sample=7, save_to=PLACE)
    assert sorted(done.outputs) == ["hazard", "hazard.drawn", "spikes"]
    assert np.array_equal(done.outputs["spikes"].reshape(STEPS, CELLS), wanted[:, 0])
    assert not np.array_equal(done.outputs["hazard.drawn"], done.outputs["spikes"] > 0)
    assert archive.verify_replay(done.saved.address).likeness is Likeness.BIT


def test_a_group_refuses_students_that_take_noise(archive, seeded):
    with pytest.raises(InvalidInput, match="takes the noise 'noise', which a group is not given: replay it by itself"):
        archive.replay_group([seeded, seeded], {"": STIMULUS})


def test_a_student_named_by_its_content_takes_its_noise(archive, seeded, wanted):
    sha256 = archive.artifact(seeded).sha256
    done = archive.replay(ContentAddress(sha256), {"": STIMULUS}, sample=7)
    assert np.array_equal(done.outputs["spikes"].reshape(STEPS, CELLS), wanted[:, 0])


def test_noise_is_told_and_never_guessed(archive):
    plain = put(archive, PLACE.of("plain.onnx"), other_bytes("plain"), kind=Kind.STUDENT)
    with archive.open_minds(plain) as minds:
        assert [port.role for port in minds.ports if port.name == "noise"] == ["stimulus"]
        assert minds.sample_seed is None
