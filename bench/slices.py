"""Slices of a recording against Icechunk on the same SeaweedFS, and against h5py on a local copy.

    python bench/slices.py [--seconds 54] [--slices 20] [--set FOLDER]

One second of all 64 channels from S3, with the archive (the repository) already open, and opened anew for each slice. The seconds
begin either where a chunk of Icechunk (1 s x 64 channels, not encrypted) does, which is then all that it needs, or anywhere. No
slice is near another one of its row, so that no cache helps; the two tools take turns. Then one second of 16 channels from a
local directory against h5py on the file: read for the second time, and the first time, with the bytes of objects that were
read for it. Medians of milliseconds; every slice is compared with the array.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import extracellular
import h5py
import icechunk
import numpy as np
import test_set
import zarr
from archivers import Engram
from measuring import machine, verdict
from numpy.typing import NDArray
from object_store import S3Server, running_seaweedfs

import engram_client
from engram_client.embedded import EmbeddedArchive
from engram_store.identity import load_identity
from engram_store.location import keystore_location, open_location
from engram_store.repository import Repository
from engram_store.wrappers import Metered

ADDRESS = f"bench/set:{test_set.CONTIGUOUS}"
RATE = extracellular.RATE_HZ

Samples = NDArray[np.int16]
Read = Callable[[int], Samples]
"""Returns the slice that begins with a sample."""


def starts(samples: int, count: int, *, aligned: bool) -> list[int]:
    """Return the first samples of up to `count` slices of one second, each at least one second from the others."""
    chance = np.random.default_rng(1)
    places = chance.permutation((samples // RATE - 1) // 2)[:count]
    return [2 * RATE * int(place) + (0 if aligned else int(chance.integers(1, RATE))) for place in places]


def medians_ms(tools: dict[str, Read], first_samples: list[int], expected: Samples) -> dict[str, float]:
    """Read each slice with each tool in turn, compare it, and return the median of the milliseconds of each tool."""
    spent: dict[str, list[float]] = {name: [] for name in tools}
    for start in first_samples:
        for name, read in tools.items():
            began = time.perf_counter()
            got = read(start)
            spent[name].append(time.perf_counter() - began)
            if not np.array_equal(got, expected[start : start + RATE, : got.shape[1]]):
                raise SystemExit(f"{name} returned other numbers than were deposited")
    return {name: statistics.median(times) * 1e3 for name, times in spent.items()}


def icechunk_storage(server: S3Server, prefix: str) -> icechunk.Storage:
    """Return where Icechunk works on the server."""
    return icechunk.s3_storage(
        bucket=server.bucket,
        prefix=prefix,
        region="us-east-1",
        endpoint_url=server.endpoint_url,
        allow_http=True,
        force_path_style=True,
        access_key_id=server.access_key,
        secret_access_key=server.secret_key,
    )


def write_icechunk(storage: icechunk.Storage, samples: Samples) -> None:
    """Commit the array in chunks of one second."""
    session = icechunk.Repository.create(storage).writable_session("main")
    array = zarr.create_array(session.store, name="data", shape=samples.shape, dtype="int16", chunks=(RATE, 64))
    array[:] = samples
    session.commit("the recording")


def open_icechunk(storage: icechunk.Storage) -> zarr.Array:
    """Open the repository and the array in it."""
    session = icechunk.Repository.open(storage).readonly_session("main")
    found = zarr.open_group(session.store, mode="r")["data"]
    assert isinstance(found, zarr.Array)
    return found


def remote(source: Path, work: Path, samples: Samples, *, count: int) -> None:
    """Compare with Icechunk on SeaweedFS."""
    weed = work / "seaweedfs"
    weed.mkdir()
    with running_seaweedfs(weed) as server:
        engram = Engram(work / "remote", server)
        engram.create()
        engram.deposit(source)
        os.environ.update(server.environment)
        prefix = server.location().rpartition("/")[2]
        write_icechunk(icechunk_storage(server, prefix), samples)

        def cold_icechunk(start: int) -> Samples:
            return np.asarray(open_icechunk(icechunk_storage(server, prefix))[start : start + RATE])

        def cold_engram(start: int) -> Samples:
            with engram_client.open(engram.url, identity=engram.identity) as archive:
                return archive[ADDRESS].series[test_set.SERIES][start : start + RATE]

        print(f"\n1 s x 64 channels from SeaweedFS, ms\n{'':26}{'Icechunk':>10}{'Engram':>10}   ratio")
        for aligned, where in ((True, "on a chunk"), (False, "anywhere")):
            places = starts(len(samples), count, aligned=aligned)
            array = open_icechunk(icechunk_storage(server, prefix))
            with engram_client.open(engram.url, identity=engram.identity) as archive:
                series = archive[ADDRESS].series[test_set.SERIES]
                # The first slices, of a place that is not asked for again, also open connections.
                array[-RATE:], series[len(samples) - RATE :]
                warm: dict[str, Read] = {
                    "icechunk": lambda start, array=array: np.asarray(array[start : start + RATE]),
                    "engram": lambda start, series=series: series[start : start + RATE],
                }
                print_row(f"already open, {where}", medians_ms(warm, places, samples))
            cold: dict[str, Read] = {"icechunk": cold_icechunk, "engram": cold_engram}
            print_row(f"cold, {where}", medians_ms(cold, places, samples))


def print_row(name: str, found: dict[str, float]) -> None:
    """Print the medians of Icechunk and Engram, and their ratio."""
    told = verdict(found["engram"] / found["icechunk"], at_most=1.5)
    print(f"{name:26}{found['icechunk']:10.1f}{found['engram']:10.1f}   {told}", flush=True)


def local(source: Path, work: Path, samples: Samples, *, count: int) -> None:
    """Compare with h5py on the file."""
    engram = Engram(work / "local")
    engram.create()
    engram.deposit(source)
    meter = Metered(open_location(engram.url))
    keystore, identity = open_location(keystore_location(engram.url)), load_identity(engram.identity)
    places = starts(len(samples), count, aligned=False)
    first: dict[str, list[float]] = {"h5py": [], "engram": []}
    again: dict[str, list[float]] = {"h5py": [], "engram": []}
    read_bytes, warm_bytes = [], []
    for start in places:
        meter.reset()
        with h5py.File(source) as file, EmbeddedArchive(Repository.open(meter, keystore, identity)) as archive:
            series = archive[ADDRESS].series[test_set.SERIES]
            opened = meter.usage("get").bytes_out
            data = file[f"{test_set.SERIES}/data"]
            tools: dict[str, Read] = {
                "h5py": lambda start, data=data: data[start : start + RATE, :16],
                "engram": lambda start, series=series: series[start : start + RATE, 0:16],
            }
            for name, ms in medians_ms(tools, [start], samples).items():
                first[name].append(ms)
            read_bytes.append(meter.usage("get").bytes_out / 1e6)
            warm_bytes.append(read_bytes[-1] - opened / 1e6)
            for name, ms in medians_ms(tools, [start], samples).items():
                again[name].append(ms)
    print(f"\n1 s x 16 channels from a directory, ms\n{'':26}{'h5py':>10}{'Engram':>10}   ratio")
    for name, found in (("read the first time", first), ("read again", again)):
        theirs, ours = statistics.median(found["h5py"]), statistics.median(found["engram"])
        told = verdict(ours / theirs, at_most=3 if found is again else None)
        print(f"{name:26}{theirs:10.2f}{ours:10.2f}   {told}")
    print(
        f"MB of objects read the first time, opening included: {verdict(max(read_bytes), at_most=4)}, at the most",
        end="",
    )
    print(f"; {max(warm_bytes):.2f} for the slice alone")


def main() -> None:
    """Run the comparisons."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=54.0, help="length of the recording")
    parser.add_argument(
        "--slices", type=int, default=20, help="of each kind; a slice needs two seconds of the recording"
    )
    parser.add_argument("--set", type=Path, help="what bench/test_set.py has written; made anew by default")
    parser.add_argument("--folder", type=Path, help="where to work; a temporary folder by default")
    options = parser.parse_args()
    print(machine())
    with tempfile.TemporaryDirectory(dir=options.folder, prefix="engram-bench-") as name:
        work = Path(name)
        files = options.set or work / "set"
        if options.set is None:
            test_set.write(files, seconds=options.seconds)
        source = files / "first" / test_set.CONTIGUOUS
        with h5py.File(source) as file:
            samples = file[f"{test_set.SERIES}/data"][:]
        for part in ("remote", "local"):
            (work / part).mkdir()
        remote(source, work, samples, count=options.slices)
        local(source, work, samples, count=options.slices)
    print(machine())


if __name__ == "__main__":
    main()
