"""The parent's side of one student's process: requests in, answers out, and its end."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from engram_format.catalog import AnyArray
from engram_format.encoding import Encodable, Fields
from engram_format.errors import EngramError, Exhausted, FormatError, Unavailable
from engram_replay.nursery import Newborn, Nursery
from engram_replay.refusal import error_of
from engram_replay.wire import MAX_HEAD_BYTES, Frames, Op, pack_arrays, pack_frame, unpack_arrays

_GRACE_S: Final = 2.0
"""How long after its deadline a process may still say that it has passed."""
_LARGE_BYTES: Final = 1 << 20
_FAILED_BYTES: Final = 16 << 10
"""The largest answer that tells of a failure."""
SMALL_BYTES: Final = MAX_HEAD_BYTES + 1024
"""The largest answer without arrays."""
SMALL_S: Final = 10.0
"""How long opening, forking, closing and reading a state may take."""


@dataclass(frozen=True, slots=True)
class _Asked:
    """A request that was not answered yet, whether or not somebody still waits for the answer."""

    answer: asyncio.Future[memoryview] | None
    done: Callable[[], None] | None
    limit_s: float
    most_bytes: int


class StudentProcess(asyncio.Protocol):
    """One process; used from one event loop.

    A process that takes longer over a request than it may, or answers what cannot be, is ended, and with it every session in it.
    What it answers is bounded: nothing that it sends takes more memory than what it was asked for.
    """

    def __init__(self, nursery: Nursery, newborn: Newborn, *, what: str) -> None:
        self._nursery = nursery
        self._newborn = newborn
        self.what = what
        self._frames = Frames(self._allowed)
        self._number = 0
        self._asked: dict[int, _Asked] = {}
        self._since = 0.0
        """When the process gave its last answer, or was asked while it had nothing to do."""
        self._watch: asyncio.TimerHandle | None = None
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._turn = asyncio.Lock()
        self._writable = asyncio.Event()
        self._writable.set()
        self._end: EngramError | None = None

    @classmethod
    async def start(cls, nursery: Nursery, *, memory_bytes: int, what: str) -> StudentProcess:
        """Return a new process; `what` names its student in errors. Raises `Unavailable` where none can be made."""
        loop = asyncio.get_running_loop()
        spawning = loop.run_in_executor(None, lambda: nursery.spawn(memory_bytes=memory_bytes))
        try:
            newborn = await asyncio.shield(spawning)
        except asyncio.CancelledError:
            # The thread cannot be cancelled: what it makes is ended when it is there.
            spawning.add_done_callback(partial(_unwanted, nursery))
            raise
        newborn.socket.setblocking(False)  # noqa: FBT003 - the word of the socket module
        process = cls(nursery, newborn, what=what)
        await loop.create_connection(lambda: process, sock=newborn.socket)
        return process

    @property
    def ended(self) -> bool:
        """Whether the process is gone."""
        return self._end is not None

    @property
    def busy(self) -> bool:
        """Whether somebody waits for an answer."""
        return any(asked.answer is not None and not asked.answer.done() for asked in self._asked.values())

    @property
    def abandoned_s(self) -> float:
        """For how long it has been busy with what nobody waits for any more; 0 if it is not."""
        left = any(asked.answer is not None and asked.answer.done() for asked in self._asked.values())
        return self._loop.time() - self._since if left and not self.busy else 0.0

    def look(self) -> int:
        """Return the bytes of memory that this process alone holds; 0 once it is gone."""
        try:
            told = Path(f"/proc/{self._newborn.pid}/smaps_rollup").read_text()
        except OSError:
            return 0
        return sum(int(line.split()[1]) << 10 for line in told.splitlines() if line.startswith("Private_"))

    async def ask(
        self,
        op: Op,
        head: Mapping[int, Encodable],
        arrays: Mapping[str, AnyArray] | None = None,
        *,
        rest: Sequence[bytes | memoryview] = (),
        limit_s: float,
        most_bytes: int = SMALL_BYTES,
    ) -> tuple[Fields, dict[str, AnyArray]]:
        """Return the head and the arrays of the answer to a request; raises as `exchange` does."""
        body = [*pack_arrays(head, arrays or {}), *rest]
        answer = await self.exchange(op, body, limit_s=limit_s, most_bytes=most_bytes)
        with self.believing():
            fields, given, _ = unpack_arrays(answer, what="a student's answer", known=range(8))
        return fields, given

    async def exchange(
        self,
        op: Op,
        body: Sequence[bytes | memoryview],
        *,
        limit_s: float,
        most_bytes: int = SMALL_BYTES,
        done: Callable[[], None] | None = None,
    ) -> memoryview:
        """Return the body of the answer to a request, of at most `most_bytes`.

        Requests are taken in the order in which they are made. Raises what the process raised, `Unavailable` if it ends, and
        `Exhausted` if it is busy with one request for longer than `limit_s`. Once it is sent, a request is carried out although
        its waiting is cancelled; `done` is called when it is.
        """
        async with self._turn:
            await self._writable.wait()
            if self._end is not None or self._transport is None:
                raise self._end or Unavailable(f"{self.what} has no process: open a new session")
            answer: asyncio.Future[memoryview] = self._loop.create_future()
            self._write(op, body, _Asked(answer, done, limit_s, most_bytes))
        return await answer

    def send(self, op: Op, head: Mapping[int, Encodable]) -> None:
        """Send a request to whose answer nobody listens."""
        if self._end is None and self._transport is not None:
            self._write(op, pack_arrays(head, {}), _Asked(None, None, SMALL_S, SMALL_BYTES))

    @contextlib.contextmanager
    def believing(self) -> Iterator[None]:
        """End the process where what it answered turns out not to be possible: errors of the block become `Unavailable`."""
        try:
            yield
        except EngramError as error:
            raise self._lied() from error

    def finish(self, error: EngramError) -> EngramError:
        """End the process; whoever waits for an answer gets `error`, which is returned."""
        if self._end is None:
            self._end = error
            for asked in self._asked.values():
                if asked.answer is not None and not asked.answer.done():
                    asked.answer.set_exception(error)
            self._asked.clear()
            self._writable.set()
            if self._watch is not None:
                self._watch.cancel()
            if self._transport is not None:
                self._transport.abort()
            self._nursery.kill(self._newborn)
        return error

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Note the way to the process."""
        if isinstance(transport, asyncio.Transport):
            self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Hand answers to those who wait for them."""
        try:
            for frame in self._frames.feed(data):
                error = None if frame.op == Op.DONE else error_of(bytes(frame.body))
                asked = self._asked.pop(frame.number)
                self._since = self._loop.time()
                if error is None and asked.done is not None:
                    asked.done()
                if asked.answer is None or asked.answer.done():
                    continue
                if error is None:
                    asked.answer.set_result(frame.body)
                else:
                    asked.answer.set_exception(error)
        except FormatError:
            self._lied()

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell those who wait that no answer will come."""
        self.finish(
            Unavailable(
                f"the process of {self.what} ended (out of memory, or a fault of the network): open a new session"
            )
        )

    def pause_writing(self) -> None:
        """Let requests wait until the process has read those before them."""
        self._writable.clear()

    def resume_writing(self) -> None:
        """Let requests go on."""
        self._writable.set()

    def _write(self, op: Op, body: Sequence[bytes | memoryview], asked: _Asked) -> None:
        if self._transport is None:
            return
        pieces = pack_frame(self._number + 1, op, body)
        self._number += 1
        if not self._asked:
            self._since = self._loop.time()
        self._asked[self._number] = asked
        due = self._since + asked.limit_s + _GRACE_S
        if self._watch is None or due < self._watch.when():
            self._look_at(due)
        # A few large pieces are not copied together; many small ones go in one call of the system.
        for piece in pieces if sum(map(len, pieces)) > _LARGE_BYTES else [b"".join(pieces)]:
            self._transport.write(piece)

    def _look_at(self, moment: float) -> None:
        if self._watch is not None:
            self._watch.cancel()
        self._watch = self._loop.call_at(moment, self._look)

    def _look(self) -> None:
        """End the process if it is busy with one request for too long; which of them is its own affair."""
        self._watch = None
        if not self._asked:
            return
        limit_s = max(asked.limit_s for asked in self._asked.values())
        due = self._since + limit_s + _GRACE_S
        if due > self._loop.time():
            self._look_at(due)
            return
        self.finish(Exhausted(f"{self.what} did not answer within {limit_s:g} s and was ended: give it less to do"))

    def _allowed(self, number: int, op: int) -> int:
        """Return how many bytes an answer may have; raises `FormatError` for one that nobody asked for."""
        asked = self._asked.get(number)
        if asked is None or op not in (Op.DONE, Op.FAILED):
            raise FormatError(f"nobody asked for answer {number} with op {op}")
        return asked.most_bytes if op == Op.DONE else _FAILED_BYTES

    def _lied(self) -> EngramError:
        return self.finish(Unavailable(f"{self.what} gave an answer that cannot be: its process was ended"))


def _unwanted(nursery: Nursery, made: asyncio.Future[Newborn]) -> None:
    if not made.cancelled() and made.exception() is None:
        nursery.kill(made.result())
