"""Distilling a deposited recording: read through either door, learn here, deposit the student whole or not at all."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from engram_client.contract import contract_metadata
from engram_client.fidelity.made import check_place, check_seed
from engram_client.fidelity.permission import joined_consent, may_be_trained_on, may_teach
from engram_client.fidelity.reading import read_experiment
from engram_client.fidelity.students import ArchiveStudent
from engram_client.transfer import deposit_files
from engram_fidelity.distill import Distilled, distill, taught_in_bins
from engram_fidelity.distill.budget import Progress, no_progress
from engram_format.address import Address, AnyAddress, check_note
from engram_format.catalog import Artifact, Kind, Metadata
from engram_format.errors import InvalidInput

if TYPE_CHECKING:
    from engram_client.archive import Archive

_MAX_BASE_BYTES: Final = 256 << 20


@dataclass(frozen=True, slots=True)
class Recipe:
    """What a user asks for; what is `None` is as the tier has it."""

    tier: str = "default"
    seed: int = 0
    bin_s: float = 0.005
    """The time that the student steps by."""
    updates: int | None = None
    budget_s: float | None = None
    target: str | None = None
    soft: bool = False
    teacher: AnyAddress | None = None
    """A student whose expected counts are mixed into what is taught."""
    share: AnyAddress | None = None
    """A student of the tier `default` whose weights the new one shares."""
    rank: int | None = None
    stimulus: str | None = None
    """The series that the cells saw, where there is more than one."""


def distill_recording(
    archive: Archive,
    recording: AnyAddress,
    *,
    to: Address,
    recipe: Recipe,
    message: str = "",
    author: str = "",
    warn: Callable[[str], None] = lambda _: None,
    progress: Progress = no_progress,
) -> Artifact:
    """Make a student of a recording and deposit it at `to`, in a new version of that memory; return it there.

    Its metadata hold its contract, how it was made, and the statement of consent that allows what all its sources allow; it is made
    from the recording, and from the teacher and the base where there are. Raises `Denied` where consent for one of them does not
    allow training, before anything is read, and what `read_experiment` and `distill` raise; nothing is deposited then.
    """
    check_place(to, what="a student")
    check_note(message, what="message")
    check_note(author, what="author")
    check_seed(recipe.seed)
    source = archive.artifact(recording)
    may_be_trained_on(archive, source)
    base = None if recipe.share is None else _base(archive, recipe.share)
    teacher = None if recipe.teacher is None else archive.artifact(recipe.teacher)
    sources = (source, *(one for one in (teacher, base and base[0]) if one is not None))
    for one in sources[1:]:
        may_teach(archive, one)
    consent = joined_consent(sources)
    # Version and all: what is read is what was allowed, and what the student says it was made from.
    bin_s = taught_in_bins(recipe.tier, recipe.bin_s)
    experiment = read_experiment(archive, source.address, bin_s=bin_s, stimulus=recipe.stimulus, warn=warn)
    made = distill(
        experiment,
        tier=recipe.tier,
        seed=recipe.seed,
        updates=recipe.updates,
        budget_s=recipe.budget_s,
        target=recipe.target,
        soft=recipe.soft,
        teacher=None if teacher is None else ArchiveStudent(archive, teacher.address, bin_s=recipe.bin_s),
        base=None if base is None else base[1],
        rank=recipe.rank,
        progress=progress,
    )
    return _deposited(
        archive,
        made,
        to=to,
        sources=sources,
        consent=consent,
        message=message or f"A student of {source.address}, tier {recipe.tier}",
        author=author,
        warn=warn,
    )


def _base(archive: Archive, address: AnyAddress) -> tuple[Artifact, bytes]:
    artifact = archive.artifact(address)
    if artifact.kind is not Kind.STUDENT or artifact.size > _MAX_BASE_BYTES:
        raise InvalidInput(f"{artifact.address} is no base to share: name a student of the tier default")
    return artifact, b"".join(archive.read(artifact.address))


def _deposited(
    archive: Archive,
    made: Distilled,
    *,
    to: Address,
    sources: tuple[Artifact, ...],
    consent: Metadata,
    message: str,
    author: str,
    warn: Callable[[str], None],
) -> Artifact:
    with tempfile.TemporaryDirectory(prefix="engram-distil-") as folder:
        # As a file, since files are planned: the weights that a cohort shares are then kept once.
        file = Path(folder) / "student.onnx"
        file.write_bytes(made.network)
        version = deposit_files(
            archive,
            [file],
            to=to,
            kind=Kind.STUDENT,
            message=message,
            author=author,
            metadata={**consent, **contract_metadata(made.contract), **made.metadata},
            made_from=tuple(dict.fromkeys(source.sha256 for source in sources)),
            warn=warn,
        )
    return archive.artifact(version.address.of(to.path))
