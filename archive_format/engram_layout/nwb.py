"""What NWB says of its recordings: series, tables and metadata (nwb-schema 2.x)."""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

import h5py
import numpy as np

from engram_format.catalog import Scalar
from engram_format.series import SeriesInfo, Table
from engram_layout.dandi import missing_fields
from engram_layout.hdf5_dialect import MAX_ROWS, Arrays, Dialect, column_at, table_of
from engram_layout.hdf5_stored import StoredArray
from engram_layout.hdf5_tree import (
    UNREADABLE,
    address_of,
    as_number,
    as_text,
    attribute,
    attribute_texts,
    dataset_at,
    group_at,
    names_in,
    number_at,
    value_at,
)

_ELECTRODES: Final = "/general/extracellular_ephys/electrodes"
_SPIKE_TIMES: Final = "/units/spike_times"
_ROLES: Final = (
    ("/acquisition/", "acquisition"),
    ("/stimulus/presentation/", "stimulus"),
    ("/processing/", "processing"),
    ("/units/", "units"),
    ("/intervals/", "intervals"),
    ("/scratch/", "scratch"),
)
_METADATA: Final = (
    ("session.id", "/general/session_id"),
    ("session.identifier", "/identifier"),
    ("session.start_time", "/session_start_time"),
    ("session.description", "/session_description"),
    ("session.timestamps_reference_time", "/timestamps_reference_time"),
    ("session.experimenter", "/general/experimenter"),
    ("session.experiment_description", "/general/experiment_description"),
    ("session.institution", "/general/institution"),
    ("session.lab", "/general/lab"),
    ("session.keywords", "/general/keywords"),
    ("session.related_publications", "/general/related_publications"),
    ("session.protocol", "/general/protocol"),
    ("session.notes", "/general/notes"),
    ("subject.id", "/general/subject/subject_id"),
    ("subject.species", "/general/subject/species"),
    ("subject.sex", "/general/subject/sex"),
    ("subject.age", "/general/subject/age"),
    ("subject.date_of_birth", "/general/subject/date_of_birth"),
    ("subject.genotype", "/general/subject/genotype"),
    ("subject.strain", "/general/subject/strain"),
    ("subject.weight", "/general/subject/weight"),
    ("subject.description", "/general/subject/description"),
)
_MAX_DEVICES: Final = 64
_MAX_CHANNELS: Final = 65_536


def describe_nwb(file: h5py.File, arrays: Arrays) -> Dialect | None:
    """Return what an NWB file says of itself; `None` if it is none."""
    version = as_text(attribute(file, "nwb_version"))
    if not version:
        return None
    warnings: list[str] = []
    tables = _tables(file, warnings=warnings)
    metadata = _metadata(file, version=version, tables=tables)
    series = _paired(file, list(_series(file, arrays, tables)))
    warnings += missing_fields(metadata)
    return Dialect("nwb", series, tables, metadata, tuple(warnings))


def _series(file: h5py.File, arrays: Arrays, tables: dict[str, Table]) -> Iterator[tuple[SeriesInfo, StoredArray]]:
    """Yield the arrays with what their groups say of them; first those that are data of a time series."""
    linked = [*arrays.aliases, *arrays.soft_links]
    taken = set()
    for path in [*arrays.by_path, *linked]:
        parent, _, name = path.rpartition("/")
        array = arrays.at(file, path) if name == "data" else None
        if array is None or not array.is_series:
            continue
        group = group_at(file, parent)
        if as_text(attribute(group, "neurodata_type")):
            taken.add(path)
            yield _time_series(file, arrays, parent, array, tables), array
    for path, array in arrays.by_path.items():
        if path in taken or not array.is_series:
            continue
        info = SeriesInfo(path, array.dtype, array.shape, role=_role(path))
        if path.rpartition("/")[2] in ("timestamps", "spike_times"):
            info = replace(info, unit="seconds")
        description = as_text(attribute(dataset_at(file, path), "description"))
        index = arrays.at(file, f"{path}_index")
        yield replace(info, description=description, index=index.path if index else ""), array


def _time_series(
    file: h5py.File, arrays: Arrays, path: str, array: StoredArray, tables: dict[str, Table]
) -> SeriesInfo:
    data, start = dataset_at(file, f"{path}/data"), dataset_at(file, f"{path}/starting_time")
    timestamps = arrays.at(file, f"{path}/timestamps")
    rate = as_number(attribute(start, "rate"))
    conversion, offset = as_number(attribute(data, "conversion")), as_number(attribute(data, "offset"))
    factors = _channel_conversion(file, path, array)
    if factors is None:  # half of the factors would make wrong numbers: the stored ones are given, without a unit
        conversion = offset = None
    return SeriesInfo(
        name=path,
        dtype=array.dtype,
        shape=array.shape,
        sampling_rate=rate if rate is not None and rate > 0 and timestamps is None else 0.0,
        starting_time=number_at(file, f"{path}/starting_time") or 0.0,
        timestamps=timestamps.path if timestamps else "",
        unit="" if factors is None else as_text(attribute(data, "unit")),
        conversion=1.0 if conversion is None else conversion,
        offset=0.0 if offset is None else offset,
        channel_conversion=factors or (),
        channels=_channels(file, path, array, tables),
        role=_role(f"{path}/"),
        description=as_text(attribute(group_at(file, path), "description")),
    )


def _role(path: str) -> str:
    return next((role for beginning, role in _ROLES if path.startswith(beginning)), "")


def _channel_conversion(file: h5py.File, path: str, array: StoredArray) -> tuple[float, ...] | None:
    """Return the factor of each channel, nothing where there are none, and `None` where there are and they do not fit."""
    if dataset_at(file, f"{path}/channel_conversion") is None:
        return ()
    factors = column_at(file, f"{path}/channel_conversion", at_most=_MAX_CHANNELS)
    if not isinstance(factors, np.ndarray) or array.shape[1:2] != factors.shape or not np.isfinite(factors).all():
        return None
    return tuple(factors.tolist())


def _channels(file: h5py.File, path: str, array: StoredArray, tables: dict[str, Table]) -> tuple[str, ...]:
    """Name the channels of an electrical series by the rows of the electrodes' table that it refers to."""
    rows = column_at(file, f"{path}/electrodes")
    table = tables.get("electrodes")
    if table is None or not isinstance(rows, np.ndarray) or array.shape[1:2] != rows.shape:
        return ()
    names = next((table.columns[name] for name in ("channel_name", "label", "id") if name in table.columns), None)
    if names is None or len(rows) > _MAX_CHANNELS or not all(0 <= row < len(names) for row in rows):
        return ()
    return tuple(name if isinstance(name, str) else f"{name:g}" for name in (names[int(row)] for row in rows))


@dataclass(frozen=True, slots=True)
class _Sweep:
    """What may tell which stimulus a recording answers."""

    name: str
    electrode: int
    """Where its group lies in the file; 0 if there is none."""
    sweep: float | None

    @property
    def number(self) -> str:
        """The last number in the name of the series."""
        numbers: list[str] = re.findall(r"\d+", self.name.rpartition("/")[2])
        return numbers[-1] if numbers else ""

    @property
    def stem(self) -> str:
        """The name without what NWB's types add to it for a stimulus."""
        return self.name.rpartition("/")[2].lower().replace("stimulus", "").replace("series", "")


_KEYS: Final[tuple[Callable[[_Sweep], Hashable | None], ...]] = (
    lambda one: (one.electrode, one.sweep) if one.sweep is not None else None,
    lambda one: (one.electrode, one.number) if one.number else None,
    lambda one: one.electrode or None,
    lambda one: one.stem or None,
)


def _paired(file: h5py.File, series: list[tuple[SeriesInfo, StoredArray]]) -> Sequence[tuple[SeriesInfo, StoredArray]]:
    """Pair stimuli with the acquisitions that answer them, as far as electrodes, sweeps and names leave no doubt."""
    stimuli = [_sweep(file, info.name) for info, _ in series if info.role == "stimulus" and _is_data(info)]
    answers = [_sweep(file, info.name) for info, _ in series if info.role == "acquisition" and _is_data(info)]
    pairs: dict[str, str] = {}
    keys = _KEYS if len(stimuli) + len(answers) > 2 else (*_KEYS, lambda _one: True)
    for key in keys:
        left = _by_key((one for one in stimuli if one.name not in pairs), key)
        right = _by_key((one for one in answers if one.name not in pairs), key)
        for value in left.keys() & right.keys():
            if len(left[value]) == len(right[value]) == 1:
                stimulus, answer = left[value][0], right[value][0]
                pairs[stimulus], pairs[answer] = answer, stimulus
    return [(replace(info, pairs_with=pairs.get(info.name, "")), array) for info, array in series]


def _is_data(info: SeriesInfo) -> bool:
    return not info.name.endswith("/timestamps")


def _by_key(sweeps: Iterator[_Sweep], key: Callable[[_Sweep], Hashable | None]) -> dict[Hashable, list[str]]:
    groups: dict[Hashable, list[str]] = {}
    for one in sweeps:
        value = key(one)
        if value is not None:
            groups.setdefault(value, []).append(one.name)
    return groups


def _sweep(file: h5py.File, path: str) -> _Sweep:
    # By its address: every series has a link of its own to its electrode.
    electrode = group_at(file, f"{path}/electrode")
    try:
        address = 0 if electrode is None else address_of(electrode.id)
    except UNREADABLE:
        address = 0
    return _Sweep(path, address, as_number(attribute(group_at(file, path), "sweep_number")))


def _tables(file: h5py.File, *, warnings: list[str]) -> dict[str, Table]:
    """Read the electrodes and the intervals, of which trials are one."""
    places = {"electrodes": _ELECTRODES} | {name: f"/intervals/{name}" for name in names_in(file, "/intervals")[:64]}
    tables: dict[str, Table] = {}
    for name, path in places.items():
        columns = attribute_texts(group_at(file, path), "colnames")
        wanted = ["id", *(column for column in columns if "/" not in column)]
        ragged = {column for column in wanted if dataset_at(file, f"{path}/{column}_index") is not None}
        table = table_of({column: column_at(file, f"{path}/{column}") for column in wanted if column not in ragged})
        if table is None:
            continue
        tables[name] = table
        rows = _rows(file, path)
        if rows > MAX_ROWS:
            warnings.append(f"the table {name} has {rows} rows: only the first {MAX_ROWS} are described")
    return tables


def _rows(file: h5py.File, path: str) -> int:
    identifiers = dataset_at(file, f"{path}/id")
    return int(identifiers.shape[0]) if identifiers is not None and len(identifiers.shape or ()) == 1 else 0


def _metadata(file: h5py.File, *, version: str, tables: dict[str, Table]) -> dict[str, Scalar]:
    metadata: dict[str, Scalar] = {"nwb.version": version}
    for name, path in _METADATA:
        value = value_at(file, path)
        if isinstance(value, str | int | float) and value != "":
            metadata[name] = value
    devices = names_in(file, "/general/devices")
    for device in devices[:_MAX_DEVICES]:
        group = group_at(file, f"/general/devices/{device}")
        for word in ("description", "manufacturer", "model_name", "serial_number"):
            if text := as_text(attribute(group, word)):
                metadata[f"device.{device[:100]}.{word}"] = text
    counts = {
        "electrodes.count": _rows(file, _ELECTRODES),
        "units.count": _rows(file, "/units"),
        "trials.count": _rows(file, "/intervals/trials"),
    }
    return metadata | {name: count for name, count in counts.items() if count}
