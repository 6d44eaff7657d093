"""The three doors, each with a vault of its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest

import engram_client
from engram_client.archive import Archive
from engram_client.embedded import create_archive
from engram_server.config import ServeConfig
from engram_server.engine import open_archive
from engram_server.rpc.serve import serving
from engram_store.identity import new_identity, save_identity


@dataclass(frozen=True)
class Door:
    """A way into an archive."""

    kind: str
    url: str
    open: Callable[[], Archive]


@pytest.fixture(scope="module", params=["directory", "s3", "grpc"])
def door(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    identity = new_identity()
    save_identity(folder / "identity.txt", identity)
    url = str(folder / "archive")
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "s3":
            server = request.getfixturevalue("seaweedfs")
            for name, value in server.environment.items():
                patch.setenv(name, value)
            url = server.location()
        create_archive(url, identity=identity)
        if request.param == "grpc":
            with serving(ServeConfig(port=0), open_archive(url, identity=identity)) as port:
                service = f"grpc://127.0.0.1:{port}"
                yield Door("grpc", service, lambda: engram_client.open(service))
        else:
            yield Door(request.param, url, lambda: engram_client.open(url, identity=folder / "identity.txt"))


@pytest.fixture(scope="module")
def archive(door):
    with door.open() as opened:
        opened.create_vault("lab")
        yield opened
