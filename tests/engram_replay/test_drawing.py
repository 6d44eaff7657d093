"""What is drawn from a whole replay does not depend on where its network has time and minds."""

from __future__ import annotations

import numpy as np
import pytest

from engram_format.errors import Exhausted, InvalidInput
from engram_replay import Contract, Distribution, Mode, Port, Role
from engram_replay.drawing import check_drawable, draw_minds, draw_whole, split
from engram_replay.sampler import draw

STEPS, MINDS, UNITS = 6, 3, (2, 5)
RATES = np.random.default_rng(2).random((STEPS, MINDS, *UNITS)).astype(np.float32)
F32 = np.dtype(np.float32)


def contract(shape: tuple[int | str, ...], *, time: int | None, minds: int | None) -> Contract:
    """Return the contract of a student whose second response, `p`, holds probabilities."""
    axes = {"time_axis": time, "minds_axis": minds}
    return Contract(
        (
            Port("x", Role.STIMULUS, F32, shape, **axes),
            Port("v", Role.RESPONSE, F32, shape, **axes),
            Port("p", Role.RESPONSE, F32, shape, distribution=Distribution.BERNOULLI, **axes),
        )
    )


def drawn(output: np.ndarray, told: Contract, mode: Mode, seed: int = 4) -> np.ndarray:
    (array,) = draw_whole({"v": output, "p": output}, told, mode=mode, seed=seed).values()
    assert array.shape == output.shape
    return array


@pytest.mark.parametrize(("time", "minds"), [(0, 1), (1, 0), (0, 2), (0, 3), (2, 0), (3, 1), (1, 3)])
def test_a_network_that_takes_the_whole_has_its_axes_anywhere(time, minds):
    shape: list[int | str] = [*UNITS]
    for axis, symbol in sorted([(time, "T"), (minds, "B")]):
        shape.insert(axis, symbol)
    output = np.moveaxis(RATES, (0, 1), (time, minds))
    got = drawn(output, contract(tuple(shape), time=time, minds=minds), Mode.WHOLE)
    assert np.array_equal(
        np.moveaxis(got, (time, minds), (0, 1)), draw(RATES, Distribution.BERNOULLI, seed=4, stream=1)
    )


@pytest.mark.parametrize("minds", [0, 1, 2])
def test_a_network_that_is_stepped_has_its_minds_anywhere(minds):
    shape: list[int | str] = [*UNITS]
    shape.insert(minds, "B")
    output = np.moveaxis(RATES, 1, 1 + minds)
    got = drawn(output, contract(tuple(shape), time=None, minds=minds), Mode.STEP)
    assert np.array_equal(np.moveaxis(got, 1 + minds, 1), draw(RATES, Distribution.BERNOULLI, seed=4, stream=1))


def test_several_steps_of_one_call_are_numbered_on():
    told = contract(("T", "B", *UNITS), time=0, minds=1)
    calls = RATES.reshape(STEPS // 2, 2, MINDS, *UNITS)
    got = drawn(calls, told, Mode.STEP)
    assert np.array_equal(got.reshape(RATES.shape), draw(RATES, Distribution.BERNOULLI, seed=4, stream=1))


@pytest.mark.parametrize("left_out", [0, 1, 2])
def test_axes_of_time_and_minds_may_be_left_out(left_out):
    one = RATES[:, :1]
    output = one.reshape(STEPS, *[1] * (2 - left_out), *UNITS)
    got = drawn(output, contract(("T", "B", *UNITS), time=0, minds=1), Mode.STEP)
    assert np.array_equal(got.reshape(one.shape), draw(one, Distribution.BERNOULLI, seed=4, stream=1))


def test_a_network_without_an_axis_of_time_takes_the_whole_along_its_first():
    output = RATES[:, 0]
    got = drawn(output, contract(("B", *UNITS), time=None, minds=0), Mode.WHOLE)
    assert np.array_equal(got, draw(RATES[:, :1], Distribution.BERNOULLI, seed=4, stream=1)[:, 0])


def test_a_response_without_values_has_nothing_to_draw():
    got = drawn(np.empty((STEPS, 0), np.float32), contract(("B", 0), time=None, minds=0), Mode.STEP)
    assert got.dtype == bool


def test_a_part_is_drawn_as_in_the_whole():
    told = {"p": Distribution.BERNOULLI}
    whole = draw_minds({"p": RATES}, told, seed=4)["p.drawn"]
    part = draw_minds({"p": RATES[2:]}, told, seed=4, first_step=2)["p.drawn"]
    assert np.array_equal(whole[2:], part)


def test_what_was_drawn_is_told_from_what_was_given():
    outputs = {"p": RATES, "p.drawn": RATES > 0.5, "of.drawn": RATES}
    assert [list(half) for half in split(outputs)] == [["p", "of.drawn"], ["p.drawn"]]


def test_a_name_that_a_response_has_already_is_refused():
    with pytest.raises(InvalidInput, match="a response 'p.drawn' of its own"):
        check_drawable({"p": Distribution.RATE, "p.drawn": Distribution.CONTINUOUS}, seed=1)


def test_more_than_can_be_drawn_in_a_minute_is_refused():
    rates = np.broadcast_to(np.float32(1024.0), (1 << 24, 1, 1))
    with pytest.raises(Exhausted, match="replay fewer steps"):
        draw_minds({"p": rates}, {"p": Distribution.RATE}, seed=1)
