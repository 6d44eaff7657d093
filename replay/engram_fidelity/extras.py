"""Libraries that need not be installed: imported where they are used, and named with their extra where they are missing."""

from __future__ import annotations

import importlib
from types import ModuleType

from engram_format.errors import Precondition


def need(module: str, extra: str) -> ModuleType:
    """Import `module`; raises `Precondition` that says how to install the extra it comes with."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise Precondition(
            f"this needs {module.partition('.')[0]}, which is not installed: pip install 'engram[{extra}]'"
        ) from error
