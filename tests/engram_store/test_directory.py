"""What is particular to objects in a folder: the disk, links, rights, and writers that die."""

from __future__ import annotations

import os
import re
import resource
import subprocess
import sys
import textwrap
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from engram_format.errors import AlreadyExists, Damaged, Denied, Exhausted, InvalidInput, NotFound, Precondition
from engram_store.backend import ObjectStat, Span
from engram_store.directory import DirectoryBackend

MIB = 1024 * 1024


def test_a_missing_folder_is_not_found_until_something_is_put(tmp_path):
    root = tmp_path / "not" / "yet"
    backend = DirectoryBackend(root)
    for ask in (
        lambda: backend.get("a"),
        lambda: list(backend.list("")),
        lambda: backend.stat("a"),
        lambda: backend.delete("a"),
    ):
        with pytest.raises(NotFound, match=str(root)):
            ask()
    assert not root.parent.exists()
    backend.put_if_absent("a", b"value")
    assert backend.get("a") == b"value"


def test_a_root_that_is_a_file_is_refused(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    for root in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises((InvalidInput, Precondition), match=str(root)):
            DirectoryBackend(root).put_if_absent("a", b"value")


def test_folders_are_private_and_files_are_not_writable(tmp_path):
    DirectoryBackend(tmp_path / "archive").put_if_absent("v/a", b"value")
    assert (tmp_path / "archive").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "archive" / "v").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "archive" / "v" / "a").stat().st_mode & 0o333 == 0


def test_what_a_dead_writer_left_is_no_object(tmp_path):
    """A writer killed between writing and naming leaves a temporary file."""
    script = """
        import os, signal, sys
        from engram_store.directory import DirectoryBackend
        os.link = lambda *a, **k: os.kill(os.getpid(), signal.SIGKILL)
        DirectoryBackend(sys.argv[1]).put_if_absent("v/a", b"value")
    """
    died = subprocess.run([sys.executable, "-c", textwrap.dedent(script), tmp_path], check=False)
    assert died.returncode == -9
    assert len(list((tmp_path / ".tmp").iterdir())) == 1
    backend = DirectoryBackend(tmp_path)
    assert list(backend.list("")) == []
    backend.put_if_absent("v/a", b"another")
    assert list(backend.list("")) == [ObjectStat("v/a", 7)]


def test_a_writer_stopped_before_its_name_writes_nothing(tmp_path):
    """An interrupt while the value is written removes the temporary file."""

    class Stop(BaseException):
        pass

    def stop():
        raise Stop

    with pytest.raises(Stop):
        DirectoryBackend(tmp_path, temporary_name=stop).put_if_absent("v/a", b"value")
    assert list(DirectoryBackend(tmp_path).list("")) == []


def test_everything_is_flushed_before_a_put_returns(tmp_path):
    """The value before it gets its name, the folders after they get theirs: as seen by the kernel."""
    script = "import sys; from engram_store.directory import DirectoryBackend as D; D(sys.argv[1]).put_if_absent('v/o/a', b'value')"
    log = tmp_path / "log"
    calls = "trace=mkdir,mkdirat,fsync,link,linkat"
    try:
        subprocess.run(
            ["strace", "-f", "-e", calls, "-o", log, sys.executable, "-c", script, tmp_path / "new"], check=True
        )
    except (FileNotFoundError, subprocess.CalledProcessError):
        pytest.skip("strace cannot run here")
    seen = re.findall(r"(\w+)\(", log.read_text())
    # root, v, v/o: made and flushed above; .tmp needs no flush; the value; its name; the folder.
    assert seen[-10:] == [
        "mkdir",
        "fsync",
        "mkdirat",
        "fsync",
        "mkdirat",
        "fsync",
        "mkdirat",
        "fsync",
        "linkat",
        "fsync",
    ]


@pytest.mark.parametrize("target", ["outside", "inside", "nowhere"])
def test_an_object_that_is_a_symbolic_link_is_never_followed(tmp_path, target):
    backend = DirectoryBackend(tmp_path / "archive")
    backend.put_if_absent("inside", b"archived")
    (tmp_path / "outside").write_bytes(b"secret")
    (tmp_path / "archive" / "link").symlink_to({"outside": "../outside"}.get(target, target))
    for ask in (backend.get, backend.stat):
        with pytest.raises(Damaged, match="symbolic link"):
            ask("link")
    with pytest.raises(AlreadyExists):
        backend.put_if_absent("link", b"value")
    assert [stat.key for stat in backend.list("")] == ["inside"]
    backend.delete("link")
    assert (tmp_path / "outside").read_bytes() == b"secret"
    assert backend.get("inside") == b"archived"


def test_a_folder_that_is_a_symbolic_link_is_never_followed(tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "a").write_bytes(b"secret")
    backend = DirectoryBackend(tmp_path / "archive")
    backend.put_if_absent("b", b"")
    (tmp_path / "archive" / "v").symlink_to(outside)
    with pytest.raises(Damaged, match="symbolic link"):
        backend.get("v/a")
    with pytest.raises(Damaged, match="symbolic link"):
        backend.put_if_absent("v/new", b"value")
    with pytest.raises(Damaged, match="symbolic link"):
        backend.delete("v/a")
    assert [stat.key for stat in backend.list("")] == ["b"]
    assert [path.name for path in outside.iterdir()] == ["a"]


def test_the_root_may_be_a_symbolic_link(tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "archive").symlink_to("disk")
    DirectoryBackend(tmp_path / "archive").put_if_absent("a", b"value")
    assert (tmp_path / "disk" / "a").read_bytes() == b"value"


def test_what_is_no_file_is_no_object(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder" / "empty").mkdir(parents=True)
    (tmp_path / "not\nvalid").write_bytes(b"")
    (tmp_path / ".hidden").write_bytes(b"")
    (tmp_path / os.fsdecode(b"\xff")).write_bytes(b"")
    backend = DirectoryBackend(tmp_path)
    assert list(backend.list("")) == []
    with pytest.raises(Damaged, match="'pipe'"):
        backend.get("pipe")
    with pytest.raises(NotFound):
        backend.get("folder")
    with pytest.raises(NotFound):
        backend.stat("folder/empty")
    backend.delete("folder")
    assert (tmp_path / "folder").is_dir()


def test_a_key_above_or_below_an_object_is_refused(tmp_path):
    backend = DirectoryBackend(tmp_path)
    backend.put_if_absent("a/b", b"value")
    with pytest.raises(InvalidInput, match="'a/b/c'"):
        backend.put_if_absent("a/b/c", b"value")
    with pytest.raises(InvalidInput, match="'a'"):
        backend.put_if_absent("a", b"value")
    with pytest.raises(NotFound):
        backend.get("a/b/c")
    backend.delete("a/b/c")


def test_a_folder_can_be_listed_by_many_at_once(tmp_path):
    """Listings share no position in the folder."""
    backend = DirectoryBackend(tmp_path)
    keys = [f"{number:04d}" for number in range(500)]
    for key in keys:
        backend.put_if_absent(key, b"")
    with ThreadPoolExecutor(8) as pool:
        for found in pool.map(lambda _: [stat.key for stat in backend.list("")], range(64)):
            assert found == keys


def test_objects_that_come_and_go_do_not_disturb_a_listing(tmp_path):
    backend = DirectoryBackend(tmp_path)
    stay = [f"v/{number:03d}/stays" for number in range(50)]
    for key in stay:
        backend.put_if_absent(key, b"")
    done = threading.Event()

    def churn():
        while not done.is_set():
            backend.put_if_absent("v/025/goes", b"")
            backend.delete("v/025/goes")

    with ThreadPoolExecutor(1) as pool:
        churning = pool.submit(churn)
        try:
            for _ in range(30):
                found = [stat.key for stat in backend.list("v/")]
                assert [key for key in found if key != "v/025/goes"] == stay
        finally:
            done.set()
        churning.result()


def test_an_unfinished_listing_leaves_no_file_open(tmp_path):
    backend = DirectoryBackend(tmp_path)
    for key in ("a/b/1", "a/b/2", "a/c/1"):
        backend.put_if_absent(key, b"")
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(50):
        assert next(iter(backend.list(""))).key == "a/b/1"
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_backends_leave_no_file_open(tmp_path):
    before = len(list(Path("/proc/self/fd").iterdir()))
    for number in range(50):
        backend = DirectoryBackend(tmp_path)
        backend.put_if_absent(f"v/{number}", b"value")
        assert backend.get(f"v/{number}") == b"value"
        with pytest.raises(AlreadyExists):
            backend.put_if_absent(f"v/{number}", b"value")
        with pytest.raises(NotFound):
            backend.get("absent")
    del backend
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_only_the_wanted_bytes_are_read(tmp_path):
    """A span of a file that has more than fits in memory costs what the span costs."""
    with (tmp_path / "huge").open("wb") as huge:
        huge.truncate(1 << 42)
    backend = DirectoryBackend(tmp_path)
    assert backend.get("huge", Span((1 << 42) - 3, 3)) == b"\0\0\0"
    with pytest.raises(Damaged):
        backend.get("huge", Span((1 << 42) - 3, 4))


def test_a_put_copies_no_bytes(tmp_path):
    """A pack goes to the disk out of the buffer in which it was made."""
    script = """
        import mmap, resource, sys
        from engram_store.directory import DirectoryBackend
        backend = DirectoryBackend(sys.argv[1])
        backend.put_if_absent("warm", b"up")
        value = mmap.mmap(-1, 256 << 20)
        value[::4096] = b"x" * (len(value) // 4096)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        backend.put_if_absent("v/a", memoryview(value))
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(script), tmp_path], check=True, capture_output=True)
    assert int(done.stdout) < 16 * 1024, "KiB more than before the put"


def limit_file_size():
    resource.setrlimit(resource.RLIMIT_FSIZE, (MIB, MIB))


def test_a_file_over_the_limit_of_this_process_exhausts_it(tmp_path):
    script = """
        import sys
        from engram_format.errors import Exhausted
        from engram_store.directory import DirectoryBackend
        try:
            DirectoryBackend(sys.argv[1]).put_if_absent("v/a", bytes(2 << 20))
        except Exhausted as error:
            print(error)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script), tmp_path],
        check=True,
        capture_output=True,
        preexec_fn=limit_file_size,
    )
    assert b"'v/a'" in done.stdout
    assert list((tmp_path / ".tmp").iterdir()) == []


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 4 MiB, where this process may mount one."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", disk], check=False, capture_output=True
    ).returncode:
        pytest.skip("this process may not mount a file system")
    yield disk
    subprocess.run(["umount", disk], check=True)


def test_a_full_disk_exhausts_and_keeps_what_was_there(small_disk):
    backend = DirectoryBackend(small_disk / "archive")
    backend.put_if_absent("v/a", bytes(2 * MIB))
    with pytest.raises(Exhausted, match=r"'v/b'.*make room"):
        backend.put_if_absent("v/b", bytes(3 * MIB))
    assert [stat.key for stat in backend.list("")] == ["v/a"]
    backend.put_if_absent("v/b", bytes(MIB))
    del backend


def test_a_folder_on_another_file_system_has_no_hard_links(tmp_path, small_disk):
    """Names cannot be linked from one file system to another."""
    backend = DirectoryBackend(tmp_path)
    with pytest.raises(Precondition, match="hard links"):
        backend.put_if_absent("disk/a", b"value")
    assert list((tmp_path / ".tmp").iterdir()) == []
    del backend


def test_a_read_only_disk_denies(small_disk):
    DirectoryBackend(small_disk).put_if_absent("a", b"value")
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    backend = DirectoryBackend(small_disk)
    assert backend.get("a") == b"value"
    with pytest.raises(Denied, match="'b'"):
        backend.put_if_absent("b", b"value")
    with pytest.raises(Denied, match="'a'"):
        backend.delete("a")
    del backend


def test_a_folder_of_somebody_else_denies(tmp_path):
    DirectoryBackend(tmp_path / "archive").put_if_absent("v/a", b"value")
    script = """
        import os, sys
        from engram_format.errors import Denied
        from engram_store.directory import DirectoryBackend
        os.setuid(65534)
        backend = DirectoryBackend(sys.argv[1])
        for ask in (lambda: backend.get("v/a"), lambda: backend.put_if_absent("v/b", b""), lambda: list(backend.list(""))):
            try:
                ask()
            except Denied as error:
                print(error)
    """
    if os.geteuid():
        pytest.skip("only root can become somebody else")
    # The other user must get as far as the folder itself.
    for above in (tmp_path, *tmp_path.parents[:2]):
        above.chmod(0o755)
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script), tmp_path / "archive"],
        check=True,
        capture_output=True,
        text=True,
    )
    assert len(done.stdout.splitlines()) == 3, done
