"""The nursery: a process that has loaded the runtime and forks a process for each student.

Run as `python -m engram_replay.nursery_child DESCRIPTOR`. It has one thread, so that forking is safe, and gives up what no
student needs (files to write, the network, a folder to look into) before it forks for the first time.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import select
import signal
import socket
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Final

_CLONE_NEWNET: Final = 0x40000000
_CLONE_NEWUSER: Final = 0x10000000
_PR_SET_PDEATHSIG: Final = 1
_PR_SET_NO_NEW_PRIVS: Final = 38
_OPEN_FILES: Final = 64
_REQUEST_BYTES: Final = 9
_PID_BYTES: Final = 4
_LOOK_S: Final = 0.5


def main(descriptor: int) -> None:
    """Make processes until the parent is gone."""
    control = socket.socket(fileno=descriptor)
    _limit()  # before anything has started a thread
    import engram_replay.runner  # Loads the runtime, once for all processes.
    from engram_replay.plain_network import plain_network

    plain_network()  # what all processes warm up with
    control.sendall(b"S")
    children: set[int] = set()
    while True:
        _reap(children)
        if not select.select([control], [], [], _LOOK_S)[0]:
            continue
        request, descriptors = _receive(control)
        if len(request) != _REQUEST_BYTES:
            return  # the parent has gone
        argument = request[1:]
        if request[:1] == b"K":
            pid = int.from_bytes(argument[:_PID_BYTES], "little")
            # Only a child that has not been waited for: its number cannot be anybody else's.
            if pid in children:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            continue
        pid = _fork(control, descriptors, memory=int.from_bytes(argument, "little"), run=engram_replay.runner.run)
        for opened in descriptors:
            os.close(opened)
        if pid:
            children.add(pid)
        control.sendall(pid.to_bytes(_PID_BYTES, "little"))


def _fork(control: socket.socket, descriptors: list[int], *, memory: int, run: Callable[[socket.socket], None]) -> int:
    """Return the number of a new process, 0 if there is none."""
    if len(descriptors) != 1:
        return 0
    try:
        pid = os.fork()
    except OSError:
        return 0
    if pid:
        return pid
    code = 1
    try:
        control.close()
        _die_with_parent()
        _limit_memory(memory)
        run(socket.socket(fileno=descriptors[0]))
        code = 0
    finally:
        os._exit(code)
    return 0


def _receive(control: socket.socket) -> tuple[bytes, list[int]]:
    data, descriptors, _, _ = socket.recv_fds(control, _REQUEST_BYTES, 1)
    while data and len(data) < _REQUEST_BYTES:
        more = control.recv(_REQUEST_BYTES - len(data))
        if not more:
            break
        data += more
    return data, descriptors


def _reap(children: set[int]) -> None:
    for pid in list(children):
        with contextlib.suppress(ChildProcessError):
            if os.waitpid(pid, os.WNOHANG)[0] == 0:
                continue
        children.discard(pid)


def _limit() -> None:
    """Give up what no student needs."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    _enter_empty_folder()
    for limit, value in (
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NOFILE, _OPEN_FILES),
    ):
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(limit, (value, value))
    with contextlib.suppress(OSError, AttributeError):
        libc = ctypes.CDLL(None, use_errno=True)
        libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
        # A network of its own, with no interface in it: directly if we may, else in a user namespace, else not at all.
        if libc.unshare(_CLONE_NEWNET) != 0:
            libc.unshare(_CLONE_NEWUSER | _CLONE_NEWNET)


def _enter_empty_folder() -> None:
    """Work in a folder that has no entries and no name any more: nothing can be found in it or put there."""
    folder = tempfile.mkdtemp(prefix="engram-empty-")
    os.chdir(folder)
    Path(folder).rmdir()


def _die_with_parent() -> None:
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() == 1:
        os._exit(1)


def _limit_memory(memory: int) -> None:
    """Allow `memory` bytes of address space beyond what is in use."""
    with contextlib.suppress(OSError, ValueError):
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + memory, used + memory))


if __name__ == "__main__":
    main(int(sys.argv[1]))
    sys.exit(0)
