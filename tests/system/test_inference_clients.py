"""Clients of the Open Inference Protocol that others wrote, unmodified and in their own environments, against `engram serve`."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from engram_testing import students
from engram_testing.foreign import debian_library, python_with, wheels
from engram_testing.programs import User

from engram.inference import model_config_pb2, open_inference_pb2

CLIENTS = Path(__file__).parent / "clients"
GRU, RESERVOIR, WINDOW = (f"vault/memory:{name}.onnx" for name in ("gru", "reservoir", "window"))
NETWORKS = {"gru": students.gru(), "reservoir": students.reservoir(), "window": students.transformer()}
X = np.random.default_rng(0).standard_normal((6, 2, 64)).astype(np.float32)

pytestmark = pytest.mark.timeout(900)  # the first run installs the clients


@pytest.fixture(name="target", scope="module")
def _target(tmp_path_factory):
    """A service on this machine, of a directory with students that `engram deposit` put there."""
    home = tmp_path_factory.mktemp("home")
    user = User(home, str(home / "archive"))
    user.runs("init")
    user.runs("vault", "create", "vault")
    for name, network in NETWORKS.items():
        (home / f"{name}.onnx").write_bytes(network)
    user.runs("deposit", *(home / f"{name}.onnx" for name in NETWORKS), "--to", "vault/memory")
    with user.service() as service:
        yield service.url.removeprefix("grpc://")


@pytest.fixture(name="expected", scope="module")
def _expected():
    """What the runtime gives for the network, without us."""
    session = onnxruntime.InferenceSession(NETWORKS["gru"], providers=["CPUExecutionProvider"])
    y, h1 = session.run(["y", "h1"], {"x": X, "h0": np.zeros((1, 2, 256), np.float32)})
    return {"y": y, "h1": h1}


def run(python: Path, script: str, *arguments: str | Path) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [str(python), str(CLIENTS / script), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment, check=False)
    assert done.returncode == 0, done.stderr


def triton() -> Path:
    return python_with("tritonclient", "tritonclient[grpc]==2.73.0")


def test_names_and_numbers_are_those_of_the_public_contract(tmp_path):
    run(triton(), "triton_descriptors.py", tmp_path / "told.json")
    theirs = json.loads((tmp_path / "told.json").read_text())
    compared = 0
    for file in (model_config_pb2.DESCRIPTOR, open_inference_pb2.DESCRIPTOR):
        waiting = list(file.message_types_by_name.values())
        while waiting:
            message = waiting.pop()
            waiting.extend(message.nested_types)
            for field in message.fields:
                other = field.message_type or field.enum_type
                one_of = field.containing_oneof and field.containing_oneof.name
                ours = [field.number, other.full_name if other else field.type, one_of]
                assert theirs["messages"][message.full_name][field.name] == ours, field.full_name
                compared += 1
        for enum in file.enum_types_by_name.values():
            assert theirs["enums"][enum.full_name] == {value.name: value.number for value in enum.values}
        for service in file.services_by_name.values():
            for method in service.methods:
                ours = [method.input_type.full_name, method.output_type.full_name]
                ours += [method.client_streaming, method.server_streaming]
                assert theirs["methods"][method.full_name] == ours
    assert compared > 100


def test_the_client_of_triton(target, expected, tmp_path):
    np.save(tmp_path / "x.npy", X)
    run(triton(), "triton_calls.py", target, tmp_path)
    told = json.loads((tmp_path / "told.json").read_text())
    arrays = dict(np.load(tmp_path / "arrays.npz"))
    np.testing.assert_array_equal(arrays.pop("state"), expected["h1"])
    assert len(arrays) == 11
    for name, array in arrays.items():
        np.testing.assert_array_equal(array, expected["y"], err_msg=name)

    assert told["live"] == [True, True]
    assert told["ready"] == {GRU: True, "vault/memory:nothing": False}
    assert told["server"]["name"] == "engram"
    assert "sequence(string_id)" in told["server"]["extensions"]
    assert told["metadata"]["inputs"] == [{"name": "x", "datatype": "FP32", "shape": ["-1", "-1", "64"]}]
    assert told["config"]["config"]["sequence_batching"]["state"][0]["output_name"] == "h1"
    assert {"name": GRU, "version": "1", "state": "READY"} in told["index"]["models"]
    assert told["response"] == ["one", "1"]
    assert told["final"]
    statuses = {case: status for case, (status, _) in told["refused"].items()}
    assert statuses == {
        "unknown": "StatusCode.NOT_FOUND",
        "input": "StatusCode.INVALID_ARGUMENT",
        "shape": "StatusCode.INVALID_ARGUMENT",
        "start": "StatusCode.INVALID_ARGUMENT",
        "files": "StatusCode.INVALID_ARGUMENT",
        "memory": "StatusCode.UNIMPLEMENTED",
        "unloaded": "StatusCode.INVALID_ARGUMENT",
    }
    assert "sequence_start" in told["error in a stream"]
    [counted] = told["statistics"]["model_stats"]
    assert int(counted["inference_stats"]["success"]["count"]) == 29
    assert int(counted["inference_count"]) == 58
    assert int(counted["inference_stats"]["fail"]["count"]) == 4


def test_the_client_of_kserve(target, expected, tmp_path):
    np.save(tmp_path / "x.npy", X)
    run(python_with("kserve", "kserve==0.21.0"), "kserve_calls.py", target, tmp_path)
    told = json.loads((tmp_path / "told.json").read_text())
    assert told == {"live": [True, True], "ready": [True, False], "unknown": "NOT_FOUND"}
    for name, array in np.load(tmp_path / "arrays.npz").items():
        np.testing.assert_array_equal(array, expected["y"], err_msg=name)


def curl(target: str, *arguments: str, status: int = 0) -> subprocess.CompletedProcess[str]:
    """`buf curl`, which learns the contract from the service itself."""
    program = shutil.which("buf", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    assert program is not None
    fixed = ["--protocol", "grpc", "--http2-prior-knowledge"]
    done = subprocess.run(
        [program, "curl", *fixed, *arguments], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode == 0) == (status == 0), done.stderr
    return done


def test_buf_curl_through_reflection(target):
    listed = curl(target, "--list-methods", f"http://{target}").stdout
    assert "inference.GRPCInferenceService/ModelStreamInfer" in listed

    def call(method: str, status: int = 0, **request):
        url = f"http://{target}/inference.GRPCInferenceService/{method}"
        done = curl(target, "-d", json.dumps(request), url, status=status)
        return json.loads(done.stdout if status == 0 else done.stderr)

    assert call("ServerLive") == {"live": True}
    assert call("ModelMetadata", name=RESERVOIR)["inputs"] == [{"name": "x", "datatype": "FP32", "shape": ["-1", "64"]}]
    x = X[0, :1]
    tensor = {"name": "x", "datatype": "FP32", "shape": x.shape, "contents": {"fp32_contents": x.ravel().tolist()}}
    answer = call("ModelInfer", model_name=RESERVOIR, inputs=[tensor])
    session = onnxruntime.InferenceSession(NETWORKS["reservoir"], providers=["CPUExecutionProvider"])
    [y] = session.run(["y"], {"x": x, "h0": np.zeros((1, 512), np.float32)})
    assert np.float32(answer["outputs"][0]["contents"]["fp32Contents"]).tolist() == y[0].tolist()
    assert call("ModelMetadata", status=1, name="nothing")["code"] == "not_found"
    health = json.dumps({"service": "inference.GRPCInferenceService"})
    assert "SERVING" in curl(target, "-d", health, f"http://{target}/grpc.health.v1.Health/Check").stdout


def perf_analyzer(target: str, *options: str) -> str:
    """Triton's load generator, a program in C++; returns what it prints."""
    b64 = debian_library("libb64-0d", "b64")
    unpacked = wheels(
        "perf-analyzer", "tritonclient==2.43.0", "nvidia-cuda-runtime-cu12==12.3.101", tag="manylinux1_x86_64"
    )
    [program] = unpacked.glob("*.data/data/bin/perf_analyzer")
    program.chmod(0o755)
    libraries = [unpacked / "nvidia" / "cuda_runtime" / "lib", *([b64] if b64 else [])]
    environment = {**os.environ, "LD_LIBRARY_PATH": os.pathsep.join(map(str, libraries))}
    # Windows of so many requests, and any of three will do: this measures nothing, it asks whether all is understood. The
    # data are zeros since what it draws by chance are bits, NaN among them.
    windows = (
        "--measurement-mode",
        "count_windows",
        "--measurement-request-count",
        "100",
        "-s",
        "999",
        "-r",
        "3",
        "-z",
    )
    command = [str(program), "-u", target, "-i", "grpc", *windows, *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, env=environment, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Failed" not in done.stdout + done.stderr, done.stdout + done.stderr
    return done.stdout


RUNS = {
    "one at a time": ("-m", WINDOW, "--concurrency-range", "1:1"),
    "in batches": ("-m", WINDOW, "-b", "4", "--concurrency-range", "2:2"),
    "sequences": ("-m", RESERVOIR, "--concurrency-range", "2:2"),
    "sequences of a network with time": ("-m", GRU, "--shape", "x:1,1,64", "--concurrency-range", "2:2"),
    "sequences over a stream": (
        *("-m", GRU, "--shape", "x:1,1,64", "--streaming", "--async"),
        *("--sequence-length", "20", "--concurrency-range", "4:4"),
    ),
}


@pytest.mark.skipif(
    sys.platform != "linux" or os.uname().machine != "x86_64", reason="the program is for Linux on x86-64"
)
@pytest.mark.parametrize("case", RUNS)
def test_the_load_generator_of_triton(target, case):
    printed = perf_analyzer(target, *RUNS[case])
    counts = dict(
        re.findall(r"(Request count|Successful request count|Execution count|Sequence count): (\d+)", printed)
    )
    assert int(counts["Request count"]) >= 100
    # The service's own counters tell of the same requests.
    assert int(counts["Successful request count"]) == int(counts["Execution count"]) >= 100
    assert ("Sequence count" in counts) == ("sequences" in case)
    assert "compute infer" in printed
