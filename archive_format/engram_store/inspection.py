"""A look at one pack without a key: its shards against their public hashes, a few at a time."""

from __future__ import annotations

from typing import Final

from engram_format import shards
from engram_format.catalog import Finding, FindingKind
from engram_format.errors import Damaged, NotFound
from engram_store.backend import Backend, Span

TAIL_BYTES: Final = 32 * 1024
"""Enough for both footers and trailers of any pack."""
_SPAN_BYTES: Final = 4 * 2**20
_REMEDY: Final = "deposit its content again, or restore the object from a copy"


def read_footer(backend: Backend, key: str, *, size: int) -> tuple[shards.Footer, bytes]:
    """Return the footer of a pack of `size` bytes, and the pack's last bytes; raises `Damaged` where none is whole."""
    length = min(size, TAIL_BYTES)
    if length == 0:
        raise Damaged("a pack is damaged: it is empty")
    tail = backend.get(key, Span(size - length, length))
    return shards.Footer.find(memoryview(tail)), tail


def inspect_object(backend: Backend, key: str) -> Finding:
    """Say whether a pack is sound, can be rebuilt from its parity, or is lost; reads all of it, a few shards at a time."""
    try:
        size = backend.stat(key).size
        footer, tail = read_footer(backend, key, size=size)
        damaged = _damaged_shards(backend, key, footer, size=size)
    except NotFound:
        return Finding(key, FindingKind.LOST, 0, f"the object is missing: {_REMEDY}")
    except Damaged as error:
        return Finding(key, FindingKind.LOST, 0, f"{error}: {_REMEDY}")
    tail_at = size - len(tail)
    whole_tail = size >= footer.body_bytes and tail[max(footer.body_bytes - tail_at, 0) :] == footer.tail()
    found = shards.Inspection(footer, damaged, tail_damaged=not whole_tail)
    if found.sound:
        return Finding(key, FindingKind.SOUND, size)
    damage = f"{len(damaged)} of its {footer.data_shards + footer.parity_shards} shards are damaged"
    if not damaged:
        damage = "one of its footers is damaged"
    if found.repairable:
        return Finding(key, FindingKind.REPAIRABLE, size, f"{damage}; readers rebuild what it held, from its parity")
    return Finding(key, FindingKind.LOST, size, f"{damage}, more than can be rebuilt: {_REMEDY}")


def _damaged_shards(backend: Backend, key: str, footer: shards.Footer, *, size: int) -> tuple[int, ...]:
    """Return the places of shards whose hash differs, or that are cut off."""
    damaged: list[int] = []
    count = footer.data_shards + footer.parity_shards
    at_once = max(_SPAN_BYTES // footer.shard_bytes, 1)
    for first in range(0, count, at_once):
        places = range(first, min(first + at_once, count))
        start, stop = footer.shard(places[0]).start, min(footer.shard(places[-1]).stop, size)
        data = memoryview(backend.get(key, Span(start, stop - start)) if stop > start else b"")
        for place in places:
            where = footer.shard(place)
            if not footer.matches(place, data[where.start - start : max(where.stop - start, 0)]):
                damaged.append(place)
    return tuple(damaged)
