"""The use case of depositing: one session as the doors see it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from types import TracebackType
from typing import Final, Self

from engram_format.address import Address
from engram_format.catalog import Artifact, ArtifactSpec, Folder, Kind, Version
from engram_format.errors import InvalidInput
from engram_format.manifest import check_metadata
from engram_format.series import Description
from engram_layout import Plan
from engram_server.engine import describe
from engram_server.engine.examining import Examine, Findings, said_by_depositor, without_contract
from engram_store.commit import Ended
from engram_store.deposit import DepositSession

_FAMILY: Final = "onnx"


class Deposit:
    """An open deposit session. Used by one thread at a time."""

    def __init__(
        self, session: DepositSession, memory: Address, *, examine: Examine, closed: Callable[[], None]
    ) -> None:
        self._session = session
        self._memory = memory
        self._examine = examine
        self._closed: Callable[[], None] | None = closed

    @property
    def session(self) -> str:
        """The session's id, 32 hex digits."""
        return str(self._session.session)

    @property
    def committed_version(self) -> Version | None:
        """The version that this session has committed, if it has."""
        commit = self._session.committed
        return describe.version(self._memory.vault, commit) if commit else None

    def begin(self, spec: ArtifactSpec, plan: Plan | None = None) -> int:
        """Start or continue an artifact; return the offset, in bytes, from which data is needed.

        A `plan` says where its arrays lie; without one its bytes are taken as they are.
        """
        return self._session.begin(spec, plan)

    def durable(self, path: str) -> int:
        """Return how many bytes of an artifact would survive a crash now."""
        return self._session.durable(path)

    def write(self, data: bytes | memoryview) -> None:
        """Take the next bytes of the artifact; waits while the pipeline is full."""
        self._session.write(data)

    def end(self, *, sha256: str) -> Artifact:
        """Close the artifact; raises `InvalidInput` where size or SHA-256 are not what was announced.

        Its address has the number that the next version would have now; another writer may take it first.
        """
        return describe.ended(self._memory, self._session.end(sha256=sha256), number=self._session.next_number)

    def put(self, spec: ArtifactSpec, data: bytes, *, sha256: str, plan: Plan | None = None) -> Callable[[], Artifact]:
        """Deposit a whole artifact; return what returns it. Nothing is left to wait for."""
        offset = self.begin(spec, plan)
        self.write(memoryview(data)[offset:])
        artifact = self.end(sha256=sha256)
        return lambda: artifact

    def commit(self, *, message: str, author: str, folders: Iterable[Folder] = ()) -> Version:
        """Make all ended artifacts durable and visible as one version; repeating it returns the same version.

        `folders` says what is known of folders in it, those that hold nothing among them. Students are examined before: their
        contracts are completed and their golden traces made, as far as they can be run. Raises `InvalidInput` for a student
        that is not what the depositor's contract says; nothing is then committed.
        """
        if self._session.committed is None and any(item.kind is Kind.STUDENT for item in self._session.ended):
            for item in self._session.seal():
                if item.kind is Kind.STUDENT:
                    self._describe(item)
        commit = self._session.commit(message=message, author=author, folders=folders)
        return describe.version(self._memory.vault, commit)

    def close(self) -> None:
        """Let go of the session's resources; uncommitted, it stays resumable."""
        self._session.close()
        if self._closed is not None:
            closed, self._closed = self._closed, None
            closed()

    def _describe(self, student: Ended) -> None:
        """Note what is found in a student beside what its depositor said of it."""
        path, said = student.spec.path, said_by_depositor(student.spec.metadata)
        found = self._examine(str(student.sha256), student.spec.size, said, lambda: self._session.original(path))
        kept = without_contract(said) if found.contract else said  # numbered in another order
        metadata = {**kept, **found.contract, **found.trace}
        try:
            check_metadata(metadata)
        except (
            InvalidInput
        ):  # a contract of very many states; what the depositor said is kept, and the network tells the rest
            metadata = {**said, **found.trace}
        self._session.describe(path, metadata=metadata, description=_with_tables(student.description, found))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _with_tables(description: Description | None, found: Findings) -> Description | None:
    if not found.tables:
        return description
    if description is None:
        return Description(_FAMILY, (), found.tables)
    return replace(description, tables={**description.tables, **found.tables})
