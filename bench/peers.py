"""Other people's servers and clients for the length of a benchmark, each in an environment of its own.

An environment is made once in a folder and used again while its packages are the ones asked for.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
import venv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import replay_models
from measuring import machine

ONNXRUNTIME = f"onnxruntime=={version('onnxruntime')}"
"""The runtime that students run on here, for the peers as well."""

_READY_WITHIN_S = 120
_END_WITHIN_S = 10


@dataclass(frozen=True)
class Peer:
    """A server that is ready."""

    name: str
    address: str
    """Host and port of its gRPC service."""
    model: str
    """The name of the model that it serves."""


def environment(folder: Path, name: str, requirements: Sequence[str], *, alone: Sequence[str] = ()) -> Path:
    """Return the Python of an environment with these packages, making it if it is not there; `alone` come without dependencies."""
    home = folder / name
    python, installed = home / "bin" / "python", home / "installed.txt"
    wanted = "\n".join([*requirements, *alone])
    if not installed.is_file() or installed.read_text() != wanted:
        venv.create(home, with_pip=True, clear=True)
        for options, packages in ((["--no-deps"], alone), ([], requirements)):
            if packages:
                pip = [
                    str(python),
                    "-m",
                    "pip",
                    "install",
                    "--quiet",
                    "--disable-pip-version-check",
                    *options,
                    *packages,
                ]
                ran = subprocess.run(pip, capture_output=True, text=True, check=False)
                if ran.returncode:
                    raise SystemExit(
                        f"{', '.join(packages)} cannot be installed for {name}: {ran.stderr.strip()[-1000:]}"
                    )
        installed.write_text(wanted)
    return python


def packages_of(python: Path) -> Path:
    """Return the folder where an environment keeps its packages."""
    return next((python.parent.parent / "lib").glob("python3*")) / "site-packages"


def free_ports(count: int) -> list[int]:
    """Return ports of this machine that nobody listens on."""
    with contextlib.ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


@contextlib.contextmanager
def running(
    command: Sequence[str | Path], *, name: str, folder: Path, ready: str, settings: Mapping[str, str]
) -> Iterator[None]:
    """Run a server in a folder until it is no longer needed; begin when it answers at the address `ready` with status 200.

    Called from the main thread: whoever terminates the benchmark ends the server too.
    """
    log = folder / f"{name}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [str(part) for part in command],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={"PATH": os.environ["PATH"], "HOME": str(folder), "TMPDIR": str(folder), **settings},
        )
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        deadline = time.monotonic() + _READY_WITHIN_S
        while not _answers(ready):
            if process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"{name} did not start: {log.read_text(errors='replace')[-4000:]}")
            time.sleep(0.2)
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
        process.terminate()
        try:
            process.wait(_END_WITHIN_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _answers(address: str) -> bool:
    try:
        with urllib.request.urlopen(address, timeout=5) as answer:
            return bool(answer.status == http.client.OK)
    except (OSError, urllib.error.URLError, http.client.HTTPException):
        return False


def python_library() -> Path:
    """Return the folder of this Python's shared library, which embedding it needs; leave the benchmark if it has none."""
    name = f"libpython{sys.version_info.major}.{sys.version_info.minor}.so.1.0"
    for folder in (Path(sys.base_prefix) / "lib", Path("/usr/lib/x86_64-linux-gnu")):
        if (folder / name).exists():
            return folder
    raise SystemExit(
        f"{name} is not there: install Debian's package lib{name.removeprefix('lib').removesuffix('.so.1.0')}"
    )


# The client


def stepped_over_oip(
    folder: Path,
    peer: Peer,
    *,
    stream: bool,
    sequence: bool = True,
    minds: int = 1,
    shape: Sequence[int] | None = None,
    seconds: float = 3.0,
    bare: bool = True,
) -> dict[str, Any]:
    """Return what `oip_client.py` prints about a server; `folder` keeps the client's environment for the next time."""
    python = environment(folder, "tritonclient", ["tritonclient[grpc]==2.73.0"])
    command = [
        *(str(python), str(Path(__file__).with_name("oip_client.py")), peer.address, f"--model={peer.model}"),
        "--stream" if stream else "--unary",
        *(["--sequence"] if sequence else []),
        *(["--bare"] if bare else []),
        *([f"--shape={','.join(map(str, shape))}"] if shape else []),
        f"--minds={minds}",
        f"--seconds={seconds}",
    ]
    ran = subprocess.run(command, capture_output=True, text=True, check=False, env={"PATH": os.environ["PATH"]})
    if ran.returncode:
        raise SystemExit(f"the client of {peer.name} failed: {ran.stderr.strip()[-1000:]}")
    measured: dict[str, Any] = json.loads(ran.stdout)
    return measured


def add_peer_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that the scripts of all peers take."""
    parser.add_argument("--folder", type=Path, help="where environments are kept; a temporary folder else")
    parser.add_argument("--student", choices=replay_models.SIZES, default="gru")
    parser.add_argument("--minds", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=3.0)


@contextlib.contextmanager
def folder_of(options: argparse.Namespace) -> Iterator[Path]:
    """Return the folder that was asked for, or one that is removed in the end."""
    if options.folder is not None:
        options.folder.mkdir(parents=True, exist_ok=True)
        yield options.folder.resolve()
        return
    with tempfile.TemporaryDirectory(prefix="engram-peers-") as name:
        yield Path(name)


def print_measured(folder: Path, peer: Peer, options: argparse.Namespace, *, modes: Sequence[str]) -> None:
    """Print what a client sees of a peer, through tritonclient and through its stubs alone."""
    print(f"{peer.name}, {options.student}, {options.minds} minds; {machine()}")
    for mode in modes:
        for bare in (False, True):
            seen = stepped_over_oip(
                folder, peer, stream=mode == "stream", minds=options.minds, seconds=options.seconds, bare=bare
            )
            print(
                f"{mode:7} {'stubs' if bare else 'tritonclient':13} p50 {seen['p50_us']:6.0f} us, p99 {seen['p99_us']:7.0f} us, "
                f"{seen['steps_per_s']:7.0f} steps/s, responses {seen['sha256_of_first_responses'][:12]}",
                flush=True,
            )
