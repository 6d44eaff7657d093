"""Running students for requests of the Open Inference Protocol: alone, or as the next step of a sequence."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from engram.inference import open_inference_pb2 as pb
from engram_format.catalog import AnyArray
from engram_format.errors import EngramError, InvalidInput, NotFound, Unavailable
from engram_replay.contract import Port
from engram_replay.noise import Noise
from engram_replay.session import MindSession
from engram_server.engine.minds import Minds
from engram_server.rpc.inference_axes import check_symbols, steps_and_minds, zero_state
from engram_server.rpc.inference_models import Model, Models, address_of
from engram_server.rpc.inference_parameters import Asked, parameters_of
from engram_server.rpc.inference_sequences import Begun, Place, SequenceKey, Sequences
from engram_server.rpc.inference_statistics import Cost, Statistics
from engram_server.rpc.inference_values import arrays_of, outputs_asked, response_of
from engram_server.rpc.room import Room
from engram_server.rpc.trim import Trim

_ROOM_BYTES: Final = 128 << 20
"""Bytes of all requests that are being run; more wait. What is made of them on the way to the student and back is several
times as much."""


@dataclass(slots=True)
class _Watch:
    """When the parts of a request were done, in nanoseconds."""

    began: int = field(default_factory=time.perf_counter_ns)
    queued: int = 0
    read: int = 0
    run: int = 0
    model: Model | None = None
    """Whose run it is, once that is known."""
    minds: int = 1

    def cost(self) -> Cost:
        now = time.perf_counter_ns()
        return Cost(
            total_ns=now - self.began,
            queue_ns=self.queued - self.began,
            input_ns=self.read - self.queued,
            infer_ns=self.run - self.read,
            output_ns=now - self.run,
        )


class Runs:
    """Runs the students that `models` finds and counts what that costs. Used from one event loop."""

    def __init__(
        self, minds: Callable[[], Minds], models: Models, sequences: Sequences, statistics: Statistics
    ) -> None:
        self._minds = minds
        self._models = models
        self._sequences = sequences
        self._statistics = statistics
        self._room = Room(_ROOM_BYTES)
        self._trim = Trim()

    async def run(self, request: pb.ModelInferRequest) -> pb.ModelInferResponse:
        """Answer one request; those of one sequence are answered in the order of the calls.

        Raises `NotFound` for a student that is not there, `InvalidInput` for a request that does not fit it, `Exhausted` for
        too many sequences, and what the host of minds raises.
        """
        watch = _Watch()
        size = request.ByteSize()
        try:
            asked = parameters_of(request)
            address = address_of(request.model_name, request.model_version)
            async with self._room.taken(size):
                if asked.sequence is None:
                    response = await self._alone(request, asked, await self._models.find(address), watch)
                else:
                    response = await self._in_sequence(request, asked, SequenceKey(address, asked.sequence), watch)
        except EngramError:
            if watch.model is not None:
                self._statistics.failed(
                    watch.model.name,
                    watch.model.version,
                    total_ns=time.perf_counter_ns() - watch.began,
                    now_ms=_now_ms(),
                )
            raise
        finally:
            self._trim.after(size)
        if watch.model is not None:
            self._statistics.succeeded(
                watch.model.name, watch.model.version, watch.cost(), minds=watch.minds, now_ms=_now_ms()
            )
        return response

    async def _alone(
        self, request: pb.ModelInferRequest, asked: Asked, model: Model, watch: _Watch
    ) -> pb.ModelInferResponse:
        """Call the network once; states that the request does not bring are zeros."""
        watch.model, watch.queued = model, time.perf_counter_ns()
        states = {name: axes.port for name, axes in model.states.items()}
        draws = _draws(asked, model)
        takes = {**(model.given if draws else model.inputs), **states}
        tensors = arrays_of(request, takes=takes, needs=model.needed(draws=draws))
        names = _outputs(request, model)
        steps, watch.minds = steps_and_minds(model.stimuli if draws else model.driven, tensors)
        symbols = check_symbols((*model.contract.driven, *model.contract.states), tensors)
        if asked.noise_seed is not None and draws:
            # On a thread: there may be much of it.
            tensors |= await asyncio.to_thread(_noise, model, seed=asked.noise_seed, steps=steps, minds=watch.minds)
        for name, port in states.items():
            if name not in tensors:
                tensors[name] = zero_state(port, symbols, minds=watch.minds)
        for port in model.contract.constants:
            if port.name not in tensors:
                tensors[port.name] = _full(port)
        watch.read = time.perf_counter_ns()
        given = await self._minds().host.infer(model.source, tensors, allow_nan=asked.allow_nan)
        watch.run = time.perf_counter_ns()
        return response_of(request, {name: given[name] for name in names}, version=model.version)

    async def _in_sequence(
        self, request: pb.ModelInferRequest, asked: Asked, key: SequenceKey, watch: _Watch
    ) -> pb.ModelInferResponse:
        if not asked.start and key not in self._sequences:
            model = await self._models.find(key.student)
            if model.states:
                watch.model = model
                raise self._not_begun(key)
            return await self._alone(request, asked, model, watch)
        async with self._sequences.turn(key) as place:
            if asked.start:
                model = await self._models.find(key.student)
                if not model.states:
                    # Nothing is handed on, so nothing is kept: requests are answered as if each stood alone.
                    return await self._alone(request, asked, model, watch)
                return await self._first(request, asked, model, place, watch)
            if place.begun is None:
                raise self._not_begun(key)
            return await self._next(request, asked, place.begun, place, watch)

    async def _first(
        self, request: pb.ModelInferRequest, asked: Asked, model: Model, place: Place, watch: _Watch
    ) -> pb.ModelInferResponse:
        """Begin a sequence with its first request; if that fails it has not begun, and one that had begun goes on."""
        watch.model, watch.queued = model, time.perf_counter_ns()
        draws = _draws(asked, model)
        tensors = _tensors_in_sequence(request, model, draws=draws)
        constants = {port.name: tensors[port.name].item() for port in model.contract.constants if port.name in tensors}
        _, minds = steps_and_minds(model.stimuli, tensors)
        session = await self._minds().host.open(
            model.source, minds=minds, constants=constants, sample=asked.noise_seed if draws else None
        )
        begun = Begun(model, session, constants)
        try:
            response = await self._tick(request, asked, begun, tensors, watch)
        except BaseException:
            await session.close()
            raise
        await place.end()
        if asked.end:
            await session.close()
        else:
            place.begun = begun
        return response

    async def _next(
        self, request: pb.ModelInferRequest, asked: Asked, begun: Begun, place: Place, watch: _Watch
    ) -> pb.ModelInferResponse:
        """Go on with a sequence; after an error its state is as before, or, where a step may have been taken, it has ended."""
        watch.model, watch.queued = begun.model, time.perf_counter_ns()
        if asked.noise_seed is not None and asked.noise_seed != begun.session.sample:
            raise InvalidInput(
                f"the noise of the sequence is {_told_seed(begun.session.sample)} since it began and cannot become that of seed "
                f"{asked.noise_seed}: begin another sequence"
            )
        tensors = _tensors_in_sequence(request, begun.model, draws=begun.session.sample is not None)
        _check_constants(begun, tensors)
        taken = begun.session.steps
        try:
            response = await self._tick(request, asked, begun, tensors, watch)
        except BaseException as error:
            gone = isinstance(error, NotFound | Unavailable | asyncio.CancelledError)
            if gone or begun.session.steps != taken:
                # A client that asked again would not know which step it asks for.
                await place.end()
            raise
        if asked.end:
            await place.end()
        return response

    async def _tick(
        self,
        request: pb.ModelInferRequest,
        asked: Asked,
        begun: Begun,
        tensors: Mapping[str, AnyArray],
        watch: _Watch,
    ) -> pb.ModelInferResponse:
        model, session = begun.model, begun.session
        names = _outputs(request, model)
        driven = model.driven if session.sample is None else model.stimuli
        _, minds = steps_and_minds(driven, tensors)
        if minds != session.minds:
            raise InvalidInput(
                f"the sequence began with {session.minds} minds and this request has {minds}: "
                "keep the batch, or begin another sequence"
            )
        stimuli = [axes.to_steps(tensors[axes.port.name]) for axes in driven]
        watch.minds, watch.read = minds, time.perf_counter_ns()
        given = await session.tick(stimuli, allow_nan=asked.allow_nan)
        outputs = {
            name: axes.from_steps(array) for (name, axes), array in zip(model.responses.items(), given, strict=True)
        }
        outputs |= await _state_outputs(session, names, model)
        watch.run = time.perf_counter_ns()
        return response_of(request, {name: outputs[name] for name in names}, version=model.version)

    def _not_begun(self, key: SequenceKey) -> InvalidInput:
        return InvalidInput(
            f"sequence {key.sequence!r} of {key.student} has not begun, or ended, or rested for more than "
            f"{self._sequences.idle_s:g} s: set sequence_start on its first request"
        )


def _draws(asked: Asked, model: Model) -> bool:
    """Tell whether the noise of a request is drawn here; raises `InvalidInput` for a seed that nothing is drawn from."""
    if asked.noise_seed is not None and not model.contract.noise:
        raise InvalidInput(f"{model.name} takes no noise: leave noise_seed out")
    return asked.noise_seed is not None


def _noise(model: Model, *, seed: int, steps: int, minds: int) -> Mapping[str, AnyArray]:
    """Return the noise of minds in their first steps, with the network's axes."""
    arrays = Noise(model.contract.noise, seed=seed, minds=minds, step=0).take(steps)
    noise = model.driven[len(model.stimuli) :]
    return {axes.port.name: axes.from_steps(array) for axes, array in zip(noise, arrays, strict=True)}


def _told_seed(sample: int | None) -> str:
    return "what its requests bring" if sample is None else f"that of seed {sample}"


def _tensors_in_sequence(request: pb.ModelInferRequest, model: Model, *, draws: bool) -> dict[str, AnyArray]:
    if kept := [tensor.name for tensor in request.inputs if tensor.name in model.states]:
        raise InvalidInput(
            f"input {kept[0]!r} is the state, which the service keeps in a sequence: leave it out, or leave sequence_id out"
        )
    tensors = arrays_of(request, takes=model.given if draws else model.inputs, needs=model.needed(draws=draws))
    check_symbols(model.contract.driven, tensors)
    return tensors


def _outputs(request: pb.ModelInferRequest, model: Model) -> list[str]:
    return outputs_asked(request, default=model.responses, offered=model.outputs)


def _full(constant: Port) -> AnyArray:
    """Return the value that a constant has unless a request gives another."""
    return np.full(
        [length if isinstance(length, int) else 1 for length in constant.shape], constant.value, constant.dtype
    )


def _check_constants(begun: Begun, tensors: Mapping[str, AnyArray]) -> None:
    for name, value in begun.constants.items():
        if name in tensors and tensors[name].item() != value:
            raise InvalidInput(
                f"{name!r} is {value!r} since the sequence began and cannot become {tensors[name].item()!r}: "
                "begin another sequence"
            )


async def _state_outputs(session: MindSession, names: list[str], model: Model) -> Mapping[str, AnyArray]:
    """Return those of the outputs that are the state after the step."""
    wanted = {name: axes for name, axes in model.states.items() if axes.port.after in names}
    if not wanted:
        return {}
    state = await session.state()
    return {axes.port.after: axes.from_state(state[name]) for name, axes in wanted.items()}


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
