"""Consent: what the people behind a recording, or the keepers of its animals, allow; what is not said is not allowed.

It stands in an artifact's metadata, in the codes of the Data Use Ontology (DUO), which says nothing of training models and of
re-identification: for these there are names of our own (SPEC.md section 9.4).
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


@dataclass(frozen=True, slots=True)
class Code:
    """One code of the Data Use Ontology."""

    name: str
    """Its short name, such as `GRU`."""
    duo: str
    """Its id, such as `DUO:0000042`."""
    says: str
    """What it means, for people."""


def _codes(*codes: Code) -> Mapping[str, Code]:
    return {code.name: code for code in codes}


PERMISSIONS: Final = _codes(
    Code("NRES", "DUO:0000004", "no restriction"),
    Code("HMB", "DUO:0000006", "health, medical and biomedical research"),
    Code("DS", "DUO:0000007", "research on one disease"),
    Code("POA", "DUO:0000011", "research on populations, origins and ancestry"),
    Code("GRU", "DUO:0000042", "general research"),
)
"""What the data may be used for; a statement of consent has exactly one of them."""

MODIFIERS: Final = _codes(
    Code("RS", "DUO:0000012", "only the kind of research that was agreed"),
    Code("NMDS", "DUO:0000015", "not to develop methods or models"),
    Code("GSO", "DUO:0000016", "only genetic studies"),
    Code("NPUNCU", "DUO:0000018", "only non-profit organizations, without commercial use"),
    Code("PUB", "DUO:0000019", "results must be published"),
    Code("COL", "DUO:0000020", "only in collaboration with the depositors"),
    Code("IRB", "DUO:0000021", "needs approval by an ethics board"),
    Code("GS", "DUO:0000022", "only in the region that was agreed"),
    Code("MOR", "DUO:0000024", "no publication before the date that was agreed"),
    Code("TS", "DUO:0000025", "only up to the time that was agreed"),
    Code("US", "DUO:0000026", "only approved users"),
    Code("PS", "DUO:0000027", "only an approved project"),
    Code("IS", "DUO:0000028", "only approved institutions"),
    Code("RTN", "DUO:0000029", "derived data must be returned"),
    Code("CC", "DUO:0000043", "also for clinical care"),
    Code("NPOA", "DUO:0000044", "not for research on populations, origins and ancestry"),
    Code("NPU", "DUO:0000045", "only non-profit organizations"),
    Code("NCU", "DUO:0000046", "no commercial use"),
)
"""What narrows the permission, each at most once."""

NAMES: Final = (
    "consent.duo",
    "consent.model_training",
    "consent.reidentification",
    "consent.withdrawal",
    "consent.obc",
)

_KNOWN: Final = {**PERMISSIONS, **MODIFIERS}
_BY_DUO: Final = {code.duo: code.name for code in _KNOWN.values()}
_DUO_ID: Final = re.compile(r"DUO[:_]([0-9]{7})", re.IGNORECASE)
_DISEASE: Final = re.compile(r"MONDO[:_]([0-9]{7})", re.IGNORECASE)
_WITH_DISEASE: Final = re.compile(r"(?P<code>.+?):(?P<disease>MONDO[:_].*)", re.IGNORECASE)
_MAX_CHARS: Final = 256
_EXAMPLE: Final = "GRU,IRB or DUO:0000042,DUO:0000021"


class Withdrawal(StrEnum):
    """Whether consent can be withdrawn."""

    POSSIBLE = "possible"
    IMPOSSIBLE = "impossible"
    """Nobody can tell any more whose data these are."""
    WITHDRAWN = "withdrawn"
    """It has been: nothing is allowed."""


@dataclass(frozen=True, slots=True)
class Consent:
    """What an artifact's metadata allow. The value without arguments allows nothing."""

    permission: str = ""
    """The short name of the one DUO permission; empty where none is given."""
    disease: str = ""
    """With `DS` the disease, such as `MONDO:0005148`."""
    modifiers: tuple[str, ...] = ()
    """Short names of DUO modifiers, sorted."""
    model_training: bool = False
    """As it is stated; `allows_model_training` says what follows."""
    reidentification: bool = False
    """As it is stated; `allows_reidentification` says what follows."""
    withdrawal: Withdrawal = Withdrawal.POSSIBLE
    obc: str = ""
    """The form of the Open Brain Consent that was signed, with its version, such as `OBC-GDPR-ULT 1.1.0`."""

    @classmethod
    def of(cls, metadata: Metadata) -> Self:
        """Read the names that begin with `consent.`; raises `InvalidInput`, which says what to write, where one is wrong."""
        for name in metadata:
            if name.startswith("consent.") and name not in NAMES:
                near = difflib.get_close_matches(name, NAMES, n=1) or [", ".join(NAMES)]
                raise InvalidInput(f"metadata {name!r:.200} is no statement of consent that is known: write {near[0]}")
        permission, disease, modifiers = _duo(metadata.get("consent.duo"))
        consent = cls(
            permission=permission,
            disease=disease,
            modifiers=modifiers,
            model_training=_flag(metadata, "consent.model_training"),
            reidentification=_flag(metadata, "consent.reidentification"),
            withdrawal=_withdrawal(metadata.get("consent.withdrawal")),
            obc=_obc(metadata.get("consent.obc")),
        )
        if consent.model_training and "NMDS" in modifiers:
            raise InvalidInput(
                "consent.model_training is true, and NMDS in consent.duo forbids to develop methods: leave out one of them"
            )
        return consent

    @property
    def allows_use(self) -> bool:
        """Whether any use in research is allowed, within the permission and its modifiers."""
        return bool(self.permission) and self.withdrawal is not Withdrawal.WITHDRAWN

    @property
    def allows_model_training(self) -> bool:
        """Whether a model may be trained on the data: only where that is said, and no modifier forbids it."""
        return self.allows_use and self.model_training and "NMDS" not in self.modifiers

    @property
    def allows_reidentification(self) -> bool:
        """Whether one may look for whose data these are: only where that is said."""
        return self.allows_use and self.reidentification

    @property
    def codes(self) -> tuple[Code, ...]:
        """The DUO codes, the permission first."""
        return tuple(_KNOWN[name] for name in (self.permission, *self.modifiers) if name)


def check_consent(metadata: Metadata) -> Metadata:
    """Return the metadata if what they say of consent is known and sound; raises `InvalidInput` that says what to write."""
    Consent.of(metadata)
    return metadata


def consent_lines(consent: Consent) -> list[tuple[str, str]]:
    """Return what consent allows, as names and texts for people."""
    told = [
        ("may be used for", _use(consent)),
        ("model training", _answer(allowed=consent.allows_model_training)),
        ("re-identification", _answer(allowed=consent.allows_reidentification)),
    ]
    if consent.withdrawal is Withdrawal.IMPOSSIBLE:
        told.append(("withdrawal", "impossible: nobody can tell any more whose data these are"))
    if consent.obc:
        told.append(("consent form", consent.obc))
    return told


def _use(consent: Consent) -> str:
    if consent.withdrawal is Withdrawal.WITHDRAWN:
        return "nothing: consent was withdrawn"
    if not consent.permission:
        return "nothing: consent.duo is not given"
    permission, *modifiers = consent.codes
    disease = f" {consent.disease}" if consent.disease else ""
    told = [f"{permission.says}{disease} ({permission.name}, {permission.duo})"]
    return "\n".join([*told, *(f"{code.says} ({code.name}, {code.duo})" for code in modifiers)])


def _answer(*, allowed: bool) -> str:
    return "allowed" if allowed else "denied"


def _duo(value: Scalar | None) -> tuple[str, str, tuple[str, ...]]:
    """Return the permission, its disease, and the modifiers in order."""
    if value is None:
        return "", "", ()
    if not isinstance(value, str) or len(value) > _MAX_CHARS:
        raise InvalidInput(f"consent.duo is {value!r:.100}: write DUO codes with commas between them, as {_EXAMPLE}")
    parts = [_part(part.strip()) for part in value.split(",")]
    names = [name for name, _ in parts]
    permissions = [name for name in names if name in PERMISSIONS]
    if len(permissions) != 1 or len(set(names)) != len(names):
        raise InvalidInput(
            f"consent.duo is {value!r} and needs exactly one permission and each code once: "
            f"write one of {', '.join(PERMISSIONS)}, and what narrows it after it, as {_EXAMPLE}"
        )
    disease = "".join(found for _, found in parts)
    return permissions[0], disease, tuple(sorted(name for name in names if name in MODIFIERS))


def _part(text: str) -> tuple[str, str]:
    """Return the short name of one code, and the disease that stands behind it if it is DS."""
    found = _WITH_DISEASE.fullmatch(text)
    name = _short_name(text if found is None else found["code"])
    if (name == "DS") != (found is not None):
        raise InvalidInput(
            f"consent.duo has {text!r}: the disease stands behind DS and behind no other code, as DS:MONDO:0005148"
        )
    if found is None:
        return name, ""
    disease = _DISEASE.fullmatch(found["disease"])
    if disease is None:
        raise InvalidInput(f"consent.duo has {text!r}: write the disease with its seven digits, as DS:MONDO:0005148")
    return name, f"MONDO:{disease[1]}"


def _short_name(code: str) -> str:
    found = _DUO_ID.fullmatch(code)
    name = _BY_DUO.get(f"DUO:{found[1]}", "") if found else code.upper()
    if name not in _KNOWN:
        near = difflib.get_close_matches(code.upper(), _KNOWN, n=3, cutoff=0.5)
        raise InvalidInput(
            f"consent.duo has {code!r}, which is no code that is known: write {', '.join(near or _KNOWN)}, or its DUO id"
        )
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
        raise InvalidInput(f"consent.withdrawal is {value!r:.100}: write one of {', '.join(Withdrawal)}") from error


def _obc(value: Scalar | None) -> str:
    if value is None:
        return ""
    if not isinstance(value, str) or not 1 <= len(value) <= _MAX_CHARS:
        raise InvalidInput(
            f"consent.obc is {value!r:.100}: write which form of the Open Brain Consent was signed, as OBC-GDPR-ULT 1.1.0"
        )
    return value
