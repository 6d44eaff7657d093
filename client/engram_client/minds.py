"""What every door to an archive promises of minds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Protocol, Self

from engram_format.address import Address
from engram_format.catalog import AnyArray, Artifact, Scalar
from engram_format.ports import MindPort, Perturbation


class Minds(Protocol):
    """Some minds of one student, each with its own state, that advance together. Close them, or use a `with` block.

    >>> with archive.open_minds(student, minds=16) as minds:  # doctest: +SKIP
    ...     for stimulus in experiment:  # (step, mind, ...): one step, or several
    ...         response = minds.tick(stimulus)["rate_hz"]
    ...     minds.save(Address.parse("retina/bars"), author="ada")
    """

    @property
    def student_sha256(self) -> str:
        """The student's digest, 64 hex digits."""
        ...

    @property
    def ports(self) -> tuple[MindPort, ...]:
        """Stimuli, constants, states and responses; each role in the order of the network."""
        ...

    @property
    def minds(self) -> int:
        """How many minds advance together."""
        ...

    @property
    def steps(self) -> int:
        """Steps that the minds have taken, those before they were saved or forked included."""
        ...

    @property
    def profile(self) -> Mapping[str, Scalar]:
        """The execution profile as it stands in receipts."""
        ...

    @property
    def sampling_interval_s(self) -> float | None:
        """The time between two steps, in seconds; `None` where nobody said."""
        ...

    @property
    def sample_seed(self) -> int | None:
        """The seed from which the noise of the minds is drawn; `None` where the student takes none."""
        ...

    def tick(self, stimulus: Mapping[str, AnyArray] | AnyArray) -> Mapping[str, AnyArray]:
        """Advance all minds by the steps that the stimulus has; return the responses by name, each (step, mind, *step shape).

        A stimulus is one array (step, mind, *step shape) for each stimulus port, by name; or the array alone where there is
        one. How steps are divided between ticks does not change a bit. Raises `InvalidInput` for arrays that do not fit or
        hold NaN or infinity, and `Exhausted` past the deadline; the minds are then as before.
        """
        ...

    def fork(
        self, rows: Sequence[int], *, perturbation: Perturbation | None = None, sample: int | None = None
    ) -> Minds:
        """Return new minds that begin with the states of these minds; a mind may be taken more than once.

        With a `perturbation`, each but the first of the new minds begins a little differently. Noise is drawn for a mind by its
        place among the new minds, which so differ, from the seed of these minds or from `sample`.
        """
        ...

    def state(self) -> Mapping[str, AnyArray]:
        """Return the states by name, each (mind, *step shape)."""
        ...

    def save(self, address: Address, *, author: str = "") -> Artifact:
        """Keep the states as an artifact, from which `open_minds` goes on exactly, in a new version of the memory; return it.

        Without a path in the address, the artifact is named by the time.
        """
        ...

    def close(self) -> None:
        """Let go of the minds; closing twice is no error."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...
