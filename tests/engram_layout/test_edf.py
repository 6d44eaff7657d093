"""EDF and BDF are planned by their records: the numbers are those of other readers, and a header that lies costs the series."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from engram_testing.series_reader import check_planned, fuzz, numbers, physical, plan_bytes, series_of
from hypothesis import given, settings
from hypothesis import strategies as st

from engram_format.series import Blocks
from engram_layout import ArraySegment, OpaqueSegment
from engram_layout.edf import plan_edf

DATA = Path(__file__).parents[1] / "data" / "eeg_mne"
EDF = (DATA / "test.edf").read_bytes()
BDF = (DATA / "test.bdf").read_bytes()


def field(text: str, width: int) -> bytes:
    return text.encode("latin-1").ljust(width)[:width]


def made(
    signals: list[dict[str, str]],
    *,
    records: str = "2",
    duration: str = "1",
    patient: str = "",
    recording: str = "",
    reserved: str = "",
    item: int = 2,
    body: bytes | None = None,
    start: str = "02.01.8503.04.05",
) -> bytes:
    """An EDF file as the published layout says, all fields to be chosen."""
    columns = (("label", 16), ("transducer", 80), ("unit", 8), ("low", 8), ("high", 8), ("dlow", 8), ("dhigh", 8))
    defaults = {"unit": "uV", "low": "-100", "high": "100", "dlow": "-1000", "dhigh": "1000", "samples": "4"}
    full = [defaults | signal for signal in signals]
    head = b"0       " if item == 2 else b"\xffBIOSEMI"
    head += field(patient, 80) + field(recording, 80) + field(start, 16) + field(str(256 * (1 + len(full))), 8)
    head += field(reserved, 44) + field(records, 8) + field(duration, 8) + field(str(len(full)), 4)
    for name, width in (*columns, ("filter", 80), ("samples", 8), ("reserved", 32)):
        head += b"".join(field(signal.get(name, ""), width) for signal in full)
    if body is None:
        samples = sum(int(signal["samples"]) for signal in full) * int(records)
        body = np.arange(samples, dtype="<i4").view(np.uint8).reshape(-1, 4)[:, :item].tobytes()
    return head + body


def test_a_real_edf_file_has_the_numbers_that_other_readers_give():
    planned = plan_bytes(plan_edf, EDF)
    check_planned(planned, size=len(EDF))
    series = series_of(planned)["/signals@512Hz"]
    assert series.info.shape == (3072, 139)
    assert series.info.unit == "uV"
    assert series.info.channels[:2] == ("A1", "A2")
    values = physical(EDF, series)
    # pyedflib 0.1.42 and mne 1.13.2 read these from the same file.
    assert values[:3, 0].tolist() == [-15.0, -3.0, -3.0]
    assert values.sum() == pytest.approx(-6143260.0, rel=1e-12)


def test_a_real_bdf_file_has_the_numbers_that_other_readers_give():
    planned = plan_bytes(plan_edf, BDF)
    check_planned(planned, size=len(BDF))
    series = series_of(planned)
    assert list(series) == ["/signals@2048Hz (uV)", "/signals@2048Hz (Boolean)"]
    values = physical(BDF, series["/signals@2048Hz (uV)"])
    # mne 1.13.2 reads these from the same file.
    np.testing.assert_allclose(values[:3, 0], [14660.58228502168, 14655.144795068789, 14647.051060023967], rtol=1e-12)
    assert values.sum() == pytest.approx(-915730833.8781104, rel=1e-9)


def test_the_facts_of_the_real_files_are_in_the_words_of_the_archive():
    edf, bdf = plan_bytes(plan_edf, EDF).metadata, plan_bytes(plan_edf, BDF).metadata
    assert edf["session.start_time"] == "2014-04-29T22:19:44"
    assert edf["channels.count"] == 139
    assert edf["duration"] == 6.0
    assert edf["edf.type"] == "EDF+C"
    assert bdf["session.start_time"] == "2013-08-01T13:21:46"
    assert bdf["edf.type"] == "BDF"


def test_all_records_are_one_segment():
    segments = plan_bytes(plan_edf, EDF).plan.segments
    assert [(type(segment), segment.length) for segment in segments] == [(OpaqueSegment, 36096), (ArraySegment, 860160)]


def test_signals_are_grouped_by_rate_and_unit():
    data = made([{"label": "a"}, {"label": "b", "samples": "2"}, {"label": "c", "unit": "mV"}, {"label": "d"}])
    series = series_of(plan_bytes(plan_edf, data))
    assert list(series) == ["/signals@4Hz (uV)", "/signals@4Hz (mV)", "/signals@2Hz"]
    assert series["/signals@4Hz (uV)"].info.channels == ("a", "d")
    assert numbers(data, series["/signals@4Hz (uV)"])[:, 1].tolist() == [10, 11, 12, 13, 24, 25, 26, 27]
    assert numbers(data, series["/signals@2Hz"]).tolist() == [[4], [5], [18], [19]]
    assert physical(data, series["/signals@2Hz"])[0, 0] == pytest.approx(0.4)


def test_signals_of_different_scale_keep_their_own():
    data = made([{"label": "a"}, {"label": "b", "low": "0", "high": "10", "dlow": "0", "dhigh": "100"}])
    (series,) = series_of(plan_bytes(plan_edf, data)).values()
    np.testing.assert_allclose(physical(data, series), numbers(data, series) * [0.1, 0.1] + [0.0, 0.0], atol=1e-12)
    assert series.info.channels == ("a", "b")


def test_edf_plus_says_who_and_when():
    data = made(
        [{"label": "a"}, {"label": "EDF Annotations", "unit": "", "samples": "8"}],
        patient="MCH-0234567 F 02-MAY-1951 Haagse_Harry",
        recording="Startdate 02-MAR-2002 EMG561 BK/JOP Sony_MNC_R_Median_Nerve.",
        reserved="EDF+C",
        body=b"".join(bytes(8) + b"+%d.25\x14\x14\x00".ljust(19, b"\0") % second for second in (0, 1))[:48],
    )
    planned = plan_bytes(plan_edf, data)
    assert planned.metadata["subject.id"] == "MCH-0234567"
    assert planned.metadata["subject.sex"] == "F"
    assert planned.metadata["subject.date_of_birth"] == "1951-05-02"
    assert planned.metadata["session.id"] == "EMG561"
    assert planned.metadata["device.name"] == "Sony MNC R Median Nerve."
    assert planned.metadata["session.start_time"] == "2002-03-02T03:04:05"
    assert not any("Harry" in str(value) for value in planned.metadata.values())
    (series,) = series_of(planned).values()
    assert series.info.channels == ("a",)
    assert series.info.starting_time == 0.25


def test_what_the_patient_field_does_not_say_is_not_said():
    data = made([{"label": "a"}], patient="X X X X", recording="Startdate X X X X", reserved="EDF+C")
    planned = plan_bytes(plan_edf, data)
    assert not any(name.startswith(("subject", "device", "session.id")) for name in planned.metadata)
    assert planned.metadata["session.start_time"] == "1985-01-02T03:04:05"


def test_a_patient_field_of_plain_edf_is_not_read():
    planned = plan_bytes(plan_edf, made([{"label": "a"}], patient="0017 F 02-MAY-1951 Harry"))
    assert not any(name.startswith("subject") for name in planned.metadata)


def timed(onsets: list[str], *, reserved: str = "EDF+D") -> bytes:
    """A file whose records say when they began, and each that something happened half a second later, for 0.1 s."""
    records = [
        bytes(8) + f"{onset}\x14\x14\0{float(onset) + 0.5:+}\x150.1\x14bar {index}\x14\0".encode().ljust(60, b"\0")
        for index, onset in enumerate(onsets)
    ]
    signals = [{"label": "a"}, {"label": "EDF Annotations", "unit": "", "samples": "30"}]
    return made(signals, records=str(len(onsets)), reserved=reserved, body=b"".join(records))


def test_records_with_gaps_between_them_have_no_rate():
    planned = plan_bytes(plan_edf, timed(["+0", "+1", "+7.5"]))
    (series,) = series_of(planned).values()
    assert (series.info.name, series.info.sampling_rate) == ("/signals@4Hz", 0)
    assert any("without gaps" in warning for warning in planned.warnings)
    assert planned.plan.description is not None
    assert list(planned.plan.description.tables["records"].columns["onset"]) == [0, 1, 7.5]
    untold = plan_bytes(plan_edf, made([{"label": "a"}], reserved="EDF+D"))
    assert series_of(untold)["/signals@4Hz"].info.sampling_rate == 0


def test_records_that_follow_one_another_have_a_rate_whatever_the_header_fears():
    planned = plan_bytes(plan_edf, timed(["+3", "+4", "+5"]))
    (series,) = series_of(planned).values()
    assert (series.info.sampling_rate, series.info.starting_time) == (4.0, 3.0)
    assert planned.warnings == ()


def test_annotations_are_a_table():
    description = plan_bytes(plan_edf, timed(["+0", "+1"], reserved="EDF+C")).plan.description
    assert description is not None
    columns = description.tables["annotations"].columns
    assert (list(columns["onset"]), list(columns["duration"])) == ([0.5, 1.5], [0.1, 0.1])
    assert columns["text"] == ["bar 0", "bar 1"]


def test_the_annotations_of_the_real_file_are_those_that_other_readers_give():
    description = plan_bytes(plan_edf, EDF).plan.description
    assert description is not None
    columns = description.tables["annotations"].columns
    # pyedflib 0.1.42 reads these from the same file; it writes -1 where there is no duration.
    assert list(columns["onset"]) == [0.0, 0.1344, 0.3904, 2.0, 2.5]
    np.testing.assert_array_equal(columns["duration"], [np.nan, 0.256, 1.0, np.nan, 2.5])
    assert columns["text"] == ["start", "type A", "type A", "type B", "type A"]


def test_a_signal_without_a_physical_range_is_in_no_series():
    planned = plan_bytes(plan_edf, made([{"label": "a"}, {"label": "dead", "low": "0", "high": "0"}]))
    (series,) = series_of(planned).values()
    assert series.info.channels == ("a",)
    assert any("'dead'" in warning for warning in planned.warnings)


def test_a_file_that_is_cut_off_keeps_its_whole_records():
    planned = plan_bytes(plan_edf, EDF[:-1])
    assert series_of(planned)["/signals@512Hz"].info.shape == (5 * 512, 139)
    assert planned.warnings == ("the file is cut off: of 6 records the 5 whole ones that are there are taken",)
    assert planned.metadata["duration"] == 5.0


def test_a_length_of_records_that_lies_is_found_by_what_the_records_say():
    data = timed(["+0", "+1", "+2"], reserved="EDF+C").replace(b"30      ", b"33      ")
    planned = plan_bytes(plan_edf, data)
    assert planned.plan.description is None
    assert "do not begin where its header says" in planned.warnings[0]


def test_a_recording_that_was_never_closed_is_read_as_far_as_it_goes():
    data = made([{"label": "a"}], records="-1", body=bytes(8 * 3 + 5))
    planned = plan_bytes(plan_edf, data)
    assert series_of(planned)["/signals@4Hz"].info.shape == (12, 1)
    assert "did not close" in planned.warnings[0]


def test_units_of_one_spelling_do_not_make_series_of_one_name():
    data = made([{"label": "a", "unit": ""}, {"label": "b", "unit": "no unit"}])
    assert list(series_of(plan_bytes(plan_edf, data))) == ["/signals@4Hz (no unit)", "/signals@4Hz (no unit) #2"]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        pytest.param(
            made([{"label": "a"}], records="1", body=bytes(16)), "says 1 records and the file has 2", id="too few"
        ),
        pytest.param(made([{"label": "a"}], records="-2", body=b""), "-2 records", id="negative records"),
        pytest.param(made([{"label": "a"}], duration="0"), "last 0 s", id="zero duration"),
        pytest.param(made([{"label": "a"}], duration="nan"), "duration of a record is not a number", id="nan"),
        pytest.param(made([{"label": "a"}], duration="1e999"), "duration", id="infinite duration"),
        pytest.param(made([{"label": "a"}], duration="1_0"), "duration", id="python number"),
        pytest.param(made([{"label": "a", "high": "inf"}]), "maximum", id="infinite maximum"),
        pytest.param(made([{"label": "a", "dlow": "5", "dhigh": "5"}]), "digital range", id="no digital range"),
        pytest.param(made([{"label": "a", "dlow": "9", "dhigh": "-9"}]), "digital range", id="reversed digital range"),
        pytest.param(made([{"label": "a", "dhigh": "99999"}]), "digital range", id="digital range of 17 bits"),
        pytest.param(made([{"label": "a", "samples": "0"}], body=b""), "samples", id="no samples"),
        pytest.param(made([{"label": "a", "samples": "-4"}], body=b""), "samples", id="negative samples"),
        pytest.param(
            made([{"label": "a", "samples": "99999999"}] * 20, body=b""), "one record", id="record beyond bounds"
        ),
        pytest.param(made([{"label": "a"}])[:252] + b"9   " + made([{"label": "a"}])[256:], "9 signals", id="signals"),
    ],
)
def test_a_header_that_lies_makes_the_file_opaque(data: bytes, reason: str):
    planned = plan_bytes(plan_edf, data)
    assert planned.plan.segments == (OpaqueSegment(0, len(data)),)
    assert planned.plan.description is None
    assert reason in planned.warnings[0]


@pytest.mark.parametrize("whole", [made([{"label": "a"}, {"label": "b"}]), BDF[: 18944 + 500]])
def test_a_file_cut_at_any_byte_of_its_header_is_opaque(whole: bytes):
    header_bytes = int(whole[184:192])
    for length in range(header_bytes):
        planned = plan_bytes(plan_edf, whole[:length])
        assert planned.plan.description is None
        check_planned(planned, size=length)


@settings(deadline=None)
@given(st.binary(max_size=1500), st.sampled_from([b"0       ", b"\xffBIOSEMI"]))
def test_any_bytes_behind_the_first_are_opaque_or_covered(content: bytes, magic: bytes):
    check_planned(plan_bytes(plan_edf, magic + content), size=len(magic + content))


def test_two_thousand_mutated_headers_are_opaque_or_described_within_the_file():
    small = made([{"label": "a"}, {"label": "b", "samples": "7"}, {"label": "EDF Annotations"}], reserved="EDF+C")
    outcomes = fuzz(plan_edf, small, header_bytes=1024)
    assert min(outcomes.values()) > 100
    fuzz(plan_edf, BDF, header_bytes=18944, count=200)


def test_the_storage_is_blocks_of_records():
    (series,) = series_of(plan_bytes(plan_edf, EDF)).values()
    assert isinstance(series.storage, Blocks)
    assert (series.storage.block_bytes, series.storage.block_samples) == (143360, 512)
