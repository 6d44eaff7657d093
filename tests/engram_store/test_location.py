"""Where archives are, as people write it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from engram_format.errors import InvalidInput
from engram_store.location import keystore_location, open_location


@pytest.mark.parametrize(
    "write", [str, lambda path: path.as_uri(), lambda path: f"{path}/", lambda path: f"file://localhost{path}"]
)
def test_a_folder_is_a_path_or_a_file_url(tmp_path, write):
    folder = tmp_path / "archive"
    open_location(write(folder)).put_if_absent("a", b"value")
    assert (folder / "a").read_bytes() == b"value"


def test_a_file_url_may_quote_what_a_path_may_hold(tmp_path):
    folder = tmp_path / "a b%c#d?é"
    assert open_location(folder.as_uri()).url == str(folder)


def test_a_relative_path_stays_where_it_was_opened(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    backend = open_location("archive")
    monkeypatch.chdir("/")
    backend.put_if_absent("a", b"value")
    assert (tmp_path / "archive" / "a").exists()


@pytest.mark.parametrize(
    "url",
    [
        "",
        "a\0b",
        "http://host/archive",
        "gs://bucket/prefix",
        "S3://bucket/prefix",
        "file://host/archive",
        "file:///a?b",
        "file://relative",
        "file://",
        "s3://",
        "s3:///prefix",
        "s3://b/prefix",
        "s3://bucket/../other",
        "s3://bucket//prefix",
        "s3://bucket/.hidden",
        "s3://bucket/é",
        "s3://bucket?versionId=1",
    ],
)
def test_any_other_text_is_refused(url):
    with pytest.raises(InvalidInput):
        open_location(url)
    with pytest.raises(InvalidInput):
        keystore_location(url)


def test_credentials_in_a_url_are_refused_and_not_repeated():
    for read in (open_location, keystore_location):
        with pytest.raises(InvalidInput) as caught:
            read("s3://key:topsecret@bucket/prefix")
        assert "topsecret" not in str(caught.value)


@pytest.mark.parametrize(
    ("archive", "keystore"),
    [
        ("/data/archive", "/data/archive.keys"),
        ("/data/archive///", "/data/archive.keys"),
        ("/data/archive/.", "/data/archive.keys"),
        ("archive", "archive.keys"),
        ("./a/archive.v2/", "a/archive.v2.keys"),
        ("file:///data/archive/", "file:///data/archive.keys"),
        ("file:///data/a%20b", "file:///data/a%20b.keys"),
        ("s3://bucket/archive", "s3://bucket/archive.keys"),
        ("s3://bucket/lab/archive//", "s3://bucket/lab/archive.keys"),
    ],
)
def test_a_keystore_lies_beside_its_archive(archive, keystore):
    assert keystore_location(archive) == keystore


def test_a_folder_named_by_dots_has_its_keystore_beside_it(tmp_path, monkeypatch):
    inner = tmp_path / "outer" / "inner"
    inner.mkdir(parents=True)
    monkeypatch.chdir(inner)
    assert keystore_location(".") == f"{inner}.keys"
    assert keystore_location("..") == f"{inner.parent}.keys"
    assert keystore_location(f"{inner}/..") == f"{inner.parent}.keys"
    assert keystore_location(f"file://{inner}/..") == f"file://{inner.parent}.keys"


@pytest.mark.parametrize("archive", ["s3://bucket", "s3://bucket/", "/", "file:///"])
def test_an_archive_that_nothing_can_lie_beside_needs_a_named_keystore(archive):
    with pytest.raises(InvalidInput, match="keystore"):
        keystore_location(archive)


def test_an_s3_location_is_its_bucket_and_prefix(monkeypatch):
    monkeypatch.setenv("AWS_CONFIG_FILE", os.devnull)
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    assert open_location("s3://bucket/lab/archive/").url == "s3://bucket/lab/archive"
    assert open_location("s3://bucket").url == "s3://bucket"


def test_a_folder_is_opened_without_loading_boto3(tmp_path):
    script = "import sys; from engram_store.location import open_location as o; o(sys.argv[1]); print('boto3' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script, tmp_path], check=True, capture_output=True, text=True)
    assert done.stdout == "False\n"


def test_a_location_is_the_same_after_the_working_folder_changed(tmp_path):
    assert Path(open_location(str(tmp_path)).url).is_absolute()
