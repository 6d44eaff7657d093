"""Durations as options take them: `5ms`, `120s`, `2min`, or a number of seconds; of bins, of milliseconds."""

from __future__ import annotations

import math
import re
from typing import Final

import click

_SECONDS: Final = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "": 1.0, "min": 60.0, "h": 3600.0}
_FORM: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*([a-z]*)")


class Duration(click.ParamType[float]):
    """A duration above zero, in seconds."""

    name = "duration"
    bare = ""
    """The unit of a number that has none."""

    def convert(self, value: str | float, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Read a number with a unit."""
        if isinstance(value, float):
            return value
        found = _FORM.fullmatch(str(value).strip())
        unit = (found[2] or self.bare) if found else self.bare
        seconds = float(found[1]) * _SECONDS[unit] if found and unit in _SECONDS else 0.0
        if not (math.isfinite(seconds) and seconds > 0):
            self.fail(f"{value!r} is no duration: write 5ms, 120s or 2min.", param, ctx)
        return round(seconds, 12)


class BinWidth(Duration):
    """The width of a bin, in seconds; a bare number counts milliseconds, for nobody means bins of 5 s by 5."""

    name = "bin width"
    bare = "ms"
