"""Drawing events and counts from responses, outside the network: the same for the same seed, whatever way they are reached.

Every number is a function of seed, step, mind and unit (`philox`), and only additions, multiplications, divisions and
comparisons of binary64 follow, which IEEE 754 rounds in one way: batches, chunks, order and machine have no say.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from engram_format.catalog import AnyArray
from engram_format.errors import InvalidInput
from engram_replay import philox
from engram_replay.told import Distribution

F64 = NDArray[np.float64]

MAX_RATE: Final = 1024.0
"""The largest expected count of one step."""
PIECE_RATE: Final = 16.0
"""A rate is cut into pieces of at most this, each of which takes a number of its own."""
NOISE_STREAM: Final = 0x4000
"""The streams from here on are the noise that networks take; below it responses are drawn."""
STATE_STREAM: Final = 0x8000
"""The streams from here on perturb states."""
STIMULUS_STREAM: Final = 0xC000
"""The streams from here on make stimuli."""

_PIECE_BITS: Final = 26
_MAX_UNITS: Final = 2 << _PIECE_BITS
_MAX_PIECE_COUNT: Final = 127
_CHUNK_UNITS: Final = 1 << 19
_SQUARINGS: Final = 6
_TERMS: Final = 15
_UNIT_SPREAD: Final = math.sqrt(3.0)


def draw(
    responses: AnyArray,
    distribution: Distribution,
    *,
    seed: int,
    first_step: int = 0,
    first_mind: int = 0,
    stream: int = 0,
) -> AnyArray:
    """Draw from responses (step, mind, ...), which are the parameters of `distribution`; return an array of their shape.

    `first_step` and `first_mind` number the first step and the first mind among all of a replay, and `stream` is the number of
    the response among those of the student, so that a part is drawn as it would be in the whole. Units are the elements of one
    mind's step in C order. Unit `i` takes the number `u`, from 0 up to, and without, 1, of words 2 (i mod 2) and
    2 (i mod 2) + 1 of block `i div 2`: the high 53 bits of the two as one, the first being the higher.

    Bernoulli: `u < p`, as booleans; `p` from 0 to 1.

    Poisson, as uint16, rates from 0 to `MAX_RATE`: the rate is cut into `m = max(1, ceil(rate / 16))` pieces of `r = rate / m`,
    whose counts are added; piece `j` takes its `u` from block `j * 2^26 + i div 2`. A count is the least `k` up to 127 with
    `u < F(k)`, else 127, where `p(0) = e(r)`, `p(k) = p(k - 1) * r / k` from left to right, and `F(k) = p(0) + ... + p(k)`
    likewise. `e(r)` is exp(-r) as follows: `y = r / 64`, `s = 1`, then `s = 1 - y / n * s` for `n` from 15 down to 1, and `s`
    squared six times.

    Raises `InvalidInput` for other parameters, NaN among them, and where the responses are values themselves.
    """
    if distribution is Distribution.CONTINUOUS:
        raise InvalidInput(
            "continuous responses are values, and nothing is drawn from them: say rate or bernoulli in the contract"
        )
    if responses.ndim < 2 or responses.dtype.kind not in "fiu":
        raise InvalidInput(
            f"responses of type {responses.dtype} and shape {responses.shape} cannot be drawn from: give (step, mind, ...)"
        )
    if not 0 <= stream < NOISE_STREAM:
        raise InvalidInput(f"stream {stream} is no number of a response: give one below {NOISE_STREAM}")
    steps, minds = responses.shape[:2]
    flat = responses.reshape(steps, minds, -1) if responses.size else np.empty((steps, minds, 0))
    if flat.shape[2] > _MAX_UNITS:
        raise InvalidInput(f"a response of {flat.shape[2]} units cannot be drawn from: there may be {_MAX_UNITS}")
    bernoulli = distribution is Distribution.BERNOULLI
    _check(flat, highest=1.0 if bernoulli else MAX_RATE, what="probability" if bernoulli else "rate")
    drawn: AnyArray = np.empty(flat.shape, np.bool_ if bernoulli else np.uint16)
    for part in _parts(flat.shape):
        first = part.start
        parameters = flat[part].astype(np.float64)
        place = _Place(
            seed=seed,
            steps=range(first_step + first, first_step + first + len(parameters)),
            minds=range(first_mind, first_mind + minds),
            stream=stream,
        )
        drawn[part] = parameters > place.uniform(flat.shape[2]) if bernoulli else _poisson(parameters, place)
    return drawn.reshape(responses.shape)


def perturb(
    state: Mapping[str, AnyArray], *, seed: int, scale: float = 1e-3, first_mind: int = 0
) -> Mapping[str, AnyArray]:
    """Return states (mind, ...) by name, a little different for each mind but mind 0, which stays as it is.

    To each value is added `scale * size * g`, `size` being the largest magnitude of that state of that mind, or 1 where it is
    all zeros, and `g` near a normal deviate: the sum of the four words of the value's block over 2^32, less 2, times the root
    of 3, which has mean 0, variance 1, and is never beyond 3.5. States are numbered by the order of their names, values by C
    order. Whole numbers and truth values stay. Raises `InvalidInput` for a scale that is not from 0 to 1, and for NaN.
    """
    if not 0 <= scale <= 1:
        raise InvalidInput(f"states cannot be perturbed by {scale}: give a scale from 0 to 1")
    return {
        name: _perturbed(state[name], seed=seed, scale=scale, first_mind=first_mind, stream=STATE_STREAM + number)
        for number, name in enumerate(sorted(state))
    }


def uniform_noise(
    shape: tuple[int, ...],
    dtype: np.dtype[np.generic],
    *,
    seed: int,
    first_step: int = 0,
    first_mind: int = 0,
    stream: int = 0,
) -> AnyArray:
    """Return noise (step, mind, ...): uniform numbers from 0 up to, and without, 1.

    `first_step` and `first_mind` are numbers in the minds' whole life, and `stream` is the number of the input among those that
    take noise, so that a part is what it would be in the whole. Elements are numbered in C order within one mind's step.
    A float32 is the high 24 bits, a float16 the high 11 bits of word `i mod 4` of block `i div 4`, over 2^24 and 2^11; a float64
    is `u` of unit `i`, as `draw` says. Nothing is rounded.
    """
    units = math.prod(shape[2:])
    each = 2 if dtype.itemsize == 8 else 4
    noise = np.empty((*shape[:2], units), dtype)
    for part in _parts(noise.shape):
        steps = len(noise[part])
        words = philox.blocks(
            seed=seed,
            steps=range(first_step + part.start, first_step + part.start + steps),
            minds=range(first_mind, first_mind + shape[1]),
            numbers=range(-(-units // each)),
            stream=NOISE_STREAM + stream,
        )
        if each == 2:
            numbers: AnyArray = philox.doubles(words)
        else:
            bits = 11 if dtype.itemsize == 2 else 24
            numbers = (words >> np.uint32(32 - bits)).astype(dtype) * dtype.type(2.0**-bits)
        noise[part] = numbers.reshape(steps, shape[1], -1)[:, :, :units]
    return noise.reshape(shape)


def uniform_stimulus(shape: tuple[int, ...], dtype: np.dtype[np.generic], *, seed: int, stream: int = 0) -> AnyArray:
    """Return a stimulus (step, mind, ...) of random values: from -1 up to 1 in steps of 2^-23, or 0 and 1 where they are whole.

    A float16 takes steps of 2^-10. Value `i` of a mind's step is word `i mod 4` of block `i div 4`.
    """
    units = math.prod(shape[2:])
    words = philox.blocks(
        seed=seed,
        steps=range(shape[0]),
        minds=range(shape[1]),
        numbers=range(-(-units // 4)),
        stream=STIMULUS_STREAM + stream,
    ).reshape(shape[0], shape[1], -1)[:, :, :units]
    if dtype.kind != "f":
        return (words >> np.uint32(31)).astype(dtype).reshape(shape)
    bits = 11 if dtype.itemsize == 2 else 24
    return ((words >> np.uint32(32 - bits)) * 2.0 ** (1 - bits) - 1.0).astype(dtype).reshape(shape)


def _check(parameters: AnyArray, *, highest: float, what: str) -> None:
    wrong = ~np.logical_and(np.greater_equal(parameters, 0), np.less_equal(parameters, highest))  # NaN is wrong too
    if wrong.any():
        step, mind, unit = (int(places[0]) for places in np.nonzero(wrong))
        raise InvalidInput(
            f"unit {unit} of mind {mind} in step {step} has the {what} {parameters[step, mind, unit]:.6g}, and it must be from 0 "
            f"to {highest:.6g}: check the contract's distribution"
        )


def _parts(shape: tuple[int, ...]) -> Iterator[slice]:
    """Yield runs of steps, each of which is drawn at once."""
    count = max(_CHUNK_UNITS // max(shape[1] * shape[2], 1), 1)
    for first in range(0, shape[0], count):
        yield slice(first, first + count)


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a part of a draw lies in the whole."""

    seed: int
    steps: range
    minds: range
    stream: int

    def uniform(self, units: int, *, piece: int = 0) -> F64:
        """Return `u` of a piece: (step, mind, unit)."""
        first = piece << _PIECE_BITS
        words = philox.blocks(
            seed=self.seed,
            steps=self.steps,
            minds=self.minds,
            numbers=range(first, first + (units + 1) // 2),
            stream=self.stream,
        )
        return philox.doubles(words).reshape(len(self.steps), len(self.minds), -1)[:, :, :units]


def _poisson(rates: F64, place: _Place) -> NDArray[np.uint16]:
    pieces = np.maximum(np.ceil(rates / PIECE_RATE), 1.0)
    each = rates / pieces
    counts = np.zeros(rates.shape, np.uint16)
    for piece in range(int(pieces.max(initial=0))):
        drawn = _inverse(each, place.uniform(rates.shape[2], piece=piece))
        counts += np.where(piece < pieces, drawn, np.uint16(0))
    return counts


def _inverse(rates: F64, u: F64) -> NDArray[np.uint16]:
    """Return the least count whose distribution function is above `u`."""
    probability = _exp_minus(rates)
    reached = probability.copy()
    counts = np.zeros(rates.shape, np.uint16)
    for count in range(1, _MAX_PIECE_COUNT + 1):
        beyond = u >= reached
        if not beyond.any():
            break
        counts += beyond
        probability = probability * rates / count
        reached = reached + probability
    return counts


def _exp_minus(rates: F64) -> F64:
    y = rates / 2.0**_SQUARINGS
    series = np.ones_like(y)
    for term in range(_TERMS, 0, -1):
        series = 1.0 - y / term * series
    for _ in range(_SQUARINGS):
        series = series * series
    return series


def _perturbed(values: AnyArray, *, seed: int, scale: float, first_mind: int, stream: int) -> AnyArray:
    if values.dtype.kind != "f" or not values.size:
        return values.copy()
    if not np.isfinite(values).all():
        raise InvalidInput("a state that holds NaN or infinity cannot be perturbed: begin from another")
    minds = len(values)
    flat = values.reshape(minds, -1).astype(np.float64)
    size = np.abs(flat).max(axis=1, keepdims=True)
    size[size == 0] = 1.0
    words = philox.blocks(
        seed=seed,
        steps=range(1),
        minds=range(first_mind, first_mind + minds),
        numbers=range(flat.shape[1]),
        stream=stream,
    )[0].astype(np.uint64)
    deviates = (words[..., 0] + words[..., 1] + words[..., 2] + words[..., 3]) * 2.0**-32 - 2.0
    deviates = deviates * _UNIT_SPREAD
    if first_mind == 0:
        deviates[0] = 0.0
    moved: AnyArray = (flat + scale * size * deviates).astype(values.dtype)
    return moved.reshape(values.shape)
