"""The Python client: `open(url)` returns an `Archive`."""
