"""Servers that tests share; each starts when a test first asks for it and ends with the session."""

from __future__ import annotations

import pytest

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
