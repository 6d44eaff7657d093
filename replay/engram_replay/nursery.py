"""The parent's side of the nursery: a warm process, which has loaded the runtime, makes a process for each student.

Starting Python with a runtime takes most of a second, a fork of one that has it some milliseconds; what the processes have in
common they share. The nursery holds no secret: it begins with an empty environment and is told no key.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from engram_format.errors import Unavailable

_KEPT_VARIABLES: Final = ("PATH", "PYTHONPATH", "VIRTUAL_ENV", "LD_LIBRARY_PATH", "LANG", "LC_ALL", "TZ")
_START_S: Final = 60.0
_ANSWER_S: Final = 20.0
_PID_BYTES: Final = 4
SPAWN: Final = b"S"
KILL: Final = b"K"


@dataclass(frozen=True, slots=True)
class Newborn:
    """A process that waits for its student."""

    pid: int
    socket: socket.socket
    """The only thing that the process can speak through."""


class Nursery:
    """A process that makes processes; started with the first, and anew if it ended. Thread-safe.

    A context manager: all processes end with it.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None
        self._is_closed = False

    def spawn(self, *, memory_bytes: int) -> Newborn:
        """Return a new process that may use `memory_bytes` of address space beyond what it has at rest.

        Raises `Unavailable` where none can be made.
        """
        with self._lock:
            if self._is_closed:
                raise Unavailable("students do not run here any more: open the archive again")
            try:
                ours, theirs = socket.socketpair()
            except OSError as error:
                raise _no_process(str(error)) from error
            try:
                with theirs:
                    pid = self._spawn(theirs, memory_bytes)
            except OSError as error:
                # It does not answer: whatever it has made ends with it.
                ours.close()
                self._end()
                raise _no_process(str(error)) from error
            except BaseException:
                ours.close()
                raise
        if pid == 0:
            # The nursery is well, and so are its other processes.
            ours.close()
            raise _no_process("the system makes no more")
        return Newborn(pid, ours)

    def kill(self, newborn: Newborn) -> None:
        """End a process at once; one that has ended is no error. Waits for nothing."""
        newborn.socket.close()
        control = self._control
        with contextlib.suppress(OSError):
            if control is not None:
                # Without the lock, which is held while a process is made: requests to end one have no answer.
                control.send(KILL + newborn.pid.to_bytes(_PID_BYTES, "little") + bytes(4), socket.MSG_DONTWAIT)

    def close(self) -> None:
        """End all processes, and make no more."""
        with self._lock:
            self._is_closed = True
            self._end()

    def _spawn(self, theirs: socket.socket, memory_bytes: int) -> int:
        """Return the number of a new process that has a socket, 0 if there is none."""
        control = self._running()
        request = SPAWN + min(memory_bytes, 2**62).to_bytes(8, "little")
        socket.send_fds(control, [request], [theirs.fileno()])
        answer = control.recv(_PID_BYTES, socket.MSG_WAITALL)
        if len(answer) != _PID_BYTES:
            raise OSError("the nursery has ended")
        return int.from_bytes(answer, "little")

    def _running(self) -> socket.socket:
        if self._process is not None and self._process.poll() is None and self._control is not None:
            return self._control
        self._end()
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "engram_replay.nursery_child", str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(),),
                env=_environment(),
                cwd="/",
                start_new_session=True,
            )
        self._control = ours
        ours.settimeout(_START_S)
        if ours.recv(1) != SPAWN:
            raise OSError("the nursery did not start: is onnxruntime installed?")
        ours.settimeout(_ANSWER_S)
        return ours

    def _end(self) -> None:
        process, self._process = self._process, None
        control, self._control = self._control, None
        if control is not None:
            control.close()
        if process is not None:
            # Its children die with it: each asked the system for that.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _no_process(reason: str) -> Unavailable:
    return Unavailable(f"no process can be made for a student ({reason}): free some memory and retry")


def _environment() -> dict[str, str]:
    """Return an environment without secrets, in which no library starts threads or reports its use."""
    kept = {name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ}
    if "PYTHONPATH" in kept:
        kept["PYTHONPATH"] = os.pathsep.join(
            str(Path(part).absolute()) for part in kept["PYTHONPATH"].split(os.pathsep)
        )
    return kept | {
        "HOME": "/nonexistent",
        "ORT_DISABLE_TELEMETRY": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "OMP_NUM_THREADS": "1",
        "MALLOC_ARENA_MAX": "2",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
