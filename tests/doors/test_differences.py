"""What every door says of two versions: what came, went and changed, and how many bytes both are kept in."""

from __future__ import annotations

import h5py
import numpy as np
import pytest

from engram_client.transfer import deposit_files
from engram_format.address import Address
from engram_format.catalog import Alteration
from engram_format.errors import InvalidInput, NotFound

PLACE = Address("lab", "grown")
SAMPLES, MORE, CHANNELS = 400_000, 8_000, 16


def write(path, samples, start=0):
    walk = np.cumsum(np.random.default_rng(start).integers(-9, 10, (samples, CHANNELS)), axis=0).astype("<i2")
    with h5py.File(path, "a") as file:
        if "raw" not in file:
            file.create_dataset("raw", data=walk, chunks=(4000, CHANNELS), maxshape=(None, CHANNELS))
            return
        file["raw"].resize(start + samples, axis=0)
        file["raw"][start:] = walk


@pytest.fixture(scope="module")
def versions(archive, tmp_path_factory):
    """A version, and one with a recording that has grown by a fiftieth, a file that came and one that is kept as it was."""
    folder = tmp_path_factory.mktemp("session")
    session, notes, protocol = folder / "session.h5", folder / "notes.txt", folder / "protocol.txt"
    write(session, SAMPLES)
    notes.write_text("the same in both")
    metadata = {"subject.species": "Mus musculus", "consent.duo": "GRU", "rig": 3}
    first = deposit_files(archive, [session, notes], to=PLACE, message="", author="a test", metadata=metadata)
    write(session, MORE, SAMPLES)
    protocol.write_text("it came later")
    later = {"subject.species": "Rattus norvegicus", "consent.duo": "GRU", "checked": True}
    deposit_files(archive, [session], to=PLACE, message="", author="a test", metadata=later)
    second = deposit_files(archive, [protocol], to=PLACE, message="", author="a test")
    return first.address, second.address


def test_an_appended_recording_shares_nearly_all_its_bytes(archive, versions):
    changes = {change.path: change for change in archive.diff(*versions)}
    assert list(changes) == ["protocol.txt", "session.h5"]
    grown = changes["session.h5"]
    assert grown.before == archive.artifact(versions[0].of("session.h5"))
    assert grown.after == archive.artifact(versions[1].of("session.h5"))
    assert 0.9 * grown.after.size < grown.shared < grown.before.size


def test_what_came_and_what_went_is_told(archive, versions):
    came = next(iter(archive.diff(*versions)))
    assert (came.before, came.shared) == (None, 0)
    assert came.after == archive.artifact(versions[1].of("protocol.txt"))
    went = next(iter(archive.diff(*reversed(versions))))
    assert (went.path, went.before, went.after) == ("protocol.txt", came.after, None)


def test_metadata_and_series_that_differ_are_told(archive, versions):
    (change,) = archive.diff(*(version.of("session.h5") for version in versions))
    altered = {item.name: (item.before, item.after) for item in change.metadata}
    assert altered["subject.species"] == ("Mus musculus", "Rattus norvegicus")
    assert altered["rig"] == ("3", None)
    assert altered["checked"] == (None, "true")
    assert "consent.duo" not in altered
    assert change.series == (Alteration("/raw", "<i2 (400000, 16)", "<i2 (408000, 16)"),)


def test_a_version_does_not_differ_from_itself(archive, versions):
    for version in versions:
        assert list(archive.diff(version, version)) == []


def test_the_newest_version_is_meant_without_a_number(archive, versions):
    assert list(archive.diff(versions[0], PLACE)) == list(archive.diff(*versions))


def test_another_memory_shares_the_bytes_and_another_vault_none(archive, versions, tmp_path):
    write(tmp_path / "copy.h5", SAMPLES)
    copied = deposit_files(archive, [tmp_path / "copy.h5"], to=Address("lab", "copied"), message="", author="a test")
    (change,) = archive.diff(versions[0].of("session.h5"), copied.address.of("copy.h5"))
    assert change.path == "copy.h5"
    assert change.shared > 0.9 * change.after.size
    archive.create_vault("other")
    away = deposit_files(archive, [tmp_path / "copy.h5"], to=Address("other", "copied"), message="", author="a test")
    (change,) = archive.diff(versions[0].of("session.h5"), away.address.of("copy.h5"))
    assert change.shared == 0
    assert list(archive.diff(copied.address, away.address)) == []


def test_two_of_a_kind_are_compared(archive, versions):
    with pytest.raises(InvalidInput, match="name two of a kind"):
        list(archive.diff(versions[0], versions[1].of("session.h5")))
    with pytest.raises(NotFound, match=r"did you mean 'session\.h5'"):
        list(archive.diff(versions[0].of("sesion.h5"), versions[1].of("session.h5")))


@pytest.mark.parametrize(
    ("metadata", "says"),
    [
        ({"consent.duo": "IRB"}, "exactly one permission"),
        ({"consent.duo": "DS"}, "DS:MONDO:0005148"),
        ({"consent.training": True}, "write consent.model_training"),
    ],
)
def test_a_wrong_statement_of_consent_is_not_deposited(archive, tmp_path, metadata, says):
    (tmp_path / "notes.txt").write_text("whose are these?")
    with pytest.raises(InvalidInput, match=says):
        deposit_files(
            archive, [tmp_path / "notes.txt"], to=Address("lab", "refused"), message="", author="", metadata=metadata
        )
    with pytest.raises(NotFound):
        archive.memory(Address("lab", "refused"))
