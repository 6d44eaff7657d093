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
from typing import TYPE_CHECKING, Final

from engram_client.fidelity.permission import may_be_used
from engram_client.fidelity.reading import read_experiment
from engram_client.fidelity.students import ArchiveStudent
from engram_client.fidelity.taught import stimuli_seen, taught_ids, taught_trials
from engram_client.journal import new_session
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
from engram_format.catalog import Artifact, ArtifactSpec, Kind, Scalar
from engram_format.errors import FormatError, InvalidInput, NotFound, Precondition

if TYPE_CHECKING:
    from engram_client.archive import Archive
    from engram_fidelity.report import Report

Warn = Callable[[str], None]

_WRITE_BYTES: Final = 1 << 20


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
) -> Examination:
    """Hold a student against the repeats of a recording.

    `stimuli` names those that count; by default all that the student was not trained on, as its metadata say. Raises
    `InvalidInput` for one that it was trained on, for a student of other electrodes or bins, and `Precondition` where nothing is
    left, or where no stimulus was repeated and `ceiling` is wanted.
    """
    settings = Settings(seed=seed, ceiling=ceiling, bin_s=bin_s)
    return _examined(archive, student, against, settings, stimuli, warn=warn)


def check_certificate(archive: Archive, address: AnyAddress, *, warn: Warn = lambda _: None) -> Check:
    """Compute a certificate again, from the student and the recording that it names, and compare every number.

    Both are found by their digests, wherever they lie now. Raises `NotFound` where one is gone, `FormatError` for what is no
    certificate.
    """
    artifact = archive.artifact(address)
    if artifact.size > MAX_BYTES:
        raise FormatError(f"{artifact.address} has {artifact.size} bytes and is no certificate")
    claim = read_certificate(b"".join(archive.read(address)))
    student, recording = (
        _found(archive, one, what=what) for one, what in ((claim.student, "student"), (claim.recording, "recording"))
    )
    again = _examined(archive, student, recording, claim.settings, claim.stimuli, warn=warn).certificate
    told = json.loads(again.to_json())
    differences = compare(claim.told, told)
    if artifact.made_from[:2] != (claim.student.sha256, claim.recording.sha256):
        wanted = f"{claim.student.sha256}, {claim.recording.sha256}"
        differences += (Difference("made_from", ", ".join(artifact.made_from) or "nothing", wanted),)
    for name, value in metadata_of(again).items():
        if (kept := artifact.metadata.get(name)) != value and not _near(kept, value):
            differences += (Difference(f"metadata {name}", str(kept), str(value)),)
    return Check(claim, again, differences, unusual(claim.settings), changed(claim.told, told))


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
    `certificates/<student>/<time>.json`. The report has the same name and ends in `.html` and `.png`.
    """
    student = Address.parse(certificate.student.address)
    memory, path = _place(to, student, now or datetime.now(UTC))
    check_note(author, what="author")
    told = certificate.to_json()
    digest = hashlib.sha256(told).hexdigest()
    stem = path.removesuffix(".json")
    name = PurePosixPath(student.path or "student").name
    metadata = metadata_of(certificate)
    files: tuple[tuple[str, bytes, Kind, dict[str, Scalar], tuple[str, ...]], ...] = (
        (path, told, Kind.CERTIFICATE, metadata, (certificate.student.sha256, certificate.recording.sha256)),
        (f"{stem}.html", report.page, Kind.FILE, {}, (digest,)),
        (f"{stem}.png", report.overview, Kind.FILE, {}, (digest,)),
    )
    with archive.open_deposit(memory, session=new_session()) as deposit:
        for place, data, kind, noted, made_from in files:
            deposit.begin(ArtifactSpec(path=place, size=len(data), kind=kind, metadata=noted, made_from=made_from))
            for start in range(0, len(data), _WRITE_BYTES):
                deposit.write(data[start : start + _WRITE_BYTES])
            deposit.end(sha256=hashlib.sha256(data).hexdigest())
        version = deposit.commit(message=f"Certificate of {name}: grade {certificate.grade.letter}", author=author)
    return archive.artifact(version.address.of(path))


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
) -> Examination:
    recording = archive.artifact(against)
    may_be_used(archive, recording)
    experiment = read_experiment(archive, recording.address, bin_s=settings.bin_s, warn=warn)
    responder = ArchiveStudent(archive, student, bin_s=settings.bin_s)
    responder.check(experiment)
    artifact = responder.artifact
    seen = _seen(artifact, recording)
    held_out = _held_out(experiment, seen, stimuli, settings, student=artifact, recording=recording)
    with archive.open_minds(artifact.address, minds=1, sample=0) as minds:
        profile = dict(minds.profile)
        hears_itself = any(str(port.role) == "noise" for port in minds.ports)
    subject = Subject(
        student=Named(str(artifact.address), artifact.sha256),
        recording=Named(str(recording.address), recording.sha256),
        training=taught_trials(experiment, seen),
        recorded=experiment.trials,
        profile=profile,
        rate_is_hazard=not hears_itself,
    )
    return examine(responder, held_out, settings, subject=subject)


def _seen(student: Artifact, recording: Artifact) -> tuple[str, ...]:
    """Return the ids that the student was trained or chosen by, if it was made from this very recording."""
    if student.made_from and recording.sha256 not in student.made_from:
        return ()
    return taught_ids(student.metadata)


def _held_out(
    experiment: Experiment,
    seen: Sequence[str],
    stimuli: Sequence[str],
    settings: Settings,
    *,
    student: Artifact,
    recording: Artifact,
) -> Experiment:
    """Return the trials that count; raises where one of them taught the student."""
    whole = stimuli_seen(seen)
    for one in stimuli:
        if one in whole:
            raise InvalidInput(
                f"{student.address} was trained on stimulus {one!r} of {recording.address}, so it cannot be certified with it: "
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
    left = [one.stimulus_id for one in wanted if one.stimulus_id not in whole]
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
