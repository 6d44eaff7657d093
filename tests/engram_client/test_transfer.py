"""Files go in whole or not at all, come out exact or not at all, and a cut costs only what was in flight."""

from __future__ import annotations

import hashlib
import io
import os
import random
import resource
import stat
from pathlib import Path

import h5py
import numpy as np
import pytest
from engram_testing.simulator import SimulatedArchive

from engram_client.journal import Journal
from engram_client.transfer import Advance, deposit_files, restore_file, restore_stream
from engram_format.address import Address, ContentAddress
from engram_format.catalog import ArtifactSpec, Folder, Kind
from engram_format.errors import AlreadyExists, Damaged, Exhausted, InvalidInput, NotFound, Unavailable

MIB = 1 << 20
MEMORY = Address("retina", "bars")


@pytest.fixture
def archive():
    return SimulatedArchive()


@pytest.fixture
def journal(tmp_path):
    return Journal(tmp_path / "journal")


@pytest.fixture
def recording(tmp_path):
    path = tmp_path / "recording.bin"
    path.write_bytes(random.Random(0).randbytes(5 * MIB + 17))
    return path


def held(archive, address) -> bytes:
    return b"".join(archive.read(Address.parse(address)))


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


class TestDeposit:
    def test_a_file_goes_under_its_own_name_with_its_time_kind_and_metadata(self, archive, recording):
        os.utime(recording, ns=(1, 1_600_000_000_123_456_789))
        version = deposit_files(
            archive, [recording], to=MEMORY, kind=Kind.RECORDING, message="m", author="a", metadata={"subject.id": "r1"}
        )
        artifact = archive.artifact(Address.parse("retina/bars:recording.bin"))
        assert version.address == MEMORY.at(1)
        assert (version.message, version.author) == ("m", "a")
        assert artifact.sha256 == hashlib.sha256(recording.read_bytes()).hexdigest()
        assert artifact.time_ns == 1_600_000_000_123_456_789
        assert artifact.kind is Kind.RECORDING
        assert artifact.metadata == {"subject.id": "r1"}

    def test_what_a_file_says_of_itself_and_cannot_be_stored_is_left_out_with_a_warning(self, archive, tmp_path):
        path, told = tmp_path / "a.nwb", []
        with h5py.File(path, "w") as file:
            file.attrs["nwb_version"] = "2.7.0"
            file["general/subject/age"] = np.uint64(2**64 - 1)
            file["general/subject/species"] = "Rattus norvegicus"
        deposit_files(archive, [path], to=MEMORY, warn=told.append)
        artifact = archive.artifact(Address.parse("retina/bars:a.nwb"))
        assert artifact.metadata["subject.species"] == "Rattus norvegicus"
        assert "subject.age" not in artifact.metadata
        assert any("subject.age" in sentence and "cannot be stored" in sentence for sentence in told)

    def test_one_file_can_be_given_another_path(self, archive, recording):
        deposit_files(archive, [recording], to=MEMORY.of("raw/day 1.bin"))
        assert held(archive, "retina/bars:raw/day 1.bin") == recording.read_bytes()

    def test_an_empty_file_is_kept(self, archive, tmp_path):
        (tmp_path / "empty").touch()
        deposit_files(archive, [tmp_path / "empty"], to=MEMORY)
        assert held(archive, "retina/bars:empty") == b""

    def test_a_folder_goes_under_the_paths_in_it_and_links_are_left_out_with_a_warning(self, archive, tmp_path):
        folder = tmp_path / "day"
        (folder / "sub").mkdir(parents=True)
        (folder / "a").write_bytes(b"a")
        (folder / "sub" / "b").write_bytes(b"b")
        (folder / "link").symlink_to(folder / "a")
        os.mkfifo(folder / "pipe")
        warnings: list[str] = []
        deposit_files(archive, [folder], to=MEMORY, warn=warnings.append)
        assert [a.address.path for a in archive.artifacts(MEMORY)] == ["a", "sub/b"]
        assert [warning.rpartition(": ")[2] for warning in warnings] == [
            "it is a symbolic link",
            "it is no regular file",
        ]

    def test_several_files_go_below_the_path_given(self, archive, tmp_path):
        for name in "ab":
            (tmp_path / name).write_bytes(name.encode())
        deposit_files(archive, [tmp_path / "a", tmp_path / "b"], to=MEMORY.of("raw"))
        assert [a.address.path for a in archive.artifacts(MEMORY)] == ["raw/a", "raw/b"]

    def test_a_name_that_a_file_system_decomposed_is_composed(self, archive, tmp_path):
        (tmp_path / "me\u0301moire").write_bytes(b"x")
        deposit_files(archive, [tmp_path / "me\u0301moire"], to=MEMORY)
        assert held(archive, "retina/bars:m\u00e9moire") == b"x"

    def test_two_files_that_would_take_one_path_are_refused(self, archive, tmp_path):
        for name in "ab":
            (tmp_path / name).mkdir()
            (tmp_path / name / "x").touch()
        with pytest.raises(InvalidInput, match="would both become 'x'"):
            deposit_files(archive, [tmp_path / "a", tmp_path / "b"], to=MEMORY)
        assert not archive.sessions

    @pytest.mark.parametrize("to", ["retina", "retina/bars@2"])
    def test_only_a_memory_can_be_deposited_into(self, archive, recording, to):
        with pytest.raises(InvalidInput, match="no place for a deposit"):
            deposit_files(archive, [recording], to=Address.parse(to))

    def test_what_is_no_file_is_refused(self, archive, tmp_path):
        os.mkfifo(tmp_path / "pipe")
        with pytest.raises(InvalidInput, match="neither a file nor a folder"):
            deposit_files(archive, [tmp_path / "pipe"], to=MEMORY)
        with pytest.raises(NotFound, match="does not exist"):
            deposit_files(archive, [tmp_path / "nothing"], to=MEMORY)

    def test_what_is_known_of_folders_goes_with_the_files(self, archive, tmp_path):
        top = tmp_path / "in"
        (top / "hollow" / "deep").mkdir(parents=True)
        (top / "a").touch()
        for number, path in enumerate([top / "hollow" / "deep", top / "hollow", top]):
            path.chmod(0o700 + number)
            os.utime(path, ns=(number + 1, number + 1))
        told: list[str] = []
        version = deposit_files(archive, [top], to=MEMORY, warn=told.append)
        assert (version.added, told) == (1, [])
        inside = [Folder("hollow", 2, 0o701), Folder("hollow/deep", 1, 0o700)]
        assert list(archive.folders(version.address)) == [Folder("", 3, 0o702), *inside]
        version = deposit_files(archive, [top], to=MEMORY.of("x"))
        assert next(archive.folders(version.address)) == Folder("x", 3, 0o702)
        (tmp_path / "b").touch()
        version = deposit_files(archive, [top, tmp_path / "b"], to=MEMORY)
        assert list(archive.folders(version.address)) == inside  # none of several is the folder of the version

    def test_folders_alone_are_no_version(self, archive, tmp_path):
        (tmp_path / "in" / "hollow").mkdir(parents=True)
        with pytest.raises(InvalidInput, match="holds no regular file"):
            deposit_files(archive, [tmp_path / "in"], to=MEMORY)

    def test_folders_may_lie_as_deep_as_a_path_is_long(self, archive, tmp_path):
        deep = tmp_path / "in"
        for _ in range(500):
            deep = deep / "d"
        deep.mkdir(parents=True)
        (deep / "x").write_bytes(b"deep")
        deposit_files(archive, [tmp_path / "in"], to=MEMORY)
        assert held(archive, f"retina/bars:{'d/' * 500}x") == b"deep"

    def test_folders_deeper_than_a_path_may_be_are_refused_by_name(self, archive, tmp_path):
        folders = [tmp_path / "in"]
        try:
            for _ in range(1100):
                folders[-1].mkdir()
                folders.append(folders[-1] / "d")
            folders[-1].touch()
            with pytest.raises(InvalidInput, match="is no artifact path"):
                deposit_files(archive, [tmp_path / "in"], to=MEMORY)
        finally:
            # From the innermost on, because Python's own removal of a tree gives up at this depth.
            folders.pop().unlink(missing_ok=True)
            for folder in reversed(folders):
                folder.rmdir()

    def test_an_empty_folder_is_refused(self, archive, tmp_path):
        with pytest.raises(InvalidInput, match="nothing to deposit"):
            deposit_files(archive, [tmp_path], to=MEMORY)

    def test_progress_counts_the_bytes_of_all_files(self, archive, recording, tmp_path):
        (tmp_path / "more").write_bytes(bytes(MIB))
        seen: list[Advance] = []
        deposit_files(archive, [recording, tmp_path / "more"], to=MEMORY, progress=seen.append)
        assert [advance.done for advance in seen] == sorted(advance.done for advance in seen)
        assert seen[-1].done == seen[-1].total == 6 * MIB + 17


def grow(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"more")


def write_over(path: Path) -> None:
    with path.open("r+b") as file:
        file.write(b"other")
    os.utime(path, ns=(5, 5))


def swap(path: Path) -> None:
    other = path.with_name("other")
    other.write_bytes(path.read_bytes())
    other.replace(path)


class TestAFileThatChanges:
    @pytest.mark.parametrize(
        ("change", "word"),
        [
            (grow, "grew"),
            (lambda path: os.truncate(path, 2 * MIB), "shrank"),
            (Path.unlink, "vanished"),
            (write_over, "was written to"),
            (swap, "was replaced"),
        ],
    )
    def test_is_refused_with_one_sentence_and_nothing_is_added(self, archive, journal, recording, change, word):
        def at_three(advance: Advance) -> None:
            if advance.done == 3 * MIB:
                change(recording)

        with pytest.raises(InvalidInput, match=f"recording.bin {word}.*nothing was added") as error:
            deposit_files(archive, [recording], to=MEMORY, progress=at_three, journal=journal)
        assert "\n" not in str(error.value)
        with pytest.raises(NotFound):
            archive.version(MEMORY)
        assert names_in(journal.folder) == []

    def test_between_planning_and_sending_is_refused_too(self, archive, recording, tmp_path):
        first = tmp_path / "a-first"
        first.write_bytes(b"x")
        with pytest.raises(InvalidInput, match=r"recording\.bin vanished"):
            deposit_files(archive, [first, recording], to=MEMORY, progress=lambda _: recording.unlink(missing_ok=True))


class TestACut:
    def cut(self, archive, recording, journal, *, at: int) -> None:
        def stop(advance: Advance) -> None:
            if advance.done == at:
                archive.fail_with = Unavailable("the service does not answer: try again")

        with pytest.raises(Unavailable):
            deposit_files(archive, [recording], to=MEMORY, progress=stop, journal=journal)
        archive.fail_with = None

    def test_is_resumed_by_the_same_call_which_sends_only_the_rest(self, archive, recording, journal):
        self.cut(archive, recording, journal, at=3 * MIB)
        archive.written = 0
        deposit_files(archive, [recording], to=MEMORY, journal=journal)
        assert archive.written == 2 * MIB + 17
        assert held(archive, "retina/bars:recording.bin") == recording.read_bytes()
        assert len(archive.sessions) == 1
        assert names_in(journal.folder) == []

    def test_is_not_resumed_when_the_file_has_changed_since(self, archive, recording, journal):
        self.cut(archive, recording, journal, at=3 * MIB)
        grow(recording)
        deposit_files(archive, [recording], to=MEMORY, journal=journal)
        assert held(archive, "retina/bars:recording.bin") == recording.read_bytes()
        assert len(archive.sessions) == 2

    def test_of_the_answer_to_a_commit_returns_the_version_that_was_committed(self, archive, recording, journal):
        class CutCommit(SimulatedArchive):
            def add_version(self, *args, **kwargs):
                version = super().add_version(*args, **kwargs)
                next(iter(self.sessions.values())).version = version
                raise Unavailable("the service does not answer: try again")

        archive = CutCommit()
        with pytest.raises(Unavailable):
            deposit_files(archive, [recording], to=MEMORY, journal=journal)
        version = deposit_files(archive, [recording], to=MEMORY, journal=journal)
        assert version.address == MEMORY.at(1)
        assert len(list(archive.versions(MEMORY))) == 1
        assert names_in(journal.folder) == []

    def test_whose_durable_bytes_are_not_the_files_does_not_poison_the_next_run(self, archive, recording, journal):
        self.cut(archive, recording, journal, at=3 * MIB)
        (session,) = archive.sessions.values()
        session.arrived["recording.bin"] = bytearray(2 * MIB)
        with pytest.raises(InvalidInput, match="SHA-256"):
            deposit_files(archive, [recording], to=MEMORY, journal=journal)
        deposit_files(archive, [recording], to=MEMORY, journal=journal)
        assert held(archive, "retina/bars:recording.bin") == recording.read_bytes()

    def test_after_which_the_journal_is_damaged_begins_anew(self, archive, recording, journal):
        self.cut(archive, recording, journal, at=3 * MIB)
        (entry,) = journal.folder.iterdir()
        assert stat.S_IMODE(entry.stat().st_mode) == 0o600
        entry.write_text("nonsense")
        assert deposit_files(archive, [recording], to=MEMORY, journal=journal).address == MEMORY.at(1)

    def test_the_same_command_after_a_commit_is_a_new_version(self, archive, recording, journal):
        for number in (1, 2):
            assert deposit_files(archive, [recording], to=MEMORY, journal=journal).address.version == number


class FlippingArchive(SimulatedArchive):
    """Returns other bytes than were deposited, or fewer, as a door without checks would."""

    def __init__(self, spoil) -> None:
        super().__init__()
        self.spoil = spoil

    def read(self, address, *, start=0, stop=None):
        data = b"".join(super().read(address, start=start, stop=stop))
        for at in range(0, len(data), MIB):
            yield self.spoil(data[at : at + MIB], at)


@pytest.fixture
def kept(archive, recording):
    os.utime(recording, ns=(1, 1_600_000_000_123_456_789))
    deposit_files(archive, [recording], to=MEMORY)
    return Address.parse("retina/bars:recording.bin")


class TestRestore:
    def test_gives_the_exact_bytes_with_the_time_of_change_and_the_permissions(
        self, archive, kept, recording, tmp_path
    ):
        out = restore_file(archive, kept, tmp_path / "out.bin")
        assert out.read_bytes() == recording.read_bytes()
        assert out.stat().st_mtime_ns == 1_600_000_000_123_456_789
        assert stat.S_IMODE(out.stat().st_mode) == stat.S_IMODE(recording.stat().st_mode)

    def test_gives_the_permissions_of_the_original_and_to_a_part_only_the_owners(self, archive, tmp_path):
        spec = ArtifactSpec(path="tool", size=2, mode=0o4755)
        address = archive.add_version(MEMORY, {"tool": (spec, b"#!")}, message="", author="").address.of("tool")
        out = restore_file(archive, address, tmp_path / "tool")
        assert stat.S_IMODE(out.stat().st_mode) == 0o755
        part = restore_file(archive, address, tmp_path / "part", start=1)
        assert stat.S_IMODE(part.stat().st_mode) == 0o600

    def test_into_a_folder_takes_the_artifacts_own_name(self, archive, kept, tmp_path):
        (tmp_path / "into").mkdir()
        assert restore_file(archive, kept, tmp_path / "into") == tmp_path / "into" / "recording.bin"

    def test_works_by_content_and_to_a_stream(self, archive, kept, recording):
        out = io.BytesIO()
        restore_stream(archive, ContentAddress(archive.artifact(kept).sha256), out)
        assert out.getvalue() == recording.read_bytes()

    @pytest.mark.parametrize(("start", "stop"), [(0, 10), (MIB - 1, MIB + 1), (5 * MIB, None), (5 * MIB + 17, None)])
    def test_a_range_gives_these_bytes(self, archive, kept, recording, tmp_path, start, stop):
        out = restore_file(archive, kept, tmp_path / "range", start=start, stop=stop)
        assert out.read_bytes() == recording.read_bytes()[start:stop]

    @pytest.mark.parametrize(("start", "stop"), [(-1, None), (5, 4), (6 * MIB, None)])
    def test_what_is_no_range_is_refused(self, archive, kept, tmp_path, start, stop):
        with pytest.raises(InvalidInput, match=r"no range of retina/bars@1:recording\.bin"):
            restore_file(archive, kept, tmp_path / "range", start=start, stop=stop)
        assert not (tmp_path / "range").exists()

    def test_never_replaces_a_file_unless_forced(self, archive, kept, recording, tmp_path):
        out = tmp_path / "out"
        out.write_bytes(b"mine")
        with pytest.raises(AlreadyExists, match="--force"):
            restore_file(archive, kept, out)
        assert out.read_bytes() == b"mine"
        restore_file(archive, kept, out, force=True)
        assert out.read_bytes() == recording.read_bytes()

    def test_never_replaces_a_file_that_appears_meanwhile(self, archive, kept, tmp_path):
        out = tmp_path / "into" / "out"
        out.parent.mkdir()
        with pytest.raises(AlreadyExists):
            restore_file(archive, kept, out, progress=lambda _: out.write_bytes(b"mine"))
        assert out.read_bytes() == b"mine"
        assert names_in(out.parent) == ["out"]

    def test_never_replaces_what_is_no_regular_file(self, archive, kept, tmp_path):
        os.mkfifo(tmp_path / "pipe")
        with pytest.raises(InvalidInput, match="no regular file"):
            restore_file(archive, kept, tmp_path / "pipe", force=True)

    def test_into_a_folder_that_is_missing_says_so(self, archive, kept, tmp_path):
        with pytest.raises(NotFound, match="make it"):
            restore_file(archive, kept, tmp_path / "no" / "out")

    @pytest.mark.parametrize(
        "spoil",
        [
            lambda piece, at: piece if at != 3 * MIB else b"\0" + piece[1:],
            lambda piece, at: piece if at < 4 * MIB else b"",
            lambda piece, at: piece + b"x" if at == 0 else piece,
        ],
    )
    @pytest.mark.parametrize("force", [False, True])
    def test_of_other_bytes_leaves_no_file(self, recording, tmp_path, spoil, force):
        archive = FlippingArchive(spoil)
        deposit_files(archive, [recording], to=MEMORY)
        folder = tmp_path / "into"
        folder.mkdir()
        with pytest.raises(Damaged, match="engram verify"):
            restore_file(archive, Address.parse("retina/bars:recording.bin"), folder / "out", force=force)
        assert names_in(folder) == []

    def test_that_is_interrupted_leaves_no_file_and_keeps_what_was_there(self, recording, tmp_path):
        def interrupt(piece, at):
            if at == 2 * MIB:
                raise KeyboardInterrupt
            return piece

        archive = FlippingArchive(interrupt)
        deposit_files(archive, [recording], to=MEMORY)
        out = tmp_path / "into" / "out"
        out.parent.mkdir()
        out.write_bytes(b"old")
        with pytest.raises(KeyboardInterrupt):
            restore_file(archive, Address.parse("retina/bars:recording.bin"), out, force=True)
        assert out.read_bytes() == b"old"
        assert names_in(out.parent) == ["out"]

    def test_goes_on_with_the_version_that_it_began_with(self, archive, kept, recording, tmp_path):
        def deposit_a_newer_one(_: Advance) -> None:
            archive.add_version(MEMORY, {}, message="", author="")

        out = restore_file(archive, kept, tmp_path / "out", progress=deposit_a_newer_one)
        assert out.read_bytes() == recording.read_bytes()

    def test_onto_a_full_disk_says_so_and_leaves_no_file(self, archive, kept, tmp_path):
        folder = tmp_path / "into"
        folder.mkdir()
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (2 * MIB, hard))
        try:
            with pytest.raises(Exhausted, match="make room"):
                restore_file(archive, kept, folder / "out")
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert names_in(folder) == []
