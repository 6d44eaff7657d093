"""Extraction: a student made by asking a teacher, with stimuli that are chosen by what is not known yet."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from engram_fidelity.experiment import Stimulus
from engram_fidelity.extract.ensemble import Ensemble, fit
from engram_fidelity.extract.history import History
from engram_fidelity.extract.ledger import Query, digest
from engram_fidelity.extract.policies import Policy, choose
from engram_fidelity.metrics.likelihood import bits_per_spike
from engram_fidelity.one_thread import on_one_thread
from engram_fidelity.responder import Responder
from engram_fidelity.seeds import derived
from engram_format.errors import InvalidInput

Float = NDArray[np.float64]

_HELD_OUT: Final = 0.1
"""Share of all queries, at least four, that are random and never trained on."""


@dataclass(frozen=True, slots=True, eq=False)
class Held:
    """What the held-out random queries say of a student. NaN where there is nothing to say, such as without any spike."""

    queries: int
    correlation: float
    """Between expected and counted spikes, over bins and queries; the mean over cells that spiked."""
    bits_per_spike: float
    """Against each cell's mean in the held-out queries."""
    rate_ratio: float
    """Expected over counted spikes."""


@dataclass(frozen=True, slots=True, eq=False)
class Extracted:
    """A student, the ledger of what it was made from, and what is known of it."""

    ensemble: Ensemble
    history: History
    ledger: tuple[Query, ...]
    held: Held

    def expected(self, stimulus: Stimulus) -> Float:
        """Return the student's expected counts (time, cell) for a stimulus from rest."""
        return self.ensemble.expected(self.history.of(stimulus))


@dataclass(slots=True, eq=False)
class _Extraction:
    """An extraction while it goes on."""

    teacher: Responder
    pool: Stimulus
    """(stimulus, time, channel)"""
    features: Float
    """(stimulus, time, feature)"""
    seed: int
    updates: int
    clock: Callable[[], str]
    counts: dict[int, Float] = field(default_factory=dict)
    ledger: list[Query] = field(default_factory=list)

    def ask(self, chosen: list[tuple[int, Policy]], held_out: int) -> None:
        """Ask the chosen stimuli; as many random ones among them as said are held out."""
        for number, policy in chosen:
            stimulus = self.pool[number]
            answer = self.teacher.sample(stimulus, repeats=1, seed=derived(self.seed, len(self.ledger)))
            held = policy == Policy.RANDOM and held_out > 0
            held_out -= held
            query = Query(len(self.ledger) + 1, policy, held, number, digest(stimulus), digest(answer[0]), self.clock())
            self.counts[number] = answer[0].astype(np.float64)
            self.ledger.append(query)

    def rows(self, wanted: Callable[[Query], bool]) -> tuple[Float, Float, NDArray[np.intp]]:
        """Return features, counts and numbers of queries of those that are wanted, a row for each bin."""
        numbers = [query.stimulus for query in self.ledger if wanted(query)]
        group = np.repeat(np.arange(len(numbers)), self.features.shape[1])
        features = self.features[numbers].reshape(-1, self.features.shape[2])
        return features, np.concatenate([self.counts[number] for number in numbers]), group

    def learned(self, *, updates: int | None = None) -> Ensemble:
        """Fit to everything but what is held out, then calibrate on its random part."""
        features, counts, group = self.rows(lambda query: not query.held_out)
        fitted = fit(
            features, counts, group, seed=derived(self.seed, 7, len(self.ledger)), updates=updates or self.updates
        )
        plain = self.rows(lambda query: query.policy == Policy.RANDOM and not query.held_out)
        return fitted.calibrated(plain[0], plain[1])

    def predict(self, ensemble: Ensemble) -> Callable[[NDArray[np.intp]], Float]:
        """Return what tells each member's expectations of stimuli of the pool."""

        def expectations(numbers: NDArray[np.intp]) -> Float:
            each = ensemble.each(self.features[numbers].reshape(-1, self.features.shape[2]))
            return each.reshape(ensemble.members, len(numbers), -1).swapaxes(0, 1)

        return expectations


@on_one_thread
def extract(
    teacher: Responder,
    pool: Stimulus,
    *,
    queries: int,
    policy: Policy = Policy.MIX,
    history: History | None = None,
    seed: int = 0,
    batch: int = 40,
    updates: int = 250,
    clock: Callable[[], str] = lambda: "",
    told: Callable[[int, Ensemble], None] = lambda _queries, _ensemble: None,
) -> Extracted:
    """Make a student of `teacher` from at most `queries` of the stimuli in `pool` (stimulus, time, channel).

    The first batch is random. After each batch, but not the last, an ensemble is fitted and chooses the next; `told` hears of it.
    `history` says how much of the past the student sees, by default nothing but the bin itself. Raises `InvalidInput` for
    too few queries, a pool with fewer stimuli than queries, or of other channels than the teacher's.
    """
    if pool.ndim != 3 or pool.shape[2] != teacher.channels:
        raise InvalidInput(
            f"the pool is {pool.shape} where the teacher takes (stimulus, time, {teacher.channels}): bring its channels"
        )
    if not 20 <= queries <= len(pool):
        raise InvalidInput(
            f"{queries} queries cannot be made of a pool of {len(pool)} stimuli: ask from 20 to that many, or bring more stimuli"
        )
    seen = history or History.none()
    features = seen.of(pool)
    work = _Extraction(teacher, pool, features, seed, updates, clock)
    rng = np.random.default_rng([seed, 0x90C1])
    wanted = max(4, round(_HELD_OUT * queries))
    predict = None
    while len(work.ledger) < queries:
        free = np.setdiff1d(np.arange(len(pool)), list(work.counts))
        size = min(batch, queries - len(work.ledger))
        if queries - len(work.ledger) - size < batch / 4:
            size = queries - len(work.ledger)
        chosen = choose(policy, free, size, predict=predict, rng=rng)
        share = (len(work.ledger) + len(chosen)) / queries
        held_so_far = sum(query.held_out for query in work.ledger)
        work.ask(chosen, _held_now(policy, wanted, share, held_so_far, first=len(chosen) if predict is None else 0))
        if len(work.ledger) < queries:
            ensemble = work.learned()
            told(len(work.ledger), ensemble)
            predict = work.predict(ensemble)
    ensemble = work.learned()
    told(len(work.ledger), ensemble)
    return Extracted(ensemble, seen, tuple(work.ledger), _held(work, ensemble))


def _held_now(policy: Policy, wanted: int, share: float, so_far: int, *, first: int) -> int:
    """How many of a batch's random queries are held out: in step with the queries, or at once where later ones are not random."""
    if policy in {Policy.BALD, Policy.DISAGREE}:
        return min(wanted, first // 4)
    return round(wanted * share) - so_far


def _held(work: _Extraction, ensemble: Ensemble) -> Held:
    features, counts, group = work.rows(lambda query: query.held_out)
    expected = ensemble.expected(features)
    number = int(group.max()) + 1
    heard = counts.std(axis=0) > 0
    if not heard.any():
        return Held(number, float("nan"), float("nan"), float("nan"))
    correlations = [np.corrcoef(expected[:, cell], counts[:, cell])[0, 1] for cell in np.flatnonzero(heard)]
    bits = bits_per_spike(counts, expected, counts.mean(axis=0))
    return Held(number, float(np.mean(correlations)), bits, float(expected.sum() / counts.sum()))
