"""The main job, on real data that ships with the project: deposit, browse, restore and replay, through the service.

Nothing here is special to the demonstration: the archive is an ordinary directory, the service is `engram serve` in a process
of its own, and all work goes through the gRPC client, as it would from another machine.
"""

from __future__ import annotations

import hashlib
import io
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import numpy as np

from engram_client.archive import Archive
from engram_client.demo.picture import draw_replay
from engram_client.demo.retina import BIN_S, NWB_FILE, RETINA_FILES, Recording, load_held_out, load_training
from engram_client.demo.student import build_student, score
from engram_client.embedded import create_archive
from engram_client.opening import open as open_archive
from engram_client.transfer import deposit_files, restore_file
from engram_format.address import Address
from engram_format.catalog import Kind
from engram_format.errors import Damaged, Unavailable
from engram_store.identity import new_identity, save_identity

Say = Callable[[str], None]

_MEMORY: Final = Address("retina", "bars")
_STUDENT: Final = "students/bars.onnx"
_STIMULUS: Final = "stimuli/held-out.npy"
_STOP_S: Final = 30


def run(folder: Path, *, say: Say) -> None:
    """Do the main job in `folder` (an empty or new one), telling each step; raises an `EngramError` where a step fails."""
    url = str(folder / "archive")
    key_file = folder / "identity.txt"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    identity = new_identity()
    save_identity(key_file, identity)
    create_archive(url, identity=identity)
    say(f"A new archive in {url}, sealed to identity {identity.fingerprint}")
    with _service(url, key_file, log=folder / "service.log") as service, open_archive(service) as archive:
        say(f"A service over it: {service}")
        archive.create_vault(_MEMORY.vault)
        held_out = load_held_out()
        _deposit_recordings(archive, say=say)
        _deposit_student(archive, folder, held_out, say=say)
        _list(archive, say=say)
        _restore(archive, folder, say=say)
        _replay(archive, folder, held_out, say=say)
    say("The service has stopped. Try next:")
    program = shlex.join([str(Path(sys.executable).parent / "engram"), "--archive", url, "--identity", str(key_file)])
    for command in ("ls retina/bars", "log retina/bars", f"show retina/bars:{_STUDENT}", "verify"):
        say(f"  {program} {command}")


def _deposit_recordings(archive: Archive, *, say: Say) -> None:
    version = deposit_files(
        archive,
        RETINA_FILES,
        to=_MEMORY,
        kind=Kind.RECORDING,
        message="Ganglion cells of a retina watch moving bars (Mahuas et al. 2020)",
        author="engram demo",
        metadata={"licence": "MIT", "bin_s": 1 / 600, "cells": 6},
    )
    say(f"Deposited the retina's recording as {version.address}")
    version = deposit_files(
        archive, [NWB_FILE], to=_MEMORY, message="Sorted units in NWB (pynapple)", author="engram demo"
    )
    say(f"Deposited {NWB_FILE.name} as {version.address}")


def _deposit_student(archive: Archive, folder: Path, held_out: Recording, *, say: Say) -> None:
    say("Fitting a student to 15 minutes of the recording ...")
    student = folder / "bars.onnx"
    student.write_bytes(build_student(load_training()))
    teacher, held_out_file = (archive.artifact(_MEMORY.of(file.name)).sha256 for file in RETINA_FILES[:2])
    deposit_files(
        archive,
        [student],
        to=_MEMORY.of(_STUDENT),
        message="A small student",
        author="engram demo",
        made_from=[teacher],
    )
    stimulus = folder / "held-out.npy"
    np.save(stimulus, held_out.stimulus[0])
    version = deposit_files(
        archive,
        [stimulus],
        to=_MEMORY.of(_STIMULUS),
        message="The stimulus that was held out",
        author="engram demo",
        made_from=[held_out_file],
    )
    say(f"Deposited the student and the held-out stimulus; the memory is at {version.address}")


def _list(archive: Archive, *, say: Say) -> None:
    for artifact in archive.artifacts(_MEMORY):
        say(
            f"  {artifact.kind:<10} {artifact.size:>9,} B, stored {artifact.stored_size:>9,} B  {artifact.address.path}"
        )


def _restore(archive: Archive, folder: Path, *, say: Say) -> None:
    path = restore_file(archive, _MEMORY.of(NWB_FILE.name), folder / f"restored-{NWB_FILE.name}")
    original, restored = (hashlib.sha256(file.read_bytes()).hexdigest() for file in (NWB_FILE, path))
    if original != restored:
        raise Damaged(f"{path} is not what was deposited: its SHA-256 is {restored}, the original's {original}")
    say(f"Restored {path.name}: SHA-256 {restored} is the original's, too")


def _replay(archive: Archive, folder: Path, held_out: Recording, *, say: Say) -> None:
    done = archive.replay(_MEMORY.of(_STUDENT), _MEMORY.of(_STIMULUS), save_to=_MEMORY, author="engram demo")
    if done.saved is None:
        raise Damaged("the replay was not saved, though it was to be")
    stored = np.load(io.BytesIO(b"".join(archive.read(done.saved.address))))
    (rate_hz,) = (stored[name] for name in stored.files)
    say(f"Replayed it for {len(rate_hz) * BIN_S:.1f} s of stimulus and kept what it did as {done.saved.address}")
    correlation = score(rate_hz, held_out.spikes)
    cells = " ".join(f"{value:.2f}" for value in correlation)
    say(
        f"Correlation with the mean of the {len(held_out.spikes)} recorded repeats (bins of {BIN_S * 1e3:.0f} ms): "
        f"{correlation.mean():.3f}; by cell {cells}"
    )
    picture = folder / "replay.png"
    picture.write_bytes(draw_replay(rate_hz, held_out))
    say(f"A picture of prediction beside record: {picture}")


@contextmanager
def _service(url: str, key_file: Path, *, log: Path) -> Iterator[str]:
    """Run `engram serve` on a free port of this machine while the block lasts; yield its URL."""
    program = [sys.executable, "-m", "engram_client.cli", "--archive", url, "--identity", str(key_file)]
    with log.open("w") as errors:
        server = subprocess.Popen(
            [*program, "serve", "--listen", "127.0.0.1:0"], stdout=subprocess.PIPE, stderr=errors, text=True
        )
    try:
        line = server.stdout.readline() if server.stdout else ""
        _, found, address = line.strip().partition("listening on ")
        if not found:
            raise Unavailable(f"the service over {url} did not start: {log} says why")
        yield address
    finally:
        server.send_signal(signal.SIGTERM)
        try:
            server.wait(timeout=_STOP_S)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()
