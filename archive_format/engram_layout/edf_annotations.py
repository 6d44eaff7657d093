"""The annotations of EDF+ and BDF+: what happened when, written among the samples (Kemp & Olivan 2003, section 2.2).

A record's annotation signal holds lists that end with a zero byte: an onset, perhaps byte 21 and a duration, then texts, with
byte 20 before and behind each. The first list of a record says when the record began and has no text.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import BinaryIO, Final

import numpy as np

from engram_format.series import MAX_TABLE_ROWS, Table
from engram_layout.header import plain_text, read_at

_MAX_RECORDS: Final = 100_000
_MAX_BYTES: Final = 64 * 2**20
_LIST: Final = re.compile(rb"([+-]\d{1,9}(?:\.\d{0,9})?)(?:\x15(\d{1,9}(?:\.\d{0,9})?))?\x14")


@dataclass(frozen=True, slots=True)
class Annotations:
    """What the annotation signals of some records say; times are seconds from the start that the header gives."""

    starts: Sequence[float] = ()
    """When each record began, up to the first that does not say it."""
    rows: Sequence[tuple[float, float, str]] = ()
    """Onset, duration (NaN where there is none) and text."""
    is_complete: bool = True

    def table(self) -> Table:
        """Return the rows as a table."""
        return Table(
            {
                "onset": np.array([onset for onset, _, _ in self.rows], np.float64),
                "duration": np.array([duration for _, duration, _ in self.rows], np.float64),
                "text": [text for _, _, text in self.rows],
            }
        )

    def is_gapless(self, *, record_s: float, records: int) -> bool:
        """Say whether every record says when it began, and each began when the one before was at its end."""
        if len(self.starts) != records:
            return False
        steps = np.diff(np.asarray(self.starts))
        return bool(np.all(np.abs(steps - record_s) <= 1e-6 * max(record_s, 1.0)))


def read_annotations(
    file: BinaryIO, spans: list[tuple[int, int]], *, offset: int, record_bytes: int, records: int
) -> Annotations:
    """Read the annotation signals that lie at `spans` (start, length) of each record; the first record is at `offset`.

    Records or rows beyond a bound are left out, and the answer then says so; one that breaks the rules ends its list.
    """
    starts: list[float] = []
    rows: list[tuple[float, float, str]] = []
    bytes_each = sum(length for _, length in spans)
    taken = min(records, _MAX_RECORDS, _MAX_BYTES // max(bytes_each, 1))
    for record in range(taken):
        for index, (start, length) in enumerate(spans):
            data = read_at(file, offset + record * record_bytes + start, length, what="the annotations")
            lists = data.split(b"\0")
            began = _LIST.match(lists[0]) if index == 0 and len(starts) == record else None
            if began:
                starts.append(float(began[1]))
            rows.extend(_rows(lists))
        if len(rows) > MAX_TABLE_ROWS:
            break
    is_complete = taken == records and len(rows) <= MAX_TABLE_ROWS
    return Annotations(starts, rows[:MAX_TABLE_ROWS], is_complete)


def _rows(lists: list[bytes]) -> Iterator[tuple[float, float, str]]:
    for one in lists:
        head = _LIST.match(one)
        if head:
            duration = float(head[2]) if head[2] else math.nan
            texts = (plain_text(text) for text in one[head.end() :].split(b"\x14"))
            yield from ((float(head[1]), duration, text) for text in texts if text)
