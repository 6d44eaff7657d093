"""The parent's side of one student's process: requests in, answers out, and its end."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping, Sequence
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


class StudentProcess(asyncio.Protocol):
    """One process; used from one event loop.

    A call that is not answered in time ends the process, and with it every session in it.
    """

    def __init__(self, nursery: Nursery, newborn: Newborn, *, what: str) -> None:
        self._nursery = nursery
        self._newborn = newborn
        self.what = what
        self._frames = Frames()
        self._number = 0
        self._waiting: dict[int, asyncio.Future[memoryview]] = {}
        self._transport: asyncio.Transport | None = None
        self._writable = asyncio.Event()
        self._writable.set()
        self._end: EngramError | None = None

    @classmethod
    async def start(cls, nursery: Nursery, *, memory_bytes: int, what: str) -> StudentProcess:
        """Return a new process; `what` names its student in errors. Raises `Unavailable` where none can be made."""
        loop = asyncio.get_running_loop()
        newborn = await asyncio.to_thread(nursery.spawn, memory_bytes=memory_bytes)
        newborn.socket.setblocking(False)  # noqa: FBT003 - the word of the socket module
        process = cls(nursery, newborn, what=what)
        await loop.create_connection(lambda: process, sock=newborn.socket)
        return process

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

        Raises what the process raised, `Unavailable` if it ends, and `Exhausted` if it does not answer in time.
        """
        await self._writable.wait()
        if self._end is not None or self._transport is None:
            raise self._end or Unavailable(f"{self.what} has no process: open a new session")
        self._number += 1
        number = self._number
        answer: asyncio.Future[memoryview] = asyncio.get_running_loop().create_future()
        self._waiting[number] = answer
        self._transport.write(b"".join(pack_frame(number, op, body)))
        timer = asyncio.get_running_loop().call_later(limit_s + _GRACE_S, self._too_late, limit_s)
        try:
            return await answer
        finally:
            timer.cancel()
            self._waiting.pop(number, None)

    def send(self, op: Op, head: Mapping[int, Encodable]) -> None:
        """Send a request to whose answer nobody listens."""
        if self._end is None and self._transport is not None:
            self._number += 1
            self._transport.write(b"".join(pack_frame(self._number, op, pack_arrays(head, {}))))

    def finish(self, error: EngramError) -> EngramError:
        """End the process; whoever waits for an answer gets `error`, which is returned."""
        if self._end is None:
            self._end = error
            for answer in self._waiting.values():
                if not answer.done():
                    answer.set_exception(error)
            self._writable.set()
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
        for frame in self._frames.feed(data):
            answer = self._waiting.get(frame.number)
            if answer is None or answer.done():
                continue
            if frame.op == Op.DONE:
                answer.set_result(frame.body)
            else:
                answer.set_exception(self._told(bytes(frame.body)))

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

    def _too_late(self, limit_s: float) -> None:
        self.finish(Exhausted(f"{self.what} did not answer within {limit_s:g} s and was ended: give it less to do"))

    def _told(self, body: bytes) -> EngramError:
        with contextlib.suppress(FormatError):
            return error_of(body)
        return Unavailable(f"{self.what} gave an answer that cannot be")
