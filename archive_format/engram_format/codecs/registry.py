"""The table of codecs by number."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from engram_format.array_type import Filter
from engram_format.codecs.delta import Delta
from engram_format.codecs.fixed_point import FixedPoint
from engram_format.codecs.interface import Codec
from engram_format.codecs.lifting import Lifting
from engram_format.codecs.narrow import Narrow
from engram_format.codecs.palette import Palette
from engram_format.codecs.planes import Planes
from engram_format.codecs.redeflate import Redeflate, RedeflateHere
from engram_format.codecs.swap import Swap
from engram_format.codecs.unshuffle import Unshuffle
from engram_format.codecs.widen import Widen
from engram_format.codecs.zigzag import Zigzag
from engram_format.codecs.zstd import Zstd
from engram_format.errors import FormatError

_ALL: Final[tuple[type[Codec], ...]] = (
    Zstd, Planes, Delta, Zigzag, Swap, Widen, Palette, FixedPoint, Narrow, Unshuffle, Redeflate, Lifting,
)  # fmt: skip
_CODECS: Final = {codec.NUMBER: codec for codec in _ALL}
_AT_DEPOSIT: Final = _CODECS | {RedeflateHere.NUMBER: RedeflateHere}

FILE_FILTERS: Final[Mapping[int, Callable[[bytes], Filter]]] = {
    Unshuffle.NUMBER: lambda parameters: Filter("shuffle", tuple(parameters[:1])),
    Redeflate.NUMBER: lambda _: Filter("deflate"),
}
"""Steps that make again what a file's own library did to a chunk, and from their parameters what that was.

They come first in the order of encoding.
"""


def codec_by_number(number: int) -> type[Codec]:
    """Return the codec with a number; raises `FormatError` where this version knows none."""
    try:
        return _CODECS[number]
    except KeyError as error:
        raise FormatError(f"a frame uses codec {number}, which this version of Engram does not know") from error


def codec_at_deposit(number: int) -> type[Codec]:
    """Return the codec with a number, for checking at once what was encoded: one that gives up rather than be slow."""
    return _AT_DEPOSIT.get(number) or codec_by_number(number)
