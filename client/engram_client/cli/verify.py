"""`engram verify`: whether everything that was deposited is still there, and exact."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from engram_client.cli.errors import FAILED
from engram_client.cli.output import human_size, printable, write_json
from engram_client.cli.settings import Settings, archive_options
from engram_format.address import Address

if TYPE_CHECKING:
    from engram_format.catalog import Finding

_EVERY_S = 10.0
"""How often a line of progress is written where there is no terminal."""


@dataclass(slots=True)
class _Count:
    sound: int = 0
    repairable: int = 0
    lost: int = 0
    size: int = 0

    def take(self, finding: Finding) -> None:
        name = str(finding.result)
        setattr(self, name, getattr(self, name) + 1)
        self.size += finding.size

    @property
    def all_sound(self) -> bool:
        return not self.repairable and not self.lost

    def __str__(self) -> str:
        return f"{self.sound} sound, {self.repairable} repairable, {self.lost} lost; {human_size(self.size)} checked"


@click.command(short_help="Check that everything is exact.")
@click.argument("address", required=False)
@click.option("--quick", is_flag=True, help="Check only the public hashes of the stored objects; decrypt nothing.")
@archive_options
@click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON document with the counts and all that is not sound."
)
@click.pass_context
def verify(ctx: click.Context, *, address: str | None, quick: bool, as_json: bool) -> None:
    """Read back all that ADDRESS, or the whole archive, stands on, and compare it with what was deposited.

    Prints what is not sound and a summary; the exit status is 0 only if everything is sound.
    """
    settings: Settings = ctx.obj
    scope = None if address is None else Address.parse(address)
    count, unsound = _Count(), []
    with settings.open() as archive, _showing() as show:
        for finding in archive.verify(scope, read_data=not quick):
            count.take(finding)
            show(str(count))
            if str(finding.result) == "sound":
                continue
            unsound.append(finding)
            if not as_json:
                click.echo(printable(f"{finding.result}  {finding.subject}  {finding.detail}").rstrip())
    if as_json:
        counts = {"sound": count.sound, "repairable": count.repairable, "lost": count.lost, "bytes": count.size}
        write_json({**counts, "findings": unsound})
    else:
        click.echo(str(count))
    if not count.all_sound:
        ctx.exit(FAILED)


@contextmanager
def _showing() -> Iterator[Callable[[str], None]]:
    """Yield what shows how far the verification is: one line that changes on a terminal, a line now and then elsewhere."""
    if sys.stderr.isatty():
        from rich.console import Console

        with Console(stderr=True).status("verifying") as status:
            yield lambda text: status.update(f"verifying: {text}")
        return
    said = time.monotonic()

    def say(text: str) -> None:
        nonlocal said
        now = time.monotonic()
        if now - said >= _EVERY_S:
            said = now
            click.echo(f"verifying: {text}", err=True)

    yield say
