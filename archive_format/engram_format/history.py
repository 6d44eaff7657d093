"""Commits, and the state of a vault that follows from its log (SPEC.md section 10)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Self

from engram_format.address import check_name
from engram_format.encoding import Encodable, Fields, encode
from engram_format.errors import Damaged, FormatError, InvalidInput, NotFound
from engram_format.ids import Digest, ObjectName, SessionId
from engram_format.location import Location, LocationPage
from engram_format.record import FIRST_PREVIOUS, Record, RecordKind
from engram_format.suite import KEM_PUBLIC_BYTES


@dataclass(frozen=True, slots=True)
class Commit:
    """The description of one version, as the payload of a COMMIT record."""

    memory: str
    number: int
    parents: tuple[Digest, ...]
    author: str
    message: str
    time_ns: int
    tree: LocationPage
    """Where the pages of the tree lie, in order of path."""
    artifacts: int
    added: int
    objects: tuple[ObjectName, ...]
    """Objects that this session has written."""
    depends: tuple[ObjectName, ...]
    """Objects of earlier sessions that this version needs."""
    index_adds: LocationPage
    """Runs of the deduplication index that become valid."""
    index_drops: tuple[bytes, ...] = ()
    """Names of runs (see `run_name`) that these replace."""
    catalogue: LocationPage | None = None
    """Where the pages of the catalogue lie, in order of path; `None` where the version has none, and manifests answer."""
    folders: LocationPage | None = None
    """Where the pages of what is known of its folders lie, in order of path; `None` where nothing is known."""

    @property
    def version_id(self) -> Digest:
        """SHA-256 over the canonical description."""
        return Digest.of(self.to_bytes())

    def to_bytes(self) -> bytes:
        """Encode."""
        optional: dict[int, Encodable] = {
            field: page.to_bytes() for field, page in ((14, self.catalogue), (15, self.folders)) if page is not None
        }
        own: dict[int, Encodable] = {
            1: self.memory,
            2: self.number,
            3: [parent.raw for parent in self.parents],
            4: self.author,
            5: self.message,
            6: self.time_ns,
            7: self.tree.to_bytes(),
            8: self.artifacts,
            9: self.added,
            10: [name.raw for name in self.objects],
            11: [name.raw for name in self.depends],
            12: self.index_adds.to_bytes(),
            13: list(self.index_drops),
        }
        return encode(own | optional)

    @classmethod
    def from_bytes(cls, data: bytes, *, what: str) -> Self:
        """Decode."""
        fields = Fields.of(data, what=what, known=range(1, 16))
        try:
            memory = check_name(fields.text(1), what="memory")
        except InvalidInput as error:
            raise FormatError(f"{what} is damaged: {error}") from error
        return cls(
            memory=memory,
            number=fields.integer(2),
            parents=tuple(Digest(raw) for raw in fields.raws(3, Digest.LENGTH)),
            author=fields.text(4),
            message=fields.text(5),
            time_ns=fields.signed(6),
            tree=LocationPage.from_bytes(fields.raw(7)),
            artifacts=fields.integer(8),
            added=fields.integer(9),
            objects=tuple(ObjectName(raw) for raw in fields.raws(10, ObjectName.LENGTH)),
            depends=tuple(ObjectName(raw) for raw in fields.raws(11, ObjectName.LENGTH)),
            index_adds=LocationPage.from_bytes(fields.raw(12)),
            index_drops=fields.raws(13, _RUN_NAME_BYTES),
            catalogue=LocationPage.from_bytes(fields.raw(14)) if fields.has(14) else None,
            folders=LocationPage.from_bytes(fields.raw(15)) if fields.has(15) else None,
        )


_RUN_NAME_BYTES = ObjectName.LENGTH + 4


def run_name(location: Location) -> bytes:
    """Return the name of an index run: its object and its frame's number there."""
    return location.pack.name.raw + location.place.index.to_bytes(4, "little")


def epoch_payload(*, epoch: int, public: bytes) -> bytes:
    """Encode the payload of an EPOCH record: the vault's public key from here on."""
    return encode({1: epoch, 2: public})


def read_epoch(payload: bytes, *, seq: int) -> tuple[int, bytes]:
    """Decode an EPOCH record's payload: epoch and public key."""
    fields = Fields.of(payload, what=f"log record {seq}", known=range(1, 3))
    return fields.integer(1), fields.raw(2, KEM_PUBLIC_BYTES)


def condemn_payload(names: tuple[ObjectName, ...]) -> bytes:
    """Encode the payload of a CONDEMN record: objects that nobody may depend on from here on."""
    return encode({1: [name.raw for name in names]})


def read_condemned(payload: bytes, *, seq: int) -> tuple[ObjectName, ...]:
    """Decode a CONDEMN record's payload."""
    fields = Fields.of(payload, what=f"log record {seq}", known=range(1, 2))
    return tuple(ObjectName(raw) for raw in fields.raws(1, ObjectName.LENGTH))


@dataclass(frozen=True, slots=True)
class LogEntry:
    """One record as a reader with keys sees it."""

    record: Record
    digest: bytes
    """SHA-256 of the record's stored bytes."""
    commit: Commit | None = None
    """The decrypted payload of a COMMIT; `None` for other kinds, and where it cannot be read."""


@dataclass(frozen=True, slots=True)
class History:
    """What a vault's log says, record by record; a value that `extend` carries on.

    A record whose payload cannot be read is remembered: versions before it stay readable by number, but which version of
    a memory is the newest is then unknown, and asking for it is an error rather than an older answer.
    """

    length: int = 0
    """Number of records: the next slot."""
    last_digest: bytes = FIRST_PREVIOUS
    epoch: int = 0
    public: bytes = b""
    commits: Mapping[str, tuple[Commit, ...]] = field(default_factory=dict)
    sessions: Mapping[SessionId, tuple[str, int]] = field(default_factory=dict)
    """Memory and version number by the session that committed it."""
    condemned: frozenset[ObjectName] = frozenset()
    index_runs: Mapping[bytes, Location] = field(default_factory=dict)
    """The valid runs of the deduplication index, by name."""
    unreadable: tuple[int, ...] = ()

    def extend(self, entries: Iterable[LogEntry]) -> Self:
        """Return the history with more records, in their order; raises `FormatError` where one does not follow."""
        length, last_digest = self.length, self.last_digest
        epoch, public, condemned, unreadable = self.epoch, self.public, set(self.condemned), list(self.unreadable)
        commits = {memory: list(versions) for memory, versions in self.commits.items()}
        sessions, runs = dict(self.sessions), dict(self.index_runs)
        for entry in entries:
            record, commit = entry.record, entry.commit
            if record.seq != length or record.previous != last_digest:
                raise FormatError(
                    f"log record {record.seq} does not follow the one before it: the log was changed after it was written"
                )
            length, last_digest = length + 1, entry.digest
            match record.kind:
                case RecordKind.COMMIT:
                    versions = commits.setdefault(commit.memory, []) if commit else []
                    if commit is None or commit.number != len(versions) + 1:
                        unreadable.append(record.seq)
                        continue
                    versions.append(commit)
                    sessions[record.session] = (commit.memory, commit.number)
                    for name in commit.index_drops:
                        runs.pop(name, None)
                    runs.update((run_name(location), location) for location in commit.index_adds)
                case RecordKind.EPOCH:
                    epoch, public = read_epoch(record.payload, seq=record.seq)
                case RecordKind.CONDEMN:
                    condemned.update(read_condemned(record.payload, seq=record.seq))
                case RecordKind.AUDIT | RecordKind.HOLD | RecordKind.SWEPT:
                    pass
                case RecordKind.DROP | RecordKind.SHRED:
                    raise FormatError(
                        f"log record {record.seq} is a {record.kind.name}, which this version of Engram does not know: "
                        "use a newer one"
                    )
        return replace(
            self,
            length=length,
            last_digest=last_digest,
            epoch=epoch,
            public=public,
            commits={memory: tuple(versions) for memory, versions in commits.items() if versions},
            sessions=sessions,
            condemned=frozenset(condemned),
            index_runs=runs,
            unreadable=tuple(unreadable),
        )

    def require_readable(self) -> None:
        """Raise `Damaged` where a record cannot be read: a version that follows it would be numbered wrongly."""
        if self.unreadable:
            raise Damaged(
                f"log record {self.unreadable[0]} of this vault cannot be read: restore it from a copy before you deposit"
            )

    def newest(self, memory: str) -> Commit:
        """Return the newest version of a memory."""
        commits = self.commits.get(memory)
        if self.unreadable:
            known = f"name one, such as @{commits[-1].number}, or " if commits else ""
            raise Damaged(
                f"log record {self.unreadable[0]} cannot be read, so which version of {memory!r} is the newest is unknown: "
                f"{known}restore the record and its session's key from a copy"
            )
        if not commits:
            raise NotFound(f"there is no memory {memory!r} in this vault: 'engram ls' lists those that are")
        return commits[-1]

    def at(self, memory: str, number: int | None) -> Commit:
        """Return one version of a memory, or the newest with `None`."""
        if number is None:
            return self.newest(memory)
        commits = self.commits.get(memory, ())
        if not 1 <= number <= len(commits):
            known = f"it has versions 1 to {len(commits)}" if commits else "there is no such memory in this vault"
            raise NotFound(f"memory {memory!r} has no version {number}: {known}")
        return commits[number - 1]
