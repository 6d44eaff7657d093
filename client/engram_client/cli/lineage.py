"""What `engram show` tells of an artifact's lineage: what it was made from, and what was made from it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from engram_client.cli.output import Json, as_json, utc, warn, write_table
from engram_format.errors import EngramError

if TYPE_CHECKING:
    from engram_client.archive import Archive
    from engram_client.lineage import Lineage, Step
    from engram_format.catalog import Artifact


def told_lineage(archive: Archive, artifact: Artifact, *, everywhere: bool) -> Lineage | None:
    """Return the lineage; `None`, with a warning, where it cannot be followed: the artifact is shown all the same."""
    from engram_client.lineage import lineage_of

    try:
        return lineage_of(archive, artifact, everywhere=everywhere)
    except EngramError as error:
        warn(f"the lineage of {artifact.address} is not shown: {error}")
        return None


def write_lineage(artifact: Artifact, lineage: Lineage | None) -> None:
    """Write the lineage from the furthest origin to the last result; nothing where the artifact stands alone."""
    if lineage is None or not (lineage.made_from or lineage.led_to):
        return
    click.echo()
    rows = [
        *(_row(-step.distance, step) for step in sorted(lineage.made_from, key=lambda step: -step.distance)),
        ("this", str(artifact.kind), str(artifact.address), utc(artifact.time_ns), artifact.sha256[:12]),
        *(_row(step.distance, step) for step in lineage.led_to),
    ]
    write_table(("LINEAGE", "KIND", "ARTIFACT", "CHANGED", "SHA-256"), rows)
    if lineage.searched:
        click.echo(
            f"What was made from it was looked for in the newest version of {lineage.searched}: --everywhere looks in all."
        )
    if not lineage.is_whole:
        click.echo("There is more than is shown here.")


def lineage_json(lineage: Lineage | None) -> dict[str, Json]:
    """Return the lineage as part of a JSON document; nothing where it could not be followed."""
    if lineage is None:
        return {}
    told: dict[str, Json] = {
        "made_from": [_json(step) for step in lineage.made_from],
        "led_to": [_json(step) for step in lineage.led_to],
        "searched": lineage.searched or None,
        "is_whole": lineage.is_whole,
    }
    return {"lineage": told}


def _row(place: int, step: Step) -> tuple[str, ...]:
    found = step.artifact
    if found is None:
        return f"{place:+}", "-", f"sha256:{step.sha256}, which you cannot read here", "-", step.sha256[:12]
    return f"{place:+}", str(found.kind), str(found.address), utc(found.time_ns), step.sha256[:12]


def _json(step: Step) -> dict[str, Json]:
    found = step.artifact
    return {
        "distance": step.distance,
        "sha256": step.sha256,
        "address": None if found is None else str(found.address),
        "kind": None if found is None else str(found.kind),
        "made_from": [] if found is None else as_json(found.made_from),
    }
