"""What is drawn from responses depends on seed, step, mind and unit alone, and follows the distribution that is named."""

from __future__ import annotations

import math

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

from engram_format.errors import InvalidInput
from engram_replay.philox import blocks, doubles, philox4x32
from engram_replay.sampler import draw, perturb, uniform_noise, uniform_stimulus
from engram_replay.told import Distribution

BERNOULLI, RATE = Distribution.BERNOULLI, Distribution.RATE


@pytest.mark.parametrize(
    ("counter", "key", "block"),
    [
        ("00000000 00000000 00000000 00000000", "00000000 00000000", "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
        ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff", "408f276d 41c83b0e a20bc7c6 6d5451fd"),
        ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0", "d16cfe09 94fdcceb 5001e420 24126ea1"),
    ],
)
def test_philox_gives_the_known_answers_of_random123(counter, key, block):
    words = np.array([int(word, 16) for word in counter.split()], np.uint32)
    first, second = (int(word, 16) for word in key.split())
    assert " ".join(f"{word:08x}" for word in philox4x32(words, (first, second))) == block


def test_the_counter_is_block_mind_step_and_stream():
    seed, step, mind, number, stream = 0x1234_5678_9ABC_DEF0 >> 1, 0x8765_4321_0FED, 0xDEAD_BEEF, 77, 0xC0DE
    found = blocks(
        seed=seed,
        steps=range(step, step + 1),
        minds=range(mind, mind + 1),
        numbers=range(number, number + 1),
        stream=stream,
    )
    counter = np.array([number, mind, step & 0xFFFFFFFF, stream << 16 | step >> 32], np.uint32)
    assert (found[0, 0, 0] == philox4x32(counter, (seed & 0xFFFFFFFF, seed >> 32))).all()


def test_no_block_comes_twice_and_numbers_are_spread_evenly():
    words = blocks(seed=1, steps=range(64), minds=range(8), numbers=range(64), stream=0)
    assert len(np.unique(words.reshape(-1, 4), axis=0)) == 64 * 8 * 64
    u = doubles(words)
    assert u.min() >= 0
    assert u.max() < 1
    assert abs(u.mean() - 0.5) < 5 / math.sqrt(12 * u.size)


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from([BERNOULLI, RATE]),
    st.integers(0, 2**63 - 1),
    st.integers(0, 2**40),
    st.integers(0, 2**20),
    st.integers(1, 6),
    st.integers(1, 5),
    st.integers(0, 7),
    st.randoms(use_true_random=False),
)
def test_a_part_is_drawn_as_in_the_whole(distribution, seed, first_step, first_mind, steps, minds, units, random):
    scale = 1.0 if distribution is BERNOULLI else 40.0
    whole = np.array([random.random() * scale for _ in range(steps * minds * units)]).reshape(steps, minds, units)
    drawn = draw(whole, distribution, seed=seed, first_step=first_step, first_mind=first_mind)
    places = [(step, mind) for step in range(steps) for mind in range(minds)]
    random.shuffle(places)
    for step, mind in places:
        part = whole[step : step + 1, mind : mind + 1]
        alone = draw(part, distribution, seed=seed, first_step=first_step + step, first_mind=first_mind + mind)
        assert (alone[0, 0] == drawn[step, mind]).all()
    cut = random.randrange(steps + 1)
    halves = [
        draw(whole[:cut], distribution, seed=seed, first_step=first_step, first_mind=first_mind),
        draw(whole[cut:], distribution, seed=seed, first_step=first_step + cut, first_mind=first_mind),
    ]
    assert (np.concatenate(halves) == drawn).all()


def test_chunks_inside_a_long_draw_leave_no_trace():
    rates = np.full((3000, 2, 200), 0.3, np.float32)
    drawn = draw(rates, RATE, seed=5)
    assert (draw(rates[2990:], RATE, seed=5, first_step=2990) == drawn[2990:]).all()


def test_seeds_and_streams_give_different_events():
    half = np.full((50, 4, 10), 0.5)
    first = draw(half, BERNOULLI, seed=1)
    assert (draw(half, BERNOULLI, seed=1) == first).all()
    for other in (
        draw(half, BERNOULLI, seed=2),
        draw(half, BERNOULLI, seed=1, stream=1),
        draw(half, BERNOULLI, seed=1 + 2**32),
    ):
        assert 0.4 < (other == first).mean() < 0.6


def test_what_is_drawn_today_is_drawn_for_ever():
    p = np.linspace(0, 1, 24).reshape(2, 3, 4)
    assert draw(p, BERNOULLI, seed=42).astype(int).ravel().tolist() == EVENTS
    rates = np.array([0.0, 0.01, 0.5, 1, 3, 8, 15.999, 16, 16.001, 100, 333.25, 1024]).reshape(2, 2, 3)
    assert draw(rates, RATE, seed=42).ravel().tolist() == COUNTS


EVENTS = [0, 0, 0, 0, 0, 1, 1, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 0, 1, 0, 1, 1, 1]
COUNTS = [0, 0, 3, 0, 1, 5, 8, 13, 10, 124, 348, 1006]


def test_a_probability_of_zero_never_happens_and_one_always():
    assert not draw(np.zeros((100, 10, 10), np.float32), BERNOULLI, seed=3).any()
    assert draw(np.ones((100, 10, 10), np.float32), BERNOULLI, seed=3).all()
    assert not draw(np.zeros((100, 10, 10), np.float32), RATE, seed=3).any()


@pytest.mark.parametrize("p", [0.001, 0.2, 0.5, 0.97])
def test_events_are_as_frequent_as_their_probability(p):
    events = draw(np.full((200, 10, 100), p), BERNOULLI, seed=11)
    assert abs(events.mean() - p) < 5 * math.sqrt(p * (1 - p) / events.size)


@pytest.mark.parametrize("rate", [0.05, 1.0, 7.5, 16.0, 17.0, 250.0, 1024.0])
def test_counts_follow_poissons_law(rate):
    size = 40_000 if rate < 100 else 4_000
    counts = draw(np.full((size // 100, 10, 10), rate), RATE, seed=11).astype(np.float64)
    assert abs(counts.mean() - rate) < 5 * math.sqrt(rate / size)
    assert abs(counts.var() / rate - 1) < 5 * math.sqrt((2 + 1 / rate) / size)
    if rate < 100:
        expected = [math.exp(k * math.log(rate) - rate - math.lgamma(k + 1)) for k in range(60)]
        seen = np.bincount(counts.astype(int).ravel(), minlength=60)[:60]
        usual = [k for k in range(60) if expected[k] * size > 10]
        chi2 = sum((seen[k] - expected[k] * size) ** 2 / (expected[k] * size) for k in usual)
        assert chi2 < len(usual) + 6 * math.sqrt(2 * len(usual))


def test_a_count_is_the_least_whose_distribution_function_is_above_the_number():
    # The same by Python's floats, one unit at a time, as the docstring says it.
    rates = np.array([0.0, 0.3, 2.0, 15.0, 31.0, 77.7, 900.0])
    counts = draw(rates.reshape(1, 1, -1), RATE, seed=9, first_step=123, first_mind=4, stream=2)[0, 0]
    for unit, rate in enumerate(rates.tolist()):
        pieces = max(1, math.ceil(rate / 16))
        total = 0
        for piece in range(pieces):
            number = piece * 2**26 + unit // 2
            words = blocks(
                seed=9, steps=range(123, 124), minds=range(4, 5), numbers=range(number, number + 1), stream=2
            )[0, 0, 0]
            high, low = (int(word) for word in words[2 * (unit % 2) :][:2])
            u = ((high << 32 | low) >> 11) / 2**53
            part = rate / pieces
            s = 1.0
            for n in range(15, 0, -1):
                s = 1.0 - part / 64 / n * s
            for _ in range(6):
                s *= s
            assert s == pytest.approx(math.exp(-part), rel=1e-13)
            probability = reached = s
            count = 0
            while u >= reached and count < 127:
                count += 1
                probability = probability * part / count
                reached += probability
            total += count
        assert counts[unit] == total


@pytest.mark.parametrize(
    ("values", "distribution", "message"),
    [
        ([[[0.5, 1.5]]], BERNOULLI, "unit 1 of mind 0 in step 0 has the probability 1.5"),
        ([[[0.5, -1e-9]]], BERNOULLI, "probability -1e-09"),
        ([[[np.nan]]], BERNOULLI, "probability nan"),
        ([[[1.0], [-2.0]]], RATE, "unit 0 of mind 1 in step 0 has the rate -2"),
        ([[[np.inf]]], RATE, "rate inf"),
        ([[[1025.0]]], RATE, "rate 1025, and it must be from 0 to 1024"),
        ([[[0.5]]], Distribution.CONTINUOUS, "nothing is drawn from them"),
        ([0.5], RATE, r"give \(step, mind, ...\)"),
        ([[[True]]], BERNOULLI, "responses of type bool"),
    ],
)
def test_what_is_no_parameter_is_refused(values, distribution, message):
    with pytest.raises(InvalidInput, match=message):
        draw(np.array(values), distribution, seed=1)


@pytest.mark.parametrize(
    "place", [{"seed": -1}, {"seed": 2**63}, {"first_step": 2**48}, {"first_mind": 2**32}, {"stream": 2**15}]
)
def test_places_that_cannot_be_counted_are_refused(place):
    with pytest.raises(InvalidInput):
        draw(np.full((1, 1, 1), 0.5), BERNOULLI, **{"seed": 1, **place})


# --- states


def test_minds_begin_a_little_apart_and_mind_zero_where_it_was():
    state = {"h": np.random.default_rng(0).standard_normal((6, 1, 64)).astype(np.float32), "n": np.arange(6)}
    moved = perturb(state, seed=1, scale=1e-3)
    assert (moved["h"][0] == state["h"][0]).all()
    assert (moved["n"] == state["n"]).all()
    assert moved["h"].dtype == np.float32
    for mind in range(1, 6):
        apart = (moved["h"][mind] - state["h"][mind]) / np.abs(state["h"][mind]).max()
        assert 0.5e-3 < apart.std() < 2e-3
        assert np.abs(apart).max() < 3.6e-3
    assert len(np.unique((moved["h"] - state["h"]).reshape(6, -1), axis=0)) == 6


def test_a_state_of_zeros_is_moved_too():
    moved = perturb({"h": np.zeros((3, 256), np.float64)}, seed=1, scale=0.5)["h"]
    assert not moved[0].any()
    assert abs(moved[1:].std() - 0.5) < 0.06


def test_a_mind_is_perturbed_alike_whatever_minds_are_beside_it():
    state = {"a": np.ones((8, 5)), "b": np.ones((8, 2, 2))}
    whole = perturb(state, seed=3)
    alone = perturb({name: values[5:6] for name, values in reversed(state.items())}, seed=3, first_mind=5)
    assert all((alone[name][0] == whole[name][5]).all() for name in state)


def test_a_state_cannot_be_perturbed_by_more_than_itself_or_from_nan():
    with pytest.raises(InvalidInput, match="scale from 0 to 1"):
        perturb({}, seed=1, scale=2)
    with pytest.raises(InvalidInput, match="NaN"):
        perturb({"h": np.full((2, 2), np.nan)}, seed=1)


# --- stimuli


def test_a_stimulus_is_even_and_exact_in_its_type():
    for name in ("float16", "float32", "float64"):
        stimulus = uniform_stimulus((16, 2, 3, 5), np.dtype(name), seed=1)
        assert stimulus.dtype == name
        assert -1 <= stimulus.min() < -0.9 < 0.9 < stimulus.max() < 1
    whole = uniform_stimulus((16, 2, 7), np.dtype(np.int64), seed=1)
    assert set(whole.ravel().tolist()) == {0, 1}
    assert uniform_stimulus((4, 2), np.dtype(np.bool_), seed=1).shape == (4, 2)
    longer = uniform_stimulus((32, 3, 7), np.dtype(np.int64), seed=1)
    assert (longer[:16, :2] == whole).all()


# --- noise

NOISE = ["479717", "20fb92", "8dd535", "fda634", "c84203", "2ed0cd"]


def words_of(counter: list[int], key: list[int]) -> list[int]:
    """Philox4x32-10 in whole numbers, from its description."""
    c, k = list(counter), list(key)
    for _ in range(10):
        first, second = 0xD2511F53 * c[0], 0xCD9E8D57 * c[2]
        c = [(second >> 32) ^ c[1] ^ k[0], second & 0xFFFFFFFF, (first >> 32) ^ c[3] ^ k[1], first & 0xFFFFFFFF]
        k = [(k[0] + 0x9E3779B9) & 0xFFFFFFFF, (k[1] + 0xBB67AE85) & 0xFFFFFFFF]
    return c


def test_noise_is_the_high_bits_of_words_of_streams_of_its_own():
    """Seed 9, step 2^32 + 3, mind 4, the second input that takes noise."""
    key, counter = [9, 0], lambda block: [block, 4, 3, (0x4001 << 16) + 1]
    words = [word for block in range(2) for word in words_of(counter(block), key)][:6]
    place = {"seed": 9, "first_step": (1 << 32) + 3, "first_mind": 4, "stream": 1}
    single = uniform_noise((1, 1, 2, 3), np.dtype(np.float32), **place)
    assert single.shape == (1, 1, 2, 3)
    assert single.ravel().tolist() == [(word >> 8) / 2**24 for word in words]
    assert [f"{int(value * 2**24):06x}" for value in single.ravel()] == NOISE
    half = uniform_noise((1, 1, 6), np.dtype(np.float16), **place)
    assert half.ravel().tolist() == [(word >> 21) / 2**11 for word in words]
    double = uniform_noise((1, 1, 3), np.dtype(np.float64), **place)
    pairs = [(words[at] << 32 | words[at + 1]) >> 11 for at in (0, 2, 4)]
    assert double.ravel().tolist() == [pair / 2**53 for pair in pairs]


def test_noise_of_a_part_is_that_of_the_whole():
    whole = uniform_noise((20, 6, 5), np.dtype(np.float32), seed=3)
    part = uniform_noise((7, 2, 5), np.dtype(np.float32), seed=3, first_step=11, first_mind=3)
    assert np.array_equal(part, whole[11:18, 3:5])
    assert np.array_equal(uniform_noise((20, 6, 3), np.dtype(np.float32), seed=3), whole[:, :, :3])


def test_noise_is_uniform_and_never_one():
    noise = uniform_noise((500, 16, 32), np.dtype(np.float32), seed=1)
    assert noise.min() >= 0
    assert noise.max() < 1
    assert abs(float(noise.mean(dtype=np.float64)) - 0.5) < 5 / math.sqrt(12 * noise.size)
    assert abs(float(noise.var(dtype=np.float64)) - 1 / 12) < 1e-3
    assert abs(np.corrcoef(noise[:-1].ravel(), noise[1:].ravel())[0, 1]) < 5 / math.sqrt(noise.size)


def test_no_response_is_drawn_from_a_stream_of_noise():
    with pytest.raises(InvalidInput, match="stream 16384 is no number of a response"):
        draw(np.full((1, 1, 1), 0.5, np.float32), BERNOULLI, seed=1, stream=0x4000)
