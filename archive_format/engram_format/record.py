"""Log records: the numbered, hash-chained, immutable entries of a vault's log (SPEC.md section 10).

A record's bytes are hashed as they are stored and never written again; the order of records is the order of history.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Final, Self

from engram_format.encoding import Fields, encode
from engram_format.errors import FormatError
from engram_format.ids import Digest, SessionId
from engram_format.suite import FORMAT, SUITE, check_suite

FIRST_PREVIOUS: Final = bytes(Digest.LENGTH)
"""What record 0 names as the record before it."""


class RecordKind(IntEnum):
    """What a record does. Numbers are never given twice."""

    COMMIT = 1
    DROP = 2
    CONDEMN = 3
    SWEPT = 4
    EPOCH = 5
    SHRED = 6
    AUDIT = 7
    HOLD = 8


@dataclass(frozen=True, slots=True)
class Record:
    """One entry of a log."""

    seq: int
    previous: bytes
    """SHA-256 of the bytes of the record before, 32 zero bytes in the first."""
    kind: RecordKind
    session: SessionId
    """Of a COMMIT the deposit session, of other kinds a random number: what makes appending idempotent."""
    payload: bytes

    @staticmethod
    def key_for(seq: int) -> str:
        """Return the record's place inside its vault."""
        return f"log/{seq:016x}"

    @property
    def context(self) -> bytes:
        """The public fields, to which an encrypted payload is bound."""
        return encode([self.seq, self.previous, int(self.kind), self.session.raw])

    def to_bytes(self) -> bytes:
        """Encode."""
        return encode(
            {
                1: FORMAT,
                2: SUITE,
                3: self.seq,
                4: self.previous,
                5: int(self.kind),
                6: self.session.raw,
                7: self.payload,
            }
        )

    @classmethod
    def from_bytes(cls, data: bytes, *, seq: int) -> Self:
        """Decode the record that lies at place `seq`; it must say so itself."""
        what = f"log record {seq}"
        fields = Fields.of(data, what=what, known=range(1, 8))
        check_suite(fields.integer(1), fields.integer(2), what=what)
        try:
            kind = RecordKind(fields.integer(5))
        except ValueError as error:
            raise FormatError(f"{what} has the unknown kind {fields.integer(5)}") from error
        if fields.integer(3) != seq:
            raise FormatError(f"{what} is damaged: it is record {fields.integer(3)}")
        return cls(seq, fields.raw(4, Digest.LENGTH), kind, SessionId(fields.raw(6, SessionId.LENGTH)), fields.raw(7))
