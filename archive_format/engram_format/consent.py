"""Consent: what the people, or the owners of the animals, behind a recording allow; what is not said is not allowed.

It stands in an artifact's metadata, in the words of the Data Use Ontology (DUO), which says nothing of training models:
for that there are names of our own.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Self

from engram_format.catalog import Metadata, Scalar
from engram_format.errors import InvalidInput

PERMISSIONS: Final[Mapping[str, str]] = {
    "NRES": "DUO:0000004",
    "HMB": "DUO:0000006",
    "DS": "DUO:0000007",
    "POA": "DUO:0000011",
    "GRU": "DUO:0000042",
}
"""What use is allowed: no restriction, health or medical or biomedical, disease specific, ancestry only, general research."""

MODIFIERS: Final[Mapping[str, str]] = {
    "RS": "DUO:0000012",
    "NMDS": "DUO:0000015",
    "GSO": "DUO:0000016",
    "NPUNCU": "DUO:0000018",
    "PUB": "DUO:0000019",
    "COL": "DUO:0000020",
    "IRB": "DUO:0000021",
    "GS": "DUO:0000022",
    "MOR": "DUO:0000024",
    "TS": "DUO:0000025",
    "US": "DUO:0000026",
    "PS": "DUO:0000027",
    "IS": "DUO:0000028",
    "RTN": "DUO:0000029",
    "CC": "DUO:0000043",
    "NPOA": "DUO:0000044",
    "NPU": "DUO:0000045",
    "NCU": "DUO:0000046",
}
"""What narrows the permission."""

NAMES: Final = (
    "consent.duo",
    "consent.model_training",
    "consent.reidentification",
    "consent.withdrawal",
    "consent.obc",
)
_MAX_CHARS: Final = 256
_BY_ID: Final = {code: name for name, code in {**PERMISSIONS, **MODIFIERS}.items()}
_DUO_ID: Final = re.compile(r"DUO[:_](?P<number>\d{7})", re.IGNORECASE)


class Withdrawal(StrEnum):
    """Whether consent can be withdrawn."""

    POSSIBLE = "possible"
    IMPOSSIBLE = "impossible"
    """Nobody can tell any more whose data these are."""
    WITHDRAWN = "withdrawn"
    """It has been: nothing is permitted."""


@dataclass(frozen=True, slots=True)
class Consent:
    """What an artifact's metadata allow."""

    permission: str = ""
    """The short name of the one DUO permission; empty where none is given."""
    modifiers: tuple[str, ...] = ()
    """Short names of DUO modifiers, sorted."""
    model_training: bool = False
    reidentification: bool = False
    withdrawal: Withdrawal = Withdrawal.POSSIBLE
    obc: str = ""
    """The form of the Open Brain Consent that was signed, with its version, such as `OBC-GDPR-ULT 1.1.0`."""

    @classmethod
    def of(cls, metadata: Metadata) -> Self:
        """Read the names that begin with `consent.`; raises `InvalidInput` where one says nothing that is known."""
        for name in metadata:
            if name.startswith("consent.") and name not in NAMES:
                near = difflib.get_close_matches(name, NAMES, n=1) or [", ".join(NAMES)]
                raise InvalidInput(f"metadata {name!r:.200} is no statement of consent that is known: write {near[0]}")
        permission, modifiers = _duo(metadata.get("consent.duo"))
        return cls(
            permission=permission,
            modifiers=modifiers,
            model_training=_flag(metadata, "consent.model_training"),
            reidentification=_flag(metadata, "consent.reidentification"),
            withdrawal=_withdrawal(metadata.get("consent.withdrawal")),
            obc=_obc(metadata.get("consent.obc")),
        )

    @property
    def permits_use(self) -> bool:
        """Whether any use in research is permitted, within the permission and its modifiers."""
        return bool(self.permission) and self.withdrawal is not Withdrawal.WITHDRAWN

    @property
    def permits_model_training(self) -> bool:
        """Whether a model may be trained on it: only where that is said, and no modifier bars developing methods."""
        return self.permits_use and self.model_training and "NMDS" not in self.modifiers

    @property
    def permits_reidentification(self) -> bool:
        """Whether one may look for whose data these are: only where that is said."""
        return self.permits_use and self.reidentification

    @property
    def codes(self) -> tuple[str, ...]:
        """The DUO ids, the permission first."""
        known = {**PERMISSIONS, **MODIFIERS}
        return tuple(known[name] for name in (self.permission, *self.modifiers) if name)


def check_consent(metadata: Metadata) -> Metadata:
    """Return the metadata if what they say of consent is known; raises `InvalidInput` that says what to write."""
    Consent.of(metadata)
    return metadata


def consent_lines(metadata: Metadata) -> list[tuple[str, str]]:
    """Return what consent allows, for people; nothing where the metadata say nothing of consent.

    What an older or another program has written and is not known allows nothing.
    """
    if not any(name.startswith("consent.") for name in metadata):
        return []
    try:
        consent = Consent.of(metadata)
    except InvalidInput as error:
        return [("consent", f"not understood, so nothing is permitted: {error}")]
    if consent.withdrawal is Withdrawal.WITHDRAWN:
        return [("consent", "withdrawn: nothing is permitted")]
    if not consent.permission:
        return [("consent", "no DUO permission is given, so nothing is permitted")]
    names = (consent.permission, *consent.modifiers)
    told = [("consent", ", ".join(f"{name} ({code})" for name, code in zip(names, consent.codes, strict=True)))]
    told.append(("may train models", "yes" if consent.permits_model_training else "no"))
    told.append(("may reidentify", "yes" if consent.permits_reidentification else "no"))
    return told


def _duo(value: Scalar | None) -> tuple[str, tuple[str, ...]]:
    if value is None:
        return "", ()
    if not isinstance(value, str) or len(value) > _MAX_CHARS:
        raise InvalidInput(f"consent.duo is {value!r:.100}: write DUO codes with commas between them, such as GRU,IRB")
    names = [_short_name(part.strip()) for part in value.split(",")]
    permissions = [name for name in names if name in PERMISSIONS]
    if len(permissions) != 1 or len(set(names)) != len(names):
        raise InvalidInput(
            f"consent.duo is {value!r} and needs exactly one permission and each code once: "
            f"write one of {', '.join(PERMISSIONS)}, and modifiers after it, such as GRU,IRB"
        )
    return permissions[0], tuple(sorted(name for name in names if name in MODIFIERS))


def _short_name(code: str) -> str:
    found = _DUO_ID.fullmatch(code)
    name = _BY_ID.get(f"DUO:{found['number']}", "") if found else code.upper()
    if name not in PERMISSIONS and name not in MODIFIERS:
        near = difflib.get_close_matches(code.upper(), [*PERMISSIONS, *MODIFIERS], n=3, cutoff=0.5)
        known = ", ".join(near or (*PERMISSIONS, *MODIFIERS))
        raise InvalidInput(f"consent.duo names {code!r}, which is no code that is known: write {known} or its DUO id")
    return name


def _flag(metadata: Metadata, name: str) -> bool:
    value = metadata.get(name, False)
    if isinstance(value, str) and value.lower() in ("true", "false"):
        return value.lower() == "true"
    if not isinstance(value, bool):
        raise InvalidInput(f"{name} is {value!r:.100}: write true or false")
    return value


def _withdrawal(value: Scalar | None) -> Withdrawal:
    if value is None:
        return Withdrawal.POSSIBLE
    try:
        return Withdrawal(str(value))
    except ValueError as error:
        raise InvalidInput(f"consent.withdrawal is {value!r:.100}: write {', '.join(Withdrawal)}") from error


def _obc(value: Scalar | None) -> str:
    if value is None:
        return ""
    if not isinstance(value, str) or not 1 <= len(value) <= _MAX_CHARS:
        raise InvalidInput(
            f"consent.obc is {value!r:.100}: write the form of the Open Brain Consent, such as OBC-GDPR-ULT 1.1.0"
        )
    return value
