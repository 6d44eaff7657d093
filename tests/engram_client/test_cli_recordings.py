"""What `show`, `slice` and `plot` do with a recording, and what they say where they cannot."""

from __future__ import annotations

import csv
import io
import json
import re
import sys
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from click.testing import CliRunner
from engram_testing.archives import MEMORY, Place, deposit
from engram_testing.recordings import CHANNELS, NAMES, SAMPLES, deposit_recording, hdf5_file, plan_of, recorded
from pynwb import NWBHDF5IO

from engram_client.cli import cli
from engram_client.embedded import EmbeddedArchive
from engram_client.envelope import Envelope
from engram_format.errors import InvalidInput
from engram_format.series import Series
from engram_store.repository import Repository

ADDRESS = "vault/memory:session.h5"
PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture(scope="module")
def place():
    place = Place().create()
    with place.open() as archive:
        metadata = {
            "subject.id": "m1",
            "subject.species": "Mus musculus",
            "consent.duo": "DUO:0000042",
            "session.start_time": "2026-01-02T03:04:05+01:00",
            "session.timestamps_reference_time": "2026-01-01T00:00:00+01:00",
        }
        deposit_recording(archive, MEMORY.of("session.h5"), hdf5_file(), metadata=metadata)
        deposit(archive, {"notes.txt": b"nothing is known of this"})
    return place


@pytest.fixture
def engram(place, tmp_path, monkeypatch):
    """Run `engram` with some arguments in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def run(*args, status: int = 0):
        def opened(_):
            return EmbeddedArchive(Repository.open(place.backend, place.keystore, place.identity))

        result = CliRunner().invoke(cli, [str(arg) for arg in args], prog_name="engram", obj=opened)
        assert result.exit_code == status, result.output
        assert "Traceback" not in result.output
        return result

    return run


class TestShow:
    def test_a_recording_is_shown_with_its_metadata_series_and_tables(self, engram):
        out = engram("show", ADDRESS).stdout
        assert re.search("subject.species +Mus musculus", out)
        assert "consent.duo" in out
        raw = next(line.split() for line in out.splitlines() if line.startswith("/acquisition/raw"))
        assert raw == ["/acquisition/raw", "5000", "x", "6", "i2", "1000", "Hz", "uV", "5", "s", "acquisition"]
        assert "ELECTRODES: 6 rows" in out
        assert "CA1" in out

    def test_json_is_complete(self, engram):
        told = json.loads(engram("show", ADDRESS, "--json").stdout)
        assert told["address"] == "vault/memory@2:session.h5"
        assert [series["name"] for series in told["recording"]["series"]] == list(NAMES)
        assert told["recording"]["series"][0]["channels"][0] == "ch0"
        assert told["recording"]["tables"]["electrodes"]["x"] == [0.0, 50.0, 100.0, 150.0, 200.0, 250.0]

    def test_plain_bytes_are_shown_as_before(self, engram):
        assert "recording" not in json.loads(engram("show", "vault/memory:notes.txt", "--json").stdout)
        assert "SERIES" not in engram("show", "vault/memory:notes.txt").stdout


class TestSlice:
    def test_npy_has_the_stored_numbers(self, engram, tmp_path):
        out = engram(
            "slice", ADDRESS, "--series", "/acquisition/packed", "--start", "3s", "--stop", "3500ms",
            "--channels", "2:5", "-o", "part.npy",
        ).stdout  # fmt: skip
        part = np.load(tmp_path / "part.npy")
        assert part.dtype == np.int16
        assert np.array_equal(part, recorded()["/acquisition/packed"][500:1000, 2:5])
        assert out.split()[:5] == ["part.npy", "/acquisition/packed[500:1000]", "500", "x", "3"]

    def test_physical_values_are_floats(self, engram, tmp_path):
        engram("slice", ADDRESS, "--series", "/acquisition/raw", "--stop", "9", "--physical", "-o", "part.npy")
        assert np.array_equal(np.load(tmp_path / "part.npy"), recorded()["/acquisition/raw"][:9] * 0.195)

    def test_csv_has_a_column_of_times_and_one_for_each_channel(self, engram, tmp_path):
        engram(
            "slice", ADDRESS, "--series", "/acquisition/raw", "--start", "10", "--stop", "13", "--channels", "4:", "-o", "a.csv"
        )  # fmt: skip
        rows = list(csv.reader((tmp_path / "a.csv").open()))
        counts = recorded()["/acquisition/raw"]
        assert rows[0] == ["time_s", "ch4", "ch5"]
        assert rows[1] == ["2.51", str(counts[10, 4]), str(counts[10, 5])]
        assert len(rows) == 4

    def test_csv_counts_samples_where_no_times_are_known(self, engram, tmp_path):
        engram("slice", ADDRESS, "--series", "/units/spike_times", "--stop", "2", "-o", "a.csv")
        rows = list(csv.reader((tmp_path / "a.csv").open()))
        assert rows[0] == ["sample", "value"]
        assert [float(row[1]) for row in rows[1:]] == recorded()["/units/spike_times"][:2].tolist()

    def test_times_are_found_among_timestamps(self, engram, tmp_path):
        engram("slice", ADDRESS, "--series", "/scratch/pupil", "--start", "1s", "--stop", "2s", "-o", "a.csv")
        rows = list(csv.reader((tmp_path / "a.csv").open()))[1:]
        times = recorded()["/scratch/pupil_times"]
        chosen = (times >= 1) & (times < 2)
        assert [float(row[0]) for row in rows] == np.round(times[chosen], 9).tolist()
        assert np.allclose([float(row[1]) for row in rows], recorded()["/scratch/pupil"][chosen])

    @pytest.mark.parametrize("options", [(), ("--physical",)])
    def test_nwb_is_read_by_pynwb(self, engram, tmp_path, options):
        engram(
            "slice", ADDRESS, "--series", "/acquisition/raw", "--start", "3s", "--stop", "4s", "-o", "a.nwb", *options
        )
        with NWBHDF5IO(tmp_path / "a.nwb", "r") as reader:
            session = reader.read()
            series = session.acquisition["acquisition_raw"]
            values = series.data[...] * series.conversion + series.offset
            assert np.allclose(values, recorded()["/acquisition/raw"][500:1500] * 0.195)
            assert (series.rate, series.starting_time, series.unit) == (1000.0, 3.0, "uV")
            assert session.subject.species == "Mus musculus"

    def test_nwb_counts_its_times_from_where_the_recording_did(self, engram, tmp_path):
        engram("slice", ADDRESS, "--series", "/acquisition/raw", "--stop", "3s", "-o", "a.nwb")
        with NWBHDF5IO(tmp_path / "a.nwb", "r") as reader:
            session = reader.read()
            assert session.session_start_time.isoformat() == "2026-01-02T03:04:05+01:00"
            assert session.timestamps_reference_time.isoformat() == "2026-01-01T00:00:00+01:00"

    def test_nwb_of_a_series_without_times_is_refused_and_not_given_a_rate(self, engram, tmp_path):
        out = engram("slice", ADDRESS, "--series", "/units/spike_times", "--stop", "2", "-o", "a.nwb", status=1)
        assert "neither a rate nor timestamps" in out.stderr
        assert not list(tmp_path.iterdir())

    def test_nwb_without_pynwb_says_how_to_get_it(self, engram, tmp_path, monkeypatch):
        monkeypatch.setitem(sys.modules, "pynwb", None)
        out = engram("slice", ADDRESS, "--series", "/acquisition/raw", "-o", "a.nwb", status=1)
        assert "pip install engram[nwb]" in out.stderr
        assert not list(tmp_path.iterdir())

    def test_json_tells_what_was_written(self, engram):
        out = engram("slice", ADDRESS, "--series", "/processing/lfp", "--stop", "7", "-o", "a.npy", "--json").stdout
        told = json.loads(out)
        assert (told["shape"], told["channels"], told["artifact"]) == (
            [7, CHANNELS],
            [0, 6],
            "vault/memory@2:session.h5",
        )

    def test_a_file_that_is_there_is_kept_unless_forced(self, engram, tmp_path):
        (tmp_path / "a.npy").write_bytes(b"mine")
        arguments = ("slice", ADDRESS, "--series", "/acquisition/raw", "--stop", "7", "-o", "a.npy")
        assert "exists" in engram(*arguments, status=1).stderr
        assert (tmp_path / "a.npy").read_bytes() == b"mine"
        engram(*arguments, "--force")
        assert len(np.load(tmp_path / "a.npy")) == 7

    @pytest.mark.parametrize(
        ("options", "says"),
        [
            (("--series", "/acquisition/row"), "did you mean '/acquisition/raw'"),
            (("--series", "/acquisition/raw", "--start", "9s"), "5000 samples, 5 s at 1000 Hz from 2.5 s on"),
            (("--series", "/acquisition/raw", "--start", "1s"), "samples -1500 to 5000"),
            (("--series", "/acquisition/raw", "--stop", SAMPLES + 1), "5000 samples"),
            (("--series", "/acquisition/raw", "--start", "9", "--stop", "9"), "samples 9 to 9"),
            (("--series", "/acquisition/raw", "--start", "9", "--stop", "4"), "samples 9 to 4"),
            (("--series", "/acquisition/raw", "--start", "-9"), "'-9' is no moment"),
            (("--series", "/acquisition/raw", "--start", "soon"), "'soon' is no moment"),
            (("--series", "/acquisition/raw", "--channels", "-1:3"), "write 0:16 for the first sixteen"),
            (("--series", "/acquisition/raw", "--channels", "3:3"), "give a last one above the first"),
            (("--series", "/acquisition/raw", "--channels", "4:9"), "channels 4:9 do not lie in"),
            (("--series", "/units/spike_times", "--start", "1s"), "neither a rate nor timestamps"),
        ],
    )
    def test_a_slice_that_cannot_be_is_one_sentence(self, engram, tmp_path, options, says):
        out = engram("slice", ADDRESS, *options, "-o", "a.npy", status=1)
        assert says in out.stderr
        assert len(out.stderr.splitlines()) == 1
        assert not list(tmp_path.iterdir())

    def test_an_unknown_format_is_refused(self, engram):
        out = engram("slice", ADDRESS, "--series", "/acquisition/raw", "-o", "a.mat", status=1)
        assert ".npy, .csv, .nwb" in out.stderr

    def test_plain_bytes_hold_no_series(self, engram):
        out = engram("slice", "vault/memory:notes.txt", "--series", "/a", "-o", "a.npy", status=1)
        assert "kept as plain bytes" in out.stderr


class TestPlot:
    @pytest.mark.parametrize(
        "options",
        [
            ("--series", "/acquisition/raw"),
            ("--series", "/acquisition/packed", "--start", "3s", "--stop", "3050ms", "--channels", "0:3"),
            ("--series", "/processing/lfp", "--channels", "2"),
            ("--series", "/units/spike_times"),
            ("--series", "/units/spike_times", "--start", "1s", "--stop", "2s", "--channels", "0:2"),
            ("--series", "/units/spike_times_index"),
            ("--series", "/scratch/pupil", "--start", "1s"),
        ],
    )
    def test_traces_and_rasters_are_pictures(self, engram, tmp_path, options):
        assert engram("plot", ADDRESS, *options, "-o", "a.png").stdout == "a.png\n"
        assert (tmp_path / "a.png").read_bytes().startswith(PNG)

    @pytest.mark.parametrize(
        ("options", "says"),
        [
            (("--series", "/acquisition/raw", "-o", "a.pdf"), "does not end in .png"),
            (("--series", "/acquisition/raw", "--start", "9s", "-o", "a.png"), "from 2.5 s on"),
            (("--series", "/units/spike_times", "--start", "3", "-o", "a.png"), "in seconds, such as 10s"),
            (("--series", "/units/spike_times", "--channels", "0:9", "-o", "a.png"), "has 3"),
            (("--series", "/nothing", "-o", "a.png"), "has no series '/nothing'"),
        ],
    )
    def test_what_cannot_be_drawn_is_one_sentence(self, engram, tmp_path, options, says):
        out = engram("plot", ADDRESS, *options, status=1)
        assert says in out.stderr
        assert not list(tmp_path.iterdir())


def test_an_envelope_keeps_every_extreme():
    values = np.random.default_rng(0).normal(size=(10_007, 3))
    envelope = Envelope(500, 500 + len(values), 3, columns=100)
    for first in range(0, len(values), 999):
        envelope.add(500 + first, values[first : first + 999])
    edges = envelope.edges - 500
    parts = [values[a:b] for a, b in pairwise(edges)]
    assert np.array_equal(envelope.low, [part.min(axis=0) for part in parts])
    assert np.array_equal(envelope.high, [part.max(axis=0) for part in parts])
    assert not envelope.is_exact


def test_an_envelope_of_few_samples_is_the_samples():
    values = np.array([[1.0], [np.nan], [3.0]])
    envelope = Envelope(0, 3, 1, columns=10)
    envelope.add(0, values)
    assert envelope.is_exact
    assert envelope.low[[0, 2], 0].tolist() == [1.0, 3.0]
    assert not np.isfinite(envelope.low[1, 0])


def test_samples_without_a_timestamp_of_their_own_have_no_time():
    data = hdf5_file()
    plan = plan_of(data)
    untimed = [
        Series(replace(item.info, timestamps="/scratch/pupil_times", sampling_rate=0.0), item.storage)
        if item.info.name == "/acquisition/raw"
        else item
        for item in plan.description.series
    ]
    plan = replace(plan, description=replace(plan.description, series=tuple(untimed)))
    place = Place().create()
    with EmbeddedArchive(Repository.open(place.backend, place.keystore, place.identity)) as archive:
        address = deposit_recording(archive, MEMORY.of("session.h5"), data, plan=plan)
        view = archive[address].series["/acquisition/raw"]
        assert np.array_equal(view.times(0, 50), recorded()["/scratch/pupil_times"])
        with pytest.raises(InvalidInput, match="5000 samples and 50 timestamps"):
            view.times(40, 60)


def test_npy_is_what_numpy_writes(engram, tmp_path):
    engram("slice", ADDRESS, "--series", "/acquisition/raw", "-o", "a.npy")
    sink = io.BytesIO()
    np.save(sink, recorded()["/acquisition/raw"])
    assert (tmp_path / "a.npy").read_bytes() == sink.getvalue()
