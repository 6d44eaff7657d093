"""The client against a real service over a simulated archive."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import grpc
import numpy as np
import pytest
from engram_testing.services import Service, eventually, service
from engram_testing.simulator import MIB, sha256

from engram_client.remote import connect
from engram_client.remote.errors import _KINDS
from engram_format.address import Address, ContentAddress
from engram_format.catalog import ArtifactSpec, FindingKind, Kind
from engram_format.errors import (
    AlreadyExists,
    Conflict,
    Damaged,
    Denied,
    EngramError,
    Exhausted,
    FormatError,
    InvalidInput,
    NotFound,
    Precondition,
    Unavailable,
)
from engram_server.rpc import pages
from engram_server.rpc.status import CODES

BARS = Address("retina", "bars")
SESSION = "0123456789abcdef" * 2


@pytest.fixture(name="served", scope="module")
def _served() -> Iterator[Service]:
    with service() as running:
        running.archive.create_vault("retina")
        yield running


@pytest.fixture(name="fresh")
def _fresh() -> Iterator[Service]:
    with service() as running:
        running.archive.create_vault("retina")
        yield running


def fill(served: Service, files: dict[str, bytes], *, memory: Address = BARS) -> None:
    served.archive.add_version(
        memory,
        {path: (ArtifactSpec(path=path, size=len(data)), data) for path, data in files.items()},
        message="möglich",
        author="a test",
    )


def test_a_vault_is_created_once(fresh: Service) -> None:
    vault = fresh.remote.create_vault("organoid-17")
    assert vault.name == "organoid-17"
    assert list(fresh.remote.vaults()) == list(fresh.archive.vaults())
    with pytest.raises(AlreadyExists, match="choose another name"):
        fresh.remote.create_vault("organoid-17")
    with pytest.raises(InvalidInput, match="no vault name"):
        fresh.remote.create_vault("a/b")


def test_everything_that_is_listed_equals_what_the_archive_lists(fresh: Service) -> None:
    fill(fresh, {"a": b"1", "students/gru.onnx": b"22", "students/deep/x": b"3", "students.txt": b"4"})
    fill(fresh, {"b": b"1"})
    fill(fresh, {"c": b"1"}, memory=Address("retina", "dots"))
    remote, archive = fresh.remote, fresh.archive
    assert list(remote.memories("retina")) == list(archive.memories("retina"))
    assert [str(memory.address) for memory in remote.memories("retina")] == ["retina/bars", "retina/dots"]
    assert list(remote.versions(BARS)) == list(archive.versions(BARS))
    assert [version.address.version for version in remote.versions(BARS)] == [2, 1]
    assert remote.version(BARS) == archive.version(BARS.at(2))
    assert remote.version(BARS.at(1)) == archive.version(BARS.at(1))
    below = BARS.at(1).of("students")
    assert [a.address.path for a in remote.artifacts(below)] == ["students/deep/x", "students/gru.onnx"]
    assert list(remote.artifacts(BARS.at(1))) == list(archive.artifacts(BARS.at(1)))
    assert remote.artifact(below.of("students/gru.onnx")).size == 2
    assert remote.artifact(ContentAddress(sha256(b"22"))).address.path == "students/gru.onnx"
    assert remote.artifact(BARS.of("b")).address == BARS.at(2).of("b")


def test_pages_go_on_where_the_last_one_ended(fresh: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages, "MAX_ITEMS", 3)
    for n in range(8):
        fill(fresh, {f"{k:02}/x": b"" for k in range(10)})
        fresh.archive.create_vault(f"v{n}")
        fill(fresh, {"x": b""}, memory=Address("v0", f"m{n}"))
    assert list(fresh.remote.vaults()) == list(fresh.archive.vaults())
    assert list(fresh.remote.memories("v0")) == list(fresh.archive.memories("v0"))
    assert list(fresh.remote.versions(BARS)) == list(fresh.archive.versions(BARS))
    assert list(fresh.remote.artifacts(BARS)) == list(fresh.archive.artifacts(BARS))


def test_a_list_of_artifacts_stays_in_its_version_while_another_is_committed(
    fresh: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pages, "MAX_ITEMS", 2)
    fill(fresh, {f"{k}": b"" for k in range(6)})
    listing = fresh.remote.artifacts(BARS)
    seen = [next(listing)]
    fill(fresh, {"other": b""})
    seen += listing
    assert [str(a.address) for a in seen] == [f"retina/bars@1:{k}" for k in range(6)]


def test_a_page_of_large_items_is_cut_before_it_outgrows_a_message(fresh: Service) -> None:
    notes = {"notes": "n" * 300_000}
    specs = [ArtifactSpec(path=f"{k:02}", size=0, metadata=notes) for k in range(30)]
    fresh.archive.add_version(BARS, {spec.path: (spec, b"") for spec in specs}, message="", author="")
    assert len(list(fresh.remote.artifacts(BARS))) == 30


def test_bytes_and_ranges_come_back(fresh: Service) -> None:
    data = np.random.default_rng(1).bytes(3 * MIB + 17)
    fill(fresh, {"big": data, "empty": b""})
    pieces = list(fresh.remote.read(BARS.of("big")))
    assert b"".join(pieces) == data
    assert max(map(len, pieces)) <= MIB
    assert b"".join(fresh.remote.read(BARS.of("big"), start=5, stop=2 * MIB)) == data[5 : 2 * MIB]
    assert b"".join(fresh.remote.read(ContentAddress(sha256(data)), start=3 * MIB)) == data[3 * MIB :]
    assert b"".join(fresh.remote.read(BARS.of("big"), start=5, stop=5)) == b""
    assert list(fresh.remote.read(BARS.of("empty"))) == []
    with pytest.raises(NotFound):
        next(fresh.remote.read(BARS.of("none")))
    with pytest.raises(InvalidInput, match="cannot be"):
        next(fresh.remote.read(BARS.of("big"), start=-1))
    with pytest.raises(InvalidInput, match="cannot be sent"):
        next(fresh.remote.read(BARS.of("big"), start=2**63))


def test_a_deposit_becomes_a_version(fresh: Service) -> None:
    data = np.random.default_rng(2).bytes(9 * MIB + 3)
    spec = ArtifactSpec(
        path="aufnahme/größe.nwb",
        size=len(data),
        kind=Kind.RECORDING,
        time_ns=-1,
        metadata={"rate_hz": 20000.0, "channels": 64, "subject.species": "Mus musculus", "light": True, "dark": False},
        made_from=(sha256(b"x"), sha256(b"y")),
    )
    with fresh.remote.open_deposit(BARS, session=SESSION) as deposit:
        assert deposit.session == SESSION
        assert deposit.committed_version is None
        assert deposit.begin(spec) == 0
        deposit.write(memoryview(data)[: 4 * MIB])
        deposit.write(data[4 * MIB :])
        artifact = deposit.end(sha256=sha256(data))
        assert deposit.committed == 8 * MIB
        version = deposit.commit(message="bars at noon", author="rig 3")
        assert deposit.commit(message="again", author="rig 3") == version
        assert deposit.committed_version == version
    assert (version.message, version.author, version.added) == ("bars at noon", "rig 3", 1)
    assert artifact == fresh.archive.artifact(BARS.at(1).of(spec.path))
    assert (artifact.kind, artifact.time_ns, artifact.made_from) == (Kind.RECORDING, -1, spec.made_from)
    assert artifact.metadata == spec.metadata
    assert {type(value) for value in artifact.metadata.values()} == {float, int, str, bool}
    assert b"".join(fresh.remote.read(artifact.address)) == data
    with fresh.remote.open_deposit(BARS, session=SESSION) as again:
        assert again.committed_version == version


def test_a_cut_deposit_goes_on_from_what_was_durable(fresh: Service) -> None:
    data = np.random.default_rng(3).bytes(6 * MIB + 5)
    spec = ArtifactSpec(path="x", size=len(data))
    with connect(f"grpc://{fresh.target}") as other:
        cut = other.open_deposit(BARS, session=SESSION)
        cut.begin(spec)
        cut.write(data[: 5 * MIB + 1])
        assert eventually(lambda: fresh.archive.written == 5 * MIB + 1)
    with pytest.raises(Unavailable):
        cut.end(sha256=sha256(data))
    cut.close()
    assert eventually(lambda: not fresh.archive.sessions[SESSION].open)
    with fresh.remote.open_deposit(BARS, session=SESSION) as deposit:
        offset = deposit.begin(spec)
        assert offset == 5 * MIB
        deposit.write(data[offset:])
        deposit.end(sha256=sha256(data))
        deposit.commit(message="", author="")
    assert b"".join(fresh.remote.read(BARS.of("x"))) == data


def test_closing_a_deposit_frees_its_session_before_it_returns(fresh: Service) -> None:
    for _ in range(20):
        with fresh.remote.open_deposit(BARS, session=SESSION) as deposit:
            deposit.begin(ArtifactSpec(path="x", size=10 * MIB))
            deposit.write(bytes(MIB))
    with (
        fresh.remote.open_deposit(BARS, session=SESSION),
        pytest.raises(Conflict, match="open elsewhere"),
    ):
        fresh.remote.open_deposit(BARS, session=SESSION)


def test_a_failed_step_leaves_the_deposit_usable(fresh: Service) -> None:
    with fresh.remote.open_deposit(BARS, session=SESSION) as deposit:
        with pytest.raises(Precondition, match="no artifact is begun"):
            deposit.write(b"x")
        deposit.begin(ArtifactSpec(path="x", size=3))
        deposit.write(b"abc")
        with pytest.raises(InvalidInput, match="changed during the deposit"):
            deposit.end(sha256=sha256(b"other"))
        deposit.begin(ArtifactSpec(path="x", size=3))
        with pytest.raises(Precondition, match="not ended"):
            deposit.begin(ArtifactSpec(path="y", size=3))
        deposit.write(b"abc")
        deposit.end(sha256=sha256(b"abc"))
        fresh.archive.fail_with = Unavailable("the bucket does not answer: wait")
        with pytest.raises(Unavailable, match="bucket"):
            deposit.commit(message="", author="")
        fresh.archive.fail_with = None
        assert deposit.commit(message="", author="").added == 1


def test_an_error_in_data_ends_a_write_that_is_waiting(fresh: Service) -> None:
    fresh.archive.write_s = 0.05
    with fresh.remote.open_deposit(BARS, session=SESSION) as deposit:
        deposit.begin(ArtifactSpec(path="x", size=2 * MIB))
        with pytest.raises(InvalidInput, match="grew during the deposit"):
            for _ in range(1000):
                deposit.write(bytes(MIB))
        assert fresh.archive.written < 4 * MIB
        with pytest.raises(InvalidInput, match="grew during the deposit"):
            deposit.commit(message="", author="")
    assert fresh.archive.closed_deposits == 1


def test_a_closed_deposit_says_so(fresh: Service) -> None:
    deposit = fresh.remote.open_deposit(BARS, session=SESSION)
    deposit.close()
    deposit.close()
    with pytest.raises(Precondition, match="open it again"):
        deposit.begin(ArtifactSpec(path="x", size=3))


def test_deposits_leave_no_threads(fresh: Service) -> None:
    before = threading.active_count()
    for k in range(10):
        with fresh.remote.open_deposit(BARS, session=f"{k:032x}") as deposit:
            deposit.begin(ArtifactSpec(path="x", size=3))
    assert threading.active_count() <= before + 2


def test_what_protobuf_cannot_carry_is_refused_with_a_sentence(fresh: Service) -> None:
    with fresh.remote.open_deposit(BARS, session=SESSION) as deposit:
        for metadata in ({"n": 2**63}, {"s": "\ud800"}, {"\ud800": 1}):
            with pytest.raises(InvalidInput, match="cannot be sent"):
                deposit.begin(ArtifactSpec(path="x", size=3, metadata=metadata))
        with pytest.raises(InvalidInput, match="cannot be sent"):
            deposit.begin(ArtifactSpec(path="x", size=3, time_ns=2**80))
        with pytest.raises(InvalidInput, match="cannot be sent"):
            deposit.commit(message="\ud800", author="")
        assert deposit.begin(ArtifactSpec(path="x", size=3)) == 0


def test_a_replay_of_inline_arrays_returns_arrays_and_a_receipt(served: Service) -> None:
    stimulus = {
        "light": np.arange(600_000, dtype="<f4").reshape(3000, 200)[:, ::2],
        "swapped": np.arange(5, dtype=">i8"),
        "scalar": np.array(2.5),
        "none": np.zeros((0, 4), dtype=np.uint16),
    }
    result = served.remote.replay(ContentAddress("0" * 64), stimulus)
    assert list(result.outputs) == ["light2", "swapped2", "scalar2", "none2"]
    for name, array in stimulus.items():
        output = result.outputs[f"{name}2"]
        assert output.dtype == array.dtype.newbyteorder("<")
        np.testing.assert_array_equal(output, array + array)
    assert result.receipt == {"student": f"sha256:{'0' * 64}", "inputs": 4, "exact": True, "seconds": 0.5}
    assert result.receipt["exact"] is True
    assert result.saved is None


def test_a_replay_of_a_stored_stimulus_can_be_saved(fresh: Service) -> None:
    fill(fresh, {"stimulus": np.ones(4, dtype="<f4").tobytes()})
    result = fresh.remote.replay(
        BARS.of("student"), BARS.at(1).of("stimulus"), save_to=Address("retina", "replays"), author="me"
    )
    np.testing.assert_array_equal(result.outputs["2"], np.full(4, 2, dtype="<f4"))
    assert result.saved == fresh.archive.artifact(Address("retina", "replays", 1, "replay.npz"))
    assert fresh.remote.version(Address("retina", "replays")).author == "me"


def test_a_stimulus_that_the_wire_has_no_word_for_is_refused(served: Service) -> None:
    with pytest.raises(InvalidInput, match="send booleans"):
        served.remote.replay(BARS.of("student"), {"": np.array(["a"])})


def test_verify_yields_findings(served: Service) -> None:
    findings = list(served.remote.verify(BARS.at(3)))
    assert findings == list(served.archive.verify(BARS.at(3)))
    assert [finding.result for finding in findings] == list(FindingKind)
    assert next(served.remote.verify(read_data=False)).size == 0
    assert next(served.remote.verify()).subject == "None"


@pytest.mark.parametrize(
    "error",
    [
        InvalidInput,
        NotFound,
        AlreadyExists,
        Conflict,
        Denied,
        Precondition,
        Unavailable,
        Exhausted,
        Damaged,
        EngramError,
    ],
)
def test_an_error_comes_back_as_what_it_was(fresh: Service, error: type[EngramError]) -> None:
    text = "Das Gefäß 'ä' ist nicht da: nimm ein anderes"
    fresh.archive.fail_with = error(text)
    asked = [
        lambda: fresh.remote.version(BARS),
        lambda: list(fresh.remote.vaults()),
        lambda: list(fresh.remote.read(BARS.of("x"))),
        lambda: fresh.remote.open_deposit(BARS, session=SESSION),
        lambda: fresh.remote.replay(BARS.of("x"), {"": np.ones(1)}),
    ]
    for ask in asked:
        with pytest.raises(error) as raised:
            ask()
        assert type(raised.value) is error
        assert str(raised.value) == text
        assert isinstance(raised.value.__cause__, grpc.RpcError)


def test_a_format_error_comes_back_as_damage(fresh: Service) -> None:
    fresh.archive.fail_with = FormatError("the pack has no trailer: repair it")
    with pytest.raises(Damaged, match="no trailer"):
        fresh.remote.version(BARS)


def test_a_fault_of_the_service_tells_an_incident_and_no_more(fresh: Service, caplog: pytest.LogCaptureFixture) -> None:
    fresh.archive.fail_with = RuntimeError("the key is hunter2")
    with pytest.raises(EngramError, match=r"incident [0-9a-f]{8}") as raised:
        fresh.remote.version(BARS)
    assert "hunter2" not in str(raised.value)
    assert "hunter2" in caplog.text
    assert str(raised.value).split("incident ")[1].split(":")[0] in caplog.text


def test_a_message_too_long_for_a_header_is_shortened(fresh: Service) -> None:
    fresh.archive.fail_with = NotFound("ä" * 50_000)
    with pytest.raises(NotFound, match="^ä{1000}$"):
        fresh.remote.version(BARS)


def test_both_ends_agree_on_status_codes() -> None:
    assert {code: kind for kind, code in CODES.items() if code in _KINDS}.items() <= _KINDS.items()


def test_a_service_that_is_not_there_is_unavailable() -> None:
    with connect("grpc://127.0.0.1:1") as remote:
        for ask in (
            lambda: remote.version(BARS),
            lambda: list(remote.read(BARS.of("x"))),
            lambda: remote.open_deposit(BARS, session=SESSION),
        ):
            with pytest.raises(Unavailable, match="grpc://127.0.0.1:1 does not answer"):
                ask()


@contextmanager
def stranger(answer: Callable[[grpc.ServicerContext], object]) -> Iterator[str]:
    """A gRPC server that is no Engram service, or none of this version: its answer to whatever is asked."""

    class Answers(grpc.GenericRpcHandler):
        def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
            def respond(_requests: object, context: grpc.ServicerContext) -> Iterator[bytes]:
                answer(context)
                yield b""

            return grpc.stream_stream_rpc_method_handler(respond)

    server = grpc.server(ThreadPoolExecutor(4), handlers=[Answers()])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"grpc://127.0.0.1:{port}"
    finally:
        server.stop(None).wait()


@pytest.mark.parametrize(
    ("code", "error", "sentence"),
    [
        (grpc.StatusCode.UNIMPLEMENTED, Precondition, "of one version"),
        (grpc.StatusCode.UNAVAILABLE, Unavailable, "does not answer"),
        (grpc.StatusCode.CANCELLED, Unavailable, "does not answer"),
        (grpc.StatusCode.UNKNOWN, Unavailable, "does not answer"),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, Exhausted, "the proxy says no"),
        (grpc.StatusCode.PERMISSION_DENIED, Denied, "the proxy says no"),
        (grpc.StatusCode.UNAUTHENTICATED, Denied, "the proxy says no"),
        (grpc.StatusCode.NOT_FOUND, NotFound, "the proxy says no"),
        (grpc.StatusCode.INTERNAL, EngramError, "the proxy says no"),
    ],
)
def test_a_status_without_a_kind_is_told_by_its_code(
    code: grpc.StatusCode, error: type[EngramError], sentence: str
) -> None:
    with stranger(lambda context: context.abort(code, "the proxy says no")) as url, connect(url) as remote:
        for ask in (lambda: remote.version(BARS), lambda: remote.open_deposit(BARS, session=SESSION)):
            with pytest.raises(error, match=sentence) as raised:
                ask()
            assert type(raised.value) is error
            assert url in str(raised.value)


def test_a_kind_that_a_newer_service_sends_is_an_error_of_its_own(fresh: Service) -> None:
    def answer(context: grpc.ServicerContext) -> None:
        context.set_trailing_metadata((("engram-error-kind", "bored"),))
        context.abort(grpc.StatusCode.NOT_FOUND, "the archive is bored: entertain it")

    with stranger(answer) as url, connect(url) as remote, pytest.raises(EngramError, match="^the archive is bored"):
        remote.version(BARS)


def test_a_service_that_hangs_is_unavailable_after_the_timeout() -> None:
    over = threading.Event()
    before = threading.active_count()
    with stranger(lambda _: over.wait(20)) as url, connect(url, timeout_s=0.2) as remote:
        with pytest.raises(Unavailable, match="does not answer"):
            remote.version(BARS)
        with pytest.raises(Unavailable, match=r"did not answer within 0\.2 s"):
            remote.open_deposit(BARS, session=SESSION)
        over.set()
    assert eventually(lambda: threading.active_count() <= before + 1)


def test_an_interrupt_ends_a_deposit_that_waits() -> None:
    over, main = threading.Event(), threading.main_thread().ident

    def impatient() -> None:
        # As people do: the first interrupt may be noticed late, and so they press again.
        while not over.wait(1.0):
            signal.pthread_kill(main, signal.SIGINT)

    with stranger(lambda _: over.wait(60)) as url, connect(url) as remote:
        presses = threading.Thread(target=impatient)
        presses.start()
        try:
            with pytest.raises(KeyboardInterrupt):
                remote.open_deposit(BARS, session=SESSION)
        finally:
            over.set()
            presses.join()


def test_an_answer_out_of_turn_is_an_error() -> None:
    with (
        stranger(lambda _: None) as url,
        connect(url) as remote,
        pytest.raises(EngramError, match="where opened was due"),
    ):
        remote.open_deposit(BARS, session=SESSION)


def test_a_closed_archive_says_so(fresh: Service) -> None:
    fresh.remote.close()
    with pytest.raises(Precondition, match="connect again"):
        fresh.remote.version(BARS)
    with pytest.raises(Precondition, match="connect again"):
        fresh.remote.open_deposit(BARS, session=SESSION)


@pytest.mark.parametrize(
    "url",
    [
        "grpc://",
        "grpc://host",
        "http://host:1",
        "grpc://host:1/path",
        "grpc://host:99999",
        "grpc://user@host:1",
        "grpc://host:1?x=1",
        "host:1",
        "grpc://[::1:5",
    ],
)
def test_an_url_that_names_no_service_is_refused(url: str) -> None:
    with pytest.raises(InvalidInput, match="no address of a service"):
        connect(url)


def test_a_token_is_never_sent_in_the_clear_over_a_network() -> None:
    with pytest.raises(Precondition, match="grpcs://archive.example:1"):
        connect("grpc://archive.example:1", token="secret")
    connect("grpcs://archive.example:1", token="secret").close()
    connect("grpc://[::1]:1", token="secret").close()
    with pytest.raises(InvalidInput, match="one word"):
        connect("grpcs://archive.example:1", token="two words")
