"""Deposit and restore of a folder of many small files, beside restic and `tar | zstd` on the same tree in the same run.

The tree has 10,000 files of 10 KB in nested folders, pieces of a generated recording, with times and modes of all sorts. It
goes into a directory archive opened in the process, and into another through `engram serve`; what comes back is compared
with the tree: bytes, times of change, modes. Prints the medians of several rounds, in which the tools take turns. What they
wrote stays until the end: a file system that has just removed many files makes new ones slowly.

    python bench/folder.py [--files 10000] [--size 10240] [--rounds 3] [--folder DIR] [--only TOOL]
"""

from __future__ import annotations

import argparse
import itertools
import os
import random
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import extracellular
from measuring import Measure, measured, size_of, verdict

_ENGRAM = str(Path(sys.executable).parent / "engram")
_TOOLS = ("engram", "engram serve", "restic", "tar | zstd")
_SECONDS_AT_ONCE = 8
_AT_MOST_S = 30
"""For 10,000 files of 10 KB."""
_MODES = (0o644, 0o600, 0o755, 0o640, 0o444)
_FOLDER_MODES = (0o755, 0o700, 0o555)


def write_tree(top: Path, *, files: int, size: int) -> None:
    """Write `files` files of `size` bytes, a hundred to a folder, ten folders to the one above."""
    chance = random.Random(0)
    pieces = _pieces(size)
    for number in range(files):
        folder = top / f"session-{number // 1000:03}" / f"channel-{number // 100 % 10}"
        if number % 100 == 0:
            folder.mkdir(parents=True)
        path = folder / f"{number % 100}.chunk"
        path.write_bytes(next(pieces))
        path.chmod(chance.choice(_MODES))
        time_ns = 1_600_000_000_000_000_000 + chance.randrange(10**17)
        os.utime(path, ns=(time_ns, time_ns))
    (top / "session-000" / "nothing").mkdir()
    for folder in sorted((path for path in top.rglob("*") if path.is_dir()), reverse=True):
        folder.chmod(chance.choice(_FOLDER_MODES))
        time_ns = 1_600_000_000_000_000_000 + chance.randrange(10**17)
        os.utime(folder, ns=(time_ns, time_ns))


def _pieces(size: int) -> Iterator[bytes]:
    rest = b""
    for seed in itertools.count():
        rest += extracellular.recording(_SECONDS_AT_ONCE, seed=seed).tobytes()
        while len(rest) >= size:
            yield rest[:size]
            rest = rest[size:]


def require_equal(source: Path, restored: Path) -> None:
    """Raise unless both trees have the same files and folders, with the same bytes, times of change and modes."""
    names = sorted(path.relative_to(source) for path in source.rglob("*"))
    found = sorted(path.relative_to(restored) for path in restored.rglob("*"))
    if names != found:
        raise SystemExit(f"{restored} has {len(found)} files and folders, deposited were {len(names)}")
    for name in names:
        ours, theirs = source / name, restored / name
        before, after = ours.stat(), theirs.stat()
        if before.st_mtime_ns != after.st_mtime_ns or before.st_mode != after.st_mode:
            raise SystemExit(f"{theirs} came back with another time or mode: {before} and {after}")
        if ours.is_file() and ours.read_bytes() != theirs.read_bytes():
            raise SystemExit(f"{theirs} is not what was deposited")


def engram_round(folder: Path, source: Path, *, served: bool) -> tuple[Measure, Measure]:
    """Make an archive, deposit the tree, restore it, compare; through a service if `served`."""
    environment = os.environ | {
        "ENGRAM_ARCHIVE": str(folder / "stored"),
        "ENGRAM_IDENTITY": str(folder / "identity.txt"),
        "XDG_STATE_HOME": str(folder / "state"),
    }
    measured([_ENGRAM, "init"], environment=environment)
    measured([_ENGRAM, "vault", "create", "bench"], environment=environment)
    with service(environment) if served else _nothing(environment) as client:
        deposit = measured([_ENGRAM, "deposit", str(source), "--to", "bench/tree"], environment=client)
        restored = folder / "restored"
        restore = measured([_ENGRAM, "restore", "bench/tree", str(restored)], environment=client)
    require_equal(source, restored)
    return deposit, restore


@contextmanager
def _nothing(environment: dict[str, str]) -> Iterator[dict[str, str]]:
    yield environment


@contextmanager
def service(environment: dict[str, str]) -> Iterator[dict[str, str]]:
    """Run `engram serve` on a free port and yield the environment of its clients."""
    process = subprocess.Popen(
        [_ENGRAM, "serve", "--listen", "127.0.0.1:0"],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert process.stdout is not None
        url = process.stdout.readline().split()[-1]
        yield environment | {"ENGRAM_ARCHIVE": url}
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()


def restic_round(folder: Path, source: Path) -> tuple[Measure, Measure]:
    """Do the same with restic."""
    environment = os.environ | {"RESTIC_REPOSITORY": str(folder / "stored"), "RESTIC_PASSWORD": "a test"}
    environment["XDG_CACHE_HOME"] = str(folder / "cache")
    measured(["restic", "init", "--quiet"], environment=environment)
    deposit = measured(["restic", "backup", "--quiet", str(source)], environment=environment)
    restored = folder / "restored"
    restore = measured(["restic", "restore", "--quiet", "latest", "--target", str(restored)], environment=environment)
    require_equal(source, restored / source.relative_to("/"))
    return deposit, restore


def tar_round(folder: Path, source: Path) -> tuple[Measure, Measure]:
    """Do the same with tar and zstd, which neither encrypt nor deduplicate nor verify."""
    environment = dict(os.environ)
    restored = folder / "restored"
    restored.mkdir()
    (folder / "stored").mkdir()
    packed = folder / "stored" / "tree.tar.zst"
    pack = f"tar -C '{source}' --format=posix -cf - . | zstd -q -3 > '{packed}'"
    unpack = f"zstd -q -dc '{packed}' | tar -C '{restored}' -xpf -"
    deposit = measured(["sh", "-c", f"{pack}; sync -f '{packed}'"], environment=environment)
    restore = measured(["sh", "-c", unpack], environment=environment)
    require_equal(source, restored)
    return deposit, restore


def run(tool: str, folder: Path, source: Path) -> tuple[Measure, Measure]:
    """Run one round of one tool."""
    if tool == "restic":
        return restic_round(folder, source)
    if tool == "tar | zstd":
        return tar_round(folder, source)
    return engram_round(folder, source, served=tool == "engram serve")


def main() -> None:
    """Run the rounds and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--size", type=int, default=10_240)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", type=Path, help="where to work; a temporary folder by default")
    parser.add_argument("--only", action="append", choices=_TOOLS, help="run only this; may be repeated")
    options = parser.parse_args()
    tools = tuple(options.only or _TOOLS)
    if "restic" in tools and shutil.which("restic") is None:
        raise SystemExit("restic is not installed: 'apt-get install restic', then run the benchmark again")
    results: dict[str, list[Measure]] = defaultdict(list)
    with tempfile.TemporaryDirectory(dir=options.folder, prefix="engram-bench-") as name:
        top = Path(name)
        source = top / "tree"
        write_tree(source, files=options.files, size=options.size)
        size = options.files * options.size / 1e6
        for number in range(options.rounds):
            for tool in tools:
                folder = top / f"{tool}-{number}"
                folder.mkdir()
                deposit, restore = run(tool, folder, source)
                results[f"{tool}, deposit"].append(deposit)
                results[f"{tool}, restore"].append(restore)
                stored = size_of(folder / "stored") / 1e6
                told = f"deposit {deposit.seconds:.1f} s, restore {restore.seconds:.1f} s, stored {stored:.1f} MB"
                print(f"round {number + 1} {tool}: {told} of {size:.1f}, {stored / size:.3f}", flush=True)
        print(f"\n{'':24}{'s':>8}{'CPU s':>8}{'peak MB':>9}   (medians of {options.rounds})")
        for job, measures in results.items():
            seconds = statistics.median(measure.seconds for measure in measures)
            cpu = statistics.median(measure.cpu_s for measure in measures)
            peak = max(measure.peak_mb for measure in measures)
            target = f"   {verdict(seconds, at_most=_AT_MOST_S)}" if job.startswith("engram") else ""
            print(f"{job:24}{seconds:8.1f}{cpu:8.1f}{peak:9.0f}{target}")


if __name__ == "__main__":
    main()
