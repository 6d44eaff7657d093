"""Replays, asked of a service."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

import grpc

from engram.v1 import replay_pb2 as pb
from engram.v1 import replay_pb2_grpc
from engram.v1.arrays import Assembler, disassemble, header_of
from engram.v1.names import name_of
from engram.v1.values import artifact_of, fitting, scalars_of
from engram.v1.verdict_values import verdict_of
from engram_client.remote.channel import Credentials
from engram_client.remote.errors import translated
from engram_client.remote.minds import TickCall
from engram_format.address import Address, AnyAddress
from engram_format.catalog import AnyArray, Artifact, GroupResult, ReplayResult, ReplayVerdict, Scalar
from engram_format.errors import EngramError
from engram_format.ports import check_seed


class RemoteReplays:
    """The calls over one channel; they take as long as the replay does, for which the service has a limit. Thread-safe."""

    def __init__(self, channel: grpc.Channel, *, url: str, credentials: Credentials) -> None:
        self._stub = replay_pb2_grpc.ReplayServiceStub(channel)
        self._url = url
        self._credentials = credentials

    def replay(
        self,
        students: Sequence[AnyAddress],
        stimulus: AnyAddress | Mapping[str, AnyArray],
        *,
        save_to: Address | None,
        author: str,
        sample: int | None = None,
    ) -> GroupResult:
        """Run students over a stimulus; a single one has no group, and the form is then empty."""
        inline = stimulus if isinstance(stimulus, Mapping) else {}
        for name, array in inline.items():
            header_of(name, array)  # refuses here what could only break the stream later
        if sample is not None:
            check_seed(sample)
        with fitting(f"the author {author!r:.100}"):
            start = pb.ReplayRequest.Start(
                student=name_of(students[0]),
                stimulus=None if isinstance(stimulus, Mapping) else name_of(stimulus),
                save_to=None if save_to is None else name_of(save_to),
                author=author,
                others=map(name_of, students[1:]),
                sample_seed=sample,
            )
        call = self._stub.Replay(_steps(start, inline), metadata=self._credentials)
        try:
            with translated(self._url):
                return _result(call)
        finally:
            call.cancel()

    def verify(self, address: AnyAddress, *, reference: bool) -> ReplayVerdict:
        """Have a kept replay run again."""
        request = pb.VerifyReplayRequest(replay=name_of(address), reference=reference)
        with translated(self._url):
            return verdict_of(self._stub.VerifyReplay(request, metadata=self._credentials))

    def tick(self, requests: Iterator[pb.TickRequest]) -> TickCall:
        """Open a stream of minds."""
        return self._stub.Tick(requests, metadata=self._credentials)


def _steps(start: pb.ReplayRequest.Start, inline: Mapping[str, AnyArray]) -> Iterator[pb.ReplayRequest]:
    """Yield what asks for a replay; gRPC takes it on a thread of its own, no faster than the service does."""
    yield pb.ReplayRequest(start=start)
    for part in disassemble(inline):
        if isinstance(part, bytes):
            yield pb.ReplayRequest(data=part)
        else:
            yield pb.ReplayRequest(header=part)


class _Parts:
    """What one student did, as its parts arrive."""

    def __init__(self, receipt: Mapping[str, Scalar]) -> None:
        self.receipt = receipt
        self.outputs = Assembler()
        self.saved: Artifact | None = None

    def result(self) -> ReplayResult:
        return ReplayResult(outputs=self.outputs.finish(), receipt=self.receipt, saved=self.saved)


def _result(responses: Iterable[pb.ReplayResponse]) -> GroupResult:
    """Put replays together from their parts; a receipt begins each."""
    form = reason = ""
    held: list[_Parts] = []
    for response in responses:
        match response.WhichOneof("part"):
            case "group":
                form, reason = response.group.form, response.group.reason
            case "receipt":
                held.append(_Parts(scalars_of(response.receipt.entries)))
            case "header" if held:
                held[-1].outputs.begin(response.header)
            case "data" if held:
                held[-1].outputs.fill(response.data)
            case "saved" if held:
                held[-1].saved = artifact_of(response.saved)
            case _:
                raise EngramError("the service sent a part of a replay that this client does not know: upgrade it")
    return GroupResult(form=form, reason=reason, results=tuple(parts.result() for parts in held))
