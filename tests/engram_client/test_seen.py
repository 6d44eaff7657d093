"""What a student has seen of a recording is no evidence, by whatever name its metadata call it."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from engram_testing.experiments import small_experiment

from engram_client.fidelity.seen import Seen, seen_by
from engram_fidelity.digest import experiment_sha256
from engram_fidelity.distill.outcome import as_text
from engram_fidelity.distill.split import split
from engram_fidelity.experiment import Experiment
from engram_format.address import Address
from engram_format.catalog import Artifact, Kind
from engram_format.errors import InvalidInput

SHOWN = small_experiment(once=3, repeats=4)
THIS, OTHER = "a" * 64, "b" * 64


def artifact(kind: Kind, *, sha256: str = THIS, made_from=(), **metadata) -> Artifact:
    told = {name.replace("__", "."): value for name, value in metadata.items()}
    return Artifact(Address("lab", "x", 1, "one"), kind, 1, sha256, 1, 1, 0, told, tuple(made_from))


def seen(shown: Experiment = SHOWN, *, made_from=(THIS,), finer: Experiment | None = None, **metadata) -> Seen:
    def in_bins_of(_bin_s: float) -> Experiment:
        if finer is None:
            raise InvalidInput("the recording has no such bins: choose others")
        return finer

    student = artifact(Kind.STUDENT, sha256="c" * 64, made_from=made_from, **metadata)
    return seen_by(student, artifact(Kind.RECORDING), shown, in_bins_of=in_bins_of)


def test_what_taught_it_and_what_chose_it_was_seen():
    found = seen(distill__training='["movie-0"]', distill__validation='["movie-2"]')
    assert found.stimuli == {"movie-0", "movie-2"}
    assert [one.stimulus_id for one in found.trials] == ["movie-0", "movie-2"]


def test_a_piece_of_a_trial_makes_the_whole_trial_seen():
    long = small_experiment(once=1, repeats=4, bins=1600)
    parts = split(long, seed=1)
    ids = [[one.stimulus_id for one in part.trials] for part in (parts.training, parts.validation)]
    assert all("[" in one for one in ids[0])
    found = seen(long, distill__training=as_text(ids[0]), distill__validation=as_text(ids[1]))
    assert found.stimuli == {"movie-0"}
    assert sum(one.bins for one in found.trials) == 1600
    assert np.array_equal(found.trials[0].counts, parts.training.trials[0].counts)


def test_pieces_in_the_finer_bins_of_a_student_are_found_in_these():
    found = seen(distill__training='["movie-1[300:900]"]', distill__sub_steps=3)
    (part,) = found.trials
    assert np.array_equal(part.stimulus, SHOWN.trials[1].stimulus[100:300])


def test_of_a_list_that_was_cut_all_was_seen_but_what_was_held_out():
    many = [f"{number:06}" * 10 for number in range(1000)]
    cut = as_text(many)
    assert json.loads(cut)[-1].startswith("... and ")
    found = seen(distill__training=cut, distill__validation="[]", distill__held_out='["again"]')
    assert found.stimuli == {"movie-0", "movie-1", "movie-2"}


def test_the_same_experiment_in_another_file_was_seen_too():
    told = {"distill__training": '["movie-0"]', "distill__experiment_sha256": experiment_sha256(SHOWN)}
    assert seen(made_from=(OTHER,), **told).stimuli == {"movie-0"}
    finer = small_experiment(once=3, repeats=4, seed=5)
    told["distill__experiment_sha256"] = experiment_sha256(finer)
    assert seen(made_from=(OTHER,), finer=finer, distill__sub_steps=3, **told).stimuli == {"movie-0"}
    assert seen(made_from=(OTHER,), distill__sub_steps=3, **told) == Seen()


def test_another_recording_was_not_seen():
    assert seen(made_from=(OTHER,), distill__training='["movie-0"]') == Seen()
    assert seen() == Seen()


@pytest.mark.parametrize("told", ["movie-0", '{"movie-0": 1}', "[1]"])
def test_a_list_that_is_none_is_refused(told):
    with pytest.raises(InvalidInput, match=r"distill\.training that are no JSON list"):
        seen(distill__training=told)


def test_a_stimulus_that_is_called_like_a_piece_counts_as_seen_beside_the_whole():
    trials = [*SHOWN.trials[:2], replace(SHOWN.trials[2], stimulus_id="movie-0[0:5]")]
    found = seen(replace(SHOWN, trials=tuple(trials)), distill__training='["movie-0[0:5]"]')
    assert found.stimuli == {"movie-0", "movie-0[0:5]"}


@pytest.mark.parametrize("named", ["gone[0:5]", f"movie-0[0:{'9' * 30}]", "movie-0[9000:9001]"])
@pytest.mark.parametrize("sub_steps", [0, -1, 10**12, "3", 0.5])
def test_metadata_that_lie_about_pieces_do_no_harm(named, sub_steps):
    assert not seen(distill__training=json.dumps([named]), distill__sub_steps=sub_steps).trials


@pytest.mark.parametrize("text", ["5", "[1]", "[[1]]", "[oops", "[" * 100_000, '{"a": 1}', "null", True])
def test_what_is_no_list_of_ids_is_refused_in_one_sentence(text):
    with pytest.raises(InvalidInput, match="no JSON list of stimulus ids: distil it again, or mend them"):
        seen(distill__validation=text)
