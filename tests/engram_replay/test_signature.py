"""States are paired by name, never by order, and never by a guess."""

from __future__ import annotations

import numpy as np
import pytest

from engram_format.errors import InvalidInput
from engram_replay.signature import Mode, Tensor, read_signature, states_in_metadata


def tensor(name: str, *shape: int | str | None, dtype: str = "float32") -> Tensor:
    return Tensor(name, np.dtype(dtype), shape)


def pairs(inputs: list[Tensor], outputs: list[Tensor], **options) -> dict[str, str]:
    return {pair.before.name: pair.after.name for pair in read_signature(inputs, outputs, **options).states}


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("state", "state_out"),
        ("state", "stateN"),
        ("state", "next_state"),
        ("state_in", "state_out"),
        ("lstm_in.c", "lstm_out.c"),
        ("h", "hn"),
        ("h", "h_out"),
        ("h0", "hn"),
        ("h_0", "h_n"),
        ("h0", "h1"),
        ("ctx", "ctx1"),
        ("past.0.key", "present.0.key"),
        ("initial_carry", "final_carry"),
    ],
)
def test_a_state_is_paired_by_its_name(before: str, after: str):
    inputs = [tensor("x", 1, 31), tensor(before, 1, 8)]
    outputs = [tensor("y", 1, 8), tensor(after, 1, 8)]
    assert pairs(inputs, outputs) == {before: after}
    assert pairs(inputs[::-1], outputs[::-1]) == {before: after}


def test_states_whose_outputs_sort_the_other_way_are_not_swapped():
    inputs = [tensor("x", 1, 4), tensor("a_state", 1, 8), tensor("b_state", 1, 8)]
    outputs = [tensor("new_b_state", 1, 8), tensor("new_a_state", 1, 8), tensor("y", 1, 2)]
    assert pairs(inputs, outputs) == {"a_state": "new_a_state", "b_state": "new_b_state"}


def test_pairs_that_are_told_stand_above_the_names():
    inputs = [tensor("x", 1, 4), tensor("h", 1, 8), tensor("c", 1, 8)]
    outputs = [tensor("y", 1, 2), tensor("hn", 1, 8), tensor("cn", 1, 8)]
    assert pairs(inputs, outputs, states={"h": "cn", "c": "hn"}) == {"h": "cn", "c": "hn"}
    assert pairs(inputs, outputs, states={}) == {}


@pytest.mark.parametrize(
    ("inputs", "outputs", "options", "message"),
    [
        pytest.param(
            [tensor("x", 1, 4), tensor("state", 1, 8)],
            [tensor("y", 1, 2), tensor("state_out", 1, 8), tensor("next_state", 1, 8)],
            {},
            "it is not clear which output is the next value of state 'state'",
            id="two outputs for a state",
        ),
        pytest.param(
            [tensor("x", 1, 4), tensor("hidden", 1, 8)],
            [tensor("y", 1, 2), tensor("z", 1, 8)],
            {},
            "it is not clear which output is the next value of state 'hidden'",
            id="no output for what reads like state",
        ),
        pytest.param(
            [tensor("x", 1, 4), tensor("state", 1, 8)],
            [tensor("y", 1, 2), tensor("state_out", 1, 9)],
            {},
            "it is not clear which output",
            id="a pair that does not fit",
        ),
        pytest.param(
            [tensor("x", 1, 4), tensor("h", 1, 8), tensor("h_0", 1, 8)],
            [tensor("y", 1, 2), tensor("h_n", 1, 8)],
            {},
            "output 'h_n' could be the next value of two inputs",
            id="one output for two states",
        ),
        pytest.param(
            [tensor("x", 1, 4)], [tensor("x_next", 1, 4)], {}, "no stimulus beside its states", id="all state"
        ),
        pytest.param([tensor("gain")], [tensor("y", 1)], {}, "no stimulus beside its states", id="scalars only"),
        pytest.param(
            [tensor("x", 1, 4), tensor("state", 1, 8)],
            [tensor("state_out", 1, 8)],
            {},
            "no response beside its states",
            id="no response",
        ),
        pytest.param(
            [tensor("x", 1, 4), tensor("h", 1, 8)],
            [tensor("y", 1, 2), tensor("hn", 1, 8)],
            {"states": {"h": "hm"}},
            "there is no state from 'h' to 'hm'",
            id="told a name that is not there",
        ),
        pytest.param(
            [tensor("x", 1, 4), tensor("h", 1, 8)],
            [tensor("y", 1, 2), tensor("hn", 1, 8)],
            {"states": {"h": "y"}},
            "cannot take the value of 'y' float32",
            id="told a pair that does not fit",
        ),
        pytest.param(
            [tensor("x", 1, 4), tensor("h", 1, 8), tensor("c", 1, 8)],
            [tensor("y", 1, 2), tensor("hn", 1, 8)],
            {"states": {"h": "hn", "c": "hn"}},
            "two states cannot take the value of one output",
            id="told one output twice",
        ),
    ],
)
def test_a_choice_is_refused_with_the_names(inputs, outputs, options, message: str):
    with pytest.raises(InvalidInput, match=message):
        read_signature(inputs, outputs, **options)


def test_a_scalar_is_a_constant():
    signature = read_signature([tensor("x", 1, 4), tensor("sr", dtype="int64")], [tensor("y", 1, 2)])
    assert [constant.name for constant in signature.constants] == ["sr"]


@pytest.mark.parametrize(
    ("shape", "mode", "omissible"),
    [
        pytest.param((1, 31), Mode.STEP, {0, 1}, id="fixed"),
        pytest.param((31,), Mode.STEP, {0}, id="fixed without batch"),
        pytest.param(("time", 31), Mode.WHOLE, {0}, id="time first"),
        pytest.param((1, "time", 31), Mode.WHOLE, {1}, id="batch of one"),
        pytest.param(("batch", "time", 31), Mode.WHOLE, {1}, id="free batch"),
        pytest.param(("batch", 31), Mode.WHOLE, {0}, id="memoryless"),
        pytest.param((None, None, 31), Mode.WHOLE, {0, 1}, id="nameless"),
    ],
)
def test_the_mode_follows_from_the_shape_of_a_stateless_student(shape, mode: Mode, omissible: set[int]):
    signature = read_signature([tensor("x", *shape)], [tensor("y", *shape[:-1], 6)])
    assert signature.mode is mode
    assert signature.stimuli[0].omissible == omissible


def test_a_student_with_state_is_stepped_though_its_time_is_free():
    signature = read_signature(
        [tensor("x", "time", "batch", 31), tensor("h0", 1, "batch", 8)],
        [tensor("y", "time", "batch", 6), tensor("hn", 1, "batch", 8)],
    )
    assert signature.mode is Mode.STEP


@pytest.mark.parametrize("shape", [("batch", 31, "time"), (31, "batch")])
def test_no_whole_stimulus_begins_with_time_that_lies_behind_another_axis(shape):
    signature = read_signature([tensor("x", *shape)], [tensor("y", *shape)])
    assert [stimulus.omissible for stimulus in signature.stimuli] == [frozenset()]


def test_metadata_names_pairs():
    assert states_in_metadata({"engram.state.h": "hn", "author": "x"}) == {"h": "hn"}
    assert states_in_metadata({"author": "x"}) is None
