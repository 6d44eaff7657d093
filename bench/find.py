"""How long `find` takes over many artifacts: in an archive that is open, and as a command from its start.

python bench/find.py [--artifacts 10000]
"""

from __future__ import annotations

import argparse
import hashlib
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from measuring import verdict

from engram_client.embedded import create_archive
from engram_format.address import Address
from engram_format.catalog import ArtifactSpec
from engram_server.engine import Archive, open_archive
from engram_store.identity import new_identity, save_identity

ROUNDS = 9
SPECIES = ("Rattus norvegicus", "Mus musculus", "Homo sapiens")
ASKED = {
    "one species and a depth": ["subject.species=Mus musculus", "electrode.depth_um>=900"],
    "one artifact by its path": ["path~session-004711"],
    "everything": [],
}


def fill(archive: Archive, count: int) -> None:
    """Deposit `count` artifacts of 100 bytes with eight metadata each."""
    archive.create_vault("lab")
    with archive.open_deposit(Address("lab", "sessions"), session="0" * 32) as deposit:
        for number in range(count):
            data = f"{number:0100d}".encode()
            metadata = {
                "subject.id": f"rat-{number % 211}",
                "subject.species": SPECIES[number % 3],
                "subject.sex": "FM"[number % 2],
                "subject.age": f"P{60 + number % 40}D",
                "session.id": f"{number:06}",
                "electrode.count": 32 + number % 2 * 32,
                "electrode.depth_um": number % 1000 + 0.5,
                "consent.model_training": number % 5 == 0,
            }
            deposit.begin(
                ArtifactSpec(path=f"day-{number // 100:03}/session-{number:06}.dat", size=100, metadata=metadata)
            )
            deposit.write(data)
            deposit.end(sha256=hashlib.sha256(data).hexdigest())
        deposit.commit(message="", author="bench")


def median_s(work: Callable[[], object]) -> float:
    """Return the median time of some rounds."""
    times = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def cpu_s() -> float:
    """Return the processor time of all commands that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--artifacts", type=int, default=10_000)
    count = parser.parse_args().artifacts
    with tempfile.TemporaryDirectory() as folder:
        url, key = f"{folder}/archive", Path(folder, "identity.txt")
        identity = new_identity()
        save_identity(key, identity)
        create_archive(url, identity=identity)
        with open_archive(url, identity=identity) as archive:
            start = time.perf_counter()
            fill(archive, count)
            print(f"{count} artifacts deposited in {time.perf_counter() - start:.1f} s")
            start = time.perf_counter()
            archive.annotate(Address.parse("lab/sessions:day-000/session-000000.dat"), set={"note": "first"})
            print(f"one of them annotated in {time.perf_counter() - start:.3f} s")
        engram = [sys.executable, "-m", "engram_client.cli", "--archive", url, "--identity", str(key)]
        # Compiled as an installed program is, wherever this checkout keeps or does not keep what Python compiles.
        compiled = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
        compiled["PYTHONPYCACHEPREFIX"] = f"{folder}/compiled"

        def run(*arguments: str) -> object:
            return subprocess.run([*engram, *arguments], capture_output=True, check=True, env=compiled)

        run("find", "path=x")
        for arguments in (["--help"], ["ls"], ["vault", "ls"]):
            before = cpu_s()
            wall = median_s(lambda arguments=arguments: run(*arguments))
            cpu = (cpu_s() - before) / ROUNDS
            print(f"'engram {' '.join(arguments)}' takes {1000 * wall:.0f} ms, {1000 * cpu:.0f} ms of a processor")
        slowest = slowest_command = 0.0
        for what, conditions in ASKED.items():
            with open_archive(url, identity=identity) as archive:
                found = len(list(archive.find(conditions)))
                warm = median_s(lambda conditions=conditions, archive=archive: list(archive.find(conditions)))
            cold = median_s(lambda conditions=conditions: run("find", *conditions))
            slowest, slowest_command = max(slowest, warm), max(slowest_command, cold)
            print(f"{what:28} {found:6} found, {1000 * warm:6.1f} ms open, {1000 * cold:6.1f} ms as a command")
        print(f"seconds of the slowest in an open archive: {verdict(slowest, at_most=0.5)}", end="; ")
        print(f"as a command {verdict(slowest_command, at_most=0.5)}")


if __name__ == "__main__":
    main()
