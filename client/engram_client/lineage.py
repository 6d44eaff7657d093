"""Where an artifact comes from and what came of it: recording -> student -> certificate, replay, found by digests.

Every artifact tells the SHA-256 of what it was made from. Origins are looked for by content, first in the newest version of
the artifact's own memory and then in every vault that may be read; results in the newest versions of that memory, or of all.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from engram_format.address import Address, ContentAddress
from engram_format.catalog import Artifact, Kind
from engram_format.errors import NotFound

if TYPE_CHECKING:
    from engram_client.archive import Archive

MAX_STEPS: Final = 8
"""How far lineage is followed, each way."""
MAX_ARTIFACTS: Final = 200
"""How many artifacts are told, each way."""
_MAX_SEARCHES: Final = 32


@dataclass(frozen=True, slots=True)
class Step:
    """An artifact in the lineage of another."""

    distance: int
    """1 for what the other was made from, or what was made from it; 2 for what is one step further, and so on."""
    sha256: str
    artifact: Artifact | None
    """`None` where nothing that may be read has this content."""


@dataclass(frozen=True, slots=True)
class Lineage:
    """What is known of an artifact's lineage."""

    made_from: tuple[Step, ...]
    """What it was made from, nearest first and in the order of use."""
    led_to: tuple[Step, ...]
    """What was made from it, nearest first, by path."""
    searched: str
    """The memory in whose newest version results were looked for; empty for all memories."""
    is_whole: bool
    """Whether all was followed; if not, there is more than is told."""


def lineage_of(archive: Archive, artifact: Artifact, *, everywhere: bool = False) -> Lineage:
    """Follow the lineage of an artifact both ways; with `everywhere`, results are looked for in all vaults that may be read."""
    home = artifact.address.at(None).of(None)
    origins, all_origins = _origins(archive, artifact, home=home)
    results, all_results = _results(archive, artifact, scope=None if everywhere else home)
    return Lineage(origins, results, "" if everywhere else str(home), all_origins and all_results)


def _origins(archive: Archive, artifact: Artifact, *, home: Address) -> tuple[tuple[Step, ...], bool]:
    seen = {artifact.sha256}
    steps: list[Step] = []
    level: list[str] = list(artifact.made_from)
    for distance in range(1, MAX_STEPS + 1):
        further: list[str] = []
        for sha256 in level:
            if sha256 in seen:
                continue
            if len(steps) == MAX_ARTIFACTS:
                return tuple(steps), False
            seen.add(sha256)
            found = _by_content(archive, sha256, home=home)
            steps.append(Step(distance, sha256, found))
            further += found.made_from if found else ()
        level = further
    return tuple(steps), not set(level) - seen


def _by_content(archive: Archive, sha256: str, *, home: Address) -> Artifact | None:
    beside = next(archive.find([f"sha256='{sha256}'"], scope=home), None)
    if beside is not None:
        return beside
    try:
        return archive.artifact(ContentAddress(sha256))
    except NotFound:
        return None


def _results(archive: Archive, artifact: Artifact, *, scope: Address | None) -> tuple[tuple[Step, ...], bool]:
    seen = {artifact.sha256}
    steps: list[Step] = []
    level, searches = [artifact.sha256], 0
    for distance in range(1, MAX_STEPS + 1):
        further: list[str] = []
        for sha256 in level:
            if searches == _MAX_SEARCHES:
                return tuple(steps), False
            searches += 1
            for found in archive.find([f"made_from='{sha256}'"], scope=scope):
                if found.sha256 in seen:
                    continue
                if len(steps) == MAX_ARTIFACTS:
                    return tuple(steps), False
                seen.add(found.sha256)
                steps.append(Step(distance, found.sha256, found))
                if found.kind is not Kind.REPLAY:  # there may be many, and they are ends
                    further.append(found.sha256)
        level = further
    return tuple(steps), not level
