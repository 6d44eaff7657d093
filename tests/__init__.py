"""The tests; a package so that `conftest.py` can import `servers.py`."""
