"""The parent's side of one student's process: requests in, answers out, and its end."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from engram_format.catalog import AnyArray
from engram_format.encoding import Encodable, Fields
from engram_format.errors import EngramError, Exhausted, FormatError, Unavailable
from engram_replay.nursery import Newborn, Nursery
from engram_replay.refusal import error_of
from engram_replay.wire import Frames, Op, pack_arrays, pack_frame, unpack_arrays

_GRACE_S: Final = 2.0
"""How long after its deadline a process may still say that it has passed."""
_READ_BYTES: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class _Waiting:
    """A call that has no answer yet; it stays one if nobody waits for the answer any more."""

    answer: asyncio.Future[memoryview]
    limit_s: float


class StudentProcess:
    """One process; used from one event loop.

    Calls are answered one after another. One that is not answered in time ends the process, and with it every session in it;
    its time begins when those before it are answered, so that a long call of one session is not the end of the others.
    """

    def __init__(self, nursery: Nursery, newborn: Newborn, *, what: str) -> None:
        self._nursery = nursery
        self._newborn = newborn
        self._socket = newborn.socket
        self._loop = asyncio.get_running_loop()
        self.what = what
        self._frames = Frames()
        self._number = 0
        self._waiting: dict[int, _Waiting] = {}
        """By number, the oldest first: the process works on that one."""
        self._since = 0.0
        """When it began to, on the loop's clock."""
        self._check: asyncio.TimerHandle | None = None
        self._unsent = bytearray()
        self._writable = asyncio.Event()
        self._writable.set()
        self._end: EngramError | None = None
        self._socket.setblocking(False)  # noqa: FBT003 - the word of the socket module
        self._loop.add_reader(self._socket, self._read)

    @classmethod
    async def start(cls, nursery: Nursery, *, memory_bytes: int, what: str) -> StudentProcess:
        """Return a new process; `what` names its student in errors. Raises `Unavailable` where none can be made."""
        making = asyncio.ensure_future(asyncio.to_thread(nursery.spawn, memory_bytes=memory_bytes))
        try:
            newborn = await asyncio.shield(making)
        except asyncio.CancelledError:
            # The thread cannot be called back: what it makes is ended when it comes.
            making.add_done_callback(lambda made: _end_newborn(nursery, made))
            raise
        return cls(nursery, newborn, what=what)

    @property
    def ended(self) -> bool:
        """Whether the process is gone."""
        return self._end is not None

    @property
    def private_bytes(self) -> int:
        """Memory that this process alone holds; 0 once it is gone."""
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
    ) -> tuple[Fields, dict[str, AnyArray]]:
        """Return the head and the arrays of the answer to a request."""
        body = await self.exchange(op, [*pack_arrays(head, arrays or {}), *rest], limit_s=limit_s)
        try:
            fields, given, _ = unpack_arrays(body, what="a student's answer", known=range(8))
        except (FormatError, ValueError, TypeError) as error:
            raise self.finish(Unavailable(f"{self.what} gave an answer that cannot be: it was ended")) from error
        return fields, given

    async def exchange(self, op: Op, body: Sequence[bytes | memoryview], *, limit_s: float) -> memoryview:
        """Return the body of the answer to a request.

        Raises what the process raised, `Unavailable` if it ends, and `Exhausted` if it does not answer in `limit_s` after the
        calls before this one.
        """
        await self._writable.wait()
        if self._end is not None:
            raise self._end
        self._number += 1
        number = self._number
        frame = b"".join(pack_frame(number, op, body))
        now = self._loop.time()
        if not self._waiting:
            self._since = now
        answer: asyncio.Future[memoryview] = self._loop.create_future()
        self._waiting[number] = _Waiting(answer, limit_s)
        deadline = now + limit_s + _GRACE_S
        if self._check is None or self._check.when() > deadline:
            self._check_at(deadline)
        self._write(frame)
        return await answer

    def send(self, op: Op, head: Mapping[int, Encodable]) -> None:
        """Send a request to whose answer nobody listens."""
        if self._end is None:
            self._number += 1
            self._write(b"".join(pack_frame(self._number, op, pack_arrays(head, {}))))

    def finish(self, error: EngramError) -> EngramError:
        """End the process; whoever waits for an answer gets `error`, which is returned."""
        if self._end is None:
            self._end = error
            for waiting in self._waiting.values():
                if not waiting.answer.done():
                    waiting.answer.set_exception(error)
            self._waiting.clear()
            self._writable.set()
            if self._check is not None:
                self._check.cancel()
            self._loop.remove_reader(self._socket)
            self._loop.remove_writer(self._socket)
            self._nursery.kill(self._newborn)
        return error

    def _read(self) -> None:
        """Hand what has arrived to those who wait for it."""
        try:
            data = self._socket.recv(_READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._lost()
            return
        try:
            frames = list(self._frames.feed(data))
        except FormatError:
            self.finish(Unavailable(f"{self.what} gave an answer that cannot be: it was ended"))
            return
        for frame in frames:
            waiting = self._waiting.pop(frame.number, None)
            if waiting is None:
                continue
            self._since = self._loop.time()
            if waiting.answer.done():
                continue
            if frame.op == Op.DONE:
                waiting.answer.set_result(frame.body)
            else:
                waiting.answer.set_exception(self._told(bytes(frame.body)))

    def _write(self, data: bytes) -> None:
        """Send what can be sent now, and the rest when there is room."""
        sent = 0
        if not self._unsent:
            try:
                sent = self._socket.send(data)
            except BlockingIOError:
                sent = 0
            except OSError:
                self._lost()
                return
        if sent < len(data):
            self._unsent += memoryview(data)[sent:]
            self._writable.clear()
            self._loop.add_writer(self._socket, self._write_more)

    def _write_more(self) -> None:
        try:
            sent = self._socket.send(self._unsent)
        except BlockingIOError:
            return
        except OSError:
            self._lost()
            return
        del self._unsent[:sent]
        if not self._unsent:
            self._loop.remove_writer(self._socket)
            self._writable.set()

    def _lost(self) -> None:
        """Tell those who wait that no answer will come."""
        self.finish(
            Unavailable(
                f"the process of {self.what} ended (out of memory, or a fault of the network): open a new session"
            )
        )

    def _check_at(self, deadline: float) -> None:
        """See to it that deadlines are looked at; one timer for all calls, since most are answered long before."""
        if self._check is not None:
            self._check.cancel()
        self._check = self._loop.call_at(deadline, self._check_deadlines)

    def _check_deadlines(self) -> None:
        self._check = None
        oldest = next(iter(self._waiting.values()), None)
        if oldest is None:
            return
        now = self._loop.time()
        deadline = self._since + oldest.limit_s + _GRACE_S
        if deadline > now:
            # Looked at again before the shortest of the others could be late, if its time began now.
            shortest = min(waiting.limit_s for waiting in self._waiting.values())
            self._check_at(min(deadline, now + shortest + _GRACE_S))
            return
        limit = f"{oldest.limit_s:g} s"
        self.finish(Exhausted(f"{self.what} did not answer within {limit} and was ended: give it less to do"))

    def _told(self, body: bytes) -> EngramError:
        with contextlib.suppress(FormatError):
            return error_of(body)
        return Unavailable(f"{self.what} gave an answer that cannot be")


def _end_newborn(nursery: Nursery, made: asyncio.Future[Newborn]) -> None:
    if not made.cancelled() and made.exception() is None:
        nursery.kill(made.result())
