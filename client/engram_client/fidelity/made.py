"""What a run has made, deposited as one version: all of it or nothing."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from engram_client.journal import new_session
from engram_format.address import Address, AnyAddress, parse_any
from engram_format.catalog import Artifact, ArtifactSpec, Kind, Metadata
from engram_format.errors import InvalidInput, Precondition

if TYPE_CHECKING:
    from engram_client.archive import Archive


@dataclass(frozen=True, slots=True)
class Made:
    """One artifact that is to be deposited."""

    path: str
    data: bytes
    kind: Kind
    metadata: Metadata = field(default_factory=dict)
    made_from: tuple[str, ...] = ()
    """SHA-256 of what it was made from, where that is not all that the run was given."""


def deposit_made(
    archive: Archive, made: Sequence[Made], *, to: Address, sources: Sequence[Artifact], message: str, author: str
) -> tuple[Artifact, ...]:
    """Deposit what was made of `sources` into the memory of `to`, in one version; return the artifacts in their order."""
    origins = tuple(dict.fromkeys(source.sha256 for source in sources))
    with archive.open_deposit(to.at(None).of(None), session=new_session()) as deposit:
        for one in made:
            spec = ArtifactSpec(
                path=one.path,
                size=len(one.data),
                kind=one.kind,
                time_ns=time.time_ns(),
                metadata=one.metadata,
                made_from=one.made_from or origins,
            )
            deposit.begin(spec)
            deposit.write(one.data)
            deposit.end(sha256=hashlib.sha256(one.data).hexdigest())
        version = deposit.commit(message=message, author=author)
    return tuple(archive.artifact(version.address.of(one.path)) for one in made)


def check_place(to: Address, *, what: str) -> None:
    """Raise `InvalidInput` unless `what` can be deposited there."""
    if to.memory is None or to.version is not None or not to.path:
        raise InvalidInput(f"{to} is no place for {what}: name vault/memory:path, without a version")


def check_seed(seed: int) -> None:
    """Raise `InvalidInput` for a seed that metadata cannot hold."""
    if not 0 <= seed < 2**63:
        raise InvalidInput(f"the seed {seed!s:.40} cannot be kept: give an integer from 0 to 2^63 - 1")


def beside(archive: Archive, network: AnyAddress, name: str) -> Address:
    """Return a place in the memory of a network, for what was made of it: `name`, in which `*` stands for the time (UTC)."""
    moment = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%fZ")
    return archive.artifact(network).address.at(None).of(name.replace("*", moment))


def network_address(text: str) -> AnyAddress:
    """Return the address of a student; raises `Precondition` for an endpoint, of which there are none yet."""
    if "://" in text or text.startswith("endpoint:"):
        raise Precondition(f"{text} is an endpoint, and this archive drives none: name a student in the archive")
    return parse_any(text)


def consent_of(recording: Artifact) -> Metadata:
    """Return the statement of consent, which holds for what is made from a recording as it does for the recording."""
    return {name: value for name, value in recording.metadata.items() if name.startswith("consent.")}


def as_json(document: Mapping[str, object]) -> bytes:
    """Return a document as deposited: UTF-8, one space of indent; numbers that are none become null."""
    return (json.dumps(_plain(document), indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode()


def _plain(value: object) -> object:
    if isinstance(value, Mapping):
        return {str(name): _plain(one) for name, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(one) for one in value]
    if isinstance(value, float) and not abs(value) < float("inf"):
        return None
    return value
