"""Distances between spike trains."""

from __future__ import annotations

import neo
import numpy as np
import pytest
import quantities as pq
from elephant.spike_train_dissimilarity import van_rossum_distance, victor_purpura_distance
from hypothesis import given, settings
from hypothesis import strategies as st

from engram_client.demo.retina import load_held_out
from engram_fidelity.metrics import distance
from engram_format.errors import InvalidInput

trains = st.lists(st.floats(0.0, 1.0), max_size=12)


def test_victor_purpura_worked_by_hand():
    # At 10 a second, moving by 0.05 s costs 1/2 and by 0.5 s would cost 5: take out and put in instead.
    assert distance.victor_purpura([0.1], [0.15], 10) == pytest.approx(0.5)
    assert distance.victor_purpura([0.1], [0.6], 10) == pytest.approx(2.0)
    assert distance.victor_purpura([0.1, 0.2, 0.3], [], 10) == pytest.approx(3.0)
    assert distance.victor_purpura([], [], 10) == 0


def test_van_rossum_worked_by_hand():
    assert distance.van_rossum([0.3], [], 0.01) ** 2 == pytest.approx(0.5)
    assert distance.van_rossum([0.3], [0.31], 0.01) ** 2 == pytest.approx(1 - np.exp(-1))


@settings(max_examples=60, deadline=None)
@given(first=trains, second=trains, cost=st.sampled_from([0.0, 1.0, 20.0, 100.0]))
def test_both_agree_with_elephant(first, second, cost):
    as_neo = [neo.SpikeTrain(sorted(train), units="s", t_stop=1.5) for train in (first, second)]
    wanted = victor_purpura_distance(as_neo, cost * pq.Hz)[0, 1]
    assert distance.victor_purpura(first, second, cost) == pytest.approx(wanted, abs=1e-9)
    wanted = van_rossum_distance(as_neo, 20 * pq.ms)[0, 1] / np.sqrt(2)
    assert distance.van_rossum(first, second, 0.02) == pytest.approx(wanted, abs=1e-6)


@settings(max_examples=60, deadline=None)
@given(first=trains, second=trains, third=trains)
def test_both_are_distances(first, second, third):
    for measure in (lambda a, b: distance.victor_purpura(a, b, 30), lambda a, b: distance.van_rossum(a, b, 0.02)):
        assert measure(first, first) == pytest.approx(0, abs=1e-7)
        assert measure(first, second) == pytest.approx(measure(second, first))
        assert measure(first, third) <= measure(first, second) + measure(second, third) + 1e-7


@pytest.mark.parametrize("metric", ["victor_purpura", "van_rossum"])
def test_the_relative_distance_is_the_ratio_of_mean_distances(metric):
    generator = np.random.default_rng(0)
    real, other = generator.poisson(0.2, (4, 60, 2)), generator.poisson(0.3, (3, 60, 2))

    def between(a, b):
        first, second = (np.repeat((np.arange(60) + 0.5) * 0.005, train) for train in (a, b))
        if metric == "victor_purpura":
            return distance.victor_purpura(first, second, 2 / 0.02)
        return distance.van_rossum(first, second, 0.02)

    found = distance.relative_distance(real, other, bin_s=0.005, metric=metric, tau_s=0.02)
    for cell in range(2):
        a, b = real[..., cell], other[..., cell]
        own = np.mean([between(a[i], a[j]) for i in range(4) for j in range(4) if i != j])
        wanted = np.mean([between(x, y) for x in a for y in b]) / own
        assert found.values[cell] == pytest.approx(wanted)


def test_the_retina_is_as_far_from_itself_as_from_itself_and_further_from_a_poisson_sampler():
    real = load_held_out().spikes[:, 72:, :2]
    half, rest = real[::2], real[1::2]
    sampler = np.random.default_rng(1).poisson(rest.mean(axis=0), rest.shape)
    for metric in ("victor_purpura", "van_rossum"):
        control = distance.relative_distance(half, rest, bin_s=0.005, metric=metric)
        found = distance.relative_distance(half, sampler, bin_s=0.005, metric=metric)
        assert control.values == pytest.approx([1, 1], abs=0.06)
        assert found.worst > 1.12


def test_one_repeat_or_trains_all_alike_have_nothing_to_be_relative_to():
    real = np.zeros((3, 20, 2))
    real[:, 5, 0] = [0, 1, 1]
    for metric in ("victor_purpura", "van_rossum"):
        found = distance.relative_distance(real, np.ones((2, 20, 2)), bin_s=0.005, metric=metric)
        assert found.dropped == 1
        assert distance.relative_distance(real[:1], real, bin_s=0.005, metric=metric).dropped == 2


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: distance.victor_purpura([0.1], [0.2], -1), "a cost of -1"),
        (lambda: distance.victor_purpura([np.nan], [0.2], 1), "NaN"),
        (lambda: distance.victor_purpura([[0.1]], [0.2], 1), "bring \\(spike\\)"),
        (lambda: distance.van_rossum([0.1], [0.2], 0), "a width of 0"),
        (lambda: distance.relative_distance(np.ones((2, 5, 1)), np.ones((2, 6, 1)), bin_s=0.005), "compare answers"),
        (lambda: distance.relative_distance(np.ones((2, 5, 1)), np.ones((2, 5, 1)), bin_s=-1), "a width of -1"),
        (
            lambda: distance.relative_distance(np.ones((2, 5, 1)), np.ones((2, 5, 1)), bin_s=0.005, metric="edit"),
            "choose victor_purpura or van_rossum",
        ),
    ],
)
def test_what_cannot_be_measured_is_refused(call, says):
    with pytest.raises(InvalidInput, match=says):
        call()
