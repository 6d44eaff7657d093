"""The Python client: `open(url)` returns an `Archive`."""

from engram_client.opening import open  # noqa: A004 - `engram_client.open(url)` reads as what it does

__all__ = ["open"]
