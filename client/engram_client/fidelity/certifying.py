"""Certifying a deposited student against a deposited recording, through either door; and computing a certificate again.

Everything is computed where it is called. A certificate is an artifact of kind `certificate`, made from the student and the
recording (SPEC.md section 9.8); the report lies beside it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from engram_client.fidelity.made import Made, consent_of, deposit_made
from engram_client.fidelity.permission import may_be_used
from engram_client.fidelity.reading import read_experiment
from engram_client.fidelity.seen import seen_in_line
from engram_client.fidelity.students import ArchiveStudent
from engram_fidelity.certificate import (
    Certificate,
    Claim,
    Difference,
    Examination,
    Named,
    Settings,
    Subject,
    changed,
    compare,
    examine,
    read_certificate,
    unusual,
)
from engram_fidelity.certificate.check import MAX_BYTES
from engram_fidelity.experiment import Experiment
from engram_format.address import Address, AnyAddress, ContentAddress, check_note
from engram_format.catalog import Artifact, Kind, Scalar
from engram_format.errors import FormatError, InvalidInput, NotFound, Precondition

if TYPE_CHECKING:
    from engram_client.archive import Archive
    from engram_fidelity.report import Report

Warn = Callable[[str], None]
Told = Callable[[str], None]


@dataclass(frozen=True, slots=True, eq=False)
class Check:
    """What computing a certificate again has shown."""

    claim: Claim
    again: Certificate
    differences: tuple[Difference, ...]
    unusual: tuple[Difference, ...]
    """Settings that a certificate has and those that it usually has, where they differ: with lax ones a grade says little."""
    changed: tuple[Difference, ...]
    """Versions and profile that are not those of the time: they may be why numbers differ."""

    @property
    def equal(self) -> bool:
        """Whether every number and every name came out the same."""
        return not self.differences


def certify_student(
    archive: Archive,
    student: AnyAddress,
    against: AnyAddress,
    *,
    seed: int = 0,
    ceiling: bool = True,
    stimuli: Sequence[str] = (),
    bin_s: float = 0.005,
    warn: Warn = lambda _: None,
    told: Told = lambda _: None,
) -> Examination:
    """Hold a student against the repeats of a recording.

    `stimuli` names those that count; by default all that neither the student nor those that it was made from were trained
    on, as their metadata say. Raises
    `InvalidInput` for one that it was trained on, for a student of other electrodes or bins, and `Precondition` where nothing is
    left, or where no stimulus was repeated and `ceiling` is wanted. `told` hears what is being done, in a few words.
    """
    settings = Settings(seed=seed, ceiling=ceiling, bin_s=bin_s)
    return _examined(archive, student, against, settings, stimuli, warn=warn, told=told)


def check_certificate(
    archive: Archive, address: AnyAddress, *, warn: Warn = lambda _: None, told: Told = lambda _: None
) -> Check:
    """Compute a certificate again, from the student and the recording that it names, and compare every number.

    Both are found by their digests, wherever they lie now. Raises `NotFound` where one is gone, `InvalidInput` for a student or a
    recording, and `FormatError` for what is no certificate.
    """
    artifact = archive.artifact(address)
    if artifact.kind in (Kind.STUDENT, Kind.RECORDING):
        raise InvalidInput(
            f"{artifact.address} is a {artifact.kind}, no certificate: name the .json that 'engram certify' has kept, which "
            "'engram show' lists among what came of it"
        )
    if artifact.size > MAX_BYTES:
        raise FormatError(f"{artifact.address} has {artifact.size} bytes and is no certificate")
    claim = read_certificate(b"".join(archive.read(address)))
    student, recording = (
        _found(archive, one, what=what) for one, what in ((claim.student, "student"), (claim.recording, "recording"))
    )
    again = _examined(archive, student, recording, claim.settings, claim.stimuli, warn=warn, told=told).certificate
    found = json.loads(again.to_json())
    differences = compare(claim.told, found)
    if artifact.made_from[:2] != (claim.student.sha256, claim.recording.sha256):
        wanted = f"{claim.student.sha256}, {claim.recording.sha256}"
        differences += (Difference("made_from", ", ".join(artifact.made_from) or "nothing", wanted),)
    for name, value in metadata_of(again).items():
        if (kept := artifact.metadata.get(name)) != value and not _near(kept, value):
            differences += (Difference(f"metadata {name}", str(kept), str(value)),)
    return Check(claim, again, differences, unusual(claim.settings), changed(claim.told, found))


def keep_certificate(
    archive: Archive,
    certificate: Certificate,
    *,
    report: Report,
    to: Address | None = None,
    author: str = "",
    now: datetime | None = None,
) -> Artifact:
    """Deposit a certificate and its report as one new version, and return the certificate there.

    It goes to `to`, a memory or a path that ends in `.json`; by default into the student's memory, as
    `certificates/<student>/<time>.json`. The report has the same name and ends in `.html` and `.png`. All three
    carry the recording's statement of consent.
    """
    student = Address.parse(certificate.student.address)
    memory, path = _place(to, student, now or datetime.now(UTC))
    check_note(author, what="author")
    told = certificate.to_json()
    digest = hashlib.sha256(told).hexdigest()
    stem = path.removesuffix(".json")
    name = PurePosixPath(student.path or "student").name
    sources = [archive.artifact(Address.parse(one.address)) for one in (certificate.student, certificate.recording)]
    consent = consent_of(sources[1])
    made = (
        Made(path, told, Kind.CERTIFICATE, {**consent, **metadata_of(certificate)}),
        Made(f"{stem}.html", report.page, Kind.FILE, consent, (digest,)),
        Made(f"{stem}.png", report.overview, Kind.FILE, consent, (digest,)),
    )
    kept, *_ = deposit_made(
        archive,
        made,
        to=memory,
        sources=sources,
        message=f"Certificate of {name}: grade {certificate.grade.letter}",
        author=author,
    )
    return kept


def metadata_of(certificate: Certificate) -> dict[str, Scalar]:
    """Return what is told of a certificate in its artifact's metadata (SPEC.md section 9.8)."""
    free = certificate.free_running
    told: dict[str, Scalar | None] = {
        "certificate.grade": certificate.grade.letter,
        "certificate.reason": certificate.grade.reason,
        "certificate.seed": certificate.settings.seed,
        "certificate.ceiling": certificate.settings.ceiling,
        "certificate.repeats": certificate.data.repeats,
        "certificate.student.sha256": certificate.student.sha256,
        "certificate.recording.sha256": certificate.recording.sha256,
        "certificate.experiment_sha256": certificate.data.experiment_sha256,
        "certificate.epsilon_with_power": free.epsilon_with_power,
        "certificate.plasticity": certificate.plasticity,
    }
    for name in ("cc_norm", "cc_abs", "feve", "bits_per_spike", "deviance_explained", "fano.real", "fano.student"):
        try:
            measure = certificate.measure(name)
        except KeyError:
            continue
        told[f"certificate.{name}"] = measure.mean.value
        if name == "cc_norm":
            told["certificate.cc_norm.worst"] = min(
                (one.value for one in measure.cells if one.value is not None), default=None
            )
            told["certificate.cc_norm.bin_s"] = measure.bin_s
    for one in free.discriminators:
        told[f"certificate.auc.{one.classifier}"] = one.auc.value
    if certificate.drift is not None:
        told["certificate.drift"] = certificate.drift.flagged
    return {name: value for name, value in told.items() if value is not None}


def _examined(
    archive: Archive,
    student: AnyAddress,
    against: AnyAddress,
    settings: Settings,
    stimuli: Sequence[str],
    *,
    warn: Warn,
    told: Told,
) -> Examination:
    told("reading the recording")
    recording = archive.artifact(against)
    may_be_used(archive, recording)
    # Version and all: what is read is what the certificate names.
    experiment = read_experiment(archive, recording.address, bin_s=settings.bin_s, warn=warn)
    responder = ArchiveStudent(archive, student, bin_s=settings.bin_s)
    responder.check(experiment)
    artifact = responder.artifact
    seen = seen_in_line(archive, artifact, recording, experiment)
    held_out = _held_out(experiment, seen.stimuli, stimuli, settings, student=artifact, recording=recording)
    with archive.open_minds(artifact.address, minds=1, sample=0) as minds:
        profile = dict(minds.profile)
        hears_itself = any(str(port.role) == "noise" for port in minds.ports)
    subject = Subject(
        student=Named(str(artifact.address), artifact.sha256),
        recording=Named(str(recording.address), recording.sha256),
        training=seen.trials,
        recorded=experiment.trials,
        profile=profile,
        rate_is_hazard=not hears_itself,
    )
    repeats = sum(one.repeats for one in held_out.trials)
    told(
        f"asking the student for answers to {repeats} presentations, and judging them; about half a minute for 54 of 7 s"
    )
    return examine(responder, held_out, settings, subject=subject)


def _held_out(
    experiment: Experiment,
    seen: frozenset[str],
    stimuli: Sequence[str],
    settings: Settings,
    *,
    student: Artifact,
    recording: Artifact,
) -> Experiment:
    """Return the trials that count; raises where one of them taught the student."""
    for one in stimuli:
        if one in seen:
            raise InvalidInput(
                f"{student.address}, or what it was made from, was trained on stimulus {one!r} of {recording.address}: "
                "name one that was held out, or none"
            )
    if stimuli:
        return experiment.of(stimuli)
    wanted = experiment.repeated if settings.ceiling else experiment.trials
    if not wanted:
        raise Precondition(
            f"{recording.address} has no stimulus that was shown more than once, so nobody knows how much of its answers could be "
            "told at all: record repeats, or give --no-ceiling, which is written into the certificate"
        )
    left = [one.stimulus_id for one in wanted if one.stimulus_id not in seen]
    if not left:
        raise Precondition(
            f"{student.address} was trained on every {'repeated ' if settings.ceiling else ''}stimulus of {recording.address}: "
            "certify it against a recording that it has not seen, or distil it with some held out"
        )
    return experiment.of(left)


def _found(archive: Archive, named: Named, *, what: str) -> Address:
    """Return where an artifact of that digest is: at its address, else wherever its content lies."""
    try:
        artifact = archive.artifact(Address.parse(named.address))
        if artifact.sha256 == named.sha256:
            return artifact.address
    except (NotFound, InvalidInput):
        pass
    try:
        return archive.artifact(ContentAddress(named.sha256)).address
    except NotFound as error:
        raise NotFound(
            f"the {what} {named.address} with SHA-256 {named.sha256} is not in this archive: open the one that holds it"
        ) from error


def check_place(to: Address) -> None:
    """Raise `InvalidInput` unless a certificate can be deposited there."""
    if to.memory is None or to.version is not None or (to.path is not None and not to.path.endswith(".json")):
        raise InvalidInput(
            f"{to} is no place for a certificate: name a memory, as vault/memory, or a path in it that ends in .json"
        )


def _place(to: Address | None, student: Address, now: datetime) -> tuple[Address, str]:
    place = student.at(None).of(None) if to is None else to
    check_place(place)
    if place.path is not None:
        return place.of(None), place.path
    name = PurePosixPath(student.path or "student").stem
    return place.of(None), f"certificates/{name}/{now:%Y-%m-%dT%H-%M-%S-%f}.json"


def _near(kept: Scalar | None, value: Scalar) -> bool:
    if (
        isinstance(kept, bool)
        or isinstance(value, bool)
        or not isinstance(kept, int | float)
        or not isinstance(value, int | float)
    ):
        return False
    return abs(kept - value) <= 1e-9 * max(abs(kept), abs(value))
