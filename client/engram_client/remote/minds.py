"""Minds behind a service: sessions on one bidirectional stream."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from queue import SimpleQueue
from types import TracebackType
from typing import Final, Literal, NoReturn, Protocol, Self

import grpc
import numpy as np

from engram.v1 import replay_pb2 as pb
from engram.v1.mind_values import Lanes, arrays_of, message_of_execution, messages_of_arrays, port_of, set_perturbation
from engram.v1.names import name_of
from engram.v1.values import artifact_of, fitting, scalars_of, set_scalars
from engram_client.remote.channel import MAX_MESSAGE
from engram_client.remote.errors import error_of, error_of_kind
from engram_format.address import Address, AnyAddress
from engram_format.catalog import AnyArray, Artifact, Scalar
from engram_format.errors import EngramError, InvalidInput, NotFound, Precondition
from engram_format.ports import MindPort, Perturbation, check_seed, in_order

_PART_BYTES: Final = 1 << 20
"""A tick of more bytes goes in several messages: gRPC in Python moves messages of 256 KiB to 1 MiB fastest."""

_HEADROOM: Final = 1 << 16
"""Bytes of a message beside its arrays."""

Answer = Literal["opened", "stepped", "forked", "state", "saved", "closed"]


class TickCall(Protocol):
    """The stream as its client sees it."""

    def __next__(self) -> pb.TickResponse: ...

    def cancel(self) -> bool:
        """End it."""
        ...


Start = Callable[[Iterator[pb.TickRequest]], TickCall]


def open_minds(
    start: Start,
    student: AnyAddress,
    *,
    minds: int | None,
    initial_state: Mapping[str, AnyArray] | AnyAddress | None,
    constants: Mapping[str, Scalar] | None,
    execution: Mapping[str, Scalar] | None,
    perturbation: Perturbation | None,
    sample: int | None,
    allow_nan: bool,
    url: str,
) -> RemoteMinds:
    """Open minds on a stream of their own."""
    if minds is not None and minds < 1:
        raise InvalidInput(f"{minds} minds cannot be opened: ask for at least 1")
    inline = initial_state if isinstance(initial_state, Mapping) else {}
    states = {name: np.asarray(array) for name, array in inline.items()}
    if (size := sum(array.nbytes for array in states.values())) > MAX_MESSAGE - _HEADROOM:
        raise InvalidInput(f"the initial states have {size} bytes, more than a message holds: deposit them as a .npz")
    with fitting(f"{minds} minds"):
        opening = pb.TickRequest.Open(
            student=name_of(student),
            minds=minds or 0,
            states=messages_of_arrays(states),
            allow_nan=allow_nan,
        )
    if initial_state is not None and not isinstance(initial_state, Mapping):
        opening.initial_state = name_of(initial_state)
    set_perturbation(opening, perturbation)
    _set_seed(opening, sample)
    if execution is not None:
        opening.execution.CopyFrom(message_of_execution(execution))
    set_scalars(opening.constants, constants or {})
    stream = _Stream(start, url=url)
    opened = stream.ask(pb.TickRequest(open=opening), "opened").opened
    return RemoteMinds(
        stream,
        _Student.of(opened),
        session=0,
        minds=opened.minds,
        steps=opened.step,
        sample_seed=opened.sample_seed if opened.HasField("sample_seed") else None,
    )


def _set_seed(target: pb.TickRequest.Open | pb.TickRequest.Fork, sample: int | None) -> None:
    """Ask for noise of a seed."""
    if sample is not None:
        check_seed(sample)
        target.sample_seed = sample


class _Student:
    """What a service said of the student whose minds it opened."""

    def __init__(
        self, sha256: str, ports: tuple[MindPort, ...], profile: Mapping[str, Scalar], interval_s: float | None
    ) -> None:
        self.sha256 = sha256
        self.ports = ports
        self.profile = profile
        self.sampling_interval_s = interval_s
        self.stimuli = tuple(port for port in ports if port.role == "stimulus")
        self.responses = tuple(port for port in ports if port.role == "response")

    @classmethod
    def of(cls, opened: pb.TickResponse.Opened) -> Self:
        interval = opened.sampling_interval_s if opened.HasField("sampling_interval_s") else None
        return cls(opened.student_sha256, tuple(map(port_of, opened.ports)), scalars_of(opened.profile), interval)


class RemoteMinds:
    """The `Minds` protocol over one session of a stream; its forks are sessions of the same stream.

    Calls from several threads are done one after the other. After an error that broke the stream every call raises it, and
    the minds are gone: open them again from where they were saved.
    """

    def __init__(
        self,
        stream: _Stream,
        student: _Student,
        *,
        session: int,
        minds: int,
        steps: int,
        sample_seed: int | None,
    ) -> None:
        self._stream = stream
        self._student = student
        self._session = session
        self._minds = minds
        self._steps = steps
        self._sample_seed = sample_seed
        self._closed = False
        self._stimuli = Lanes(student.stimuli, minds=minds)
        self._responses = Lanes(student.responses, minds=minds)
        stream.enter()

    @property
    def student_sha256(self) -> str:
        """The student's digest, 64 hex digits."""
        return self._student.sha256

    @property
    def ports(self) -> tuple[MindPort, ...]:
        """Stimuli, constants, states and responses; each role in the order of the network."""
        return self._student.ports

    @property
    def minds(self) -> int:
        """How many minds advance together."""
        return self._minds

    @property
    def steps(self) -> int:
        """Steps that the minds have taken, those before they were saved or forked included."""
        return self._steps

    @property
    def profile(self) -> Mapping[str, Scalar]:
        """The execution profile as it stands in receipts."""
        return self._student.profile

    @property
    def sampling_interval_s(self) -> float | None:
        """The time between two steps, in seconds; `None` where nobody said."""
        return self._student.sampling_interval_s

    @property
    def sample_seed(self) -> int | None:
        """The seed from which the noise of the minds is drawn; `None` where the student takes none."""
        return self._sample_seed

    def tick(self, stimulus: Mapping[str, AnyArray] | AnyArray) -> Mapping[str, AnyArray]:
        """Advance all minds by the steps that the stimulus has; return the responses by name, each (step, mind, ...).

        The arrays that are returned are read-only. A tick of more than a mebibyte goes in parts; where a later part fails,
        the error says how many steps were taken.
        """
        arrays = in_order(stimulus, self._student.stimuli, minds=self._minds)
        steps = len(arrays[0]) if arrays else 1
        bound = self._steps_of_a_message(arrays, steps)
        responses = self._step(arrays, steps) if steps <= bound else self._in_parts(arrays, steps, bound)
        return {port.name: array for port, array in zip(self._student.responses, responses, strict=True)}

    def fork(
        self, rows: Sequence[int], *, perturbation: Perturbation | None = None, sample: int | None = None
    ) -> RemoteMinds:
        """Return new minds that begin with the states of these; a mind may be taken more than once."""
        with fitting("the rows of a fork"):
            fork = pb.TickRequest.Fork(session=self._session, rows=[int(row) for row in rows])
        set_perturbation(fork, perturbation)
        _set_seed(fork, sample)
        forked = self._ask(pb.TickRequest(fork=fork), "forked").forked
        return RemoteMinds(
            self._stream,
            self._student,
            session=forked.session,
            minds=len(fork.rows),
            steps=self._steps,
            sample_seed=self._sample_seed if self._sample_seed is None or sample is None else sample,
        )

    def state(self) -> Mapping[str, AnyArray]:
        """Return the states by name, each (mind, *step shape)."""
        request = pb.TickRequest(read_state=pb.TickRequest.ReadState(session=self._session))
        return arrays_of(self._ask(request, "state").state.states)

    def save(self, address: Address, *, author: str = "") -> Artifact:
        """Keep the states as an artifact of a new version; return it."""
        with fitting(f"the author {author!r:.100}"):
            save = pb.TickRequest.Save(session=self._session, save_to=name_of(address), author=author)
        return artifact_of(self._ask(pb.TickRequest(save=save), "saved").saved.artifact)

    def close(self) -> None:
        """Let go of the minds; closing twice is no error."""
        if self._closed:
            return
        self._closed = True
        self._stream.leave(self._session)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _ask(self, request: pb.TickRequest, wanted: Answer) -> pb.TickResponse:
        if self._closed:
            raise NotFound("these minds are closed: open others, from where they were saved")
        return self._stream.ask(request, wanted)

    def _step(self, arrays: Sequence[AnyArray], steps: int) -> list[AnyArray]:
        step = pb.TickRequest.Step(
            session=self._session,
            steps=steps,
            stimuli=self._stimuli.data(arrays),
            shapes=self._stimuli.told(arrays),
        )
        stepped = self._ask(pb.TickRequest(step=step), "stepped").stepped
        self._steps = stepped.step
        return self._responses.arrays(list(stepped.responses), steps, stepped.shapes)

    def _steps_of_a_message(self, arrays: Sequence[AnyArray], steps: int) -> int:
        sent = sum(array.nbytes for array in arrays) // steps
        received = self._responses.step_bytes or 0
        return max(_PART_BYTES // max(sent, received, 1), 1)

    def _in_parts(self, arrays: Sequence[AnyArray], steps: int, bound: int) -> list[AnyArray]:
        parts: list[list[AnyArray]] = []
        for first in range(0, steps, bound):
            stop = min(first + bound, steps)
            try:
                parts.append(self._step([array[first:stop] for array in arrays], stop - first))
            except EngramError as error:
                if not first:
                    raise
                raise type(error)(f"{error} (the first {first} steps of this tick were taken)") from error
        return [np.concatenate(pieces) for pieces in zip(*parts, strict=True)]


class _Stream:
    """A stream of calls on minds and their answers, one call at a time; it ends with its last session."""

    def __init__(self, start: Start, *, url: str) -> None:
        self._url = url
        self._requests: SimpleQueue[pb.TickRequest | None] = SimpleQueue()
        self._turn = threading.Lock()
        self._sessions = 0
        self._over: EngramError | None = None
        # gRPC takes requests on a thread of its own, which waits here.
        self._call = start(iter(self._requests.get, None))

    def enter(self) -> None:
        """Count a session."""
        with self._turn:
            self._sessions += 1

    def leave(self, session: int) -> None:
        """End a session, and the stream with the last one; the minds of a stream that broke have ended already."""
        with self._turn:
            self._sessions -= 1
            if self._over is not None:
                return
            if not self._sessions:
                self._end(Precondition(f"the stream to {self._url} is closed: open minds again"))
                return
            with suppress(EngramError):
                self._exchange(pb.TickRequest(close=pb.TickRequest.Close(session=session)))

    def ask(self, request: pb.TickRequest, wanted: Answer) -> pb.TickResponse:
        """Send a call and return its answer."""
        with self._turn:
            if self._over is not None:
                raise type(self._over)(str(self._over))
            answer = self._exchange(request)
        given = answer.WhichOneof("answer")
        if given == "failed":
            raise error_of_kind(answer.failed.kind, answer.failed.message)
        if given != wanted:
            self._fail(EngramError(f"{self._url} answered {given} where {wanted} was due: use one version of both"))
        return answer

    def _exchange(self, request: pb.TickRequest) -> pb.TickResponse:
        self._requests.put(request)
        try:
            return next(self._call)
        except grpc.RpcError as error:
            self._fail(error_of(error, url=self._url), cause=error)
        except StopIteration as error:
            self._fail(EngramError(f"{self._url} ended the stream of minds: open them again"), cause=error)
        except BaseException:
            # Interrupted: the answer would be taken for that of the next call.
            self._end(Precondition("a tick was interrupted, and its minds are gone: open them again"))
            raise

    def _fail(self, error: EngramError, *, cause: BaseException | None = None) -> NoReturn:
        self._end(error)
        raise error from cause

    def _end(self, error: EngramError) -> None:
        self._over = error
        self._requests.put(None)
        self._call.cancel()
