"""The main job through the service, on real data that ships with the project: deposit, distil, restore, replay, certify.

Nothing here is special to the demonstration: the archive is an ordinary directory, the service is `engram serve` in a process
of its own, and all work goes through the gRPC client, as it would from another machine.
"""

from __future__ import annotations

import hashlib
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
from engram_client.demo.retina import NWB_FILE, RETINA_BARS_NWB
from engram_client.demo.retina_nwb import REPEATED
from engram_client.embedded import create_archive
from engram_client.fidelity.certifying import certify_student, keep_certificate
from engram_client.fidelity.distilling import Recipe, distill_recording
from engram_client.fidelity.reading import read_experiment
from engram_client.opening import open as open_archive
from engram_client.transfer import deposit_files, restore_file
from engram_fidelity.report import draw
from engram_format.address import Address
from engram_format.errors import Damaged, Unavailable
from engram_store.identity import new_identity, save_identity

Say = Callable[[str], None]

_MEMORY: Final = Address("retina", "bars")
_RECORDING: Final = _MEMORY.of(RETINA_BARS_NWB.name)
_STUDENT: Final = "students/bars.onnx"
_STIMULUS: Final = "stimuli/held-out.npy"
_AUTHOR: Final = "engram demo"
_UPDATES: Final = 500
"""A quarter of what the tier takes by itself, which is some seconds."""
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
        _deposit_recordings(archive, say=say)
        _distil(archive, say=say)
        _list(archive, say=say)
        _restore(archive, folder, say=say)
        _replay(archive, folder, say=say)
        _certify(archive, folder, say=say)
    say("The service has stopped. Try next:")
    program = shlex.join([str(Path(sys.executable).parent / "engram"), "--archive", url, "--identity", str(key_file)])
    for command in ("ls retina/bars", "log retina/bars", f"show retina/bars:{_STUDENT}", "verify"):
        say(f"  {program} {command}")


def _deposit_recordings(archive: Archive, *, say: Say) -> None:
    version = deposit_files(
        archive,
        [RETINA_BARS_NWB],
        to=_MEMORY,
        message="Ganglion cells of a retina watch moving bars (Mahuas et al. 2020)",
        author=_AUTHOR,
        metadata={"licence": "MIT", "consent.duo": "NRES", "consent.model_training": True},
    )
    say(f"Deposited the retina's recording as {version.address}")
    version = deposit_files(archive, [NWB_FILE], to=_MEMORY, message="Sorted units in NWB (pynapple)", author=_AUTHOR)
    say(f"Deposited {NWB_FILE.name} as {version.address}")


def _distil(archive: Archive, *, say: Say) -> None:
    say("Distilling a student from 27 minutes of the recording; what was shown again and again is held out ...")
    recipe = Recipe(tier="fast", seed=0, updates=_UPDATES)
    student = distill_recording(archive, _RECORDING, to=_MEMORY.of(_STUDENT), recipe=recipe, author=_AUTHOR)
    say(f"Deposited the student as {student.address}, {student.size:,} B, made from the recording")


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


def _replay(archive: Archive, folder: Path, *, say: Say) -> None:
    held_out = read_experiment(archive, _RECORDING).of([REPEATED])
    stimulus = folder / "held-out.npy"
    np.save(stimulus, held_out.trials[0].stimulus)
    deposit_files(
        archive,
        [stimulus],
        to=_MEMORY.of(_STIMULUS),
        message="The stimulus that was held out",
        author=_AUTHOR,
        made_from=[archive.artifact(_RECORDING).sha256],
    )
    done = archive.replay(_MEMORY.of(_STUDENT), _MEMORY.of(_STIMULUS), save_to=_MEMORY, author=_AUTHOR)
    if done.saved is None:
        raise Damaged("the replay was not saved, though it was to be")
    lasted_s = len(done.outputs["rate"]) * held_out.bin_s
    say(f"Replayed it for {lasted_s:.1f} s of stimulus and kept what it did as {done.saved.address}")


def _certify(archive: Archive, folder: Path, *, say: Say) -> None:
    say("Certifying it against the 54 repeats that it has never seen ...")
    done = certify_student(archive, _MEMORY.of(_STUDENT), _RECORDING)
    report = draw(done.certificate, done.evidence)
    kept = keep_certificate(archive, done.certificate, report=report, author=_AUTHOR)
    likeness = done.certificate.measure("cc_norm")
    cells = " ".join(f"{one.value:.2f}" for one in likeness.cells if one.value is not None)
    say(f"CC_norm {likeness.mean.value:.3f} in bins of 20 ms, 1 being all that the stimulus explains; by cell {cells}")
    say(f"Grade {done.certificate.grade.letter}: {done.certificate.grade.reason}")
    say(f"The certificate is {kept.address}")
    for name, data in (("certificate.html", report.page), ("certificate.png", report.overview)):
        (folder / name).write_bytes(data)
        say(f"Its report with pictures: {folder / name}")


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
