"""The client of the service: `connect(url)` returns an `Archive` over gRPC."""

from engram_client.remote.archive import RemoteArchive, connect
from engram_client.remote.deposit import RemoteDeposit

__all__ = ["RemoteArchive", "RemoteDeposit", "connect"]
