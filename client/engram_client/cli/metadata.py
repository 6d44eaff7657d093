"""Metadata as they are written on the command line: `NAME=VALUE`."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import TYPE_CHECKING

import click

from engram_format.errors import InvalidInput

if TYPE_CHECKING:
    from engram_format.catalog import Scalar


def read_metadata(told: Iterable[str], *, option: str) -> dict[str, Scalar]:
    """Read `NAME=VALUE`: numbers, `true` and `false` as JSON has them, a JSON string in quotes, anything else as text."""
    metadata: dict[str, Scalar] = {}
    for item in told:
        name, equals, text = item.partition("=")
        if not name or not equals:
            raise click.BadParameter(f"{item!r} is not NAME=VALUE.", param_hint=option)
        if name in metadata:
            raise InvalidInput(f"metadata {name!r} is given twice: give it once")
        metadata[name] = _scalar(text)
    return metadata


def _scalar(text: str) -> Scalar:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return text
    return value if isinstance(value, str | int | float | bool) else text
