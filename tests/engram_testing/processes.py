"""What processes hold, as the system tells it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path


def family(pid: int) -> Iterator[int]:
    """Yield a process and all that descend from it, those that have ended and were not waited for among them."""
    yield pid
    try:
        threads = list(Path(f"/proc/{pid}/task").iterdir())
    except OSError:
        return
    for thread in threads:
        for child in _read(thread / "children").split():
            yield from family(int(child))


def _read(path: Path) -> str:
    """Return what the system says of a process, nothing of one that has ended meanwhile."""
    try:
        return path.read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ""


def state(pid: int) -> str:
    """Return the letter of what a process does: R runs, S sleeps, Z has ended, X is gone."""
    return (_read(Path(f"/proc/{pid}/stat")).rpartition(")")[2].split() or ["X"])[0]


def private_mib(pid: int) -> float:
    """Memory that a process and those that descend from it hold alone."""
    total = 0
    for member in family(pid):
        lines = _read(Path(f"/proc/{member}/smaps_rollup")).splitlines()
        total += sum(int(line.split()[1]) for line in lines if line.startswith("Private_"))
    return total / 1024


def files(pid: int) -> int:
    """Return how many files and sockets a process has open."""
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))
