"""Deposit and restore of a 512 MB recording into a directory, beside restic on the same file in the same run.

Prints the medians of several rounds, in which the two tools take turns, and their ratios. Both run as commands of their own,
as a user would start them; peak memory is the kernel's figure for the process. Also: what a range of 1 MB costs.

    python bench/deposit_restore.py [--megabytes 512] [--rounds 3] [--folder DIR]
"""

from __future__ import annotations

import argparse
import filecmp
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import recording

from engram_format.address import Address
from engram_server.engine import Archive
from engram_store.identity import load_identity
from engram_store.location import keystore_location, open_location
from engram_store.repository import Repository
from engram_store.wrappers import Metered


@dataclass(frozen=True)
class Measure:
    """One run of one command."""

    seconds: float
    cpu_s: float
    peak_mb: float


def measured(command: list[str], *, environment: dict[str, str]) -> Measure:
    """Run a command to its end; raise if it fails."""
    start = time.perf_counter()
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} ended with status {process.returncode}")
    return Measure(time.perf_counter() - start, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


def engram_round(folder: Path, source: Path) -> tuple[Measure, Measure]:
    """Make an archive, deposit the file, restore it, compare."""
    environment = os.environ | {
        "ENGRAM_ARCHIVE": str(folder / "archive"),
        "ENGRAM_IDENTITY": str(folder / "identity.txt"),
        "XDG_STATE_HOME": str(folder / "state"),
    }
    engram = [str(Path(sys.executable).parent / "engram")]
    measured([*engram, "init"], environment=environment)
    measured([*engram, "vault", "create", "bench"], environment=environment)
    deposit = measured([*engram, "deposit", str(source), "--to", "bench/recording"], environment=environment)
    restored = folder / "restored"
    restore = measured([*engram, "restore", f"bench/recording:{source.name}", str(restored)], environment=environment)
    require_equal(source, restored)
    return deposit, restore


def restic_round(folder: Path, source: Path) -> tuple[Measure, Measure]:
    """Do the same with restic."""
    environment = os.environ | {"RESTIC_REPOSITORY": str(folder / "restic"), "RESTIC_PASSWORD": "a test"}
    environment["XDG_CACHE_HOME"] = str(folder / "cache")
    measured(["restic", "init", "--quiet"], environment=environment)
    deposit = measured(["restic", "backup", "--quiet", str(source)], environment=environment)
    restored = folder / "restic-restored"
    restore = measured(["restic", "restore", "--quiet", "latest", "--target", str(restored)], environment=environment)
    require_equal(source, restored / source.relative_to("/"))
    return deposit, restore


def require_equal(source: Path, restored: Path) -> None:
    """Raise if a restored file differs."""
    if not filecmp.cmp(source, restored, shallow=False):
        raise SystemExit(f"{restored} is not what was deposited")


def size_of(folder: Path) -> int:
    """Add up the files below a folder, in bytes."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def range_cost(folder: Path, source: Path) -> tuple[float, float, int]:
    """Return the milliseconds to the first byte and to the last, and the bytes of objects read, for 1 MB in the middle."""
    url = str(folder / "archive")
    meter = Metered(open_location(url))
    identity = load_identity(folder / "identity.txt")
    start = time.perf_counter()
    middle = source.stat().st_size // 2
    with Archive(Repository.open(meter, open_location(keystore_location(url)), identity)) as archive:
        address = Address("bench", "recording", None, source.name)
        pieces = archive.read(address, start=middle, stop=middle + 1_000_000)
        data = next(pieces)
        first = time.perf_counter() - start
        data += b"".join(pieces)
        last = time.perf_counter() - start
    with source.open("rb") as file:
        file.seek(middle)
        if file.read(1_000_000) != data:
            raise SystemExit("the range is not what was deposited")
    return first * 1e3, last * 1e3, meter.usage("get").bytes_out


def main() -> None:
    """Run the rounds and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", type=Path, help="where to work; a temporary folder by default")
    options = parser.parse_args()
    if shutil.which("restic") is None:
        raise SystemExit("restic is not installed: 'apt-get install restic', then run the benchmark again")
    results: dict[str, list[Measure]] = defaultdict(list)
    with tempfile.TemporaryDirectory(dir=options.folder, prefix="engram-bench-") as name:
        top = Path(name)
        source = top / "recording.dat"
        size = recording.write(source, megabytes=options.megabytes) / 1e6
        for number in range(options.rounds):
            for tool, run in (("engram", engram_round), ("restic", restic_round)):
                folder = top / f"{tool}-{number}"
                folder.mkdir()
                deposit, restore = run(folder, source)
                results[f"{tool} deposit"].append(deposit)
                results[f"{tool} restore"].append(restore)
                stored = size_of(folder / ("archive" if tool == "engram" else "restic")) / 1e6
                print(
                    f"round {number + 1} {tool}: stored {stored:.0f} of {size:.0f} MB, {stored / size:.3f}", flush=True
                )
                if tool == "engram":
                    first_ms, last_ms, read = range_cost(folder, source)
                    cost = f"first byte {first_ms:.0f} ms, all {last_ms:.0f} ms, {read / 1e6:.2f} MB read"
                    print(f"  1 MB range, archive just opened: {cost}", flush=True)
                shutil.rmtree(folder)
        print(f"\n{'':16}{'MB/s':>8}{'CPU s':>8}{'peak MB':>9}   (medians of {options.rounds})")
        medians = {}
        for job, measures in results.items():
            medians[job] = size / statistics.median(measure.seconds for measure in measures)
            cpu = statistics.median(measure.cpu_s for measure in measures)
            peak = max(measure.peak_mb for measure in measures)
            print(f"{job:16}{medians[job]:8.0f}{cpu:8.2f}{peak:9.0f}")
        for job in ("deposit", "restore"):
            print(f"{job}: engram / restic = {medians[f'engram {job}'] / medians[f'restic {job}']:.2f}")


if __name__ == "__main__":
    main()
