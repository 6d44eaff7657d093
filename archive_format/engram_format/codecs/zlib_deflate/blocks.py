"""How zlib writes a block: stored, with the fixed codes or with codes of its own, whichever it reckons to be the shortest."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Sequence
from typing import Final

from engram_format.codecs.zlib_deflate.bits import BitStream, number
from engram_format.codecs.zlib_deflate.matching import Block, length_and_distance
from engram_format.codecs.zlib_deflate.trees import COPY_LAST, MANY_ZEROS, ZEROS, code_lengths, codes, runs

_END: Final = 256
_FIRST_LENGTH: Final = 257
_LITERALS: Final = 286
_DISTANCES: Final = 30

_LENGTH_EXTRA: Final = [0] * 8 + [bits for bits in range(1, 6) for _ in range(4)] + [0]
_DISTANCE_EXTRA: Final = [0] * 4 + [bits for bits in range(1, 14) for _ in range(2)]
_RUN_EXTRA: Final = {COPY_LAST: 2, ZEROS: 3, MANY_ZEROS: 7}
_RUN_ORDER: Final = (16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15)


def _bases(first: int, extra: Sequence[int]) -> list[int]:
    """Return the least value of each code, given the extra bits of all."""
    return [first + sum(1 << bits for bits in extra[:code]) for code in range(len(extra))]


_LENGTH_BASES: Final = [
    *_bases(3, _LENGTH_EXTRA)[:-1],
    258,
]  # 258 has a code of its own, though the one before reaches it
_DISTANCE_BASES: Final = _bases(1, _DISTANCE_EXTRA)

_FIXED_LITERALS: Final = [8] * 144 + [9] * 112 + [7] * 24 + [8] * 8
_FIXED_DISTANCES: Final = [5] * _DISTANCES

_STORED, _FIXED, _DYNAMIC = "00", "10", "01"  # the two bits as they are sent


def write_block(stream: BitStream, block: Block) -> None:
    """Append a block to the stream."""
    tokens = Counter(block.tokens)
    literals, distances = _frequencies(tokens)
    literal_lengths = code_lengths(literals, limit=15)
    distance_lengths = code_lengths(distances, limit=15)
    trees = _describe(literal_lengths, distance_lengths)
    dynamic = _whole_bytes(len(trees) + _cost(literals, distances, literal_lengths, distance_lengths))
    fixed = _whole_bytes(_cost(literals, distances, _FIXED_LITERALS, _FIXED_DISTANCES))

    last = "1" if block.last else "0"
    if block.storable and len(block.original) + 4 <= min(fixed, dynamic):
        stream.add(last + _STORED)
        stream.align()
        stream.add_bytes(len(block.original).to_bytes(2, "little"))
        stream.add_bytes((len(block.original) ^ 0xFFFF).to_bytes(2, "little"))
        stream.add_bytes(block.original)
    elif fixed <= dynamic:
        stream.add(last + _FIXED + _spell(block.tokens, tokens, _FIXED_LITERALS, _FIXED_DISTANCES))
    else:
        stream.add(last + _DYNAMIC + trees + _spell(block.tokens, tokens, literal_lengths, distance_lengths))


def _whole_bytes(bits: int) -> int:
    """Return the bytes of a block with its three bits of header, as if it began a byte."""
    return (bits + 3 + 7) // 8


def _frequencies(tokens: Counter[int]) -> tuple[list[int], list[int]]:
    """Return how often each literal or length code and each distance code occurs, with one end of block."""
    literals, distances = [0] * _LITERALS, [0] * _DISTANCES
    literals[_END] = 1
    for token, count in tokens.items():
        if token < _END:
            literals[token] += count
        else:
            length, distance = length_and_distance(token)
            literals[_length_code(length) + _FIRST_LENGTH] += count
            distances[_distance_code(distance)] += count
    return literals, distances


def _length_code(length: int) -> int:
    return bisect_right(_LENGTH_BASES, length) - 1


def _distance_code(distance: int) -> int:
    return bisect_right(_DISTANCE_BASES, distance) - 1


def _cost(
    literals: Sequence[int], distances: Sequence[int], literal_lengths: Sequence[int], distance_lengths: Sequence[int]
) -> int:
    """Return the bits that all tokens and the end of the block take."""
    literal_extra = [0] * _FIRST_LENGTH + _LENGTH_EXTRA
    parts = ((literals, literal_lengths, literal_extra), (distances, distance_lengths, _DISTANCE_EXTRA))
    return sum(
        count * (length + extra)
        for counts, lengths, extras in parts
        for count, length, extra in zip(counts, lengths, extras, strict=False)  # lengths end with the last code in use
    )


def _describe(literal_lengths: Sequence[int], distance_lengths: Sequence[int]) -> str:
    """Return the bits that tell a reader both codes (RFC 1951 section 3.2.7)."""
    symbols = runs(literal_lengths) + runs(distance_lengths)  # no run goes from one into the other
    counts = Counter(symbol for symbol, _ in symbols)
    lengths = code_lengths([counts[symbol] for symbol in range(len(_RUN_ORDER))], limit=7)
    lengths += [0] * (len(_RUN_ORDER) - len(lengths))
    told = max(4, 1 + max(place for place, symbol in enumerate(_RUN_ORDER) if lengths[symbol]))
    texts = codes(lengths)
    return "".join(
        (
            number(len(literal_lengths) - 257, bits=5),
            number(len(distance_lengths) - 1, bits=5),
            number(told - 4, bits=4),
            *(number(lengths[symbol], bits=3) for symbol in _RUN_ORDER[:told]),
            *(texts[symbol] + number(value, bits=_RUN_EXTRA.get(symbol, 0)) for symbol, value in symbols),
        )
    )


def _spell(
    tokens: Sequence[int], distinct: Counter[int], literal_lengths: Sequence[int], distance_lengths: Sequence[int]
) -> str:
    """Return the bits of all tokens and of the end of the block."""
    literals, distances = codes(literal_lengths), codes(distance_lengths)

    def spell(token: int) -> str:
        if token < _END:
            return literals[token]
        length, distance = length_and_distance(token)
        by_length, by_distance = _length_code(length), _distance_code(distance)
        return (
            literals[by_length + _FIRST_LENGTH]
            + number(length - _LENGTH_BASES[by_length], bits=_LENGTH_EXTRA[by_length])
            + distances[by_distance]
            + number(distance - _DISTANCE_BASES[by_distance], bits=_DISTANCE_EXTRA[by_distance])
        )

    spelling = {token: spell(token) for token in distinct}
    return "".join(map(spelling.__getitem__, tokens)) + literals[_END]
