"""DANDI's critical fields, as sentences that say what to add (dandi-schema 0.7.0, nwbinspector's `dandi` configuration)."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from engram_format.catalog import Metadata

_SPECIES: Final = re.compile(r"[A-Z][a-z]+ [a-z]+(?: [a-z]+)?|http://purl\.obolibrary\.org/obo/NCBITaxon_\d+/?")
_DURATION: Final = re.compile(
    r"P(?=[\dT])(?:\d+(?:\.\d+)?Y)?(?:\d+(?:\.\d+)?M)?(?:\d+(?:\.\d+)?W)?(?:\d+(?:\.\d+)?D)?"
    r"(?:T(?=\d)(?:\d+(?:\.\d+)?H)?(?:\d+(?:\.\d+)?M)?(?:\d+(?:\.\d+)?S)?)?"
)
_START: Final = re.compile(r"\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}(?::\d{2}(?:\.\d+)?)?(?:Z|[+-]\d{2}:?\d{2})?")


def missing_fields(metadata: Metadata) -> tuple[str, ...]:
    """Return one sentence for each field that DANDI demands and that is missing or of another form."""
    checks = (
        _check(metadata, "subject.id", "a name for the subject", "rat-07", lambda text: bool(text.strip())),
        _check(
            metadata, "subject.species", "a Latin binomial or an NCBITaxon URL", "Rattus norvegicus", _SPECIES.fullmatch
        ),
        _check(metadata, "subject.sex", "one of M, F, U and O", "U", lambda text: text in ("M", "F", "U", "O")),
        _check_age(metadata),
        _check(
            metadata, "session.start_time", "a date and time (ISO 8601)", "2026-01-31T10:00:00+00:00", _START.fullmatch
        ),
    )
    return tuple(sentence for sentence in checks if sentence)


def _check(metadata: Metadata, name: str, form: str, example: str, holds: Callable[[str], object]) -> str:
    value = metadata.get(name)
    add = f"""'engram annotate ADDRESS --set {name}="{example}"'"""
    if value is None or value == "":
        return f"{name} is missing: add it with {add}"
    if holds(str(value)):
        return ""
    return f"{name} is {str(value)!r:.100} and should be {form}: set it with {add}"


def _check_age(metadata: Metadata) -> str:
    if metadata.get("subject.date_of_birth"):
        return ""
    return _check(metadata, "subject.age", "a duration (ISO 8601)", "P90D", _is_age)


def _is_age(text: str) -> bool:
    """Accept a duration, or a range of them such as `P10W/P12W` and `P10W/`."""
    first, _, last = text.partition("/")
    return bool(_DURATION.fullmatch(first)) and (not last or bool(_DURATION.fullmatch(last)))
