"""The use case of minds: opened out of an archive for a caller of any door, and advanced call by call."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from engram_format.address import Address, AnyAddress
from engram_format.catalog import AnyArray, Artifact, Scalar
from engram_format.errors import InvalidInput
from engram_format.ports import MindPort, Perturbation, check_seed, in_order
from engram_replay.contract import Contract, Port, Role
from engram_replay.drawing import SEED
from engram_replay.execution import Execution
from engram_replay.sampler import perturb
from engram_replay.session import MindSession
from engram_server.engine.minds import CONSTANT_PREFIX

if TYPE_CHECKING:
    from engram_server.engine.archive import Archive


@dataclass(frozen=True, slots=True)
class Opened:
    """A session of minds, and the constants that it was given."""

    session: MindSession
    constants: Mapping[str, Scalar]


async def open_session(
    archive: Archive,
    student: AnyAddress,
    *,
    minds: int | None = None,
    execution: Mapping[str, Scalar] | None = None,
    constants: Mapping[str, Scalar] | None = None,
    initial_state: Mapping[str, AnyArray] | AnyAddress | None = None,
    perturbation: Perturbation | None = None,
    sample: int | None = None,
) -> Opened:
    """Open minds of a student, in the loop of `archive.minds`.

    `minds` is by default as many as the initial state holds, and one where there is none; a state of one mind is given to
    all. Noise is drawn from the seed `sample`, else from that of the state, else from the contract's.

    Raises as `MindHost.open` does.
    """
    kept = None
    if initial_state is not None and not isinstance(initial_state, Mapping):
        kept = await asyncio.to_thread(archive.artifact, initial_state)
    held = _minds_in(initial_state, kept)
    wanted = (held or 1) if minds is None else minds
    if held not in (None, 1, wanted):
        raise InvalidInput(f"the initial state holds {held} minds, not {wanted}: open {held}, or give the state of one")
    given = {**_constants(kept), **(constants or {})}
    session = await archive.minds.open(
        student,
        minds=held or wanted,
        execution=_execution(execution, kept),
        constants=given,
        initial_state=initial_state,
        sample=_entry(kept, SEED) if sample is None else sample,
        steps=_entry(kept, "mind.step") or 0,
    )
    if session.minds != wanted:
        session = await _instead(session, session.fork([0] * wanted))
    if perturbation is not None:
        session = await _perturbed(archive, session, given, perturbation)
    return Opened(session, given)


async def fork(
    archive: Archive,
    opened: Opened,
    rows: Sequence[int],
    *,
    perturbation: Perturbation | None = None,
    sample: int | None = None,
) -> Opened:
    """Open minds that begin with the states of some of a session's, which goes on as it was.

    They are numbered anew, from 0, and their noise is drawn from the session's seed unless one to `sample` from is given.
    """
    if sample is not None:
        check_seed(sample)
    session = await opened.session.fork(rows, sample=sample)
    if perturbation is not None:
        session = await _perturbed(archive, session, opened.constants, perturbation)
    return Opened(session, opened.constants)


async def save(archive: Archive, opened: Opened, address: Address, *, author: str) -> Artifact:
    """Keep the states of minds as an artifact of a new version; return it."""
    return await archive.minds.save(
        opened.session, address, author=author, now_ns=time.time_ns(), constants=opened.constants
    )


async def _perturbed(
    archive: Archive, session: MindSession, constants: Mapping[str, Scalar], perturbation: Perturbation
) -> MindSession:
    """Return a session that goes on from the states of another, a little changed; the other is closed."""

    def changed(state: Mapping[str, AnyArray]) -> Mapping[str, AnyArray]:
        if perturbation.scale is None:
            return perturb(state, seed=perturbation.seed)
        return perturb(state, seed=perturbation.seed, scale=perturbation.scale)

    try:
        state = await asyncio.to_thread(changed, await session.state())
        new = await archive.minds.host.open(
            session.student,
            minds=session.minds,
            execution=session.execution,
            constants=constants,
            initial_state=state,
            sample=session.sample,
            steps=session.steps,
        )
    finally:
        await session.close()
    return new


async def _instead(old: MindSession, new: Coroutine[Any, Any, MindSession]) -> MindSession:
    """Return the session that is made from another, which is closed."""
    try:
        return await new
    finally:
        await old.close()


def _minds_in(initial_state: Mapping[str, AnyArray] | AnyAddress | None, kept: Artifact | None) -> int | None:
    """Return how many minds an initial state holds; `None` where it says nothing of it."""
    if not isinstance(initial_state, Mapping):
        return _entry(kept, "mind.count")
    counts = {len(array) for array in map(np.atleast_1d, initial_state.values())}
    if len(counts) > 1:
        raise InvalidInput(f"the initial states hold {sorted(counts)} minds: give each (mind, ...), of the same minds")
    return counts.pop() if counts else None


def _entry(kept: Artifact | None, name: str) -> int | None:
    value = None if kept is None else kept.metadata.get(name)
    return value if type(value) is int and value >= 0 else None


def _constants(kept: Artifact | None) -> Mapping[str, Scalar]:
    metadata = {} if kept is None else kept.metadata
    return {
        name.removeprefix(CONSTANT_PREFIX): value
        for name, value in metadata.items()
        if name.startswith(CONSTANT_PREFIX)
    }


def _execution(told: Mapping[str, Scalar] | None, kept: Artifact | None) -> Execution | None:
    """Return what a caller chose, or else how the minds were run before they were kept: forms do not mix."""
    names = list(Execution().to_fields())
    if told is not None:
        if unknown := sorted(told.keys() - set(names)):
            raise InvalidInput(f"{unknown[0]!r} is no part of an execution: give some of {', '.join(names)}")
        return Execution.from_fields(told)
    if kept is None:
        return None
    return Execution.from_metadata(kept.metadata)


def ports_of(contract: Contract) -> tuple[MindPort, ...]:
    """Return what minds take and give, as every door shows it."""
    return tuple(map(_port, contract.ports))


def _port(port: Port) -> MindPort:
    return MindPort(
        name=port.name,
        role=port.role.value,
        dtype=port.dtype,
        step_shape=port.shape if port.role is Role.CONSTANT else port.step_shape,
        unit=port.unit,
        channels=port.channels,
        distribution=port.distribution.value,
    )


class OpenMinds:
    """Some minds of one student, advanced together: the session of an event loop as a caller on any thread uses it.

    Calls from several threads are done one after the other. Close it, or use it in a `with` block.
    """

    def __init__(self, archive: Archive, opened: Opened, *, allow_nan: bool) -> None:
        self._archive = archive
        self._opened = opened
        self._session = session = opened.session
        self._allow_nan = allow_nan
        self._ports = ports_of(session.contract)
        self._stimuli = tuple(port for port in self._ports if port.role == "stimulus")
        self._responses = tuple(port.name for port in self._ports if port.role == "response")

    @property
    def student_sha256(self) -> str:
        """The student's digest, 64 hex digits."""
        return self._session.student.sha256

    @property
    def ports(self) -> tuple[MindPort, ...]:
        """Stimuli, constants, states and responses; each role in the order of the network."""
        return self._ports

    @property
    def minds(self) -> int:
        """How many minds advance together."""
        return self._session.minds

    @property
    def steps(self) -> int:
        """Steps that the minds have taken, those before they were saved or forked included."""
        return self._session.steps

    @property
    def profile(self) -> Mapping[str, Scalar]:
        """The execution profile as it stands in receipts."""
        return self._session.profile

    @property
    def sampling_interval_s(self) -> float | None:
        """The time between two steps, in seconds; `None` where nobody said."""
        return self._session.contract.sampling_interval_s

    @property
    def sample_seed(self) -> int | None:
        """The seed from which the noise of the minds is drawn; `None` where the student takes none."""
        return self._session.sample

    def tick(self, stimulus: Mapping[str, AnyArray] | AnyArray) -> Mapping[str, AnyArray]:
        """Advance all minds by the steps that the stimulus has; return the responses by name, each (step, mind, ...)."""
        arrays = in_order(stimulus, self._stimuli, minds=self.minds)
        responses = self._archive.minds.wait(self._session.tick(arrays, allow_nan=self._allow_nan))
        return dict(zip(self._responses, responses, strict=True))

    def fork(self, rows: Sequence[int], *, perturbation: Perturbation | None = None, sample: int | None = None) -> Self:
        """Return new minds that begin with the states of these; a mind may be taken more than once."""
        wanted = [int(row) for row in rows]
        forked = self._archive.minds.wait(
            fork(self._archive, self._opened, wanted, perturbation=perturbation, sample=sample)
        )
        return type(self)(self._archive, forked, allow_nan=self._allow_nan)

    def state(self) -> Mapping[str, AnyArray]:
        """Return the states by name, each (mind, *step shape)."""
        return self._archive.minds.wait(self._session.state())

    def save(self, address: Address, *, author: str = "") -> Artifact:
        """Keep the states as an artifact of a new version; return it."""
        return self._archive.minds.wait(save(self._archive, self._opened, address, author=author))

    def close(self) -> None:
        """Let go of the minds; closing twice is no error."""
        self._archive.minds.wait(self._session.close())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
