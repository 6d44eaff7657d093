"""Recordings and students against restic and borg: bytes stored, bytes that a second version adds, and speed.

    python bench/recordings.py [--seconds 54] [--rounds 3] [--set FOLDER] [--folder DIR] [--no-s3]

Every tool is a command of its own, as a user would start it, on the same files in the same run, and takes turns with the
others; what is restored is compared byte for byte. First the bytes stored of each kind of file, each in a repository of its own,
then rounds with the whole set: deposit, restore, deposit the second version, restore; in a directory, and in SeaweedFS on this
machine (which takes a part of the processors). Speeds are medians over the rounds, in MB of the original per second. An Engram
archive in a directory has parity, from which lost shards are rebuilt; the others have none: bytes are given with and without it.
Work on a memory file system (`--folder /dev/shm`) to leave the disk out.
"""

from __future__ import annotations

import argparse
import contextlib
import shutil
import statistics
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import test_set
from archivers import BORG_REMEDY, RESTIC_REMEDY, Archiver, Stored, archivers
from measuring import Measure, find_program, machine, program, require_equal, size_of, verdict
from object_store import S3Server, running_seaweedfs
from test_set import CLASSES

AT_MOST = {"int16": 0.72, "gzip-4": 0.75, "weights": None, "whole set": 0.80}
"""Bytes stored net of parity, of those of the better of the two others."""
WHOLE = "whole set"


@dataclass(frozen=True)
class Round:
    """One tool on the whole set, once."""

    deposit: Measure
    restore: Measure
    again: Measure
    """The deposit of the second version."""
    stored: Stored
    added: int
    """Bytes, net of parity, that the second version added."""


def stored_by_kind(files: Path, work: Path) -> dict[str, dict[str, Stored]]:
    """Return the bytes stored by tool, for each kind of file by itself."""
    found: dict[str, dict[str, Stored]] = defaultdict(dict)
    for kind, names in CLASSES.items():
        source = work / "part" / kind
        source.mkdir(parents=True)
        for name in names:
            shutil.copy2(files / "first" / name, source / name)
        for tool in archivers(work / kind):
            tool.create()
            tool.deposit(source)
            found[kind][tool.name] = tool.stored()
        shutil.rmtree(work / kind)
    shutil.rmtree(work / "part")
    return found


@contextlib.contextmanager
def second_version(files: Path, work: Path) -> Iterator[None]:
    """Have the recordings of `second/` in the place of those of `first/`; the students stay as they are, untouched."""
    first, aside = files / "first", work / "aside"
    aside.mkdir()
    changed = [path.name for path in (files / "second").iterdir()]
    for name in changed:
        (first / name).rename(aside / name)
        (files / "second" / name).rename(first / name)
    try:
        yield
    finally:
        for name in changed:
            (first / name).rename(files / "second" / name)
            (aside / name).rename(first / name)
        aside.rmdir()


def whole_set(tool: Archiver, files: Path, work: Path) -> Round:
    """Deposit and restore both versions with one tool, and compare."""
    source = files / "first"
    tool.create()
    deposit = tool.deposit(source)
    stored = tool.stored()
    restore, restored = tool.restore(source, work / "restored")
    require_equal(source, restored)
    shutil.rmtree(work / "restored")
    with second_version(files, work):
        again = tool.deposit(source)
        added = tool.stored().net - stored.net
        _, restored = tool.restore(source, work / "restored")
        require_equal(source, restored)
    shutil.rmtree(work / "restored")
    return Round(deposit, restore, again, stored, added)


def rounds(files: Path, work: Path, *, count: int, server: S3Server | None) -> dict[str, list[Round]]:
    """Run the rounds in one place; the tools take turns."""
    results: dict[str, list[Round]] = defaultdict(list)
    for number in range(count):
        here = work / f"round-{number}"
        for tool in archivers(here, server):
            results[tool.name].append(whole_set(tool, files, here))
        shutil.rmtree(here)
    return results


def print_stored(sizes: dict[str, float], found: dict[str, dict[str, Stored]]) -> None:
    """Print the bytes stored of each kind, and Engram's against the better of the others."""
    print(f"\nstored MB (in a directory)\n{'':12}{'original':>10}{'with parity':>13}{'net':>9}{'restic':>9}{'borg':>9}")
    for kind, tools in found.items():
        ours = tools["engram"]
        others = {name: stored.total for name, stored in tools.items() if name != "engram"}
        cells = "".join(f"{others[name] / 1e6:9.1f}" if name in others else f"{'-':>9}" for name in ("restic", "borg"))
        print(f"{kind:12}{sizes[kind]:10.1f}{ours.total / 1e6:13.1f}{ours.net / 1e6:9.1f}{cells}", end="")
        ratio = verdict(ours.net / min(others.values()), at_most=AT_MOST[kind])
        print(f"   net / better of the others {ratio}; with parity {ours.total / min(others.values()):.2f}")


def print_speeds(results: dict[str, list[Round]], *, place: str, size_mb: float, deposit_at_least: float) -> None:
    """Print speeds, processor time and peak memory, and the ratios to restic."""

    def speed(name: str, job: str) -> float:
        return size_mb / statistics.median(getattr(one, job).seconds for one in results[name])

    print(f"\nwhole set, {size_mb:.0f} MB, {place}: medians of {len(results['engram'])}")
    print(
        f"{'':12}{'deposit MB/s':>14}{'CPU s':>7}{'peak MB':>9}{'restore MB/s':>14}{'CPU s':>7}{'peak MB':>9}", end=""
    )
    print(f"{'2nd s':>7}{'stored MB':>11}{'2nd adds MB':>13}")
    for name, all_rounds in results.items():
        print(f"{name:12}", end="")
        for job in ("deposit", "restore"):
            cpu_s = statistics.median(getattr(one, job).cpu_s for one in all_rounds)
            peak_mb = max(getattr(one, job).peak_mb for one in all_rounds)
            print(f"{speed(name, job):14.0f}{cpu_s:7.2f}{peak_mb:9.0f}", end="")
        again_s = statistics.median(one.again.seconds for one in all_rounds)
        stored_mb = statistics.median(one.stored.net for one in all_rounds) / 1e6
        added_mb = statistics.median(one.added for one in all_rounds) / 1e6
        print(f"{again_s:7.2f}{stored_mb:11.1f}{added_mb:13.2f}")
    added = {name: statistics.median(one.added for one in found) for name, found in results.items()}
    print("engram / restic, stored and added net of parity:")
    deposit = speed("engram", "deposit") / speed("restic", "deposit")
    print(f"  deposit {verdict(deposit, at_least=deposit_at_least)}")
    print(f"  restore {verdict(speed('engram', 'restore') / speed('restic', 'restore'), at_least=1.3)}")
    print(f"  second version adds {verdict(added['engram'] / added['restic'], at_most=0.8)}")


def run(options: argparse.Namespace, work: Path) -> None:
    """Make the set where none is given, run everything, print."""
    folder = work / "set"
    if options.set is None:
        test_set.write(folder, seconds=options.seconds)
    else:
        shutil.copytree(options.set, folder)  # for the versions take turns in one folder
    first = folder / "first"
    sizes = {kind: sum((first / name).stat().st_size for name in names) / 1e6 for kind, names in CLASSES.items()}
    sizes[WHOLE] = size_of(first) / 1e6
    stored = stored_by_kind(folder, work)
    directory = rounds(folder, work, count=options.rounds, server=None)
    stored[WHOLE] = {name: found[0].stored for name, found in directory.items()}
    print_stored(sizes, stored)
    print_speeds(directory, place="directory", size_mb=sizes[WHOLE], deposit_at_least=2)
    if options.s3:
        weed = work / "seaweedfs"
        weed.mkdir()
        with running_seaweedfs(weed) as server:
            remote = rounds(folder, work, count=options.rounds, server=server)
        print_speeds(remote, place="SeaweedFS", size_mb=sizes[WHOLE], deposit_at_least=1.5)


def main() -> None:
    """Run the comparison."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=54.0, help="length of the recordings")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--set", type=Path, help="what bench/test_set.py has written; made anew by default")
    parser.add_argument("--folder", type=Path, help="where to work; a temporary folder by default")
    parser.add_argument("--no-s3", dest="s3", action="store_false", help="leave SeaweedFS out")
    options = parser.parse_args()
    program("restic", remedy=RESTIC_REMEDY)
    if find_program("borg") is None:
        print(f"borg is left out, for it is not installed: {BORG_REMEDY}")
    print(machine())
    with tempfile.TemporaryDirectory(dir=options.folder, prefix="engram-bench-") as name:
        run(options, Path(name).resolve())
    print(machine())


if __name__ == "__main__":
    main()
