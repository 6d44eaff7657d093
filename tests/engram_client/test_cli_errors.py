"""How `engram` is started and how it fails: one sentence, the right status, no traceback, no secret in the arguments."""

from __future__ import annotations

import json
import os
import pty
import stat
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import click
import numpy as np
import pytest
from click.testing import CliRunner
from engram_testing.simulator import SimulatedArchive
from engram_testing.students import power

import engram_client
from engram_client.cli import cli
from engram_client.cli.output import human_size, printable, utc
from engram_client.cli.serve import serve
from engram_client.cli.settings import Settings
from engram_format.errors import Damaged, Denied, InvalidInput
from engram_server.config import ServeConfig

HEAVY = ("numpy", "grpc", "boto3", "onnxruntime", "rich", "cryptography")


def invoke(*args, archive=None, env=None, seen=None):
    def opener(settings: Settings):
        if seen is not None:
            seen.append(settings)
        return archive or SimulatedArchive()

    return CliRunner().invoke(cli, [str(arg) for arg in args], prog_name="engram", obj=opener, env=env)


def run(*args, env=None, **options):
    """Run `engram` as a process of its own."""
    command = [sys.executable, "-c", "from engram_client.cli import main; main()", *map(str, args)]
    return subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=60, env={**os.environ, **(env or {})}, **options
    )


@pytest.fixture
def home(tmp_path):
    """The environment of a user who has nothing yet."""
    names = ("HOME", "XDG_CONFIG_HOME", "XDG_STATE_HOME", "XDG_CACHE_HOME")
    return {name: str(tmp_path / name.lower()) for name in names}


class TestErrors:
    def test_ours_are_one_sentence_and_status_1(self):
        archive = SimulatedArchive()
        archive.fail_with = Denied("the bucket 'b' refuses: ask for access")
        result = invoke("ls", archive=archive)
        assert (result.exit_code, result.stdout) == (1, "")
        assert result.stderr == "engram: the bucket 'b' refuses: ask for access\n"

    def test_what_a_service_says_cannot_command_the_terminal(self):
        archive = SimulatedArchive()
        archive.fail_with = Damaged("bad \x1b[2J\nname")
        assert invoke("ls", archive=archive).stderr == "engram: bad \\x1b[2J\\x0aname\n"

    def test_interruption_is_130(self):
        archive = SimulatedArchive()
        archive.fail_with = KeyboardInterrupt()
        result = invoke("ls", archive=archive)
        assert (result.exit_code, result.stderr) == (130, "engram: interrupted\n")

    def test_a_fault_of_ours_is_said_to_be_one_and_shown_on_demand(self):
        archive = SimulatedArchive()
        archive.fail_with = ZeroDivisionError("division by zero")
        result = invoke("ls", archive=archive, env={"ENGRAM_DEBUG": None})
        assert result.exit_code == 70
        assert "a fault of ours" in result.stderr
        assert "Traceback" not in result.output
        assert "Traceback" in invoke("ls", archive=archive, env={"ENGRAM_DEBUG": "1"}).stderr

    def test_a_missing_extra_names_the_package(self):
        archive = SimulatedArchive()
        archive.fail_with = ModuleNotFoundError("No module named 'onnxruntime'", name="onnxruntime")
        result = invoke("ls", archive=archive)
        assert result.exit_code == 1
        assert "'onnxruntime'" in result.stderr
        assert "pip install" in result.stderr

    @pytest.mark.parametrize("args", [("frobnicate",), ("ls", "--frobnicate"), ("deposit",), ("log",)])
    def test_usage_is_2(self, args):
        assert invoke(*args).exit_code == 2

    def test_no_archive_is_usage(self, home):
        result = run("ls", env={**home, "ENGRAM_ARCHIVE": ""})
        assert result.returncode == 2
        assert "--archive URL" in result.stderr

    def test_a_reader_that_goes_away_is_not_complained_of(self, home):
        # The pipe's reading end is closed before anything is written.
        reader, writer = os.pipe()
        os.close(reader)
        code = (
            "from engram_client.cli import cli\n"
            "from engram_testing.simulator import SimulatedArchive\n"
            "archive = SimulatedArchive()\n"
            "for number in range(2000): archive.create_vault(f'v{number}')\n"
            "cli(['ls'], obj=lambda _: archive)\n"
        )
        env = {**os.environ, **home, "PYTHONPATH": str(Path(__file__).parents[1])}
        done = subprocess.run(
            [sys.executable, "-c", code], stdout=writer, stderr=subprocess.PIPE, check=False, timeout=60, env=env
        )
        os.close(writer)
        assert (done.returncode, done.stderr) == (141, b"")


class TestOptions:
    def test_stand_before_or_after_the_command_or_in_the_environment(self, tmp_path):
        seen: list[Settings] = []
        invoke("--archive", "/a", "ls", seen=seen)
        invoke("ls", "--archive", "/a", seen=seen)
        invoke("--archive", "/b", "vault", "ls", "--archive", "/a", seen=seen)
        invoke("ls", env={"ENGRAM_ARCHIVE": "/a"}, seen=seen)
        invoke("ls", "--archive", "/a", env={"ENGRAM_ARCHIVE": "/b"}, seen=seen)
        assert [settings.archive for settings in seen] == ["/a"] * 5
        invoke("ls", "--identity", "i", "--keystore", "k", "--token-file", "t", "--ca-file", "c", seen=seen)
        assert (seen[-1].identity, seen[-1].keystore) == (Path("i"), "k")
        assert (seen[-1].token_file, seen[-1].ca_file) == (Path("t"), Path("c"))

    def test_there_is_none_that_takes_a_secret_itself(self):
        def options(command: click.Command) -> set[str]:
            own = {name for param in command.params for name in param.opts}
            if isinstance(command, click.Group):
                context = click.Context(command)
                for name in command.list_commands(context):
                    own |= options(command.get_command(context, name))
            return own

        assert {name for name in options(cli) if "pass" in name or "token" in name} == {
            "--passphrase-file",
            "--token-file",
        }

    @pytest.mark.parametrize("content", [b"", b"two\nlines\n", b"\xff\xfe"])
    def test_a_secrets_file_must_hold_one_line(self, tmp_path, content):
        (tmp_path / "secret").write_bytes(content)
        with pytest.raises(InvalidInput, match="on one line"):
            Settings(opener=lambda _: SimulatedArchive(), token_file=tmp_path / "secret").token()
        (tmp_path / "secret").write_bytes(b"a secret\r\n")
        assert Settings(opener=lambda _: SimulatedArchive(), token_file=tmp_path / "secret").token() == "a secret"

    def test_help_is_quick_because_it_imports_nothing_heavy(self, home):
        code = (
            "import sys\nfrom engram_client.cli import cli\n"
            "try: cli(['--help'])\nexcept SystemExit as end: assert end.code == 0\n"
            f"print('HEAVY', [name for name in {HEAVY} if name in sys.modules])\n"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
        assert done.stdout.endswith("HEAVY []\n")
        for command in cli.list_commands(click.Context(cli)):
            assert f"  {command} " in done.stdout

    def test_every_command_has_help_and_the_version_is_told(self):
        for command in cli.list_commands(click.Context(cli)):
            assert invoke(command, "--help").exit_code == 0
        assert invoke("--version").stdout.startswith("engram ")


class TestOpening:
    @pytest.mark.parametrize("url", ["http://host/x", "ftp://host", "gs://bucket/x"])
    def test_refuses_a_scheme_that_no_archive_has(self, url):
        with pytest.raises(InvalidInput, match="scheme that no archive has"):
            engram_client.open(url)

    def test_refuses_an_empty_url(self):
        with pytest.raises(InvalidInput, match="empty"):
            engram_client.open("")


class TestOutput:
    @pytest.mark.parametrize(
        ("size", "text"),
        [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (1536, "1.5 KiB"),
            (1024**2 - 1, "1.0 MiB"),
            (5 * 1024**4, "5.0 TiB"),
            (2000 * 1024**5, "2000.0 PiB"),
        ],
    )
    def test_sizes_are_for_people(self, size, text):
        assert human_size(size) == text

    def test_times_are_utc_in_iso_form(self):
        assert utc(1_700_000_000_123_456_789) == "2023-11-14T22:13:20Z"
        assert utc(0) == "-"
        assert utc(2**80) == f"{2**80} ns"

    def test_text_from_elsewhere_is_escaped_unless_it_can_be_printed(self):
        assert printable("m\u00e9moire \u8a18\u61b6") == "m\u00e9moire \u8a18\u61b6"
        assert printable("\x1b\x9b\u2028\ud800\U000e0001") == "\\x1b\\x9b\\u2028\\ud800\\U000e0001"


class TestInit:
    """With real identities and a real archive in a folder."""

    def test_makes_a_private_identity_and_an_archive_and_says_what_matters(self, home, tmp_path):
        done = run("init", "--archive", tmp_path / "a", env=home)
        assert done.returncode == 0, done.stderr
        key_file = Path(home["XDG_CONFIG_HOME"]) / "engram" / "identity.txt"
        assert stat.S_IMODE(key_file.stat().st_mode) == 0o600
        assert str(key_file) in done.stdout
        assert "engram-recipient-1:" in done.stdout
        assert "Without this identity nothing in the archive can be read" in done.stdout
        assert run("ls", "--archive", tmp_path / "a", "--json", env=home).stdout == "[]\n"

    def test_uses_the_identity_that_is_there_and_makes_no_archive_twice(self, home, tmp_path):
        first = json.loads(run("init", "--archive", tmp_path / "a", "--json", env=home).stdout)
        second = json.loads(run("init", "--archive", tmp_path / "b", "--json", env=home).stdout)
        assert first["identity_is_new"]
        assert not second["identity_is_new"]
        assert first["fingerprint"] == second["fingerprint"]
        again = run("init", "--archive", tmp_path / "a", env=home)
        assert again.returncode == 1
        assert again.stderr.count("\n") == 1

    def test_a_locked_identity_opens_with_the_passphrase_from_a_file_only(self, home, tmp_path):
        secret = tmp_path / "passphrase"
        secret.write_text("correct horse\n")
        archive = ("--archive", tmp_path / "a", "--passphrase-file", secret)
        assert run("init", "--lock", *archive, env=home).returncode == 0
        assert run("ls", *archive, env=home).returncode == 0
        without = run("ls", "--archive", tmp_path / "a", env=home, stdin=subprocess.DEVNULL)
        assert (without.returncode, without.stderr.count("\n")) == (1, 1)
        assert "--passphrase-file" in without.stderr
        secret.write_text("wrong horse\n")
        assert "passphrase does not open" in run("ls", *archive, env=home).stderr

    def test_a_locked_identity_asks_the_terminal(self, home, tmp_path):
        secret = tmp_path / "passphrase"
        secret.write_text("correct horse\n")
        run("init", "--lock", "--archive", tmp_path / "a", "--passphrase-file", secret, env=home)
        ours, theirs = pty.openpty()
        command = [
            sys.executable,
            "-c",
            "from engram_client.cli import main; main()",
            "ls",
            "--archive",
            tmp_path / "a",
        ]
        env = {**os.environ, **home}
        with subprocess.Popen(
            command, stdin=theirs, stdout=theirs, stderr=theirs, env=env, start_new_session=True
        ) as process:
            os.close(theirs)
            shown = b""
            while b"Passphrase of" not in shown:
                shown += os.read(ours, 1024)
            os.write(ours, b"correct horse\n")
            assert process.wait(timeout=60) == 0
        os.close(ours)

    def test_without_an_identity_the_next_step_is_named(self, home, tmp_path):
        done = run("ls", "--archive", tmp_path / "a", env=home)
        assert done.returncode == 1
        assert "engram init" in done.stderr

    def test_a_service_cannot_be_initialised_or_served(self, home):
        for command in ("init", "serve"):
            done = run(command, "--archive", "grpc://127.0.0.1:1", env=home)
            assert (done.returncode, done.stderr.count("\n")) == (1, 1)


@contextmanager
def service(home, archive, *options):
    """Serve an archive by `engram serve` while the block runs, and tell it the URL; SIGTERM ends it well."""
    code = "from engram_client.cli import main; main()"
    command = [sys.executable, "-c", code, "serve", "--archive", str(archive), "--listen", "127.0.0.1:0", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, **home}) as process:
        try:
            line = process.stdout.readline()
            assert line.startswith("listening on grpc://127.0.0.1:")
            yield line.split()[-1]
        finally:
            process.terminate()
        assert process.wait(timeout=60) == 0


class TestServe:
    def test_prints_one_line_when_it_is_ready_and_ends_well_on_sigterm(self, home, tmp_path):
        assert run("init", "--archive", tmp_path / "a", env=home).returncode == 0
        with service(home, tmp_path / "a") as url:
            assert run("vault", "create", "retina", "--archive", url, env=home).returncode == 0
            (tmp_path / "x").write_bytes(b"some bytes")
            assert run("deposit", tmp_path / "x", "--to", "retina/bars", "--archive", url, env=home).returncode == 0
            assert run("restore", "retina/bars:x", "-", "--archive", url, env=home).stdout == "some bytes"

    def test_what_students_may_cost_is_by_default_what_a_service_allows(self):
        told, config = serve.make_context("serve", []).params, ServeConfig()
        assert not told["allow_loops"]
        assert told["student_memory"] == config.student_memory_bytes
        assert told["memory_budget"] == config.memory_budget_bytes
        assert (told["sessions"], told["idle"]) == (config.sessions, config.minds_idle_s)

    def test_sizes_are_read_as_people_write_them(self):
        for text, size in {
            "512MiB": 512 << 20,
            "1.5 GiB": 3 << 29,
            "2g": 2 << 30,
            "4096": 4096,
            "4096 B": 4096,
        }.items():
            assert serve.make_context("serve", ["--student-memory", text]).params["student_memory"] == size

    @pytest.mark.parametrize("allowed", [True, False])
    def test_a_student_with_a_loop_runs_only_where_the_operator_allows_it(self, home, tmp_path, allowed):
        assert run("init", "--archive", tmp_path / "a", env=home).returncode == 0
        (tmp_path / "power.onnx").write_bytes(power())
        np.save(tmp_path / "x.npy", np.ones((2, 3), np.float32))
        limits = ("--student-memory", "512MiB", "--memory-budget", "1GiB", "--sessions", "9", "--idle", "30")
        options = [*limits, *(["--allow-loops"] if allowed else [])]
        with service(home, tmp_path / "a", *options) as url:
            assert run("vault", "create", "lab", "--archive", url, env=home).returncode == 0
            run("deposit", tmp_path / "power.onnx", "--to", "lab/loops", "--archive", url, env=home)
            command = ("replay", "lab/loops:power.onnx", "--stimulus", tmp_path / "x.npy", "-o", tmp_path / "y.npz")
            done = run(*command, "--archive", url, env=home)
        if allowed:
            assert done.returncode == 0
            assert (np.load(tmp_path / "y.npz")["y"] == 8).all()
        else:
            assert done.returncode == 1
            assert "have the operator allow loops" in done.stderr

    @pytest.mark.parametrize("size", ["", "2 giga", "1.5", "-1GiB", "2GB", "GiB", "\u0662GiB"])
    def test_what_is_no_size_is_usage(self, home, tmp_path, size):
        done = run("serve", "--archive", tmp_path / "a", "--student-memory", size, env=home)
        assert done.returncode == 2
        assert "is no size: write it as 512MiB or 2GiB" in done.stderr

    @pytest.mark.parametrize("listen", ["8743", "host:", "host:x", ":1"])
    def test_what_is_no_address_is_usage(self, home, tmp_path, listen):
        assert run("serve", "--archive", tmp_path / "a", "--listen", listen, env=home).returncode == 2

    def test_refuses_to_be_reached_in_the_clear(self, home, tmp_path):
        done = run("serve", "--archive", tmp_path / "a", "--listen", "0.0.0.0:0", env=home)
        assert (done.returncode, done.stderr.count("\n")) == (1, 1)
