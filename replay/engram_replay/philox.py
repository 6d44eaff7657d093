"""Random numbers by counter: Philox4x32-10 (Salmon, Moraes, Dror and Shaw, 2011).

A block of four 32-bit words is a function of a key and a counter, and of nothing before it: any step of any mind can be drawn
alone, in any order and on any machine, and is the same. Whole numbers alone are used, so no rounding has a say.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from engram_format.errors import InvalidInput

U32 = NDArray[np.uint32]

MAX_SEED: Final = 2**63 - 1
MAX_STEPS: Final = 2**48
MAX_MINDS: Final = 2**32
MAX_BLOCKS: Final = 2**32
MAX_STREAMS: Final = 2**16

_ROUNDS: Final = 10
_MULTIPLIERS: Final = (np.uint64(0xD2511F53), np.uint64(0xCD9E8D57))
_WEYL: Final = (0x9E3779B9, 0xBB67AE85)
_LOW: Final = np.uint64(0xFFFFFFFF)
_SHIFT: Final = np.uint64(32)


def philox4x32(counter: U32, key: tuple[int, int]) -> U32:
    """Return the block of each counter: (..., 4) to (..., 4)."""
    c0, c1, c2, c3 = (counter[..., word].astype(np.uint64) for word in range(4))
    for turn in range(_ROUNDS):
        k0, k1 = (np.uint64((part + turn * weyl) & 0xFFFFFFFF) for part, weyl in zip(key, _WEYL, strict=True))
        first, second = c0 * _MULTIPLIERS[0], c2 * _MULTIPLIERS[1]
        c0, c1, c2, c3 = (
            (second >> _SHIFT) ^ c1 ^ k0,
            second & _LOW,
            (first >> _SHIFT) ^ c3 ^ k1,
            first & _LOW,
        )
    return np.stack([c0, c1, c2, c3], axis=-1).astype(np.uint32)


def blocks(*, seed: int, steps: range, minds: range, numbers: range, stream: int) -> U32:
    """Return the words of some blocks: (step, mind, number, 4).

    The key is the seed, its low 32 bits first. The counter's words are the block's number, the mind, the low 32 bits of the
    step, and the high 16 bits of the step below 16 bits of the stream, which keeps different uses of one seed apart.
    """
    for what, given, bound in (
        ("seed", range(seed, seed + 1), MAX_SEED + 1),
        ("step", steps, MAX_STEPS),
        ("mind", minds, MAX_MINDS),
        ("block", numbers, MAX_BLOCKS),
        ("stream", range(stream, stream + 1), MAX_STREAMS),
    ):
        if given.step != 1 or (len(given) and not 0 <= given[0] <= given[-1] < bound):
            raise InvalidInput(
                f"{what} {given[0] if len(given) else given} to {given[-1]} cannot be drawn: stay below {bound}"
            )
    step = np.arange(steps.start, steps.stop, dtype=np.uint64)[:, np.newaxis, np.newaxis]
    counter = np.empty((len(steps), len(minds), len(numbers), 4), np.uint32)
    counter[..., 0] = np.arange(numbers.start, numbers.stop, dtype=np.uint32)
    counter[..., 1] = np.arange(minds.start, minds.stop, dtype=np.uint32)[:, np.newaxis]
    counter[..., 2] = step & _LOW
    counter[..., 3] = (np.uint64(stream) << np.uint64(16)) | (step >> _SHIFT)
    return philox4x32(counter, (seed & 0xFFFFFFFF, seed >> 32))


def doubles(words: U32) -> NDArray[np.float64]:
    """Return numbers from 0 up to, and without, 1, of 53 bits: blocks (..., 4) to (..., 2)."""
    high, low = words[..., 0::2].astype(np.uint64), words[..., 1::2].astype(np.uint64)
    return (((high << _SHIFT) | low) >> np.uint64(11)).astype(np.float64) * 2.0**-53
