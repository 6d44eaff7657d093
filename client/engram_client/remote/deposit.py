"""A deposit session over one bidirectional stream."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from types import TracebackType
from typing import Final, Literal, NoReturn, Protocol, Self

import grpc

from engram.v1 import archive_pb2 as pb
from engram.v1.values import artifact_of, fitting, message_of_spec, messages_of_folders, version_of
from engram_client.remote.errors import error_of, error_of_kind
from engram_format.catalog import Artifact, ArtifactSpec, Folder, Version
from engram_format.errors import EngramError, Precondition, Unavailable
from engram_layout import Plan

_DATA_BYTES: Final = 512 << 10
_QUEUED_STEPS: Final = 4
_PARTING_S: Final = 10.0

Event = Literal["opened", "begun", "progress", "ended", "committed", "failed"]


class _Call(Protocol):
    """The stream as the deposit sees it."""

    def __iter__(self) -> Iterator[pb.DepositResponse]: ...

    def cancel(self) -> bool: ...


class RemoteDeposit:
    """The `Deposit` protocol over one stream.

    Two threads are at work beside the caller's: gRPC's takes steps from a queue of four, no faster than the service does,
    and one of ours receives, so that an error of the service ends a `write` that is waiting. After an error that broke the
    stream every call raises it; the session is resumable by opening it again.
    """

    def __init__(
        self,
        start: Callable[[Iterator[pb.DepositRequest]], _Call],
        opening: pb.DepositRequest.Open,
        *,
        url: str,
        timeout_s: float,
    ) -> None:
        self._session = opening.session
        self._url = url
        self._steps = _Steps()
        self._awaited: deque[Future[pb.DepositResponse | None]] = deque()
        """The answers to the steps that have one, in order; `None` comes where the stream ended before."""
        self._cut: grpc.RpcError | None = None
        self._begun = False
        self._committed = 0
        self._call = start(self._steps)
        self._receiver = threading.Thread(target=self._receive, name="engram-deposit", daemon=True)
        self._receiver.start()
        try:
            answer = self._ask(pb.DepositRequest(open=opening), "opened", timeout_s=timeout_s).opened
        except BaseException:
            self.close()
            raise
        self._version = version_of(answer.committed_version) if answer.HasField("committed_version") else None

    @property
    def session(self) -> str:
        """The session's id, 32 hex digits, chosen by the depositor."""
        return self._session

    @property
    def committed_version(self) -> Version | None:
        """The version that this session has committed, if it has."""
        return self._version

    @property
    def committed(self) -> int:
        """How many bytes of the artifact are durable, as the service last said: what a cut would not cost."""
        return self._committed

    def begin(self, spec: ArtifactSpec, plan: Plan | None = None) -> int:
        """Start or continue the artifact; return the offset from which bytes are still needed."""
        told = b"" if plan is None else plan.to_bytes()
        for first in range(0, len(told), _DATA_BYTES):
            self._send(pb.DepositRequest(plan=told[first : first + _DATA_BYTES]))
        step = pb.DepositRequest(begin=pb.DepositRequest.Begin(spec=message_of_spec(spec)))
        self._committed = self._ask(step, "begun").begun.committed_offset
        self._begun = True
        return self._committed

    def write(self, data: bytes | memoryview) -> None:
        """Take the next bytes of the artifact; waits while the service is behind."""
        if not self._begun:
            raise Precondition("no artifact is begun: begin one before its bytes are sent")
        view = memoryview(data).cast("B")
        for first in range(0, len(view), _DATA_BYTES):
            self._send(pb.DepositRequest(data=bytes(view[first : first + _DATA_BYTES])))

    def end(self, *, sha256: str) -> Artifact:
        """Close the artifact; raises `InvalidInput` if size or SHA-256 (hex) of what arrived differ from what was announced."""
        with fitting(f"the SHA-256 {sha256!r:.100}"):
            step = pb.DepositRequest(end=pb.DepositRequest.End(sha256=sha256))
        artifact = artifact_of(self._ask(step, "ended").ended.artifact)
        self._begun = False
        return artifact

    def put(self, spec: ArtifactSpec, data: bytes, *, sha256: str, plan: Plan | None = None) -> Callable[[], Artifact]:
        """Deposit a whole artifact of at most 1 MiB; return what waits until it has arrived, and returns it or raises."""
        told = b"" if plan is None else plan.to_bytes()
        if len(told) > _DATA_BYTES:  # not in one message
            self.write(memoryview(data)[self.begin(spec, plan) :])
            artifact = self.end(sha256=sha256)
            return lambda: artifact
        with fitting(f"the SHA-256 {sha256!r:.100}"):
            put = pb.DepositRequest.Put(spec=message_of_spec(spec), plan=told, data=data, sha256=sha256)
        answer = self._start(pb.DepositRequest(put=put))
        return lambda: artifact_of(self._answer(answer, "ended").ended.artifact)

    def commit(self, *, message: str, author: str, folders: Iterable[Folder] = ()) -> Version:
        """Make all ended artifacts durable and visible as one version; repeating it returns the same version."""
        for group in messages_of_folders(folders):
            self._send(pb.DepositRequest(folders=pb.DepositRequest.Folders(folders=group)))
        with fitting("the version's message or author"):
            step = pb.DepositRequest(commit=pb.DepositRequest.Commit(message=message, author=author))
        self._version = version_of(self._ask(step, "committed").committed.version)
        return self._version

    def close(self) -> None:
        """End the stream and wait until the service has let go of the session, so that it can be opened again."""
        self._steps.close()
        self._receiver.join(_PARTING_S)
        if self._receiver.is_alive():
            self._call.cancel()
            self._receiver.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _send(self, step: pb.DepositRequest) -> None:
        if not self._steps.put(step):
            self._fail()

    def _ask(self, step: pb.DepositRequest, wanted: Event, *, timeout_s: float | None = None) -> pb.DepositResponse:
        """Send a step and return its answer."""
        return self._answer(self._start(step), wanted, timeout_s=timeout_s)

    def _start(self, step: pb.DepositRequest) -> Future[pb.DepositResponse | None]:
        """Send a step; its answer will be there when those to the steps before are."""
        awaited: Future[pb.DepositResponse | None] = Future()
        self._awaited.append(awaited)  # before it is sent, for the answer may come at once
        self._send(step)
        return awaited

    def _answer(
        self, awaited: Future[pb.DepositResponse | None], wanted: Event, *, timeout_s: float | None = None
    ) -> pb.DepositResponse:
        try:
            answer = awaited.result(timeout_s)
        except TimeoutError as error:
            self._call.cancel()
            raise Unavailable(f"{self._url} did not answer within {timeout_s} s: wait and retry") from error
        if answer is None:
            self._fail()
        event = answer.WhichOneof("event")
        if event == "failed":
            raise error_of_kind(answer.failed.kind, answer.failed.message)
        if event != wanted:
            self._call.cancel()
            raise EngramError(f"{self._url} answered {event} where {wanted} was due: use one version of both")
        return answer

    def _fail(self) -> NoReturn:
        """Raise what ended the stream."""
        if self._cut is not None:
            raise error_of(self._cut, url=self._url) from self._cut
        raise Precondition(f"deposit session {self._session} is closed: open it again")

    def _receive(self) -> None:
        """Take what the service sends until the stream ends, then wake whoever waits."""
        try:
            for response in self._call:
                if response.WhichOneof("event") == "progress":
                    self._committed = response.progress.committed_offset
                elif self._awaited:
                    self._awaited.popleft().set_result(response)
        except grpc.RpcError as error:
            self._cut = error
        finally:
            self._steps.close()  # so that no step is sent from here on, and none waits for an answer that is not in the list
            while self._awaited:
                self._awaited.popleft().set_result(None)


class _Steps(Iterator[pb.DepositRequest]):
    """A bounded queue of steps that either end can close; gRPC iterates over it on its own thread."""

    def __init__(self) -> None:
        self._steps: deque[pb.DepositRequest] = deque()
        self._changed = threading.Condition()
        self._closed = False

    def put(self, step: pb.DepositRequest) -> bool:
        """Append a step, waiting for room; `False` if the queue is closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or len(self._steps) < _QUEUED_STEPS)
            if self._closed:
                return False
            self._steps.append(step)
            self._changed.notify_all()
            return True

    def close(self) -> None:
        """End the iteration at once: steps not taken yet are dropped, which their session survives."""
        with self._changed:
            self._closed = True
            self._steps.clear()
            self._changed.notify_all()

    def __next__(self) -> pb.DepositRequest:
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._steps)
            if not self._steps:
                raise StopIteration
            self._changed.notify_all()
            return self._steps.popleft()
