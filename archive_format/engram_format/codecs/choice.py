"""Which codecs an array's frames go through."""

from __future__ import annotations

from collections.abc import Sequence

from engram_format.array_type import ArrayType
from engram_format.codecs.zstd import Zstd
from engram_format.frame import encode_frame


class ArrayEncoder:
    """Encodes the frames of one array. Thread-safe."""

    def __init__(self, array: ArrayType) -> None:
        self._array = array

    def encode(self, original: bytes | memoryview, *, pieces: Sequence[int] = ()) -> bytes:
        """Return the plaintext of a frame."""
        return encode_frame(original, (Zstd(level=1),))
