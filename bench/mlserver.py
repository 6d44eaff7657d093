"""MLServer 1.7, serving a recurrent student with a runtime written for it.

    python bench/mlserver.py [--folder DIR] [--seconds 3] [--minds 1]

starts it and prints what `oip_client.py` measures. MLServer knows no sequences: requests are unary, and the runtime below keeps
the states itself, by the `sequence_id` of the request. It runs in the process of the server, which for so small a step is faster
than MLServer's workers.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import replay_models
from peers import ONNXRUNTIME, Peer, add_peer_options, environment, folder_of, free_ports, print_measured, running

PACKAGE = "mlserver==1.7.1"

_RUNTIME = """
from pathlib import Path

import numpy as np
import onnxruntime
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceResponse


class Student(MLModel):
    async def load(self):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        network = Path(__file__).with_name("student.onnx").read_bytes()
        self.session = onnxruntime.InferenceSession(network, options, providers=["CPUExecutionProvider"])
        (self.units,) = (one.shape[-1] for one in self.session.get_inputs() if one.name == "h0")
        self.states = {}
        return True

    async def predict(self, payload):
        (x,) = payload.inputs
        rows = NumpyCodec.decode_input(x)
        told = payload.parameters.model_dump() if payload.parameters else {}
        name = told.get("sequence_id")
        state = None if told.get("sequence_start") else self.states.get(name)
        if state is None:
            state = np.zeros((1, len(rows), self.units), np.float32)
        y, h1 = self.session.run(["y", "h1"], {"x": rows[None], "h0": state})
        if name is not None:
            self.states[name] = h1
            if told.get("sequence_end"):
                del self.states[name]
        return InferenceResponse(
            id=payload.id, model_name=self.name, outputs=[NumpyCodec.encode_output("y", y[0])]
        )
"""


@contextlib.contextmanager
def running_mlserver(folder: Path, student: Path) -> Iterator[Peer]:
    """Serve a student with `x` (time, minds, channels) and `h0` (1, minds, units) as the model `student`.

    The model takes `x` and returns `y`, (minds, channels) both. `folder` keeps the environment for the next time.
    """
    python = environment(folder, "mlserver", [PACKAGE, ONNXRUNTIME])
    with tempfile.TemporaryDirectory(prefix="mlserver-") as name:
        work = Path(name)
        shutil.copy(student, work / "student.onnx")
        (work / "runtime.py").write_text(_RUNTIME)
        http_port, grpc_port, metrics_port = free_ports(3)
        (work / "settings.json").write_text(
            json.dumps(
                {
                    "debug": False,
                    "host": "127.0.0.1",
                    "http_port": http_port,
                    "grpc_port": grpc_port,
                    "metrics_endpoint": None,
                    "metrics_port": metrics_port,
                    "parallel_workers": 0,
                }
            )
        )
        axes = [-1, replay_models.CHANNELS]
        (work / "model-settings.json").write_text(
            json.dumps(
                {
                    "name": "student",
                    "implementation": "runtime.Student",
                    "inputs": [{"name": "x", "datatype": "FP32", "shape": axes}],
                    "outputs": [{"name": "y", "datatype": "FP32", "shape": axes}],
                }
            )
        )
        command: list[str | Path] = [python.with_name("mlserver"), "start", work]
        ready = f"http://127.0.0.1:{http_port}/v2/models/student/ready"
        with running(command, name="mlserver", folder=work, ready=ready, settings={}):
            yield Peer("MLServer 1.7.1", f"127.0.0.1:{grpc_port}", "student")


def main() -> None:
    """Print what its clients see."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_peer_options(parser)
    options = parser.parse_args()
    with folder_of(options) as folder:
        student = replay_models.write_students(folder)[options.student]
        with running_mlserver(folder, student) as peer:
            print_measured(folder, peer, options, modes=["unary"])


if __name__ == "__main__":
    main()
