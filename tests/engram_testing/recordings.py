"""A small recording, and what a planner would have found in it."""

from __future__ import annotations

import hashlib
import io
import math
import secrets

import h5py
import numpy as np

from engram_format.address import Address
from engram_format.array_type import ArrayType, Filter
from engram_format.catalog import ArtifactSpec
from engram_format.series import NO_CHUNK, Chunked, Contiguous, Description, Series, SeriesInfo, Table
from engram_layout.plan import ArraySegment, Plan, covering

RATE_HZ = 1000.0
SAMPLES, CHANNELS = 5000, 6
NAMES = (
    "/acquisition/raw",
    "/acquisition/packed",
    "/processing/lfp",
    "/units/spike_times",
    "/units/spike_times_index",
    "/scratch/pupil",
    "/scratch/pupil_times",
)


def recorded() -> dict[str, np.ndarray]:
    """The arrays of the recording, by name; `/processing/lfp` is (channel, time)."""
    draw = np.random.default_rng(3)
    walk = np.cumsum(draw.integers(-9, 10, (SAMPLES, CHANNELS)), axis=0).astype("<i2")
    times = [np.sort(draw.uniform(0, SAMPLES / RATE_HZ, count)) for count in (12, 40, 7)]
    return {
        "/acquisition/raw": walk,
        "/acquisition/packed": (walk[::-1] // 2).astype("<i2"),
        "/processing/lfp": np.ascontiguousarray(walk.T.astype(">f4")),
        "/units/spike_times": np.concatenate(times),
        "/units/spike_times_index": np.cumsum([len(row) for row in times]).astype("<i4"),
        "/scratch/pupil": draw.normal(3, 0.2, 50).astype("<f4"),
        "/scratch/pupil_times": np.sort(draw.uniform(0, 5, 50)),
    }


def hdf5_file() -> bytes:
    """Return an HDF5 file with the arrays, one of them in chunks that are shuffled and deflated."""
    sink = io.BytesIO()
    with h5py.File(sink, "w", libver="latest") as file:
        for name, array in recorded().items():
            if name.endswith("packed"):
                file.create_dataset(
                    name,
                    data=array,
                    chunks=(700, 4),
                    compression="gzip",
                    compression_opts=4,
                    shuffle=True,
                    fletcher32=True,
                )
            else:
                file.create_dataset(name, data=array)
    return sink.getvalue()


def plan_of(data: bytes) -> Plan:
    """Return the plan of such a file, with its series described."""
    with h5py.File(io.BytesIO(data)) as file:
        series = [_series(file[name], name) for name in recorded()]
        arrays, segments = [], []
        for item, name in zip(series, recorded(), strict=True):
            storage = item.storage
            if isinstance(storage, Contiguous):
                row = file[name][:1].nbytes
                arrays.append(ArrayType(name, item.info.dtype, row // item.info.item_bytes, row))
                segments.append(ArraySegment(storage.offset, file[name].nbytes, len(arrays) - 1))
    electrodes = Table({"location": ("CA1",) * CHANNELS, "x": np.arange(CHANNELS) * 50.0})
    return covering(
        len(data), segments, tuple(arrays), description=Description("hdf5", tuple(series), {"electrodes": electrodes})
    )


def _series(dataset, name: str) -> Series:
    chunked = dataset.chunks is not None
    regular = name in NAMES[:3]
    info = SeriesInfo(
        name,
        dataset.dtype.str,
        dataset.shape,
        time_axis=1 if name.endswith("lfp") else 0,
        sampling_rate=RATE_HZ if regular else 0.0,
        starting_time=2.5 if regular else 0.0,
        timestamps="/scratch/pupil_times" if name.endswith("pupil") else "",
        unit="uV" if regular else "mm" if name.endswith("pupil") else "seconds",
        conversion=0.195 if regular else 1.0,
        channels=tuple(f"ch{n}" for n in range(CHANNELS)) if regular else (),
        role=name.split("/")[1],
        index="/units/spike_times_index" if name.endswith("spike_times") else "",
    )
    return Series(info, _chunks(dataset) if chunked else Contiguous(dataset.id.get_offset()))


def _chunks(dataset) -> Chunked:
    grid = [-(-size // step) for size, step in zip(dataset.shape, dataset.chunks, strict=True)]
    offsets = np.full(math.prod(grid), NO_CHUNK, np.uint64)
    sizes = np.zeros(len(offsets), np.uint32)
    for number in range(dataset.id.get_num_chunks()):
        chunk = dataset.id.get_chunk_info(number)
        place = np.ravel_multi_index([a // b for a, b in zip(chunk.chunk_offset, dataset.chunks, strict=True)], grid)
        offsets[place], sizes[place] = chunk.byte_offset, chunk.size
    filters = (Filter("shuffle", (dataset.dtype.itemsize,)), Filter("deflate", (4,)), Filter("fletcher32"))
    return Chunked(dataset.chunks, offsets, sizes, filters)


def deposit_recording(archive, address: Address, data: bytes, *, metadata=None, plan=None):
    """Deposit the file, with its own plan if no other is given; return the version's address of it."""
    with archive.open_deposit(address.of(None), session=secrets.token_hex(16)) as deposit:
        spec = ArtifactSpec(path=address.path, size=len(data), metadata=metadata or {})
        deposit.begin(spec, plan or plan_of(data))
        deposit.write(data)
        deposit.end(sha256=hashlib.sha256(data).hexdigest())
        return deposit.commit(message="", author="a test").address.of(address.path)
