"""The states of a jewel, and what moves it from one to the next. Events in, transitions out; nothing else happens here.

A jewel is a student that sits beside a living network, is shown what the network is shown, and learns until nobody can tell
the two apart. Then the student answers in the network's place, and the network is asked only now and then. If they come apart,
the network answers again.

    LEARNING --settled--> SHADOW --certified--> ELIGIBLE --presentation ends--> SWITCHED --guard--> REVERTED
        ^                    |                      |
        +------- guard ------+-------- guard -------+

- LEARNING: the student is changed with every presentation. What it does is not judged.
- SHADOW: the student stands still and is judged, pair by pair, by discriminators that know only the past.
- ELIGIBLE: every switch e-value has reached its threshold while the guard was quiet. The presentation is still going on.
- SWITCHED: the student answers. The guard began anew, and is fed by sentinels.
- REVERTED: the guard fired after switching. The network answers again; the run is over.

A student that the guard threw out is judged again only if it has changed, and at most as often as was agreed beforehand; after
that the run is over, too.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

from engram_format.errors import InvalidInput


class State(StrEnum):
    """Where a jewel stands."""

    LEARNING = "LEARNING"
    SHADOW = "SHADOW"
    ELIGIBLE = "ELIGIBLE"
    SWITCHED = "SWITCHED"
    REVERTED = "REVERTED"


class Event(StrEnum):
    """What can happen to a jewel."""

    SETTLED = "the student no longer improves"
    CERTIFIED = "every switch e-value has reached its threshold"
    GUARD = "the guard's e-value has reached its threshold"
    ENDED = "a presentation has ended"


@dataclass(frozen=True, slots=True)
class Machine:
    """A jewel's state and how many times its student has been judged. Raises `InvalidInput` for fewer attempts than one."""

    attempts: int = 1
    """How many students may be judged: each gets its share of alpha."""
    state: State = State.LEARNING
    attempt: int = 0
    """The number of the student that is or was judged last, from 1; 0 before any."""

    def __post_init__(self) -> None:
        if self.attempts < 1:
            raise InvalidInput(f"{self.attempts} attempts are none: let at least one student be judged")

    @property
    def over(self) -> bool:
        """Whether nothing can follow: it has reverted, or was thrown out in its last attempt."""
        return self.state == State.REVERTED or (self.state == State.LEARNING and self.attempt == self.attempts)

    def after(self, event: Event) -> Machine:
        """Return the machine after an event; an event that means nothing in this state changes nothing."""
        match (self.state, event):
            case (State.LEARNING, Event.SETTLED) if self.attempt < self.attempts:
                return replace(self, state=State.SHADOW, attempt=self.attempt + 1)
            case (State.SHADOW, Event.CERTIFIED):
                return replace(self, state=State.ELIGIBLE)
            case (State.SHADOW | State.ELIGIBLE, Event.GUARD):
                return replace(self, state=State.LEARNING)
            case (State.ELIGIBLE, Event.ENDED):
                return replace(self, state=State.SWITCHED)
            case (State.SWITCHED, Event.GUARD):
                return replace(self, state=State.REVERTED)
            case _:
                return self
