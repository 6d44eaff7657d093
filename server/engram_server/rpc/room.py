"""Room for bytes: what calls hold in memory at once has a bound, and those that do not fit wait in the order they came."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Room:
    """Room for so many bytes. Used from one event loop; nobody is overtaken, so what needs much is not starved."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._free = size
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    @asynccontextmanager
    async def taken(self, size: int) -> AsyncIterator[None]:
        """Hold `size` bytes while the block runs, all the room there is if they are more."""
        held = await self.take(size)
        try:
            yield
        finally:
            self.give(held)

    async def take(self, size: int) -> int:
        """Wait until there is room; return how much was taken, for `give`."""
        wanted = min(size, self._size)
        if not self._waiting and wanted <= self._free:
            self._free -= wanted
            return wanted
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        entry = (wanted, turn)
        self._waiting.append(entry)
        try:
            await turn
        except asyncio.CancelledError:
            if not turn.cancelled():
                self.give(wanted)
            elif entry in self._waiting:
                self._waiting.remove(entry)
                self._serve()
            raise
        return wanted

    def give(self, size: int) -> None:
        """Give back what `take` returned."""
        self._free += size
        self._serve()

    def _serve(self) -> None:
        while self._waiting:
            wanted, turn = self._waiting[0]
            # One that was cancelled a moment ago is still here, until its task runs.
            if not turn.cancelled():
                if wanted > self._free:
                    return
                self._free -= wanted
                turn.set_result(None)
            self._waiting.popleft()
