"""Real servers that speak S3, on this machine and for as long as a test session: SeaweedFS, moto, and rclone.

Each runs on free ports of 127.0.0.1, in a folder of its own, and is ended by its process id.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

BUCKET = "engram-tests"
_OWNER = ("owner-key", "owner-secret")
_READER = ("reader-key", "reader-secret")
_READY_WITHIN_S = 90
# SeaweedFS may wait for its own connections for longer, and what it would save is thrown away.
_END_WITHIN_S = 3
_STARTS = 3


@dataclass(frozen=True, slots=True)
class S3Server:
    """A running server, one bucket in it, and credentials."""

    endpoint_url: str
    bucket: str
    access_key: str
    secret_key: str

    def location(self) -> str:
        """Return `s3://bucket/prefix` with a prefix that nobody has used."""
        return f"s3://{self.bucket}/{uuid.uuid4().hex}"

    def as_reader(self) -> S3Server:
        """Return the same server, entered as one who may read and list, and nothing else; SeaweedFS only."""
        return replace(self, access_key=_READER[0], secret_key=_READER[1])

    def with_secret(self, secret_key: str) -> S3Server:
        """Return the same server, entered with another secret."""
        return replace(self, secret_key=secret_key)

    @property
    def environment(self) -> dict[str, str]:
        """The settings with which Engram, here or in another process, uses this server."""
        return {
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
            "AWS_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
            "ENGRAM_S3_ENDPOINT_URL": self.endpoint_url,
            "NO_PROXY": "127.0.0.1",
        }


@contextlib.contextmanager
def running_seaweedfs(folder: Path) -> Iterator[S3Server]:
    """Run SeaweedFS, a distributed object store, with an owner and a reader."""

    def command(data: Path) -> tuple[Sequence[str], int]:
        ports = dict(zip(("master", "volume", "filer", "s3"), _free_ports(4), strict=True))
        config = data / "s3.json"
        config.write_text(
            json.dumps(
                {
                    "identities": [
                        _identity("owner", _OWNER, ["Admin", "Read", "Write", "List", "Tagging"]),
                        _identity("reader", _READER, ["Read", "List"]),
                    ]
                }
            )
        )
        return [
            _program("weed"),
            "server",
            f"-dir={data}",
            "-ip=127.0.0.1",
            "-ip.bind=127.0.0.1",
            "-volume.max=500",
            "-volume.preStopSeconds=1",
            "-master.volumeSizeLimitMB=256",
            "-filer",
            "-filer.maxMB=16",
            "-s3",
            "-s3.port.iceberg=0",
            "-s3.port.lance=0",
            "-s3.iam=false",
            "-s3.autoCreateBucket=false",
            f"-s3.config={config}",
            *(f"-{part}.port={port}" for part, port in ports.items()),
            *(f"-{part}.port.grpc={port + 10000}" for part, port in ports.items()),
        ], ports["s3"]

    with _running(command, folder) as server:
        yield server


@contextlib.contextmanager
def running_moto(folder: Path) -> Iterator[S3Server]:
    """Run moto, a simulator of Amazon's answers; it checks neither signatures nor checksums."""

    def command(_: Path) -> tuple[Sequence[str], int]:
        (port,) = _free_ports(1)
        return [_program("moto_server"), "-H", "127.0.0.1", "-p", str(port)], port

    with _running(command, folder) as server:
        yield server


@contextlib.contextmanager
def running_rclone(folder: Path) -> Iterator[S3Server]:
    """Run rclone as an S3 server: it takes `If-None-Match` and overwrites all the same."""

    def command(data: Path) -> tuple[Sequence[str], int]:
        (port,) = _free_ports(1)
        address = f"127.0.0.1:{port}"
        return [_program("rclone"), "serve", "s3", "--auth-key", ",".join(_OWNER), "--addr", address, str(data)], port

    with _running(command, folder) as server:
        yield server


def _identity(name: str, credentials: tuple[str, str], actions: list[str]) -> dict[str, object]:
    access_key, secret_key = credentials
    return {"name": name, "credentials": [{"accessKey": access_key, "secretKey": secret_key}], "actions": actions}


@contextlib.contextmanager
def _running(command: Callable[[Path], tuple[Sequence[str], int]], folder: Path) -> Iterator[S3Server]:
    """Start what `command` says for a data folder, until it takes a PUT; a server that dies on a taken port is started anew."""
    for start in range(_STARTS):
        data = folder / f"data-{start}"
        data.mkdir(mode=0o700)
        arguments, port = command(data)
        log = folder / f"log-{start}"
        with log.open("wb") as output:
            process = subprocess.Popen(
                arguments,
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={"PATH": os.environ["PATH"], "HOME": str(folder), "TMPDIR": str(folder)},
            )
        try:
            server = S3Server(f"http://127.0.0.1:{port}", BUCKET, *_OWNER)
            if _is_ready(server, process):
                yield server
                return
        finally:
            _end(process)
    said = log.read_text(errors="replace")[-2000:]
    raise RuntimeError(f"{arguments[0]} did not take a PUT within {_READY_WITHIN_S} s; it said: {said}")


def _is_ready(server: S3Server, process: subprocess.Popen[bytes]) -> bool:
    """Wait for a PUT to succeed; tell whether it did before the time was over or the process ended."""
    client = boto3.client(
        "s3",
        endpoint_url=server.endpoint_url,
        aws_access_key_id=server.access_key,
        aws_secret_access_key=server.secret_key,
        region_name="us-east-1",
        config=Config(
            s3={"addressing_style": "path"}, retries={"total_max_attempts": 1}, connect_timeout=2, read_timeout=10
        ),
    )
    deadline = time.monotonic() + _READY_WITHIN_S
    while time.monotonic() < deadline and process.poll() is None:
        try:
            if not any(bucket["Name"] == server.bucket for bucket in client.list_buckets()["Buckets"]):
                client.create_bucket(Bucket=server.bucket)
            client.put_object(Bucket=server.bucket, Key="ready", Body=b"ready")
            return True
        except (BotoCoreError, ClientError):
            time.sleep(0.2)
    return False


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(_END_WITHIN_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _program(name: str) -> str:
    beside_python = Path(sys.executable).parent
    found = shutil.which(name, path=f"{beside_python}{os.pathsep}{os.environ['PATH']}")
    if found is None:
        raise FileNotFoundError(f"the program {name} is not installed; install the extra `dev`")
    return found


def _free_ports(count: int) -> list[int]:
    """Return ports that nobody listens on, nor on their twins 10,000 above, which SeaweedFS opens too."""
    found: list[int] = []
    with contextlib.ExitStack() as held:
        while len(found) < count:
            one = held.enter_context(socket.socket())
            one.bind(("127.0.0.1", 0))
            port = one.getsockname()[1]
            if port + 10000 > 65535:
                continue
            try:
                held.enter_context(socket.socket()).bind(("127.0.0.1", port + 10000))
            except OSError:
                continue
            found.append(port)
    return found
