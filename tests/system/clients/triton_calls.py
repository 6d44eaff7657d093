"""Calls of Triton's own client: TARGET FOLDER, where x.npy (time, mind, channel) lies and answers are written to."""

import asyncio
import json
import queue
import sys
from pathlib import Path

import numpy as np
import tritonclient.grpc as triton
import tritonclient.grpc.aio as triton_aio
from tritonclient.utils import InferenceServerException

GRU = "vault/memory:gru.onnx"

target, folder = sys.argv[1], Path(sys.argv[2])
x = np.load(folder / "x.npy")
told: dict[str, object] = {}
arrays: dict[str, np.ndarray] = {}


def tensor(name, array):
    made = triton.InferInput(name, list(array.shape), "FP32")
    made.set_data_from_numpy(array)
    return made


def wanted(*names):
    return [triton.InferRequestedOutput(name) for name in names]


def refused(call):
    try:
        call()
    except InferenceServerException as error:
        return [error.status(), error.message()]
    return None


def marks(at, sequence):
    return {"sequence_id": sequence, "sequence_start": at == 0, "sequence_end": at == len(x) - 1}


def talk(client):
    told["live"] = [client.is_server_live(), client.is_server_ready()]
    told["ready"] = {name: client.is_model_ready(name) for name in (GRU, "vault/memory:nothing")}
    told["server"] = client.get_server_metadata(as_json=True)
    told["metadata"] = client.get_model_metadata(GRU, as_json=True)
    told["config"] = client.get_model_config(GRU, as_json=True)
    told["index"] = client.get_model_repository_index(as_json=True)
    client.load_model(GRU)

    whole = client.infer(GRU, [tensor("x", x)], outputs=wanted("y", "h1"), request_id="one")
    told["response"] = [whole.get_response().id, whole.get_response().model_version]
    arrays["alone"], arrays["state"] = whole.as_numpy("y"), whole.as_numpy("h1")
    zeros = tensor("h0", np.zeros_like(whole.as_numpy("h1")))
    arrays["state brought"] = client.infer(GRU, [zeros, tensor("x", x)]).as_numpy("y")
    arrays["compressed"] = client.infer(GRU, [tensor("x", x)], compression_algorithm="gzip").as_numpy("y")
    arrays["in a version"] = client.infer(GRU, [tensor("x", x)], model_version="1").as_numpy("y")

    for sequence in (7, "seven"):
        steps = [
            client.infer(GRU, [tensor("x", x[at : at + 1])], **marks(at, sequence)).as_numpy("y")
            for at in range(len(x))
        ]
        arrays[f"sequence {sequence}"] = np.concatenate(steps)

    told["refused"] = {
        "unknown": refused(lambda: client.infer("vault/memory:nothing", [tensor("x", x)])),
        "input": refused(lambda: client.infer(GRU, [tensor("z", x)])),
        "shape": refused(lambda: client.infer(GRU, [tensor("x", x[0])])),
        "start": refused(lambda: client.infer(GRU, [tensor("x", x)], sequence_id=9)),
        "files": refused(lambda: client.load_model(GRU, config="{}", files={"file:1/model.onnx": b"x"})),
        "memory": refused(client.get_system_shared_memory_status),
    }
    stream(client)
    told["statistics"] = client.get_inference_statistics(GRU, as_json=True)
    client.infer(GRU, [tensor("x", x)], sequence_id=11, sequence_start=True)
    client.unload_model(GRU)
    told["refused"]["unloaded"] = refused(lambda: client.infer(GRU, [tensor("x", x)], sequence_id=11))


def stream(client):
    """Two sequences over one stream, and an error between them that leaves it open."""
    answers = queue.Queue()
    client.start_stream(lambda result, error: answers.put((result, error)))
    for at in range(len(x)):
        for sequence in (12, "twelve"):
            client.async_stream_infer(
                GRU, [tensor("x", x[at : at + 1])], request_id=f"{sequence}", **marks(at, sequence)
            )
    results = [answers.get(timeout=60)[0] for _ in range(2 * len(x))]
    for sequence in (12, "twelve"):
        steps = [result.as_numpy("y") for result in results if result.get_response().id == str(sequence)]
        arrays[f"stream {sequence}"] = np.concatenate(steps)
    client.async_stream_infer(GRU, [tensor("x", x)], sequence_id=13)
    told["error in a stream"] = answers.get(timeout=60)[1].message()
    client.async_stream_infer(GRU, [tensor("x", x)], enable_empty_final_response=True)
    last = answers.get(timeout=60)[0]
    arrays["after the error"] = last.as_numpy("y")
    told["final"] = last.get_response().parameters["triton_final_response"].bool_param
    client.stop_stream()


async def asynchronous():
    async with triton_aio.InferenceServerClient(target) as client:

        async def requests():
            for at in range(len(x)):
                yield {"model_name": GRU, "inputs": [tensor("x", x[at : at + 1])], **marks(at, 21)}

        steps = [result.as_numpy("y") async for result, error in client.stream_infer(requests())]
        arrays["asynchronous stream"] = np.concatenate(steps)
        arrays["asynchronous"] = (await client.infer(GRU, [tensor("x", x)])).as_numpy("y")


with triton.InferenceServerClient(target) as client:
    talk(client)
asyncio.run(asynchronous())
np.savez(folder / "arrays.npz", **arrays)
(folder / "told.json").write_text(json.dumps(told))
