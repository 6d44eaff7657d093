"""A student's own process: loads one network, answers its parent until the socket ends.

Everything that parses or runs what a stranger made happens here: whatever goes wrong, the parent goes on. The process has
bounded memory, no network, no files to write and an empty folder (`nursery_child`).
"""

from __future__ import annotations

import socket
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from engram_format.catalog import AnyArray
from engram_format.encoding import encode
from engram_format.errors import EngramError, Exhausted, FormatError, InvalidInput
from engram_replay.arrays import check_finite
from engram_replay.invariance import measure
from engram_replay.loader import load_student
from engram_replay.minds import Ensemble, Rows
from engram_replay.plain_network import plain_network
from engram_replay.refusal import error_fields
from engram_replay.requests import TRIAL_S, Requests
from engram_replay.runtime_calls import Calls
from engram_replay.wire import (
    Frame,
    Frames,
    Op,
    Tick,
    pack_arrays,
    pack_frame,
    pack_shapes,
    raw,
    unpack_plain,
    unpack_tick,
)

_READ_BYTES: Final = 1 << 20
_MAX_ROWS: Final = 1024
"""Minds that share one call."""


def run(connection: socket.socket) -> None:
    """Answer until the other side hangs up."""
    np.seterr(all="ignore")  # what overflows shows in the answer; nobody reads warnings here
    _warm_up()
    Runner(connection).serve()


def _warm_up() -> None:
    """Go once through what loading a student takes, so that the first student finds all of it in memory."""
    ensemble = Ensemble(student := load_student(plain_network()), Calls(student))
    with ensemble.calls.within(TRIAL_S):
        measure(ensemble)
    ensemble.calls.close()


@dataclass(frozen=True, slots=True)
class _Asked:
    """A tick that waits for its turn, read and checked."""

    number: int
    rows: Rows
    tick: Tick
    stimuli: list[AnyArray]
    """What the network takes, noise included."""

    @property
    def company(self) -> tuple[object, ...]:
        """What ticks that share a call have in common."""
        shapes = tuple(array.shape[2:] for array in self.stimuli)
        return self.tick.steps, shapes, {name: value.item() for name, value in self.rows.constants.items()}


class Runner:
    """The loop of a process: requests that wait, and who shares a call."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._frames = Frames()
        self._waiting: deque[Frame] = deque()
        self._requests = Requests()

    def serve(self) -> None:
        """Answer requests in order; ticks of several sessions that wait are answered together."""
        while self._waiting or self._listen(wait=True):
            self._listen(wait=False)
            if not self._waiting:
                continue
            frame = self._waiting.popleft()
            if frame.op == Op.TICK:
                self._tick(frame)
            else:
                self._answer(frame)

    def _listen(self, *, wait: bool) -> bool:
        """Take what has arrived; say whether the other side is still there."""
        try:
            data = self._connection.recv(_READ_BYTES, 0 if wait else socket.MSG_DONTWAIT)
        except BlockingIOError:
            return True
        except ConnectionError:
            return False
        self._waiting.extend(self._frames.feed(data))
        return bool(data)

    def _send(self, number: int, op: Op, body: Sequence[bytes | memoryview]) -> None:
        pieces = pack_frame(number, op, body)
        if sum(map(len, pieces)) <= _READ_BYTES:
            self._connection.sendall(b"".join(pieces))
        else:
            for piece in pieces:
                self._connection.sendall(piece)

    def _fail(self, number: int, error: Exception) -> None:
        self._send(number, Op.FAILED, [encode(error_fields(error))])

    def _answer(self, frame: Frame) -> None:
        try:
            head, arrays = self._requests.answer(frame)
            self._send(frame.number, Op.DONE, pack_arrays(head, arrays))
        except (EngramError, MemoryError) as error:
            self._fail(frame.number, error)

    def _tick(self, first: Frame) -> None:
        """Answer a tick, together with those of other sessions that wait and may share its call."""
        asked = self._read(first)
        if asked is None:
            return
        self._advance(
            [asked, *self._company_of(asked)] if self._requests.loaded.joins_minds and self._waiting else [asked]
        )

    def _advance(self, together: Sequence[_Asked]) -> None:
        """Answer ticks of different sessions that may share a call."""
        steps = together[0].tick.steps
        try:
            with self._requests.loaded.calls.within(min(one.tick.limit_s for one in together)):
                answers = self._requests.loaded.tick([(one.rows, one.stimuli) for one in together], steps=steps)
        except (EngramError, MemoryError) as error:
            if len(together) > 1 and not isinstance(error, Exhausted):
                # What one session was given makes the call of all fail: no state has changed, and each is asked by itself.
                for one in together:
                    self._advance([one])
            else:
                for one in together:
                    self._fail(one.number, error)
            return
        for one, responses in zip(together, answers, strict=True):
            if one.rows.noise is not None:
                one.rows.noise.advance(steps)
            shapes = pack_shapes([response.shape for response in responses])
            self._send(one.number, Op.DONE, [shapes, *map(raw, responses)])

    def _company_of(self, asked: _Asked) -> list[_Asked]:
        """Take from those that wait the ticks that may share a call: at most one for each session, and in its order."""
        company: list[_Asked] = []
        seen = {asked.tick.session}
        minds = asked.rows.minds
        later: deque[Frame] = deque()
        while self._waiting:
            frame = self._waiting.popleft()
            session = unpack_tick(frame.body).session if frame.op == Op.TICK else None
            if session is None:
                later.append(frame)
                later.extend(self._waiting)  # opening, forking and the like keep their place
                break
            if session in seen:
                later.append(frame)
                continue
            seen.add(session)
            other = self._read(frame)
            if other is None:
                continue
            if other.company != asked.company or minds + other.rows.minds > _MAX_ROWS:
                later.append(frame)
                continue
            minds += other.rows.minds
            company.append(other)
        self._waiting = later
        return company

    def _read(self, frame: Frame) -> _Asked | None:
        """Return a tick with its arrays; where they do not fit, say so to who asked and return `None`."""
        try:
            tick = unpack_tick(frame.body)
            rows = self._requests.session(tick.session)
            ports = self._requests.loaded.driven if rows.noise is None else self._requests.loaded.stimuli
            stimuli = unpack_plain(tick.stimuli, [port.dtype for port in ports])
            for port, array in zip(ports, stimuli, strict=True):
                port.check(array, outer=(tick.steps, rows.minds))
            if not tick.allow_nan:
                for port, array in zip(ports, stimuli, strict=True):
                    check_finite(port.name, array)
            if rows.noise is not None:
                stimuli += rows.noise.take(tick.steps)
        except FormatError as error:
            self._fail(frame.number, InvalidInput(str(error)))
        except EngramError as error:
            self._fail(frame.number, error)
        else:
            return _Asked(frame.number, rows, tick, stimuli)
        return None
