"""Restoring many artifacts below a folder: whole files or none, and nothing is written through a link."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from engram_testing.simulator import SimulatedArchive

from engram_client.folder import restore_folder
from engram_client.transfer import Advance
from engram_format.address import Address
from engram_format.catalog import ArtifactSpec, Folder
from engram_format.errors import AlreadyExists, Damaged, InvalidInput, NotFound

MEMORY = Address("retina", "bars")
FILES = {"a": b"first", "b/c/d": b"second" * 1000, "b/e": b"", "f": b"last"}


class SpoilingArchive(SimulatedArchive):
    """Returns other bytes than were deposited for one path, as a door without checks would."""

    spoilt = ""

    def read_all(self, address):
        for artifact, pieces in super().read_all(address):
            yield artifact, iter([b"other bytes"]) if artifact.address.path == self.spoilt else pieces


@pytest.fixture
def archive():
    archive = SpoilingArchive()
    keep(archive, FILES)
    return archive


def keep(
    archive, files: dict[str, bytes], *, mode: int = 0o640, time_ns: int = 1_600_000_000_123_456_789, folders=()
) -> Address:
    specs = {
        path: (ArtifactSpec(path=path, size=len(data), mode=mode, time_ns=time_ns), data)
        for path, data in files.items()
    }
    return archive.add_version(MEMORY, specs, message="", author="", folders=folders).address


def tree(top: Path) -> dict[str, bytes]:
    return {path.relative_to(top).as_posix(): path.read_bytes() for path in top.rglob("*") if path.is_file()}


def test_files_have_the_bytes_times_and_permissions_of_the_originals(archive, tmp_path):
    told: list[Advance] = []
    assert restore_folder(archive, MEMORY, tmp_path / "out", progress=told.append) == 4
    assert tree(tmp_path / "out") == FILES
    for path in FILES:
        status = (tmp_path / "out" / path).stat()
        assert stat.S_IMODE(status.st_mode) == 0o640
        assert status.st_mtime_ns == 1_600_000_000_123_456_789
    assert [advance.done for advance in told] == [5, 6005, 6005, 6009]
    assert told[-1].total == 6009


def test_bits_that_change_who_runs_a_file_are_not_restored(archive, tmp_path):
    restore_folder(archive, keep(archive, {"tool": b"#!"}, mode=0o6755), tmp_path)
    assert stat.S_IMODE((tmp_path / "tool").stat().st_mode) == 0o755


def test_a_file_of_unknown_mode_is_its_owners_only(archive, tmp_path):
    restore_folder(archive, keep(archive, {"x": b"1"}, mode=0, time_ns=0), tmp_path)
    assert stat.S_IMODE((tmp_path / "x").stat().st_mode) == 0o600


@pytest.mark.parametrize("link", ["b", "b/c"])
def test_a_link_in_the_place_of_a_folder_is_not_followed(archive, link, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    out = tmp_path / "out"
    (out / link).parent.mkdir(parents=True)
    (out / link).symlink_to(elsewhere)
    with pytest.raises(InvalidInput, match=f"{out / link} is in the way: .* no symbolic link is followed"):
        restore_folder(archive, MEMORY, out, force=True)
    assert tree(elsewhere) == {}


@pytest.mark.parametrize("force", [False, True])
def test_a_link_in_the_place_of_a_file_is_neither_followed_nor_replaced(archive, force, tmp_path):
    target = tmp_path / "target"
    out = tmp_path / "out"
    out.mkdir()
    (out / "f").symlink_to(target)
    with pytest.raises(InvalidInput, match="is no regular file"):
        restore_folder(archive, MEMORY, out, force=force)
    assert not target.exists()


def test_a_file_in_the_place_of_a_folder_is_told(archive, tmp_path):
    (tmp_path / "b").write_text("mine")
    with pytest.raises(InvalidInput, match=f"{tmp_path}/b is in the way"):
        restore_folder(archive, MEMORY, tmp_path)
    assert (tmp_path / "b").read_text() == "mine"


def test_the_destination_itself_may_be_a_link(archive, tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "out").symlink_to(tmp_path / "disk")
    restore_folder(archive, MEMORY, tmp_path / "out")
    assert tree(tmp_path / "disk") == FILES


def test_a_name_that_is_taken_stops_it_and_what_was_whole_stays(archive, tmp_path):
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "e").write_text("mine")
    with pytest.raises(AlreadyExists, match=f"{tmp_path}/b/e exists: .*--force"):
        restore_folder(archive, MEMORY, tmp_path)
    assert tree(tmp_path) == {"a": FILES["a"], "b/c/d": FILES["b/c/d"], "b/e": b"mine"}
    restore_folder(archive, MEMORY, tmp_path, force=True)
    assert tree(tmp_path) == FILES


def test_one_that_is_damaged_is_told_and_keeps_no_other_back(archive, tmp_path):
    archive.spoilt = "b/c/d"
    lost: list[str] = []
    with pytest.raises(Damaged, match="1 of 4 artifacts could not be restored; the others were"):
        restore_folder(archive, MEMORY, tmp_path, lost=lost.append)
    assert tree(tmp_path) == {path: data for path, data in FILES.items() if path != "b/c/d"}
    assert len(lost) == 1
    assert lost[0].startswith("retina/bars@1:b/c/d: it came back with 11 of 6000 bytes")


def test_more_files_than_one_batch_and_deep_folders(archive, tmp_path):
    deep = "/".join("d" * 400)
    files = {f"{number % 9}/{number}": str(number).encode() for number in range(700)} | {f"{deep}/x": b"deep"}
    restore_folder(archive, keep(archive, files), tmp_path / "out")
    assert tree(tmp_path / "out") == files


def test_nothing_below_an_address_is_told(archive, tmp_path):
    with pytest.raises(NotFound, match="there is nothing in retina/bars:students"):
        restore_folder(archive, MEMORY.of("students"), tmp_path)


def test_a_destination_that_is_a_file_is_told(archive, tmp_path):
    (tmp_path / "out").write_text("mine")
    with pytest.raises(AlreadyExists, match=f"{tmp_path}/out exists"):
        restore_folder(archive, MEMORY, tmp_path / "out", force=True)


FOLDERS = (
    Folder("", 1_500_000_000_000_000_001, 0o750),
    Folder("b", 1_500_000_000_000_000_002, 0o555),
    Folder("b/c", 1_500_000_000_000_000_003, 0o500),
    Folder("hollow", 1_500_000_000_000_000_004, 0o2775),
    Folder("hollow/e", 1_500_000_000_000_000_005, 0o4711),
)


def folders_in(top: Path) -> list[Folder]:
    found = [top, *(path for path in top.rglob("*") if path.is_dir())]
    named = [("" if path == top else path.relative_to(top).as_posix(), path.stat()) for path in found]
    return sorted(
        (Folder(name, status.st_mtime_ns, stat.S_IMODE(status.st_mode)) for name, status in named),
        key=lambda folder: folder.path,
    )


def test_folders_have_the_times_and_permissions_of_the_originals_and_empty_ones_are_made(archive, tmp_path):
    assert restore_folder(archive, keep(archive, FILES, folders=FOLDERS), tmp_path / "out") == 4
    assert tree(tmp_path / "out") == FILES
    *known, runs_as = FOLDERS
    assert folders_in(tmp_path / "out") == [*known, Folder(runs_as.path, runs_as.time_ns, 0o711)]


def test_a_destination_that_was_there_keeps_its_permissions(archive, tmp_path):
    tmp_path.chmod(0o701)
    restore_folder(archive, keep(archive, FILES, folders=FOLDERS), tmp_path)
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o701
    assert folders_in(tmp_path)[1:4] == list(FOLDERS[1:4])


def test_a_folder_of_unknown_time_and_mode_is_as_it_was_made(archive, tmp_path):
    restore_folder(archive, keep(archive, {"x": b"1"}, folders=[Folder("y")]), tmp_path)
    (tmp_path / "z").mkdir()
    assert (tmp_path / "y").stat().st_mode == (tmp_path / "z").stat().st_mode


def test_a_folder_that_holds_nothing_is_restored_alone(archive, tmp_path):
    memory = keep(archive, FILES, folders=FOLDERS)
    assert restore_folder(archive, memory.of("hollow/e"), tmp_path / "out") == 0
    assert [folder.path for folder in folders_in(tmp_path / "out")] == ["", "hollow", "hollow/e"]


def test_a_link_in_the_place_of_an_empty_folder_is_not_followed(archive, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir(mode=0o700)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "hollow").symlink_to(elsewhere)
    with pytest.raises(InvalidInput, match="out/hollow is in the way"):
        restore_folder(archive, keep(archive, FILES, folders=FOLDERS), tmp_path / "out")
    assert (list(elsewhere.iterdir()), stat.S_IMODE(elsewhere.stat().st_mode)) == ([], 0o700)


def test_one_that_is_damaged_keeps_no_folder_back(archive, tmp_path):
    memory = keep(archive, FILES, folders=FOLDERS)
    archive.spoilt = "b/c/d"
    with pytest.raises(Damaged):
        restore_folder(archive, memory, tmp_path / "out")
    assert folders_in(tmp_path / "out")[1:4] == list(FOLDERS[1:4])
