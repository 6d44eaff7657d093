"""Where minds run: students loaded once each in a process of their own, sessions of minds in them.

Asynchronous, and used from one event loop. The engine holds one host; both doors reach it through the engine.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from engram_format.catalog import AnyArray, Scalar
from engram_format.encoding import Encodable
from engram_format.errors import Exhausted, FormatError, InvalidInput, Unavailable
from engram_replay.contract import Contract
from engram_replay.execution import Execution, Form
from engram_replay.handing import Handing
from engram_replay.process import SMALL_S, StudentProcess
from engram_replay.refusal import plain
from engram_replay.residents import HostLimits, Resident, Residents, StudentSource, contract_in, too_large
from engram_replay.session import MindSession
from engram_replay.wire import Op, scalars, under

_SWEEP_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class Answer:
    """What a whole replay gave."""

    outputs: Mapping[str, AnyArray]
    """The responses by name, time first."""
    final_state: Mapping[str, AnyArray]
    stimulus: Mapping[str, AnyArray]
    """What was given, in the network's types."""
    receipt: Mapping[str, Scalar]


@dataclass(frozen=True, slots=True)
class GroupAnswer:
    """What a group of students gave, in their order; final states are not kept."""

    form: Form
    reason: str
    """Why this form, a sentence without a full stop."""
    answers: tuple[Answer, ...]


class MindHost:
    """The students that are loaded, and their sessions."""

    def __init__(self, limits: HostLimits | None = None) -> None:
        self.limits = limits or HostLimits()
        self._residents = Residents(self.limits)
        self._numbers = itertools.count(1)
        self._sessions: dict[MindSession, Resident] = {}
        self._sweeper: asyncio.Task[None] | None = None
        self._is_closed = False

    async def open(
        self,
        student: StudentSource,
        *,
        minds: int = 1,
        execution: Execution | None = None,
        constants: Mapping[str, Scalar] | None = None,
        initial_state: Mapping[str, AnyArray] | None = None,
        sample: int | None = None,
        steps: int = 0,
    ) -> MindSession:
        """Open a session, loading the student if it is not loaded.

        States that are not given begin as zeros; `steps` are those that the minds have taken before. With a seed to `sample`
        from, the noise that a student takes is drawn; without, it comes after the stimuli.

        Raises `Refused` where the gate refuses the student, `InvalidInput` where it
        or the state do not fit, `Exhausted` for too many sessions or no memory.
        """
        chosen = execution or Execution()
        resident = await self._shared(student, chosen)
        session = self.admit(resident, minds=minds, student=student, execution=chosen, sample=sample, steps=steps)
        try:
            head: dict[int, Encodable] = {1: session.number, 2: minds, 3: dict(constants or {}), 5: steps}
            if session.sample is not None:
                head[4] = session.sample
            await resident.process.ask(Op.OPEN, head, initial_state, limit_s=SMALL_S)
        except BaseException:
            session.end("it was never opened")
            raise
        return session

    async def contract(self, student: StudentSource, *, execution: Execution | None = None) -> Contract:
        """Return a student's contract, loading it if it is not loaded."""
        return (await self._shared(student, execution or Execution())).contract

    async def profile(self, student: StudentSource, *, execution: Execution | None = None) -> Mapping[str, Scalar]:
        """Return the execution profile under which a student runs here."""
        return (await self._shared(student, execution or Execution())).profile

    async def infer(
        self,
        student: StudentSource,
        feed: Mapping[str, AnyArray],
        *,
        execution: Execution | None = None,
        allow_nan: bool = False,
    ) -> Mapping[str, AnyArray]:
        """Call the network once, with all its inputs in its own order of axes; return all its outputs."""
        resident = await self._shared(student, execution or Execution())
        limit_s, most_bytes = self.limits.call_s, self.limits.answer_bytes
        head: dict[int, Encodable] = {1: limit_s, 2: allow_nan}
        return (await resident.process.ask(Op.INFER, head, feed, limit_s=limit_s, most_bytes=most_bytes))[1]

    async def replay(
        self,
        student: StudentSource,
        stimulus: Mapping[str, AnyArray],
        *,
        execution: Execution | None = None,
        initial_state: Mapping[str, AnyArray] | None = None,
        limit_s: float | None = None,
        sample: int | None = None,
    ) -> Answer:
        """Run a student over a whole stimulus, in a process that does nothing else meanwhile.

        The noise that a student takes is drawn from the seed `sample`.

        Raises as `open` does, and `Exhausted` past `limit_s`, by default the host's limit of a call.
        """
        chosen = execution or Execution()
        self._keep_sweeping()
        resident = await self._residents.borrow(student, chosen)
        limit_s = self.limits.call_s if limit_s is None else limit_s
        given = _given(stimulus, initial_state)
        try:
            head, arrays = await resident.process.ask(
                Op.REPLAY, _replay_head(limit_s, sample), given, limit_s=limit_s, most_bytes=self.limits.answer_bytes
            )
            with resident.process.believing():
                answer = Answer(
                    outputs=under("o:", arrays),
                    final_state=under("f:", arrays),
                    stimulus=under("s:", arrays),
                    receipt=_receipt(head.mapping(1), student),
                )
                _check_answer(answer, resident.contract)
        except asyncio.CancelledError:
            resident.process.finish(Unavailable("nobody waits for the replay any more"))
            raise
        finally:
            self._residents.give_back(student, chosen, resident)
        return answer

    async def replay_group(self, students: Sequence[StudentSource], stimulus: Mapping[str, AnyArray]) -> GroupAnswer:
        """Run several students over one stimulus, as one network where that wins, in a process that ends afterwards.

        Raises as `replay` does.
        """
        self._keep_sweeping()
        limit_s = self.limits.call_s
        head: dict[int, Encodable] = {
            1: limit_s,
            3: dict(Execution().to_fields()),
            4: [contract_in(student.told) for student in students],
            5: self.limits.allow_loops,
        }
        process = await self._residents.process(what="a group of students")
        try:
            await self._give_all(students, process)
            fields, arrays = await process.ask(
                Op.GROUP,
                head,
                _given(stimulus, None),
                limit_s=limit_s + self.limits.load_s,
                most_bytes=self.limits.answer_bytes,
            )
            with process.believing():
                told = [one for one in fields.array(1) if isinstance(one, dict)]
                if len(told) != len(students) or fields.text(2) not in tuple(Form):
                    raise FormatError("the group answers for other students, or in no form")
                return GroupAnswer(
                    form=Form(fields.text(2)),
                    reason=plain(fields.text(3)),
                    answers=tuple(
                        Answer(
                            under(f"o:{index}:", arrays),
                            {},
                            under("s:", arrays),
                            _receipt({str(name): value for name, value in one.items()}, student),
                        )
                        for index, (one, student) in enumerate(zip(told, students, strict=True))
                    ),
                )
        finally:
            process.finish(Unavailable("the replay of the group is over"))

    async def reference(
        self,
        student: StudentSource,
        stimulus: Mapping[str, AnyArray],
        *,
        initial_state: Mapping[str, AnyArray] | None = None,
        limit_s: float,
        sample: int | None = None,
        first_mind: int = 0,
    ) -> Mapping[str, AnyArray]:
        """Run a whole replay by the ONNX reference evaluator instead of the runtime; return the outputs.

        Noise is drawn from the seed `sample`, as that of the minds from `first_mind` on.

        Raises `InvalidInput` where the evaluator cannot run the student, and `Exhausted` past `limit_s`.
        """
        chosen = Execution()
        self._keep_sweeping()
        network = await Handing(student.read).begin()
        resident = await self._residents.borrow(student, chosen)
        try:
            most = self.limits.student_bytes
            await network.give_to(resident.process, most_bytes=most, too_large=too_large(student, most))
            _, outputs = await resident.process.ask(
                Op.REFERENCE,
                {**_replay_head(limit_s, sample), 3: first_mind},
                _given(stimulus, initial_state),
                limit_s=limit_s,
                most_bytes=self.limits.answer_bytes,
            )
            return outputs
        finally:
            # The evaluator holds every operator of the standard: no later replay needs that.
            resident.process.finish(Unavailable("the reference evaluator is done"))

    async def _give_all(self, students: Sequence[StudentSource], process: StudentProcess) -> None:
        """Give a process the networks of a group; raises `Exhausted` where they are too large together."""
        most = left = self.limits.student_bytes
        for number, student in enumerate(students):
            network = await Handing(student.read).begin()
            await network.give_to(
                process,
                number=number,
                most_bytes=left,
                too_large=Exhausted(
                    f"the students have more than {most} bytes together, the bound of what is loaded: make smaller groups"
                ),
            )
            left -= network.size

    def let_go(self, student: StudentSource, *, execution: Execution | None = None) -> None:
        """End a student's process if no session uses it, sooner than time or the budget would."""
        self._residents.let_go(student, execution or Execution())

    async def close(self) -> None:
        """End all sessions and processes; whoever waits for an answer gets `Unavailable`, and so does whoever comes later."""
        self._is_closed = True
        if self._sweeper is not None:
            self._sweeper.cancel()
        for session in list(self._sessions):
            session.end("the host was closed")
        await self._residents.close()

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
        if not 1 <= minds <= self.limits.minds:
            raise InvalidInput(f"{minds} minds cannot be run as one session: ask for 1 to {self.limits.minds}")
        if len(self._sessions) >= self.limits.sessions:
            self._forget_lost()
        if len(self._sessions) >= self.limits.sessions:
            raise Exhausted(f"{self.limits.sessions} sessions of minds are open, the bound: close some and retry")
        session = MindSession(
            self,
            resident,
            number=next(self._numbers),
            minds=minds,
            student=student,
            execution=execution,
            sample=sample,
            steps=steps,
        )
        self._sessions[session] = resident
        resident.sessions += 1
        return session

    def dismiss(self, session: MindSession) -> None:
        """Take a session's place back, if it has one."""
        resident = self._sessions.pop(session, None)
        if resident is not None:
            resident.sessions -= 1

    def _forget_lost(self) -> None:
        """Take the places back of sessions whose processes have ended, although nobody closed them."""
        for session in [one for one in self._sessions if one.is_lost]:
            self.dismiss(session)

    async def _shared(self, student: StudentSource, execution: Execution) -> Resident:
        if execution.form is not Form.SOLO:
            raise InvalidInput(
                f"{execution.form} is a form of groups of students, and the minds of one run {Form.SOLO}: "
                "replay a group, or leave the form out"
            )
        self._keep_sweeping()
        return await self._residents.shared(student, execution)

    def _keep_sweeping(self) -> None:
        """Begin to look after what is not used; raises `Unavailable` once the host is closed."""
        if self._is_closed:
            raise Unavailable("students do not run here any more, the archive is being closed: open it again")
        if self._sweeper is None:
            self._sweeper = asyncio.create_task(self._sweep())

    async def _sweep(self) -> None:
        """End what is not used any more."""
        while True:
            await asyncio.sleep(min(_SWEEP_S, self.limits.idle_s / 4))
            self._forget_lost()
            oldest = asyncio.get_running_loop().time() - self.limits.idle_s
            for session in [one for one in self._sessions if one.used < oldest and not one.is_busy]:
                session.end(f"it was not used for {self.limits.idle_s:g} s")
            self._residents.end_unused(since=oldest)
            await self._residents.look()


def _replay_head(limit_s: float, sample: int | None) -> dict[int, Encodable]:
    return {1: limit_s} if sample is None else {1: limit_s, 2: sample}


def _given(stimulus: Mapping[str, AnyArray], state: Mapping[str, AnyArray] | None) -> dict[str, AnyArray]:
    """Return what a whole replay is given, under the names that its process knows."""
    return {f"s:{name}": array for name, array in stimulus.items()} | {
        f"i:{name}": array for name, array in (state or {}).items()
    }


_RECEIPT_ENTRIES: Final = 64
_RECEIPT_TEXT: Final = 1 << 16


def _receipt(told: Mapping[str, object], student: StudentSource) -> Mapping[str, Scalar]:
    """Return a receipt that can become metadata; raises `FormatError` for one that cannot be this student's."""
    receipt = scalars(told)
    if receipt.get("student.sha256") != student.sha256:
        raise FormatError("a receipt is another student's")
    if len(receipt) > _RECEIPT_ENTRIES or any(
        isinstance(value, str) and len(value) > _RECEIPT_TEXT for value in receipt.values()
    ):
        raise FormatError("a receipt says more than receipts do")
    return receipt


def _check_answer(answer: Answer, contract: Contract) -> None:
    """Raise `FormatError` where an answer names other arrays than the contract."""
    if answer.outputs.keys() != {port.name for port in contract.responses} or answer.final_state.keys() != {
        port.name for port in contract.states
    }:
        raise FormatError("the responses or states are others than the contract's")
