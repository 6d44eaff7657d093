"""Sessions: some minds of one student that advance together."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Final, Protocol

from engram_format.catalog import AnyArray, Scalar
from engram_format.encoding import Encodable
from engram_format.errors import FormatError, InvalidInput, NotFound
from engram_replay.contract import Contract, Port
from engram_replay.execution import Execution
from engram_replay.process import SMALL_BYTES, SMALL_S
from engram_replay.residents import HostLimits, Resident, StudentSource
from engram_replay.wire import Op, pack_shapes, pack_tick, raw, unpack_plain

_MAX_STEPS: Final = (1 << 32) - 1


class Keeper(Protocol):
    """Who knows all sessions."""

    limits: HostLimits

    def admit(
        self,
        resident: Resident,
        *,
        minds: int,
        student: StudentSource,
        execution: Execution,
        sample: int | None = None,
        steps: int = 0,
    ) -> MindSession:
        """Return a session that has a number and a place; raises `Exhausted` where there is none."""
        ...

    def dismiss(self, session: MindSession) -> None:
        """Take a session's place back, if it has one."""
        ...


class MindSession:
    """Some minds of one student, each with its own state, that advance together.

    Calls are answered in the order in which they are made. After `close`, or when the student's process is gone, every call
    raises: `NotFound` for a session that is closed or has expired, `Unavailable` where the process ended.

    A call that is cancelled while it waits for its answer is carried out all the same: the minds advance, `steps` counts it once
    it is done, and later calls go on from there. Whoever must know where the minds are reads `steps` after a later call.
    """

    def __init__(
        self,
        keeper: Keeper,
        resident: Resident,
        *,
        number: int,
        minds: int,
        student: StudentSource,
        execution: Execution,
        sample: int | None = None,
        steps: int = 0,
    ) -> None:
        self._keeper = keeper
        self._resident = resident
        self._number = number
        self._dtypes = [port.dtype for port in resident.contract.responses]
        self._step_bytes = _bytes_of(resident.contract.responses, minds)
        self._state_bytes = _bytes_of(resident.contract.states, minds)
        self._closed = ""
        self._under_way = 0
        self.used = asyncio.get_running_loop().time()
        self.student = student
        self.execution = execution
        self.minds = minds
        self.sample = sample if resident.contract.noise else None
        """The seed from which the noise of the minds is drawn; `None` where they take none, or are given it."""
        self.steps = steps
        self._taken = resident.contract.driven if self.sample is None else resident.contract.stimuli

    @property
    def contract(self) -> Contract:
        """What the student takes and gives."""
        return self._resident.contract

    @property
    def profile(self) -> Mapping[str, Scalar]:
        """The execution profile, flat: what the bits depend on beside student, stimulus and state."""
        return self._resident.profile

    async def tick(self, stimuli: Sequence[AnyArray], *, allow_nan: bool = False) -> list[AnyArray]:
        """Advance all minds by the steps that the stimuli have; return the responses.

        Stimuli come in the order of the contract, each (step, mind, *step_shape) in the port's type; responses likewise. Noise
        that is not drawn comes after them.
        Raises `InvalidInput` for arrays that do not fit or hold NaN or infinity, and `Exhausted` past the deadline; the state
        is then as it was before.
        """
        ports = self._taken
        if len(stimuli) != len(ports):
            raise InvalidInput(
                f"{self.student.name} takes {len(ports)} stimuli, not {len(stimuli)}: give one for each port"
            )
        steps = stimuli[0].shape[0] if stimuli[0].ndim else 0
        for port, array in zip(ports, stimuli, strict=True):
            port.check(array, outer=(steps, self.minds))
        return await self.tick_raw(
            steps, [array.shape for array in stimuli], [raw(array) for array in stimuli], allow_nan=allow_nan
        )

    async def tick_raw(
        self,
        steps: int,
        shapes: Sequence[tuple[int, ...]],
        stimuli: Sequence[bytes | memoryview],
        *,
        allow_nan: bool = False,
    ) -> list[AnyArray]:
        """Advance as `tick` does, with the stimuli as bytes in C order and their full shapes, which are checked likewise."""
        if steps < 1:
            raise InvalidInput("a tick has no steps: give at least one")
        if steps > _MAX_STEPS:
            raise InvalidInput(f"a tick has {steps} steps: give at most {_MAX_STEPS} at once")
        limits = self._keeper.limits
        shaped = SMALL_BYTES + steps * self._step_bytes if self._step_bytes is not None else limits.answer_bytes
        with self._in_use():
            body = [
                pack_tick(self._number, steps, limit_s=limits.call_s, allow_nan=allow_nan),
                pack_shapes(shapes),
                *stimuli,
            ]
            answer = await self._resident.process.exchange(
                Op.TICK,
                body,
                limit_s=limits.call_s,
                most_bytes=min(shaped, limits.answer_bytes),
                done=partial(self._advance, steps),
            )
        with self._resident.process.believing():
            responses = unpack_plain(answer, self._dtypes)
            for port, response in zip(self.contract.responses, responses, strict=True):
                port.check(response, outer=(steps, self.minds))
        return responses

    async def state(self) -> Mapping[str, AnyArray]:
        """Return the state by the names of the state inputs, each (mind, *step_shape)."""
        limits = self._keeper.limits
        shaped = SMALL_BYTES + self._state_bytes if self._state_bytes is not None else limits.answer_bytes
        with self._in_use():
            _, state = await self._resident.process.ask(
                Op.STATE, {1: self._number}, limit_s=SMALL_S, most_bytes=min(shaped, limits.answer_bytes)
            )
        with self._resident.process.believing():
            if state.keys() != {port.name for port in self.contract.states}:
                raise FormatError("the states are others than the contract's")
            for port in self.contract.states:
                port.check(state[port.name], outer=(self.minds,))
        return state

    async def fork(self, rows: Sequence[int], *, sample: int | None = None) -> MindSession:
        """Return a new session whose minds begin with the states of these minds; a mind may be taken more than once.

        Its minds are numbered anew, and their noise is drawn from the seed of these, or from `sample`.
        """
        with self._in_use():
            seed = self.sample if self.sample is None or sample is None else sample
            forked = self._keeper.admit(
                self._resident, minds=len(rows), student=self.student, execution=self.execution, sample=seed
            )
            try:
                head: dict[int, Encodable] = {1: self._number, 2: forked._number, 3: list(rows)}
                if seed is not None:
                    head[4] = seed
                await self._resident.process.ask(Op.FORK, head, limit_s=SMALL_S)
            except BaseException:
                forked.end("it was never opened")
                raise
        forked.steps = self.steps
        return forked

    async def close(self) -> None:
        """Let go of the state; closing twice is no error."""
        self.end("it was closed")

    def end(self, reason: str) -> None:
        """End the session at once; `reason` is told to whoever uses it afterwards."""
        if not self._closed:
            self._closed = reason
            self._resident.process.send(Op.CLOSE, {1: self._number})
            self._keeper.dismiss(self)

    @property
    def number(self) -> int:
        """The session's number, unique in its host."""
        return self._number

    @property
    def is_lost(self) -> bool:
        """Whether the student's process is gone, and the minds with it."""
        return self._resident.process.ended

    @property
    def is_busy(self) -> bool:
        """Whether somebody waits for an answer."""
        return self._under_way > 0

    @contextmanager
    def _in_use(self) -> Iterator[None]:
        """Say that a call is under way; raises `NotFound` where the session is gone."""
        if self._closed:
            raise NotFound(f"session {self._number} of {self.student.name} is gone, {self._closed}: open a new one")
        self._under_way += 1
        self._touch()
        try:
            yield
        finally:
            self._under_way -= 1
            self._touch()

    def _touch(self) -> None:
        self._resident.touch()
        self.used = self._resident.used

    def _advance(self, steps: int) -> None:
        self.steps += steps


def _bytes_of(ports: Sequence[Port], minds: int) -> int | None:
    """Return how many bytes the arrays of one step of minds have, `None` where their axes are free."""
    total = 0
    for port in ports:
        lengths = [length for length in port.step_shape if isinstance(length, int)]
        if len(lengths) < len(port.step_shape):
            return None
        total += math.prod(lengths) * minds * port.dtype.itemsize
    return total
