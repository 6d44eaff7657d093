"""What an archive shows to people and programs: vaults, memories, versions and artifacts as plain values.

These are the values at the edge of every door (Python, command line, gRPC); how they are stored is the matter of the
other modules.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from engram_format.address import Address
from engram_format.series import SeriesInfo, Table

AnyArray = NDArray[np.generic]

Scalar = str | int | float | bool
"""One value of an artifact's metadata."""

Metadata = Mapping[str, Scalar]
"""Flat metadata of an artifact: dotted names such as `subject.species`, scalar values."""


class Kind(StrEnum):
    """What an artifact is."""

    RECORDING = "recording"
    STUDENT = "student"
    PROTOCOL = "protocol"
    SUBSTRATE = "substrate"
    CERTIFICATE = "certificate"
    REPLAY = "replay"
    FILE = "file"


@dataclass(frozen=True, slots=True)
class Vault:
    """The unit of key, deduplication, log and erasure."""

    name: str
    vault_id: str
    """32 hex digits: the folder of the vault in the storage, which does not tell its name."""
    epoch: int
    """How often the vault's key has been rotated."""


@dataclass(frozen=True, slots=True)
class Memory:
    """A named line of history in a vault."""

    address: Address
    head: int
    """Number of the newest version, from 1."""
    artifacts: int
    """Artifacts in the newest version."""
    time_ns: int
    """When the newest version was committed: nanoseconds since 1970-01-01 UTC, by the depositor's clock."""


@dataclass(frozen=True, slots=True)
class Version:
    """An immutable snapshot of a memory."""

    address: Address
    """`vault/memory@number`."""
    version_id: str
    """SHA-256 over the version's canonical description, 64 hex digits."""
    parents: tuple[str, ...]
    """Version ids that this one follows: none for the first, one as a rule."""
    author: str
    message: str
    time_ns: int
    artifacts: int
    added: int
    """Artifacts that this version's session deposited."""


@dataclass(frozen=True, slots=True)
class Artifact:
    """One thing at a path in a version."""

    address: Address
    """`vault/memory@number:path`, always with its version number."""
    kind: Kind
    size: int
    """Bytes of the original."""
    sha256: str
    """SHA-256 of the original bytes, 64 hex digits."""
    stored_size: int
    """Bytes of the frames that this artifact's recipe names, compressed and encrypted, shared ones counted too."""
    frames: int
    time_ns: int
    """When the original was last changed, as its file system said; 0 if unknown."""
    metadata: Metadata = field(default_factory=dict)
    made_from: tuple[str, ...] = ()
    """SHA-256 of the artifacts that this one was made from, in the order of use."""
    mode: int = 0
    """Permission bits of the original, as its file system had them; 0 if unknown."""


@dataclass(frozen=True, slots=True)
class Folder:
    """What is known of a folder in a version, beside the artifacts in it; it may hold none."""

    path: str
    """Empty for the folder that the whole version is."""
    time_ns: int = 0
    """When the original was last changed, as its file system said; 0 if unknown."""
    mode: int = 0
    """Permission bits of the original; 0 if unknown."""


@dataclass(frozen=True, slots=True, eq=False)
class Recording:
    """What a planner found in an artifact when it was deposited."""

    artifact: Artifact
    family: str
    """The format, as `nwb` or `edf`."""
    series: tuple[SeriesInfo, ...]
    tables: Mapping[str, Table]
    """Rows that describe, such as `electrodes` or `trials`."""


@dataclass(frozen=True, slots=True)
class Alteration:
    """One name whose value differs between two versions of an artifact; `None` where there is none."""

    name: str
    before: str | None
    after: str | None


@dataclass(frozen=True, slots=True)
class Change:
    """What differs at one path between two versions."""

    path: str
    before: Artifact | None
    after: Artifact | None
    shared: int
    """Bytes of the newer original whose frames the older artifact is kept in too."""
    metadata: tuple[Alteration, ...] = ()
    series: tuple[Alteration, ...] = ()


class FindingKind(StrEnum):
    """What a verification says about one object."""

    SOUND = "sound"
    REPAIRABLE = "repairable"
    LOST = "lost"


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of verifying one stored object or one artifact."""

    subject: str
    """An address, or the storage key of an object."""
    result: FindingKind
    size: int
    """Bytes that were read and checked."""
    detail: str = ""
    """One sentence where the result is not sound."""


@dataclass(frozen=True, slots=True)
class ArtifactSpec:
    """What a depositor says of an artifact before sending its bytes."""

    path: str
    """Where it goes in the version."""
    size: int
    """Bytes that will follow."""
    kind: Kind | None = None
    """Overrides what the content shows."""
    time_ns: int = 0
    """When the original was last changed; 0 if unknown."""
    metadata: Metadata = field(default_factory=dict)
    made_from: tuple[str, ...] = ()
    """SHA-256 of the artifacts that it was made from."""
    mode: int = 0
    """Permission bits of the original; 0 if unknown."""


@dataclass(frozen=True, slots=True)
class ReplayResult:
    """What a replay did."""

    outputs: Mapping[str, AnyArray]
    """By output name; the first axis is time."""
    receipt: Mapping[str, Scalar]
    """Student, stimulus and output digests and the execution profile, flat, as stored in the replay's metadata."""
    saved: Artifact | None
    """The replay as an artifact, if it was to be saved."""


@dataclass(frozen=True, slots=True)
class GroupResult:
    """What a replay of several students did."""

    form: str
    """The form in which they ran, as the execution profile names it."""
    reason: str
    """Why, a sentence without a full stop."""
    results: tuple[ReplayResult, ...]
    """In the order of the students."""


class Likeness(StrEnum):
    """How a replay that was run again compares with what was kept."""

    BIT = "bit"
    """Every bit is equal."""
    TOLERANCE = "tolerance"
    """Every value lies within a stated bound."""
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class OutputLikeness:
    """How one output compares."""

    name: str
    likeness: Likeness
    bound: float
    """The largest difference that counts as alike, in the output's unit."""
    largest: float
    """The largest difference that was seen; infinite where shapes, types or gaps differ."""
    rms: float
    """Root mean square of what was kept."""
    detail: str = ""
    """One sentence where more is to be said."""


@dataclass(frozen=True, slots=True)
class ReplayVerdict:
    """What running a kept replay again has shown."""

    address: Address
    likeness: Likeness
    outputs: tuple[OutputLikeness, ...]
    profile: tuple[Alteration, ...]
    """Parts of the execution profile that differ from those at the time."""
    reference: tuple[OutputLikeness, ...]
    """The same outputs against the ONNX reference evaluator; empty where it was not asked for."""
    reference_steps: int = 0
    """How many steps the reference evaluator has run."""
    detail: str = ""
    """One sentence where more is to be said."""
