"""How a service listens: the values of `engram serve`, checked before anything is opened."""

from __future__ import annotations

import ipaddress
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from engram_format.errors import InvalidInput, Precondition
from engram_replay import HostLimits

DEFAULT_PORT = 8743
_LEAST_BYTES: Final = 64 << 20
"""No student could be loaded in less."""


@dataclass(frozen=True, slots=True)
class ServeConfig:
    """Where a service listens, whom it trusts, and its bounds.

    Raises `InvalidInput` for values that cannot be right, and `Precondition` for an address that others can reach without
    both TLS and a token: recordings of living people never cross a network in the clear or unasked.
    """

    host: str = "127.0.0.1"
    port: int = DEFAULT_PORT
    """0 takes any free port, which `ready` then tells."""
    tls_cert: Path | None = None
    """PEM file with the certificate chain."""
    tls_key: Path | None = None
    """PEM file with the certificate's private key."""
    token_file: Path | None = None
    """File with the bearer token that every call must show."""
    grace_s: float = 30.0
    """How long calls in progress may go on when the service is told to stop."""
    workers: int = 16
    """Threads that run the engine."""
    calls: int = 64
    """Calls served at once; more are told to wait and retry."""
    streams: int = 1024
    """Streams of minds served at once, which last for long and are counted on their own; more are refused."""
    minds_idle_s: float = 600.0
    """How long minds may be left alone, or their answer unread, before they are let go of."""
    inline_bytes: int = 64 << 20
    """Bytes of a stimulus taken inline, for each replay."""
    allow_loops: bool = False
    """Replay students that hold `Loop` or `Scan`: for students from trusted hands, since only the deadline bounds those."""
    student_memory_bytes: int = 2 << 30
    """Memory that the process of one student may take."""
    memory_budget_bytes: int = 4 << 30
    """Memory of all students together; those that nobody uses are let go of first."""
    sessions: int = 4096
    """Sessions of minds at once; more are refused."""
    sequences: int = 1024
    """Sequences of the Open Inference Protocol that have begun and not ended; more are refused."""

    def __post_init__(self) -> None:
        if not 0 <= self.port <= 65535:
            raise InvalidInput(f"port {self.port} does not exist: choose 1 to 65535, or 0 for any free one")
        for name in ("workers", "calls", "streams", "inline_bytes", "sessions", "sequences"):
            if getattr(self, name) < 1:
                raise InvalidInput(f"{name} of a service is {getattr(self, name)}: give at least 1")
        for what, size in (("one student", self.student_memory_bytes), ("all students", self.memory_budget_bytes)):
            if size < _LEAST_BYTES:
                raise InvalidInput(
                    f"the memory of {what} is {size} bytes, too little for any: give at least {_LEAST_BYTES >> 20}MiB"
                )
        if not 0 < self.minds_idle_s < math.inf:
            raise InvalidInput(f"minds may be left alone for {self.minds_idle_s} s: give more than 0")
        if not self.grace_s >= 0:
            raise InvalidInput(f"the grace period is {self.grace_s} s: give 0 or more")
        if (self.tls_cert is None) != (self.tls_key is None):
            raise InvalidInput("TLS needs a certificate and its key: give both files or neither")
        if not self.is_local and (self.tls_cert is None or self.token_file is None):
            raise Precondition(
                f"{self.host} can be reached by other machines: give a TLS certificate, its key and a token file, "
                "or listen on 127.0.0.1"
            )

    @property
    def is_local(self) -> bool:
        """Whether only programs on this machine can reach the address; a name other than localhost counts as not."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host.strip("[]")).is_loopback
        except ValueError:
            return False

    @property
    def students(self) -> HostLimits:
        """What students may cost."""
        return HostLimits(
            memory_bytes=self.student_memory_bytes,
            budget_bytes=self.memory_budget_bytes,
            sessions=self.sessions,
            idle_s=self.minds_idle_s,
            allow_loops=self.allow_loops,
        )

    @property
    def target(self) -> str:
        """The address as gRPC binds it."""
        host = self.host.strip("[]")
        return f"[{host}]:{self.port}" if ":" in host else f"{host}:{self.port}"
