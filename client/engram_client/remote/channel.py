"""The connection to a service: what its URL means, and how it is opened."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import grpc

from engram_format.errors import InvalidInput, Precondition

MAX_MESSAGE: Final = 64 << 20
"""Bytes of one message."""
_WINDOW: Final = 4 << 20
"""Bytes of a stream that may be on the way to a reader who does not take them."""

_OPTIONS: Final = (
    ("grpc.max_receive_message_length", MAX_MESSAGE),
    ("grpc.max_send_message_length", MAX_MESSAGE),
    # A window that does not grow with the delays of a busy machine: what a slow reader makes others hold is bounded.
    ("grpc.http2.bdp_probe", 0),
    ("grpc.http2.lookahead_bytes", _WINDOW),
    # A service that vanished without a word is noticed within 50 s, also in the middle of a long call.
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    ("grpc.http2.max_pings_without_data", 0),
    # A service that was restarted is found again soon.
    ("grpc.max_reconnect_backoff_ms", 5_000),
    # Every archive has its own connection: closing one or losing one does not touch another.
    ("grpc.use_local_subchannel_pool", 1),
)

_NO_SERVICE = "this is no address of a service: write grpc://HOST:PORT or grpcs://HOST:PORT, without user or password"

Credentials = tuple[tuple[str, str | bytes], ...]
"""Metadata that goes with every call."""


@dataclass(frozen=True, slots=True)
class ServiceUrl:
    """Where a service is: `grpc://host:port` in the clear, `grpcs://host:port` over TLS."""

    host: str
    port: int
    tls: bool

    @classmethod
    def parse(cls, text: str) -> ServiceUrl:
        """Read a URL with a scheme, a host and a port, and nothing else."""
        try:
            parts = urlsplit(text)
            host, port = parts.hostname, parts.port
        except ValueError as error:
            raise InvalidInput(_NO_SERVICE) from error
        extra = parts.username or parts.password or parts.path.strip("/") or parts.query or parts.fragment
        if parts.scheme not in ("grpc", "grpcs") or not host or not port or extra:
            raise InvalidInput(_NO_SERVICE)
        return cls(host=host, port=port, tls=parts.scheme == "grpcs")

    @property
    def is_local(self) -> bool:
        """Whether the service runs on this machine."""
        if self.host == "localhost":
            return True
        try:
            return ip_address(self.host).is_loopback
        except ValueError:
            return False

    @property
    def target(self) -> str:
        """The address as gRPC dials it."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def open_channel(url: ServiceUrl, *, ca_file: Path | None) -> grpc.Channel:
    """Return a channel, which connects at the first call; raises `Precondition` if the CA file cannot be read."""
    # A proxy between a program and itself is never meant.
    options = (*_OPTIONS, ("grpc.enable_http_proxy", 0)) if url.is_local else _OPTIONS
    if not url.tls:
        if ca_file is not None:
            raise InvalidInput(f"a CA file is of no use without TLS: write grpcs://{url.target}")
        return grpc.insecure_channel(url.target, options)
    try:
        roots = None if ca_file is None else ca_file.read_bytes()
    except OSError as error:
        raise Precondition(f"the CA file {ca_file} cannot be read: name a PEM file that you may read") from error
    return grpc.secure_channel(url.target, grpc.ssl_channel_credentials(roots), options)


def credentials(url: ServiceUrl, token: str | None) -> Credentials:
    """Return the metadata that shows a token; raises `Precondition` rather than show it to a network in the clear."""
    if token is None:
        return ()
    if not token.isascii() or not token.isprintable() or not token or " " in token:
        raise InvalidInput("the token is not one word of ASCII characters: copy it from the service's token file")
    if not url.tls and not url.is_local:
        raise Precondition(f"a token would cross the network in the clear: write grpcs://{url.target}")
    return (("authorization", f"Bearer {token}"),)
