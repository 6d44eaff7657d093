"""`engram find` and `annotate`, and what `show` says of shared bytes, over a real archive in memory."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner
from engram_testing.archives import MEMORY, Place, deposit, pseudo_random

from engram_client.cli import cli

BIG = pseudo_random(2 << 20)


class Kept:
    """An archive that several commands use one after the other."""

    def __init__(self, archive) -> None:
        self._archive = archive

    def __getattr__(self, name):
        return getattr(self._archive, name)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass


@pytest.fixture
def engram(monkeypatch):
    """Run `engram` with some arguments over an archive with two versions."""
    monkeypatch.setenv("ENGRAM_AUTHOR", "a test")
    with Place().create().open() as archive:
        deposit(archive, {"big.bin": BIG, "olé.bin": b"old"})
        deposit(archive, {"big.bin": BIG + b"more", "new.bin": b"new"})

        def run(*args, status: int = 0):
            result = CliRunner().invoke(cli, [*args], prog_name="engram", obj=lambda _: Kept(archive))
            assert result.exit_code == status, result.output
            assert "Traceback" not in result.output
            return result

        yield run


def test_find_prints_a_table_or_json(engram):
    engram("annotate", f"{MEMORY}:new.bin", "--set", "depth=12.5", "--set", "subject.species=Mus musculus")
    table = engram("find", "subject.species=Mus musculus", "depth>12").stdout.splitlines()
    assert [line.split()[0] for line in table] == ["ARTIFACT", f"{MEMORY}@3:new.bin"]
    (found,) = json.loads(engram("find", "depth=12.5", "--in", str(MEMORY), "--json").stdout)
    assert found["metadata"] == {"depth": 12.5, "subject.species": "Mus musculus"}
    assert json.loads(engram("find", "--kind", "student", "--json").stdout) == []
    assert len(json.loads(engram("find", "--in", MEMORY.vault, "--json").stdout)) == 3


def test_find_warns_of_a_name_that_nothing_has(engram):
    engram("annotate", f"{MEMORY}:new.bin", "--set", "subject.species=Mus")
    result = engram("find", "subject.specis=Mus")
    assert "warning: no artifact" in result.stderr
    assert "subject.species" in result.stderr


@pytest.mark.parametrize(
    ("args", "status", "sentence"),
    [
        (("find", "species"), 1, "is no condition"),
        (("find", "--kind", "cat"), 2, "'cat' is none of recording"),
        (("find", "--in", f"{MEMORY}@1"), 1, "only newest versions"),
        (("find", "--in", "nowhere"), 1, "nowhere"),
        (("annotate", f"{MEMORY}:new.bin"), 1, "nothing is to be changed"),
        (("annotate", f"{MEMORY}:new.bin", "--set", "depth"), 2, "is not NAME=VALUE"),
        (("annotate", f"{MEMORY}@1:big.bin", "--set", "x=1"), 1, "older version"),
        (("annotate", f"{MEMORY}@9:big.bin", "--set", "x=1"), 1, "no version 9"),
        (("annotate", f"{MEMORY}:none.bin", "--set", "x=1"), 1, "no artifact 'none.bin'"),
        (("annotate", str(MEMORY), "--set", "x=1"), 1, "names no artifact"),
        (("annotate", f"{MEMORY}:new.bin", "--set", "consent.duo=IRB"), 1, "exactly one permission"),
        (("annotate", f"{MEMORY}:new.bin", "--set", "consent.model_trainin=true"), 1, "write consent.model_training"),
        (("diff", f"{MEMORY}@1", f"{MEMORY}@9"), 1, "no version 9"),
        (("diff", f"{MEMORY}@1", MEMORY.vault), 1, "names no memory"),
        (("diff", f"{MEMORY}@1:big.bin", f"{MEMORY}@2"), 1, "two of a kind"),
    ],
)
def test_what_cannot_be_is_said_in_one_sentence(engram, args, status, sentence):
    result = engram(*args, status=status)
    assert sentence in result.stderr


def test_annotate_sets_and_removes_as_a_new_version(engram):
    first = engram("annotate", f"{MEMORY}:new.bin", "--set", "a=1", "--set", "b=true", "-m", "why").stdout.strip()
    assert first == f"{MEMORY}@3:new.bin"
    changed = json.loads(engram("annotate", first, "--set", 'c="7"', "--unset", "a", "--json").stdout)
    assert changed["metadata"] == {"b": True, "c": "7"}
    assert "why" in engram("log", str(MEMORY)).stdout


def test_show_says_how_much_a_version_shares_with_the_one_before(engram):
    assert "shared" not in engram("show", f"{MEMORY}@1").stdout
    (line,) = [line for line in engram("show", str(MEMORY)).stdout.splitlines() if line.startswith("shared")]
    assert "of 2.0 MiB with the version before" in line
    engram("annotate", f"{MEMORY}:new.bin", "--set", "a=1")
    assert "100.0 %" in engram("show", str(MEMORY)).stdout
