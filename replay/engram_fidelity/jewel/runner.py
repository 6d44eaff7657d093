"""A run of a jewel: presentation after presentation, predict, observe, then learn or judge."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from engram_fidelity.extras import need
from engram_fidelity.jewel.evidence import RATES, Evidence, design_effect
from engram_fidelity.jewel.learner import Learner, Lesson, loss
from engram_fidelity.jewel.panel import Discriminator, default_panel
from engram_fidelity.jewel.rates import spread
from engram_fidelity.jewel.source import Presentation
from engram_fidelity.jewel.states import Event, Machine, State
from engram_fidelity.jewel.windows import Pairs, cut
from engram_fidelity.responder import RateResponder
from engram_fidelity.seeds import derived
from engram_fidelity.sequential import threshold
from engram_format.errors import InvalidInput

Number = float | int | str
_MOST_DRAWS: Final = 1000
_MOST_ATTEMPTS: Final = 1000
_WORTHWHILE: Final = 1e-3
"""Nats per spike by which learning must better the student on a new presentation, to be called improving."""
_PATIENCE: Final = 2
"""Presentations in a row without that, after which the student has settled."""
_SPREADS: Final = 2.0
"""The network's own scatter between presentations, in standard deviations, below which no rate is told apart."""


@dataclass(frozen=True, slots=True)
class Rules:
    """What was agreed before the run. Raises `InvalidInput` for what cannot be."""

    alpha: float = 0.05
    """The probability of switching to a student that can be told apart, over the whole run, as far as windows are independent.

    For rates it holds whatever the network does; `windows.design_effect` in the log says how far it may be off for the others.
    """
    eps: float = 0.05
    """How much more often than by chance any discriminator may tell real from student."""
    rate_eps: float = 0.05
    """By what share the student's rate may be off; more if the network itself scatters more between presentations."""
    draws: int = 8
    """How often the student answers each stimulus, to be compared with the network's one answer."""
    window_s: float = 0.1
    score_from_s: float = 0.36
    """The beginning of each presentation is not judged: a student that begins at rest needs to warm up."""
    burn_in: int = 3
    """Presentations that discriminators, and the scatter of rates, are learned from before anything is judged."""
    retrain_pairs: int = 200
    """Pairs after which the discriminators are trained anew."""
    attempts: int = 1
    """Students that may be judged, each at alpha / attempts."""
    sentinel_every: int = 4
    """After switching, the network is shown one presentation in so many."""
    seed: int = 0

    def __post_init__(self) -> None:
        threshold(self.alpha)
        if not 0 < self.eps < 0.5:
            raise InvalidInput(f"an eps of {self.eps} is none: choose more than 0 and less than 0.5")
        if not 0 < self.rate_eps < 1:
            raise InvalidInput(f"a rate_eps of {self.rate_eps} is none: choose a share between 0 and 1")
        if min(self.draws, self.burn_in - 1, self.retrain_pairs, self.attempts, self.sentinel_every) < 1:
            raise InvalidInput("draws, pairs, attempts and sentinels are counted from 1, and the burn-in from 2")
        if self.draws > _MOST_DRAWS or self.attempts > _MOST_ATTEMPTS:
            raise InvalidInput(
                f"a run takes at most {_MOST_DRAWS} draws and {_MOST_ATTEMPTS} attempts: ask for fewer of them"
            )


@dataclass(frozen=True, slots=True)
class Transition:
    """One change of state, with the numbers it rests on."""

    number: int
    before: State
    after: State
    why: str
    presentation: int
    """Counted from 0."""
    pair: int
    """Pairs of windows seen since the run began, this one included."""
    judged: int
    """Pairs that the student of this attempt has been judged by."""
    elapsed_s: float
    numbers: Mapping[str, Number]


@dataclass(frozen=True, slots=True, eq=False)
class Run:
    """What a run came to."""

    rules: Rules
    state: State
    attempt: int
    transitions: tuple[Transition, ...]
    presentations: int
    pairs: int
    two_afc: Mapping[str, float]
    """Of each discriminator, how often it was right about the student judged last; NaN without any pair."""
    margin: float
    """By what share the rate of the student judged last might be off; NaN if none was judged."""
    course: NDArray[np.float64]
    """After each judged pair: pair, log e of the guard, least log e of the switch, then each switch: (pair, 3 + judge)."""
    judges: tuple[str, ...]
    """Names of the last columns of `course`."""
    student: RateResponder
    """As it was in the end: what the student was, or what it has become by learning."""

    @property
    def switched_at(self) -> int | None:
        """How many judged pairs made the student eligible that then took over; `None` if none did."""
        found = [change for change in self.transitions if change.after == State.ELIGIBLE]
        return found[-1].judged if any(change.after == State.SWITCHED for change in self.transitions) else None


@dataclass(slots=True, eq=False)
class _Jewel:
    """A run while it goes on."""

    student: RateResponder
    rules: Rules
    bin_s: float
    learner: Learner | None
    panel: tuple[Discriminator, ...]
    told: Callable[[Transition], None]
    machine: Machine
    current: RateResponder
    earlier: RateResponder
    """As it was before its last lesson."""
    evidence: Evidence = field(init=False)
    past: list[Pairs] = field(default_factory=list)
    lessons: list[Lesson] = field(default_factory=list)
    transitions: list[Transition] = field(default_factory=list)
    course: list[tuple[float, ...]] = field(default_factory=list)
    outcomes: list[NDArray[np.float64]] = field(default_factory=list)
    pairs: int = 0
    judged: int = 0
    trained_at: int = -1
    idle: int = 0
    changed: bool = True
    numbers: dict[str, Number] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.evidence = self._fresh(self.rules.rate_eps)

    def present(self, index: int, trial: Presentation) -> None:
        """Take one presentation: predict, observe, then learn or judge."""
        if self.machine.state == State.SWITCHED and index % self.rules.sentinel_every:
            return
        pairs = self._pairs(index, trial)
        if self.machine.state == State.LEARNING:
            self.pairs += len(pairs)
            self._learn(index, trial)
            self.past.append(pairs)
            if self._settled():
                self._begin()
                self._move(Event.SETTLED, index, trial)
            return
        self._judge(index, trial, pairs)
        self.past.append(pairs)

    def _pairs(self, index: int, trial: Presentation) -> Pairs:
        rules = self.rules
        if trial.counts.shape[1] != self.student.cells or trial.stimulus.shape[1] != self.student.channels:
            raise InvalidInput(
                f"the student has {self.student.channels} channels and {self.student.cells} cells, the network "
                f"{trial.stimulus.shape[1]} and {trial.counts.shape[1]}: bring a student of these electrodes"
            )
        expected = self.current.expected(trial.stimulus, seed=derived(rules.seed, 1, index))
        drawn = self.current.sample(trial.stimulus, repeats=rules.draws, seed=derived(rules.seed, 2, index))
        bins, skip = max(1, round(rules.window_s / self.bin_s)), round(rules.score_from_s / self.bin_s)
        return cut(trial.counts, drawn, expected, bins=bins, skip=skip)

    def _learn(self, index: int, trial: Presentation) -> None:
        """Compare the student before and after its last lesson on what neither has seen, then learn from that too."""
        if self.learner is None:
            return
        skip, seed = round(self.rules.score_from_s / self.bin_s), derived(self.rules.seed, 3, index)
        if self.lessons:
            losses = [
                loss(student.expected(trial.stimulus, seed=seed), trial, skip=skip)
                for student in (self.earlier, self.current)
            ]
            gain = losses[0] - losses[1]
            self.idle = self.idle + 1 if gain < _WORTHWHILE else 0
            self.numbers["learning.gain_nats_per_spike"] = gain
        self.lessons.append(Lesson(trial, self.student.expected(trial.stimulus, seed=seed)))
        self.earlier, self.current = self.current, self.learner.learned(self.student, self.lessons)
        self.changed = True

    def _settled(self) -> bool:
        if len(self.past) < self.rules.burn_in or not self.changed:
            return False
        return self.learner is None or self.idle >= _PATIENCE

    def _begin(self) -> None:
        """Train the panel on the past and begin without evidence."""
        if self.machine.attempt >= self.rules.attempts:
            return
        self.changed, self.judged, self.outcomes = False, 0, []
        self._train()
        self.evidence = self._fresh(self._margin())

    def _margin(self) -> float:
        """How far the student's rate may be off, by what is known of the network's own scatter."""
        return max(self.rules.rate_eps, _SPREADS * spread(self.past))

    def _fresh(self, margin: float) -> Evidence:
        names = tuple(judge.name for judge in self.panel)
        return Evidence.start(
            names, eps=self.rules.eps, margin=margin, draws=self.rules.draws, cells=self.student.cells
        )

    def _train(self) -> None:
        seed = derived(self.rules.seed, 4, self.pairs)
        self.panel = tuple(judge.trained(self.past, seed=seed) for judge in self.panel)
        self.trained_at = self.pairs

    def _judge(self, index: int, trial: Presentation, pairs: Pairs) -> None:
        """Judge the windows one after another, then the whole presentation; stop judging once the guard has fired."""
        if self.pairs - self.trained_at >= self.rules.retrain_pairs:
            self._train()
        margin = self._margin()
        scores = tuple(judge.judge(pairs) for judge in self.panel)
        outcomes = np.stack([score.outcomes for score in scores], axis=1)
        self.outcomes.append(outcomes)
        state = self.machine.state
        for window in range(len(pairs)):
            self.evidence = self.evidence.after_window(tuple(outcomes[window].tolist()))
            self.pairs += 1
            self.judged += 1
            if window == len(pairs) - 1:
                self.evidence = self.evidence.after_presentation(pairs, scores, margin=margin)
            self._note()
            self._decide(index, trial)
            if self.machine.state in {State.LEARNING, State.REVERTED}:
                return
        self._move(Event.ENDED, index, trial)
        if self.machine.state == State.SWITCHED and state != State.SWITCHED:
            self.evidence = self._fresh(self.evidence.rates.margin)

    def _decide(self, index: int, trial: Presentation) -> None:
        """Let the guard speak first: while it is loud there is no switching."""
        if self.evidence.guard >= threshold(self.rules.alpha):
            self._move(Event.GUARD, index, trial)
        elif self.evidence.switch >= threshold(self.rules.alpha / self.rules.attempts):
            self._move(Event.CERTIFIED, index, trial)

    def _note(self) -> None:
        switches = [process.log_e for process in self.evidence.switches.processes.values()]
        row = (self.pairs, self.evidence.guard, self.evidence.switch, *switches, self.evidence.rates.log_likeness)
        self.course.append(row)

    def _move(self, event: Event, index: int, trial: Presentation) -> None:
        after = self.machine.after(event)
        if after.state == self.machine.state:
            return
        numbers: dict[str, Number] = dict(self.numbers)
        if self.machine.attempt:
            numbers |= {"rates.margin": self.evidence.rates.margin, "rates.spread": spread(self.past)}
            numbers["windows.design_effect"] = design_effect(self.outcomes)
            numbers |= self.evidence.numbers() | {"weakest": self.evidence.weakest}
        elapsed = trial.start_s + len(trial.stimulus) * self.bin_s
        change = Transition(
            len(self.transitions),
            self.machine.state,
            after.state,
            str(event),
            index,
            self.pairs,
            self.judged,
            elapsed,
            numbers,
        )
        self.machine = after
        self.transitions.append(change)
        self.told(change)


def run(
    source: Iterable[Presentation],
    student: RateResponder,
    *,
    rules: Rules,
    bin_s: float,
    learner: Learner | None = None,
    panel: tuple[Discriminator, ...] | None = None,
    told: Callable[[Transition], None] = lambda _: None,
) -> Run:
    """Run a jewel until its source ends or nothing can follow; `told` hears of every transition as it happens.

    Without a `learner` the student stays as it is, and a student that the guard threw out is not judged again. Raises
    `InvalidInput` where student and source do not fit, and `Precondition` where the panel needs a package that is not there.
    """
    jewel = _Jewel(
        student, rules, bin_s, learner, panel or default_panel(), told, Machine(rules.attempts), student, student
    )
    count = 0
    # The discriminators are small: threads that wait for each other cost more than they win, above all on a busy machine.
    with need("threadpoolctl", "certify").threadpool_limits(1):
        for index, trial in enumerate(source):
            count = index + 1
            jewel.present(index, trial)
            if jewel.machine.over:
                break
    judges = tuple(judge.name for judge in jewel.panel)
    means = np.concatenate(jewel.outcomes).mean(axis=0) if jewel.outcomes else np.full(len(judges), np.nan)
    return Run(
        rules=rules,
        state=jewel.machine.state,
        attempt=jewel.machine.attempt,
        transitions=tuple(jewel.transitions),
        presentations=count,
        pairs=jewel.pairs,
        two_afc=dict(zip(judges, means.tolist(), strict=True)),
        margin=jewel.evidence.rates.margin if jewel.machine.attempt else float("nan"),
        course=np.array(jewel.course, np.float64).reshape(-1, 4 + len(judges)),
        judges=(*judges, RATES),
        student=jewel.current,
    )
