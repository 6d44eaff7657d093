"""Extraction: what the ensemble learns, what the policies choose, what the ledger says, and the student as a network."""

from __future__ import annotations

import json

import numpy as np
import onnxruntime
import pytest

from engram_fidelity.donors import PatternTeacher, RenewalDonor, deployed_patterns, flicker
from engram_fidelity.extract import History, Policy, as_json, extract
from engram_fidelity.extract.ensemble import fit
from engram_fidelity.extract.ledger import digest
from engram_fidelity.extract.network import graph_of
from engram_fidelity.extract.policies import choose, most_telling
from engram_format.errors import InvalidInput


@pytest.fixture(scope="module")
def teacher():
    return PatternTeacher.make(1)


@pytest.fixture(scope="module")
def pool():
    return deployed_patterns(300, seed=1)[:, None]


@pytest.fixture(scope="module")
def made(teacher, pool):
    ticks = iter(range(1000))
    return extract(teacher, pool, queries=120, seed=3, updates=120, clock=lambda: f"t{next(ticks)}")


def test_the_ensemble_learns_rates_and_its_gradient_is_the_slope_of_what_it_expects(teacher):
    patterns = deployed_patterns(400, seed=2)
    counts = teacher.sample(patterns, repeats=1, seed=1)[0].astype(float)
    ensemble = fit(patterns.astype(float), counts, np.arange(400), seed=0)
    truth, found = teacher.expected(patterns), ensemble.expected(patterns.astype(float))
    assert np.mean([np.corrcoef(truth[:, cell], found[:, cell])[0, 1] for cell in range(12)]) > 0.85
    force = np.random.default_rng(0).normal(size=(1, 12))
    row, step = patterns[:1].astype(float), 1e-5
    pull = ensemble.pull(row, force)[0]
    for channel in (0, 7):
        moved = row.copy()
        moved[0, channel] += step
        slope = ((ensemble.expected(moved) - ensemble.expected(row)) * force).sum() / step
        assert pull[channel] == pytest.approx(slope, rel=1e-3, abs=1e-6)


def test_a_calibrated_ensemble_expects_as_many_spikes_as_there_were():
    rng = np.random.default_rng(1)
    features, counts = rng.random((200, 4)), rng.poisson(3.0, (200, 2)).astype(float)
    ensemble = fit(features, counts, np.arange(200), seed=0, updates=30).calibrated(features, 2 * counts)
    assert np.allclose(ensemble.expected(features).sum(axis=0), 2 * counts.sum(axis=0), rtol=0.03)


def test_a_batch_is_not_the_same_question_again():
    rng = np.random.default_rng(0)
    unsure = np.zeros((6, 5, 3))
    unsure[:3] = 10 + 9 * rng.random((1, 5, 3))  # three times the same
    unsure[3:] = 10 + 7 * rng.random((3, 5, 3))
    chosen = most_telling(unsure, 4)
    assert len(set(chosen)) == 4
    assert len({0, 1, 2} & set(chosen[:3])) == 1


def test_disagreement_alone_asks_the_loudest(pool):
    expected = np.ones((10, 5, 2))
    expected[[3, 7]] += np.arange(5)[:, None]
    rng = np.random.default_rng(0)
    chosen = choose(Policy.DISAGREE, np.arange(10), 2, predict=lambda free: expected[free], rng=rng)
    assert sorted(number for number, _ in chosen) == [3, 7]


def test_a_mix_is_half_random_and_nothing_is_asked_twice(made):
    policies = [query.policy for query in made.ledger]
    assert policies.count(Policy.RANDOM) == 40 + 20 + 20
    assert policies.count(Policy.BALD) == 40
    assert len({query.stimulus for query in made.ledger}) == 120


def test_only_random_queries_are_held_out_and_they_are_a_tenth(made):
    held = [query for query in made.ledger if query.held_out]
    assert len(held) == made.held.queries == 12
    assert {query.policy for query in held} == {Policy.RANDOM}
    assert 0.2 < made.held.correlation < 1
    assert 0.7 < made.held.rate_ratio < 1.4


@pytest.mark.parametrize("policy", [Policy.BALD, Policy.DISAGREE, Policy.RANDOM])
def test_every_policy_keeps_something_to_certify_with(teacher, pool, policy):
    made = extract(teacher, pool, queries=60, policy=policy, updates=40, batch=30)
    held = [query for query in made.ledger if query.held_out]
    assert len(held) >= 4
    assert {query.policy for query in held} == {Policy.RANDOM}


def test_the_ledger_tells_every_query_with_digests_and_times(made, pool):
    document = json.loads(as_json(made.ledger, {"teacher": "x"}))
    first = document["queries"][0]
    assert (document["teacher"], first["number"], first["time"], first["policy"]) == ("x", 1, "t0", "random")
    assert first["stimulus_sha256"] == digest(pool[first["stimulus"]])
    assert [query["number"] for query in document["queries"]] == list(range(1, 121))


def test_an_extraction_is_repeated_by_its_seed(teacher, pool):
    one, other = (extract(teacher, pool, queries=60, seed=5, updates=40) for _ in range(2))
    assert one.ledger == other.ledger
    assert graph_of(one.ensemble, one.history, channels=16) == graph_of(other.ensemble, other.history, channels=16)


def answered(network: bytes, stimulus, *states):
    session, given, answers = onnxruntime.InferenceSession(network), list(states), []
    for one in stimulus:
        feed = {"stimulus": np.repeat(one[None], 2, axis=0)} | ({"state": given[0]} if given else {})
        rate, *given = session.run(None, feed)
        answers.append(rate[0])
    return np.array(answers)


def test_the_network_answers_as_the_ensemble_does(made, pool):
    network = graph_of(made.ensemble, made.history, channels=16)
    assert np.allclose(answered(network, pool[:20, 0]), made.ensemble.expected(pool[:20, 0].astype(float)), atol=1e-5)


def test_a_network_with_memory_answers_bin_by_bin_as_over_the_whole():
    donor, history = RenewalDonor.make(1, cells=4), History.bumps(20, 5)
    clips = np.stack([flicker(60, seed=seed) for seed in range(40)])
    made = extract(donor, clips, queries=24, history=history, batch=12, updates=60)
    network = graph_of(made.ensemble, made.history, channels=4)
    whole = made.expected(clips[0])
    assert np.allclose(answered(network, clips[0], np.zeros((2, 19, 4), np.float32)), whole, atol=1e-5)


def test_the_gradient_through_the_history_is_that_of_its_features():
    history, rng = History.bumps(12, 4), np.random.default_rng(0)
    stimulus, pull = rng.random((30, 2)).astype(np.float32), rng.normal(size=(30, 8))
    slope = history.back(pull, 2)
    for bin_, channel in ((0, 0), (13, 1), (29, 0)):
        moved = stimulus.astype(np.float64)
        moved[bin_, channel] += 1.0
        change = ((history.of(moved) - history.of(stimulus.astype(np.float64))) * pull).sum()
        assert slope[bin_, channel] == pytest.approx(change, abs=1e-6)


@pytest.mark.parametrize("queries", [5, 301])
def test_too_few_queries_and_too_small_a_pool_are_refused(teacher, pool, queries):
    with pytest.raises(InvalidInput, match=f"{queries} queries"):
        extract(teacher, pool, queries=queries)


def test_a_pool_of_other_channels_is_refused(teacher):
    with pytest.raises(InvalidInput, match="channels"):
        extract(teacher, np.zeros((50, 1, 3), np.float32), queries=40)
