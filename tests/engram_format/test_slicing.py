"""Slices are what numpy's own indexing gives, whatever the layout, and need no more bytes than lie near them."""

from __future__ import annotations

import io
import math
import tracemalloc
import warnings
import zlib

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engram_format import selection
from engram_format.array_type import Filter
from engram_format.errors import Exhausted, FormatError, InvalidInput, NotFound
from engram_format.hdf5_filters import fletcher32, unfilter
from engram_format.series import NO_CHUNK, Blocks, Chunked, Contiguous, Description, Series, SeriesInfo
from engram_format.slicing import blocks, find_series, length_of, physical, select

DTYPES = ("<i2", ">i2", "|u1", "|i1", "<u4", ">f4", "<f8", "<c8", "<f2", ">i8", "|b1")


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch):
    """Bounds so low that short arrays have many blocks and extents."""
    monkeypatch.setattr("engram_format.slabs.GAP_BYTES", 16)
    for name, value in {
        "GAP_BYTES": 16,
        "_BLOCK_BYTES": 256,
        "_BYTES_OF_SCATTERED": 32,
        "_MAX_BLOCK_BYTES": 1024,
    }.items():
        monkeypatch.setattr(selection, name, value)
    monkeypatch.setattr("engram_format.chunk_grid._BLOCK_BYTES", 256)


def elements(dtype: str, shape, *, seed: int = 0):
    """Numbers of which no two neighbours are alike."""
    raw = np.random.default_rng(seed).integers(0, 256, math.prod(shape) * int(dtype[2:]), np.uint8)
    if dtype == "|b1":
        raw &= 1
    return np.frombuffer(raw.tobytes(), dtype).reshape(shape)


def read(data: bytes, series: Series, **wanted):
    """Read a slice as a reader of an archive does."""
    found = []
    for block in blocks(series, select(series.info, **wanted)):
        extents = list(block.extents)
        assert extents == sorted(extents)
        assert all(0 <= extent.start < extent.stop <= len(data) for extent in extents)
        stored = [data[extent.start : extent.stop] for extent in extents]
        found.append(block.numbers(block.unfilter(number, part) for number, part in enumerate(stored)))
    assert found
    return np.concatenate(found)


def expected(array, info: SeriesInfo, *, start=0, stop=None, channels=None):
    view = np.moveaxis(array, info.time_axis, 0)[start:stop]
    return view if channels is None or view.ndim < 2 else view[:, slice(*channels)]


def assert_same(found, wanted) -> None:
    assert found.shape == wanted.shape
    assert found.dtype.isnative
    assert np.array_equal(found, wanted, equal_nan=found.dtype.kind in "fc")


@st.composite
def slices(draw):
    shape = tuple(draw(st.lists(st.integers(1, 12), min_size=1, max_size=4)))
    time_axis = draw(st.integers(0, len(shape) - 1))
    info = SeriesInfo("/a", draw(st.sampled_from(DTYPES)), shape, time_axis)
    first, last = sorted((draw(st.integers(0, info.samples)), draw(st.integers(0, info.samples))))
    channels = None
    if len(shape) > 1:
        count = info.view_shape[1]
        low, high = sorted((draw(st.integers(0, count)), draw(st.integers(0, count))))
        channels = draw(st.sampled_from([None, (low, high), (low, None)]))
    return info, {"start": first, "stop": last, "channels": channels}


COMMON = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@COMMON
@given(slices(), st.integers(0, 9))
def test_a_slice_of_elements_in_c_order_is_numpys(case, offset):
    info, wanted = case
    array = elements(info.dtype, info.shape)
    series = Series(info, Contiguous(offset))
    assert_same(read(bytes(offset) + array.tobytes(), series, **wanted), expected(array, info, **wanted))


@COMMON
@given(st.data())
def test_a_slice_of_interleaved_blocks_is_numpys(data):
    samples, count = data.draw(st.integers(1, 60)), data.draw(st.integers(1, 6))
    dtype = data.draw(st.sampled_from(["<i2", "<i3", ">i3", "<f4"]))
    item, block_samples = int(dtype[2:]), data.draw(st.sampled_from([1, 3, 7, 60]))
    offset, gap = data.draw(st.integers(0, 5)), data.draw(st.sampled_from([0, 5, 70]))
    whole_blocks = -(-samples // block_samples)
    interleaved = data.draw(st.booleans())
    order = data.draw(st.permutations(range(count)))
    if interleaved:  # sample after sample, within a block
        stride = count * item + gap
        starts = [item * channel for channel in order]
        block_bytes = block_samples * stride + gap
    else:  # channel after channel, within a block, as in EDF
        stride = item
        starts = [(block_samples * item + gap) * channel for channel in order]
        block_bytes = (block_samples * item + gap) * count + gap
    raw = np.random.default_rng(1).integers(0, 256, offset + whole_blocks * block_bytes, np.uint8)
    wanted = np.empty((samples, count), np.int32 if item == 3 else np.dtype(dtype).newbyteorder("="))
    for t in range(samples):
        for channel in range(count):
            at = offset + t // block_samples * block_bytes + starts[channel] + t % block_samples * stride
            part = raw[at : at + item].tobytes()
            value = (
                int.from_bytes(part, "little" if dtype[0] == "<" else "big", signed=True)
                if item == 3
                else np.frombuffer(part, dtype)[0]
            )
            wanted[t, channel] = value
    info = SeriesInfo("/a", dtype, (samples, count))
    series = Series(info, Blocks(offset, block_bytes, block_samples, stride, tuple(starts)))
    first, last = sorted((data.draw(st.integers(0, samples)), data.draw(st.integers(0, samples))))
    low, high = sorted((data.draw(st.integers(0, count)), data.draw(st.integers(0, count))))
    found = read(raw.tobytes(), series, start=first, stop=last, channels=(low, high))
    assert_same(found, wanted[first:last, low:high])
    if count == 1:
        flat = Series(SeriesInfo("/a", dtype, (samples,)), series.storage)
        assert_same(read(raw.tobytes(), flat, start=first, stop=last), wanted[first:last, 0])


def chunk_storage(dataset, *, fill: bytes = b"") -> Chunked:
    """Where h5py says that a dataset's chunks lie."""
    grid = [-(-size // step) for size, step in zip(dataset.shape, dataset.chunks, strict=True)]
    offsets = np.full(math.prod(grid), NO_CHUNK, np.uint64)
    sizes = np.zeros(len(offsets), np.uint32)
    masks = np.zeros(len(offsets), np.uint32)
    for number in range(dataset.id.get_num_chunks()):
        chunk = dataset.id.get_chunk_info(number)
        place = np.ravel_multi_index([a // b for a, b in zip(chunk.chunk_offset, dataset.chunks, strict=True)], grid)
        offsets[place], sizes[place], masks[place] = chunk.byte_offset, chunk.size, chunk.filter_mask
    filters = []
    if dataset.shuffle:
        filters.append(Filter("shuffle", (dataset.dtype.itemsize,)))
    if dataset.compression == "gzip":
        filters.append(Filter("deflate", (dataset.compression_opts,)))
    elif dataset.compression:
        filters.append(Filter(dataset.compression))
    if dataset.fletcher32:
        filters.append(Filter("fletcher32"))
    return Chunked(dataset.chunks, offsets, sizes, tuple(filters), masks if masks.any() else None, fill)


@COMMON
@given(
    slices(),
    st.lists(st.integers(1, 5), min_size=4, max_size=4),
    st.booleans(),
    st.booleans(),
    st.sampled_from([None, 1, 9]),
    st.booleans(),
)
def test_a_slice_of_an_hdf5_dataset_in_chunks_is_h5pys(case, steps, shuffle, checksum, level, sparse):
    info, wanted = case
    dtype = "|i1" if info.dtype == "|b1" else info.dtype  # HDF5 holds truth values as an enumeration
    info = SeriesInfo("/a", dtype, info.shape, info.time_axis)
    chunk = tuple(min(step, size) for step, size in zip(steps, info.shape, strict=False))
    array = elements(dtype, info.shape)
    fill = elements(dtype, (1,), seed=7)
    sink = io.BytesIO()
    with h5py.File(sink, "w") as file:
        dataset = file.create_dataset(
            "a",
            shape=info.shape,
            dtype=dtype,
            chunks=chunk,
            shuffle=shuffle,
            fletcher32=checksum,
            compression=None if level is None else "gzip",
            compression_opts=level,
            fillvalue=fill[0],
        )
        if sparse:
            dataset[: info.shape[0] // 2] = array[: info.shape[0] // 2]
        else:
            dataset[...] = array
        held = dataset[...]
        storage = chunk_storage(dataset, fill=fill.tobytes())
    assert_same(read(sink.getvalue(), Series(info, storage), **wanted), expected(held, info, **wanted))


def test_a_chunk_that_was_stored_without_its_filters_is_read_so():
    sink = io.BytesIO()
    array = np.arange(20, dtype="<i4")
    with h5py.File(sink, "w") as file:
        dataset = file.create_dataset("a", shape=(20,), dtype="<i4", chunks=(10,), compression="gzip", shuffle=True)
        dataset[:10] = array[:10]
        dataset.id.write_direct_chunk((10,), array[10:].tobytes(), filter_mask=0b11)
        storage = chunk_storage(dataset)
    assert storage.masks is not None
    assert_same(read(sink.getvalue(), Series(SeriesInfo("/a", "<i4", (20,)), storage)), array)


def test_chunks_that_are_not_stored_are_zeros_without_a_fill_value():
    storage = Chunked((2, 2), np.full(4, NO_CHUNK, np.uint64), np.zeros(4, np.uint32), ())
    assert_same(read(b"", Series(SeriesInfo("/a", ">i2", (3, 4)), storage)), np.zeros((3, 4), np.int16))


def test_an_unknown_filter_is_named_with_what_reads_it():
    storage = Chunked((4,), np.zeros(1, np.uint64), np.full(1, 4, np.uint32), (Filter("lzf"),))
    with pytest.raises(InvalidInput, match=r"series '/a' is filtered with lzf.*h5py"):
        read(b"abcd", Series(SeriesInfo("/a", "|u1", (4,)), storage))


def test_a_chunk_that_inflates_to_more_than_its_size_is_refused_before_it_is_held():
    bomb = zlib.compress(bytes(100_000_000), 9)
    with pytest.raises(FormatError, match="inflates to more than its 16 bytes"):
        unfilter(bomb, (Filter("deflate"),), mask=0, size=16, item=2, what="series '/a'")


@pytest.mark.parametrize("damage", [lambda data: data[:-1], lambda data: b"xx" + data[2:], lambda _: b""])
def test_a_damaged_chunk_is_an_error_and_never_numbers(damage):
    stored = zlib.compress(bytes(range(64)))
    with pytest.raises(FormatError, match="a chunk of series '/a'"):
        unfilter(damage(stored), (Filter("deflate"),), mask=0, size=64, item=2, what="series '/a'")


def test_a_chunk_with_another_checksum_is_refused():
    body = bytes(range(50))
    stored = body + fletcher32(body).to_bytes(4, "little")
    chain = (Filter("fletcher32"),)
    assert unfilter(stored, chain, mask=0, size=50, item=1, what="series '/a'") == body
    with pytest.raises(FormatError, match="does not have the checksum"):
        unfilter(b"\1" + stored[1:], chain, mask=0, size=50, item=1, what="series '/a'")


def test_a_scalar_is_one_sample():
    assert read(b"\x05\x00", Series(SeriesInfo("/a", "<i2", ()), Contiguous(0))).tolist() == [5]


def test_an_empty_series_gives_one_empty_block():
    found = read(b"", Series(SeriesInfo("/a", "<i2", (0, 4)), Contiguous(0)))
    assert (found.shape, found.dtype) == ((0, 4), np.int16)


@pytest.mark.parametrize("time_axis", [0, 1])
def test_far_channels_are_fetched_alone(time_axis, monkeypatch):
    monkeypatch.undo()
    info = SeriesInfo("/a", "<i2", (30_000, 64) if time_axis == 0 else (64, 30_000_000), time_axis)
    (block,) = blocks(Series(info, Contiguous(0)), select(info, start=1000, stop=2000, channels=(0, 16)))
    needed = sum(extent.stop - extent.start for extent in block.extents)
    assert len(block.extents) == (1 if time_axis == 0 else 16)
    assert needed == (999 * 64 + 16) * 2 if time_axis == 0 else 16 * 2000


def test_blocks_are_bounded(monkeypatch):
    monkeypatch.undo()
    info = SeriesInfo("/a", "<i2", (100_000_000, 64))
    sizes = {
        sum(extent.stop - extent.start for extent in block.extents)
        for block in blocks(Series(info, Contiguous(0)), select(info, stop=1_000_000))
    }
    assert max(sizes) <= 8 * 2**20


def test_one_sample_that_cannot_be_held_is_refused():
    info = SeriesInfo("/a", "<f8", (2, 2**20, 2**12))
    with pytest.raises(Exhausted, match="choose fewer channels"):
        next(blocks(Series(info, Contiguous(0)), select(info)))


def impossible() -> list[Series]:
    far = Blocks(2**62, 2**62, 2, 2**62, (0, 2**62))
    holes = np.full(4, NO_CHUNK, np.uint64)
    chunks = Chunked((1, 2**28), holes, np.zeros(4, np.uint32), ())
    return [
        Series(SeriesInfo("/a", "<f8", (2**31, 2**31)), Contiguous(2**62)),
        Series(SeriesInfo("/a", "|u1", (2**29, 2**20), time_axis=1), Contiguous(0)),
        Series(SeriesInfo("/a", "<f8", (2**40, 2), time_axis=1), Contiguous(0)),
        Series(SeriesInfo("/a", "<i2", (2**62, 2)), far),
        Series(SeriesInfo("/a", "|u1", (1, 2**30)), chunks),
        Series(SeriesInfo("/a", "<f8", (1, 2**30)), chunks),
    ]


@pytest.mark.parametrize("series", impossible(), ids=range(6))
def test_a_series_that_cannot_be_is_refused_or_lies_outside_before_anything_is_held(series, monkeypatch):
    monkeypatch.undo()
    try:
        first = next(blocks(series, select(series.info)))
    except (Exhausted, FormatError):
        return
    size = sum(extent.stop - extent.start for extent in first.extents)
    assert size <= 64 * 2**20 or first.extents[-1].stop > 2**60


@pytest.mark.parametrize("shape", [(2**62, 0, 2**62), (0, 2**62)])
def test_an_empty_series_with_axes_that_no_machine_counts_is_refused(shape):
    info = SeriesInfo("/a", "<i2", shape)
    with pytest.raises(FormatError, match="longer than any file"):
        next(blocks(Series(info, Contiguous(0)), select(info)))


def test_a_chunk_that_claims_to_inflate_to_a_gigabyte_is_refused_and_says_what_else_can_be_done():
    info = SeriesInfo("/a", "<i2", (2**29,))
    chunks = Chunked((2**29,), np.zeros(1, np.uint64), np.full(1, 10**6, np.uint32), (Filter("deflate"),))
    with pytest.raises(Exhausted, match="h5py"):
        next(blocks(Series(info, chunks), select(info, stop=10)))


def test_one_sample_in_very_many_chunks_is_refused_before_they_are_looked_up():
    count = 2**18
    chunks = Chunked((1, 1), np.zeros(count, np.uint64), np.ones(count, np.uint32), ())
    series = Series(SeriesInfo("/a", "|u1", (1, count)), chunks)
    with pytest.raises(Exhausted, match="lies in 262144 places: choose fewer channels"):
        next(blocks(series, select(series.info)))
    assert next(blocks(series, select(series.info, channels=(0, 10)))).extents


def test_a_checksum_is_made_in_little_memory():
    tracemalloc.start()
    try:
        fletcher32(bytes(2**24))
        assert tracemalloc.get_traced_memory()[1] < 2**23 + 2**24
    finally:
        tracemalloc.stop()


def test_physical_values_of_signalling_and_infinite_numbers_are_no_warning():
    info = SeriesInfo("/a", "<f4", (3,), conversion=1e308, offset=-np.inf)
    numbers = np.array([0x7F800001, 0x7F800000, 0x7F000000], np.uint32).view(np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert not np.isfinite(physical(info, numbers, (0, 1))).any()


def test_physical_values_use_every_factor_and_offset():
    numbers = np.array([[1, 2], [3, 4]], np.int16)
    info = SeriesInfo(
        "/a",
        "<i2",
        (2, 3),
        conversion=0.5,
        offset=9.0,
        channel_conversion=(1.0, 2.0, 4.0),
        channel_offset=(0.0, 1.0, 2.0),
    )
    values = physical(info, numbers, (1, 3))
    assert values.dtype == np.float64
    assert values.tolist() == [[1 * 0.5 * 2 + 1, 2 * 0.5 * 4 + 2], [3 * 0.5 * 2 + 1, 4 * 0.5 * 4 + 2]]
    plain = SeriesInfo("/a", "<i2", (2, 2), conversion=2.0, offset=1.0)
    assert physical(plain, numbers, (0, 2)).tolist() == [[3.0, 5.0], [7.0, 9.0]]


def test_factors_that_do_not_fit_the_channels_are_an_error():
    info = SeriesInfo("/a", "<i2", (2, 3), channel_conversion=(1.0,))
    with pytest.raises(FormatError, match="1 factors or offsets, not one for each channel"):
        physical(info, np.zeros((2, 3), np.int16), (0, 3))


INFO = SeriesInfo("/acquisition/E", "<i2", (30_000, 64), sampling_rate=10_000.0)


@pytest.mark.parametrize(
    ("wanted", "says"),
    [
        ({"start": 5, "stop": 30_001}, "30000 samples, 3 s at 10000 Hz"),
        ({"start": 9, "stop": 8}, "samples 9 to 8 do not lie in series"),
        ({"start": -1}, "samples -1 to 30000"),
        ({"channels": (0, 65)}, "channels 0:65 .* channels 0 up to 64"),
        ({"channels": (-1, 3)}, "channels -1:3"),
        ({"channels": (4, 3)}, "channels 4:3"),
    ],
)
def test_a_slice_outside_the_series_says_how_long_it_is(wanted, says):
    with pytest.raises(InvalidInput, match=says):
        select(INFO, **wanted)


def test_texts_cannot_be_sliced():
    with pytest.raises(InvalidInput, match=r"holds no numbers but elements of type \|S8"):
        select(SeriesInfo("/a", "|S8", (4,)))


def test_a_length_is_told_in_samples_and_seconds():
    assert length_of(INFO) == "30000 samples, 3 s at 10000 Hz"
    assert length_of(SeriesInfo("/a", "<i2", (1,))) == "1 sample"


def test_an_unknown_series_names_the_nearest():
    known = Description(
        "nwb",
        tuple(
            Series(SeriesInfo(name, "<i2", (1,)), Contiguous(0))
            for name in ("/acquisition/ElectricalSeries", "/stimulus/presentation/bars", "/units/spike_times")
        ),
    )
    assert find_series(known, "/units/spike_times", where="a").info.name == "/units/spike_times"
    with pytest.raises(NotFound, match="did you mean '/acquisition/ElectricalSeries'"):
        find_series(known, "ElectricalSeries", where="retina/bars:a.nwb")
    with pytest.raises(NotFound, match="it has '/acquisition/ElectricalSeries', "):
        find_series(known, "qqqqqqqqqqq", where="retina/bars:a.nwb")
    with pytest.raises(NotFound, match="retina/bars:a.nwb holds no series"):
        find_series(Description("nwb"), "a", where="retina/bars:a.nwb")
