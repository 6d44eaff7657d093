"""Large blocks of slices share what memory there is for them."""

from __future__ import annotations

import os
import subprocess
import sys
import threading

import pytest

from engram_store.budget import Budget

MIB = 2**20
PEAK_MB = 400

SLICES = """
import io, pathlib, sys, threading
import h5py, numpy as np
from engram_testing.archives import MEMORY, Place
from engram_testing.recordings import deposit_recording
from engram_layout.hdf5 import plan_hdf5

sink = io.BytesIO()
with h5py.File(sink, "w") as file:
    file.create_dataset("E", (2**16, 4), "<i2", chunks=(2**24, 4), maxshape=(None, 4), compression="gzip")[:] = 7
data = sink.getvalue()
assert len(data) < 2**20
with Place().create().open() as archive:
    address = deposit_recording(archive, MEMORY.of("a.h5"), data, plan=plan_hdf5(sink, size=len(data)).plan)
    found = []

    def read():
        for block in archive.read_series(address, "/E"):
            found.append(block.sum())

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [7 * 4 * 2**16] * 4
lines = pathlib.Path("/proc/self/status").read_text().splitlines()
print(next(line.split()[1] for line in lines if line.startswith("VmHWM:")))
"""


def test_blocks_beyond_the_limit_come_one_after_the_other():
    budget, held, most = Budget(limit=100 * MIB), [], []

    def take(size):
        with budget.taking(size):
            held.append(size)
            most.append(sum(held))
            threading.Event().wait(0.002)
            held.remove(size)

    threads = [threading.Thread(target=take, args=(size * MIB,)) for size in (40, 60, 30, 70, 120, 50) * 4]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(most) == 24
    assert max(most) <= 120 * MIB
    assert not held


def test_a_block_of_the_usual_size_waits_for_nobody():
    budget = Budget(limit=100 * MIB)
    with budget.taking(500 * MIB), budget.taking(8 * MIB):
        pass


def test_what_a_block_that_failed_had_taken_is_given_back():
    budget = Budget(limit=100 * MIB)
    for _ in range(2):
        with pytest.raises(ZeroDivisionError), budget.taking(90 * MIB):
            _ = 1 // 0
    with budget.taking(90 * MIB):
        pass


def test_slices_of_a_small_file_that_claims_long_chunks_stay_small():
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    run = subprocess.run([sys.executable, "-c", SLICES], env=environment, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert int(run.stdout) / 1024 < PEAK_MB
