"""What minds do, through every door: the same bits, however many they are and however their steps arrive."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from engram_testing.students import gru

from engram_format.address import Address, ContentAddress
from engram_format.arrays import digest_arrays
from engram_format.catalog import ArtifactSpec, Kind
from engram_format.errors import InvalidInput, NotFound
from engram_format.ports import Perturbation

MEMORY = Address("lab", "minds")
GRU = MEMORY.of("gru.onnx")
SILERO = MEMORY.of("silero.onnx")
SILERO_FILE = Path(__file__).parents[1] / "data" / "onnx_real" / "silero_vad_16k_op15.onnx"
STEPS = 12
MINDS = 256


@pytest.fixture(scope="module")
def network():
    return gru()


@pytest.fixture(scope="module")
def students(archive, network):
    files = {"gru.onnx": network, "silero.onnx": SILERO_FILE.read_bytes()}
    with archive.open_deposit(MEMORY, session="3d" * 16) as deposit:
        for path, data in files.items():
            deposit.begin(ArtifactSpec(path=path, size=len(data)))
            deposit.write(data)
            deposit.end(sha256=hashlib.sha256(data).hexdigest())
        deposit.commit(message="", author="a test")
    return archive


@pytest.fixture(scope="module")
def drive():
    return np.random.default_rng(1).standard_normal((STEPS, MINDS, 64)).astype(np.float32)


@pytest.fixture(scope="module")
def wanted(network, drive):
    """What the runtime itself answers to each mind alone, step by step: responses (step, mind, 64) and last states."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(network, options, providers=["CPUExecutionProvider"])
    responses = np.empty((STEPS, MINDS, 64), np.float32)
    states = np.empty((MINDS, 1, 256), np.float32)
    for mind in range(MINDS):
        state = np.zeros((1, 1, 256), np.float32)
        for step in range(STEPS):
            response, state = session.run(["y", "h1"], {"x": drive[step : step + 1, mind : mind + 1], "h0": state})
            responses[step, mind] = response[0, 0]
        states[mind] = state[:, 0]
    return responses, states


@pytest.fixture
def open_gru(students):
    """Open minds of the GRU; whatever a test leaves open is closed."""
    opened = []

    def open_(**options):
        opened.append(students.open_minds(GRU, **options))
        return opened[-1]

    yield open_
    for minds in opened:
        minds.close()


def run(minds, drive, *, cuts=(1,) * STEPS):
    parts, at = [], 0
    for steps in cuts:
        parts.append(minds.tick(drive[at : at + steps])["y"])
        at += steps
    assert at == len(drive)
    return np.concatenate(parts)


@pytest.mark.parametrize("count", [1, 2, 16, 64, 256])
def test_each_mind_of_many_does_to_the_bit_what_it_does_alone(open_gru, drive, wanted, count):
    responses, states = wanted
    minds = open_gru(minds=count)
    assert np.array_equal(run(minds, drive[:, :count]), responses[:, :count])
    assert np.array_equal(minds.state()["h0"].reshape(count, 256), states[:count, 0])
    assert (minds.minds, minds.steps) == (count, STEPS)


def test_the_order_of_minds_changes_nothing_but_their_order(open_gru, drive, wanted):
    order = np.random.default_rng(2).permutation(64)
    assert np.array_equal(run(open_gru(minds=64), drive[:, order]), wanted[0][:, order])


@pytest.mark.parametrize("cuts", [(STEPS,), (1, 4, 7), (6, 6)])
def test_steps_in_one_tick_or_in_many_give_the_same_bits(open_gru, drive, wanted, cuts):
    assert np.array_equal(run(open_gru(minds=16), drive[:, :16], cuts=cuts), wanted[0][:, :16])


def test_a_tick_of_many_megabytes_gives_the_bits_of_many_small_ones(open_gru):
    drive = np.random.default_rng(3).standard_normal((200, 256, 64)).astype(np.float32)
    whole = open_gru(minds=256).tick(drive)["y"]
    minds = open_gru(minds=256)
    assert np.array_equal(whole, np.concatenate([minds.tick(drive[at : at + 10])["y"] for at in range(0, 200, 10)]))


def test_a_fork_goes_on_exactly_and_leaves_its_parent_as_it_was(open_gru, drive, wanted):
    responses, _ = wanted
    parents = open_gru(minds=4)
    run(parents, drive[:5, :4], cuts=(5,))
    with parents.fork([2, 0, 2]) as forked:
        assert (forked.minds, forked.steps) == (3, 5)
        assert np.array_equal(run(forked, drive[5:, [2, 0, 2]], cuts=(7,)), responses[5:, [2, 0, 2]])
        with forked.fork([1]) as again:
            assert np.array_equal(again.state()["h0"], forked.state()["h0"][1:2])
    assert np.array_equal(run(parents, drive[5:, :4], cuts=(7,)), responses[5:, :4])


def test_minds_that_are_saved_go_on_exactly(open_gru, students, drive, wanted, door):
    minds = open_gru(minds=4)
    run(minds, drive[:5, :4], cuts=(5,))
    kept = minds.save(MEMORY, author="ada")
    assert kept.kind is Kind.REPLAY
    assert (kept.address.path or "").startswith("minds/")
    assert kept.metadata["state.sha256"] == digest_arrays(minds.state())
    assert (kept.metadata["mind.count"], kept.metadata["mind.step"]) == (4, 5)
    named = minds.save(MEMORY.of("minds/five.npz"), author="ada")
    assert named.address.path == "minds/five.npz"
    minds.close()
    student = ContentAddress(str(kept.metadata["student.sha256"]))
    with door.open() as later, later.open_minds(student, initial_state=kept.address) as again:
        assert (again.minds, again.steps) == (4, 5)
        assert np.array_equal(run(again, drive[5:, :4], cuts=(1, 6)), wanted[0][5:, :4])
        assert again.steps == STEPS
        assert again.save(MEMORY.of("minds/twelve.npz")).metadata["mind.step"] == STEPS


def test_one_state_is_given_to_all_minds(open_gru, drive, wanted):
    one = open_gru()
    run(one, drive[:5, :1], cuts=(5,))
    kept = one.save(MEMORY.of("minds/one.npz"))
    together = np.repeat(drive[5:, :1], 3, axis=1)
    for state in (kept.address, one.state()):
        many = open_gru(minds=3, initial_state=state)
        assert np.array_equal(run(many, together, cuts=(7,)), np.repeat(wanted[0][5:, :1], 3, axis=1))


def test_perturbed_minds_begin_a_little_differently_each_and_the_same_again(open_gru):
    one = open_gru()
    state = one.tick(np.ones((3, 1, 64), np.float32)) and one.state()["h0"]
    first = open_gru(minds=16, initial_state={"h0": state}, perturbation=Perturbation(1)).state()["h0"]
    assert np.array_equal(first[0], state[0])
    assert len(np.unique(first[:, 0], axis=0)) == 16
    assert 0 < np.abs(first - state).max() < 4e-3 * np.abs(state).max()
    again = open_gru(minds=16, initial_state={"h0": state}, perturbation=Perturbation(1, 1e-3)).state()["h0"]
    assert np.array_equal(again, first)
    other = open_gru(minds=16, initial_state={"h0": state}, perturbation=Perturbation(2)).state()["h0"]
    assert not np.array_equal(other, first)
    with pytest.raises(InvalidInput, match="from 0 to 1"):
        open_gru(minds=2, perturbation=Perturbation(1, 2.0))


def test_the_state_of_some_minds_is_not_that_of_others(open_gru, students):
    kept = open_gru(minds=3).save(MEMORY.of("minds/three.npz"))
    with pytest.raises(InvalidInput, match="holds 3 minds, not 2"):
        open_gru(minds=2, initial_state=kept.address)
    with pytest.raises(InvalidInput, match="another student"):
        students.open_minds(SILERO, initial_state=kept.address)
    with pytest.raises(InvalidInput, match="no state of minds"):
        open_gru(initial_state=GRU)
    with pytest.raises(InvalidInput, match="h0"):
        open_gru(minds=2, initial_state={"h0": np.zeros((2, 1, 255), np.float32)})
    with pytest.raises(InvalidInput, match="no state 'other'"):
        open_gru(initial_state={"other": np.zeros((1, 4), np.float32)})


def test_a_real_network_with_a_constant_runs_as_many_minds(students):
    speech = np.random.default_rng(4).normal(0, 0.1, (6, 5, 512)).astype(np.float32)
    session = onnxruntime.InferenceSession(SILERO_FILE.read_bytes(), providers=["CPUExecutionProvider"])
    with students.open_minds(SILERO, minds=5, constants={"sr": 16_000}) as minds:
        assert [(port.name, port.role) for port in minds.ports] == [
            ("input", "stimulus"),
            ("sr", "constant"),
            ("state", "state"),
            ("output", "response"),
        ]
        given = minds.tick({"input": speech})["output"]
    for mind in range(5):
        state = np.zeros((2, 1, 128), np.float32)
        for step in range(6):
            feed = {"input": speech[step, mind : mind + 1], "state": state, "sr": np.array(16_000, np.int64)}
            response, state = session.run(None, feed)
            assert np.array_equal(given[step, mind], response[0])


def test_a_tick_that_does_not_fit_is_refused_and_leaves_the_minds_as_they_were(open_gru, drive, wanted):
    minds = open_gru(minds=2)
    own = drive[:, :2]
    run(minds, own[:5], cuts=(5,))
    gap = own[5:].copy()
    gap[3, 1, 7] = np.nan
    for wrong, sentence in [
        (own[5:, :1], "for 2 minds"),
        (own[5:, :, :63], "does not take an array of shape"),
        (own[5], "does not take an array of shape"),
        (own[5:5], "at least one step"),
        (own[5:].astype(np.float64) + 1e-9, "without rounding"),
        ({"z": own[5:]}, "give one array for each, by name"),
        ({"x": own[5:], "z": own[5:]}, "give one array for each, by name"),
        (own[5:].astype("U8"), "takes numbers"),
        (gap, "NaN"),
    ]:
        with pytest.raises(InvalidInput, match=sentence):
            minds.tick(wrong)
    with pytest.raises(InvalidInput):
        minds.fork([0, 2])
    with pytest.raises(InvalidInput):
        minds.fork([])
    assert minds.steps == 5
    assert np.array_equal(run(minds, own[5:].astype(np.float64), cuts=(7,)), wanted[0][5:, :2])


def test_nan_is_taken_where_it_is_allowed_and_stays_with_its_mind(open_gru, drive, wanted):
    gap = drive[:, :2].copy()
    gap[3, 1] = np.nan
    responses = run(open_gru(minds=2, allow_nan=True), gap)
    assert np.array_equal(responses[:, 0], wanted[0][:, 0])
    assert not np.array_equal(responses[3, 1], wanted[0][3, 1])


def test_minds_that_are_closed_say_so(open_gru, drive):
    minds = open_gru()
    minds.close()
    minds.close()
    with pytest.raises(NotFound, match="closed"):
        minds.tick(drive[:1, :1])


def test_what_cannot_be_opened_is_refused(students, open_gru):
    with pytest.raises(NotFound):
        students.open_minds(MEMORY.of("no-such.onnx"))
    with pytest.raises(InvalidInput):
        open_gru(minds=0)
    with pytest.raises(InvalidInput):
        open_gru(constants={"sr": 1})
    with pytest.raises(InvalidInput):
        open_gru(execution={"form": "sideways"})
    with pytest.raises(InvalidInput):
        open_gru(execution={"speed": 2})


def test_minds_tell_what_they_take_and_how_they_run(open_gru):
    minds = open_gru(execution={"threads": 2})
    x, h0, y = minds.ports
    assert (x.name, x.role, x.dtype, x.step_shape) == ("x", "stimulus", np.float32, (64,))
    assert (h0.name, h0.role, h0.step_shape) == ("h0", "state", (1, 256))
    assert (y.name, y.role, y.distribution) == ("y", "response", "continuous")
    assert minds.profile["profile.threads"] == 2
    assert minds.profile["profile.form"] == "solo"
    assert minds.student_sha256 == hashlib.sha256(gru()).hexdigest()


def test_two_threads_give_the_bits_of_one(open_gru, drive, wanted):
    assert np.array_equal(run(open_gru(minds=64, execution={"threads": 2}), drive[:, :64]), wanted[0][:, :64])
