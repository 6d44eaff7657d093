"""Calls of KServe's client: TARGET FOLDER, where x.npy (time, mind, channel) lies and answers are written to."""

import asyncio
import json
import sys
from pathlib import Path

import grpc
import numpy as np
from kserve import InferenceGRPCClient, InferInput, InferRequest

GRU = "vault/memory:gru.onnx"

target, folder = sys.argv[1], Path(sys.argv[2])
x = np.load(folder / "x.npy")


def tensor(*, binary_data):
    made = InferInput("x", list(x.shape), "FP32")
    made.set_data_from_numpy(x, binary_data=binary_data)
    return made


async def main():
    client = InferenceGRPCClient(target)
    told = {
        "live": [await client.is_server_live(), await client.is_server_ready()],
        "ready": [await client.is_model_ready(name) for name in (GRU, "vault/memory:nothing")],
    }
    arrays = {}
    for name, binary in (("raw", True), ("contents", False)):
        response = await client.infer(InferRequest(GRU, [tensor(binary_data=binary)]))
        arrays[name] = response.outputs[0].as_numpy()
    try:
        await client.infer(InferRequest("vault/memory:nothing", [tensor(binary_data=True)]))
    except grpc.RpcError as error:
        told["unknown"] = error.code().name
    await client.close()
    np.savez(folder / "arrays.npz", **arrays)
    (folder / "told.json").write_text(json.dumps(told))


asyncio.run(main())
