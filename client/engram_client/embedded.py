"""The embedded door: the engine opened in this process, with no server to start. The only module of the client that imports it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from engram_client.archive import Archive
from engram_client.views import Views
from engram_format.identity import Identity
from engram_server import engine


class EmbeddedArchive(Views, engine.Archive):
    """The engine's archive with views of what is in it."""


def create_archive(url: str, *, keystore: str | None = None, identity: Identity) -> None:
    """Make an archive in a directory or at `s3://bucket/prefix`, sealed to an identity; raises `AlreadyExists`.

    The wrapped keys go to `keystore`, by default beside the archive: its URL with `.keys` appended.
    """
    engine.create_archive(url, keystore=keystore, identity=identity)


def open_embedded(url: str, *, keystore: str | None = None, identity: Identity) -> Archive:
    """Open an archive in a directory or at `s3://bucket/prefix`; raises `NotFound` or `Denied`."""
    return EmbeddedArchive(engine.open_repository(url, keystore=keystore, identity=identity))


def serve_archive(
    url: str,
    *,
    keystore: str | None = None,
    identity: Identity,
    host: str,
    port: int,
    tls_cert: Path | None = None,
    tls_key: Path | None = None,
    token_file: Path | None = None,
    allow_loops: bool,
    student_memory_bytes: int,
    memory_budget_bytes: int,
    sessions: int,
    minds_idle_s: float,
    ready: Callable[[int], None],
) -> None:
    """Serve an archive over gRPC until SIGTERM or SIGINT; `ready` is told the port when the service answers.

    What students may cost is told as in `engram_server.config.ServeConfig`. Raises `Precondition` where others could reach
    `host` without both TLS and a token.
    """
    from engram_server.config import ServeConfig
    from engram_server.rpc.serve import serve

    config = ServeConfig(
        host=host,
        port=port,
        tls_cert=tls_cert,
        tls_key=tls_key,
        token_file=token_file,
        allow_loops=allow_loops,
        student_memory_bytes=student_memory_bytes,
        memory_budget_bytes=memory_budget_bytes,
        sessions=sessions,
        minds_idle_s=minds_idle_s,
    )
    # The service closes the archive, after the calls in progress have ended.
    serve(config, engine.open_archive(url, keystore=keystore, identity=identity), ready=ready)
