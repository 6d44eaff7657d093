"""The Open Inference Protocol over a real service: what is right is answered to the bit, what is wrong by its status."""

from __future__ import annotations

import os
import queue
import signal
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass

import grpc
import numpy as np
import pytest
from engram_testing import students
from engram_testing.archives import Place, deposit
from engram_testing.deposits import put
from engram_testing.services import TOKEN, eventually, token_file

import engram_client
from engram.inference import model_config_pb2 as config_pb
from engram.inference import open_inference_pb2 as pb
from engram.inference.open_inference_pb2_grpc import GRPCInferenceServiceStub
from engram_format.address import Address
from engram_format.catalog import Kind
from engram_replay.contract_file import parse_contract
from engram_replay.sampler import uniform_noise
from engram_server.config import ServeConfig
from engram_server.engine import Archive
from engram_server.rpc.serve import MAX_MESSAGE, serving

Code = grpc.StatusCode

GRU, RESERVOIR, WIDE, TCN, WINDOW, RATED, BROKEN = (
    f"vault/memory:{name}.onnx" for name in ("gru", "reservoir", "wide", "tcn", "window", "rated", "broken")
)


@dataclass
class Served:
    """A service with students, and a client of it."""

    archive: Archive
    port: int
    stub: GRPCInferenceServiceStub

    def infer(self, asked: pb.ModelInferRequest) -> dict[str, np.ndarray]:
        return arrays(self.stub.ModelInfer(asked, timeout=60))

    def refused(self, asked: pb.ModelInferRequest) -> tuple[grpc.StatusCode, str]:
        with pytest.raises(grpc.RpcError) as caught:
            self.stub.ModelInfer(asked, timeout=60)
        return caught.value.code(), caught.value.details()


@contextmanager
def served(config: ServeConfig | None = None):
    place = Place().create()
    networks = {
        "gru.onnx": students.gru(stimuli=4, hidden=8, responses=3),
        "reservoir.onnx": students.reservoir(stimuli=4, hidden=8, responses=3),
        "wide.onnx": students.reservoir(stimuli=4, hidden=300, responses=3),
        "tcn.onnx": students.tcn(channels=4, layers=2),
        "window.onnx": students.transformer(channels=4, window=6, width=8, heads=2, layers=1),
        "rated.onnx": students.rated(),
        "broken.onnx": students.rated()[:100],
    }
    with place.open() as archive:
        deposit(archive, networks)
    archive = place.open()  # whose minds are run by the service from the first
    options = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
    with (
        serving(config or ServeConfig(port=0, grace_s=5), archive) as port,
        grpc.insecure_channel(f"127.0.0.1:{port}", options=options) as channel,
    ):
        yield Served(archive, port, GRPCInferenceServiceStub(channel))


@pytest.fixture(name="service", scope="module")
def _service():
    with served() as service:
        yield service


def request(model: str, *, outputs=(), model_version: str = "", parameters=None, **inputs) -> pb.ModelInferRequest:
    asked = pb.ModelInferRequest(model_name=model, model_version=model_version, id="an id")
    for name, array in inputs.items():
        datatype = {"float32": "FP32", "int64": "INT64"}[array.dtype.name]
        asked.inputs.add(name=name, datatype=datatype, shape=array.shape)
        asked.raw_input_contents.append(array.tobytes())
    for name in outputs:
        asked.outputs.add(name=name)
    for name, value in (parameters or {}).items():
        kind = {bool: "bool_param", int: "int64_param", str: "string_param"}[type(value)]
        setattr(asked.parameters[name], kind, value)
    return asked


def step(model: str, sequence, array: np.ndarray, *, start=False, end=False, **more) -> pb.ModelInferRequest:
    marks = {"sequence_id": sequence, "sequence_start": start, "sequence_end": end}
    return request(model, parameters=marks | more.pop("parameters", {}), x=array, **more)


def arrays(response: pb.ModelInferResponse) -> dict[str, np.ndarray]:
    return {
        tensor.name: np.frombuffer(raw, np.float32).reshape(tensor.shape)
        for tensor, raw in zip(response.outputs, response.raw_output_contents, strict=True)
    }


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


X = noise(6, 2, 4)


def test_a_student_runs_as_its_network_says(service):
    answer = service.stub.ModelInfer(request(GRU, x=X))
    assert (answer.model_name, answer.model_version, answer.id) == (GRU, "1", "an id")
    given = arrays(answer)
    assert given.keys() == {"y"}
    assert given["y"].shape == (6, 2, 3)


def test_without_a_sequence_the_state_is_zero_unless_it_is_brought(service):
    whole = service.infer(request(GRU, x=X, outputs=["y", "h1"]))
    assert (service.infer(request(GRU, x=X, h0=np.zeros((1, 2, 8), np.float32)))["y"] == whole["y"]).all()
    first = service.infer(request(GRU, x=X[:4], outputs=["h1", "y"]))
    second = service.infer(request(GRU, x=X[4:], h0=first["h1"], outputs=["y", "h1"]))
    assert (np.concatenate([first["y"], second["y"]]) == whole["y"]).all()
    assert (second["h1"] == whole["h1"]).all()
    assert (service.infer(request(GRU, x=X))["y"] == whole["y"]).all()


CASES = {
    "steps along the first axis": (GRU, X, [X[at : at + 1] for at in range(6)], 0),
    "several steps in a request": (GRU, X, [X[:1], X[1:4], X[4:]], 0),
    "steps along the last axis": (TCN, noise(2, 4, 6), [noise(2, 4, 6)[:, :, at : at + 1] for at in range(6)], 2),
}


@pytest.mark.parametrize("sequence", [7, "seven"])
@pytest.mark.parametrize("case", CASES)
def test_a_sequence_has_the_bits_of_one_call(service, case, sequence):
    model, whole, parts, axis = CASES[case]
    state = "h1" if model == GRU else "ctx1"
    wanted = service.infer(request(model, x=whole, outputs=["y", state]))
    given = [
        service.infer(step(model, sequence, part, start=at == 0, end=at == len(parts) - 1, outputs=["y", state]))
        for at, part in enumerate(parts)
    ]
    if model == GRU:
        assert (np.concatenate([one["y"] for one in given], axis) == wanted["y"]).all()
    np.testing.assert_array_equal(given[-1][state], wanted[state])
    assert service.refused(step(model, sequence, parts[0]))[0] is Code.INVALID_ARGUMENT


def test_the_number_and_the_text_are_two_sequences_and_students_have_their_own(service):
    x = noise(2, 4)
    for key in ((GRU, 5), (GRU, "5"), (RESERVOIR, 5)):
        service.infer(step(*key, X[:1] if key[0] == GRU else x, start=True))
    alone = service.infer(request(GRU, x=X[:2]))["y"]
    for key in (5, "5"):
        assert (service.infer(step(GRU, key, X[1:2], end=True))["y"] == alone[1:]).all()
    service.infer(step(RESERVOIR, 5, x, end=True))


def test_a_sequence_that_starts_again_begins_at_rest(service):
    first = service.infer(step(GRU, 8, X[:3], start=True))["y"]
    service.infer(step(GRU, 8, X[3:]))
    assert (service.infer(step(GRU, 8, X[:3], start=True, end=True))["y"] == first).all()


def test_a_student_without_state_answers_each_request_of_a_sequence_alone(service):
    x = noise(1, 6, 4)
    alone = service.infer(request(WINDOW, x=x))["y"]
    for start in (True, False):
        assert (service.infer(step(WINDOW, 3, x, start=start))["y"] == alone).all()


def test_a_constant_is_given_at_the_start_and_kept(service):
    x, rate = noise(1, 5), np.array(3, np.int64)
    assert service.infer(request(RATED, x=x, rate=rate))["y"].tolist() == (x * 3).tolist()
    with_start = request(RATED, x=x, rate=rate, parameters={"sequence_id": 1, "sequence_start": True})
    service.infer(with_start)
    code, words = service.refused(request(RATED, x=x, rate=np.array(4, np.int64), parameters={"sequence_id": 1}))
    assert (code, "'rate' is 3 since the sequence began" in words) == (Code.INVALID_ARGUMENT, True)
    later = service.infer(request(RATED, x=x, rate=rate, parameters={"sequence_id": 1, "sequence_end": True}))["y"]
    assert later.tolist() == (x * 3 + (x * 3).max()).tolist()


def test_elements_in_contents_are_answered_in_contents(service):
    x = noise(1, 4)
    asked = pb.ModelInferRequest(model_name=RESERVOIR)
    asked.inputs.add(name="x", datatype="FP32", shape=x.shape).contents.fp32_contents.extend(x.ravel().tolist())
    answer = service.stub.ModelInfer(asked)
    assert (
        np.float32(answer.outputs[0].contents.fp32_contents).tolist()
        == service.infer(request(RESERVOIR, x=x))["y"].ravel().tolist()
    )


def test_a_version_may_stand_in_the_name_or_beside_it(service):
    for model, number in ((GRU, "1"), ("vault/memory@1:gru.onnx", ""), ("vault/memory@1:gru.onnx", "1")):
        assert service.stub.ModelInfer(request(model, model_version=number, x=X)).model_version == "1"
    sha256 = service.archive.artifact(Address.parse(GRU)).sha256
    assert service.stub.ModelInfer(request(f"sha256:{sha256}", x=X)).model_version == "1"
    assert service.refused(request("vault/memory@1:gru.onnx", model_version="2", x=X))[0] is Code.INVALID_ARGUMENT
    assert service.refused(request(GRU, model_version="2", x=X))[0] is Code.NOT_FOUND
    assert service.refused(request(GRU, model_version="latest", x=X))[0] is Code.INVALID_ARGUMENT


def test_a_new_version_is_found_and_a_sequence_stays_with_its_own():
    with served() as service:
        old = service.infer(request(GRU, x=X))["y"]
        service.infer(step(GRU, 1, X[:3], start=True))
        deposit(service.archive, {"gru.onnx": students.gru(stimuli=4, hidden=8, responses=3, seed=8)})
        assert eventually(lambda: service.stub.ModelInfer(request(GRU, x=X)).model_version == "2")
        assert (service.infer(request(GRU, x=X))["y"] != old).any()
        assert (service.infer(request(GRU, model_version="1", x=X))["y"] == old).all()
        assert (service.infer(step(GRU, 1, X[3:], end=True))["y"] == old[3:]).all()


WRONG = {
    "an unknown student": (request("vault/memory:no.onnx", x=X), Code.NOT_FOUND, "no.onnx"),
    "an unknown memory": (request("vault/other:gru.onnx", x=X), Code.NOT_FOUND, "other"),
    "an unknown vault": (request("other/memory:gru.onnx", x=X), Code.NOT_FOUND, "other"),
    "a name that is no address": (request("resnet 50", x=X), Code.NOT_FOUND, "vault/memory"),
    "a name of a memory": (request("vault/memory", x=X), Code.NOT_FOUND, "vault/memory"),
    "no name": (request("", x=X), Code.NOT_FOUND, "vault/memory"),
    "half a network": (request(BROKEN, x=X), (Code.INVALID_ARGUMENT, Code.FAILED_PRECONDITION), "network"),
    "another type": (request(GRU, x=X.astype(np.int64)), Code.INVALID_ARGUMENT, "FP32"),
    "another shape": (request(GRU, x=X[..., :3]), Code.INVALID_ARGUMENT, "[-1, -1, 4]"),
    "another name": (request(GRU, z=X), Code.INVALID_ARGUMENT, "'z'"),
    "no inputs": (request(GRU), Code.INVALID_ARGUMENT, "lacks input 'x'"),
    "an unknown output": (request(GRU, x=X, outputs=["q"]), Code.INVALID_ARGUMENT, "'q'"),
    "a state of another batch": (
        request(GRU, x=X, h0=np.zeros((1, 3, 8), np.float32)),
        Code.INVALID_ARGUMENT,
        "axis 'B'",
    ),
    "NaN": (request(GRU, x=np.where(X > 0, np.nan, X)), Code.INVALID_ARGUMENT, "NaN"),
    "infinity": (request(GRU, x=np.where(X > 0, np.inf, X)), Code.INVALID_ARGUMENT, "NaN or infinity"),
    "NaN in a sequence": (step(GRU, 99, np.where(X > 0, np.nan, X), start=True), Code.INVALID_ARGUMENT, "NaN"),
    "a sequence without a start": (step(GRU, 98, X), Code.INVALID_ARGUMENT, "sequence_start"),
    "a start without a sequence": (step(GRU, 0, X, start=True), Code.INVALID_ARGUMENT, "sequence_id"),
    "a state in a sequence": (
        request(GRU, x=X, h0=noise(1, 2, 8), parameters={"sequence_id": 97, "sequence_start": True}),
        Code.INVALID_ARGUMENT,
        "'h0' is the state",
    ),
    "a constant left out": (request(RATED, x=noise(1, 5)), Code.INVALID_ARGUMENT, "lacks input 'rate'"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_answered_by_its_status(service, case):
    asked, code, words = WRONG[case]
    given, told = service.refused(asked)
    assert given in (code if isinstance(code, tuple) else (code,))
    assert words in told
    assert (service.infer(request(GRU, x=X))["y"].shape) == (6, 2, 3)


def changed(change) -> pb.ModelInferRequest:
    asked = request(GRU, x=X)
    change(asked)
    return asked


def _raw(data: bytes):
    def change(asked):
        asked.raw_input_contents[0] = data

    return change


def _shape(*shape: int):
    def change(asked):
        asked.inputs[0].shape[:] = shape

    return change


BYTES = {
    "short raw": changed(_raw(X.tobytes()[:-1])),
    "long raw": changed(_raw(X.tobytes() + b"\0")),
    "no raw": changed(_raw(b"")),
    "two raws": changed(lambda asked: asked.raw_input_contents.append(b"")),
    "raw and contents": changed(lambda asked: asked.inputs[0].contents.fp32_contents.append(1)),
    "a negative length": changed(_shape(-6, 2, 4)),
    "two negative lengths": changed(_shape(-6, -2, 4)),
    "a huge length": changed(_shape(2**40, 2, 4)),
    "lengths whose product wraps": changed(_shape(2**62, 2**62, 4)),
    "no length": changed(_shape(0, 2, 4)),
    "no axes": changed(_shape()),
}


@pytest.mark.parametrize("case", BYTES)
@pytest.mark.parametrize("in_sequence", [False, True])
def test_bytes_and_shapes_that_do_not_fit_are_refused_and_change_nothing(service, case, in_sequence):
    asked = pb.ModelInferRequest()
    asked.CopyFrom(BYTES[case])
    if in_sequence:
        service.infer(step(GRU, 55, X[:3], start=True))
        asked.parameters["sequence_id"].int64_param = 55
    assert service.refused(asked)[0] is Code.INVALID_ARGUMENT
    if in_sequence:
        whole = service.infer(request(GRU, x=X))["y"]
        assert (service.infer(step(GRU, 55, X[3:], end=True))["y"] == whole[3:]).all()


def test_the_batch_of_a_sequence_does_not_change(service):
    service.infer(step(GRU, 54, X[:3], start=True))
    code, words = service.refused(step(GRU, 54, X[:3, :1]))
    assert (code, "began with 2 minds" in words) == (Code.INVALID_ARGUMENT, True)
    assert (service.infer(step(GRU, 54, X[3:], end=True))["y"] == service.infer(request(GRU, x=X))["y"][3:]).all()


def test_a_start_that_fails_leaves_the_sequence_as_it_was(service):
    service.infer(step(GRU, 53, X[:3], start=True))
    assert service.refused(step(GRU, 53, X[..., :2], start=True))[0] is Code.INVALID_ARGUMENT
    assert (service.infer(step(GRU, 53, X[3:], end=True))["y"] == service.infer(request(GRU, x=X))["y"][3:]).all()


def test_a_sequence_whose_step_was_taken_and_cannot_be_told_has_ended(service):
    many = noise(60_000, 4)  # minds whose responses fit into a message, and not with their states beside them
    service.infer(step(WIDE, "wide", many, start=True))
    code, message = service.refused(step(WIDE, "wide", many, outputs=["y", "h1"]))
    assert code is Code.RESOURCE_EXHAUSTED
    assert "one response holds" in message
    code, message = service.refused(step(WIDE, "wide", many))
    assert code is Code.INVALID_ARGUMENT
    assert "has not begun, or ended" in message


def test_nan_is_taken_where_it_is_allowed(service):
    x, rate = np.array([[1, np.nan, np.inf, -2]], np.float32), np.array(2, np.int64)
    assert service.refused(request(RATED, x=x, rate=rate))[0] is Code.INVALID_ARGUMENT
    allowed = {"allow_nan": True}
    alone = service.infer(request(RATED, x=x, rate=rate, parameters=allowed))["y"]
    np.testing.assert_array_equal(alone, x * 2)
    marks = {"sequence_id": 52, "sequence_start": True, "sequence_end": True}
    np.testing.assert_array_equal(service.infer(request(RATED, x=x, rate=rate, parameters=marks | allowed))["y"], x * 2)


def test_a_large_message_is_taken_and_a_larger_one_is_refused(service):
    rate = np.array(2, np.int64)
    fits = np.ones((1, (MAX_MESSAGE - (128 << 10)) // 4), np.float32)
    assert service.infer(request(RATED, x=fits, rate=rate))["y"].sum() == 2 * fits.size
    too_large = np.ones((1, MAX_MESSAGE // 4), np.float32)
    assert service.refused(request(RATED, x=too_large, rate=rate))[0] is Code.RESOURCE_EXHAUSTED
    assert service.infer(request(RATED, x=fits[:, :4], rate=rate))["y"].tolist() == [[2] * 4]


class Stream:
    """A stream whose requests are sent one by one."""

    def __init__(self, stub: GRPCInferenceServiceStub) -> None:
        self._requests: queue.Queue[pb.ModelInferRequest | None] = queue.Queue()
        self.responses = stub.ModelStreamInfer(iter(self._requests.get, None), timeout=60)

    def send(self, asked: pb.ModelInferRequest) -> None:
        self._requests.put(asked)

    def close(self) -> None:
        self._requests.put(None)


def test_an_error_answers_its_request_and_the_stream_goes_on(service):
    stream = Stream(service.stub)
    whole = service.infer(request(GRU, x=X))["y"]
    stream.send(step(GRU, 1, X[:3], start=True))
    assert (arrays(next(stream.responses).infer_response)["y"] == whole[:3]).all()
    for wrong in (step(GRU, 2, X), request("nothing", x=X), step(GRU, 1, X[..., :2])):
        stream.send(wrong)
        failed = next(stream.responses)
        assert failed.error_message
        assert (failed.infer_response.id, list(failed.infer_response.outputs)) == ("an id", [])
    stream.send(step(GRU, 1, X[3:], end=True))
    assert (arrays(next(stream.responses).infer_response)["y"] == whole[3:]).all()
    stream.close()
    assert list(stream.responses) == []


def test_requests_sent_ahead_are_answered_in_order(service):
    x = noise(40, 5, 1, 4)
    asked = [
        step(GRU, f"s{sequence}", x[at, sequence][None], start=at == 0, end=at == 39)
        for at in range(40)
        for sequence in range(5)
    ]
    answers = [arrays(one.infer_response)["y"] for one in service.stub.ModelStreamInfer(iter(asked), timeout=60)]
    for sequence in range(5):
        alone = service.infer(request(GRU, x=x[:, sequence]))["y"]
        assert (np.concatenate(answers[sequence::5]) == alone).all()


def test_whoever_asks_for_it_is_told_which_response_is_the_last(service):
    asked = request(GRU, x=X, parameters={"triton_enable_empty_final_response": True})
    [answer] = service.stub.ModelStreamInfer(iter([asked]))
    assert answer.infer_response.parameters["triton_final_response"].bool_param


def test_a_sequence_goes_on_over_another_stream_after_its_client_vanished(service):
    with grpc.insecure_channel(f"127.0.0.1:{service.port}") as channel:
        stream = Stream(GRPCInferenceServiceStub(channel))
        stream.send(step(GRU, "left", X[:3], start=True))
        next(stream.responses)
    assert (service.infer(step(GRU, "left", X[3:], end=True))["y"] == service.infer(request(GRU, x=X))["y"][3:]).all()


def test_clients_that_vanish_in_the_middle_leave_the_service_as_it_was(service):
    for _ in range(30):
        with grpc.insecure_channel(f"127.0.0.1:{service.port}") as channel:
            stub = GRPCInferenceServiceStub(channel)
            endless = stub.ModelStreamInfer(iter(lambda: request(GRU, x=X), None))
            next(endless)
            endless.cancel()
            stub.ModelInfer.future(request(GRU, x=X)).cancel()
    assert service.infer(request(GRU, x=X))["y"].shape == (6, 2, 3)


def test_a_reader_that_is_slow_is_answered_no_further_than_it_reads(service):
    sent = 0

    def requests():
        nonlocal sent
        rate, x = np.array(1, np.int64), np.ones((1, 1 << 20), np.float32)
        for _ in range(200):
            sent += 1
            yield request(RATED, x=x, rate=rate)

    responses = service.stub.ModelStreamInfer(requests(), timeout=60)
    next(responses)
    time.sleep(1.5)
    assert sent < 60
    responses.cancel()


def test_too_many_sequences_are_refused_and_rest_makes_room():
    with served(ServeConfig(port=0, grace_s=5, sequences=3, minds_idle_s=0.6)) as service:
        for number in (1, 2, 3):
            service.infer(step(GRU, number, X, start=True))
        code, words = service.refused(step(GRU, 4, X, start=True))
        assert (code, "3 sequences" in words) == (Code.RESOURCE_EXHAUSTED, True)
        service.infer(step(GRU, 3, X, end=True))
        service.infer(step(GRU, 4, X, start=True))
        time.sleep(0.7)
        for number in (5, 6, 7):
            service.infer(step(GRU, number, X, start=True))
        code, words = service.refused(step(GRU, 1, X))
        assert (code, "rested for more than 0.6 s" in words) == (Code.INVALID_ARGUMENT, True)
        assert service.archive.minds.wait(_sessions(service)) == 3


async def _sessions(service: Served) -> int:
    return len(service.archive.minds.host._sessions)


def test_a_sequence_whose_process_ended_can_start_again():
    with served() as service:
        service.infer(step(GRU, 1, X[:3], start=True))
        [session] = service.archive.minds.host._sessions
        os.kill(session._resident.process._newborn.pid, signal.SIGKILL)
        assert service.refused(step(GRU, 1, X[3:]))[0] is Code.UNAVAILABLE
        assert service.refused(step(GRU, 1, X[3:]))[0] is Code.INVALID_ARGUMENT
        whole = service.infer(request(GRU, x=X))["y"]
        assert (service.infer(step(GRU, 1, X, start=True, end=True))["y"] == whole).all()


def test_unloading_ends_the_sequences_of_a_student_and_of_no_other(service):
    service.infer(step(GRU, 60, X, start=True))
    service.infer(step(TCN, 60, noise(1, 4, 6), start=True))
    service.stub.RepositoryModelUnload(pb.RepositoryModelUnloadRequest(model_name=GRU))
    assert service.refused(step(GRU, 60, X))[0] is Code.INVALID_ARGUMENT
    service.infer(step(TCN, 60, noise(1, 4, 6), end=True))
    assert service.infer(request(GRU, x=X))["y"].shape == (6, 2, 3)


def test_loading_takes_no_files_and_no_configuration(service):
    service.stub.RepositoryModelLoad(pb.RepositoryModelLoadRequest(model_name=GRU))
    asked = pb.RepositoryModelLoadRequest(model_name=GRU)
    asked.parameters["file:1/model.onnx"].bytes_param = b"another network"
    with pytest.raises(grpc.RpcError) as caught:
        service.stub.RepositoryModelLoad(asked)
    assert caught.value.code() is Code.INVALID_ARGUMENT
    with pytest.raises(grpc.RpcError) as caught:
        service.stub.RepositoryModelLoad(pb.RepositoryModelLoadRequest(model_name="vault/memory:no.onnx"))
    assert caught.value.code() is Code.NOT_FOUND


def test_the_index_lists_students_and_says_which_are_refused():
    with served() as service:

        def index(**more):
            listed = service.stub.RepositoryIndex(pb.RepositoryIndexRequest(**more)).models
            return {model.name: (model.version, model.state, bool(model.reason)) for model in listed}

        assert {GRU, RESERVOIR, TCN, WINDOW, RATED} <= index().keys()
        assert index()[GRU] == ("1", "READY", False)
        assert index(repository_name="vault") == index()
        assert not service.stub.ModelReady(pb.ModelReadyRequest(name=BROKEN)).ready
        with pytest.raises(grpc.RpcError) as caught:
            index(repository_name="other")
        assert caught.value.code() is Code.NOT_FOUND


def test_a_student_that_is_not_there_is_not_ready(service):
    ready = {name: service.stub.ModelReady(pb.ModelReadyRequest(name=name)).ready for name in (GRU, BROKEN, "nothing")}
    assert ready == {GRU: True, BROKEN: False, "nothing": False}


def test_the_service_says_what_it_is(service):
    assert service.stub.ServerLive(pb.ServerLiveRequest()).live
    assert service.stub.ServerReady(pb.ServerReadyRequest()).ready
    told = service.stub.ServerMetadata(pb.ServerMetadataRequest())
    assert told.name == "engram"
    assert told.version
    assert {"sequence", "sequence(string_id)", "statistics", "model_repository"} <= set(told.extensions)


def test_metadata_and_configuration_tell_the_tensors(service):
    told = service.stub.ModelMetadata(pb.ModelMetadataRequest(name=TCN))
    assert [(one.name, one.datatype, list(one.shape)) for one in told.inputs] == [("x", "FP32", [-1, 4, -1])]
    assert [(one.name, one.datatype, list(one.shape)) for one in told.outputs] == [("y", "FP32", [-1, 4, -1])]
    config = service.stub.ModelConfig(pb.ModelConfigRequest(name=RESERVOIR)).config
    assert config.max_batch_size > 0
    assert [(one.name, list(one.dims)) for one in config.input] == [("x", [4])]
    [state] = config.sequence_batching.state
    assert (state.input_name, state.output_name, list(state.dims)) == ("h0", "h1", [-1, 8])
    assert service.stub.ModelConfig(pb.ModelConfigRequest(name=GRU)).config.max_batch_size == 0
    window = service.stub.ModelConfig(pb.ModelConfigRequest(name=WINDOW)).config
    assert window.WhichOneof("scheduling_choice") is None
    assert [(one.data_type, list(one.dims)) for one in window.output] == [(config_pb.TYPE_FP32, [6, 4])]
    rated = service.stub.ModelConfig(pb.ModelConfigRequest(name=RATED)).config
    assert [(one.name, list(one.dims), one.optional) for one in rated.input] == [
        ("x", [-1, -1], False),
        ("rate", [], False),
    ]


def test_statistics_count_while_requests_are_answered():
    with served() as service:
        assert list(service.stub.ModelStatistics(pb.ModelStatisticsRequest()).model_stats) == []
        [still] = service.stub.ModelStatistics(pb.ModelStatisticsRequest(name=GRU)).model_stats
        assert (still.name, still.version, still.inference_count) == (GRU, "1", 0)
        for count in range(1, 4):
            service.infer(request(GRU, x=X))
            service.infer(step(GRU, 1, X[:, :1], start=count == 1))
            service.refused(request(GRU, z=X))
            [told] = service.stub.ModelStatistics(pb.ModelStatisticsRequest(name=GRU, version="1")).model_stats
            assert (told.inference_count, told.execution_count) == (3 * count, 2 * count)
            stats = told.inference_stats
            assert (stats.success.count, stats.fail.count) == (2 * count, count)
            parts = (stats.queue, stats.compute_input, stats.compute_infer, stats.compute_output)
            assert all(part.count == 2 * count and part.ns > 0 for part in parts)
            assert sum(part.ns for part in parts) <= stats.success.ns
            assert [(one.batch_size, one.compute_infer.count) for one in told.batch_stats] == [(1, count), (2, count)]
        assert abs(told.last_inference / 1000 - time.time()) < 60
        assert [one.name for one in service.stub.ModelStatistics(pb.ModelStatisticsRequest()).model_stats] == [GRU]
        with pytest.raises(grpc.RpcError) as caught:
            service.stub.ModelStatistics(pb.ModelStatisticsRequest(name="nothing"))
        assert caught.value.code() is Code.NOT_FOUND


def test_what_is_not_offered_is_unimplemented(service):
    with grpc.insecure_channel(f"127.0.0.1:{service.port}") as channel:
        for method in ("SystemSharedMemoryRegister", "CudaSharedMemoryStatus", "TraceSetting", "LogSettings"):
            call = channel.unary_unary(f"/inference.GRPCInferenceService/{method}")
            with pytest.raises(grpc.RpcError) as caught:
                call(b"")
            assert caught.value.code() is Code.UNIMPLEMENTED


def test_the_token_is_asked_for(tmp_path):
    with served(ServeConfig(port=0, grace_s=5, token_file=token_file(tmp_path))) as service:
        assert service.refused(request(GRU, x=X))[0] is Code.UNAUTHENTICATED
        shown = (("authorization", f"Bearer {TOKEN}"),)
        assert service.stub.ModelInfer(request(GRU, x=X), metadata=shown).model_version == "1"


def test_many_clients_at_once_keep_to_their_own_sequences(service):
    wanted = {number: service.infer(request(GRU, x=noise(10, 1, 4, seed=number)))["y"] for number in range(8)}
    failures: list[object] = []

    def client(number: int) -> None:
        x = noise(10, 1, 4, seed=number)
        try:
            for _ in range(5):
                given = [
                    service.infer(step(GRU, f"client {number}", x[at : at + 1], start=at == 0, end=at == 9))["y"]
                    for at in range(10)
                ]
                if (np.concatenate(given) != wanted[number]).any():
                    failures.append(number)
        except grpc.RpcError as error:
            failures.append(error)

    threads = [threading.Thread(target=client, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


@pytest.fixture(name="student", scope="module")
def _student(service):
    """A student that takes noise."""
    told = dict(parse_contract('[inputs.noise]\nrole = "noise"\n', what="a.toml").to_metadata())
    address = Address("vault", "noisy", path="a.onnx")
    put(service.archive, address, students.self_exciting(), kind=Kind.STUDENT, metadata=told)
    return str(address)


class TestNoise:
    """A student that draws its own events: the client brings the noise, or names a seed."""

    STIMULUS = noise(6, 2, 4)

    def drawn(self, seed: int, steps: int = 6, minds: int = 2) -> np.ndarray:
        return uniform_noise((steps, minds, 3), np.dtype(np.float32), seed=seed)

    def asked(self, student, at: int, *, brought=None, **parameters) -> pb.ModelInferRequest:
        more = {} if brought is None else {"noise": brought[at]}
        return request(student, parameters=parameters, stimulus=self.STIMULUS[at], **more)

    def test_a_request_alone_brings_its_noise_or_names_its_seed(self, service, student):
        brought = service.infer(self.asked(student, 0, brought=self.drawn(3)))
        named = service.infer(self.asked(student, 0, noise_seed=3))
        assert np.array_equal(brought["spikes"], named["spikes"])

    def test_a_sequence_brings_its_noise_or_names_its_seed_when_it_begins(self, service, student):
        def marks(at: int) -> dict[str, object]:
            return {"sequence_start": at == 0, "sequence_end": at == 5}

        noise_of_3 = self.drawn(3)
        brought = [
            service.infer(self.asked(student, at, brought=noise_of_3, sequence_id=70, **marks(at)))["spikes"]
            for at in range(6)
        ]
        first = {"noise_seed": 3}
        named = [
            service.infer(self.asked(student, at, sequence_id=71, **marks(at), **(first if at == 0 else {})))["spikes"]
            for at in range(6)
        ]
        assert np.array_equal(brought, named)
        with (
            engram_client.open(f"grpc://127.0.0.1:{service.port}") as archive,
            archive.open_minds(Address.parse(student), minds=2, sample=3) as minds,
        ):
            assert np.array_equal(minds.tick(self.STIMULUS)["spikes"], named)

    def test_noise_that_is_missing_or_comes_twice_is_refused(self, service, student):
        three = self.drawn(3)
        for asked, message in (
            (self.asked(student, 0), "lacks input 'noise'"),
            (self.asked(student, 0, brought=three, noise_seed=3), "takes no input 'noise'"),
            (self.asked(student, 0, noise_seed=-1), "cannot be kept"),
            (self.asked(student, 0, noise_seed="3"), "noise_seed is no number"),
            (self.asked(student, 0, brought=self.drawn(3, minds=1)), "different numbers of steps and minds"),
            (request(RESERVOIR, x=X[0], parameters={"noise_seed": 3}), "takes no noise: leave noise_seed out"),
        ):
            code, said = service.refused(asked)
            assert code is Code.INVALID_ARGUMENT
            assert message in said
        service.infer(self.asked(student, 0, sequence_id=72, sequence_start=True, noise_seed=3))
        code, said = service.refused(self.asked(student, 1, sequence_id=72, noise_seed=4))
        assert code is Code.INVALID_ARGUMENT
        assert "is that of seed 3 since it began" in said
        service.infer(self.asked(student, 1, sequence_id=72, noise_seed=3, sequence_end=True))

    def test_metadata_and_configuration_tell_the_noise(self, service, student):
        told = service.stub.ModelMetadata(pb.ModelMetadataRequest(name=student))
        assert [tensor.name for tensor in told.inputs] == ["stimulus", "noise"]
        config = service.stub.ModelConfig(pb.ModelConfigRequest(name=student)).config
        assert [tensor.optional for tensor in config.input] == [False, True]
