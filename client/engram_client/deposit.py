"""What every door to an archive promises of a deposit session."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Protocol, Self

from engram_format.catalog import Artifact, ArtifactSpec, Folder, Version
from engram_layout import Plan


class Deposit(Protocol):
    """One open deposit session: several artifacts, one version.

    For each artifact: `begin`, `write` from the offset that `begin` returned, `end`; or `put`, if it is small. Then `commit`.
    A session that was cut is opened again under the same id and goes on from what was durable. Closing without `commit` leaves
    it resumable.
    """

    @property
    def session(self) -> str:
        """The session's id, 32 hex digits, chosen by the depositor."""
        ...

    @property
    def committed_version(self) -> Version | None:
        """The version that this session has committed, if its `commit` succeeded earlier."""
        ...

    def begin(self, spec: ArtifactSpec, plan: Plan | None = None) -> int:
        """Start or continue the artifact; return the offset from which bytes are still needed.

        A `plan` says where its arrays lie, which makes it smaller and lets it be sliced; without one its bytes are kept.
        """
        ...

    def write(self, data: bytes | memoryview) -> None:
        """Take the next bytes of the artifact; blocks while the pipeline is full."""
        ...

    def end(self, *, sha256: str) -> Artifact:
        """Close the artifact; raises `InvalidInput` if size or SHA-256 (hex) of what arrived differ from what was announced."""
        ...

    def put(self, spec: ArtifactSpec, data: bytes, *, sha256: str, plan: Plan | None = None) -> Callable[[], Artifact]:
        """Deposit a whole artifact of at most 1 MiB; return what waits until it has arrived, and returns it or raises.

        Where the archive is far, several may be on the way. After one has failed, the session is to be opened again.
        """
        ...

    def commit(self, *, message: str, author: str, folders: Iterable[Folder] = ()) -> Version:
        """Make all ended artifacts durable and visible as one version; repeating it returns the same version.

        `folders` says what is known of folders in it, those that hold nothing among them; of other folders the version
        knows what the one before it did.
        """
        ...

    def close(self) -> None:
        """Let go of the session's resources."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...
