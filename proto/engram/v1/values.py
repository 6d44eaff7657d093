"""The catalogue's values as messages, and messages as the catalogue's values; both ends of the wire use these functions.

`message_of_x` raises `InvalidInput` where a value does not fit the wire (a number beyond 64 bits, a time beyond the year
9999, a text with half a surrogate pair). `x_of` raises `InvalidInput` where a message says nothing that this version of the
contract knows.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import islice
from typing import Final

from google.protobuf.timestamp_pb2 import Timestamp

from engram.v1 import archive_pb2 as pb
from engram.v1.names import name_of, parse_name
from engram_format.catalog import (
    Artifact,
    ArtifactSpec,
    Finding,
    FindingKind,
    Folder,
    Kind,
    Memory,
    Metadata,
    Scalar,
    Vault,
    Version,
)
from engram_format.errors import InvalidInput

_FOLDERS_TOGETHER: Final = 1000
"""With the longest of paths they take about 1 MiB."""
_KINDS = {kind: pb.ArtifactKind.Value(f"ARTIFACT_KIND_{kind.name}") for kind in Kind}
_KINDS_BACK = {number: kind for kind, number in _KINDS.items()}
_RESULTS = {result: pb.FindingKind.Value(f"FINDING_KIND_{result.name}") for result in FindingKind}
_RESULTS_BACK = {number: result for result, number in _RESULTS.items()}


@contextmanager
def fitting(what: str) -> Iterator[None]:
    """Say of `what` that it does not fit the wire if protobuf refuses a value inside."""
    try:
        yield
    except (ValueError, TypeError, OverflowError) as error:
        raise InvalidInput(f"{what} cannot be sent: {error}") from error


def message_of_scalar(value: Scalar) -> pb.Scalar:
    """Say a scalar by its type; `True` is a flag and no number."""
    with fitting(f"the metadata value {value!r:.100}"):
        if isinstance(value, bool):
            return pb.Scalar(flag=value)
        if isinstance(value, int):
            return pb.Scalar(integer=value)
        if isinstance(value, float):
            return pb.Scalar(number=value)
        return pb.Scalar(text=value)


def scalar_of(message: pb.Scalar) -> Scalar:
    """Return the value that is set."""
    match message.WhichOneof("value"):
        case "text":
            return message.text
        case "integer":
            return message.integer
        case "number":
            return message.number
        case "flag":
            return message.flag
        case _:
            raise InvalidInput("a metadata value is empty: set its text, integer, number or flag")


def scalars_of(messages: Mapping[str, pb.Scalar]) -> dict[str, Scalar]:
    """Return a map of scalars in the order of its names, since the wire keeps none."""
    return {name: scalar_of(messages[name]) for name in sorted(messages)}


def set_scalars(target: Mapping[str, pb.Scalar], values: Metadata) -> None:
    """Fill a message's map field with scalars."""
    for name, value in values.items():
        with fitting(f"the metadata name {name!r:.100}"):
            # A protobuf map makes its entry when it is asked for, and knows no assignment.
            target[name].CopyFrom(message_of_scalar(value))


def _time_of(source: Timestamp) -> int:
    with fitting("the time"):
        source.ToDatetime()  # which checks its bounds, as converting to nanoseconds does not
        return source.ToNanoseconds()


def _set_time(target: Timestamp, time_ns: int) -> None:
    if time_ns:
        with fitting(f"the time {time_ns} ns"):
            target.FromNanoseconds(time_ns)


def message_of_vault(vault: Vault) -> pb.Vault:
    """Say a vault."""
    return pb.Vault(name=f"vaults/{vault.name}", vault_id=vault.vault_id, epoch=vault.epoch)


def vault_of(message: pb.Vault) -> Vault:
    """Return a vault."""
    return Vault(name=parse_name(message.name).vault, vault_id=message.vault_id, epoch=message.epoch)


def message_of_memory(memory: Memory) -> pb.Memory:
    """Say a memory."""
    message = pb.Memory(name=name_of(memory.address), head=memory.head, artifacts=memory.artifacts)
    _set_time(message.commit_time, memory.time_ns)
    return message


def memory_of(message: pb.Memory) -> Memory:
    """Return a memory."""
    return Memory(
        address=parse_name(message.name),
        head=message.head,
        artifacts=message.artifacts,
        time_ns=_time_of(message.commit_time),
    )


def message_of_version(version: Version) -> pb.Version:
    """Say a version."""
    message = pb.Version(
        name=name_of(version.address),
        version_id=version.version_id,
        parents=version.parents,
        author=version.author,
        message=version.message,
        artifacts=version.artifacts,
        added=version.added,
    )
    _set_time(message.commit_time, version.time_ns)
    return message


def version_of(message: pb.Version) -> Version:
    """Return a version."""
    return Version(
        address=parse_name(message.name),
        version_id=message.version_id,
        parents=tuple(message.parents),
        author=message.author,
        message=message.message,
        time_ns=_time_of(message.commit_time),
        artifacts=message.artifacts,
        added=message.added,
    )


def _kind_of(number: pb.ArtifactKind.ValueType) -> Kind:
    if number not in _KINDS_BACK:
        raise InvalidInput(f"artifact kind {number} is unknown to this version of Engram: upgrade it")
    return _KINDS_BACK[number]


def message_of_artifact(artifact: Artifact) -> pb.Artifact:
    """Say an artifact."""
    message = pb.Artifact(
        name=name_of(artifact.address),
        kind=_KINDS[artifact.kind],
        size=artifact.size,
        sha256=artifact.sha256,
        stored_size=artifact.stored_size,
        frames=artifact.frames,
        made_from=artifact.made_from,
        mode=artifact.mode,
    )
    _set_time(message.modify_time, artifact.time_ns)
    set_scalars(message.metadata, artifact.metadata)
    return message


def artifact_of(message: pb.Artifact) -> Artifact:
    """Return an artifact."""
    return Artifact(
        address=parse_name(message.name),
        kind=_kind_of(message.kind),
        size=message.size,
        sha256=message.sha256,
        stored_size=message.stored_size,
        frames=message.frames,
        time_ns=_time_of(message.modify_time),
        metadata=scalars_of(message.metadata),
        made_from=tuple(message.made_from),
        mode=message.mode,
    )


def message_of_spec(spec: ArtifactSpec) -> pb.ArtifactSpec:
    """Say what a depositor says of an artifact."""
    with fitting(f"the description of {spec.path!r:.200}"):
        message = pb.ArtifactSpec(path=spec.path, size=spec.size, made_from=spec.made_from, mode=spec.mode)
    if spec.kind is not None:
        message.kind = _KINDS[spec.kind]
    _set_time(message.modify_time, spec.time_ns)
    set_scalars(message.metadata, spec.metadata)
    return message


def spec_of(message: pb.ArtifactSpec) -> ArtifactSpec:
    """Return what a depositor says of an artifact."""
    return ArtifactSpec(
        path=message.path,
        size=message.size,
        kind=None if message.kind == pb.ARTIFACT_KIND_UNSPECIFIED else _kind_of(message.kind),
        time_ns=_time_of(message.modify_time),
        metadata=scalars_of(message.metadata),
        made_from=tuple(message.made_from),
        mode=message.mode,
    )


def message_of_folder(folder: Folder) -> pb.Folder:
    """Say what is known of a folder."""
    with fitting(f"the folder {folder.path!r:.200}"):
        message = pb.Folder(path=folder.path, mode=folder.mode)
    _set_time(message.modify_time, folder.time_ns)
    return message


def messages_of_folders(folders: Iterable[Folder]) -> Iterator[list[pb.Folder]]:
    """Say what is known of folders, in groups of which each fits one message."""
    messages = map(message_of_folder, folders)
    while group := list(islice(messages, _FOLDERS_TOGETHER)):
        yield group


def folder_of(message: pb.Folder) -> Folder:
    """Return what is known of a folder."""
    return Folder(path=message.path, time_ns=_time_of(message.modify_time), mode=message.mode)


def message_of_finding(finding: Finding) -> pb.Finding:
    """Say a finding."""
    return pb.Finding(
        subject=finding.subject, result=_RESULTS[finding.result], size=finding.size, detail=finding.detail
    )


def finding_of(message: pb.Finding) -> Finding:
    """Return a finding."""
    if message.result not in _RESULTS_BACK:
        raise InvalidInput(f"verification result {message.result} is unknown to this version of Engram: upgrade it")
    return Finding(
        subject=message.subject, result=_RESULTS_BACK[message.result], size=message.size, detail=message.detail
    )
