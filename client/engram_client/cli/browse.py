"""`engram ls`, `show` and `log`: what is in an archive."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import islice
from typing import TYPE_CHECKING, TypeVar

import click

from engram_client.cli.output import human_size, utc, write_fields, write_json, write_table
from engram_client.cli.recording import show_artifact
from engram_client.cli.settings import Settings, archive_options
from engram_client.sharing import Shared, shared_with_version_before
from engram_format.address import Address, ContentAddress, parse_any
from engram_format.errors import InvalidInput, NotFound

if TYPE_CHECKING:
    from engram_client.archive import Archive
    from engram_format.catalog import Artifact, Memory, Vault, Version

_ValueT = TypeVar("_ValueT")


@click.command(short_help="List vaults, memories or artifacts.")
@click.argument("address", required=False)
@archive_options
@click.option("--json", "as_json", is_flag=True, help="Print a JSON array.")
@click.pass_obj
def ls(settings: Settings, *, address: str | None, as_json: bool) -> None:
    """List vaults, the memories of a vault, or the artifacts of a version or of a folder in it.

    ADDRESS is nothing, a vault, or vault/memory[@version][:folder].
    """
    place = None if address is None else Address.parse(address)
    with settings.open() as archive:
        if place is None:
            _list(list(archive.vaults()), write_vaults, as_json=as_json)
        elif place.memory is None:
            _list(list(archive.memories(place.vault)), write_memories, as_json=as_json)
        else:
            artifacts = list(archive.artifacts(place))
            if not artifacts and place.path is not None and next(archive.folders(place), None) is None:
                raise NotFound(f"there is nothing at {place}: see 'engram ls {place.of(None)}'")
            _list(artifacts, write_artifacts, as_json=as_json)


@click.command(short_help="Show one version or artifact in full.")
@click.argument("address")
@archive_options
@click.option("--everywhere", is_flag=True, help="Look in all memories for what was made from the artifact.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.pass_obj
def show(settings: Settings, *, address: str, everywhere: bool, as_json: bool) -> None:
    """Show all that is known of a vault, a version or an artifact, and of an artifact its lineage.

    ADDRESS is a vault, vault/memory[@version][:path], or sha256: and the digest of an artifact's content.
    """
    place = parse_any(address)
    with settings.open() as archive:
        if isinstance(place, ContentAddress) or place.path is not None:
            show_artifact(archive, archive.artifact(place), everywhere=everywhere, as_json=as_json)
        elif place.memory is not None:
            version = archive.version(place)
            _show_version(archive, version, as_json=as_json)
        else:
            vault = _vault(archive, place.vault)
            _show(vault, [("vault", vault.name), ("id", vault.vault_id), ("epoch", str(vault.epoch))], as_json=as_json)


@click.command(short_help="List the versions of a memory.")
@click.argument("memory")
@archive_options
@click.option("-n", "--limit", type=click.IntRange(min=1), help="Show only so many of the newest versions.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON array.")
@click.pass_obj
def log(settings: Settings, *, memory: str, limit: int | None, as_json: bool) -> None:
    """List the versions of a memory, newest first."""
    place = Address.parse(memory)
    if place.memory is None or place.version is not None or place.path is not None:
        raise InvalidInput(f"{place} is not a memory: write vault/memory")
    with settings.open() as archive:
        versions = list(islice(archive.versions(place), limit))
    _list(versions, write_versions, as_json=as_json)


def write_vaults(vaults: Iterable[Vault]) -> None:
    """Write a table of vaults."""
    rows = ((vault.name, vault.vault_id, str(vault.epoch)) for vault in vaults)
    write_table(("VAULT", "ID", "EPOCH"), rows, right=frozenset({"EPOCH"}))


def write_memories(memories: Iterable[Memory]) -> None:
    """Write a table of memories."""
    rows = ((str(memory.address), f"@{memory.head}", str(memory.artifacts), utc(memory.time_ns)) for memory in memories)
    write_table(("MEMORY", "NEWEST", "ARTIFACTS", "COMMITTED"), rows, right=frozenset({"NEWEST", "ARTIFACTS"}))


def write_artifacts(artifacts: Iterable[Artifact]) -> None:
    """Write a table of artifacts."""
    rows = (
        (
            artifact.address.path or "",
            str(artifact.kind),
            human_size(artifact.size),
            utc(artifact.time_ns),
            artifact.sha256[:12],
        )
        for artifact in artifacts
    )
    write_table(("PATH", "KIND", "SIZE", "CHANGED", "SHA-256"), rows, right=frozenset({"SIZE"}))


def write_versions(versions: Iterable[Version]) -> None:
    """Write a table of versions, with the first line of what their authors said."""
    rows = (
        (
            f"@{version.address.version}",
            utc(version.time_ns),
            str(version.artifacts),
            str(version.added),
            version.author,
            version.message.partition("\n")[0],
        )
        for version in versions
    )
    headers = ("VERSION", "COMMITTED", "ARTIFACTS", "ADDED", "AUTHOR", "MESSAGE")
    write_table(headers, rows, right=frozenset({"VERSION", "ARTIFACTS", "ADDED"}))


def version_fields(version: Version) -> list[tuple[str, str]]:
    """Return all that is known of a version, for people."""
    return [
        ("version", str(version.address)),
        ("id", version.version_id),
        *(("parent", parent) for parent in version.parents),
        ("committed", utc(version.time_ns)),
        ("author", version.author),
        ("message", version.message),
        ("artifacts", str(version.artifacts)),
        ("added", str(version.added)),
    ]


def _show_version(archive: Archive, version: Version, *, as_json: bool) -> None:
    if as_json:
        write_json(version)
        return
    shared = shared_with_version_before(archive, version.address)
    write_fields([*version_fields(version), *shared_fields(shared)])


def shared_fields(shared: Shared | None) -> list[tuple[str, str]]:
    """Say how much was there before, for people."""
    if shared is None:
        return []
    part = f", {100 * shared.shared / shared.total:.1f} %" if shared.total else ""
    return [("shared", f"{human_size(shared.shared)} of {human_size(shared.total)} with the version before{part}")]


def _list(values: list[_ValueT], write: Callable[[list[_ValueT]], None], *, as_json: bool) -> None:
    if as_json:
        write_json(values)
    else:
        write(values)


def _show(value: object, told: list[tuple[str, str]], *, as_json: bool) -> None:
    if as_json:
        write_json(value)
    else:
        write_fields(told)


def _vault(archive: Archive, name: str) -> Vault:
    for vault in archive.vaults():
        if vault.name == name:
            return vault
    raise NotFound(f"there is no vault {name!r} that this identity can open: see 'engram vault ls'")
