"""Triton 2.51 on the processor, serving a recurrent student as a stateful sequence model.

    python bench/triton_peer.py [--folder DIR] [--seconds 3] [--minds 1]

starts it and prints what `oip_client.py` measures. The server is the binary inside the wheel of nvidia-pytriton, which has the
Python backend only: the model below runs the student with onnxruntime, all requests that Triton hands over in one call. Triton
keeps the sequences apart (one row each, as it demands), the model their states.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import replay_models
from peers import (
    ONNXRUNTIME,
    Peer,
    add_peer_options,
    environment,
    folder_of,
    free_ports,
    packages_of,
    print_measured,
    python_library,
    running,
)

PACKAGE = "nvidia-pytriton==0.7.0"
NUMPY = "numpy<2"
"""The backend's process was built for the first NumPy; with the second it answers with empty arrays."""

_MODEL = """
import json
from pathlib import Path

import numpy as np
import onnxruntime
import triton_python_backend_utils as backend


class TritonPythonModel:
    def initialize(self, args):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        network = Path(args["model_repository"], args["model_version"], "student.onnx").read_bytes()
        self.session = onnxruntime.InferenceSession(network, options, providers=["CPUExecutionProvider"])
        (self.units,) = (one.shape[-1] for one in self.session.get_inputs() if one.name == "h0")
        self.states = {}

    def execute(self, requests):
        def of(request, name):
            return backend.get_input_tensor_by_name(request, name).as_numpy()

        names = [int(of(request, "CORRID").ravel()[0]) for request in requests]
        zeros = np.zeros(self.units, np.float32)
        before = [
            zeros if of(request, "START").ravel()[0] else self.states.get(name, zeros)
            for request, name in zip(requests, names)
        ]
        x = np.concatenate([of(request, "x") for request in requests])
        y, h1 = self.session.run(["y", "h1"], {"x": x[None], "h0": np.stack(before)[None]})
        answers = []
        for row, (request, name) in enumerate(zip(requests, names)):
            self.states[name] = h1[0, row]
            if of(request, "END").ravel()[0]:
                del self.states[name]
            answers.append(backend.InferenceResponse([backend.Tensor("y", y[0, row : row + 1])]))
        return answers
"""

_CONFIG = """
backend: "python"
max_batch_size: 256
input {{ name: "x" data_type: TYPE_FP32 dims: [ {channels} ] }}
output {{ name: "y" data_type: TYPE_FP32 dims: [ {channels} ] }}
instance_group {{ kind: KIND_CPU count: 1 }}
sequence_batching {{
  max_sequence_idle_microseconds: 60000000
  {strategy}
  control_input {{ name: "START" control {{ kind: CONTROL_SEQUENCE_START fp32_false_true: [ 0, 1 ] }} }}
  control_input {{ name: "END" control {{ kind: CONTROL_SEQUENCE_END fp32_false_true: [ 0, 1 ] }} }}
  control_input {{ name: "CORRID" control {{ kind: CONTROL_SEQUENCE_CORRID data_type: TYPE_UINT64 }} }}
}}
"""

STRATEGIES = {"direct": "direct { }", "oldest": "oldest { max_candidate_sequences: 256 }"}
"""How Triton gathers requests of several sequences; by `oldest` this version ends by a fault within seconds at 64 streams."""


@contextlib.contextmanager
def running_triton(folder: Path, student: Path, *, strategy: str = "direct") -> Iterator[Peer]:
    """Serve a student with `x` (time, minds, channels) and `h0` (1, minds, units) as the model `student`.

    The model takes `x` and returns `y`, (1, channels) both. `folder` keeps the environment for the next time.
    """
    python = environment(folder, "triton", [NUMPY, ONNXRUNTIME], alone=[PACKAGE])
    server = packages_of(python) / "pytriton" / "tritonserver"
    # The backend looks for the process that embeds Python beside itself, and the wheel has one for each Python.
    stubs = server / "python_backend_stubs" / f"{sys.version_info.major}.{sys.version_info.minor}"
    stub = server / "backends" / "python" / "triton_python_backend_stub"
    if not stub.exists():
        shutil.copy(stubs / stub.name, stub)
    with tempfile.TemporaryDirectory(prefix="triton-") as name:
        work = Path(name)
        version = work / "models" / "student" / "1"
        version.mkdir(parents=True)
        shutil.copy(student, version / "student.onnx")
        (version / "model.py").write_text(_MODEL)
        config = _CONFIG.format(channels=replay_models.CHANNELS, strategy=STRATEGIES[strategy])
        (version.parent / "config.pbtxt").write_text(config)
        http_port, grpc_port = free_ports(2)
        command: list[str | Path] = [
            server / "bin" / "tritonserver",
            f"--model-repository={work / 'models'}",
            f"--backend-directory={server / 'backends'}",
            "--http-address=127.0.0.1",
            f"--http-port={http_port}",
            "--grpc-address=127.0.0.1",
            f"--grpc-port={grpc_port}",
            "--allow-metrics=false",
            "--exit-timeout-secs=5",
            f"--backend-config=python,shm-region-prefix-name=engram-bench-{grpc_port}-",
        ]
        # The backend embeds Python, which takes its packages from beside the first `python3` on the path, and from nowhere else.
        settings = {
            "LD_LIBRARY_PATH": str(python_library()),
            "PATH": f"{python.parent}{os.pathsep}{os.environ['PATH']}",
        }
        ready = f"http://127.0.0.1:{http_port}/v2/models/student/ready"
        with running(command, name="triton", folder=work, ready=ready, settings=settings):
            yield Peer(f"Triton 2.51 ({strategy})", f"127.0.0.1:{grpc_port}", "student")


def main() -> None:
    """Print what its clients see."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_peer_options(parser)
    parser.add_argument("--strategy", choices=STRATEGIES, default="direct")
    options = parser.parse_args()
    with folder_of(options) as folder:
        student = replay_models.write_students(folder)[options.student]
        with running_triton(folder, student, strategy=options.strategy) as peer:
            print_measured(folder, peer, options, modes=["unary", "stream"])


if __name__ == "__main__":
    main()
