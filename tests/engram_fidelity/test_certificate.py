"""Certificates of students whose likeness is known, because the network is simulated."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from engram_testing.certified_donors import Donor, PoissonStudent, experiment, stimulus

from engram_fidelity.certificate import FORM, Settings, certify, changed, compare, examine, read_certificate, unusual
from engram_fidelity.certificate.moments import drawings, fit_of
from engram_fidelity.certificate.value import Estimate, canonical, plain
from engram_fidelity.experiment import Experiment, Trials
from engram_fidelity.metrics.correlation import cc, feve
from engram_fidelity.metrics.likelihood import bits_per_spike, deviance_explained
from engram_fidelity.metrics.variability import fano
from engram_format.errors import FormatError, InvalidInput, Precondition

DONOR = Donor()


@pytest.fixture(scope="module")
def recorded() -> Experiment:
    return experiment(DONOR)


@pytest.fixture(scope="module")
def itself(recorded):
    return certify(DONOR, recorded, seed=1)


@pytest.fixture(scope="module")
def poisson(recorded):
    return certify(PoissonStudent(DONOR), recorded, seed=1)


def small(**changes) -> Settings:
    return replace(Settings(seed=1, resamples=50), **changes)


def test_a_network_is_indistinguishable_from_itself(itself):
    assert itself.grade.letter == "A", itself.grade.reason
    assert itself.free_running.betting.quiet
    assert itself.measure("cc_norm").mean.value > 0.99
    assert not itself.drift.flagged
    for one in itself.free_running.discriminators:
        assert one.auc.low < 0.55


def test_a_sampler_with_the_right_mean_and_wrong_scatter_is_mean_faithful_only(poisson):
    assert poisson.grade.letter == "B", poisson.grade.reason
    assert "told apart" in poisson.grade.reason
    assert not poisson.free_running.betting.quiet
    assert poisson.measure("fano.student").mean.value > poisson.measure("fano.real").mean.value + 0.2
    assert all(one.auc.value > 0.8 for one in poisson.free_running.discriminators)
    # The network against itself is never told apart, whoever the student is.
    assert poisson.free_running.control.quiet
    assert all(one.control.value < 0.6 for one in poisson.free_running.discriminators)


def test_another_network_is_graded_c(recorded):
    told = certify(replace(DONOR, mixed=0.8), recorded, seed=1)
    assert told.grade.letter == "C"
    assert "CC_norm" in told.grade.reason


def test_the_first_of_the_resamples_are_the_values_of_the_metrics(recorded):
    trials = recorded.trials[0]
    counts, expected = trials.counts[:, 72:, 0].astype(float), DONOR.expected(trials.stimulus)[72:, 0].astype(float)
    fit = fit_of(counts, expected, drawings(len(counts), 200, seed=0))
    known = cc(counts, expected)
    assert [fit.cc_abs[0], fit.cc_norm[0], fit.cc_max[0]] == pytest.approx([known.cc_abs, known.cc_norm, known.cc_max])
    assert fit.feve[0] == pytest.approx(feve(counts, expected))
    assert fit.bits_per_spike[0] == pytest.approx(bits_per_spike(counts, expected, counts.mean()))
    assert fit.deviance_explained[0] == pytest.approx(deviance_explained(counts, expected))
    for name, values in fit.by_name().items():  # resamples lie around the value, and not above it
        assert np.mean(values[1:]) == pytest.approx(values[0], abs=3 * np.std(values[1:])), name


def test_the_fano_factor_is_that_of_the_metrics(itself, recorded):
    counts = recorded.trials[0].counts[:, 72 : 72 + itself.data.bins]
    known = fano(counts, 20).cells.values
    assert [one.value for one in itself.measure("fano.real").cells] == pytest.approx(known.tolist())


def test_intervals_hold_the_value_and_say_what_they_are_of(itself):
    for measure in (*itself.measures, *itself.free_running.measures):
        assert measure.bin_s > 0
        for one in (*measure.cells, measure.mean):
            if one.low is not None:
                assert one.low <= one.high
    norm = itself.measure("cc_norm")
    assert (norm.bin_s, norm.mean.low < norm.mean.value < norm.mean.high) == (0.02, True)
    assert {one.bin_s for one in itself.measures if one.name == "cc_abs"} == {0.005, 0.02}


def test_the_smallest_epsilon_that_the_repeats_had_power_for_is_told(itself):
    free = itself.free_running
    assert 0.01 < free.epsilon_with_power < 0.05
    needed = {one.epsilon: one.repeats_needed for one in free.betting.switches}
    assert needed[0.05] <= free.betting.repeats < needed[0.03]
    half = free.control.repeats
    assert half < free.betting.repeats / 2
    assert not [one for one in free.control.switches if one.epsilon <= 0.05 and one.reached_at], "too few repeats"


def test_the_same_seed_gives_the_same_certificate_and_another_seed_other_draws(recorded, poisson):
    again, other = (certify(PoissonStudent(DONOR), recorded, seed=seed) for seed in (1, 2))
    assert compare(json.loads(poisson.to_json()), json.loads(again.to_json())) == ()
    differing = {one.name for one in compare(json.loads(poisson.to_json()), json.loads(other.to_json()))}
    assert "settings.seed" in differing
    assert any(name.startswith("free_running") for name in differing)


def test_the_canonical_form_reads_back_to_the_bit(itself):
    written = itself.to_json()
    told = json.loads(written)
    assert canonical(told) == written
    assert told["form"] == FORM
    assert written.isascii()
    assert told["plasticity"] == "none"
    norm = next(one for one in told["measures"] if one["name"] == "cc_norm" and one["bin_s"] == 0.02)
    assert norm["mean"]["value"] == itself.measure("cc_norm").mean.value


def test_what_is_not_known_is_null_beside_the_reason():
    assert plain(Estimate.of(math.nan, missing="the cell did not fire")) == {
        "value": None,
        "low": None,
        "high": None,
        "missing": "the cell did not fire",
    }
    with pytest.raises(InvalidInput, match="not finite"):
        plain({"x": math.inf})


def test_a_cell_that_never_fired_is_left_out_of_the_mean_with_the_reason(recorded):
    trials = recorded.trials[0]
    counts = trials.counts.copy()
    counts[:, :, 1] = 0
    silent = replace(recorded, trials=(Trials("held-out", trials.stimulus, counts),))
    told = examine(PoissonStudent(DONOR), silent, small()).certificate
    norm = told.measure("cc_norm")
    assert norm.cells[1].value is None
    assert norm.cells[1].missing
    assert norm.mean.value is not None
    assert told.grade.letter == "C"
    assert "cell 1" in told.grade.reason


def test_without_repeats_it_is_refused_unless_told_and_then_graded_c(recorded):
    trials = recorded.trials[0]
    once = replace(recorded, trials=(Trials("once", trials.stimulus, trials.counts[:1]),))
    with pytest.raises(Precondition, match="--no-ceiling"):
        examine(DONOR, once, small())
    told = examine(DONOR, once, small(ceiling=False)).certificate
    assert told.grade.letter == "C"
    assert not told.settings.ceiling
    assert not told.ceilings
    assert "cc_norm" not in {one.name for one in told.measures}
    assert told.measure("bits_per_spike").mean.value > 0
    assert told.free_running.betting is None
    json.loads(told.to_json())


def test_two_repeats_have_a_ceiling_and_no_bets(recorded):
    trials = recorded.trials[0]
    two = replace(recorded, trials=(Trials("held-out", trials.stimulus, trials.counts[:2]),))
    told = examine(DONOR, two, small()).certificate
    assert told.measure("cc_norm").mean.value is not None
    assert told.free_running.betting is None
    assert told.free_running.discriminators[0].auc.missing == "too few repeats"
    assert told.drift is None
    assert told.grade.letter in "BC"


def test_a_donor_that_changed_is_flagged(recorded):
    trials = recorded.trials[0]
    later = replace(DONOR, gain=0.5).sample(trials.stimulus, repeats=25, seed=4)
    drifting = Trials("held-out", trials.stimulus, np.concatenate([trials.counts[:25], later]))
    told = examine(DONOR, replace(recorded, trials=(drifting,)), small()).certificate
    assert told.drift.flagged
    assert told.drift.auc.value > 0.55
    assert told.drift.rate_trend.mean.value < -0.3


def test_several_stimuli_are_joined_each_from_where_it_is_scored(recorded):
    second = stimulus(900, seed=5)
    more = Trials("second", second, DONOR.sample(second, repeats=30, seed=6))
    told = examine(DONOR, replace(recorded, trials=(*recorded.trials, more)), small()).certificate
    assert told.data.stimuli == ("held-out", "second")
    assert told.data.repeats == 30
    assert told.data.bins == (1400 - 72) // 20 * 20 + (900 - 72) // 20 * 20


def test_the_answers_that_are_judged_are_not_those_that_were_averaged(recorded):
    seeds = []

    class Watched(PoissonStudent):
        def expected(self, shown, *, seed):
            seeds.append(("expected", seed))
            return super().expected(shown, seed=seed)

        def sample(self, shown, *, repeats, seed):
            seeds.append(("sample", seed))
            return super().sample(shown, repeats=repeats, seed=seed)

    second = stimulus(900, seed=5)
    more = Trials("second", second, DONOR.sample(second, repeats=30, seed=6))
    examine(Watched(DONOR), replace(recorded, trials=(*recorded.trials, more)), small())
    averaged, judged = ({seed for asked, seed in seeds if asked == name} for name in ("expected", "sample"))
    assert len(judged) == 2
    assert not averaged & judged


class Wrong:
    """A student that answers something that cannot be."""

    channels, cells = 4, 3

    def __init__(self, answer):
        self.answer = answer

    def expected(self, shown, *, seed):
        return np.broadcast_to(np.float32(self.answer), (len(shown), 3))

    def sample(self, shown, *, repeats, seed):
        return np.zeros((repeats, len(shown), 3), np.uint8)


@pytest.mark.parametrize("answer", [np.nan, np.inf, -1.0])
def test_a_student_that_answers_no_rates_is_refused(recorded, answer):
    with pytest.raises(InvalidInput, match="NaN, infinity or less than 0"):
        examine(Wrong(answer), recorded, small())


def test_a_student_that_never_fires_and_never_varies_is_graded_c(recorded):
    told = examine(Wrong(0.0), recorded, small()).certificate
    assert told.grade.letter == "C"
    assert told.measure("cc_norm").mean.value is None
    json.loads(told.to_json())


def test_what_cannot_be_certified_is_refused_in_one_sentence(recorded):
    trials = recorded.trials[0]

    def of(shown, counts):
        return replace(recorded, trials=(Trials("held-out", shown, counts),))

    with pytest.raises(InvalidInput, match="student of other electrodes"):
        examine(replace(DONOR, channels=5), recorded, small())
    with pytest.raises(InvalidInput, match="no cell fired"):
        examine(DONOR, of(trials.stimulus, np.zeros_like(trials.counts)), small())
    with pytest.raises(InvalidInput, match="never changes"):
        examine(DONOR, of(np.ones_like(trials.stimulus), trials.counts), small())
    with pytest.raises(InvalidInput, match="bring longer ones"):
        examine(DONOR, of(trials.stimulus[:80], trials.counts[:, :80]), small())


def test_a_certificate_that_was_tampered_with_differs_where_it_was(itself):
    told = json.loads(itself.to_json())
    told["measures"][0]["mean"]["value"] += 0.01
    told["grade"]["letter"] = "B"
    told["versions"]["numpy"] = "0"
    again = json.loads(itself.to_json())
    assert [one.name for one in compare(told, again)] == ["grade.letter", "measures.0.mean.value"]
    assert [one.name for one in changed(told, again)] == ["versions.numpy"]


@pytest.mark.parametrize(
    "data",
    [b"", b"{", b"[]", b"{}", b'{"form":"other"}', b"\xff\xfe", b"[" * 100_000, b'{"form":"engram-certificate-1"}'],
)
def test_what_is_no_certificate_is_refused(data):
    with pytest.raises(FormatError):
        read_certificate(data)


def test_settings_that_nobody_could_compute_are_refused(itself):
    named = json.loads(itself.to_json())
    for one in ("student", "recording"):
        named[one] = {"address": "lab/x@1:y", "sha256": "0" * 64}
    assert read_certificate(canonical(named)).settings == itself.settings
    for name, value in (
        ("resamples", 100_000),
        ("seed", "1"),
        ("seed", -1),
        ("seed", 10**30),
        ("bin_s", -1),
        ("bin_s", 1e308),
        ("coarse_s", 1e308),
        ("coarse_s", 0),
        ("window_s", -5),
        ("score_from_s", 1e300),
        ("alpha", 2),
        ("alpha", 10**400),
        ("epsilon", 0.5),
        ("epsilons", [10**400]),
        ("epsilons", [0.1] * 1000),
        ("more", 1),
    ):
        broken = {**named, "settings": {**named["settings"], name: value}}
        with pytest.raises(FormatError, match="how it was computed"):
            read_certificate(canonical(broken))


def test_a_name_longer_than_any_is_refused(itself):
    named = json.loads(itself.to_json())
    for one in ("student", "recording"):
        named[one] = {"address": "x" * 5000, "sha256": "0" * 64}
    with pytest.raises(FormatError, match="longer than 4096") as caught:
        read_certificate(canonical(named))
    assert len(str(caught.value)) < 400


def test_an_integer_that_no_double_holds_is_a_difference_and_no_fault():
    assert compare({"a": 10**400}, {"a": 1.0})
    assert not compare({"a": 10**400}, {"a": 10**400})


def test_settings_with_which_a_grade_says_little_are_told():
    lax = unusual(Settings(seed=7, epsilon=0.49, alpha=0.9))
    assert [(one.name, one.before, one.after) for one in lax] == [("alpha", "0.9", "0.05"), ("epsilon", "0.49", "0.05")]
    assert not unusual(Settings(seed=7))
