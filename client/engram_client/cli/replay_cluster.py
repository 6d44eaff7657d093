"""`engram replay --engine ray`: a batch of replays, spread over a cluster, each kept in the archive."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from engram_client.cli.errors import FAILED
from engram_client.cli.output import printable, write_json
from engram_format.address import Address, ContentAddress, parse_any
from engram_format.errors import InvalidInput, NotFound

if TYPE_CHECKING:
    from collections.abc import Sequence

    from engram_client.cli.settings import Settings
    from engram_client.cluster import ClusterReplay


def replay_on_cluster(
    ctx: click.Context,
    settings: Settings,
    student: str,
    stimuli: Sequence[str],
    *,
    save_to: Address,
    author: str,
    cluster: str | None,
    as_json: bool,
) -> None:
    """Replay a student over each stimulus on the workers of a cluster, and print where each replay is kept.

    What fails is told when the others are done; the exit status is then 1.
    """
    from engram_client.cluster import LOCAL, Place, replay_on_ray

    for address in (student, *stimuli):
        _check(address)
    if settings.passphrase_file is None and settings.passphrase() is not None:
        raise InvalidInput(
            "workers cannot ask for a passphrase: name a file with it that is on every node, by --passphrase-file"
        )
    place = Place(
        url=settings.url,
        identity=settings.identity_path.absolute(),
        keystore=settings.keystore,
        passphrase_file=settings.passphrase_file,
        token_file=settings.token_file,
        ca_file=settings.ca_file,
    )
    done: list[ClusterReplay] = []
    for one in replay_on_ray(place, student, stimuli, save_to=save_to, author=author, cluster=cluster or LOCAL):
        done.append(one)
        if not as_json:
            click.echo(printable(one.saved or f"failed  {one.stimulus}: {one.failure}"), err=not one.saved)
            click.echo(f"replayed {len(done)} of {len(stimuli)}", err=True)
    if as_json:
        write_json({"replays": done})
    if any(not one.saved for one in done):
        ctx.exit(FAILED)


def _check(text: str) -> None:
    """Refuse what no other machine can find."""
    if Path(text).exists():
        raise InvalidInput(f"{text} is a file of this machine: deposit it, and name it as vault/memory:path")
    address = parse_any(text)
    if not isinstance(address, ContentAddress) and address.path is None:
        raise NotFound(f"{text!r} is no artifact: on a cluster, student and stimuli are addresses, vault/memory:path")
