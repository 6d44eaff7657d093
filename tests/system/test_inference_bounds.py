"""Memory of a service whose clients send whole tensors: bounded while they are at work, and given back afterwards."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import numpy as np
from engram_testing import students
from engram_testing.programs import User
from engram_testing.services import eventually

from engram.inference import open_inference_pb2 as pb
from engram.inference.open_inference_pb2_grpc import GRPCInferenceServiceStub

_CHANNEL = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]


def test_large_messages_at_once_are_answered_within_bounds_and_leave_nothing(tmp_path):
    user = User(tmp_path, str(tmp_path / "archive"))
    user.runs("init")
    user.runs("vault", "create", "vault")
    (tmp_path / "rated.onnx").write_bytes(students.rated())
    user.runs("deposit", tmp_path / "rated.onnx", "--to", "vault/memory")
    x = np.ones((1, 15 << 20), np.float32)
    asked = pb.ModelInferRequest(model_name="vault/memory:rated.onnx")
    asked.inputs.add(name="x", datatype="FP32", shape=x.shape)
    asked.inputs.add(name="rate", datatype="INT64")
    asked.raw_input_contents.extend([x.tobytes(), np.int64(2).tobytes()])
    with user.service() as service:
        status = Path(f"/proc/{service.process.pid}/status")

        def mib(line: str) -> int:
            found = next(one for one in status.read_text().splitlines() if one.startswith(line))
            return int(found.split()[1]) // 1024

        with grpc.insecure_channel(service.url.removeprefix("grpc://"), options=_CHANNEL) as channel:
            stub = GRPCInferenceServiceStub(channel)

            def doubled(_: int) -> bool:
                raw = stub.ModelInfer(asked, timeout=200).raw_output_contents[0]
                return bool((np.frombuffer(raw, np.float32) == 2).all())

            with ThreadPoolExecutor(8) as clients:
                assert all(clients.map(doubled, range(8)))
            assert mib("VmHWM:") < 3000
            assert eventually(lambda: mib("VmRSS:") < 300, within_s=30)
