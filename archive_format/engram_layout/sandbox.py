"""Plan files in a limited child process, so that a file that breaks its parser breaks nothing else.

The child has bounded memory, time and open files, writes nothing, and has no network where the system lets it give that up.
Its answer is checked like bytes from a stranger. Whatever goes wrong, the file is stored as plain bytes with one warning.
"""

from __future__ import annotations

import os
import selectors
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from engram_format.encoding import Fields, encode
from engram_format.errors import FormatError
from engram_layout.opaque import plan_opaque
from engram_layout.plan import MAX_PLAN_BYTES, Planned
from engram_layout.planning import planner_of

_MAX_ANSWER_BYTES: Final = MAX_PLAN_BYTES + 2**20
_PIECE: Final = 2**20
_KEPT_VARIABLES: Final = ("PATH", "PYTHONPATH", "VIRTUAL_ENV", "LD_LIBRARY_PATH", "LANG", "LC_ALL", "TZ")


@dataclass(frozen=True, slots=True)
class Limits:
    """What one file may cost."""

    memory: int = 2 * 2**30
    """Bytes of address space beyond those of the child at rest."""
    cpu_s: int = 30
    wall_s: float = 30.0


class PlannerProcess:
    """A child that plans one file after another; it is started for the first, and anew after a crash or a limit.

    A context manager: the child ends with it. Not for two threads at once.
    """

    module = "engram_layout.sandbox_child"

    def __init__(self, limits: Limits | None = None) -> None:
        self._limits = limits or Limits()
        self._child: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the child, if there is one."""
        child, self._child = self._child, None
        if child is None:
            return
        child.kill()
        for pipe in (child.stdin, child.stdout):
            if pipe is not None:
                pipe.close()
        child.wait()

    def plan(self, path: Path, *, size: int, head: bytes) -> Planned:
        """Return the plan of the file of `size` bytes at `path` that begins with `head` (its first `HEAD_BYTES`).

        Never fails because of the file: where no plan can be had, it is opaque, and a warning says why.
        """
        if not planner_of(path, size=size, head=head):
            return Planned(plan_opaque(size))
        try:
            return self._checked(self._ask(path, size=size), size=size)
        except _NoPlanError as reason:
            return Planned(plan_opaque(size), {}, (f"{path.name} is stored as plain bytes: {reason}",))

    def _checked(self, answer: bytes, *, size: int) -> Planned:
        """Read the child's answer as one that may lie."""
        try:
            fields = Fields.of(answer, what="a planner's answer", known=range(1, 3))
            if fields.has(2):
                self.close()  # What failed may have left its parser in a bad state; the next file gets a fresh one.
                raise _NoPlanError(fields.text(2)[:500])
            planned = Planned.from_bytes(fields.raw(1))
        except (FormatError, ValueError) as error:
            self.close()
            raise _NoPlanError("its parser gave an answer that cannot be") from error
        if planned.plan.size != size:
            self.close()
            raise _NoPlanError("its parser gave the plan of another file")
        return planned

    def _ask(self, path: Path, *, size: int) -> bytes:
        """Send one request and return the answer; the child is gone if there is none."""
        deadline = time.monotonic() + self._limits.wall_s
        request = encode({1: os.fsencode(path.absolute()), 2: size, 3: self._limits.memory, 4: self._limits.cpu_s})
        child = self._running()
        if child.stdin is None or child.stdout is None:
            raise AssertionError("the child was started with pipes")
        try:
            child.stdin.write(len(request).to_bytes(8, "little") + request)
            child.stdin.flush()
            return self._receive(child, _checked_length(self._receive(child, 8, deadline)), deadline)
        except OSError as error:
            self.close()
            raise _NoPlanError("its parser ended without an answer") from error
        except BaseException:
            self.close()
            raise

    def _running(self) -> subprocess.Popen[bytes]:
        if self._child is None or self._child.poll() is not None:
            self.close()
            self._child = subprocess.Popen(
                [sys.executable, "-P", "-m", self.module],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env=_environment(),
                cwd="/",
                start_new_session=True,
            )
        return self._child

    def _receive(self, child: subprocess.Popen[bytes], length: int, deadline: float) -> bytes:
        """Read exactly `length` bytes before `deadline` on the monotonic clock."""
        if child.stdout is None:
            raise AssertionError("the child was started with pipes")
        descriptor, parts = child.stdout.fileno(), bytearray()
        with selectors.DefaultSelector() as selector:
            selector.register(descriptor, selectors.EVENT_READ)
            while len(parts) < length:
                if not selector.select(max(0.0, deadline - time.monotonic())):
                    raise _NoPlanError(f"its parser did not end within {self._limits.wall_s:g} s")
                part = os.read(descriptor, min(_PIECE, length - len(parts)))
                if not part:
                    raise _NoPlanError(_cause_of_death(child))
                parts += part
        return bytes(parts)


class _NoPlanError(Exception):
    """There is no plan; the text says why and follows a colon."""


def _checked_length(head: bytes) -> int:
    length = int.from_bytes(head, "little")
    if length > _MAX_ANSWER_BYTES:
        raise _NoPlanError(f"its plan has {length} bytes, more than {_MAX_ANSWER_BYTES}")
    return length


def _cause_of_death(child: subprocess.Popen[bytes]) -> str:
    try:
        code = child.wait(timeout=5)
    except subprocess.TimeoutExpired:
        return "its parser closed the connection"
    return f"its parser was ended by signal {-code}" if code < 0 else f"its parser ended with code {code}"


def _environment() -> dict[str, str]:
    """Return an environment without secrets, in which HDF5 loads no foreign code and NumPy starts no threads."""
    kept = {name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ}
    if "PYTHONPATH" in kept:
        # The child starts elsewhere: what was relative to our folder is said in full.
        kept["PYTHONPATH"] = os.pathsep.join(
            str(Path(part).absolute()) for part in kept["PYTHONPATH"].split(os.pathsep)
        )
    return kept | {
        "HDF5_USE_FILE_LOCKING": "FALSE",
        "HDF5_PLUGIN_PATH": "/nonexistent",
        "HDF5_PLUGIN_PRELOAD": "::",
        "HOME": "/nonexistent",
        "OPENBLAS_NUM_THREADS": "1",
        "OMP_NUM_THREADS": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
