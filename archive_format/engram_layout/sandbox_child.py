"""The limited child: plans files that its parent names on standard input, until that ends.

Run as `python -m engram_layout.sandbox_child`. It takes away from itself what a planner does not need (memory, time, files to
write, the network) before it looks at the first file. What it cannot take away it does without: the parent's clock and the
check of every answer hold in any case.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, Final

from engram_format.encoding import Fields, encode
from engram_layout.plan import Planned

_CLONE_NEWNET: Final = 0x40000000
_CLONE_NEWUSER: Final = 0x10000000
_PR_SET_NO_NEW_PRIVS: Final = 38
_PR_SET_DUMPABLE: Final = 4
_OPEN_FILES: Final = 64

PlanFile = Callable[[BinaryIO, Path, int, bytes], Planned]


def main(plan: PlanFile | None = None) -> None:
    """Serve until standard input ends."""
    source, sink = _private_pipes()
    _limit()
    at_rest = _address_space()
    while (request := _receive(source)) is not None:
        fields = Fields.of(request, what="a request to the planner", known=range(1, 5))
        _limit_this_file(memory=at_rest + fields.integer(3), cpu_s=fields.integer(4))
        _send(sink, _answer(Path(os.fsdecode(fields.raw(1))), fields.integer(2), plan or _plan_file))


def _answer(path: Path, size: int, plan: PlanFile) -> bytes:
    """Return the encoded plan, or the reason why there is none: field 1 or field 2."""
    try:
        with path.open("rb") as file:
            from engram_layout.detect import HEAD_BYTES  # Imported here: the first file pays for it, not the start.

            head = file.read(HEAD_BYTES)
            file.seek(0)
            return encode({1: plan(file, path, size, head).to_bytes()})
    except MemoryError:
        return encode({2: "its parser asked for too much memory"})
    except Exception as error:  # noqa: BLE001 (whatever a parser raises, the file is stored as bytes)
        return encode({2: f"its parser failed with {type(error).__name__}: {' '.join(str(error).split())[:200]}"})


def _plan_file(file: BinaryIO, path: Path, size: int, head: bytes) -> Planned:
    from engram_layout.planning import plan_file

    return plan_file(file, path=path, size=size, head=head)


def _private_pipes() -> tuple[BinaryIO, BinaryIO]:
    """Keep the pipes for ourselves: what a library prints, or reads from standard input, goes nowhere."""
    source, sink = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nowhere = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(nowhere, descriptor)
    os.close(nowhere)
    return source, sink


def _limit() -> None:
    """Give up what no planner needs; must come before anything has started a thread."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
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


def _limit_this_file(*, memory: int, cpu_s: int) -> None:
    """Allow `memory` bytes of address space in all, whatever earlier files have left, and `cpu_s` seconds more."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    for limit, value in (
        (resource.RLIMIT_AS, memory),
        (resource.RLIMIT_CPU, int(used.ru_utime + used.ru_stime) + 1 + cpu_s),
    ):
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(limit, (value, resource.getrlimit(limit)[1]))


def _address_space() -> int:
    try:
        return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    except (OSError, ValueError):
        return 2**30


def _receive(source: BinaryIO) -> bytes | None:
    length = source.read(8)
    return source.read(int.from_bytes(length, "little")) if len(length) == 8 else None


def _send(sink: BinaryIO, answer: bytes) -> None:
    sink.write(len(answer).to_bytes(8, "little") + answer)
    sink.flush()


if __name__ == "__main__":
    main()
    sys.exit(0)
