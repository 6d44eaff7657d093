"""The option `--sample [SEED]` of `engram replay`: from which seed counts and events are drawn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import click

from engram_format.errors import InvalidInput

if TYPE_CHECKING:
    from engram_client.archive import Archive
    from engram_format.address import AnyAddress

OPTION: Final = "--sample"
_CONTRACT: Final = "contract"
"""Stands for a seed that is not given."""


def read_sample(_: click.Context, param: click.Parameter, text: str | None) -> str | None:
    """Check what the option was given: digits, or the word for the contract's seed."""
    if text in (None, _CONTRACT) or (text.isascii() and text.isdigit() and len(text) < 20 and int(text) < 1 << 63):
        return text
    raise click.BadParameter(
        f"{text!r} is no seed: give an integer from 0 to 2^63 - 1, or none for the contract's.", param=param
    )


def with_seed(args: Sequence[str]) -> list[str]:
    """Return the arguments with a word after each `--sample` that no seed follows, so that it takes no address for one."""
    told: list[str] = []
    for number, argument in enumerate(args):
        if argument == "--":
            return [*told, *args[number:]]
        bare = argument == OPTION and not (number + 1 < len(args) and args[number + 1].isdigit())
        told.append(f"{OPTION}={_CONTRACT}" if bare else argument)
    return told


def seed_of(archive: Archive, student: AnyAddress, sample: str | None) -> int | None:
    """Return the seed that was given, else the one in the student's contract; raises `InvalidInput` where there is none."""
    if sample != _CONTRACT:
        return None if sample is None else int(sample)
    kept = archive.artifact(student).metadata.get("contract.seed")
    if type(kept) is not int:
        raise InvalidInput(f"the contract of {student} has no seed: give one, as {OPTION} 1")
    return kept
