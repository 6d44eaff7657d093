"""The object `archive` at an archive's root: that it is one, and how it is written (SPEC.md section 3)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Self

from engram_format.encoding import Fields, encode
from engram_format.ids import Identifier
from engram_format.suite import FORMAT, SUITE, check_suite

DESCRIPTOR_KEY: Final = "archive"
SPECIFICATION_KEY: Final = "FORMAT.md"


class ArchiveId(Identifier):
    """The random number of an archive."""

    WHAT = "archive id"


@dataclass(frozen=True, slots=True)
class Descriptor:
    """What an archive says of itself in public."""

    archive: ArchiveId
    parity: bool
    """Whether packs carry parity shards."""

    def to_bytes(self) -> bytes:
        """Encode."""
        return encode({1: FORMAT, 2: SUITE, 3: self.archive.raw, 4: self.parity})

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Decode."""
        what = "the archive's descriptor"
        fields = Fields.of(data, what=what, known=range(1, 5))
        check_suite(fields.integer(1), fields.integer(2), what="this archive")
        return cls(ArchiveId(fields.raw(3)), fields.flag(4))
