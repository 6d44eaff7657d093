"""`engram serve`: an archive for others, over gRPC."""

from __future__ import annotations

import logging
from pathlib import Path

import click

from engram_client.cli.settings import Settings, storage_options
from engram_client.cli.sizes import read_size
from engram_client.opening import is_remote
from engram_format.errors import InvalidInput


@click.command(short_help="Serve an archive over gRPC.")
@storage_options
@click.option(
    "--listen",
    default="127.0.0.1:8743",
    show_default=True,
    metavar="HOST:PORT",
    help="Where to listen; port 0 takes any free one. Others than this machine need TLS and a token.",
)
@click.option("--tls-cert", type=click.Path(path_type=Path), metavar="FILE", help="Certificate chain, PEM.")
@click.option("--tls-key", type=click.Path(path_type=Path), metavar="FILE", help="Private key of the certificate, PEM.")
@click.option(
    "--token-file", type=click.Path(path_type=Path), metavar="FILE", help="Bearer token that clients must show."
)
@click.option("--allow-loops", is_flag=True, help="Replay students with Loop or Scan: for those from trusted hands.")
@click.option(
    "--student-memory",
    default="2GiB",
    show_default=True,
    metavar="SIZE",
    callback=read_size,
    help="Memory that the process of one student may take.",
)
@click.option(
    "--memory-budget",
    default="4GiB",
    show_default=True,
    metavar="SIZE",
    callback=read_size,
    help="Memory of all students together; those that nobody uses are let go of first.",
)
@click.option(
    "--sessions",
    type=click.IntRange(min=1),
    default=4096,
    show_default=True,
    metavar="N",
    help="Sessions of minds at once; more are refused.",
)
@click.option(
    "--idle",
    type=click.FloatRange(min=0, min_open=True),
    default=600,
    show_default=True,
    metavar="SECONDS",
    help="How long minds may be left alone before they are let go of.",
)
@click.pass_obj
def serve(
    settings: Settings,
    *,
    listen: str,
    tls_cert: Path | None,
    tls_key: Path | None,
    token_file: Path | None,
    allow_loops: bool,
    student_memory: int,
    memory_budget: int,
    sessions: int,
    idle: float,
) -> None:
    """Serve the archive over gRPC until SIGTERM or Ctrl-C; calls in progress may then finish.

    Prints one line when it is ready: listening on grpc://HOST:PORT.
    """
    from engram_client.embedded import serve_archive
    from engram_store.identity import load_identity

    url = settings.url
    if is_remote(url):
        raise InvalidInput(f"{url} is a service already: name the folder or the s3://bucket/prefix of the archive")
    host, port = _host_and_port(listen)
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("engram_server").setLevel(logging.INFO)
    scheme = "grpcs" if tls_cert else "grpc"
    shown = f"[{host}]" if ":" in host else host
    serve_archive(
        url,
        keystore=settings.keystore,
        identity=load_identity(settings.identity_path, passphrase=settings.passphrase()),
        host=host,
        port=port,
        tls_cert=tls_cert,
        tls_key=tls_key,
        token_file=token_file or settings.token_file,
        allow_loops=allow_loops,
        student_memory_bytes=student_memory,
        memory_budget_bytes=memory_budget,
        sessions=sessions,
        minds_idle_s=idle,
        ready=lambda bound: click.echo(f"listening on {scheme}://{shown}:{bound}"),
    )


def _host_and_port(listen: str) -> tuple[str, int]:
    host, colon, port = listen.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not colon or not host or not port.isascii() or not port.isdigit():
        raise click.BadParameter(f"{listen!r} is not HOST:PORT.", param_hint="--listen")
    return host, int(port)
