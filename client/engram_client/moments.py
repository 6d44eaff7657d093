"""Moments and channels as people write them: `10s`, `500ms`, `30000` for a sample's number, `0:16` for channels."""

from __future__ import annotations

import bisect
import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Self

from engram_format.errors import InvalidInput
from engram_format.slicing import channel_count

if TYPE_CHECKING:
    from engram_client.views import SeriesView

_MOMENT: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?)(us|ms|s|min|h)")
_SECONDS: Final = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "min": 60.0, "h": 3600.0}
_SAMPLE: Final = re.compile(r"[0-9]{1,18}")
_CHANNELS: Final = re.compile(r"([0-9]{1,9})?(:)?([0-9]{1,9})?")


@dataclass(frozen=True, slots=True)
class Moment:
    """A place in a recording: a sample's number, or seconds from the session's reference time."""

    sample: int | None
    seconds: float = 0.0

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `30000`, `10s`, `2.5s`, `500ms`, `250us`, `3min` or `1h`."""
        if _SAMPLE.fullmatch(text):
            return cls(int(text))
        if found := _MOMENT.fullmatch(text):
            return cls(None, float(found[1]) * _SECONDS[found[2]])
        raise InvalidInput(f"{text!r:.100} is no moment: write a time such as 10s or 500ms, or a sample's number")

    def of(self, view: SeriesView) -> int:
        """Return the number of the first sample of a series that was taken then or later.

        Raises `InvalidInput` where a time is asked for and the file tells none.
        """
        info = view.info
        if self.sample is not None:
            return self.sample
        if info.timestamps:
            return bisect.bisect_left(view.timestamps, self.seconds)
        if not info.sampling_rate:
            raise InvalidInput(f"series {info.name!r} has neither a rate nor timestamps: give samples by their numbers")
        place = (self.seconds - info.starting_time) * info.sampling_rate
        # A time in decimals is rarely exact in binary: what is a sample's time but for that is the sample's.
        return round(place) if abs(place - round(place)) < 1e-3 else math.ceil(place)


def parse_channels(text: str, view: SeriesView) -> tuple[int, int]:
    """Return the first channel and the one after the last, from `0:16`, `4:`, `:4` or `3`."""
    return parse_range(text, channel_count(view.info), what=f"channels of {view.info.name!r:.200}")


def parse_range(text: str, count: int, *, what: str) -> tuple[int, int]:
    """Return the first and the one after the last of `count` things that `0:16`, `4:`, `:4` or `3` names."""
    found = _CHANNELS.fullmatch(text)
    if not found or not text or (found[2] is None and found[3] is not None):
        raise InvalidInput(f"{text!r:.100} names no {what}: write 0:16 for the first sixteen, or 3 for one")
    first = int(found[1] or 0)
    if found[2] is None:
        return first, first + 1
    last = count if found[3] is None else int(found[3])
    if first >= last:
        raise InvalidInput(f"{text!r} names no {what}: give a last one above the first; there are {count}")
    return first, last
