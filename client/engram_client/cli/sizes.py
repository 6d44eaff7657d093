"""Sizes as people write them: `2GiB`, `512 MiB`, `1.5G`, or a count of bytes."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Final

import click

_UNITS: Final = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
_SIZE: Final = re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,6})?) ?(?:([KMGT])(?:iB)?|B)?", re.IGNORECASE)


def read_size(_: click.Context, param: click.Parameter, text: str) -> int:
    """Return the bytes that an option was given; letters stand for powers of 1024."""
    found = _SIZE.fullmatch(text)
    if found is None or ("." in found[1] and found[2] is None):
        raise click.BadParameter(f"{text!r} is no size: write it as 512MiB or 2GiB.", param=param)
    return int(Decimal(found[1]) * _UNITS[(found[2] or "").upper()])
