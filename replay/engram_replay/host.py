"""Where minds run: students loaded once each in a child process of their own, sessions of minds in them.

Asynchronous, and used from one event loop. The engine holds one host; both doors reach it through the engine.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from engram_format.catalog import AnyArray, Scalar
from engram_replay.contract import Contract
from engram_replay.execution import Execution


@dataclass(frozen=True, slots=True)
class HostLimits:
    """What students may cost."""

    student_bytes: int = 256 << 20
    """The largest network that is loaded."""
    memory_bytes: int = 2 << 30
    """Address space of a student's process beyond what it has at rest."""
    load_s: float = 20.0
    call_s: float = 120.0
    """The longest that one call may take."""
    sessions: int = 4096
    idle_s: float = 600.0
    """A session that is not used for so long ends."""
    budget_bytes: int = 4 << 30
    """Memory of all students together; those without sessions are let go of first, the longest unused one first."""
    allow_loops: bool = False


@dataclass(frozen=True, slots=True)
class StudentSource:
    """A student that can be loaded: its digest, and how to get its bytes when they are needed."""

    sha256: str
    read: Callable[[], bytes]
    """Called on a thread of its own, at most once for each loading."""
    told: Mapping[str, Scalar]
    """The artifact's metadata; a contract in it has precedence over what the network tells."""


class MindSession:
    """Some minds of one student, each with its own state, that advance together.

    Calls are answered in the order in which they are made. After `close`, or when the student's process is gone, every call
    raises: `NotFound` for a session that is closed or has expired, `Unavailable` where the process ended.
    """

    contract: Contract
    execution: Execution
    sha256: str
    """The student's digest."""
    minds: int
    steps: int
    """Steps taken since the session was opened."""

    async def tick(self, stimuli: Sequence[AnyArray], *, allow_nan: bool = False) -> Sequence[AnyArray]:
        """Advance all minds by the steps that the stimuli have; return the responses.

        Stimuli come in the order of the contract, each (step, mind, *step_shape) in the port's type; responses likewise.
        Raises `InvalidInput` for arrays that do not fit or hold NaN or infinity, and `Exhausted` past the deadline; the state
        is then as it was before.
        """
        raise NotImplementedError

    async def state(self) -> Mapping[str, AnyArray]:
        """Return the state by the names of the state inputs, each (mind, *step_shape)."""
        raise NotImplementedError

    async def fork(self, rows: Sequence[int]) -> MindSession:
        """Return a new session whose minds begin with the states of these minds; a mind may be taken more than once."""
        raise NotImplementedError

    async def close(self) -> None:
        """Let go of the state; closing twice is no error."""
        raise NotImplementedError


class MindHost:
    """The students that are loaded, and their sessions."""

    def __init__(self, limits: HostLimits | None = None) -> None:
        self._limits = limits or HostLimits()

    async def open(
        self,
        student: StudentSource,
        *,
        minds: int = 1,
        execution: Execution | None = None,
        constants: Mapping[str, Scalar] | None = None,
        initial_state: Mapping[str, AnyArray] | None = None,
    ) -> MindSession:
        """Open a session, loading the student if it is not loaded.

        States that are not given begin as zeros. Raises `Refused` where the gate refuses the student, `InvalidInput` where it
        or the state do not fit, `Exhausted` for too many sessions or no memory.
        """
        raise NotImplementedError

    async def contract(self, student: StudentSource, *, execution: Execution | None = None) -> Contract:
        """Return a student's contract, loading it if it is not loaded."""
        raise NotImplementedError

    async def close(self) -> None:
        """End all sessions and processes."""
        raise NotImplementedError
