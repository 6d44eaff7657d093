"""Servers that tests share; each starts when a test first asks for it and ends with the session."""

from __future__ import annotations

import os

import pytest

from engram_store.location import open_location

from .servers import running_moto, running_rclone, running_seaweedfs


@pytest.fixture(scope="session")
def seaweedfs(tmp_path_factory):
    with running_seaweedfs(tmp_path_factory.mktemp("seaweedfs")) as server:
        yield server


@pytest.fixture(scope="session")
def moto_s3(tmp_path_factory):
    with running_moto(tmp_path_factory.mktemp("moto")) as server:
        yield server


@pytest.fixture(scope="session")
def rclone_s3(tmp_path_factory):
    with running_rclone(tmp_path_factory.mktemp("rclone")) as server:
        yield server


@pytest.fixture
def use_settings(monkeypatch):
    """Replace the AWS settings of this process by those given, such as a server's `environment`."""

    def use(environment):
        for name in list(os.environ):
            if name.startswith("AWS_") or name == "ENGRAM_S3_ENDPOINT_URL":
                monkeypatch.delenv(name)
        for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
            monkeypatch.setenv(name, os.devnull)
        for name, value in environment.items():
            monkeypatch.setenv(name, value)

    return use


@pytest.fixture
def open_at(use_settings):
    """Open a fresh prefix in a server's bucket, as Engram does."""

    def open_there(server):
        use_settings(server.environment)
        return open_location(server.location())

    return open_there
