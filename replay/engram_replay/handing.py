"""Networks on their way to a process: in parts, so that whoever hands them on never holds one whole."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator
from typing import Final, Self

from engram_format.errors import Exhausted
from engram_replay.process import SMALL_S, StudentProcess
from engram_replay.wire import Op

Parts = bytes | Iterable[bytes | memoryview]
"""A network's bytes, whole or as parts that follow one another."""

_PART_BYTES: Final = 1 << 20


class Handing:
    """One network that is being handed on. Used once, by one task."""

    def __init__(self, read: Callable[[], Parts]) -> None:
        self._read = read
        self._parts: Iterator[bytes | memoryview] = iter(())
        self._part: bytes | memoryview = b""
        self.size = 0
        """How many bytes were handed on."""

    async def begin(self) -> Self:
        """Read the first part, on a thread as all others; raises what reading raises."""

        def begun() -> bytes | memoryview:
            network = self._read()
            self._parts = iter([network] if isinstance(network, bytes) else network)
            return _gathered(self._parts)

        self._part = await asyncio.to_thread(begun)
        return self

    async def give_to(self, process: StudentProcess, *, number: int = 0, most_bytes: int, too_large: Exhausted) -> None:
        """Give a process the network, as the one that later requests know by `number`.

        Raises `too_large` before it has more than `most_bytes`, what reading raises, and as `StudentProcess.exchange` does.
        """
        while self._part:
            self.size += len(self._part)
            if self.size > most_bytes:
                raise too_large
            part = memoryview(self._part)
            for at in range(0, len(part), _PART_BYTES):
                await process.ask(Op.PART, {1: number}, rest=[part[at : at + _PART_BYTES]], limit_s=SMALL_S)
            del part
            self._part = b""  # before the next one is there
            self._part = await asyncio.to_thread(_gathered, self._parts)


def _gathered(parts: Iterator[bytes | memoryview]) -> bytes | memoryview:
    """Return the next parts, together where they are small: what is sent costs more than its bytes. Empty after the last."""
    gathered: list[bytes | memoryview] = []
    size = 0
    for part in parts:
        gathered.append(part)
        size += len(part)
        if size >= _PART_BYTES:
            break
    return gathered[0] if len(gathered) == 1 else b"".join(gathered)
