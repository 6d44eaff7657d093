"""A student's own process: loads one network, answers its parent until the socket ends.

Everything that parses or runs what a stranger made happens here: whatever goes wrong, the parent goes on. The process has
bounded memory, no network, no files to write and an empty folder (`nursery_child`).
"""

from __future__ import annotations

import socket
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Final

import numpy as np
import onnx
import onnx.helper
import onnx.numpy_helper

from engram_format.catalog import AnyArray, Scalar
from engram_format.encoding import Encodable, Fields, Value, encode
from engram_format.errors import EngramError, Exhausted, FormatError, InvalidInput, NotFound
from engram_replay.arrays import check_finite
from engram_replay.execution import Execution, Form
from engram_replay.gate import GateLimits, check_network
from engram_replay.invariance import measure
from engram_replay.loader import load_student
from engram_replay.minds import Ensemble, Rows
from engram_replay.profile import profile
from engram_replay.receipt import receipt
from engram_replay.refusal import error_fields
from engram_replay.runtime_calls import Calls
from engram_replay.stepper import run as run_whole
from engram_replay.wire import (
    Frame,
    Frames,
    Op,
    Tick,
    pack_arrays,
    pack_frame,
    pack_shapes,
    raw,
    scalars,
    under,
    unpack_arrays,
    unpack_plain,
    unpack_tick,
)

_READ_BYTES: Final = 1 << 20
_MAX_ROWS: Final = 1024
"""Minds that share one call."""
_CHANNELS: Final = 64
_UNITS: Final = 256


def run(connection: socket.socket) -> None:
    """Answer until the other side hangs up."""
    np.seterr(all="ignore")  # what overflows shows in the answer; nobody reads warnings here
    _warm_up()
    Runner(connection).serve()


def _warm_up() -> None:
    """Go once through what loading a student takes, so that the first student finds all of it in memory."""
    ensemble = Ensemble(student := load_student(plain_network()), Calls(student))
    with ensemble.calls.within(_TRIAL_S):
        measure(ensemble)
    ensemble.calls.close()


@cache
def plain_network() -> bytes:
    """Return a recurrent network of the usual kind and size, all its weights zero."""
    shapes = {"w": (1, 3 * _UNITS, _CHANNELS), "r": (1, 3 * _UNITS, _UNITS), "o": (_UNITS, _CHANNELS)}
    weights = [onnx.numpy_helper.from_array(np.zeros(shape, np.float32), name) for name, shape in shapes.items()]
    axes: dict[str, list[str | int]] = {
        "x": ["time", "batch", _CHANNELS],
        "h0": [1, "batch", _UNITS],
        "h1": [1, "batch", _UNITS],
    }
    axes["y"] = ["time", 1, "batch", _CHANNELS]
    tensors = {
        name: onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, axes_of)
        for name, axes_of in axes.items()
    }
    nodes = [
        onnx.helper.make_node("GRU", ["x", "w", "r", "", "", "h0"], ["all", "h1"], hidden_size=_UNITS),
        onnx.helper.make_node("MatMul", ["all", "o"], ["y"]),
    ]
    graph = onnx.helper.make_graph(
        nodes, "plain", [tensors["x"], tensors["h0"]], [tensors["y"], tensors["h1"]], initializer=weights
    )
    opsets = [onnx.helper.make_opsetid("", 17)]
    return onnx.helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString()


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
    """The process's only object: a student, its sessions, and the requests that wait."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._frames = Frames()
        self._waiting: deque[Frame] = deque()
        self._ensemble: Ensemble | None = None
        self._execution = Execution()
        self._gate = GateLimits()
        self._network = b""
        """The network's bytes, where they are needed again."""
        self._sessions: dict[int, Rows] = {}

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
            head, arrays = self._done(frame)
            self._send(frame.number, Op.DONE, pack_arrays(head, arrays))
        except (EngramError, MemoryError) as error:
            self._fail(frame.number, error)

    def _done(self, frame: Frame) -> tuple[Mapping[int, Encodable], Mapping[str, AnyArray]]:
        fields, arrays, rest = unpack_arrays(frame.body, what="a request", known=range(8))
        match frame.op:
            case Op.LOAD:
                self._gate = GateLimits(allow_loops=fields.flag(3))
                return self._load(bytes(rest), fields.mapping(1), fields.mapping(2)), {}
            case Op.OPEN:
                self._sessions[fields.integer(1)] = self._loaded.rows(
                    minds=fields.integer(2),
                    constants=scalars(fields.mapping(3)),
                    initial_state=arrays,
                    sample=_seed(fields, 4),
                    step=fields.integer(5),
                )
                return {}, {}
            case Op.STATE:
                return {}, self._loaded.state_of(self._session(fields.integer(1)))
            case Op.FORK:
                rows = [row for row in fields.array(3) if isinstance(row, int)]
                self._sessions[fields.integer(2)] = self._loaded.fork(
                    self._session(fields.integer(1)), rows, sample=_seed(fields, 4)
                )
                return {}, {}
            case Op.CLOSE:
                self._sessions.pop(fields.integer(1), None)
                return {}, {}
            case Op.INFER:
                return {}, self._infer(arrays, limit_s=fields.number(1), allow_nan=fields.flag(2))
            case Op.REPLAY:
                return self._replay(arrays, limit_s=fields.number(1), sample=_seed(fields, 2))
            case Op.GROUP:
                sizes = [size for size in fields.array(2) if isinstance(size, int)]
                execution = Execution.from_fields(scalars(fields.mapping(3)))
                told = [_scalars_of(one) for one in fields.array(4)]
                gate = GateLimits(allow_loops=fields.flag(5))
                return _group(rest, sizes, told, arrays, execution=execution, limit_s=fields.number(1), gate=gate)
            case Op.REFERENCE:
                return {}, self._reference(
                    bytes(rest),
                    arrays,
                    limit_s=fields.number(1),
                    sample=_seed(fields, 2),
                    first_mind=fields.integer(3),
                )
            case _:
                raise InvalidInput(f"there is no request {frame.op}: another version's process was asked")

    @property
    def _loaded(self) -> Ensemble:
        if self._ensemble is None:
            raise InvalidInput("no student is loaded: load one first")
        return self._ensemble

    def _session(self, number: int) -> Rows:
        rows = self._sessions.get(number)
        if rows is None:
            raise NotFound(f"there is no session {number} of these minds: open a new one")
        return rows

    def _load(self, data: bytes, told: Mapping[str, Value], execution: Mapping[str, Value]) -> Mapping[int, Encodable]:
        self._execution = Execution.from_fields(scalars(execution))
        student = load_student(data, told=scalars(told), execution=self._execution, limits=self._gate)
        ensemble = Ensemble(student, Calls(student))
        with ensemble.calls.within(_TRIAL_S):
            measured = measure(ensemble)
        ensemble.joins_minds, ensemble.joins_steps = measured.minds, measured.steps
        self._ensemble = ensemble
        self._network = data if self._execution.form is not Form.SOLO else b""
        return {
            1: dict(student.contract.to_metadata()),
            2: dict(profile(self._execution)),
            3: measured.minds,
            4: measured.steps,
        }

    def _replay(
        self, arrays: Mapping[str, AnyArray], *, limit_s: float, sample: int | None
    ) -> tuple[Mapping[int, Encodable], Mapping[str, AnyArray]]:
        """Run a whole replay: arrays under `s:` are the stimulus, under `i:` the initial state."""
        ensemble = self._loaded
        if self._execution.form is Form.SOLO:
            with ensemble.calls.within(limit_s):
                done = run_whole(
                    ensemble.student,
                    under("s:", arrays),
                    calls=ensemble.calls,
                    initial_state=under("i:", arrays),
                    join_steps=ensemble.joins_steps,
                    sample=sample,
                )
        else:
            from engram_replay.group import run_again  # only a group's replay needs it

            done = run_again(
                self._network,
                ensemble.student,
                under("s:", arrays),
                execution=self._execution,
                limit_s=limit_s,
                gate=self._gate,
            )
        named = {
            **{f"o:{name}": array for name, array in done.outputs.items()},
            **{f"f:{name}": array for name, array in done.final_state.items()},
            **{f"s:{name}": array for name, array in done.stimulus.items()},
        }
        return {1: dict(receipt(ensemble.student, done, self._execution))}, named

    def _reference(
        self,
        data: bytes,
        arrays: Mapping[str, AnyArray],
        *,
        limit_s: float,
        sample: int | None,
        first_mind: int,
    ) -> Mapping[str, AnyArray]:
        """Run a whole replay by the reference evaluator; `data` are the network's bytes again."""
        from engram_replay.reference import ReferenceCalls  # loads every operator of the standard

        ensemble = self._loaded
        calls = ReferenceCalls(
            ensemble.student, check_network(data, what=str(ensemble.student), limits=self._gate), limit_s=limit_s
        )
        return run_whole(
            ensemble.student,
            under("s:", arrays),
            calls=calls,
            initial_state=under("i:", arrays),
            join_steps=ensemble.joins_steps,
            sample=sample,
            first_mind=first_mind,
        ).outputs

    def _infer(self, feed: Mapping[str, AnyArray], *, limit_s: float, allow_nan: bool) -> Mapping[str, AnyArray]:
        ensemble = self._loaded
        if not allow_nan:
            for name, array in feed.items():
                check_finite(name, array)
        names = [output.name for output in ensemble.student.session.get_outputs()]
        with ensemble.calls.within(limit_s):
            return dict(zip(names, ensemble.calls.run(names, dict(feed), step=0), strict=True))

    def _tick(self, first: Frame) -> None:
        """Answer a tick, together with those of other sessions that wait and may share its call."""
        asked = self._read(first)
        if asked is None:
            return
        self._advance([asked, *self._company_of(asked)] if self._loaded.joins_minds and self._waiting else [asked])

    def _advance(self, together: Sequence[_Asked]) -> None:
        """Answer ticks of different sessions that may share a call."""
        steps = together[0].tick.steps
        try:
            with self._loaded.calls.within(min(one.tick.limit_s for one in together)):
                answers = self._loaded.tick([(one.rows, one.stimuli) for one in together], steps=steps)
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
            rows = self._session(tick.session)
            ports = self._loaded.driven if rows.noise is None else self._loaded.stimuli
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


def _group(
    rest: memoryview,
    sizes: Sequence[int],
    told: Sequence[Mapping[str, Scalar]],
    arrays: Mapping[str, AnyArray],
    *,
    execution: Execution,
    limit_s: float,
    gate: GateLimits,
) -> tuple[Mapping[int, Encodable], Mapping[str, AnyArray]]:
    """Run several students whose networks follow one another in `rest`; arrays under `s:` are the stimulus."""
    from engram_replay.group import run_group  # only a group needs it

    networks: list[bytes] = []
    at = 0
    for size in sizes:
        networks.append(bytes(rest[at : at + size]))
        at += size
    done = run_group(networks, told, under("s:", arrays), execution=execution, limit_s=limit_s, gate=gate)
    pairs = list(zip(done.students, done.replays, strict=True))
    receipts: list[Encodable] = [dict(receipt(student, replay, done.execution)) for student, replay in pairs]
    outputs = {
        f"o:{index}:{name}": array for index, (_, replay) in enumerate(pairs) for name, array in replay.outputs.items()
    }
    stimulus = {f"s:{name}": array for name, array in done.replays[0].stimulus.items()}
    return {1: receipts, 2: done.execution.form.value, 3: done.reason}, {**outputs, **stimulus}


_TRIAL_S: Final = 2.0
"""How long a student is tried when it is loaded."""


def _seed(fields: Fields, key: int) -> int | None:
    """Return the seed of noise, if one is told."""
    return fields.integer(key) if fields.has(key) else None


def _scalars_of(value: Value) -> dict[str, Scalar]:
    """Return the metadata that a value is, none if it is no map."""
    return scalars({str(name): one for name, one in value.items()}) if isinstance(value, dict) else {}
