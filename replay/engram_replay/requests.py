"""What each request to a student's process does, but for ticks, which sessions share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from io import BytesIO
from typing import Final

from engram_format.catalog import AnyArray, Scalar
from engram_format.encoding import Encodable, Fields, Value
from engram_format.errors import InvalidInput, NotFound
from engram_replay.arrays import check_finite
from engram_replay.execution import Execution, Form
from engram_replay.gate import GateLimits, check_network
from engram_replay.invariance import measure
from engram_replay.loader import load_student
from engram_replay.minds import Ensemble, Rows
from engram_replay.profile import profile
from engram_replay.receipt import receipt
from engram_replay.runtime_calls import Calls
from engram_replay.stepper import run as run_whole
from engram_replay.wire import Frame, Op, scalars, under, unpack_arrays

TRIAL_S: Final = 2.0
"""How long a student is tried when it is loaded."""


class Requests:
    """A student, once it is loaded, and its sessions."""

    def __init__(self) -> None:
        self._ensemble: Ensemble | None = None
        self._execution = Execution()
        self._gate = GateLimits()
        self._network = b""
        """The network's bytes, where they are needed again."""
        self._arriving: dict[int, BytesIO] = {}
        """Networks that arrive in parts, each held once: what a `BytesIO` has grown to is handed out without a copy."""
        self._sessions: dict[int, Rows] = {}

    @property
    def loaded(self) -> Ensemble:
        """The student; raises `InvalidInput` before there is one."""
        if self._ensemble is None:
            raise InvalidInput("no student is loaded: load one first")
        return self._ensemble

    def session(self, number: int) -> Rows:
        """Return a session; raises `NotFound`."""
        rows = self._sessions.get(number)
        if rows is None:
            raise NotFound(f"there is no session {number} of these minds: open a new one")
        return rows

    def answer(self, frame: Frame) -> tuple[Mapping[int, Encodable], Mapping[str, AnyArray]]:
        """Do what a request asks for; return the head and the arrays of its answer, or raise what keeps it from being done."""
        fields, arrays, rest = unpack_arrays(frame.body, what="a request", known=range(8))
        match frame.op:
            case Op.PART:
                self._arriving.setdefault(fields.integer(1), BytesIO()).write(rest)
                return {}, {}
            case Op.LOAD:
                self._gate = GateLimits(allow_loops=fields.flag(3))
                return self._load(self._arrived(), fields.mapping(1), fields.mapping(2)), {}
            case Op.OPEN:
                self._sessions[fields.integer(1)] = self.loaded.rows(
                    minds=fields.integer(2),
                    constants=scalars(fields.mapping(3)),
                    initial_state=arrays,
                    sample=_seed(fields, 4),
                    step=fields.integer(5),
                )
                return {}, {}
            case Op.STATE:
                return {}, self.loaded.state_of(self.session(fields.integer(1)))
            case Op.FORK:
                rows = [row for row in fields.array(3) if isinstance(row, int)]
                self._sessions[fields.integer(2)] = self.loaded.fork(
                    self.session(fields.integer(1)), rows, sample=_seed(fields, 4)
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
                execution = Execution.from_fields(scalars(fields.mapping(3)))
                told = [_scalars_of(one) for one in fields.array(4)]
                networks = [self._arrived(number) for number in range(len(told))]
                gate = GateLimits(allow_loops=fields.flag(5))
                return _group(networks, told, arrays, execution=execution, limit_s=fields.number(1), gate=gate)
            case Op.REFERENCE:
                return {}, self._reference(
                    self._arrived(),
                    arrays,
                    limit_s=fields.number(1),
                    sample=_seed(fields, 2),
                    first_mind=fields.integer(3),
                )
            case _:
                raise InvalidInput(f"there is no request {frame.op}: another version's process was asked")

    def _arrived(self, number: int = 0) -> bytes:
        """Take a network that has arrived; nothing where no part of it did."""
        return self._arriving.pop(number, BytesIO()).getvalue()

    def _load(self, data: bytes, told: Mapping[str, Value], execution: Mapping[str, Value]) -> Mapping[int, Encodable]:
        self._execution = Execution.from_fields(scalars(execution))
        student = load_student(data, told=scalars(told), execution=self._execution, limits=self._gate)
        ensemble = Ensemble(student, Calls(student))
        with ensemble.calls.within(TRIAL_S):
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
        ensemble = self.loaded
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

        ensemble = self.loaded
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
        ensemble = self.loaded
        if not allow_nan:
            for name, array in feed.items():
                check_finite(name, array)
        names = [output.name for output in ensemble.student.session.get_outputs()]
        with ensemble.calls.within(limit_s):
            return dict(zip(names, ensemble.calls.run(names, dict(feed), step=0), strict=True))


def _group(
    networks: Sequence[bytes],
    told: Sequence[Mapping[str, Scalar]],
    arrays: Mapping[str, AnyArray],
    *,
    execution: Execution,
    limit_s: float,
    gate: GateLimits,
) -> tuple[Mapping[int, Encodable], Mapping[str, AnyArray]]:
    """Run several students; arrays under `s:` are the stimulus."""
    from engram_replay.group import run_group  # only a group needs it

    done = run_group(networks, told, under("s:", arrays), execution=execution, limit_s=limit_s, gate=gate)
    pairs = list(zip(done.students, done.replays, strict=True))
    receipts: list[Encodable] = [dict(receipt(student, replay, done.execution)) for student, replay in pairs]
    outputs = {
        f"o:{index}:{name}": array for index, (_, replay) in enumerate(pairs) for name, array in replay.outputs.items()
    }
    stimulus = {f"s:{name}": array for name, array in done.replays[0].stimulus.items()}
    return {1: receipts, 2: done.execution.form.value, 3: done.reason}, {**outputs, **stimulus}


def _seed(fields: Fields, key: int) -> int | None:
    """Return the seed of noise, if one is told."""
    return fields.integer(key) if fields.has(key) else None


def _scalars_of(value: Value) -> dict[str, Scalar]:
    """Return the metadata that a value is, none if it is no map."""
    return scalars({str(name): one for name, one in value.items()}) if isinstance(value, dict) else {}
