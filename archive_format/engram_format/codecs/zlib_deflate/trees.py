"""Prefix codes as zlib builds them: Huffman's lengths by a heap with a rule for ties, cut to a limit, written as runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

COPY_LAST: Final = 16
ZEROS: Final = 17
MANY_ZEROS: Final = 18


def code_lengths(frequencies: Sequence[int], *, limit: int) -> list[int]:
    """Return the lengths in bits of the codes for symbols 0, 1, ... up to the last that has one; 0: none.

    There are always two codes: symbols that do not occur, the first ones, are made to where fewer do. None is longer than `limit`.
    """
    weights = list(frequencies)
    heap = [symbol for symbol, weight in enumerate(weights) if weight]
    last = heap[-1] if heap else -1
    while len(heap) < 2:
        if last < 2:
            last += 1
            forced = last
        else:
            forced = 0
        weights[forced] = 1
        heap.append(forced)
    parents, order = _join(weights, heap)
    return _limited(weights, parents, order, last=last, limit=limit)[: last + 1]


def _join(weights: list[int], leaves: list[int]) -> tuple[dict[int, int], list[int]]:
    """Join the two lightest nodes until one is left; of equal weight, the one of lesser height is the lighter.

    Returns the parent of each node, and all nodes in the order in which a walk from the root meets them. New nodes are numbered
    after all symbols; `weights` grows by theirs. Ties beyond the rule are decided by the heap's moves, which are therefore exact.
    """
    heap = [0, *leaves]  # from 1 on, a parent at k having children at 2k and 2k + 1
    heights = [0] * len(weights)
    parents: dict[int, int] = {}
    taken: list[int] = []

    def lighter_or_alike(one: int, other: int) -> bool:
        return (weights[one], heights[one]) <= (weights[other], heights[other])

    def sink(hole: int) -> None:
        node = heap[hole]
        child = 2 * hole
        while child < len(heap):
            if child + 1 < len(heap) and lighter_or_alike(heap[child + 1], heap[child]):
                child += 1
            if lighter_or_alike(node, heap[child]):
                break
            heap[hole] = heap[child]
            hole, child = child, 2 * child
        heap[hole] = node

    for hole in range(len(leaves) // 2, 0, -1):
        sink(hole)
    while len(heap) > 2:
        lightest, heap[1] = heap[1], heap[-1]
        heap.pop()
        sink(1)
        second = heap[1]
        joined = len(weights)
        weights.append(weights[lightest] + weights[second])
        heights.append(max(heights[lightest], heights[second]) + 1)
        parents[lightest] = parents[second] = joined
        taken += lightest, second
        heap[1] = joined
        sink(1)
    return parents, [heap[1], *reversed(taken)]


def _limited(weights: list[int], parents: dict[int, int], order: list[int], *, last: int, limit: int) -> list[int]:
    """Return every node's depth, with the leaves' made to fit into `limit`: some move down so that deeper ones can move up."""
    depths = [0] * len(weights)
    leaves_at = [0] * (limit + 1)
    overflow = 0
    for node in order[1:]:
        depths[node] = depths[parents[node]] + 1
        if depths[node] > limit:
            depths[node] = limit
            overflow += 1  # inner nodes count too
        if node <= last:
            leaves_at[depths[node]] += 1
    if not overflow:
        return depths
    while overflow > 0:
        bits = limit - 1
        while not leaves_at[bits]:
            bits -= 1
        leaves_at[bits] -= 1
        leaves_at[bits + 1] += 2
        leaves_at[limit] -= 1
        overflow -= 2
    lightest_first = (node for node in reversed(order) if node <= last)
    for bits in range(limit, 0, -1):
        for _ in range(leaves_at[bits]):
            depths[next(lightest_first)] = bits
    return depths


def codes(lengths: Sequence[int]) -> list[str]:
    """Return the bits of each symbol's code, in the order in which they are sent (RFC 1951 section 3.2.2); empty where none."""
    texts = [""] * len(lengths)
    code = previous = 0
    for length, symbol in sorted((length, symbol) for symbol, length in enumerate(lengths) if length):
        code <<= length - previous
        texts[symbol] = f"{code:0{length}b}"
        code, previous = code + 1, length
    return texts


def runs(lengths: Sequence[int]) -> list[tuple[int, int]]:
    """Return code lengths as symbols of the code length code, each with the number in its extra bits.

    A run is cut where zlib cuts it: at 138 zeros, at 7 equal lengths that follow another, at 6 that follow the same.
    """
    symbols: list[tuple[int, int]] = []
    previous, place = -1, 0
    while place < len(lengths):
        length = lengths[place]
        most = 138 if length == 0 else 6 if length == previous else 7
        count = 1
        while count < most and place + count < len(lengths) and lengths[place + count] == length:
            count += 1
        place += count
        if length == 0 and count > 10:
            symbols.append((MANY_ZEROS, count - 11))
        elif length == 0 and count >= 3:
            symbols.append((ZEROS, count - 3))
        elif length and length == previous and count >= 3:
            symbols.append((COPY_LAST, count - 3))
        elif length and length != previous and count >= 4:
            symbols += (length, 0), (COPY_LAST, count - 4)
        else:
            symbols += [(length, 0)] * count
        previous = length
    return symbols
