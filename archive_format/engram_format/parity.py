"""P+Q parity over groups of shards: any two lost shards of a group are rebuilt (SPEC.md section 8).

The arithmetic is RAID-6's: P is the sum and Q the sum weighted by powers of 2 in GF(2^8) with the polynomial 0x11d, byte by
byte (H. P. Anvin, "The mathematics of RAID-6"). Eight bytes are worked on at once in 64-bit lanes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from engram_format.errors import Damaged

GROUP_SHARDS: Final = 30
"""Data shards in one group; two parity shards follow for each."""
PARITY_SHARDS: Final = 2

Lanes = NDArray[np.uint64]

_POLYNOMIAL: Final = 0x11D
_BLOCK_LANES: Final = 16_384
_ONE, _SEVEN = np.uint64(1), np.uint64(7)
_LOW_BIT_OF_EACH_BYTE: Final = np.uint64(0x0101010101010101)
_LOW_BITS: Final = np.uint64(0x7F7F7F7F7F7F7F7F)
_REDUCTION: Final = np.uint64(_POLYNOMIAL & 0xFF)


def _tables() -> tuple[list[int], list[int]]:
    """Return powers of 2 (255 of them) and logarithms (of 1 to 255) in the field."""
    powers, logarithms, value = [], [0] * 256, 1
    for exponent in range(255):
        powers.append(value)
        logarithms[value] = exponent
        value <<= 1
        if value & 0x100:
            value ^= _POLYNOMIAL
    return powers, logarithms


_POWERS, _LOGARITHMS = _tables()


def encode(shards: Sequence[Lanes]) -> tuple[Lanes, Lanes]:
    """Return P and Q of 1 to 30 data shards of equal length."""
    p = shards[-1].copy()
    q = shards[-1].copy()
    carry = np.empty(min(len(q), _BLOCK_LANES), np.uint64)
    for start in range(0, len(q), _BLOCK_LANES):  # so that the sums stay in the processor's cache
        block = slice(start, start + _BLOCK_LANES)
        p_block, q_block = p[block], q[block]
        carry_block = carry[: len(q_block)]
        for shard in reversed(shards[:-1]):  # Horner's rule: q = 2 q + shard
            part = shard[block]
            np.right_shift(q_block, _SEVEN, out=carry_block)
            carry_block &= _LOW_BIT_OF_EACH_BYTE
            carry_block *= _REDUCTION
            q_block &= _LOW_BITS
            q_block <<= _ONE
            q_block ^= carry_block
            q_block ^= part
            p_block ^= part
    return p, q


def rebuild(shards: Sequence[Lanes | None], p: Lanes | None, q: Lanes | None) -> list[Lanes]:
    """Return all data shards of a group, rebuilding the ones that are `None`.

    Raises `Damaged` where more are lost than the parity that is left can rebuild.
    """
    lost = [place for place, shard in enumerate(shards) if shard is None]
    left = sum(parity is not None for parity in (p, q))
    if len(lost) > left:
        raise Damaged(f"{len(lost)} of {len(shards)} shards are lost and {left} parity shards are left")
    present = [shard for shard in (*shards, p, q) if shard is not None]
    zero = np.zeros_like(present[0])
    filled: list[Lanes] = [zero if shard is None else shard for shard in shards]
    if not lost:
        return filled
    p_seen, q_seen = encode(filled)
    match lost, p, q:
        case [a], parity, _ if parity is not None:
            filled[a] = p_seen ^ parity
        case [a], _, parity if parity is not None:
            filled[a] = _scale(q_seen ^ parity, _inverse(_POWERS[a]))
        case [a, b], p_stored, q_stored if p_stored is not None and q_stored is not None:
            p_missing = p_seen ^ p_stored  # shard a + shard b
            q_missing = q_seen ^ q_stored  # 2^a shard a + 2^b shard b
            factor = _inverse(_POWERS[a] ^ _POWERS[b])
            filled[a] = _scale(_scale(p_missing, _POWERS[b]) ^ q_missing, factor)
            filled[b] = p_missing ^ filled[a]
    return filled


def _inverse(value: int) -> int:
    return _POWERS[-_LOGARITHMS[value] % 255]


def _scale(lanes: Lanes, factor: int) -> Lanes:
    """Multiply every byte by `factor` in the field."""
    table = np.array(
        [0] + [_POWERS[(_LOGARITHMS[value] + _LOGARITHMS[factor]) % 255] for value in range(1, 256)], dtype=np.uint8
    )
    return table[lanes.view(np.uint8)].view(np.uint64)
