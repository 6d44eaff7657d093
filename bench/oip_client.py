"""Step a model over the Open Inference Protocol and print, as JSON, how long steps take.

    python bench/oip_client.py HOST:PORT --model NAME (--unary | --stream) [--sequence] [--minds 16] [--seconds 3]

Runs in an environment with tritonclient (`peers.stepped_over_oip` makes it), against any server of the protocol. Each mind has a
connection of its own and steps as fast as it is answered, all at once. `--stream` sends the steps through `ModelStreamInfer`,
`--unary` through `ModelInfer`. With `--sequence` each mind is a sequence, with its start and its end. The inputs are the same
normal numbers for each server; `--shape` says of what shape, else every free axis is 1 long.

The client is tritonclient's asynchronous one; `--bare` takes the stubs inside it and messages made beforehand, so that there is
less of the client in the numbers.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import time
from collections.abc import AsyncIterator, Sequence

import grpc
import numpy as np
import tritonclient.grpc.aio as oip
from tritonclient.grpc import service_pb2, service_pb2_grpc

_WARM_S = 0.3
_CHECKED = 8
"""Steps whose responses go into the digest."""
_OPTIONS = [("grpc.max_receive_message_length", -1), ("grpc.use_local_subchannel_pool", 1)]


class Mind:
    """One mind: what it sends, and what came back."""

    def __init__(self, options: argparse.Namespace, *, number: int, shape: Sequence[int]) -> None:
        self.options = options
        self.identity = 1000 + number
        chance = np.random.default_rng(number)
        self.inputs = chance.standard_normal((_CHECKED, *shape)).astype(np.float32)
        self.seconds: list[float] = []
        self.digest = hashlib.sha256()
        self.answered = 0

    def parameters(self, step: int, *, last: bool) -> dict[str, int | bool]:
        """Return what tells the server which sequence a step is of."""
        if not self.options.sequence:
            return {}
        return {"sequence_id": self.identity, "sequence_start": step == 0, "sequence_end": last}

    def took(self, seconds: float, response: bytes, *, counted: bool) -> None:
        """Note an answer."""
        if self.answered < _CHECKED:
            self.digest.update(response)
        self.answered += 1
        if counted:
            self.seconds.append(seconds)


class Clock:
    """When to count and when to end, the same for all minds."""

    def __init__(self, seconds: float) -> None:
        self.begin = time.perf_counter() + _WARM_S
        self.end = self.begin + seconds

    def counts(self, now: float) -> bool:
        """Whether a step that began now is counted."""
        return now >= self.begin


def message(mind: Mind, step: int, *, last: bool) -> service_pb2.ModelInferRequest:
    """Return the request of a step."""
    array = mind.inputs[step % _CHECKED]
    request = service_pb2.ModelInferRequest(model_name=mind.options.model)
    request.inputs.add(name=mind.options.input, datatype="FP32", shape=array.shape)
    request.raw_input_contents.append(array.tobytes())
    for name, value in mind.parameters(step, last=last).items():
        if isinstance(value, bool):
            request.parameters[name].bool_param = value
        else:
            request.parameters[name].int64_param = value
    return request


def answer_of(response: service_pb2.ModelInferResponse, name: str) -> bytes:
    """Return an output's bytes, wherever the server put them."""
    for index, output in enumerate(response.outputs):
        if output.name == name:
            if response.raw_output_contents:
                return response.raw_output_contents[index]
            return np.array(output.contents.fp32_contents, np.float32).tobytes()
    raise SystemExit(f"the server answered without an output {name!r}")


async def step_bare(mind: Mind, clock: Clock) -> None:
    """Step a mind through the stubs."""
    async with grpc.aio.insecure_channel(mind.options.address, options=_OPTIONS) as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        stream = stub.ModelStreamInfer() if mind.options.stream else None
        begun = message(mind, 0, last=False)
        going = [message(mind, step, last=False) for step in range(_CHECKED, 2 * _CHECKED)]
        step, last = 0, False
        while not last:
            now = time.perf_counter()
            last = now >= clock.end
            request = message(mind, step, last=True) if last else going[step % _CHECKED] if step else begun
            start = time.perf_counter()
            if stream is None:
                response = await stub.ModelInfer(request)
            else:
                await stream.write(request)
                streamed = await stream.read()
                if streamed.error_message:
                    raise SystemExit(streamed.error_message)
                response = streamed.infer_response
            content = answer_of(response, mind.options.output)
            mind.took(time.perf_counter() - start, content, counted=clock.counts(now) and not last)
            step += 1
        if stream is not None:
            await stream.done_writing()
            await stream.read()  # the server ends the stream


async def step_whole(mind: Mind, clock: Clock) -> None:
    """Step a mind through tritonclient."""
    options = mind.options

    def request(step: int, *, last: bool) -> dict[str, object]:
        array = mind.inputs[step % _CHECKED]
        given = oip.InferInput(options.input, list(array.shape), "FP32")
        given.set_data_from_numpy(array)
        return {"model_name": options.model, "inputs": [given], **mind.parameters(step, last=last)}

    async with oip.InferenceServerClient(options.address, channel_args=_OPTIONS) as client:
        if options.stream:
            waiting: asyncio.Queue[dict[str, object] | None] = asyncio.Queue()

            async def requests() -> AsyncIterator[dict[str, object]]:
                while (one := await waiting.get()) is not None:
                    yield one

            answers = client.stream_infer(requests()).__aiter__()
        step, last = 0, False
        while not last:
            now = time.perf_counter()
            last = now >= clock.end
            start = time.perf_counter()
            if options.stream:
                waiting.put_nowait(request(step, last=last))
                result, error = await anext(answers)
                if error is not None:
                    raise SystemExit(str(error))
            else:
                result = await client.infer(**request(step, last=last))
            content = result.as_numpy(options.output).tobytes()
            mind.took(time.perf_counter() - start, content, counted=clock.counts(now) and not last)
            step += 1
        if options.stream:
            waiting.put_nowait(None)


async def declared_shape(options: argparse.Namespace) -> list[int]:
    """Return the shape of the input as the server declares it, free axes 1 long."""
    async with oip.InferenceServerClient(options.address) as client:
        metadata = await client.get_model_metadata(options.model)
    for tensor in metadata.inputs:
        if tensor.name == options.input:
            return [max(1, length) for length in tensor.shape]
    raise SystemExit(f"{options.model} has no input {options.input!r}")


async def measure(options: argparse.Namespace) -> dict[str, object]:
    """Step all minds for the time asked for."""
    shape = options.shape or await declared_shape(options)
    minds = [Mind(options, number=number, shape=shape) for number in range(options.minds)]
    clock = Clock(options.seconds)
    step = step_bare if options.bare else step_whole
    await asyncio.gather(*(step(mind, clock) for mind in minds))
    times = np.array([seconds for mind in minds for seconds in mind.seconds])
    if not times.size:
        raise SystemExit(f"no step was answered within {options.seconds} s")
    return {
        "steps": times.size,
        "steps_per_s": times.size / options.seconds,
        **{f"p{percent}_us": float(np.percentile(times, percent) * 1e6) for percent in (50, 90, 99)},
        "shape": list(shape),
        "sha256_of_first_responses": minds[0].digest.hexdigest(),
    }


def main() -> None:
    """Print the measures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("address", help="HOST:PORT")
    parser.add_argument("--model", required=True)
    how = parser.add_mutually_exclusive_group(required=True)
    how.add_argument("--unary", action="store_true")
    how.add_argument("--stream", action="store_true")
    parser.add_argument("--sequence", action="store_true")
    parser.add_argument("--bare", action="store_true")
    parser.add_argument("--input", default="x")
    parser.add_argument("--output", default="y")
    parser.add_argument("--shape", type=lambda text: [int(part) for part in text.split(",")], help="such as 1,16,64")
    parser.add_argument("--minds", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=3.0)
    print(json.dumps(asyncio.run(measure(parser.parse_args()))))


if __name__ == "__main__":
    main()
