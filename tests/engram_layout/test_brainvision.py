"""BrainVision samples are planned by the header that names them; without one they are plain bytes."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from engram_testing.series_reader import check_planned, mutations, numbers, physical, plan_bytes, series_of
from hypothesis import given, settings
from hypothesis import strategies as st

from engram_layout import OpaqueSegment, Planned
from engram_layout.brainvision import plan_brainvision

DATA = Path(__file__).parents[1] / "data" / "eeg_mne"
EEG, VHDR = DATA / "test.eeg", DATA / "test.vhdr"

SMALL = """Brain Vision Data Exchange Header File Version 1.0
; a comment
[Common Infos]
Codepage=UTF-8
DataFile=small.eeg
DataFormat=BINARY
DataOrientation=MULTIPLEXED
NumberOfChannels=3
SamplingInterval=2000
[Binary Infos]
BinaryFormat=INT_16
[Channel Infos]
Ch1=a\\1b,,0.5,µV
Ch2=c,,,mV
Ch3=d,,2,
[Comment]
Ch1=not a channel
"""
SAMPLES = np.arange(3000).reshape(-1, 3)


def planned_with(folder: Path, header: str | bytes, samples: bytes, *, name: str = "small.vhdr") -> Planned:
    (folder / name).write_bytes(header.encode() if isinstance(header, str) else header)
    planned = plan_bytes(plan_brainvision, samples, folder / "small.eeg")
    check_planned(planned, size=len(samples))
    return planned


def test_a_real_recording_has_the_numbers_that_other_readers_give():
    data = EEG.read_bytes()
    planned = plan_bytes(plan_brainvision, data, EEG)
    check_planned(planned, size=len(data))
    series = series_of(planned)
    assert [name.removeprefix("/signals ") for name in series] == ["(uV)", "(BS)", "(uS)", "(ARU)", "(S)", "(C)"]
    values = physical(data, series["/signals (uV)"])
    # neo 0.14.6 and mne 1.13.2 read these from the same file.
    assert values.shape == (7900, 26)
    assert values[:3, 0].tolist() == [-23.5, -23.5, -24.0]
    assert values.sum() == 1522313.0
    assert planned.metadata["session.start_time"] == "2013-11-13T16:14:03.794232"
    assert planned.metadata["duration"] == 7.9


def test_the_markers_of_the_real_recording_are_a_table():
    description = plan_bytes(plan_brainvision, EEG.read_bytes(), EEG).plan.description
    assert description is not None
    columns = description.tables["markers"].columns
    assert list(columns["time"][:4]) == [0.0, 0.486, 0.496, 1.769]
    assert columns["type"][:2] == ["New Segment", "Stimulus"]
    assert columns["text"][1:3] == ["S253", "S255"]
    assert description.tables["markers"].rows == 14


def test_the_header_file_is_metadata_and_no_series():
    data = VHDR.read_bytes()
    planned = plan_bytes(plan_brainvision, data, VHDR)
    assert planned.plan.segments == (OpaqueSegment(0, len(data)),)
    assert planned.plan.description is not None
    assert planned.plan.description.family == "brainvision"
    assert planned.plan.description.series == ()
    assert planned.metadata["channels.count"] == 32
    assert planned.metadata["brainvision.data_file"] == "test.eeg"


@pytest.mark.parametrize("big", ["NO", "YES"])
@pytest.mark.parametrize("orientation", ["MULTIPLEXED", "VECTORIZED"])
@pytest.mark.parametrize(("kind", "dtype"), [("INT_16", "i2"), ("INT_32", "i4"), ("IEEE_FLOAT_32", "f4")])
def test_every_kind_of_samples_is_read(tmp_path: Path, kind: str, dtype: str, orientation: str, big: str):
    header = SMALL.replace("INT_16", f"{kind}\nUseBigEndianOrder={big}").replace("MULTIPLEXED", orientation)
    order = SAMPLES if orientation == "MULTIPLEXED" else SAMPLES.T
    samples = order.astype((">" if big == "YES" else "<") + dtype).tobytes()
    series = series_of(planned_with(tmp_path, header, samples))
    assert list(series) == ["/signals (uV)", "/signals (mV)"]
    assert series["/signals (uV)"].info.channels == ("a,b", "d")
    assert series["/signals (uV)"].info.sampling_rate == 500.0
    np.testing.assert_array_equal(physical(samples, series["/signals (uV)"]), SAMPLES[:, [0, 2]] * [0.5, 2.0])
    np.testing.assert_array_equal(physical(samples, series["/signals (mV)"]), SAMPLES[:, [1]])


def test_a_header_of_another_name_is_found_by_what_it_names(tmp_path: Path):
    samples = SAMPLES.astype("<i2").tobytes()
    assert series_of(planned_with(tmp_path, SMALL, samples, name="other.vhdr"))


def test_two_headers_of_other_names_are_not_chosen_between(tmp_path: Path):
    samples = SAMPLES.astype("<i2").tobytes()
    planned_with(tmp_path, SMALL, samples, name="one.vhdr")
    planned = planned_with(tmp_path, SMALL, samples, name="two.vhdr")
    assert planned.plan.description is None
    assert "2 header files name it" in planned.warnings[0]
    assert series_of(planned_with(tmp_path, SMALL, samples))


def test_without_a_header_the_samples_are_plain_bytes(tmp_path: Path):
    shutil.copy(EEG, tmp_path / "test.eeg")
    planned = plan_bytes(plan_brainvision, EEG.read_bytes(), tmp_path / "test.eeg")
    assert planned.plan.description is None
    assert planned.warnings == ()


def test_a_file_that_is_cut_off_keeps_its_whole_samples(tmp_path: Path):
    samples = SAMPLES.astype("<i2").tobytes()
    planned = planned_with(tmp_path, SMALL, samples[:-1])
    assert series_of(planned)["/signals (mV)"].info.shape == (999, 1)
    assert "cut off" in planned.warnings[0]
    said = SMALL.replace("NumberOf", "DataPoints=1000\nNumberOf")
    assert planned_with(tmp_path, said, samples).warnings == ()
    assert "of 1000 samples of each channel 500" in planned_with(tmp_path, said, samples[:3000]).warnings[0]


def test_segments_of_a_longer_recording_have_no_rate(tmp_path: Path):
    header = SMALL.replace("[Binary", "SegmentationType=MARKERBASED\n[Binary")
    series = series_of(planned_with(tmp_path, header, SAMPLES.astype("<i2").tobytes()))
    assert {one.info.sampling_rate for one in series.values()} == {0.0}


@pytest.mark.parametrize(
    ("before", "after", "reason"),
    [
        ("BINARY\n", "ASCII\n", "'ASCII', not binary"),
        ("INT_16", "INT_24", "binary format"),
        ("MULTIPLEXED", "SIDEWAYS", "orientation"),
        ("Channels=3", "Channels=0", "0 channels"),
        ("Channels=3", "Channels=4", "what channel 4 is"),
        ("Channels=3", "Channels=99999999", "99999999 channels"),
        ("Channels=3", "Channels=3\nNumberOfChannels=2", "twice"),
        ("Interval=2000", "Interval=0", "interval"),
        ("Interval=2000", "Interval=nan", "interval"),
        ("Interval=2000", "Interval=-5", "interval"),
        (",,0.5,", ",,0,", "scale"),
        (",,0.5,", ",,inf,", "resolution"),
        ("[Binary", "DataPoints=10\n[Binary", "10 samples"),
        ("MULTIPLEXED", "VECTORIZED\nDataPoints=2000", "cut off"),
        ("[Binary", "DataType=FREQUENCYDOMAIN\n[Binary", "not in time"),
    ],
)
def test_a_header_that_lies_makes_the_samples_opaque(tmp_path: Path, before: str, after: str, reason: str):
    planned = planned_with(tmp_path, SMALL.replace(before, after), SAMPLES.astype("<i2").tobytes())
    assert planned.plan.description is None
    assert reason in planned.warnings[0]


def test_a_header_cut_at_any_byte_gives_no_wrong_number(tmp_path: Path):
    samples = SAMPLES.astype("<i2").tobytes()
    whole = SMALL.encode()
    for length in range(0, len(whole), 3):
        for series in series_of(planned_with(tmp_path, whole[:length], samples)).values():
            np.testing.assert_array_equal(np.isin(numbers(samples, series), SAMPLES), True)
            assert series.info.sampling_rate == 500.0


def test_two_thousand_mutated_headers_are_opaque_or_described_within_the_file(tmp_path: Path):
    samples = SAMPLES.astype("<i2").tobytes()
    described = sum(
        planned_with(tmp_path, header, samples).plan.description is not None
        for header in mutations(SMALL.encode(), 2000)
    )
    assert 200 < described < 1900


@settings(deadline=None)
@given(st.binary(max_size=400))
def test_any_bytes_behind_the_first_line_are_opaque_or_covered(content: bytes):
    data = b"Brain Vision Data Exchange Header File Version 1.0\n[Common Infos]\n" + content
    check_planned(plan_bytes(plan_brainvision, data), size=len(data))
