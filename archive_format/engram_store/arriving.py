"""An artifact that is being deposited: what is known of it so far, and how its bytes are to be compressed."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Final

from engram_format.catalog import ArtifactSpec, Kind
from engram_format.manifest import OPAQUE, Segment
from engram_layout import HEAD_BYTES, Plan, detect_kind
from engram_store.array_encoder import ArrayEncoder
from engram_store.cutting import Piece
from engram_store.packing import WORDS_BYTES, WORDS_LEVEL
from engram_store.rows import Rows

_OPAQUE_LEVEL: Final = 3
_LONG_LEVEL: Final = 1
_LONG_BYTES: Final = 64 * 2**20
"""Plain bytes of longer artifacts are compressed fast: a rig's raw samples must not wait for the last per cent."""
_SHORT_LEVEL: Final = 5
_SHORT_BYTES: Final = 2 * 2**20
"""In an artifact as short, a cut between two frames costs a per cent, which a little more time brings back."""
_GAP_LEVEL: Final = 9
_GAP_BYTES: Final = 512 * 1024
"""What lies between arrays is short, and mostly words: headers, attributes, a cached schema."""
_ENCODERS_HELD: Final = 1024
"""An encoder takes some kilobytes, and a file may have very many arrays."""


@dataclass(slots=True)
class Arriving:
    """The artifact that is being written."""

    spec: ArtifactSpec
    plan: Plan
    rows: Rows
    digest: hashlib._Hash
    encoders: OrderedDict[int, ArrayEncoder] = field(default_factory=OrderedDict)
    """Those of the arrays whose frames came last."""
    head: bytearray = field(default_factory=bytearray)
    received: int = 0

    @property
    def segment(self) -> Segment:
        """The recipe's one segment."""
        family = OPAQUE if self.plan.description is None else self.plan.description.family
        return Segment(family, self.plan.size, self.rows.count)

    def level_for(self, piece: Piece) -> int:
        """Return how thoroughly bytes are compressed of which nothing is assumed."""
        if len(piece.data) <= WORDS_BYTES:
            return WORDS_LEVEL
        if self.plan.arrays and len(piece.data) <= _GAP_BYTES:
            return _GAP_LEVEL
        if self.plan.size <= _SHORT_BYTES:
            return _SHORT_LEVEL
        return _LONG_LEVEL if self.plan.size > _LONG_BYTES else _OPAQUE_LEVEL

    @property
    def kind(self) -> Kind:
        """What the artifact is, if its depositor does not say otherwise."""
        kind = detect_kind(bytes(self.head), size=self.received)
        known = self.plan.description
        return Kind.RECORDING if kind is Kind.FILE and known is not None and known.is_recording else kind

    def encoder(self, array: int) -> ArrayEncoder:
        """Return the encoder of an array of the plan: one for all its frames, unless very many arrays lie between them."""
        found = self.encoders.pop(array, None) or ArrayEncoder(self.plan.arrays[array])
        self.encoders[array] = found
        if len(self.encoders) > _ENCODERS_HELD:
            self.encoders.popitem(last=False)
        return found

    def take(self, data: bytes | memoryview) -> None:
        """Note bytes that have arrived."""
        self.digest.update(data)
        if len(self.head) < HEAD_BYTES:
            self.head += data[: HEAD_BYTES - len(self.head)]
        self.received += len(data)
