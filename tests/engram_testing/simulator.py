"""An archive in memory that keeps no secrets and watches what a door does with it."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

import numpy as np

from engram_client.views import Views
from engram_format.address import Address, AnyAddress, ContentAddress
from engram_format.catalog import (
    AnyArray,
    Artifact,
    ArtifactSpec,
    Change,
    Finding,
    FindingKind,
    Folder,
    Kind,
    Memory,
    Recording,
    ReplayResult,
    Scalar,
    Vault,
    Version,
)
from engram_format.errors import AlreadyExists, Conflict, InvalidInput, NotFound, Precondition
from engram_server.engine.minds import Minds

MIB = 1 << 20
ENDLESS = "endless"
"""Reading the artifact at this path never comes to an end."""


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@dataclass
class Session:
    """What of a session survives its stream."""

    memory: Address
    arrived: dict[str, bytearray] = field(default_factory=dict)
    version: Version | None = None
    open: bool = False


class SimulatedDeposit:
    def __init__(self, archive: SimulatedArchive, session: Session, name: str) -> None:
        self._archive = archive
        self._session = session
        self._name = name
        self._spec: ArtifactSpec | None = None
        self._bytes = bytearray()
        self._ended: dict[str, tuple[ArtifactSpec, bytes]] = {}

    @property
    def session(self) -> str:
        return self._name

    @property
    def committed_version(self) -> Version | None:
        return self._session.version

    def begin(self, spec: ArtifactSpec, plan: object = None) -> int:
        self._archive.called()
        if self._spec is not None:
            raise Precondition(f"artifact {self._spec.path!r} is not ended: end it before another begins")
        self._spec = spec
        # Whole mebibytes are durable at once, the rest is lost in a cut.
        self._bytes = self._session.arrived.setdefault(spec.path, bytearray())
        del self._bytes[self.durable(spec.path) :]
        return len(self._bytes)

    def durable(self, path: str) -> int:
        return len(self._session.arrived.get(path, b"")) // MIB * MIB

    def write(self, data: bytes | memoryview) -> None:
        self._archive.called()
        if self._spec is None:
            raise Precondition("no artifact is begun: begin one before its bytes are sent")
        time.sleep(self._archive.write_s)
        self._archive.written += len(data)
        self._bytes += data
        if len(self._bytes) > self._spec.size:
            raise InvalidInput(f"{self._spec.path!r} has more than {self._spec.size} bytes: it grew during the deposit")

    def end(self, *, sha256: str) -> Artifact:
        self._archive.called()
        if self._spec is None:
            raise Precondition("no artifact is begun: begin one before it is ended")
        spec, data, self._spec = self._spec, bytes(self._bytes), None
        if hashlib.sha256(data).hexdigest() != sha256:
            raise InvalidInput(f"{spec.path!r} arrived with another SHA-256: it changed during the deposit")
        self._ended[spec.path] = (spec, data)
        return self._archive.artifact_value(self._session.memory.at(1), spec, data)

    def put(self, spec: ArtifactSpec, data: bytes, *, sha256: str, plan: object = None) -> Callable[[], Artifact]:
        self.write(data[self.begin(spec, plan) :])
        artifact = self.end(sha256=sha256)
        return lambda: artifact

    def commit(self, *, message: str, author: str, folders: Iterable[Folder] = ()) -> Version:
        self._archive.called()
        if self._session.version is None:
            self._session.version = self._archive.add_version(
                self._session.memory, self._ended, message=message, author=author, folders=folders
            )
        return self._session.version

    def close(self) -> None:
        if self._session.open:
            self._session.open = False
            self._archive.closed_deposits += 1

    def __enter__(self) -> SimulatedDeposit:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class SimulatedArchive(Views):
    """Fulfils the `Archive` protocol; `fail_with` makes every call raise. Its minds are real, of the students it is given."""

    url = "simulated"

    def __init__(self) -> None:
        self.fail_with: BaseException | None = None
        self.write_s = 0.0
        self.written = 0
        self.closed_deposits = 0
        self.pulled = 0
        self.closed_reads = 0
        self.closed = False
        self.sessions: dict[str, Session] = {}
        self._vaults: dict[str, Vault] = {}
        self._versions: dict[Address, list[Version]] = {}
        self._artifacts: dict[Address, dict[str, tuple[Artifact, bytes]]] = {}
        self._folders: dict[Address, list[Folder]] = {}
        self._lock = threading.Lock()
        self.minds = Minds(self)

    def called(self) -> None:
        if self.fail_with is not None:
            raise self.fail_with

    def create_vault(self, name: str) -> Vault:
        self.called()
        if name in self._vaults:
            raise AlreadyExists(f"vault {name!r} exists: choose another name")
        self._vaults[name] = Vault(name=Address(name).vault, vault_id=sha256(name.encode())[:32], epoch=0)
        return self._vaults[name]

    def vaults(self) -> Iterator[Vault]:
        self.called()
        yield from (self._vaults[name] for name in sorted(self._vaults))

    def vault(self, name: str) -> Vault:
        self.called()
        if name not in self._vaults:
            raise NotFound(f"vault {name!r} does not exist: see `engram vault ls`")
        return self._vaults[name]

    def memory(self, address: Address) -> Memory:
        for memory in self.memories(address.vault):
            if memory.address == address:
                return memory
        raise NotFound(f"there is no memory {address}")

    def memories(self, vault: str) -> Iterator[Memory]:
        self.called()
        if vault not in self._vaults:
            raise NotFound(f"vault {vault!r} does not exist: see `engram vault ls`")
        for address in sorted((a for a in self._versions if a.vault == vault), key=str):
            newest = self._versions[address][-1]
            yield Memory(
                address=address, head=newest.address.version, artifacts=newest.artifacts, time_ns=newest.time_ns
            )

    def versions(self, memory: Address) -> Iterator[Version]:
        self.called()
        yield from reversed(self._versions[self._memory(memory)])

    def version(self, address: Address) -> Version:
        self.called()
        versions = self._versions[self._memory(address)]
        number = address.version or len(versions)
        if number > len(versions):
            raise NotFound(f"{address} does not exist: the newest version is @{len(versions)}")
        return versions[number - 1]

    def artifacts(self, address: Address, *, after: str = "") -> Iterator[Artifact]:
        for path, (artifact, _) in sorted(self._artifacts[self.version(address).address].items()):
            if path > after and (address.path is None or path == address.path or path.startswith(f"{address.path}/")):
                yield artifact

    def folders(self, address: Address) -> Iterator[Folder]:
        for folder in self._folders[self.version(address).address]:
            if address.path is None or folder.path == address.path or folder.path.startswith(f"{address.path}/"):
                yield folder

    def artifact(self, address: AnyAddress) -> Artifact:
        self.called()
        return self._find(address)[0]

    def open_deposit(self, memory: Address, *, session: str) -> SimulatedDeposit:
        self.called()
        with self._lock:
            state = self.sessions.setdefault(session, Session(memory))
            if state.open:
                raise Conflict(f"session {session} is open elsewhere: close it there")
            state.open = True
        return SimulatedDeposit(self, state, session)

    def read(self, address: AnyAddress, *, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
        self.called()
        if isinstance(address, Address) and address.path == ENDLESS:
            return self._endless()
        if start < 0 or (stop is not None and stop < start):
            raise InvalidInput(f"the range {start}:{stop} cannot be: give 0 <= start <= stop")
        # In one piece, larger than a message may be.
        return iter([self._find(address)[1][start:stop]])

    def recording(self, address: AnyAddress) -> Recording:
        self.called()
        self._find(address)
        raise Precondition(f"{address} is kept as plain bytes: no planner has seen it")

    def read_series(self, address: AnyAddress, series: str, **_: object) -> Iterator[AnyArray]:
        self.recording(address)
        return iter(())

    def read_all(self, address: Address) -> Iterator[tuple[Artifact, Iterator[bytes]]]:
        for artifact in self.artifacts(address):
            yield artifact, self.read(artifact.address)

    def diff(self, first: Address, second: Address) -> Iterator[Change]:
        """Sees other bytes and nothing else; nothing is shared."""
        self.called()
        old, new = (self._artifacts[self.version(address).address] for address in (first, second))
        for path in sorted({*old, *new}):
            before, after = (held[path][0] if path in held else None for held in (old, new))
            if before is None or after is None or before.sha256 != after.sha256:
                yield Change(path=path, before=before, after=after, shared=0)

    def _endless(self) -> Iterator[bytes]:
        try:
            while True:
                self.called()
                self.pulled += MIB
                yield bytes(MIB)
        finally:
            self.closed_reads += 1

    def find(
        self,
        conditions: Iterable[str],
        *,
        kind: Kind | None = None,
        scope: Address | None = None,
        warn: Callable[[str], None] = lambda _: None,
    ) -> Iterator[Artifact]:
        """Knows conditions on metadata and with `=` alone."""
        self.called()
        asked = [condition.partition("=")[::2] for condition in conditions]
        names = set()
        for memory, versions in self._versions.items():
            if scope is not None and scope not in (memory, Address(memory.vault)):
                continue
            for artifact, _ in self._artifacts[versions[-1].address].values():
                names.update(artifact.metadata)
                if kind in (None, artifact.kind) and all(str(artifact.metadata.get(n)) == v for n, v in asked):
                    yield artifact
        for name, _ in asked:
            if name not in names:
                warn(f"no artifact has anything named {name!r}")

    def annotate(
        self,
        address: Address,
        *,
        set: Mapping[str, Scalar] = MappingProxyType({}),  # noqa: A002
        unset: Iterable[str] = (),
        message: str = "",
        author: str = "",
    ) -> Artifact:
        self.called()
        memory = self._memory(address)
        held = self._artifacts[self.version(memory).address]
        artifact, data = held[address.path or ""]
        metadata = {name: value for name, value in artifact.metadata.items() if name not in tuple(unset)} | dict(set)
        changed = ArtifactSpec(
            path=address.path or "", size=len(data), kind=artifact.kind, time_ns=artifact.time_ns, metadata=metadata
        )
        kept = {
            path: (ArtifactSpec(path=path, size=a.size, kind=a.kind, time_ns=a.time_ns, metadata=a.metadata), d)
            for path, (a, d) in held.items()
        }
        version = self.add_version(memory, kept | {changed.path: (changed, data)}, message=message, author=author)
        return self._artifacts[version.address][changed.path][0]

    def replay(
        self,
        student: AnyAddress,
        stimulus: AnyAddress | Mapping[str, AnyArray],
        *,
        save_to: Address | None = None,
        author: str = "",
        sample: int | None = None,
    ) -> ReplayResult:
        """A student that returns twice its stimulus."""
        self.called()
        arrays = (
            stimulus if isinstance(stimulus, Mapping) else {"": np.frombuffer(self._find(stimulus)[1], dtype="<f4")}
        )
        saved = None
        if save_to is not None:
            spec = ArtifactSpec(path="replay.npz", size=3, kind=Kind.REPLAY)
            version = self.add_version(save_to, {spec.path: (spec, b"npz")}, message="replay", author=author)
            saved = self._artifacts[version.address][spec.path][0]
        receipt = {"student": str(student), "inputs": len(arrays), "exact": True, "seconds": 0.5}
        if sample is not None:
            receipt["sample.seed"] = sample
        return ReplayResult(outputs={f"{k}2": v + v for k, v in arrays.items()}, receipt=receipt, saved=saved)

    def verify(self, scope: Address | None = None, *, read_data: bool = True) -> Iterator[Finding]:
        self.called()
        yield Finding(subject=str(scope), result=FindingKind.SOUND, size=10 if read_data else 0)
        yield Finding(subject="o/1", result=FindingKind.REPAIRABLE, size=7, detail="one shard of ten is damaged")
        yield Finding(subject="o/2", result=FindingKind.LOST, size=0, detail="it is gone")

    def close(self) -> None:
        self.minds.close()
        self.closed = True

    def __enter__(self) -> SimulatedArchive:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def add_version(
        self,
        memory: Address,
        artifacts: Mapping[str, tuple[ArtifactSpec, bytes]],
        *,
        message: str,
        author: str,
        folders: Iterable[Folder] = (),
    ) -> Version:
        versions = self._versions.setdefault(memory, [])
        version = Version(
            address=memory.at(len(versions) + 1),
            version_id=sha256(f"{memory}{len(versions)}".encode()),
            parents=tuple(v.version_id for v in versions[-1:]),
            author=author,
            message=message,
            time_ns=1_700_000_000_123_456_789 + len(versions),
            artifacts=len(artifacts),
            added=len(artifacts),
        )
        versions.append(version)
        self._folders[version.address] = sorted(folders, key=lambda folder: folder.path)
        self._artifacts[version.address] = {
            path: (self.artifact_value(version.address, spec, data), data) for path, (spec, data) in artifacts.items()
        }
        return version

    @staticmethod
    def artifact_value(version: Address, spec: ArtifactSpec, data: bytes) -> Artifact:
        return Artifact(
            address=version.of(spec.path),
            kind=spec.kind or Kind.FILE,
            size=len(data),
            sha256=sha256(data),
            stored_size=len(data) + 28,
            frames=1,
            time_ns=spec.time_ns,
            mode=spec.mode,
            metadata=dict(spec.metadata),
            made_from=spec.made_from,
        )

    def _memory(self, address: Address) -> Address:
        memory = address.at(None).of(None)
        if memory not in self._versions:
            raise NotFound(f"memory {memory} does not exist: see `engram ls {memory.vault}`")
        return memory

    def _find(self, address: AnyAddress) -> tuple[Artifact, bytes]:
        if isinstance(address, ContentAddress):
            everything = (found for version in self._artifacts.values() for found in version.values())
            for artifact, data in everything:
                if artifact.sha256 == address.sha256:
                    return artifact, data
            raise NotFound(f"{address} is in no vault: check the digest")
        artifacts = self._artifacts[self.version(address).address]
        if address.path not in artifacts:
            raise NotFound(f"{address} does not exist: see `engram ls {address.vault}/{address.memory}`")
        return artifacts[address.path]
