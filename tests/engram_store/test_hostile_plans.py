"""A plan that lies costs room and never exactness, memory or time: a depositor may be a stranger."""

from __future__ import annotations

import hashlib
import time
import tracemalloc
import zlib

import numpy as np
import pytest
from engram_testing.archives import MEMORY, Place, read

from engram_format.array_type import ArrayType, Filter
from engram_format.catalog import ArtifactSpec
from engram_layout.plan import ArraySegment, Plan

SAMPLES = np.cumsum(np.random.default_rng(0).integers(-4, 5, (30_000, 16)), 0).astype("<i2").tobytes()
SHUFFLED = (Filter("shuffle", (2,)), Filter("deflate", (4,)))


@pytest.fixture(scope="module")
def archive():
    with Place().create().open() as archive:
        yield archive


def deposit_planned(archive, data: bytes, plan: Plan, *, session: str) -> str:
    """Deposit bytes under a plan and return their address."""
    with archive.open_deposit(MEMORY, session=session) as deposit:
        deposit.begin(ArtifactSpec(path=f"{session}.bin", size=len(data)), plan)
        for start in range(0, len(data), 1 << 20):
            deposit.write(data[start : start + (1 << 20)])
        deposit.end(sha256=hashlib.sha256(data).hexdigest())
        return str(deposit.commit(message="", author="").address.of(f"{session}.bin"))


def lies() -> list[ArrayType]:
    return [
        ArrayType("/a", "<i2", 2**31, 32),
        ArrayType("/a", "<c16", 2**32 - 1, 32),
        ArrayType("/a", "<i2", 16, 2**32 - 1),
        ArrayType("/a", ">f8", 1, 1),
        ArrayType("/a", "<i3", 5, 7),
        ArrayType("/a", "|V999999999", 1, 2**31),
        ArrayType("/a", "|V3000000", 1, 3_000_000),
        ArrayType("/a", "<i2", 1, 1, SHUFFLED, 2**32 - 1),
        ArrayType("/a", "<i2", 1, 1, SHUFFLED, 1),
        ArrayType("/a", "<i2", 1, 1, (Filter("shuffle", (0,)),), 100),
        ArrayType("/a", "<i2", 1, 1, (Filter("shuffle", (2**32 - 1,)),), 100),
    ]


@pytest.mark.parametrize(("number", "array"), list(enumerate(lies())))
def test_bytes_come_back_whatever_the_plan_says_of_them(archive, number, array):
    pieces = np.array([len(SAMPLES)] if array.filters else [], np.uint32)
    plan = Plan(len(SAMPLES), (ArraySegment(0, len(SAMPLES), 0, pieces),), (array,))
    assert read(archive, deposit_planned(archive, SAMPLES, plan, session=f"{number:032x}")) == SAMPLES


def test_many_arrays_of_which_none_has_bytes_take_no_memory_and_no_time(archive):
    arrays = (ArrayType("/a", "<f8", 16, 128),) * 60_000
    plan = Plan(len(SAMPLES), (ArraySegment(0, len(SAMPLES), 0),), arrays)
    tracemalloc.start()
    try:
        address = deposit_planned(archive, SAMPLES, plan, session="ab" * 16)
        assert tracemalloc.get_traced_memory()[1] < 150 * 2**20  # the plan itself is half of that
    finally:
        tracemalloc.stop()
    assert read(archive, address) == SAMPLES


def test_chunks_that_inflate_to_gigabytes_come_back_without_being_inflated(archive):
    stream = zlib.compress(bytes(8 * 2**20), 9)
    # Each differs from the others, so that none is stored as the content of another.
    streams = [zlib.compress(bytes(8 * 2**20) + bytes([n, n >> 8]), 9) for n in range(4)] + [stream] * 600
    data = b"".join(streams)
    sizes = np.array([len(each) for each in streams], np.uint32)
    array = ArrayType("/bomb", "|u1", 1, 1, (Filter("deflate", (9,)),), 8 * 2**20)
    plan = Plan(len(data), (ArraySegment(0, len(data), 0, sizes),), (array,))
    started = time.process_time()
    address = deposit_planned(archive, data, plan, session="cd" * 16)
    assert read(archive, address) == data
    assert time.process_time() - started < 5  # five gigabytes take longer to deflate
