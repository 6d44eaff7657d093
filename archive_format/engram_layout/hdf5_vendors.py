"""What the makers of recording systems say in their HDF5 files: units, factors, rates and tables."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Final

import h5py
import numpy as np

from engram_format.catalog import Scalar
from engram_format.series import Column, SeriesInfo
from engram_layout.hdf5_dialect import Arrays, Dialect, records_at
from engram_layout.hdf5_stored import StoredArray
from engram_layout.hdf5_tree import UNREADABLE, as_number, as_text, attribute, dataset_at, group_at, number_at

_MCS_CHANNELS: Final = re.compile(r"(/Data/Recording_\d+/AnalogStream/Stream_\d+)/ChannelData")
_MAXWELL_RAW: Final = re.compile(r"/sig|(/data_store/\w+|/wells/\w+/\w+|/recordings/\w+/\w+)/groups/\w+/raw")
_BRW_WELL: Final = re.compile(r"/(Well_\w+)/Raw")
_MICRO: Final = 1e-6


def describe_mcs(file: h5py.File, arrays: Arrays) -> Dialect | None:
    """Describe a file of Multi Channel Systems (RawData version 2 and 3): analog streams, channel first."""
    if as_text(attribute(file, "McsHdf5ProtocolType")) != "RawData":
        return None
    series = list(_mcs_streams(file, arrays))
    metadata: dict[str, Scalar] = {}
    data = group_at(file, "/Data")
    if start := _date_of_ticks(as_number(attribute(data, "DateInTicks"))):
        metadata["session.start_time"] = start
    for name, word in (
        ("device.MCS.description", "ProgramName"),
        ("device.MCS.layout", "MeaName"),
    ):
        if text := as_text(attribute(data, word)):
            metadata[name] = text
    metadata |= {"device.MCS.manufacturer": "Multi Channel Systems"}
    return Dialect("hdf5", series, {}, metadata)


def _mcs_streams(file: h5py.File, arrays: Arrays) -> Iterator[tuple[SeriesInfo, StoredArray]]:
    for path, array in arrays.by_path.items():
        found = _MCS_CHANNELS.fullmatch(path)
        if not found or len(array.shape) != 2 or not array.is_series:
            continue
        channels = _members(file, f"{found[1]}/InfoChannel")
        # A row of the data for each channel; the rows of InfoChannel may be in another order and say theirs.
        order = channels.get("RowIndex")
        if not isinstance(order, np.ndarray) or sorted(order.tolist()) != list(range(array.shape[0])):
            yield SeriesInfo(path, array.dtype, array.shape, time_axis=1, role="acquisition"), array
            continue
        rows = np.argsort(order, kind="stable")
        factor = _ordered(channels, "ConversionFactor", rows, 1.0)
        exponent = _ordered(channels, "Exponent", rows, 0.0)
        zero = _ordered(channels, "ADZero", rows, 0.0)
        tick = _ordered(channels, "Tick", rows, 0.0)
        conversion = factor * 10.0**exponent
        conversion[conversion == 0] = 1.0  # Digital streams have no factor.
        labels, units = channels.get("Label", ()), channels.get("Unit", ())
        regular = len(tick) > 0 and float(tick[0]) > 0 and bool((tick == tick[0]).all())
        told = isinstance(channels.get("ConversionFactor"), np.ndarray)
        usable = told and bool(np.isfinite(conversion).all() and np.isfinite(zero).all())
        even = usable and bool((conversion == conversion[0]).all() and (zero == zero[0]).all())
        offsets = -zero * conversion + 0.0
        times = _mcs_times(file, found[1])
        yield (
            SeriesInfo(
                name=path,
                dtype=array.dtype,
                shape=array.shape,
                time_axis=1,
                sampling_rate=1e6 / float(tick[0]) if regular and not _mcs_has_gaps(times, float(tick[0])) else 0.0,
                starting_time=float(times[0, 0]) / 1e6 if len(times) else 0.0,
                unit=str(units[0]) if usable and len(units) and len(set(map(str, units))) == 1 else "",
                conversion=float(conversion[0]) if even else 1.0,
                offset=float(offsets[0]) if even else 0.0,
                channel_conversion=tuple(conversion.tolist()) if usable and not even else (),
                channel_offset=tuple(offsets.tolist()) if usable and not even else (),
                channels=tuple(str(labels[row]) for row in rows) if len(labels) == len(rows) else (),
                role="acquisition",
                description=as_text(attribute(group_at(file, found[1]), "Label")),
            ),
            array,
        )


def _date_of_ticks(ticks: float | None) -> str:
    """Return the local time of .NET's ticks (100 ns since the year 1) in ISO 8601; empty if there is none."""
    try:
        return (
            "" if not ticks else (datetime(1, 1, 1) + timedelta(microseconds=ticks / 10)).isoformat(timespec="seconds")
        )
    except OverflowError:
        return ""


def _mcs_times(file: h5py.File, stream: str) -> np.ndarray:
    """Return for each uninterrupted part of a stream the time of its first sample in microseconds, its first and last sample."""
    dataset = dataset_at(file, f"{stream}/ChannelDataTimeStamps")
    try:
        if dataset is not None and dataset.nbytes <= 2**20 and dataset.dtype.kind in "iu":
            return np.asarray(dataset[...], np.int64).reshape(-1, 3)
    except (*UNREADABLE, ValueError):
        pass
    return np.empty((0, 3), np.int64)


def _mcs_has_gaps(times: np.ndarray, tick_us: float) -> bool:
    """Tell whether some part does not begin when the samples before it would have it."""
    expected = times[:1, 0] + (times[:, 1] - times[:1, 1]) * tick_us
    return bool((np.abs(times[:, 0] - expected) > tick_us / 2).any())


def _members(file: h5py.File, path: str) -> dict[str, Column]:
    table = records_at(file, path)
    return {} if table is None else dict(table.columns)


def _ordered(channels: dict[str, Column], name: str, rows: np.ndarray, default: float) -> np.ndarray:
    column = channels.get(name)
    return column[rows] if isinstance(column, np.ndarray) else np.full(len(rows), default)


def describe_cl1(file: h5py.File, arrays: Arrays) -> Dialect | None:
    """Describe a recording of a CL1: samples time first, and the tables of spikes and stimuli, in frames."""
    rate = as_number(attribute(file, "frames_per_second"))
    if rate is None or attribute(file, "channel_count") is None:
        return None
    series: list[tuple[SeriesInfo, StoredArray]] = []
    microvolts = as_number(attribute(file, "uV_per_sample_unit"))
    samples = arrays.by_path.get("/samples")
    if samples is not None and samples.is_series:
        series.append(
            (
                SeriesInfo(
                    "/samples",
                    samples.dtype,
                    samples.shape,
                    sampling_rate=rate,
                    unit="volts" if microvolts else "",
                    conversion=microvolts * _MICRO if microvolts else 1.0,
                    role="acquisition",
                ),
                samples,
            )
        )
    metadata: dict[str, Scalar] = {"device.CL1.manufacturer": "Cortical Labs"}
    for word in ("channel_count", "duration_frames", "frames_per_second"):
        value = as_number(attribute(file, word))
        if value is not None:
            metadata[f"device.CL1.{word}"] = value
    tables = {name: records_at(file, f"/{name}") for name in ("spikes", "stims")}
    return Dialect("hdf5", series, {name: table for name, table in tables.items() if table is not None}, metadata)


def describe_3brain(file: h5py.File, arrays: Arrays) -> Dialect | None:
    """Describe a BRW file of 3Brain, version 3 (`/3BData/Raw`) or 4 (`/Well_*/Raw`): time first, channels side by side.

    Version 4 stores the channels of all frames in one axis; such a series keeps the shape it has in the file.
    """
    old, new = group_at(file, "/3BRecInfo/3BRecVars"), as_number(attribute(file, "MaxAnalogValue"))
    if old is None and new is None:
        return None
    variables = "/3BRecInfo/3BRecVars"
    if old is not None:
        rate = number_at(file, f"{variables}/SamplingRate") or 0.0
        low, high = number_at(file, f"{variables}/MinVolt"), number_at(file, f"{variables}/MaxVolt")
        bits = number_at(file, f"{variables}/BitDepth")
        counts = 2.0**bits if bits and 0 < bits <= 32 else None
        sign = number_at(file, f"{variables}/SignalInversion") or 1.0
        zero = 0.0
    else:
        rate = as_number(attribute(file, "SamplingRate")) or 0.0
        low, high = as_number(attribute(file, "MinAnalogValue")), new
        first, last = as_number(attribute(file, "MinDigitalValue")), as_number(attribute(file, "MaxDigitalValue"))
        counts = last - first if first is not None and last is not None and last > first else None
        sign, zero = 1.0, first or 0.0
    known = low is not None and high is not None and counts is not None
    step = sign * (high - low) / counts if low is not None and high is not None and counts else 1.0
    offset = sign * low - zero * step if known and low is not None else 0.0
    series = [
        (
            SeriesInfo(
                path,
                array.dtype,
                array.shape,
                sampling_rate=rate if len(array.shape) == 2 else 0.0,
                unit="volts" if known else "",
                conversion=step * _MICRO if known else 1.0,
                offset=offset * _MICRO if known else 0.0,
                role="acquisition",
            ),
            array,
        )
        for path, array in arrays.by_path.items()
        if array.is_series and (path == "/3BData/Raw" or _BRW_WELL.fullmatch(path))
    ]
    return Dialect("hdf5", series, {}, {"device.BioCAM.manufacturer": "3Brain"})


def describe_maxwell(file: h5py.File, arrays: Arrays) -> Dialect | None:
    """Describe a recording of MaxWell Biosystems: channel first, `lsb` volts a count, tables of spikes where there are."""
    raw = [path for path in arrays.by_path if _MAXWELL_RAW.fullmatch(path)]
    if not raw or (dataset_at(file, "/mapping") is None and dataset_at(file, "/version") is None):
        return None
    series: list[tuple[SeriesInfo, StoredArray]] = []
    for path in raw:
        array, found = arrays.by_path[path], _MAXWELL_RAW.fullmatch(path)
        base = (found[1] if found else "") or ""
        lsb, rate = number_at(file, f"{base}/settings/lsb"), number_at(file, f"{base}/settings/sampling")
        if not array.is_series or len(array.shape) != 2:
            continue
        series.append(
            (
                SeriesInfo(
                    path,
                    array.dtype,
                    array.shape,
                    time_axis=1,
                    sampling_rate=rate if rate and rate > 0 else (0.0 if base else 20_000.0),
                    unit="volts" if lsb else "",
                    conversion=lsb or 1.0,
                    role="acquisition",
                ),
                array,
            )
        )
    metadata: dict[str, Scalar] = {"device.MaxWell.manufacturer": "MaxWell Biosystems"}
    mapping = records_at(file, "/mapping")
    return Dialect("hdf5", series, {} if mapping is None else {"electrodes": mapping}, metadata)
