"""What consent lets be made: of a recording, of the students that were made from it, and of several of them together.

What holds is what is said now: a statement of the newest version of a memory, such as a withdrawal, holds for the same content
in older versions, too. A student is asked for its own statement and for those of what it was made from, as far as this archive
has them; one without any statement is nobody's data, as far as anybody knows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final

from engram_client.fidelity.made import consent_of
from engram_client.fidelity.reading import allow_training
from engram_format.address import ContentAddress
from engram_format.catalog import Artifact, Metadata
from engram_format.consent import Consent, Withdrawal
from engram_format.errors import Denied, InvalidInput, NotFound

if TYPE_CHECKING:
    from engram_client.archive import Archive

_MAX_ORIGINS: Final = 32
_NARROWER: Final = ("NRES", "GRU", "HMB", "DS")
"""Permissions, each of which allows what the next one does."""


def may_be_trained_on(archive: Archive, recording: Artifact) -> None:
    """Raise `Denied` unless a recording's consent allows to train models, as it was said then and as it is said now."""
    for one in (recording, *_said_now(archive, recording)):
        allow_training(one)


def may_teach(archive: Archive, student: Artifact) -> None:
    """Raise `Denied` where consent for a student, or for what it was made from, does not allow to train models.

    Asked are those that say anything of consent at all.
    """
    for one in (student, *_said_now(archive, student), *_origins(archive, student)):
        if consent_of(one):
            allow_training(one)


def may_be_used(archive: Archive, recording: Artifact) -> None:
    """Raise `Denied` where the consent for a recording was withdrawn, which allows nothing."""
    for one in (recording, *_said_now(archive, recording)):
        if str(one.metadata.get("consent.withdrawal", "")) == Withdrawal.WITHDRAWN:
            raise Denied(
                f"consent for {one.address} was withdrawn, so nothing may be done with it: use another recording"
            )


def joined_consent(sources: Sequence[Artifact]) -> Metadata:
    """Return the statement of consent for what is made from several artifacts: it allows what all of them allow.

    Those that say nothing of consent are passed over. Raises `InvalidInput` where the statements have no permission in common.
    """
    told = [held for source in sources if (held := consent_of(source))]
    if not told or all(held == told[0] for held in told):
        return told[0] if told else {}
    each = [Consent.of(held) for held in told]
    joined: dict[str, str | bool] = {
        "consent.model_training": all(one.model_training for one in each),
        "consent.reidentification": all(one.reidentification for one in each),
        "consent.withdrawal": str(
            Withdrawal.POSSIBLE if any(one.withdrawal is Withdrawal.POSSIBLE for one in each) else Withdrawal.IMPOSSIBLE
        ),
    }
    if all(one.permission for one in each):
        narrowest = _narrowest(each)
        disease = f":{narrowest.disease}" if narrowest.disease else ""
        modifiers = sorted({name for one in each for name in one.modifiers})
        joined["consent.duo"] = ",".join([f"{narrowest.permission}{disease}", *modifiers])
    if len(forms := {one.obc for one in each}) == 1 and (form := forms.pop()):
        joined["consent.obc"] = form
    return joined


def _narrowest(each: Sequence[Consent]) -> Consent:
    permissions = {(one.permission, one.disease) for one in each}
    ranked = [one for one in each if one.permission in _NARROWER]
    if len(permissions) == 1:
        return each[0]
    narrowest = max(ranked, key=lambda one: _NARROWER.index(one.permission), default=None)
    same = {(one.permission, one.disease) for one in ranked if narrowest and one.permission == narrowest.permission}
    if narrowest is None or len(ranked) < len(each) or len(same) > 1:
        names = ", ".join(sorted({one.permission for one in each}))
        raise InvalidInput(
            f"consent of what this would be made from allows different uses ({names}) that have nothing in common: "
            "choose sources of one kind"
        )
    return narrowest


def _said_now(archive: Archive, artifact: Artifact) -> Iterator[Artifact]:
    """Yield the same content in the newest version of its memory."""
    home = artifact.address.at(None).of(None)
    yield from archive.find([f"sha256='{artifact.sha256}'"], scope=home)


def _origins(archive: Archive, artifact: Artifact) -> Iterator[Artifact]:
    """Yield what an artifact was made from, and so on, as it is said of now."""
    home, seen = artifact.address.at(None).of(None), {artifact.sha256}
    waiting = list(artifact.made_from)
    while waiting and len(seen) <= _MAX_ORIGINS:
        sha256 = waiting.pop(0)
        if sha256 in seen:
            continue
        seen.add(sha256)
        found = list(archive.find([f"sha256='{sha256}'"], scope=home))
        if not found:
            try:
                elsewhere = archive.artifact(ContentAddress(sha256))
            except NotFound:
                continue
            found = [elsewhere, *_said_now(archive, elsewhere)]
        yield from found
        waiting += [origin for one in found for origin in one.made_from]
