"""Libraries that only some tasks need: taken when they are needed, and named with their extra where they are not there."""

from __future__ import annotations

import importlib
from types import ModuleType

from engram_format.errors import Precondition


def need(module: str, extra: str) -> ModuleType:
    """Import `module`; raises `Precondition` naming the extra of Engram that brings it, such as `distill` for torch."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        package = module.partition(".")[0]
        if (error.name or "").partition(".")[0] != package:
            raise
        hint = ", or 'make distill' in the project's folder" if extra == "distill" else ""
        raise Precondition(
            f"this needs the package {package!r}: install it with pip install 'engram[{extra}]'{hint}"
        ) from error
