"""Running a command and measuring it, comparing what it wrote, and saying how quiet the machine was."""

from __future__ import annotations

import filecmp
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

_LAUNCH = Path(__file__).with_name("launch.py")


@dataclass(frozen=True)
class Measure:
    """One run of one command."""

    seconds: float
    cpu_s: float
    """User and system time of the process and of what it waited for."""
    peak_mb: float


def measured(command: list[str], *, environment: Mapping[str, str], folder: Path | None = None) -> Measure:
    """Run a command, named by its path, to its end, in a folder; leave the benchmark with what it said if it fails."""
    ran = subprocess.run(
        [sys.executable, "-I", "-S", str(_LAUNCH), *command],
        env=environment,
        cwd=folder,
        capture_output=True,
        check=True,
    )
    status, seconds, cpu_s, peak_kib = json.loads(ran.stdout)
    if status:
        raise SystemExit(f"{' '.join(command)} ended with status {status}: {ran.stderr.decode(errors='replace')}")
    return Measure(seconds, cpu_s, peak_kib / 1024)


def program(name: str, *, remedy: str) -> str:
    """Return the path of a command, beside this Python or on the PATH; leave the benchmark with what to do if there is none."""
    found = find_program(name)
    if found is None:
        raise SystemExit(f"{name} is not installed: {remedy}, then run the benchmark again")
    return found


def find_program(name: str) -> str | None:
    """Return the path of a command, beside this Python or on the PATH."""
    return shutil.which(name, path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")


def require_equal(source: Path, restored: Path) -> None:
    """Leave the benchmark if a restored file, or a file below a restored folder, differs from its source, or is missing."""
    for path in sorted(source.rglob("*")) if source.is_dir() else [source]:
        twin = restored / path.relative_to(source)
        if path.is_file() and not (twin.is_file() and filecmp.cmp(path, twin, shallow=False)):
            raise SystemExit(f"{twin} is not what was deposited")


def size_of(folder: Path) -> int:
    """Add up the files below a folder, in bytes."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def verdict(value: float, *, at_most: float | None = None, at_least: float | None = None) -> str:
    """Return the value beside its target, if there is one, and whether it is reached: `0.70 (at most 0.72: reached)`."""
    if at_most is None and at_least is None:
        return f"{value:.2f}"
    if at_most is not None:
        reached, target = value <= at_most, f"at most {at_most:g}"
    else:
        reached, target = value >= (at_least or 0), f"at least {at_least:g}"
    return f"{value:.2f} ({target}: {'reached' if reached else 'NOT reached'})"


def machine() -> str:
    """Say how many processors there are and how busy they have been in the last minute, for whoever reads the numbers."""
    return f"machine: {os.cpu_count()} processors, load {os.getloadavg()[0]:.1f} in the last minute"
