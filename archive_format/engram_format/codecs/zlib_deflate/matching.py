"""How zlib finds repetitions: hash chains over a sliding window, searched greedily or with one step of patience.

Positions count from the start of the data. zlib counts from the start of a buffer of two windows that it slides along; what that
buffer makes visible (the base, which is never matched and before which no block can be stored) is kept here as `Window`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

MIN_MATCH: Final = 3
MAX_MATCH: Final = 258

_MIN_LOOKAHEAD: Final = MAX_MATCH + MIN_MATCH + 1
_TOO_FAR: Final = 4096
"""The largest distance at which the patient search takes a match of three bytes."""
_NOWHERE: Final = -1
_NO_LENGTH: Final = MIN_MATCH - 1


@dataclass(frozen=True, slots=True)
class Settings:
    """How hard a level searches."""

    good: int
    """With a match of this length at hand, a quarter of the chain is searched."""
    lazy: int
    """With a match of this length at hand, nothing better is looked for; the greedy search enters no longer ones in the chains."""
    nice: int
    """A match of this length ends the search."""
    chain: int
    """How many earlier places are compared at most."""


SETTINGS: Final = {
    1: Settings(good=4, lazy=4, nice=8, chain=4),
    2: Settings(good=4, lazy=5, nice=16, chain=8),
    3: Settings(good=4, lazy=6, nice=32, chain=32),
    4: Settings(good=4, lazy=4, nice=16, chain=16),
    5: Settings(good=8, lazy=16, nice=32, chain=32),
    6: Settings(good=8, lazy=16, nice=128, chain=128),
    7: Settings(good=8, lazy=32, nice=128, chain=256),
    8: Settings(good=32, lazy=128, nice=258, chain=1024),
    9: Settings(good=32, lazy=258, nice=258, chain=4096),
}
_LAST_GREEDY_LEVEL: Final = 3


@dataclass(frozen=True, slots=True)
class Block:
    """Some of the data as tokens: a literal byte, or a match as `token(length, distance)`."""

    tokens: list[int]
    original: memoryview
    """The bytes that the tokens stand for."""
    storable: bool
    """Whether zlib still has all of `original` in its buffer, and so could store it."""
    last: bool


def token(length: int, distance: int) -> int:
    """Return the token of a match, which is above all literals."""
    return distance << 9 | length


def length_and_distance(token: int) -> tuple[int, int]:
    """Return what `token()` was given."""
    return token & 511, token >> 9


def find_blocks(data: bytes | memoryview, *, level: int, wbits: int, mem_level: int) -> Iterator[Block]:
    """Split `data` into blocks of tokens as zlib does; there is at least one, and only the last one is `last`."""
    window = Window(data, SETTINGS[level], wbits=wbits, mem_level=mem_level)
    blocks = _Blocks(window, capacity=(1 << (mem_level + 6)) - 1)
    return _greedy(window, blocks) if level <= _LAST_GREEDY_LEVEL else _patient(window, blocks)


class Window:
    """The data, with a chain of earlier places for every hash of three bytes."""

    def __init__(self, data: bytes | memoryview, settings: Settings, *, wbits: int, mem_level: int) -> None:
        self.settings = settings
        self.base = 0
        """Where zlib's buffer begins."""
        # A search that looks behind the end has won already, whatever it reads there; so there is something to read.
        self.data = b"".join((data, bytes(MAX_MATCH)))
        self.end = len(self.data) - MAX_MATCH
        self._size = 1 << wbits
        self._max_distance = self._size - _MIN_LOOKAHEAD
        hash_bits = mem_level + 7
        self._shift = (hash_bits + MIN_MATCH - 1) // MIN_MATCH
        self._hash_mask = (1 << hash_bits) - 1
        self._newest = [_NOWHERE] * (1 << hash_bits)
        self._earlier = [_NOWHERE] * self._size

    def slide(self, place: int) -> None:
        """Move the base by a window where zlib does when it is about to search at `place`: its lookahead runs low."""
        buffer_end = self.base + 2 * self._size
        low = min(buffer_end, self.end) - place < _MIN_LOOKAHEAD
        if low and buffer_end - place <= _MIN_LOOKAHEAD:
            self.base += self._size

    def enter(self, place: int) -> int:
        """Add a place with three bytes to its chain; returns the newest one before it, or -1."""
        data, shift = self.data, self._shift
        key = (data[place] << 2 * shift ^ data[place + 1] << shift ^ data[place + 2]) & self._hash_mask
        before = self._newest[key]
        self._earlier[place & (self._size - 1)] = before
        self._newest[key] = place
        return before

    def reaches(self, place: int, candidate: int) -> bool:
        """Tell whether a search at `place` may begin with `candidate`. The base itself is zlib's mark for nowhere."""
        return candidate > self.base and place - candidate <= self._max_distance

    def longest_match(self, place: int, candidate: int, *, beat: int) -> tuple[int, int]:
        """Return length and start of the first match that is longer than `beat` and than all before it.

        The search follows the chain from `candidate`. A length of at most `beat` says that there is none; its start means nothing.
        """
        data, earlier, mask = self.data, self._earlier, self._size - 1
        settings, ahead = self.settings, self.end - place
        oldest = max(place - self._max_distance, self.base)  # itself out of reach for all but the first candidate
        most, enough = min(MAX_MATCH, ahead), min(settings.nice, ahead)
        best, start = beat, _NOWHERE
        wanted, final = data[place : place + best + 1], data[place + best]
        for _ in range(settings.chain if beat < settings.good else settings.chain // 4):
            if data[candidate + best] == final and data[candidate : candidate + best + 1] == wanted:
                best, start = best + 1, candidate
                while best < most and data[candidate + best] == data[place + best]:
                    best += 1
                if best >= enough:
                    break
                wanted, final = data[place : place + best + 1], data[place + best]
            candidate = earlier[candidate & mask]
            if candidate <= oldest:
                break
        return min(best, ahead), start


class _Blocks:
    """Tokens on their way into blocks; one is full when it has `capacity` tokens."""

    def __init__(self, window: Window, *, capacity: int) -> None:
        self._window = window
        self._original = memoryview(window.data)
        self._capacity = capacity
        self._start = 0
        self._tokens: list[int] = []

    def add(self, token: int) -> bool:
        """Take a token; returns whether the block is full."""
        self._tokens.append(token)
        return len(self._tokens) == self._capacity

    def end(self, place: int, *, last: bool = False) -> Block:
        """Return the block up to `place`, where the next one begins."""
        storable = self._start >= self._window.base
        block = Block(self._tokens, self._original[self._start : place], storable=storable, last=last)
        self._start, self._tokens = place, []
        return block


def _greedy(window: Window, blocks: _Blocks) -> Iterator[Block]:
    """Take the match at every place (levels 1 to 3)."""
    data, end, longest_entered = window.data, window.end, window.settings.lazy
    place = 0
    while place < end:
        window.slide(place)
        candidate = window.enter(place) if end - place >= MIN_MATCH else _NOWHERE
        length = start = 0
        if window.reaches(place, candidate):
            length, start = window.longest_match(place, candidate, beat=_NO_LENGTH)
        if length >= MIN_MATCH:
            full = blocks.add(token(length, place - start))
            if length <= longest_entered and end - place - length >= MIN_MATCH:
                for within in range(place + 1, place + length):
                    window.enter(within)
            place += length
        else:
            full = blocks.add(data[place])
            place += 1
        if full:
            yield blocks.end(place)
    yield blocks.end(place, last=True)


def _patient(window: Window, blocks: _Blocks) -> Iterator[Block]:
    """Take a match only where the next place has no longer one (levels 4 to 9)."""
    data, end, long_enough = window.data, window.end, window.settings.lazy
    place, length, start = 0, _NO_LENGTH, _NOWHERE
    pending = False  # whether the byte before `place` is in no token yet
    while place < end:
        window.slide(place)
        candidate = window.enter(place) if end - place >= MIN_MATCH else _NOWHERE
        length_before, start_before = length, start
        length = _NO_LENGTH
        if length_before < long_enough and window.reaches(place, candidate):
            length, start = window.longest_match(place, candidate, beat=length_before)
            if length == MIN_MATCH and place - start > _TOO_FAR:
                length = _NO_LENGTH
        if length_before >= MIN_MATCH and length <= length_before:
            full = blocks.add(token(length_before, place - 1 - start_before))
            after = place - 1 + length_before
            for within in range(place + 1, min(after, end - MIN_MATCH + 1)):
                window.enter(within)
            place, length, pending = after, _NO_LENGTH, False
            if full:
                yield blocks.end(place)
        else:
            if pending and blocks.add(data[place - 1]):
                yield blocks.end(place)
            place, pending = place + 1, True
    if pending:
        blocks.add(data[place - 1])  # and if it fills the block, this is the last one all the same
    yield blocks.end(place, last=True)
