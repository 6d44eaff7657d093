"""What `engram show` tells of an artifact: its metadata and, of a recording, its series and tables."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Final

import click

from engram_client.cli.contract import plain_metadata, write_student
from engram_client.cli.lineage import lineage_json, told_lineage, write_lineage
from engram_client.cli.output import Json, as_json_map, human_size, utc, write_fields, write_json, write_table
from engram_client.cli.output import as_json as told_as_json
from engram_format.errors import InvalidInput, Precondition

if TYPE_CHECKING:
    from engram_client.archive import Archive
    from engram_format.catalog import Artifact, Recording
    from engram_format.series import Column, SeriesInfo, Table

_SHOWN_ROWS: Final = 8
"""Rows of a table that are written; `--json` has all."""


def show_artifact(archive: Archive, artifact: Artifact, *, everywhere: bool, as_json: bool) -> None:
    """Write all that is known of an artifact; what was made from it is looked for in its memory, or `everywhere`."""
    recording = _recording(archive, artifact)
    lineage = told_lineage(archive, artifact, everywhere=everywhere)
    if as_json:
        write_json(_json(artifact, recording) | lineage_json(lineage))
        return
    write_fields(artifact_fields(artifact))
    if allowed := _consent_fields(artifact):
        click.echo()
        write_fields(allowed)
    write_student(artifact.metadata)
    from engram_format.catalog import Kind

    if artifact.kind is Kind.CERTIFICATE:
        click.echo()
        write_fields(
            [("claimed", f"by whoever deposited it; computed again by: engram certify --check {artifact.address}")]
        )
    write_lineage(artifact, lineage)
    if recording is not None:
        click.echo()
        write_fields([("format", recording.family), ("series", str(len(recording.series)))])
        if recording.series:
            click.echo()
            write_series(recording.series)
        for name, table in recording.tables.items():
            click.echo()
            _write_rows(name, table)


def artifact_fields(artifact: Artifact) -> list[tuple[str, str]]:
    """Return all that is known of an artifact, for people."""
    return [
        ("artifact", str(artifact.address)),
        ("kind", str(artifact.kind)),
        ("size", f"{artifact.size} bytes ({human_size(artifact.size)})"),
        ("sha256", artifact.sha256),
        ("changed", utc(artifact.time_ns)),
        ("stored", f"{artifact.stored_size} bytes ({human_size(artifact.stored_size)}) in {artifact.frames} frames"),
        *(("made from", f"sha256:{digest}") for digest in artifact.made_from),
        *((name, str(value)) for name, value in sorted(plain_metadata(artifact.metadata).items())),
    ]


def write_series(series: Iterable[SeriesInfo]) -> None:
    """Write a table of series."""
    headers = ("SERIES", "SHAPE", "TYPE", "RATE", "UNIT", "DURATION", "ROLE", "WITH")
    write_table(headers, map(_series_row, series), right=frozenset({"RATE", "DURATION"}))


def _consent_fields(artifact: Artifact) -> list[tuple[str, str]]:
    """Return what may be done with a recording, and with anything else of which it is said."""
    from engram_format.consent import Consent, consent_lines

    if not _consent_matters(artifact):
        return []
    try:
        return consent_lines(Consent.of(artifact.metadata))
    except InvalidInput as error:
        return [("may be used for", _not_understood(error))]


def _consent_json(artifact: Artifact) -> dict[str, Json]:
    """Return the same for programs, as part of a JSON document: what follows from consent, each as yes or no."""
    from engram_format.consent import Consent, consent_lines

    if not _consent_matters(artifact):
        return {}
    try:
        consent = Consent.of(artifact.metadata)
    except InvalidInput as error:
        denied: dict[str, Json] = dict.fromkeys(
            ("allows_use", "allows_model_training", "allows_reidentification"), False
        )
        return {"consent": {**denied, "codes": [], "disease": "", "says": {"may be used for": _not_understood(error)}}}
    told: dict[str, Json] = {
        "allows_use": consent.allows_use,
        "allows_model_training": consent.allows_model_training,
        "allows_reidentification": consent.allows_reidentification,
        "codes": [code.duo for code in consent.codes],
        "disease": consent.disease,
        "says": dict(consent_lines(consent)),
    }
    return {"consent": told}


def _consent_matters(artifact: Artifact) -> bool:
    from engram_format.catalog import Kind

    return artifact.kind is Kind.RECORDING or any(name.startswith("consent.") for name in artifact.metadata)


def _not_understood(error: InvalidInput) -> str:
    """Say what follows from a statement of a program that knows others."""
    return f"nothing: what is said of consent is not understood ({error})"


def _recording(archive: Archive, artifact: Artifact) -> Recording | None:
    try:
        return archive.recording(artifact.address)
    except Precondition:
        return None  # kept as plain bytes


def _json(artifact: Artifact, recording: Recording | None) -> dict[str, Json]:
    told = as_json_map(artifact) | _consent_json(artifact)
    if recording is None:
        return told
    tables = {name: dict(table.columns) for name, table in recording.tables.items()}
    held = {"family": recording.family, "series": list(recording.series), "tables": tables}
    return {**told, "recording": told_as_json(held)}


def _series_row(info: SeriesInfo) -> tuple[str, ...]:
    rate = f"{info.sampling_rate:.9g} Hz" if info.sampling_rate else "by timestamps" if info.timestamps else "-"
    duration = f"{info.samples / info.sampling_rate:.9g} s" if info.sampling_rate else "-"
    shape = " x ".join(map(str, info.view_shape)) or "1"
    return (
        info.name,
        shape,
        info.dtype[1:],
        rate,
        info.unit or "-",
        duration,
        info.role or "-",
        info.pairs_with,
    )


def _write_rows(name: str, table: Table) -> None:
    click.echo(f"{name.upper()}: {table.rows} row{'' if table.rows == 1 else 's'}")
    if table.columns:
        rows = itertools.islice(_rows(table), _SHOWN_ROWS)
        write_table(list(table.columns), rows)
    if table.rows > _SHOWN_ROWS:
        click.echo(f"and {table.rows - _SHOWN_ROWS} more, which --json shows")


def _rows(table: Table) -> Iterator[list[str]]:
    return (list(row) for row in zip(*map(_cells, table.columns.values()), strict=True))


def _cells(column: Column) -> Iterator[str]:
    return (value if isinstance(value, str) else f"{value:.9g}" for value in column)
