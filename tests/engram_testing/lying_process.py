"""Processes that answer their parent whatever a test wants, where a student's process would be.

`LyingNursery` takes the place of a nursery: each process that it makes is a thread with a socket, which answers as a student's
process does until it is asked for what the lie is about.
"""

from __future__ import annotations

import contextlib
import itertools
import socket
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from engram_testing.students import gru

from engram_replay.execution import Execution
from engram_replay.loader import load_student
from engram_replay.nursery import Newborn
from engram_replay.profile import profile
from engram_replay.wire import Frame, Frames, Op, pack_arrays, pack_frame

STUDENT = gru(stimuli=4, hidden=8, responses=2)
"""The student that the processes say they have loaded: x [T, B, 4] and h0 to y [T, B, 2] and h1."""
CONTRACT: Mapping[str, object] = load_student(STUDENT).contract.to_metadata()
PROFILE = profile(Execution())

Lie = Callable[[socket.socket, Frame], None]
"""Answers a request on a socket as it likes; when it returns, the socket stays open."""


def framed(number: int, op: int, body: bytes) -> bytes:
    """Return a frame, of an op that need not be one."""
    return (len(body) + 9).to_bytes(4, "little") + number.to_bytes(8, "little") + bytes([op]) + body


def answered(frame: Frame, head: Mapping[int, object], arrays: Mapping[str, object] | None = None) -> bytes:
    """Return the answer that a student's process would give."""
    return b"".join(pack_frame(frame.number, Op.DONE, pack_arrays(head, arrays or {})))


def saying(*parts: Callable[[int], bytes] | bytes) -> Lie:
    """Return the lie that sends parts, made from the number of the request where they are functions, and is silent then."""

    def lie(connection: socket.socket, frame: Frame) -> None:
        for part in parts:
            connection.sendall(part if isinstance(part, bytes) else part(frame.number))

    return lie


def hanging_up(connection: socket.socket, _frame: Frame) -> None:
    """Say no more."""
    connection.shutdown(socket.SHUT_RDWR)


@dataclass
class LyingNursery:
    """A nursery whose processes lie when they are asked for `about`."""

    about: Op
    lie: Lie
    killed: set[int] = field(default_factory=set)
    _numbers: itertools.count[int] = field(default_factory=lambda: itertools.count(1 << 30))

    def spawn(self, *, memory_bytes: int) -> Newborn:
        ours, theirs = socket.socketpair()
        threading.Thread(target=self._answer, args=(theirs,), daemon=True).start()
        return Newborn(next(self._numbers), ours)

    def kill(self, newborn: Newborn) -> None:
        newborn.socket.close()
        self.killed.add(newborn.pid)

    def close(self) -> None:
        """Nothing is held."""

    def _answer(self, connection: socket.socket) -> None:
        frames = Frames()
        with connection, contextlib.suppress(OSError):
            while data := connection.recv(1 << 16):
                for frame in frames.feed(data):
                    if frame.op == self.about:
                        self.lie(connection, frame)
                    elif frame.op == Op.LOAD:
                        told = {1: dict(CONTRACT), 2: dict(PROFILE), 3: True, 4: True}
                        connection.sendall(answered(frame, told))
                    else:
                        connection.sendall(answered(frame, {}))
