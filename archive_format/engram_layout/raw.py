"""Raw samples that a file beside them describes: SpikeGLX's `.bin` with its `.meta`, Open Ephys' `continuous.dat`, BrainVision.

SpikeGLX: `run_g0_t0.imec0.ap.bin` is the series `/acquisition/imec0.ap`; channels of the synchronisation word and other digital
lines have no unit and are, where there are others, the series `/acquisition/imec0.ap (no unit)`. Open Ephys:
`<recording>/continuous/<folder>/continuous.dat`, described by `<recording>/structure.oebin`, is `/acquisition/<folder>`. Both
are int16, least significant byte first, channels side by side.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO, Final

from engram_format.array_type import ArrayType
from engram_format.catalog import Scalar
from engram_format.errors import FormatError
from engram_format.series import Description
from engram_layout.brainvision import plan_brainvision
from engram_layout.channels import MAX_CHANNELS, Channel, distinct, interleaved, series_by_unit
from engram_layout.header import (
    MIN_ARRAY_BYTES,
    finite,
    iso_moment,
    number,
    opaque_if_refused,
    plain_text,
    positive,
    read_sidecar,
    row_of,
    unit_text,
    whole,
)
from engram_layout.opaque import plan_opaque
from engram_layout.plan import ArraySegment, Planned, covering

_ITEM: Final = 2
_STREAM: Final = re.compile(r"\.((?:imec\d*\.(?:ap|lf))|nidq|(?:obx\d*\.obx)|obx\d*)$")
_IMEC_GAIN_80: Final = frozenset({21, 24})
"""Neuropixels 2.0 of one and of four shanks, whose gain is fixed."""
_IMEC_TABLE_GAINS: Final = frozenset({0, 1020, 1030, 1100, 1120, 1121, 1122, 1123, 1200, 1300})
"""Probes of the 1.0 kind, whose table of sites gives each channel's two gains; their converters have 10 bits."""


@opaque_if_refused("raw")
def plan_raw(file: BinaryIO, *, size: int, path: Path) -> Planned:
    """Plan a file of `size` bytes that has no signature by what lies beside it at `path`.

    Opaque with a warning where what lies beside it contradicts it, and without one where there is nothing.
    """
    if path.suffix == ".bin":
        meta = read_sidecar(path.with_suffix(".meta"))
        if meta is not None and b"typeThis=" in meta:
            return _plan_spikeglx(meta, size=size, path=path)
    if path.name == "continuous.dat":
        oebin = read_sidecar(path.absolute().parent.parent.parent / "structure.oebin")
        if oebin is not None:
            return _plan_open_ephys(oebin, size=size, path=path)
    if path.suffix.lower() in (".eeg", ".dat", ".avg", ".seg"):
        return plan_brainvision(file, size=size, path=path)
    return Planned(plan_opaque(size))


def _plan_spikeglx(data: bytes, *, size: int, path: Path) -> Planned:
    meta = _meta(data)
    kind = meta.get("typeThis", "")
    if kind not in ("imec", "nidq", "obx"):
        raise FormatError(f"its typeThis is the unknown {plain_text(kind)!r:.40}")
    saved = whole(_needed(meta, "nSavedChans"), what="nSavedChans")
    if not 1 <= saved <= MAX_CHANNELS:
        raise FormatError(f"it says it saved {saved} channels")
    rate = positive(number(_needed(meta, f"{kind[:2]}SampRate"), what="the sampling rate"), what="the sampling rate")
    said = whole(_needed(meta, "fileSizeBytes"), what="fileSizeBytes")
    frame = _ITEM * saved
    if said < size or said % frame:
        raise FormatError(f"its meta file says it has {said} bytes of {saved} channels, and it has {size}")
    told = (
        []
        if said == size
        else [f"the file is cut off: of {said // frame} samples of each channel {size // frame} are there"]
    )
    channels, more = _spikeglx_channels(meta, kind, saved)
    stream = _STREAM.search(path.stem)
    name = f"/acquisition/{stream[1] if stream else kind}"
    metadata: dict[str, Scalar] = {"spikeglx.type": kind}
    if moment := iso_moment(meta.get("fileCreateTime", "")):
        metadata["session.start_time"] = moment
    texts = {"imDatPrb_pn": "device.name", "imDatPrb_sn": "spikeglx.probe_serial", "userNotes": "session.description"}
    metadata |= {word: plain_text(meta[key]) for key, word in texts.items() if plain_text(meta.get(key, ""))}
    if "firstSample" in meta:
        metadata["spikeglx.first_sample"] = whole(meta["firstSample"], what="firstSample")
    return _planned("spikeglx", name, channels, rate, size=size, metadata=metadata, told=[*told, *more])


def _meta(data: bytes) -> dict[str, str]:
    """Return the lines `key=value`, keys without the `~` that marks lists."""
    found: dict[str, str] = {}
    for line in data.decode("utf-8", "replace").splitlines():
        key, equals, value = line.partition("=")
        key = key.strip().removeprefix("~")
        if equals and found.setdefault(key, value.strip()) != value.strip():
            raise FormatError(f"its meta file gives {plain_text(key)!r:.40} twice")
    return found


def _needed(meta: Mapping[str, str], key: str) -> str:
    if key not in meta:
        raise FormatError(f"its meta file has no {key}")
    return meta[key]


def _spikeglx_channels(meta: Mapping[str, str], kind: str, saved: int) -> tuple[list[Channel], list[str]]:
    """Return the channels in the order of the file, in volts but for the digital ones, which have no unit."""
    counts_key, analog = {
        "imec": ("snsApLfSy", 2),
        "nidq": ("snsMnMaXaDw", 3),
        "obx": ("snsXaDwSy", 1),
    }[kind]
    counts = [whole(text, what=counts_key) for text in _needed(meta, counts_key).split(",")]
    if len(counts) != (4 if kind == "nidq" else 3) or min(counts) < 0 or sum(counts) != saved:
        raise FormatError(f"its {counts_key} says {counts}, which are not {saved} channels")
    told: list[str] = []
    volts: Sequence[float] | None
    match kind:
        case "imec":
            volts = _imec_volts(meta, counts)
            if volts is None:
                told.append(
                    "the gains of this probe are not known: its series are in the converter's numbers, without a unit"
                )
        case "nidq":
            full = _full_scale(meta, "ni", default=32768)
            gains = [_gain(meta, "niMNGain", counts[0]), _gain(meta, "niMAGain", counts[1]), 1.0]
            volts = [full / gain for gain, count in zip(gains, counts, strict=False) for _ in range(count)]
        case _:
            volts = [_full_scale(meta, "ob")] * counts[0]
    names = _names(meta, saved)
    count = sum(counts[:analog]) if volts is not None else 0
    channels = [Channel(names[index], "V", _ITEM * index, (volts or [])[index]) for index in range(count)]
    channels += [Channel(names[index], "", _ITEM * index) for index in range(count, saved)]
    return channels, told


def _full_scale(meta: Mapping[str, str], prefix: str, *, default: int | None = None) -> float:
    """Return the volts of one step of the converter at a gain of 1."""
    highest = positive(
        number(_needed(meta, f"{prefix}AiRangeMax"), what="the range"), what="the range of its converter"
    )
    key = f"{prefix}MaxInt"
    steps = default if default is not None and key not in meta else whole(_needed(meta, key), what=key)
    if steps < 1:
        raise FormatError(f"its {key} is {steps}")
    return highest / steps


def _gain(meta: Mapping[str, str], key: str, count: int) -> float:
    return positive(number(_needed(meta, key), what=key), what=key) if count else 1.0


def _imec_volts(meta: Mapping[str, str], counts: Sequence[int]) -> list[float] | None:
    """Return the volts of one step for each saved AP and LF channel; `None` for a probe whose gains nobody told us."""
    probe = whole(meta.get("imDatPrb_type", "0"), what="imDatPrb_type")
    if probe in _IMEC_TABLE_GAINS:
        return _table_volts(meta, counts)
    if "imMaxInt" not in meta or (probe not in _IMEC_GAIN_80 and "imChan0apGain" not in meta):
        return None
    step = _full_scale(meta, "im")
    if "imChan0apGain" in meta:
        gains = [_gain(meta, "imChan0apGain", counts[0]), _gain(meta, "imChan0lfGain", counts[1])]
        return [step / gain for gain, count in zip(gains, counts, strict=False) for _ in range(count)]
    return None if counts[1] else [step / 80] * counts[0]


def _table_volts(meta: Mapping[str, str], counts: Sequence[int]) -> list[float]:
    """Return the same for a probe whose table of sites gives each channel's two gains."""
    step = _full_scale(meta, "im", default=512)
    table = [entry.split() for entry in re.findall(r"\(([^()]*)\)", _needed(meta, "imroTbl"))][1:]
    acquired = [whole(text, what="acqApLfSy") for text in _needed(meta, "acqApLfSy").split(",")]
    numbers = list(_saved_numbers(meta, sum(counts), sum(acquired)))[: counts[0] + counts[1]]
    found = []
    for position, channel in enumerate(numbers):
        is_ap = position < counts[0]
        row, column = (channel, 3) if is_ap else (channel - acquired[0], 4)
        if not 0 <= row < len(table) or len(table[row]) <= column:
            raise FormatError(f"its imroTbl does not tell the gain of channel {channel}")
        found.append(step / positive(number(table[row][column], what="a gain in imroTbl"), what="a gain in imroTbl"))
    return found


def _saved_numbers(meta: Mapping[str, str], saved: int, acquired: int) -> Iterator[int]:
    """Yield the number that each saved channel had among those acquired."""
    text = meta.get("snsSaveChanSubset", "all")
    if text == "all":
        if saved != acquired:
            raise FormatError(f"it says it saved all of {acquired} channels, and {saved}")
        yield from range(saved)
        return
    count = 0
    for part in text.split(","):
        first, _, last = part.partition(":")
        start = whole(first, what="snsSaveChanSubset")
        stop = whole(last or first, what="snsSaveChanSubset")
        count += max(0, stop - start + 1)
        if not 0 <= start <= stop < acquired or count > saved:
            raise FormatError(f"its snsSaveChanSubset does not name {saved} channels of {acquired}")
        yield from range(start, stop + 1)
    if count != saved:
        raise FormatError(f"its snsSaveChanSubset names {count} channels of the {saved} that were saved")


def _names(meta: Mapping[str, str], saved: int) -> list[str]:
    """Return the channels' names from the map of channels, if it has one for each."""
    found = [entry.split(";")[0] for entry in re.findall(r"\(([^();]*;[^();:]*:[^()]*)\)", meta.get("snsChanMap", ""))]
    names = (
        [plain_text(name) for name in found] if len(found) == saved else [f"channel {index}" for index in range(saved)]
    )
    return distinct(names)


def _plan_open_ephys(data: bytes, *, size: int, path: Path) -> Planned:
    stream = _stream_of(data, path.absolute().parent.name)
    channels, told = _open_ephys_channels(stream)
    frame = _ITEM * len(channels)
    if size % frame:
        told.append(f"the file is cut off within a sample: {size % frame} bytes at its end are no samples")
    rate = positive(_real(stream.get("sample_rate"), what="sample_rate"), what="sample_rate")
    metadata: dict[str, Scalar] = {}
    for key, word in (("source_processor_name", "device.name"), ("stream_name", "openephys.stream")):
        if isinstance(text := stream.get(key), str) and plain_text(text):
            metadata[word] = plain_text(text)
    name = f"/acquisition/{plain_text(path.absolute().parent.name)}"
    return _planned("openephys", name, channels, rate, size=size, metadata=metadata, told=told)


def _stream_of(data: bytes, folder: str) -> Mapping[str, object]:
    try:
        root = json.loads(data.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise FormatError("its structure.oebin is not JSON") from error
    streams = root.get("continuous") if isinstance(root, dict) else None
    found = [
        stream
        for stream in (streams if isinstance(streams, list) else [])
        if isinstance(stream, dict) and _folder(stream.get("folder_name")) == folder
    ]
    if len(found) != 1:
        raise FormatError(
            f"its structure.oebin describes {len(found)} streams in the folder {plain_text(folder)!r:.100}"
        )
    return found[0]


def _folder(value: object) -> str | None:
    return value.strip("/\\") if isinstance(value, str) else None


def _open_ephys_channels(stream: Mapping[str, object]) -> tuple[list[Channel], list[str]]:
    entries, count = stream.get("channels"), stream.get("num_channels")
    if not isinstance(entries, list) or not 1 <= len(entries) <= MAX_CHANNELS or count != len(entries):
        raise FormatError("its structure.oebin does not describe as many channels as it says there are")
    names, units, scales = [], [], []
    for index, entry in enumerate(entries):
        if not isinstance(entry, dict):
            raise FormatError(f"its structure.oebin does not describe channel {index}")
        name, unit = entry.get("channel_name", ""), entry.get("units", "")
        names.append(plain_text(name) if isinstance(name, str) and plain_text(name) else f"channel {index}")
        units.append(unit_text(unit) if isinstance(unit, str) else "")
        scales.append(_real(entry.get("bit_volts"), what=f"bit_volts of channel {index}"))
    told = []
    if "" in units:
        told.append("structure.oebin gives no unit of some channels, which have none here: bit_volts is their scale")
    channels = [
        Channel(name, unit, _ITEM * index, scale)
        for index, (name, unit, scale) in enumerate(zip(distinct(names), units, scales, strict=True))
    ]
    return channels, told


def _real(value: object, *, what: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or abs(value) > 1e300:
        raise FormatError(f"{what} is no number in structure.oebin")
    return finite(float(value), what=what)


def _planned(
    family: str,
    name: str,
    channels: Sequence[Channel],
    rate: float,
    *,
    size: int,
    metadata: dict[str, Scalar],
    told: Sequence[str],
) -> Planned:
    frame = _ITEM * len(channels)
    samples = size // frame
    metadata |= {"channels.count": len(channels), "duration": finite(samples / rate, what="the duration")}
    sampling = interleaved("<i2", offset=0, frame=frame, samples=samples, rate=rate)
    description = Description(family, series_by_unit(name, channels, sampling))
    arrays: tuple[ArrayType, ...] = ()
    found: tuple[ArraySegment, ...] = ()
    if samples * frame >= MIN_ARRAY_BYTES:
        arrays = (ArrayType(name, "<i2", *row_of(len(channels), _ITEM)),)
        found = (ArraySegment(0, samples * frame, 0),)
    return Planned(covering(size, found, arrays, description=description), metadata, tuple(told))
