"""What the commands that work on an archive print, and with what status they leave."""

from __future__ import annotations

import io
import json
import sys

import numpy as np
import pytest
from click.testing import CliRunner
from engram_testing.simulator import SimulatedArchive

from engram_client.cli import cli
from engram_format.address import Address
from engram_format.catalog import ArtifactSpec, Finding, FindingKind, Kind
from engram_format.errors import Unavailable

MEMORY = Address("retina", "bars")
EVIL = "a\x1b]0;owned\x07b\u202ec[red]"


@pytest.fixture
def archive():
    return SimulatedArchive()


@pytest.fixture
def engram(archive, tmp_path, monkeypatch):
    """Run `engram` with some arguments over the simulated archive."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("ENGRAM_AUTHOR", "a test")

    def run(*args, status: int = 0):
        result = CliRunner().invoke(cli, [str(arg) for arg in args], prog_name="engram", obj=lambda _: archive)
        assert result.exit_code == status, result.output
        assert "Traceback" not in result.output
        return result

    return run


@pytest.fixture
def filled(archive):
    """A vault with a memory of two versions."""
    archive.create_vault("retina")
    spec = ArtifactSpec(path="raw/bars.npy", size=3, kind=Kind.RECORDING, time_ns=1_600_000_000_000_000_000)
    archive.add_version(MEMORY, {"raw/bars.npy": (spec, b"abc")}, message="first\nmore of it", author="ada")
    student = ArtifactSpec(
        path="gru.onnx", size=5, kind=Kind.STUDENT, metadata={"n": 3, "x": float("inf")}, made_from=("0" * 64,)
    )
    artifacts = {"raw/bars.npy": (spec, b"abc"), "gru.onnx": (student, b"onnx!")}
    archive.add_version(MEMORY, artifacts, message="second", author="bob")
    return archive


def lines(result) -> list[list[str]]:
    return [line.split() for line in result.stdout.splitlines()]


class TestBrowsing:
    def test_ls_descends_from_vaults_to_memories_to_artifacts(self, engram, filled):
        assert lines(engram("ls"))[1][0] == "retina"
        assert lines(engram("ls", "retina"))[1][:3] == ["retina/bars", "@2", "2"]
        assert [line[0] for line in lines(engram("ls", "retina/bars"))] == ["PATH", "gru.onnx", "raw/bars.npy"]
        assert [line[0] for line in lines(engram("ls", "retina/bars@1"))] == ["PATH", "raw/bars.npy"]
        assert lines(engram("ls", "retina/bars:raw"))[1][1:5] == ["recording", "3", "B", "2020-09-13T12:26:40Z"]

    def test_columns_are_aligned_where_there_is_no_terminal(self, engram, filled):
        header, *rows = engram("ls", "retina/bars").stdout.splitlines()
        assert {row.index(kind) for row, kind in zip(rows, ("student", "recording"), strict=True)} == {
            header.index("KIND")
        }

    @pytest.mark.parametrize(
        ("args", "names"),
        [
            (("ls",), ["retina"]),
            (("vault", "ls"), ["retina"]),
            (("ls", "retina"), ["retina/bars"]),
            (("ls", "retina/bars"), ["retina/bars@2:gru.onnx", "retina/bars@2:raw/bars.npy"]),
            (("log", "retina/bars"), ["retina/bars@2", "retina/bars@1"]),
            (("log", "retina/bars", "-n", "1"), ["retina/bars@2"]),
        ],
    )
    def test_lists_are_json_arrays_on_demand(self, engram, filled, args, names):
        told = json.loads(engram(*args, "--json").stdout)
        assert [item.get("address") or item["name"] for item in told] == names

    def test_an_empty_archive_is_an_empty_array(self, engram):
        assert json.loads(engram("ls", "--json").stdout) == []
        assert engram("ls").stdout.split() == ["VAULT", "ID", "EPOCH"]

    def test_show_tells_all_of_an_artifact(self, engram, filled):
        shown = engram("show", "retina/bars:gru.onnx").stdout
        assert "retina/bars@2:gru.onnx" in shown
        assert "5 bytes (5 B)" in shown
        assert f"sha256:{'0' * 64}" in shown
        told = json.loads(engram("show", "retina/bars:gru.onnx", "--json").stdout)
        assert told["metadata"] == {"n": 3, "x": "inf"}
        assert told["time"] is None
        assert told["kind"] == "student"
        assert json.loads(engram("show", f"sha256:{told['sha256']}", "--json").stdout) == told

    def test_show_tells_all_of_a_version_and_of_a_vault(self, engram, filled):
        shown = engram("show", "retina/bars@1").stdout
        assert "2023-11-14T22:13:20Z" in shown
        assert shown.splitlines()[shown.splitlines().index("message    first") + 1].strip() == "more of it"
        assert json.loads(engram("show", "retina/bars", "--json").stdout)["address"] == "retina/bars@2"
        assert json.loads(engram("show", "retina", "--json").stdout)["name"] == "retina"

    def test_log_is_newest_first_with_the_first_line_of_each_message(self, engram, filled):
        _, second, first = engram("log", "retina/bars").stdout.splitlines()
        assert (second.split()[0], first.split()[0]) == ("@2", "@1")
        assert first.endswith("ada     first")

    @pytest.mark.parametrize(
        "args",
        [
            ("ls", "cortex"),
            ("ls", "retina/dots"),
            ("ls", "retina/bars@9"),
            ("ls", "retina/bars:none"),
            ("show", "retina/bars:none"),
            ("show", "cortex"),
            ("show", f"sha256:{'f' * 64}"),
            ("log", "retina/dots"),
            ("log", "retina"),
            ("ls", "not an address!"),
            ("show", "retina/bars@03"),
        ],
    )
    def test_what_is_not_there_is_one_sentence_on_stderr(self, engram, filled, args):
        result = engram(*args, status=1)
        assert result.stdout == ""
        assert result.stderr.startswith("engram: ")
        assert result.stderr.count("\n") == 1

    def test_nothing_from_an_archive_commands_the_terminal(self, engram, archive):
        archive.create_vault("retina")
        spec = ArtifactSpec(path="a\u202eb", size=0, metadata={EVIL: EVIL})
        archive.add_version(MEMORY, {spec.path: (spec, b"")}, message=EVIL, author=EVIL)
        for args in (("ls", MEMORY), ("log", MEMORY), ("show", MEMORY), ("show", f"{MEMORY}:a\u202eb")):
            for more in ((), ("--json",)):
                shown = engram(*args, *more).stdout
                assert shown.replace("\n", "").isprintable()
                assert "\u202e" not in shown
        assert "a\\x1b]0;owned\\x07b\\u202ec[red]" in engram("log", MEMORY).stdout


class TestVault:
    def test_create_makes_it_once(self, engram, archive):
        assert lines(engram("vault", "create", "retina"))[1][0] == "retina"
        assert [vault.name for vault in archive.vaults()] == ["retina"]
        assert "exists" in engram("vault", "create", "retina", status=1).stderr


class TestDeposit:
    def test_prints_the_version_on_stdout_and_progress_on_stderr(self, engram, archive, tmp_path):
        (tmp_path / "a.bin").write_bytes(bytes(3 << 20))
        result = engram("deposit", tmp_path / "a.bin", "--to", "retina/bars", "-m", "hello")
        assert [line.split() for line in result.stdout.splitlines()[:2]] == [
            ["PATH", "KIND", "SIZE", "STORED", "RATIO", "SERIES", "METADATA"],
            ["a.bin", "file", "3.0", "MiB", "3.0", "MiB", "1.00", "-", "0"],
        ]
        assert result.stdout.splitlines()[2:] == ["retina/bars@1  1 added, 1 in all"]
        assert result.stderr.splitlines()[-1] == "depositing: 100 % (3.0 MiB of 3.0 MiB)"
        assert archive.version(MEMORY).message == "hello"

    def test_metadata_is_typed_as_json_and_else_text(self, engram, archive, tmp_path):
        (tmp_path / "a.bin").touch()
        meta = ["rate_hz=30000", "gain=0.5", "good=true", 'id="42"', "species=Mus musculus", "list=[1]", "note=a=b"]
        args = [part for item in meta for part in ("--meta", item)]
        engram("deposit", tmp_path / "a.bin", "--to", "retina/bars", "--subject", "m1", "--kind", "recording", *args)
        artifact = archive.artifact(MEMORY.of("a.bin"))
        assert artifact.kind is Kind.RECORDING
        assert artifact.metadata == {
            "subject.id": "m1",
            "rate_hz": 30000,
            "gain": 0.5,
            "good": True,
            "id": "42",
            "species": "Mus musculus",
            "list": "[1]",
            "note": "a=b",
        }

    def test_json_is_the_version(self, engram, tmp_path):
        (tmp_path / "a.bin").touch()
        told = json.loads(engram("deposit", tmp_path / "a.bin", "--to", "retina/bars", "--json").stdout)
        assert told["address"] == "retina/bars@1"
        assert told["author"] == "a test"

    def test_a_cut_says_that_the_same_command_goes_on_and_it_does(self, engram, archive, tmp_path):
        (tmp_path / "a.bin").write_bytes(bytes(3 << 20))
        archive.fail_with = Unavailable("the service does not answer: try again")
        result = engram("deposit", tmp_path / "a.bin", "--to", "retina/bars", status=1)
        assert result.stderr.endswith("try again; the same command then goes on from what has arrived\n")
        archive.fail_with = None
        engram("deposit", tmp_path / "a.bin", "--to", "retina/bars")
        assert len(list(archive.versions(MEMORY))) == 1
        assert list((tmp_path / "state/engram/deposits").iterdir()) == []

    def test_links_in_a_folder_are_warned_of(self, engram, tmp_path):
        folder = tmp_path / "day"
        folder.mkdir()
        (folder / "a").touch()
        (folder / "b").symlink_to("a")
        assert f"warning: {folder}/b is left out" in engram("deposit", folder, "--to", "retina/bars").stderr

    def test_a_missing_file_is_one_sentence(self, engram, tmp_path):
        result = engram("deposit", tmp_path / "none", "--to", "retina/bars", status=1)
        assert result.stderr == f"engram: {tmp_path}/none does not exist: check its name\n"

    @pytest.mark.parametrize("args", [("--kind", "film"), ("--meta", "x"), ("--meta", "=1")])
    def test_wrong_options_are_usage_errors(self, engram, tmp_path, args):
        (tmp_path / "a").touch()
        engram("deposit", tmp_path / "a", "--to", "retina/bars", *args, status=2)


class TestRestore:
    def test_prints_the_path_that_it_wrote(self, engram, filled, tmp_path):
        assert engram("restore", "retina/bars:gru.onnx", tmp_path).stdout == f"{tmp_path}/gru.onnx\n"
        assert (tmp_path / "gru.onnx").read_bytes() == b"onnx!"

    def test_to_stdout_prints_nothing_else(self, engram, filled):
        assert engram("restore", "retina/bars:gru.onnx", "-").stdout_bytes == b"onnx!"
        assert engram("restore", "retina/bars:gru.onnx", "-", "--start", 1, "--stop", 3).stdout_bytes == b"nn"

    def test_of_a_version_makes_its_tree(self, engram, filled, tmp_path):
        engram("restore", "retina/bars@2", tmp_path / "out")
        assert (tmp_path / "out/raw/bars.npy").read_bytes() == b"abc"
        assert (tmp_path / "out/gru.onnx").read_bytes() == b"onnx!"
        engram("restore", "retina/bars@2", "-", status=1)

    def test_asks_for_force_to_replace(self, engram, filled, tmp_path):
        (tmp_path / "out").write_bytes(b"mine")
        assert "--force" in engram("restore", "retina/bars:gru.onnx", tmp_path / "out", status=1).stderr
        engram("restore", "retina/bars:gru.onnx", tmp_path / "out", "--force")
        assert (tmp_path / "out").read_bytes() == b"onnx!"


class TestReplay:
    @pytest.fixture
    def stimulus(self, tmp_path):
        np.save(tmp_path / "stimulus.npy", np.arange(6, dtype=np.float32).reshape(3, 2))
        return tmp_path / "stimulus.npy"

    def test_tells_shapes_and_receipt_and_writes_the_outputs(self, engram, filled, stimulus, tmp_path):
        result = engram("replay", "retina/bars:gru.onnx", "--stimulus", stimulus, "-o", tmp_path / "out.npz")
        assert "float32 (3, 2)" in result.stdout
        assert "retina/bars:gru.onnx" in result.stdout
        with np.load(tmp_path / "out.npz") as outputs:
            assert outputs["2"].tolist() == [[0, 2], [4, 6], [8, 10]]

    def test_json_holds_outputs_receipt_and_what_was_saved(self, engram, filled, stimulus):
        told = json.loads(engram("replay", "retina/bars:gru.onnx", "--stimulus", stimulus, "--save", "--json").stdout)
        assert told["outputs"] == [{"name": "2", "dtype": "float32", "shape": [3, 2]}]
        assert told["receipt"]["exact"] is True
        assert told["saved"]["address"] == "retina/bars@3:replay.npz"

    def test_can_be_saved_elsewhere_and_of_a_student_named_by_content(self, engram, filled, stimulus):
        digest = filled.artifact(MEMORY.of("gru.onnx")).sha256
        args = ("replay", f"sha256:{digest}", "--stimulus", stimulus, "--json")
        assert json.loads(engram(*args, "--save-to", "retina/replays").stdout)["saved"]["address"].startswith(
            "retina/replays@1"
        )
        assert json.loads(engram(*args, "--save").stdout)["saved"]["address"].startswith("retina/bars@3")

    def test_takes_a_stimulus_from_the_archive_and_arrays_by_name(self, engram, filled, tmp_path):
        spec = ArtifactSpec(path="s.npy", size=8)
        filled.add_version(Address("retina", "stimuli"), {"s.npy": (spec, bytes(8))}, message="", author="")
        engram("replay", "retina/bars:gru.onnx", "--stimulus", "retina/stimuli:s.npy")
        np.savez(tmp_path / "s.npz", a=np.zeros(2), b=np.zeros(3))
        told = json.loads(engram("replay", "retina/bars:gru.onnx", "--stimulus", tmp_path / "s.npz", "--json").stdout)
        assert [output["name"] for output in told["outputs"]] == ["a2", "b2"]

    def test_refuses_what_is_no_stimulus(self, engram, filled, tmp_path):
        (tmp_path / "text.npy").write_text("no array")
        np.save(tmp_path / "pickle.npy", np.array([{}], dtype=object), allow_pickle=True)
        (tmp_path / "empty.npz").touch()
        cut = io.BytesIO()
        np.savez(cut, a=np.arange(1000))
        (tmp_path / "cut.npz").write_bytes(cut.getvalue()[:2000])
        for name in ("text.npy", "pickle.npy", "empty.npz", "cut.npz"):
            result = engram("replay", "retina/bars:gru.onnx", "--stimulus", tmp_path / name, status=1)
            assert f"{tmp_path / name} is neither" in result.stderr
        for name in ("missing.npy", "retina/bars", "a b"):
            result = engram("replay", "retina/bars:gru.onnx", "--stimulus", name, status=1)
            assert "is neither a file here nor" in result.stderr

    def test_looks_at_the_output_before_the_student_runs(self, engram, filled, stimulus, tmp_path):
        (tmp_path / "out.npz").touch()
        args = ("replay", "retina/bars:gru.onnx", "--stimulus", stimulus, "--save", "-o", tmp_path / "out.npz")
        assert "--force" in engram(*args, status=1).stderr
        assert filled.version(MEMORY).address == MEMORY.at(2)
        engram(*args, "--force")
        engram(*args, "--save-to", "a/b", status=2)

    def test_an_output_may_have_any_name(self, engram, filled, tmp_path):
        np.savez(tmp_path / "s.npz", fil=np.zeros(1))
        filled.replay = lambda *_, **__: type(
            "Result", (), {"outputs": {"file": np.ones(2), "a/b": np.ones(1)}, "receipt": {}, "saved": None}
        )()
        engram("replay", "retina/bars:gru.onnx", "--stimulus", tmp_path / "s.npz", "-o", tmp_path / "o.npz")
        with np.load(tmp_path / "o.npz") as outputs:
            assert outputs["file"].tolist() == [1, 1]


class TestVerify:
    def test_prints_what_is_not_sound_and_fails(self, engram):
        result = engram("verify", "retina", status=1)
        assert result.stdout.splitlines() == [
            "repairable  o/1  one shard of ten is damaged",
            "lost  o/2  it is gone",
            "1 sound, 1 repairable, 1 lost; 17 B checked",
        ]

    def test_json_is_one_document(self, engram):
        told = json.loads(engram("verify", "--quick", "--json", status=1).stdout)
        assert (told["sound"], told["repairable"], told["lost"], told["bytes"]) == (1, 1, 1, 7)
        assert [finding["subject"] for finding in told["findings"]] == ["o/1", "o/2"]

    def test_leaves_with_0_when_everything_is_sound(self, engram, archive):
        archive.verify = lambda *_, **__: iter([Finding("retina", FindingKind.SOUND, 2048)])
        assert engram("verify").stdout == "1 sound, 0 repairable, 0 lost; 2.0 KiB checked\n"


class TestATerminal:
    def test_gets_a_table_in_which_names_are_never_markup(self, archive, monkeypatch, capsys):
        from engram_client.cli.browse import write_artifacts

        spec = ArtifactSpec(path="[bold]x[/bold]", size=1536)
        archive.add_version(MEMORY, {spec.path: (spec, bytes(1536))}, message="", author="")
        monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
        write_artifacts(archive.artifacts(MEMORY))
        shown = capsys.readouterr().out
        assert "[bold]x[/bold]" in shown
        assert "1.5 KiB" in shown
