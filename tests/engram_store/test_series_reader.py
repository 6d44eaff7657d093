"""What a slice costs: only its frames, each fetched once, and nothing again for what is still held."""

from __future__ import annotations

import hashlib
import io
import secrets
from dataclasses import replace

import h5py
import numpy as np
import pytest
from engram_testing.archives import MEMORY, Place, deposit
from engram_testing.recordings import deposit_recording, hdf5_file

from engram_format.address import ContentAddress
from engram_format.array_type import ArrayType
from engram_format.catalog import ArtifactSpec
from engram_format.errors import Damaged, Precondition
from engram_format.series import Contiguous, Description, Series, SeriesInfo
from engram_layout.hdf5 import plan_hdf5
from engram_layout.plan import ArraySegment, covering
from engram_store.gathering import PART_BYTES
from engram_store.series_reader import FrameCache
from engram_store.wrappers import Metered

SAMPLES, CHANNELS = 120_000, 64
ROW = 2 * CHANNELS
NAME = "/acquisition/E"


def samples():
    return np.random.default_rng(0).integers(-500, 500, (SAMPLES, CHANNELS)).astype("<i2")


def deposit_samples(archive, *, offset: int | None = None):
    """Deposit 15 MB of samples that lie from byte 100 on, or are said to lie from `offset` on."""
    data = bytes(100) + samples().tobytes()
    info = SeriesInfo(NAME, "<i2", (SAMPLES, CHANNELS), sampling_rate=30_000.0)
    series = Series(info, Contiguous(100 if offset is None else offset))
    segment = ArraySegment(100, len(data) - 100, 0)
    plan = covering(
        len(data), [segment], (ArrayType(NAME, "<i2", CHANNELS, ROW),), description=Description("nwb", (series,))
    )
    with archive.open_deposit(MEMORY, session=secrets.token_hex(16)) as session:
        session.begin(ArtifactSpec(path="a.nwb", size=len(data)), plan)
        for start in range(0, len(data), 1 << 20):
            session.write(data[start : start + (1 << 20)])
        session.end(sha256=hashlib.sha256(data).hexdigest())
        return session.commit(message="", author="").address.of("a.nwb")


@pytest.fixture(scope="module")
def place():
    return Place().create()


@pytest.fixture(scope="module")
def address(place):
    with place.open() as archive:
        return deposit_samples(archive)


@pytest.fixture
def metered(place, address):
    meters = []

    def through(backend):
        meters.append(Metered(backend))
        return meters[0]

    with place.open(through=through) as archive:
        yield archive, meters[0]


def sliced(archive, address, start, stop, channels=None):
    return np.concatenate(list(archive.read_series(address, NAME, start=start, stop=stop, channels=channels)))


def test_the_whole_series_comes_back_in_bounded_blocks(metered, address):
    archive, _ = metered
    blocks = list(archive.read_series(address, NAME))
    assert len(blocks) > 1
    assert max(block.nbytes for block in blocks) <= 8 * 2**20
    assert np.array_equal(np.concatenate(blocks), samples())


def test_a_first_slice_takes_few_requests(metered, address):
    archive, meter = metered
    opened = meter.usage("get").calls
    sliced(archive, address, 30_000, 60_000)
    # The log's two records, its session's key, one window with tree, manifest and description, and the frames in parts.
    assert meter.usage("get").calls - opened <= 4 + -(-meter.usage("get").bytes_out // (PART_BYTES // 2))
    assert meter.usage("list").calls <= 1


def test_a_second_slice_costs_only_its_frames(metered, address):
    archive, meter = metered
    assert np.array_equal(sliced(archive, address, 0, 10, (0, 4)), samples()[:10, :4])
    meter.reset()
    assert np.array_equal(sliced(archive, address, 90_000, 90_100, (3, 9)), samples()[90_000:90_100, 3:9])
    assert meter.usage("get").bytes_out <= 1.1 * 2**20
    assert meter.usage("get").calls <= -(-meter.usage("get").bytes_out // PART_BYTES)
    assert meter.usage("list").calls == 0


def test_what_is_held_is_not_fetched_again(metered, address):
    archive, meter = metered
    sliced(archive, address, 30_000, 60_000)
    meter.reset()
    assert np.array_equal(sliced(archive, address, 31_000, 59_000, (0, 16)), samples()[31_000:59_000, :16])
    assert meter.usage("get").calls == 0


def test_neighbouring_blocks_fetch_no_frame_twice(metered, address):
    archive, meter = metered
    sliced(archive, address, 0, 1)
    meter.reset()
    sliced(archive, address, 0, None)
    assert meter.usage("get").bytes_out < 1.05 * archive.artifact(address).stored_size


def test_an_address_without_a_version_asks_once_whether_there_is_a_newer_one(metered, address):
    archive, meter = metered
    sliced(archive, address, 0, 10)
    meter.reset()
    sliced(archive, address.at(None), 0, 10)
    assert meter.usage("get").calls == 1


def test_a_slice_by_content_is_the_same(metered, address):
    archive, _ = metered
    content = ContentAddress(archive.artifact(address).sha256)
    assert np.array_equal(sliced(archive, content, 5, 9), samples()[5:9])


def test_a_reader_that_stops_early_leaves_nothing_under_way(metered, address):
    archive, _ = metered
    blocks = archive.read_series(address, NAME)
    next(blocks)
    blocks.close()
    assert np.array_equal(sliced(archive, address, 0, 3), samples()[:3])


def test_a_series_that_lies_outside_its_file_is_damage_and_no_numbers(tmp_path):
    place = Place().create()
    with place.open() as archive:
        address = deposit_samples(archive, offset=101)
        assert len(sliced(archive, address, 0, 5)) == 5
        with pytest.raises(Damaged, match="lies outside its file"):
            sliced(archive, address, SAMPLES - 1, SAMPLES)


def test_an_artifact_of_plain_bytes_holds_no_series(place):
    with place.open() as archive:
        version = deposit(archive, {"a.txt": b"nothing"})
        with pytest.raises(Precondition, match=r"a\.txt is kept as plain bytes"):
            archive.recording(version.address.of("a.txt"))


def test_a_newer_version_is_seen_through_an_address_without_a_number():
    place = Place().create()
    with place.open() as archive:
        first = deposit_recording(archive, MEMORY.of("a.h5"), hdf5_file(), metadata={"n": 1})
        assert archive.recording(first.at(None)).artifact.metadata == {"n": 1}
        deposit_recording(archive, MEMORY.of("a.h5"), hdf5_file(), metadata={"n": 2})
        assert archive.recording(first.at(None)).artifact.metadata == {"n": 2}
        assert archive.recording(first).artifact.metadata == {"n": 1}


def test_the_cache_of_frames_is_bounded(metered, address):
    archive, _ = metered
    sliced(archive, address, 0, 1)
    cache = FrameCache(max_bytes=100)
    locations = list(range(10))
    for location in locations:
        cache.put(location, memoryview(bytes(30)))
    held = [location for location in locations if cache.get(location, unfiltered=True) is not None]
    assert held == [7, 8, 9]


@pytest.mark.parametrize("planned", [("shuffle", "deflate"), ("deflate",)])
def test_numbers_do_not_depend_on_the_filters_that_a_plan_gives(planned):
    numbers = samples()[:40_000, :8]
    sink = io.BytesIO()
    with h5py.File(sink, "w") as file:
        file.create_dataset("E", data=numbers, chunks=(5000, 8), compression="gzip", shuffle=True)
    data = sink.getvalue()
    plan = plan_hdf5(sink, size=len(data)).plan
    (array,) = plan.arrays
    assert [step.name for step in array.filters] == ["shuffle", "deflate"]
    array = replace(array, filters=tuple(step for step in array.filters if step.name in planned))
    with Place().create().open() as archive:
        address = deposit_recording(archive, MEMORY.of("a.h5"), data, plan=replace(plan, arrays=(array,)))
        assert b"".join(archive.read(address)) == data
        assert np.array_equal(np.concatenate(list(archive.read_series(address, "/E"))), numbers)
