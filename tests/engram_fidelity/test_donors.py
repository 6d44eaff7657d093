"""Simulated donors: what they promise of their counts, so that what is tried on them has a known truth."""

from __future__ import annotations

import numpy as np
import pytest

from engram_fidelity.donors import Drift, PatternTeacher, RenewalDonor, deployed_patterns, flicker
from engram_format.errors import InvalidInput

STIMULUS = flicker(1000, seed=1)


def test_a_donor_is_made_and_drawn_from_seeds():
    one, other = RenewalDonor.make(3), RenewalDonor.make(3)
    assert np.array_equal(one.sample(STIMULUS, repeats=2, seed=5), other.sample(STIMULUS, repeats=2, seed=5))
    assert not np.array_equal(one.sample(STIMULUS, repeats=2, seed=5), one.sample(STIMULUS, repeats=2, seed=6))
    assert np.array_equal(one.sample(STIMULUS, repeats=2, seed=5)[:1], one.sample(STIMULUS, repeats=2, seed=5)[:1])


def test_a_donors_mean_is_what_it_expects():
    donor = RenewalDonor.make(1)
    counts = donor.sample(STIMULUS, repeats=200, seed=2)
    assert np.allclose(counts.mean(axis=(0, 1)), donor.expected(STIMULUS).mean(axis=0), rtol=0.02)
    assert 15 < counts.mean() / donor.bin_s < 25


def test_a_donor_scatters_less_than_poisson():
    windows = RenewalDonor.make(1).sample(STIMULUS, repeats=100, seed=2).reshape(100, 50, 20, -1).sum(axis=2)
    assert 0.3 < windows.var(axis=0).sum() / windows.mean(axis=0).sum() < 0.5


def test_a_perturbed_donor_is_off_by_exactly_its_share():
    donor = RenewalDonor.make(1)
    off = donor.perturbed(rate=0.05)
    assert np.allclose(off.expected(STIMULUS), 1.05 * donor.expected(STIMULUS), rtol=1e-5)
    assert off.sample(STIMULUS, repeats=200, seed=3).mean() / donor.sample(
        STIMULUS, repeats=200, seed=2
    ).mean() == pytest.approx(1.05, abs=0.01)


def test_a_drift_begins_at_its_time_and_not_before():
    donor = RenewalDonor.make(1).drifting(Drift(from_s=7.0, factor=1.5))
    plain = RenewalDonor.make(1).expected(STIMULUS)
    assert np.array_equal(donor.at(0.0).expected(STIMULUS), plain)
    later = donor.at(5.0).expected(STIMULUS)
    assert np.array_equal(later[:400], plain[:400])
    assert np.allclose(later[400:], 1.5 * plain[400:])


def test_answers_depend_on_the_past_alone():
    donor, changed = RenewalDonor.make(1), STIMULUS.copy()
    changed[500:] = 0
    assert np.array_equal(donor.expected(STIMULUS)[:500], donor.expected(changed)[:500])


def test_a_pattern_teacher_has_no_memory_and_knows_its_rates():
    teacher, patterns = PatternTeacher.make(2), deployed_patterns(300, seed=1)
    expected = teacher.expected(patterns)
    assert (teacher.channels, teacher.cells) == (16, 12)
    assert np.array_equal(expected[::-1], teacher.expected(patterns[::-1]))
    assert np.allclose(teacher.sample(patterns, repeats=300, seed=4).mean(axis=0), expected, atol=0.6)


def test_deployed_patterns_use_few_electrodes_within_their_amplitudes():
    patterns = deployed_patterns(500, seed=3)
    on = (patterns > 0).sum(axis=1)
    assert (on.min(), on.max()) == (1, 6)
    assert patterns[patterns > 0].min() >= 0.2
    assert patterns.max() <= 1


@pytest.mark.parametrize("stimulus", [np.zeros((10, 3), np.float32), np.full((10, 4), np.nan, np.float32)])
def test_a_stimulus_that_does_not_fit_is_refused(stimulus):
    with pytest.raises(InvalidInput, match="stimulus"):
        RenewalDonor.make(1).sample(stimulus, repeats=1, seed=0)
