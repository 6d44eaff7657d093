"""The facade: every use case of an archive, once, without transport. The command line and gRPC are two doors to it.

What looking and finding do not need is loaded at first use, for a command is to answer at once.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from functools import partial
from types import MappingProxyType, TracebackType
from typing import TYPE_CHECKING, Self

from engram_format.address import Address, AnyAddress, ContentAddress
from engram_format.catalog import (
    AnyArray,
    Artifact,
    Change,
    Finding,
    FindingKind,
    Folder,
    GroupResult,
    Kind,
    Memory,
    Recording,
    ReplayResult,
    ReplayVerdict,
    Scalar,
    Vault,
    Version,
)
from engram_format.condition import Condition
from engram_format.errors import FormatError, InvalidInput, NotFound, Precondition
from engram_format.ids import Digest, SessionId
from engram_format.ports import Perturbation
from engram_server.engine import describe, finding
from engram_server.engine.recordings import Recordings
from engram_server.engine.sessions import OpenSessions
from engram_store.reader import Found, VaultReader
from engram_store.repository import Repository

if TYPE_CHECKING:
    from engram_server.engine.deposit import Deposit
    from engram_server.engine.minds import Minds
    from engram_server.engine.open_minds import OpenMinds
    from engram_store.difference import Side


class Archive:
    """An archive opened in this process. Thread-safe; close it, or use it in a `with` block."""

    def __init__(self, repository: Repository) -> None:
        self._repository = repository
        self._sessions = OpenSessions()
        self._recordings = Recordings(self._find)
        self._minds: Minds | None = None
        self._opening = threading.Lock()

    @property
    def url(self) -> str:
        """Where the archive is."""
        return self._repository.url

    @property
    def minds(self) -> Minds:
        """The minds of this archive's students; their processes end with the archive."""
        from engram_server.engine.minds import Minds  # not needed for depositing and reading

        with self._opening:
            if self._minds is None:
                self._minds = Minds(self)
            return self._minds

    def create_vault(self, name: str) -> Vault:
        """Create a vault with keys of its own; raises `AlreadyExists`."""
        return describe.vault(self._repository.create_vault(name))

    def vaults(self) -> Iterator[Vault]:
        """Yield the vaults that this identity can open, by name."""
        return map(describe.vault, self._repository.vaults())

    def vault(self, name: str) -> Vault:
        """Return one vault; raises `NotFound` or `Denied`."""
        return describe.vault(self._repository.vault(name))

    def memory(self, address: Address) -> Memory:
        """Return one memory; raises `NotFound`."""
        reader, name = self._memory(address)
        return describe.memory(reader, reader.history().newest(name))

    def memories(self, vault: str) -> Iterator[Memory]:
        """Yield the memories of a vault, by name."""
        reader = self._repository.vault(vault)
        history = reader.history()
        if not history.commits:
            history.require_readable()
        for name in sorted(history.commits):
            yield describe.memory(reader, history.newest(name))

    def versions(self, memory: Address) -> Iterator[Version]:
        """Yield the versions of a memory, newest first."""
        reader, name = self._memory(memory)
        history = reader.history()
        for number in range(history.newest(name).number, 0, -1):
            yield describe.version(memory.vault, history.at(name, number))

    def version(self, address: Address) -> Version:
        """Return one version; without a number the newest."""
        reader, name = self._memory(address)
        return describe.version(address.vault, reader.commit(name, address.version))

    def artifacts(self, address: Address, *, after: str = "") -> Iterator[Artifact]:
        """Yield the artifacts of a version whose path is the address's path or lies below it; without their metadata.

        Those up to the path `after` are left out, and cost nothing.
        """
        reader, name = self._memory(address)
        commit = reader.commit(name, address.version)
        for found in reader.entries(commit, below=address.path, after=after):
            yield describe.artifact(address.vault, found)

    def folders(self, address: Address) -> Iterator[Folder]:
        """Yield what is known of the folders of a version, or of the one at the address's path and those in it, by path."""
        reader, name = self._memory(address)
        yield from reader.folders(reader.commit(name, address.version), below=address.path)

    def artifact(self, address: AnyAddress) -> Artifact:
        """Return one artifact with its metadata, by address or by content; raises `NotFound`."""
        reader, found = self._find(address)
        return describe.artifact(reader.store.name, found, reader.manifest(found))

    def open_deposit(self, memory: Address, *, session: str) -> Deposit:
        """Open or resume the deposit session `session` into a memory, which is made if it is new."""
        from engram_server.engine import examining
        from engram_server.engine.deposit import Deposit

        name = _memory_name(memory)
        if memory.version is not None or memory.path is not None:
            raise InvalidInput(f"a deposit goes into a memory, not into {memory}: write {memory.vault}/{name}")
        wanted = _session_id(session)
        self._sessions.enter(wanted)
        try:
            opened = self._repository.open_deposit(memory.vault, name, session=wanted)
        except BaseException:
            self._sessions.leave(wanted)
            raise
        examine = partial(examining.examine, lambda: self.minds)
        return Deposit(opened, memory, examine=examine, closed=partial(self._sessions.leave, wanted))

    def read(self, address: AnyAddress, *, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
        """Yield an artifact's bytes from `start` up to `stop`, checked; a whole read also checks the SHA-256."""
        opened = self._recordings.open(address)
        return opened.reader.read(opened.manifest, start=start, stop=stop, recipe=opened.recipe)

    def recording(self, address: AnyAddress) -> Recording:
        """Return what was found in an artifact when it was deposited: its series and tables.

        Raises `Precondition` for an artifact that is kept as plain bytes.
        """
        return self._recordings.recording(address)

    def read_series(
        self,
        address: AnyAddress,
        series: str,
        *,
        start: int = 0,
        stop: int | None = None,
        channels: tuple[int, int | None] | None = None,
        physical: bool = False,
    ) -> Generator[AnyArray, None, None]:
        """Yield a slice of a series, samples `start` up to `stop`, in blocks (time, channel, ...) along time, at least one.

        `channels` are the first and the one after the last, `None` for all that follow. With `physical`, float64 in the
        series' unit. Raises `NotFound` with the nearest names, and `InvalidInput` for a slice that is not in the series.
        """
        return self._recordings.read_series(
            address, series, start=start, stop=stop, channels=channels, to_physical=physical
        )

    def find(
        self,
        conditions: Iterable[str | Condition],
        *,
        kind: Kind | None = None,
        scope: Address | None = None,
        warn: Callable[[str], None] = lambda _: None,
    ) -> Iterator[Artifact]:
        """Yield the artifacts of the newest versions that fulfil all conditions, with their metadata.

        `scope` is a vault, a memory or a folder of its newest version; `None` means every memory that can be read. `warn`
        is told of a name that no artifact has, with the nearest ones.
        """
        asked = [item if isinstance(item, Condition) else Condition.parse(item) for item in conditions]
        readers = self._repository.vaults() if scope is None else iter([self._repository.vault(scope.vault)])
        return finding.find(readers, asked, kind=kind, scope=scope, warn=warn)

    def annotate(
        self,
        address: Address,
        *,
        set: Mapping[str, Scalar] = MappingProxyType({}),  # noqa: A002 - the word of the command line
        unset: Iterable[str] = (),
        message: str = "",
        author: str = "",
    ) -> Artifact:
        """Change the metadata of an artifact of a memory's newest version, as a new version; return it there.

        Its bytes are not touched. Raises `Conflict` where the artifact was replaced meanwhile, and `Precondition` where
        the address names an older version.
        """
        from engram_server.engine import examining
        from engram_store.annotation import Annotation

        reader, name = self._memory(address)
        if address.path is None:
            raise InvalidInput(f"{address} names no artifact: write vault/memory:path")
        newest = reader.history().newest(name).number
        if address.version not in (None, newest):
            reader.history().at(name, address.version)
            raise Precondition(
                f"{address} is of an older version, which does not change: annotate {address.at(None)}, "
                f"the artifact of the newest version @{newest}"
            )
        annotation = Annotation(dict(set), frozenset(unset))
        examining.check_annotation(annotation, lambda: self.artifact(address))
        commit = self._repository.annotate(
            address.vault, name, address.path, annotation, message=message, author=author
        )
        return self.artifact(address.at(commit.number))

    def read_all(self, address: Address) -> Iterator[tuple[Artifact, Iterator[bytes]]]:
        """Yield the artifacts at an address or below it, by path, each with its bytes.

        Bytes that cannot be read raise `Damaged` where they end, and the next artifact follows; bytes that are not taken
        before the next artifact is asked for are skipped.
        """
        from engram_store.many import read_many

        reader, name = self._memory(address)
        commit = reader.history().at(name, address.version)
        for found, manifest, pieces in read_many(reader, reader.entries(commit, below=address.path)):
            yield describe.artifact(address.vault, found, manifest), pieces

    def diff(self, first: Address, second: Address) -> Iterator[Change]:
        """Yield what differs between two versions, or two artifacts or folders in them, by path.

        What is the same in both is left out. Across vaults nothing is shared.
        """
        from engram_server.engine import differences

        return differences.changes(self._side(first), self._side(second))

    def replay(
        self,
        student: AnyAddress,
        stimulus: AnyAddress | Mapping[str, AnyArray],
        *,
        save_to: Address | None = None,
        author: str = "",
        sample: int | None = None,
    ) -> ReplayResult:
        """Run a student over a stimulus, and save what it did as a new version of `save_to` if given.

        With a seed to `sample` from, what is drawn from responses of rates and probabilities is in `<response>.drawn`. The
        noise that a student takes is drawn from it too, else from the contract's.
        """
        from engram_server.engine import replaying  # not needed for depositing and reading

        return replaying.replay(
            self, student, stimulus, save_to=save_to, author=author, sample=sample, now_ns=time.time_ns()
        )

    def replay_group(
        self,
        students: Sequence[AnyAddress],
        stimulus: AnyAddress | Mapping[str, AnyArray],
        *,
        save_to: Address | None = None,
        author: str = "",
    ) -> GroupResult:
        """Run several students over one stimulus, as one network where that wins, and say in which form and why."""
        from engram_server.engine import replaying  # not needed for depositing and reading

        return replaying.replay_group(self, students, stimulus, save_to=save_to, author=author, now_ns=time.time_ns())

    def open_minds(
        self,
        student: AnyAddress,
        *,
        minds: int | None = None,
        initial_state: Mapping[str, AnyArray] | AnyAddress | None = None,
        constants: Mapping[str, Scalar] | None = None,
        execution: Mapping[str, Scalar] | None = None,
        perturbation: Perturbation | None = None,
        sample: int | None = None,
        allow_nan: bool = False,
    ) -> OpenMinds:
        """Open minds of a student, each with its own state, that advance together; without `minds` as many as the state holds."""
        from engram_server.engine.open_minds import OpenMinds, open_session

        opened = self.minds.wait(
            open_session(
                self,
                student,
                minds=minds,
                execution=execution,
                constants=constants,
                initial_state=initial_state,
                perturbation=perturbation,
                sample=sample,
            )
        )
        return OpenMinds(self, opened, allow_nan=allow_nan)

    def verify_replay(self, address: AnyAddress, *, reference: bool = False) -> ReplayVerdict:
        """Run a kept replay, or a student's golden trace, again and say how alike it is: bit, tolerance or fail.

        With `reference` also by the ONNX reference evaluator, over the first steps.
        """
        from engram_server.engine import verifying  # not needed for depositing and reading

        return verifying.verify_replay(self, address, reference=reference)

    def verify(self, scope: Address | None = None, *, read_data: bool = True) -> Iterator[Finding]:
        """Check everything that `scope` (all vaults if `None`) stands on."""
        readers = list(self._repository.vaults()) if scope is None else [self._repository.vault(scope.vault)]
        for reader in readers:
            yield from self._verify(reader, scope, read_data=read_data)

    def close(self) -> None:
        """Let go of threads and processes."""
        with self._opening:
            minds, self._minds = self._minds, None
        if minds is not None:
            minds.close()
        self._repository.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _verify(self, reader: VaultReader, scope: Address | None, *, read_data: bool) -> Iterator[Finding]:
        from engram_store.verify import all_objects, objects_of, verify_log, verify_objects, verify_versions

        log = list(verify_log(reader))
        yield from log
        if any(
            finding.subject == f"{reader.store.name}: log" and finding.result is FindingKind.LOST for finding in log
        ):
            return  # without a log there is nothing to follow
        history = reader.history()
        if scope is None or scope.memory is None:
            yield from verify_objects(reader, all_objects(history))
            commits = [commit for _, versions in sorted(history.commits.items()) for commit in reversed(versions)]
            yield from verify_versions(reader, commits, read_data=read_data)
            return
        commit = history.at(scope.memory, scope.version)
        if scope.path is not None and not any(reader.entries(commit, below=scope.path)):
            reader.find(commit, scope.path)
        yield from verify_objects(reader, objects_of(reader, commit, below=scope.path))
        yield from verify_versions(reader, [commit], below=scope.path, read_data=read_data)

    def _side(self, address: Address) -> Side:
        from engram_store.difference import Side

        reader, name = self._memory(address)
        return Side(reader, reader.commit(name, address.version), address.path)

    def _memory(self, address: Address) -> tuple[VaultReader, str]:
        name = _memory_name(address)
        return self._repository.vault(address.vault), name

    def _find(self, address: AnyAddress) -> tuple[VaultReader, Found]:
        if isinstance(address, ContentAddress):
            for reader in self._repository.vaults():
                found = reader.find_content(Digest.parse(address.sha256))
                if found is not None:
                    return reader, found
            raise NotFound(f"no vault that you can open holds an artifact {address}")
        if address.path is None:
            raise InvalidInput(f"{address} names no artifact: write vault/memory[@version]:path")
        reader, name = self._memory(address)
        commit = reader.commit(name, address.version)
        return reader, reader.find(commit, address.path)


def _memory_name(address: Address) -> str:
    if address.memory is None:
        raise InvalidInput(f"{address} names no memory: write {address.vault}/memory")
    return address.memory


def _session_id(text: str) -> SessionId:
    try:
        return SessionId.parse(text)
    except FormatError as error:
        raise InvalidInput(f"{text!r} is no session id: it has 32 lower-case hex digits") from error
