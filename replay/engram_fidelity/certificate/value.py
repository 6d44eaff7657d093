"""What a certificate holds: numbers with their intervals, what was tested, on which data, and the grade.

A certificate is a value; its canonical form is JSON with sorted names, in ASCII, floats printed so that they read back to the
bit. A number that cannot be told is `null`, beside it the reason.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Final

from engram_format.catalog import Scalar
from engram_format.errors import InvalidInput

FORM: Final = "engram-certificate-1"
"""What the form is called; one with other names or other meanings gets another."""

Json = dict[str, "Json"] | list["Json"] | str | int | float | bool | None


@dataclass(frozen=True, slots=True)
class Estimate:
    """A number with the interval that holds 95 % of its resamples, or the reason why it is not known."""

    value: float | None
    low: float | None = None
    high: float | None = None
    missing: str = ""
    """One clause, where there is no value."""

    @classmethod
    def of(cls, value: float, low: float = math.nan, high: float = math.nan, *, missing: str) -> Estimate:
        """Return the estimate; of a value that is not finite, that it is missing."""
        if not math.isfinite(value):
            return cls(None, missing=missing)
        known = math.isfinite(low) and math.isfinite(high)
        return cls(float(value), float(low) if known else None, float(high) if known else None)


@dataclass(frozen=True, slots=True)
class Measure:
    """One measure: of each cell, their mean and their 10th percentile."""

    name: str
    bin_s: float
    """Width of the bins, or of the windows, that it was taken in."""
    cells: tuple[Estimate, ...]
    """In the order of the cells."""
    mean: Estimate
    p10: Estimate
    """The 10th percentile over the cells that have a value."""


@dataclass(frozen=True, slots=True)
class Named:
    """Exactly one artifact."""

    address: str
    """Where it was found, with its version number."""
    sha256: str


@dataclass(frozen=True, slots=True)
class Data:
    """What the student was held against."""

    experiment_sha256: str
    stimuli: tuple[str, ...]
    repeats: int
    """Of each stimulus; where one was shown more often, so many of its first."""
    bins: int
    """That were scored, of all stimuli together."""
    spikes: int
    """In the scored bins of all repeats and cells."""
    cells: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Settings:
    """What decides every number beside student and data."""

    seed: int
    ceiling: bool = True
    """Whether repeats were asked for."""
    bin_s: float = 0.005
    coarse_s: float = 0.02
    """The wider bins, of which correlations are told too."""
    window_s: float = 0.1
    """What a discriminator sees at once."""
    score_from_s: float = 0.36
    """How much of the beginning of each stimulus is not scored."""
    alpha: float = 0.05
    epsilons: tuple[float, ...] = (0.1, 0.05, 0.03, 0.02, 0.01)
    epsilon: float = 0.05
    """What grade A asks for."""
    resamples: int = 1000


@dataclass(frozen=True, slots=True)
class Discriminator:
    """How well a classifier tells the student's windows from the network's, cross-validated over repeats."""

    classifier: str
    auc: Estimate
    """0.5: not at all; the chance that it finds a real window more real than one of the student."""
    control: Estimate
    """The same of real repeats against other real repeats."""


@dataclass(frozen=True, slots=True)
class Switch:
    """The evidence that no discriminator of the panel is right in more than 1/2 + epsilon of a repeat's pairs."""

    epsilon: float
    log10_e: float
    """Of the panel's least e-value, at the end."""
    reached_at: int | None
    """After how many repeats it first reached 1/alpha; `null` if never."""
    repeats_needed: int | None
    """By an exact double that scatters as much, about; `null` where no number is enough."""


@dataclass(frozen=True, slots=True)
class Betting:
    """Bets on repeats, pairs of windows each, every discriminator having learned from earlier repeats only."""

    repeats: int
    """That were bet on."""
    pairs: int
    """Of them, in which somebody fired; of the others nothing can be told."""
    right: Mapping[str, float]
    """By discriminator: the share of pairs in which it took the real window for the real one."""
    guard_log10_e: float
    """Of the evidence that they differ, at the end."""
    guard_at: int | None
    """After how many repeats it first reached 1/alpha; `null` if never."""
    switches: tuple[Switch, ...]

    @property
    def quiet(self) -> bool:
        """Whether the guard never fired."""
        return self.guard_at is None


@dataclass(frozen=True, slots=True)
class FreeRunning:
    """What the student does when it runs freely: its own draws, never its answer to the network's spikes."""

    measures: tuple[Measure, ...]
    noise_correlation: Mapping[str, Estimate]
    """Means over pairs of cells `real` and `student`, and `pattern`, the correlation of both over the pairs."""
    discriminators: tuple[Discriminator, ...]
    betting: Betting | None
    control: Betting | None
    """Real repeats against other real repeats."""
    epsilon_with_power: float | None
    """The least epsilon that so many repeats would have shown of an exact double; `null` without bets."""


@dataclass(frozen=True, slots=True)
class Domain:
    """Which stimuli the certificate speaks of."""

    unit: str
    channels: int
    lowest: tuple[float, ...]
    """By channel."""
    highest: tuple[float, ...]
    history_s: float
    """How much of the stimulus's past makes a point of stimulus space."""
    cells: int
    """Into which the stimulus space of the recording is divided."""
    visited: int
    """By the stimuli of this certificate."""
    visited_in_training: Estimate
    """The share of those that the student's training had visited."""


@dataclass(frozen=True, slots=True)
class Drift:
    """Whether the donor was the same from the first repeat to the last."""

    auc: Estimate
    """Of a logistic discriminator between the first half of the repeats and the second."""
    log10_e: float | None
    """Of the evidence that the halves differ, at the end."""
    flagged: bool
    """Whether that evidence ever reached 1/alpha."""
    rate_trend: Measure
    """Change of the rate from the first repeat to the last, as a share of the mean rate, of a straight line."""


@dataclass(frozen=True, slots=True)
class Graded:
    """The verdict in one letter, with its reason."""

    letter: str
    reason: str


@dataclass(frozen=True, slots=True)
class Certificate:
    """How alike one student and one recording are."""

    student: Named
    recording: Named
    data: Data
    settings: Settings
    measures: tuple[Measure, ...]
    """Of the expected counts against the repeats."""
    ceilings: tuple[Measure, ...]
    """What the repeats themselves reach."""
    free_running: FreeRunning
    domain: Domain
    drift: Drift | None
    grade: Graded
    versions: Mapping[str, str] = field(default_factory=dict)
    profile: Mapping[str, Scalar] = field(default_factory=dict)
    """The execution profile of the student, as in receipts of replays."""
    plasticity: str = "none"
    """A student is a snapshot: it does not learn as the tissue would."""

    def measure(self, name: str, *, bin_s: float | None = None) -> Measure:
        """Return a measure by its name, of the widest bins unless told; raises `KeyError`."""
        every = (*self.measures, *self.ceilings, *self.free_running.measures)
        found = [one for one in every if one.name == name and bin_s in (None, one.bin_s)]
        if not found:
            raise KeyError(name)
        return max(found, key=lambda one: one.bin_s)

    def to_json(self) -> bytes:
        """Return the canonical form."""
        told = plain(self)
        return canonical({"form": FORM, **told} if isinstance(told, dict) else told)


def plain(value: object) -> Json:
    """Return a value as JSON has it: dataclasses and mappings as objects, tuples as lists."""
    if is_dataclass(value) and not isinstance(value, type):
        told = {one.name: plain(getattr(value, one.name)) for one in fields(value)}
        return {name: held for name, held in told.items() if not (name == "missing" and held == "")}
    if isinstance(value, Mapping):
        return {str(name): plain(held) for name, held in value.items()}
    if isinstance(value, tuple | list):
        return [plain(held) for held in value]
    if isinstance(value, float) and not math.isfinite(value):
        raise InvalidInput("a certificate holds a number that is not finite: say that it is missing, and why")
    if value is None or isinstance(value, str | int | float | bool):
        return value
    raise InvalidInput(
        f"a certificate holds {type(value).__name__}, which JSON does not know: write a number or a text"
    )


def canonical(told: Json) -> bytes:
    """Return the one form of a JSON value: names sorted, no blanks, ASCII, a line feed at the end."""
    return json.dumps(told, sort_keys=True, separators=(",", ":"), allow_nan=False).encode("ascii") + b"\n"
