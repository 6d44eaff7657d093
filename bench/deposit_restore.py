"""Deposit and restore of 512 MB of raw samples into a directory, beside restic on the same file in the same run.

    python bench/deposit_restore.py [--megabytes 512] [--rounds 3] [--folder DIR]

The file has no header that would tell what is in it, so this is what bytes cost of which nothing is known; `recordings.py` has
recordings in their formats. Prints the medians of several rounds, in which the two tools take turns, and their ratios. Both
run as commands of their own, as a user would start them. Also: what a range of 1 MB costs.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import tempfile
import time
from collections import defaultdict
from pathlib import Path

import extracellular
from archivers import RESTIC_REMEDY, Engram, Restic
from measuring import Measure, machine, program, require_equal

from engram_format.address import Address
from engram_server.engine import Archive
from engram_store.identity import load_identity
from engram_store.location import keystore_location, open_location
from engram_store.repository import Repository
from engram_store.wrappers import Metered

_SECONDS_AT_ONCE = 20


def write(path: Path, *, megabytes: int) -> None:
    """Write a recording of about that many megabytes (10^6 bytes), second by second, without a header."""
    left = megabytes * 1e6 / (2 * extracellular.CHANNELS * extracellular.RATE_HZ)
    with path.open("wb") as file:
        for seed in range(round(left / _SECONDS_AT_ONCE + 0.5)):
            file.write(extracellular.recording(min(left, _SECONDS_AT_ONCE), seed=seed).tobytes())
            left -= _SECONDS_AT_ONCE


def range_cost(engram: Engram, source: Path) -> tuple[float, float, int]:
    """Return the milliseconds to the first byte and to the last, and the bytes of objects read, for 1 MB in the middle."""
    meter = Metered(open_location(engram.url))
    identity = load_identity(engram.identity)
    start = time.perf_counter()
    middle = source.stat().st_size // 2
    with Archive(Repository.open(meter, open_location(keystore_location(engram.url)), identity)) as archive:
        pieces = archive.read(Address("bench", "set", None, source.name), start=middle, stop=middle + 1_000_000)
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
    program("restic", remedy=RESTIC_REMEDY)
    print(machine())
    results: dict[str, list[Measure]] = defaultdict(list)
    with tempfile.TemporaryDirectory(dir=options.folder, prefix="engram-bench-") as name:
        top = Path(name).resolve()
        source = top / "recording.dat"
        write(source, megabytes=options.megabytes)
        size = source.stat().st_size / 1e6
        for number in range(options.rounds):
            for tool in (Engram(top / "engram"), Restic(top / "restic")):
                folder = top / tool.name
                folder.mkdir()
                tool.create()
                results[f"{tool.name} deposit"].append(tool.deposit(source))
                restore, restored = tool.restore(source, folder / "restored")
                results[f"{tool.name} restore"].append(restore)
                require_equal(source, restored / source.name if restored.is_dir() else restored)
                stored = tool.stored()
                kept = f"stored {stored.total / 1e6:.0f} of {size:.0f} MB, net of parity {stored.net / 1e6:.0f}"
                print(f"round {number + 1} {tool.name}: {kept}", flush=True)
                if isinstance(tool, Engram):
                    first_ms, last_ms, read = range_cost(tool, source)
                    cost = f"first byte {first_ms:.0f} ms, all {last_ms:.0f} ms, {read / 1e6:.2f} MB read"
                    print(f"  1 MB range, archive just opened: {cost}", flush=True)
                shutil.rmtree(folder)
    print(f"\n{'':16}{'MB/s':>8}{'CPU s':>8}{'peak MB':>9}   (medians of {options.rounds}, peaks the largest)")
    medians = {}
    for job, measures in results.items():
        medians[job] = size / statistics.median(measure.seconds for measure in measures)
        cpu_s = statistics.median(measure.cpu_s for measure in measures)
        peak_mb = max(measure.peak_mb for measure in measures)
        print(f"{job:16}{medians[job]:8.0f}{cpu_s:8.2f}{peak_mb:9.0f}")
    for job in ("deposit", "restore"):
        print(f"{job}: engram / restic = {medians[f'engram {job}'] / medians[f'restic {job}']:.2f}")
    print(machine())


if __name__ == "__main__":
    main()
