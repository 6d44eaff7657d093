"""Which stimuli a student has seen, from metadata that anybody may have written."""

from __future__ import annotations

import json

import pytest
from engram_testing.experiments import small_experiment

from engram_client.fidelity.taught import stimuli_seen, taught_ids, taught_trials
from engram_format.errors import InvalidInput


def test_a_stimulus_that_is_called_like_a_piece_counts_as_seen_beside_the_whole():
    assert stimuli_seen(["a", "x[0:5]"]) == {"a", "x[0:5]", "x"}


def test_pieces_are_cut_from_their_trials_once():
    experiment = small_experiment(once=2, repeats=2)
    ids = ["movie-0[10:30]", "movie-0[10:30]", "movie-1", "movie-0[9000:9001]", "gone[0:5]", f"movie-0[0:{'9' * 30}]"]
    found = taught_trials(experiment, ids)
    assert [(one.stimulus_id, one.bins) for one in found] == [("movie-0[10:30]", 20), ("movie-1", 400)]


@pytest.mark.parametrize("text", ["5", "[1]", "[[1]]", "[oops", "[" * 100_000, '{"a": 1}', "null", True])
def test_what_is_no_list_of_ids_is_refused_in_one_sentence(text):
    with pytest.raises(InvalidInput, match="no JSON list of stimulus ids: distil it again, or mend them"):
        taught_ids({"distill.validation": text})


def test_both_what_taught_and_what_chose_count():
    told = {"distill.training": json.dumps(["a"]), "distill.validation": json.dumps(["b"])}
    assert taught_ids(told) == ("a", "b")
    assert taught_ids({}) == ()
