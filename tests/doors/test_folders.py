"""Sessions that are folders of many files go in and come out exact, with times and modes, through every door."""

from __future__ import annotations

import hashlib
import json
import os
import random
import secrets
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import zarr

from engram_client.folder import restore_folder
from engram_client.transfer import deposit_files
from engram_format.address import Address
from engram_format.catalog import ArtifactSpec, FindingKind, Kind
from engram_format.errors import InvalidInput, Precondition

EDF = Path(__file__).parent.parent / "data" / "eeg_mne" / "test.edf"
RNG = np.random.default_rng(0)
SAMPLES = RNG.normal(0, 20, (3000, 16)).astype(np.int16)


def zarr_store(top: Path, *, version: int) -> None:
    group = zarr.open_group(top, mode="w", zarr_format=version)
    array = group.create_array("acquisition/traces", shape=SAMPLES.shape, chunks=(100, 4), dtype="int16")
    array[:] = SAMPLES
    array.attrs["sampling_rate"] = 30_000.0


def zarr_2(top: Path) -> None:
    zarr_store(top, version=2)


def zarr_3(top: Path) -> None:
    zarr_store(top, version=3)


def bids(top: Path) -> None:
    """A BIDS data set of two subjects with the real EDF file as their EEG."""
    top.mkdir()
    (top / "dataset_description.json").write_text(json.dumps({"Name": "two", "BIDSVersion": "1.9.0"}))
    (top / "participants.tsv").write_text("participant_id\tage\nsub-01\t34\nsub-02\tn/a\n")
    for subject in ("sub-01", "sub-02"):
        folder = top / subject / "eeg"
        folder.mkdir(parents=True)
        stem = f"{subject}_task-rest"
        shutil.copyfile(EDF, folder / f"{stem}_eeg.edf")
        (folder / f"{stem}_eeg.json").write_text(json.dumps({"TaskName": "rest", "PowerLineFrequency": 50}))
        (folder / f"{stem}_channels.tsv").write_text("name\ttype\tunits\nEEG F3-Ref\tEEG\tuV\n")
        (folder / f"{stem}_events.tsv").write_text("onset\tduration\n")
        (folder / f"{stem}_empty.tsv").touch()


def open_ephys(top: Path) -> None:
    """A session as Open Ephys writes it in its binary format."""
    node = top / "Record Node 101"
    recording = node / "experiment1" / "recording1"
    stream = recording / "continuous" / "Acquisition_Board-100.Rhythm Data"
    events = recording / "events" / "Acquisition_Board-100.Rhythm Data" / "TTL"
    stream.mkdir(parents=True)
    events.mkdir(parents=True)
    (node / "settings.xml").write_text("<SETTINGS/>\n")
    (recording / "sync_messages.txt").write_text("Software Time (milliseconds since midnight): 1\n")
    channels = [{"channel_name": f"CH{number}", "bit_volts": 0.195, "units": "uV"} for number in range(16)]
    described = {
        "folder_name": "Acquisition_Board-100.Rhythm Data/",
        "sample_rate": 30000,
        "num_channels": 16,
        "channels": channels,
    }
    (recording / "structure.oebin").write_text(json.dumps({"GUI version": "0.6.7", "continuous": [described]}))
    (stream / "continuous.dat").write_bytes(SAMPLES.tobytes())
    np.save(stream / "sample_numbers.npy", np.arange(len(SAMPLES)))
    np.save(stream / "timestamps.npy", np.arange(len(SAMPLES)) / 30_000)
    for name in ("states", "sample_numbers", "full_words", "timestamps"):
        np.save(events / f"{name}.npy", np.arange(4))


def files_of(top: Path) -> Iterator[tuple[str, bytes, int, int]]:
    """Yield path, bytes, time of change and mode of every file."""
    for path in sorted(top.rglob("*")):
        if path.is_file():
            status = path.stat()
            name = path.relative_to(top).as_posix()
            yield name, path.read_bytes(), status.st_mtime_ns, stat.S_IMODE(status.st_mode)


def hollow(top: Path) -> None:
    """A session whose folders tell as much as its files do: empty ones, deep ones, and names that are hard on programs."""
    for name in (
        "empty",
        "nested/empty/deep",
        "a-b",
        "a/b",
        "a.b",
        " ",
        "-rf",
        'tab and "quote" \'n $HOME',
        "данные/empty",
    ):
        (top / name).mkdir(parents=True)
    (top / ("d/" * 60) / "hollow").mkdir(parents=True)
    (top / ("d/" * 60) / "x").write_bytes(b"deep")
    (top / "a" / "b" / "x").write_bytes(b"1")
    (top / "a-b" / "ünïcode").write_bytes(b"2")


def folders_of(top: Path) -> list[tuple[str, int, int]]:
    """Return path, time of change and mode of a folder and of every one below it."""
    found = [top, *(path for path in sorted(top.rglob("*")) if path.is_dir())]
    return [
        (path.relative_to(top).as_posix(), path.stat().st_mtime_ns, stat.S_IMODE(path.stat().st_mode)) for path in found
    ]


@pytest.fixture(params=[zarr_2, zarr_3, bids, open_ephys, hollow], ids=lambda make: make.__name__)
def session(request, tmp_path) -> Path:
    top = tmp_path / request.param.__name__
    request.param(top)
    chance = random.Random(0)
    for path in sorted(top.rglob("*")):
        if path.is_file():
            path.chmod(chance.choice([0o644, 0o600, 0o755, 0o444, 0o660]))
            time_ns = 1_700_000_000_000_000_001 + chance.randrange(10**17)
            os.utime(path, ns=(time_ns, time_ns))
    for path in sorted((top, *top.rglob("*")), reverse=True):
        if path.is_dir():
            path.chmod(chance.choice([0o755, 0o700, 0o555, 0o500, 0o2750]))
            time_ns = 1_600_000_000_000_000_001 + chance.randrange(10**17)
            os.utime(path, ns=(time_ns, time_ns))
    return top


def test_a_session_comes_back_with_its_bytes_times_and_modes(archive, session, tmp_path):
    deposited, folders = list(files_of(session)), folders_of(session)
    version = deposit_files(archive, [session], to=Address("lab", session.name), author="a test")
    assert version.added == len(deposited)
    told: list[Path] = []
    count = restore_folder(archive, version.address, tmp_path / "restored", restored=told.append)
    assert list(files_of(tmp_path / "restored")) == deposited
    assert folders_of(tmp_path / "restored") == folders
    assert count == len(deposited)
    assert sorted(told) == sorted(tmp_path / "restored" / name for name, *_ in deposited)


def test_a_folder_of_a_session_comes_back_under_its_path(archive, tmp_path):
    bids(tmp_path / "bids")
    version = deposit_files(archive, [tmp_path / "bids"], to=Address("lab", "parts"), author="a test")
    restore_folder(archive, version.address.of("sub-02"), tmp_path / "out")
    names = [name for name, *_ in files_of(tmp_path / "out")]
    assert names == [name for name, *_ in files_of(tmp_path / "bids") if name.startswith("sub-02/")]
    edf = archive.artifact(version.address.of("sub-02/eeg/sub-02_task-rest_eeg.edf"))
    assert edf.kind is Kind.RECORDING


def test_what_is_known_of_folders_goes_from_version_to_version(archive, tmp_path):
    top, memory = tmp_path / "in", Address("lab", "handed-on")
    hollow(top)
    (top / "empty").chmod(0o555)
    first = deposit_files(archive, [top], to=memory, author="a test")
    before = list(archive.folders(first.address))
    assert [folder.path for folder in before if "empty" in folder.path] == [
        "empty",
        "nested/empty",
        "nested/empty/deep",
        "данные/empty",
    ]
    archive.annotate(memory.of("a/b/x"), set={"note": "seen"})
    assert list(archive.folders(memory)) == before
    assert [folder.path for folder in archive.folders(memory.of("a"))] == ["a", "a/b"]
    (tmp_path / "empty").write_bytes(b"now a file")
    deposit_files(archive, [tmp_path / "empty"], to=memory, author="a test")
    assert list(archive.folders(memory)) == [folder for folder in before if folder.path != "empty"]
    assert list(archive.folders(first.address)) == before
    (top / "empty").chmod(0o750)
    with pytest.raises(InvalidInput, match="a folder cannot lie at 'empty': 'empty' is an artifact"):
        deposit_files(archive, [top], to=memory, author="a test")
    (top / "empty").rmdir()
    (top / "nested").chmod(0o711)
    changed = deposit_files(archive, [top], to=memory, author="a test")
    assert {folder.path: folder.mode for folder in archive.folders(changed.address)}["nested"] == 0o711
    assert [change.path for change in archive.diff(first.address, changed.address)] == ["empty"]
    assert {finding.result for finding in archive.verify(memory)} == {FindingKind.SOUND}


def test_more_folders_than_one_message_holds(archive, tmp_path):
    top = tmp_path / "in"
    for number in range(2500):
        (top / f"{number:04}").mkdir(parents=True)
    (top / "x").touch()
    version = deposit_files(archive, [top], to=Address("lab", "many-folders"), author="a test")
    assert [folder.path for folder in archive.folders(version.address)] == ["", *(f"{n:04}" for n in range(2500))]
    restore_folder(archive, version.address, tmp_path / "out")
    assert folders_of(tmp_path / "out") == folders_of(top)


@pytest.mark.parametrize("make", [zarr_2, zarr_3], ids=lambda make: make.__name__)
def test_zarr_reads_a_store_that_was_restored(archive, make, tmp_path):
    make(tmp_path / "store")
    version = deposit_files(archive, [tmp_path / "store"], to=Address("lab", f"read-{make.__name__}"), author="a test")
    restore_folder(archive, version.address, tmp_path / "restored")
    restored = zarr.open_group(tmp_path / "restored", mode="r")
    np.testing.assert_array_equal(restored["acquisition/traces"][:], SAMPLES)


def test_the_second_version_of_a_store_adds_the_chunks_that_changed(archive, door, tmp_path):
    zarr_3(tmp_path / "store")
    memory = Address("lab", "appended")
    deposit_files(archive, [tmp_path / "store"], to=memory, author="a test")
    zarr.open_group(tmp_path / "store", mode="r+")["acquisition/traces"][0, 0] = 1
    second = deposit_files(archive, [tmp_path / "store"], to=memory, author="a test")
    restore_folder(archive, second.address.at(1), tmp_path / "first")
    restore_folder(archive, second.address, tmp_path / "second")
    differing = [
        before[0]
        for before, after in zip(files_of(tmp_path / "first"), files_of(tmp_path / "second"), strict=True)
        if before[1] != after[1]
    ]
    assert differing == ["acquisition/traces/c/0/0"]


def test_many_artifacts_are_read_in_order_and_those_not_wanted_are_skipped(archive, tmp_path):
    for number in range(300):
        path = tmp_path / "many" / f"{number % 7}" / f"{number}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"" if number % 5 == 0 else f"file {number}".encode() * 100)
    memory = deposit_files(archive, [tmp_path / "many"], to=Address("lab", "many"), author="a test").address
    wanted = {name: data for name, data, *_ in files_of(tmp_path / "many")}
    seen = []
    for number, (artifact, pieces) in enumerate(archive.read_all(memory)):
        seen.append(artifact)
        if number % 3 == 0:
            assert b"".join(pieces) == wanted[artifact.address.path]
        elif number % 3 == 1:
            next(pieces, None)
    assert [artifact.address.path for artifact in seen] == sorted(wanted)
    assert seen[17] == archive.artifact(seen[17].address)
    after = sorted(wanted)[120]
    assert [found.address.path for found in archive.artifacts(memory, after=after)] == sorted(wanted)[121:]
    below = [path for path in sorted(wanted) if path.startswith("3/")]
    assert [found.address.path for found in archive.artifacts(memory.of("3"), after=below[4])] == below[5:]


def digest_of(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def test_whole_artifacts_are_on_the_way_together_and_arrive_in_order(archive):
    memory, session = Address("lab", "whole"), secrets.token_hex(16)
    files = {f"{number:03}": RNG.bytes(number * 40) for number in range(300)}
    with archive.open_deposit(memory, session=session) as deposit:
        arriving = [
            deposit.put(ArtifactSpec(path=path, size=len(data), mode=0o640), data, sha256=digest_of(data))
            for path, data in files.items()
        ]
        long = RNG.bytes(3 << 20)
        assert deposit.begin(ArtifactSpec(path="long", size=len(long))) == 0
        deposit.write(long)
        deposit.end(sha256=digest_of(long))
        artifacts = [wait() for wait in arriving]
        assert [(artifact.address.path, artifact.mode) for artifact in artifacts] == [(path, 0o640) for path in files]
        assert deposit.commit(message="", author="a test").added == 301
    read = {artifact.address.path: b"".join(pieces) for artifact, pieces in archive.read_all(memory)}
    assert read == files | {"long": long}


def test_a_whole_artifact_that_does_not_have_its_digest_keeps_the_session_from_its_version(archive):
    memory = Address("lab", "not-whole")
    with archive.open_deposit(memory, session=secrets.token_hex(16)) as deposit:
        with pytest.raises(InvalidInput, match="it changed during the deposit"):
            deposit.put(ArtifactSpec(path="a", size=4), b"data", sha256=digest_of(b"other"))()
        with pytest.raises(Precondition, match="it changed during the deposit"):
            deposit.put(ArtifactSpec(path="b", size=4), b"data", sha256=digest_of(b"data"))()
        with pytest.raises(Precondition, match="it changed during the deposit"):
            deposit.commit(message="", author="a test")


def test_a_whole_artifact_is_sent_again_after_a_cut(archive):
    memory, session, data = Address("lab", "whole-again"), secrets.token_hex(16), RNG.bytes(60_000)
    for _ in range(2):
        with archive.open_deposit(memory, session=session) as deposit:
            deposit.put(ArtifactSpec(path="a", size=len(data)), data, sha256=digest_of(data))()
    with archive.open_deposit(memory, session=session) as deposit:
        deposit.put(ArtifactSpec(path="a", size=len(data)), data, sha256=digest_of(data))
        version = deposit.commit(message="", author="a test")
    assert b"".join(archive.read(version.address.of("a"))) == data
