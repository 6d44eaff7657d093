"""What requests for each student cost, counted while they are answered, as clients of the protocol watch it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from engram.inference import open_inference_pb2 as pb


@dataclass(frozen=True, slots=True)
class Cost:
    """What one request cost, each part in nanoseconds."""

    total_ns: int
    queue_ns: int
    """Waiting for memory and for the request before in the sequence."""
    input_ns: int
    """Reading and checking tensors."""
    infer_ns: int
    output_ns: int
    """Writing tensors."""


@dataclass(slots=True)
class _Duration:
    count: int = 0
    ns: int = 0

    def add(self, ns: int) -> None:
        self.count += 1
        self.ns += ns

    def write(self, message: pb.StatisticDuration) -> None:
        message.count, message.ns = self.count, self.ns


@dataclass(slots=True)
class _Parts:
    """Three durations that are kept for all batch sizes together and for each."""

    compute_input: _Duration = field(default_factory=_Duration)
    compute_infer: _Duration = field(default_factory=_Duration)
    compute_output: _Duration = field(default_factory=_Duration)

    def add(self, cost: Cost) -> None:
        self.compute_input.add(cost.input_ns)
        self.compute_infer.add(cost.infer_ns)
        self.compute_output.add(cost.output_ns)

    def write(self, message: pb.InferStatistics | pb.InferBatchStatistics) -> None:
        self.compute_input.write(message.compute_input)
        self.compute_infer.write(message.compute_infer)
        self.compute_output.write(message.compute_output)


@dataclass(slots=True)
class _Counters:
    last_ms: int = 0
    minds: int = 0
    success: _Duration = field(default_factory=_Duration)
    fail: _Duration = field(default_factory=_Duration)
    queue: _Duration = field(default_factory=_Duration)
    parts: _Parts = field(default_factory=_Parts)
    batches: dict[int, _Parts] = field(default_factory=dict)

    def write(self, message: pb.ModelStatistics) -> None:
        message.last_inference = self.last_ms
        message.inference_count = self.minds
        message.execution_count = self.success.count
        self.success.write(message.inference_stats.success)
        self.fail.write(message.inference_stats.fail)
        self.queue.write(message.inference_stats.queue)
        self.parts.write(message.inference_stats)
        for size, parts in sorted(self.batches.items()):
            parts.write(message.batch_stats.add(batch_size=size))


class Statistics:
    """The counters of all students since the service began, by the student's name and version. Used from one event loop."""

    def __init__(self) -> None:
        self._students: dict[tuple[str, str], _Counters] = {}

    def succeeded(self, name: str, version: str, cost: Cost, *, minds: int, now_ms: int) -> None:
        """Count a request that ran `minds` minds once."""
        counters = self._of(name, version, now_ms=now_ms)
        counters.minds += minds
        counters.success.add(cost.total_ns)
        counters.queue.add(cost.queue_ns)
        counters.parts.add(cost)
        counters.batches.setdefault(minds, _Parts()).add(cost)

    def failed(self, name: str, version: str, *, total_ns: int, now_ms: int) -> None:
        """Count a request that came to nothing."""
        self._of(name, version, now_ms=now_ms).fail.add(total_ns)

    def one(self, name: str, version: str, *, shown_as: str) -> pb.ModelStatistics:
        """Return what a student did, zeros if nothing, under the name by which the client knows it."""
        message = pb.ModelStatistics(name=shown_as, version=version)
        self._students.get((name, version), _Counters()).write(message)
        return message

    def all(self) -> Iterator[pb.ModelStatistics]:
        """Yield what students did, by name and version."""
        for name, version in sorted(self._students):
            yield self.one(name, version, shown_as=name)

    def _of(self, name: str, version: str, *, now_ms: int) -> _Counters:
        counters = self._students.setdefault((name, version), _Counters())
        counters.last_ms = now_ms
        return counters
