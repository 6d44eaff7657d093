"""The public part of a pack: hashes over fixed shards of ciphertext, and parity (SPEC.md section 8).

Nothing here needs a key. An operator who holds only the bucket checks and repairs with these functions alone.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Final, Self

import numpy as np

from engram_format import parity as p_q
from engram_format.encoding import Fields, encode
from engram_format.errors import Damaged, FormatError

MAX_SHARD_BYTES: Final = 2**20
_MIN_SHARD_BYTES: Final = 256
_HASH_BYTES: Final = 32
_TRAILER_BYTES: Final = 4 + _HASH_BYTES
_MAX_FOOTER_BYTES: Final = 2**20


def shard_bytes(data_bytes: int) -> int:
    """Return the shard size of a data area: a power of two, about a thirtieth, at most 1 MiB; known from the length alone."""
    wanted = -(-data_bytes // p_q.GROUP_SHARDS)
    return min(max(1 << max(wanted - 1, 0).bit_length(), _MIN_SHARD_BYTES), MAX_SHARD_BYTES)


@dataclass(frozen=True, slots=True)
class Footer:
    """What a pack says of itself in public."""

    data_bytes: int
    parity: bool
    hashes: bytes
    """32 bytes for each data shard, then for each parity shard in the order of the groups, P before Q."""
    locator: bytes
    """Ciphertext: where the frame table lies."""

    @property
    def shard_bytes(self) -> int:
        """Length of every shard but the last data shard."""
        return shard_bytes(self.data_bytes)

    @property
    def data_shards(self) -> int:
        """How many data shards there are."""
        return -(-self.data_bytes // self.shard_bytes)

    @property
    def groups(self) -> int:
        """How many groups the data shards form."""
        return -(-self.data_shards // p_q.GROUP_SHARDS)

    @property
    def parity_shards(self) -> int:
        """How many parity shards there are."""
        return self.groups * p_q.PARITY_SHARDS if self.parity else 0

    @property
    def body_bytes(self) -> int:
        """Length of data area and parity shards."""
        return self.data_bytes + self.parity_shards * self.shard_bytes

    def shard(self, place: int) -> slice:
        """Return where shard `place` lies in the pack (data shards first, then parity)."""
        if place < self.data_shards:
            return slice(place * self.shard_bytes, min((place + 1) * self.shard_bytes, self.data_bytes))
        start = self.data_bytes + (place - self.data_shards) * self.shard_bytes
        return slice(start, start + self.shard_bytes)

    def group(self, number: int) -> tuple[range, range]:
        """Return the places of a group's data shards and of its parity shards."""
        first = number * p_q.GROUP_SHARDS
        data = range(first, min(first + p_q.GROUP_SHARDS, self.data_shards))
        start = self.data_shards + number * p_q.PARITY_SHARDS
        return data, range(start, start + p_q.PARITY_SHARDS) if self.parity else range(0)

    def hash_of(self, place: int) -> bytes:
        """Return the stored hash of a shard."""
        return self.hashes[_HASH_BYTES * place : _HASH_BYTES * (place + 1)]

    def matches(self, place: int, shard: memoryview) -> bool:
        """Tell whether a shard's bytes have its hash."""
        return _leaf(shard) == self.hash_of(place)

    def to_bytes(self) -> bytes:
        """Encode."""
        return encode({1: self.data_bytes, 2: self.parity, 3: self.hashes, 4: self.locator})

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Decode and check the counts."""
        fields = Fields.of(data, what="a pack's footer", known=range(1, 5))
        footer = cls(fields.integer(1), fields.flag(2), fields.raw(3), fields.raw(4))
        if not 0 < footer.data_bytes <= 2 * p_q.GROUP_SHARDS * MAX_SHARD_BYTES:
            raise FormatError("a pack's footer is damaged: its data area has an impossible length")
        if len(footer.hashes) != _HASH_BYTES * (footer.data_shards + footer.parity_shards):
            raise FormatError("a pack's footer is damaged: it has not one hash for each shard")
        return footer

    @classmethod
    def find(cls, data: memoryview) -> Self:
        """Find a footer that is whole: there are two of it, and two trailers that say how long it is."""
        end = len(data)
        for trailer_at in (end - _TRAILER_BYTES, end - 2 * _TRAILER_BYTES):
            if trailer_at < 0:
                continue
            length = int.from_bytes(data[trailer_at : trailer_at + 4], "little")
            digest = bytes(data[trailer_at + 4 : trailer_at + _TRAILER_BYTES])
            for footer_end in (end - 2 * _TRAILER_BYTES, end - 2 * _TRAILER_BYTES - length):
                start = footer_end - length
                if 0 < length <= _MAX_FOOTER_BYTES and start >= 0:
                    body = bytes(data[start:footer_end])
                    if hashlib.sha256(body).digest() == digest:
                        return cls.from_bytes(body)
        raise FormatError("a pack is damaged: neither of its footers is whole")

    def tail(self) -> bytes:
        """Return what follows the parity shards: the footer twice and the trailer twice."""
        body = self.to_bytes()
        trailer = len(body).to_bytes(4, "little") + hashlib.sha256(body).digest()
        return 2 * body + 2 * trailer


def overhead_bytes(data_bytes: int) -> int:
    """Return an upper bound of what `finish` appends to a data area of at most this length."""
    size = shard_bytes(data_bytes)
    count = -(-data_bytes // size) + p_q.PARITY_SHARDS * (-(-data_bytes // (size * p_q.GROUP_SHARDS)))
    return p_q.PARITY_SHARDS * (-(-data_bytes // (size * p_q.GROUP_SHARDS))) * size + 2 * (count * _HASH_BYTES + 512)


def finish(buffer: memoryview, *, data_bytes: int, locator: bytes, parity: bool) -> int:
    """Append parity, footers and trailers to the data area at the start of `buffer`; return the object's length."""
    frame = Footer(data_bytes, parity, b"", locator)
    for number in range(frame.groups if parity else 0):
        data, (p_place, q_place) = frame.group(number)
        p, q = p_q.encode([_lanes(buffer[frame.shard(place)], frame.shard_bytes) for place in data])
        buffer[frame.shard(p_place)] = p.view(np.uint8).data
        buffer[frame.shard(q_place)] = q.view(np.uint8).data
    places = range(frame.data_shards + frame.parity_shards)
    hashes = b"".join(_leaf(buffer[frame.shard(place)]) for place in places)
    tail = Footer(data_bytes, parity, hashes, locator).tail()
    end = frame.body_bytes + len(tail)
    buffer[frame.body_bytes : end] = tail
    return end


@dataclass(frozen=True, slots=True)
class Inspection:
    """What a keyless look at a pack found."""

    footer: Footer
    damaged: tuple[int, ...]
    """Places of shards whose hash differs."""
    tail_damaged: bool
    """A footer or trailer copy differs, or bytes are missing or follow."""

    @property
    def sound(self) -> bool:
        """Every byte is what was written."""
        return not self.damaged and not self.tail_damaged

    @property
    def repairable(self) -> bool:
        """Parity suffices for every group."""
        if not self.footer.parity:
            return not self.damaged
        lost = set(self.damaged)
        for number in range(self.footer.groups):
            data, parity = self.footer.group(number)
            if len(lost.intersection((*data, *parity))) > p_q.PARITY_SHARDS:
                return False
        return True


def inspect(data: memoryview) -> Inspection:
    """Compare every shard with its hash; raises `FormatError` where no footer is whole."""
    footer = Footer.find(data)
    places = range(footer.data_shards + footer.parity_shards)
    damaged = tuple(place for place in places if _leaf(data[footer.shard(place)]) != footer.hash_of(place))
    return Inspection(footer, damaged, bytes(data[footer.body_bytes :]) != footer.tail())


def repair(data: memoryview) -> bytes:
    """Return the pack as it was written; raises `Damaged` where more shards of a group are lost than two."""
    found = inspect(data)
    footer, lost = found.footer, set(found.damaged)
    whole = bytearray(footer.body_bytes)
    whole[: min(len(data), footer.body_bytes)] = data[: footer.body_bytes]
    view, size = memoryview(whole), footer.shard_bytes
    for number in range(footer.groups):
        data_places, parity_places = footer.group(number)
        if lost.isdisjoint((*data_places, *parity_places)):
            continue
        try:
            rebuilt = p_q.rebuild(
                [None if place in lost else _lanes(view[footer.shard(place)], size) for place in data_places],
                *_parity_left(view, footer, parity_places, lost),
            )
        except Damaged as error:
            raise Damaged(f"a pack is damaged beyond its parity: {error}") from error
        for place, lanes in zip(data_places, rebuilt, strict=True):
            where = footer.shard(place)
            view[where] = lanes.view(np.uint8).data[: where.stop - where.start]
        for place, lanes in zip(parity_places, p_q.encode(rebuilt), strict=False):
            view[footer.shard(place)] = lanes.view(np.uint8).data
    places = range(footer.data_shards + footer.parity_shards)
    if any(_leaf(view[footer.shard(place)]) != footer.hash_of(place) for place in places):
        raise Damaged("a pack is damaged: what its parity rebuilds is not what was written")
    return bytes(whole) + footer.tail()


def _parity_left(
    view: memoryview, footer: Footer, places: range, lost: set[int]
) -> tuple[p_q.Lanes | None, p_q.Lanes | None]:
    if not places:
        return None, None
    p_place, q_place = places
    p = None if p_place in lost else _lanes(view[footer.shard(p_place)], footer.shard_bytes)
    q = None if q_place in lost else _lanes(view[footer.shard(q_place)], footer.shard_bytes)
    return p, q


def _leaf(shard: memoryview) -> bytes:
    """Hash a shard as a leaf of RFC 6962, so that a tree over shards can be built later."""
    digest = hashlib.sha256(b"\x00")
    digest.update(shard)
    return digest.digest()


def _lanes(shard: memoryview, size: int) -> p_q.Lanes:
    """View a shard as 64-bit lanes, zero-extended to the full shard size."""
    if len(shard) == size:
        return np.frombuffer(shard, dtype=np.uint64)
    padded = np.zeros(size, dtype=np.uint8)
    padded[: len(shard)] = np.frombuffer(shard, dtype=np.uint8)
    return padded.view(np.uint64)
