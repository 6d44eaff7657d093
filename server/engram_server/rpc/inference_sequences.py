"""Sequences: requests of the Open Inference Protocol that belong together, each sequence with minds of its own."""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from engram_format.address import AnyAddress
from engram_format.catalog import Scalar
from engram_format.errors import EngramError, Exhausted
from engram_replay.session import MindSession
from engram_server.rpc.inference_models import Model

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class SequenceKey:
    """What names a sequence: the student as the client names it, and the id, a number or a text."""

    student: AnyAddress
    sequence: int | str


@dataclass(frozen=True, slots=True)
class Begun:
    """What a sequence runs on, from its first request to its last, whatever is deposited meanwhile."""

    model: Model
    session: MindSession
    constants: Mapping[str, Scalar]
    """What the first request gave."""


@dataclass(slots=True, eq=False)
class Place:
    """A sequence's place in the table; whoever has its turn may begin and end the sequence."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    users: int = 0
    last_used_s: float = 0.0
    begun: Begun | None = None

    async def end(self) -> None:
        """Let the sequence end, if it has begun."""
        begun, self.begun = self.begun, None
        if begun is not None:
            await _close(begun.session)


class Sequences:
    """All sequences that have begun and not ended. Used from one event loop.

    Requests of one sequence have their turns in the order in which they asked for them. A sequence that rests for longer
    than `idle_s` ends when another one asks for a turn; its minds may end before, by the host's own limit.
    """

    def __init__(self, *, limit: int, idle_s: float, clock: Callable[[], float]) -> None:
        self._limit = limit
        self.idle_s = idle_s
        self._clock = clock
        self._places: OrderedDict[SequenceKey, Place] = OrderedDict()
        """The one that has rested longest first."""

    def __contains__(self, key: SequenceKey) -> bool:
        return key in self._places

    def __len__(self) -> int:
        return len(self._places)

    @asynccontextmanager
    async def turn(self, key: SequenceKey) -> AsyncIterator[Place]:
        """Wait until the requests before are answered; a new sequence gets a place, which it keeps if it begins in the block.

        Raises `Exhausted` if there are too many.
        """
        # Up to the lock nothing is awaited: turns have the order of the calls.
        rested = self._take_rested()
        place = self._places.get(key) or self._new_place(key)
        place.users += 1
        try:
            async with place.lock:
                for other in rested:
                    await other.end()
                yield place
        finally:
            place.users -= 1
            place.last_used_s = self._clock()
            if place.begun is None and not place.users:
                self._places.pop(key, None)
            elif key in self._places:
                self._places.move_to_end(key)

    async def end_all(self, concerns: Callable[[Model], bool]) -> None:
        """End the sequences of those students that `concerns` tells, each after the request that is being answered."""
        for key, place in list(self._places.items()):
            if place.begun is not None and concerns(place.begun.model) and self._places.get(key) is place:
                async with self.turn(key) as mine:
                    await mine.end()

    def _new_place(self, key: SequenceKey) -> Place:
        if len(self._places) >= self._limit:
            raise Exhausted(
                f"{self._limit} sequences have begun and not ended, which is the bound: end some with sequence_end, or wait "
                f"until they have rested for {self.idle_s:g} s"
            )
        return self._places.setdefault(key, Place())

    def _take_rested(self) -> list[Place]:
        rested: list[Place] = []
        oldest = self._clock() - self.idle_s
        while self._places:
            key, place = next(iter(self._places.items()))
            if place.users or place.last_used_s > oldest:
                break
            del self._places[key]
            rested.append(place)
        return rested


async def _close(session: MindSession) -> None:
    try:
        await session.close()
    except EngramError:
        # Its process is gone, and the state with it.
        log.info("a sequence's minds had ended before it", exc_info=True)
