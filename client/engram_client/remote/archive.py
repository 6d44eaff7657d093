"""An archive behind a service."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Final, Protocol, Self, TypeVar

import grpc

from engram.v1 import archive_pb2 as pb
from engram.v1 import archive_pb2_grpc
from engram.v1.names import name_of
from engram.v1.values import (
    artifact_of,
    finding_of,
    fitting,
    folder_of,
    memory_of,
    vault_of,
    version_of,
)
from engram_client.remote.channel import Credentials, ServiceUrl, credentials, open_channel
from engram_client.remote.deposit import RemoteDeposit
from engram_client.remote.differences import changes
from engram_client.remote.errors import translated
from engram_client.remote.finding import RemoteFinding
from engram_client.remote.minds import RemoteMinds, open_minds
from engram_client.remote.recordings import RemoteRecordings
from engram_client.remote.replaying import RemoteReplays
from engram_client.remote.restore import artifacts_of
from engram_client.views import Views
from engram_format.address import Address, AnyAddress
from engram_format.catalog import (
    AnyArray,
    Artifact,
    Change,
    Finding,
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
from engram_format.errors import InvalidInput, Precondition
from engram_format.ports import Perturbation

_PAGE_ITEMS: Final = 10_000

RequestT = TypeVar("RequestT", contravariant=True)
ResponseT = TypeVar("ResponseT", covariant=True)


class _Asking(Protocol[RequestT, ResponseT]):
    """A method that answers one message with one."""

    def __call__(
        self, request: RequestT, timeout: float | None = None, metadata: Credentials | None = None
    ) -> ResponseT: ...


class _PageRequest(Protocol):
    page_token: str


class _Page(Protocol):
    @property
    def next_page_token(self) -> str: ...


PageRequestT = TypeVar("PageRequestT", bound=_PageRequest)
PageT = TypeVar("PageT", bound=_Page)


def connect(
    url: str, *, token: str | None = None, ca_file: Path | None = None, timeout_s: float = 120.0
) -> RemoteArchive:
    """Return the archive that a service keeps.

    `url` is `grpc://host:port`, or `grpcs://host:port` for TLS, checked against the certificates in `ca_file` or those that
    gRPC trusts. `token` is shown with every call. A single question waits `timeout_s` for its answer; deposits, restores,
    replays and verifications may last. Nothing is sent before the first call.
    """
    parsed = ServiceUrl.parse(url)
    shown = credentials(parsed, token)
    return RemoteArchive(open_channel(parsed, ca_file=ca_file), url=url, credentials=shown, timeout_s=timeout_s)


class RemoteArchive(Views):
    """The `Archive` protocol over one gRPC channel. Thread-safe; its deposits and iterators are used by one thread at a time.

    Errors are those that the engine raised; `Unavailable` if the service does not answer.
    """

    def __init__(self, channel: grpc.Channel, *, url: str, credentials: Credentials, timeout_s: float) -> None:
        self._channel = channel
        self._url = url
        self._credentials = credentials
        self._timeout_s = timeout_s
        self._archive = archive_pb2_grpc.ArchiveServiceStub(channel)
        self._replays = RemoteReplays(channel, url=url, credentials=credentials)
        self._recordings = RemoteRecordings(channel, url=url, credentials=credentials, timeout_s=timeout_s)
        self._finding = RemoteFinding(channel, url=url, credentials=credentials, timeout_s=timeout_s)
        self._closed = False

    @property
    def url(self) -> str:
        """Where the service is."""
        return self._url

    def create_vault(self, name: str) -> Vault:
        """Create a vault with keys of its own; raises `AlreadyExists`."""
        request = pb.CreateVaultRequest(name=name_of(Address(name)))
        return vault_of(self._ask(self._archive.CreateVault, request).vault)

    def vaults(self) -> Iterator[Vault]:
        """Yield the vaults that the service can open, by name."""
        for page in self._pages(self._archive.ListVaults, pb.ListVaultsRequest(page_size=_PAGE_ITEMS)):
            yield from map(vault_of, page.vaults)

    def vault(self, name: str) -> Vault:
        """Return one vault."""
        request = pb.GetVaultRequest(name=name_of(Address(name)))
        return vault_of(self._ask(self._archive.GetVault, request).vault)

    def memory(self, address: Address) -> Memory:
        """Return one memory."""
        return memory_of(self._ask(self._archive.GetMemory, pb.GetMemoryRequest(name=name_of(address))).memory)

    def memories(self, vault: str) -> Iterator[Memory]:
        """Yield the memories of a vault, by name."""
        request = pb.ListMemoriesRequest(parent=name_of(Address(vault)), page_size=_PAGE_ITEMS)
        for page in self._pages(self._archive.ListMemories, request):
            yield from map(memory_of, page.memories)

    def versions(self, memory: Address) -> Iterator[Version]:
        """Yield the versions of a memory, newest first."""
        request = pb.ListVersionsRequest(parent=name_of(memory), page_size=_PAGE_ITEMS)
        for page in self._pages(self._archive.ListVersions, request):
            yield from map(version_of, page.versions)

    def version(self, address: Address) -> Version:
        """Return one version; without a number the newest."""
        return version_of(self._ask(self._archive.GetVersion, pb.GetVersionRequest(name=name_of(address))).version)

    def artifacts(self, address: Address, *, after: str = "") -> Iterator[Artifact]:
        """Yield the artifacts of a version whose path is the address's path or lies below it, by path.

        Those up to the path `after` are left out.
        """
        request = pb.ListArtifactsRequest(parent=name_of(address), page_size=_PAGE_ITEMS)
        for page in self._pages(self._archive.ListArtifacts, request):
            yield from (
                artifact for artifact in map(artifact_of, page.artifacts) if (artifact.address.path or "") > after
            )

    def folders(self, address: Address) -> Iterator[Folder]:
        """Yield what is known of the folders of a version, or of the one at the address's path and those in it, by path."""
        self._check_open()
        call = self._archive.ListFolders(pb.ListFoldersRequest(parent=name_of(address)), metadata=self._credentials)
        try:
            with translated(self._url):
                for response in call:
                    yield from map(folder_of, response.folders)
        finally:
            call.cancel()

    def artifact(self, address: AnyAddress) -> Artifact:
        """Return one artifact, by address or by content; raises `NotFound`."""
        return artifact_of(self._ask(self._archive.GetArtifact, pb.GetArtifactRequest(name=name_of(address))).artifact)

    def open_deposit(self, memory: Address, *, session: str) -> RemoteDeposit:
        """Open or resume the deposit session `session` (32 hex digits) into a memory, which is made if it is new."""
        self._check_open()
        with fitting(f"the session id {session!r:.100}"):
            step = pb.DepositRequest.Open(memory=name_of(memory), session=session)
        return RemoteDeposit(
            lambda steps: self._archive.Deposit(steps, metadata=self._credentials),
            step,
            url=self._url,
            timeout_s=self._timeout_s,
        )

    def read(self, address: AnyAddress, *, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
        """Yield the artifact's bytes from `start` up to `stop`, as the service has checked them.

        Raises `Damaged` instead of yielding anything that is not what was deposited.
        """
        self._check_open()
        with fitting(f"the range {start}:{stop} of {address}"):
            request = pb.RestoreRequest(name=name_of(address), start=start, stop=stop)
        call = self._archive.Restore(request, metadata=self._credentials)
        try:
            with translated(self._url):
                for response in call:
                    yield response.data
        finally:
            # A reader that stops early would otherwise leave the service sending; after the end this does nothing.
            call.cancel()

    def recording(self, address: AnyAddress) -> Recording:
        """Return what was found in an artifact when it was deposited: its series and tables."""
        self._check_open()
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
        """Yield a slice of a series, samples `start` up to `stop`, in blocks (time, channel, ...) as they arrive."""
        self._check_open()
        return self._recordings.read_series(
            address, series, start=start, stop=stop, channels=channels, physical=physical
        )

    def find(
        self,
        conditions: Iterable[str],
        *,
        kind: Kind | None = None,
        scope: Address | None = None,
        warn: Callable[[str], None] = lambda _: None,
    ) -> Iterator[Artifact]:
        """Yield the artifacts of the newest versions that fulfil all conditions, with their metadata."""
        self._check_open()
        return self._finding.find(conditions, kind=kind, scope=scope, warn=warn)

    def annotate(
        self,
        address: Address,
        *,
        set: Mapping[str, Scalar] = MappingProxyType({}),  # noqa: A002 - the word of the command line
        unset: Iterable[str] = (),
        message: str = "",
        author: str = "",
    ) -> Artifact:
        """Change the metadata of an artifact of a memory's newest version, as a new version; return it there."""
        self._check_open()
        return self._finding.annotate(address, set_=set, unset=unset, message=message, author=author)

    def read_all(self, address: Address) -> Iterator[tuple[Artifact, Iterator[bytes]]]:
        """Yield the artifacts at an address or below it, by path, each with its bytes, in one call.

        Bytes that cannot be read raise `Damaged` where they end, and the next artifact follows.
        """
        self._check_open()
        call = self._archive.RestoreAll(pb.RestoreAllRequest(parent=name_of(address)), metadata=self._credentials)

        def parts() -> Iterator[pb.RestoreAllResponse.Part]:
            with translated(self._url):
                for response in call:
                    yield from response.parts

        try:
            yield from artifacts_of(parts())
        finally:
            call.cancel()

    def diff(self, first: Address, second: Address) -> Iterator[Change]:
        """Yield what differs between two versions, or two artifacts or folders in them, by path, as it arrives."""
        self._check_open()
        return changes(self._channel, first, second, url=self._url, credentials=self._credentials)

    def replay(
        self,
        student: AnyAddress,
        stimulus: AnyAddress | Mapping[str, AnyArray],
        *,
        save_to: Address | None = None,
        author: str = "",
        sample: int | None = None,
    ) -> ReplayResult:
        """Run a student over a stimulus and return its outputs, saved as a new version of memory `save_to` if given."""
        self._check_open()
        return self._replays.replay([student], stimulus, save_to=save_to, author=author, sample=sample).results[0]

    def replay_group(
        self,
        students: Sequence[AnyAddress],
        stimulus: AnyAddress | Mapping[str, AnyArray],
        *,
        save_to: Address | None = None,
        author: str = "",
    ) -> GroupResult:
        """Run several students over one stimulus, as one network where that wins, and say in which form and why."""
        self._check_open()
        if len(students) < 2:
            raise InvalidInput("a group is of two students or more: replay a single one by itself")
        return self._replays.replay(students, stimulus, save_to=save_to, author=author)

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
    ) -> RemoteMinds:
        """Open minds of a student, each with its own state, that advance together; they live as long as the connection."""
        self._check_open()
        return open_minds(
            self._replays.tick,
            student,
            minds=minds,
            initial_state=initial_state,
            constants=constants,
            execution=execution,
            perturbation=perturbation,
            sample=sample,
            allow_nan=allow_nan,
            url=self._url,
        )

    def verify_replay(self, address: AnyAddress, *, reference: bool = False) -> ReplayVerdict:
        """Have a kept replay run again."""
        self._check_open()
        return self._replays.verify(address, reference=reference)

    def verify(self, scope: Address | None = None, *, read_data: bool = True) -> Iterator[Finding]:
        """Check everything that `scope` (all vaults if `None`) stands on, yielding a finding for each object and artifact."""
        self._check_open()
        request = pb.VerifyRequest(scope="" if scope is None else name_of(scope), read_data=read_data)
        call = self._archive.Verify(request, metadata=self._credentials)
        try:
            with translated(self._url):
                for response in call:
                    yield from map(finding_of, response.findings)
        finally:
            call.cancel()

    def close(self) -> None:
        """Close the connection; what is in progress on it is cut."""
        self._closed = True
        self._channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _check_open(self) -> None:
        if self._closed:
            raise Precondition(f"the connection to {self._url} is closed: connect again")

    def _ask(self, method: _Asking[RequestT, ResponseT], request: RequestT) -> ResponseT:
        self._check_open()
        with translated(self._url):
            return method(request, timeout=self._timeout_s, metadata=self._credentials)

    def _pages(self, method: _Asking[PageRequestT, PageT], request: PageRequestT) -> Iterator[PageT]:
        while True:
            page = self._ask(method, request)
            yield page
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token
