"""The one interface that every door to an archive fulfils.

`engram_client.open(url)` returns an `Archive`: of a directory or an S3 prefix opened in this process, or of a service over
gRPC. Both pass one test suite (`tests/doors`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType, TracebackType
from typing import TYPE_CHECKING, Protocol, Self

from engram_client.deposit import Deposit
from engram_client.minds import Minds
from engram_format.address import Address, AnyAddress
from engram_format.catalog import (
    AnyArray,
    Artifact,
    ArtifactSpec,
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
from engram_format.ports import Perturbation

if TYPE_CHECKING:
    from engram_client.views import ArtifactView


class Archive(Protocol):
    """An archive, wherever it is. Close it, or use it in a `with` block.

    >>> with engram_client.open("/data/memories") as archive:  # doctest: +SKIP
    ...     for artifact in archive.artifacts(Address.parse("retina/bars")):
    ...         print(artifact.address, artifact.size)
    """

    @property
    def url(self) -> str:
        """Where the archive is."""
        ...

    def create_vault(self, name: str) -> Vault:
        """Create a vault with keys of its own; raises `AlreadyExists`."""
        ...

    def vaults(self) -> Iterator[Vault]:
        """Yield the vaults that this identity can open, by name."""
        ...

    def vault(self, name: str) -> Vault:
        """Return one vault; raises `NotFound` or `Denied`."""
        ...

    def memory(self, address: Address) -> Memory:
        """Return one memory; raises `NotFound`."""
        ...

    def memories(self, vault: str) -> Iterator[Memory]:
        """Yield the memories of a vault, by name."""
        ...

    def versions(self, memory: Address) -> Iterator[Version]:
        """Yield the versions of a memory, newest first."""
        ...

    def version(self, address: Address) -> Version:
        """Return one version; without a number the newest."""
        ...

    def artifacts(self, address: Address, *, after: str = "") -> Iterator[Artifact]:
        """Yield the artifacts of a version whose path is the address's path or lies below it, by path.

        Those up to the path `after` are left out.
        """
        ...

    def folders(self, address: Address) -> Iterator[Folder]:
        """Yield what is known of the folders of a version, or of the one at the address's path and those in it, by path."""
        ...

    def artifact(self, address: AnyAddress) -> Artifact:
        """Return one artifact, by address or by content; raises `NotFound`."""
        ...

    def open_deposit(self, memory: Address, *, session: str) -> Deposit:
        """Open or resume the deposit session `session` (32 hex digits) into a memory, which is made if it is new."""
        ...

    def read(self, address: AnyAddress, *, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
        """Yield the artifact's bytes from `start` up to `stop`, checked; a whole read also checks the SHA-256.

        Raises `Damaged` instead of yielding anything that is not what was deposited.
        """
        ...

    def recording(self, address: AnyAddress) -> Recording:
        """Return what was found in an artifact when it was deposited: its series and tables.

        Raises `Precondition` for an artifact that is kept as plain bytes.
        """
        ...

    def read_series(
        self,
        address: AnyAddress,
        series: str,
        *,
        start: int = 0,
        stop: int | None = None,
        channels: tuple[int, int | None] | None = None,
        physical: bool = False,
    ) -> Iterator[AnyArray]:
        """Yield a slice of a series, samples `start` up to `stop`, in blocks (time, channel, ...) along time, at least one.

        `channels` are the first and the one after the last, `None` for all that follow. With `physical`, float64 in the
        series' unit. Only what the slice touches is read. Raises `NotFound` with the nearest names, and `InvalidInput` for
        a slice that does not lie in the series.
        """
        ...

    def __getitem__(self, address: str | AnyAddress) -> ArtifactView:
        """Return a view of an artifact, whose series are indexed as numpy's arrays are.

        >>> archive["retina/bars@3:session.nwb"].series["/acquisition/E"][30_000:60_000, 0:16]  # doctest: +SKIP
        """
        ...

    def find(
        self,
        conditions: Iterable[str],
        *,
        kind: Kind | None = None,
        scope: Address | None = None,
        warn: Callable[[str], None] = lambda _: None,
    ) -> Iterator[Artifact]:
        """Yield the artifacts of the newest versions that fulfil all conditions, with their metadata, by vault, memory and path.

        A condition is a name, one of `= != < <= > >= ~` (contains) and a value, such as `series.sampling_rate>=20000`. Names
        are those of metadata; `series.name`, `.sampling_rate`, `.unit`, `.dtype`, `.samples`, `.duration`, `.channels` and
        `.role`, where one series is enough; `family`, `path`, `kind`, `size`, `sha256`, `made_from` (SHA-256, where one is enough),
        `time`, `vault`, `memory`, `version`.
        `scope` is a vault, a memory or a folder in it. `warn` is told of a name that no artifact has.
        """
        ...

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

        Its bytes are not touched. Where the memory got another version meanwhile, the change is made to that; raises
        `Conflict` where the artifact has other bytes there, and `Precondition` where the address names an older version.
        """
        ...

    def read_all(self, address: Address) -> Iterator[tuple[Artifact, Iterator[bytes]]]:
        """Yield the artifacts at an address or below it, by path and with their metadata, each with its bytes.

        For many small artifacts, which are fetched together. Bytes that cannot be read raise `Damaged` where they end, and
        the next artifact follows; bytes that are not taken before the next artifact is asked for are skipped.
        """
        ...

    def diff(self, first: Address, second: Address) -> Iterator[Change]:
        """Yield what differs between two versions, or two artifacts or folders in them, by path.

        What is the same in both is left out. Across vaults nothing is shared.
        """
        ...

    def replay(
        self,
        student: AnyAddress,
        stimulus: AnyAddress | Mapping[str, AnyArray],
        *,
        save_to: Address | None = None,
        author: str = "",
        sample: int | None = None,
    ) -> ReplayResult:
        """Run a student over a stimulus and return its outputs, saved as a new version of memory `save_to` if given.

        A stimulus is an artifact holding one `.npy` array or a `.npz` of arrays by input name, or arrays by input name
        (the name `""` stands for the student's only input); the first axis is time. With a seed to `sample` from, counts and
        events are drawn from the responses whose contract says `rate` or `bernoulli`: the outputs `<response>.drawn`. The
        noise that a student takes is drawn from it too, and without it from the contract's seed.
        """
        ...

    def replay_group(
        self,
        students: Sequence[AnyAddress],
        stimulus: AnyAddress | Mapping[str, AnyArray],
        *,
        save_to: Address | None = None,
        author: str = "",
    ) -> GroupResult:
        """Run several students over one stimulus, as `replay` does each; as one network where that wins.

        The result says in which form they ran and why. The form belongs to the execution profile: bits of one form are not
        those of another.
        """
        ...

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
    ) -> Minds:
        """Open minds of a student, each with its own state, that advance together.

        They begin with zeros, or with `initial_state`: states by name, each (mind, *step shape), or the address of a `.npz`
        of them, such as `Minds.save` makes. `minds` is by default as many as it holds, else one; the state of one mind is
        given to all. `constants` replace the student's own; `execution` chooses some of `form`, `threads`, `optimisation`
        and `prepacking`; both are by default as they were when the state was saved. `perturbation` changes the initial
        states a little, each mind's differently but the first's, which stays. `sample` is the seed from which the noise is
        drawn that a student takes, by default that of the saved state, else of the contract. Raises `Refused` for
        a student that is not let run, `InvalidInput` where something does not fit, and `Exhausted` for too many minds.
        """
        ...

    def verify_replay(self, address: AnyAddress, *, reference: bool = False) -> ReplayVerdict:
        """Run a kept replay again and say whether it is the same: to the bit, within a bound, or not.

        Student and stimulus are found by the digests in the replay; of a student, the golden trace from its deposit is run
        again. With `reference` the ONNX reference evaluator runs the first steps too.
        """
        ...

    def verify(self, scope: Address | None = None, *, read_data: bool = True) -> Iterator[Finding]:
        """Check everything that `scope` (all vaults if `None`) stands on, yielding one finding for each object and artifact.

        With `read_data`, every artifact is also decrypted and compared with its SHA-256; without, only the stored objects'
        public hashes are.
        """
        ...

    def close(self) -> None:
        """Let go of connections and threads."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


__all__ = ["AnyArray", "Archive", "ArtifactSpec", "Deposit", "Minds", "ReplayResult"]
