"""The commands of the README, as a user types them: embedded, on S3, and through the service."""

from __future__ import annotations

import json
import signal
import stat
import subprocess
import sys
from pathlib import Path

import grpc
import numpy as np
import pytest
from engram_testing.programs import User

from engram.v1 import archive_pb2, archive_pb2_grpc
from engram_client.demo.retina import BIN_S, NWB_FILE, load_training
from engram_fidelity.distill import distill
from engram_fidelity.experiment import Experiment, Trials


@pytest.fixture(scope="module")
def material(tmp_path_factory):
    folder = tmp_path_factory.mktemp("material")
    training = load_training(segments=2)
    trials = tuple(
        Trials(str(place), stimulus, spikes[None].astype(np.uint8))
        for place, (stimulus, spikes) in enumerate(zip(training.stimulus, training.spikes, strict=True))
    )
    channels, cells = (
        tuple(map(str, range(count))) for count in (training.stimulus.shape[2], training.spikes.shape[2])
    )
    made = distill(Experiment(trials, BIN_S, channels, cells), tier="fast", updates=20)
    (folder / "student.onnx").write_bytes(made.network)
    np.save(folder / "stimulus.npy", training.stimulus[0, :400])
    return folder


@pytest.fixture(params=["directory", "s3"])
def user(request, tmp_path):
    if request.param == "s3":
        server = request.getfixturevalue("seaweedfs")
        return User(tmp_path, server.location(), server.environment)
    return User(tmp_path, str(tmp_path / "archive"))


def main_job(user: User, material, folder) -> None:
    user.runs("vault", "create", "retina")
    assert "retina" in user.runs("vault", "ls").out
    user.runs("deposit", NWB_FILE, "--to", "retina/bars", "-m", "the recording", "--author", "a rig")
    user.runs("deposit", material / "student.onnx", "--to", "retina/bars:students/student.onnx")
    listed = json.loads(user.runs("ls", "retina/bars", "--json").out)
    assert {item["kind"] for item in listed} == {"recording", "student"}
    assert "the recording" in user.runs("log", "retina/bars").out
    shown = user.runs("show", f"retina/bars@1:{NWB_FILE.name}").out
    assert "recording" in shown
    user.runs("restore", f"retina/bars:{NWB_FILE.name}", folder / "restored.nwb")
    assert (folder / "restored.nwb").read_bytes() == NWB_FILE.read_bytes()
    replayed = user.runs(
        "replay", "retina/bars:students/student.onnx", "--stimulus", material / "stimulus.npy", "--save", "--json"
    )
    assert json.loads(replayed.out)
    assert json.loads(user.runs("ls", "retina/bars:replays", "--json").out)[0]["kind"] == "replay"
    assert "0 lost" in user.runs("verify").out


def test_the_main_job_embedded(user, material, tmp_path):
    user.runs("init")
    key_file = tmp_path / "config" / "engram" / "identity.txt"
    assert stat.S_IMODE(key_file.stat().st_mode) == 0o600
    main_job(user, material, tmp_path)


def test_the_main_job_through_the_service_and_its_graceful_end(user, material, tmp_path):
    user.runs("init")
    (tmp_path / "client").mkdir()
    with user.service() as service:
        main_job(User(tmp_path / "client", service.url), material, tmp_path / "client")
        service.process.send_signal(signal.SIGTERM)
        assert service.process.wait(timeout=60) == 0
    assert "retina/bars" in user.runs("ls", "retina").out


def test_what_a_user_can_get_wrong_ends_with_a_sentence_and_leaves_the_archive_as_it_was(tmp_path, material):
    user = User(tmp_path, str(tmp_path / "archive"))
    assert "engram init" in user.runs("ls", status=1).err
    user.runs("init")
    user.runs("vault", "create", "retina")
    before = sorted(path for path in (tmp_path / "archive").rglob("*") if path.is_file())
    cases = {
        ("init",): "there is an archive",
        ("ls", "retina/nothing"): "no memory 'nothing'",
        ("ls", "not an address"): "is no vault name",
        ("deposit", tmp_path / "missing.nwb", "--to", "retina/bars"): "missing.nwb",
        ("deposit", material / "student.onnx", "--to", "elsewhere/bars"): "there is no vault 'elsewhere'",
        ("restore", "retina/bars:x", tmp_path / "x"): "no memory 'bars'",
        ("replay", "retina/bars:x", "--stimulus", material / "stimulus.npy"): "no memory 'bars'",
    }
    for arguments, words in cases.items():
        outcome = user.runs(*arguments, status=1)
        assert words in outcome.err
        assert len(outcome.err.strip().splitlines()) == 1
    user.runs("deposit", status=2)
    assert sorted(path for path in (tmp_path / "archive").rglob("*") if path.is_file()) == before


def test_another_identity_reads_nothing(tmp_path):
    owner = User(tmp_path / "owner", str(tmp_path / "archive"))
    stranger = User(tmp_path / "stranger", str(tmp_path / "archive"))
    owner.runs("init")
    User(tmp_path / "stranger", str(tmp_path / "own")).runs("init")
    outcome = stranger.runs("ls", status=1)
    assert "cannot open this archive" in outcome.err


def test_a_locked_identity_asks_for_its_passphrase(tmp_path):
    passphrase = tmp_path / "passphrase"
    passphrase.write_text("correct horse\n")
    passphrase.chmod(0o600)
    user = User(tmp_path, str(tmp_path / "archive"))
    user.runs("init", "--lock", "--passphrase-file", passphrase)
    assert user.runs("ls", "--passphrase-file", passphrase).status == 0
    assert "locked" in user.runs("ls", status=1).err
    passphrase.write_text("wrong horse\n")
    assert "passphrase" in user.runs("ls", "--passphrase-file", passphrase, status=1).err


def test_a_full_disk_is_said_and_nothing_is_added(tmp_path):
    user = User(tmp_path, str(tmp_path / "archive"))
    user.runs("init")
    user.runs("vault", "create", "v")
    big = tmp_path / "big"
    big.write_bytes(np.random.default_rng(0).bytes(9_000_000))
    program = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000)); "
        "import signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); "
        "from engram_client.cli import main; sys.argv = ['engram', 'deposit', sys.argv[1], '--to', 'v/m']; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(big)], env=user.environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1, done
    assert "Traceback" not in done.stderr
    assert done.stderr.strip().splitlines()[-1].startswith("engram: ")
    assert user.runs("ls", "v", "--json").out.strip() == "[]"
    user.runs("deposit", big, "--to", "v/m")  # the same command goes on when there is room
    assert "0 lost" in user.runs("verify").out


def test_a_bucket_that_denies_is_said_and_nothing_is_added(tmp_path, seaweedfs, material):
    owner = User(tmp_path, seaweedfs.location(), seaweedfs.environment)
    owner.runs("init")
    owner.runs("vault", "create", "v")
    reader = User(tmp_path, owner.url, seaweedfs.as_reader().environment)
    outcome = reader.runs("deposit", material / "student.onnx", "--to", "v/m", status=1)
    assert "not allowed to write" in outcome.err
    assert len(outcome.err.strip().splitlines()) == 1
    assert seaweedfs.secret_key not in outcome.err
    assert owner.runs("ls", "v", "--json").out.strip() == "[]"


def test_a_damaged_object_is_data_loss_through_the_service(tmp_path):
    user = User(tmp_path, str(tmp_path / "archive"))
    source = tmp_path / "source"
    source.write_bytes(np.random.default_rng(0).bytes(3_000_000))
    user.runs("init")
    user.runs("vault", "create", "v")
    user.runs("deposit", source, "--to", "v/m")
    pack = max(
        (path for path in (tmp_path / "archive").rglob("o/*/*") if path.is_file()), key=lambda path: path.stat().st_size
    )
    data = bytearray(pack.read_bytes())
    data[500_000:2_000_000] = bytes(1_500_000)
    pack.unlink()
    pack.write_bytes(data)
    with user.service() as service:
        client = User(tmp_path, service.url)
        outcome = client.runs("restore", "v/m:source", tmp_path / "restored", status=1)
        assert "damaged" in outcome.err
        assert not (tmp_path / "restored").exists()
        with grpc.insecure_channel(service.url.removeprefix("grpc://")) as channel:
            stub = archive_pb2_grpc.ArchiveServiceStub(channel)
            name = "vaults/v/memories/m/versions/1/artifacts/source"
            with pytest.raises(grpc.RpcError) as caught:
                list(stub.Restore(archive_pb2.RestoreRequest(name=name)))
        assert caught.value.code() is grpc.StatusCode.DATA_LOSS
    assert "lost" in user.runs("verify", status=1).out
    user.runs("deposit", source, "--to", "v/again")  # the remedy that the error names
    user.runs("restore", "v/again:source", tmp_path / "restored")
    assert (tmp_path / "restored").read_bytes() == source.read_bytes()


def test_the_demonstration_does_the_main_job(tmp_path):
    user = User(tmp_path, str(tmp_path / "unused"))
    told = user.runs("demo", "--dir", tmp_path / "demo").out
    assert "is the original's, too" in told
    likeness = float(told.partition("CC_norm ")[2].partition(" in bins")[0])
    assert likeness > 0.88
    assert "Grade B: " in told
    assert (tmp_path / "demo" / "certificate.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "demo" / "certificate.html").read_text().startswith("<!doctype html>")
    kept = User(
        tmp_path, str(tmp_path / "demo" / "archive"), {"ENGRAM_IDENTITY": str(tmp_path / "demo" / "identity.txt")}
    )
    assert "0 lost" in kept.runs("verify").out


def test_keeping_and_reading_needs_no_runtime_of_networks():
    script = "import sys, engram_client.embedded; print(any(name.startswith('onnx') for name in sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_a_service_needs_tls_and_a_token_to_be_reached_by_others(tmp_path):
    user = User(tmp_path, str(tmp_path / "archive"))
    user.runs("init")
    assert "TLS" in user.runs("serve", "--listen", "0.0.0.0:0", status=1).err


def test_a_token_is_asked_for_and_never_shown(tmp_path):
    token = tmp_path / "token"
    token.write_text("a-very-secret-token-that-is-long\n")
    token.chmod(0o600)
    user = User(tmp_path, str(tmp_path / "archive"))
    user.runs("init")
    with user.service("--token-file", str(token)) as service:
        client = User(tmp_path, service.url)
        outcome = client.runs("ls", status=1)
        assert "token" in outcome.err
        assert client.runs("ls", "--token-file", token).status == 0
        assert b"very-secret" not in Path(f"/proc/{service.process.pid}/cmdline").read_bytes()


def test_output_into_a_closed_pipe_is_no_error(tmp_path):
    user = User(tmp_path, str(tmp_path / "archive"))
    user.runs("init")
    command = f"{sys.executable} -m engram_client.cli --help | head -n 1"
    done = subprocess.run(command, shell=True, env=user.environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert "Traceback" not in done.stderr
