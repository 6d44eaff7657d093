"""An artifact as a file object: seekable, read-only, with read-ahead and a bounded cache.

What takes a binary file object reads an archive through it without restoring anything, as `h5py.File(view.open())`.
"""

from __future__ import annotations

import io
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Final

from engram_format.errors import InvalidInput

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

_BLOCK_BYTES: Final = 1 << 20
_MAX_BLOCKS: Final = 32
"""Blocks that are kept."""
_MAX_AHEAD: Final = 8
"""Blocks that are fetched at once while a file is read from front to back."""


class ArchiveFile(io.RawIOBase):
    """The bytes of one artifact. Reads are thread-safe; at most 32 MiB are kept.

    `read(start, stop)` yields the bytes in a range, checked. Whatever is read has been decrypted and authenticated frame by
    frame; the SHA-256 of the whole is only compared when the artifact is restored.
    """

    def __init__(self, read: Callable[[int, int], Iterator[bytes]], *, size: int, name: str) -> None:
        self._read = read
        self._size = size
        self._name = name
        self._at = 0
        self._lock = threading.Lock()
        self._blocks: OrderedDict[int, bytes] = OrderedDict()
        self._last = -1
        self._ahead = 1

    @property
    def name(self) -> str:
        """The artifact's address."""
        return self._name

    @property
    def mode(self) -> str:
        """`rb`."""
        return "rb"

    @property
    def size(self) -> int:
        """Bytes of the artifact."""
        return self._size

    def readable(self) -> bool:
        """Return true until it is closed."""
        return not self.closed

    def seekable(self) -> bool:
        """Return true until it is closed."""
        return not self.closed

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a place and return it; one behind the end is allowed, and nothing is read there."""
        self._require_open()
        with self._lock:
            base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}.get(whence)
            if base is None or base + offset < 0:
                raise InvalidInput(f"{self._name} has no place {offset} from {whence}: seek to 0 or behind")
            self._at = base + offset
            return self._at

    def tell(self) -> int:
        """Return the place where reading goes on."""
        self._require_open()
        return self._at

    def readinto(self, buffer: WriteableBuffer) -> int:
        """Fill the buffer, or as much of it as there is before the end; return the count of bytes."""
        self._require_open()
        with self._lock, memoryview(buffer) as whole, whole.cast("B") as target:
            count = max(0, min(len(target), self._size - self._at))
            done = 0
            while done < count:
                number, skip = divmod(self._at + done, _BLOCK_BYTES)
                wanted = (self._at + count - 1) // _BLOCK_BYTES
                part = self._block(number, wanted)[skip : skip + count - done]
                target[done : done + len(part)] = part
                done += len(part)
            self._at += count
            return count

    def write(self, buffer: object, /) -> int:
        """Refuse: what is in an archive never changes."""
        raise io.UnsupportedOperation(f"{self._name} cannot be written: deposit a new version")

    def readall(self) -> bytes:
        """Return all bytes up to the end."""
        rest = bytearray(max(0, self._size - self._at))
        self.readinto(rest)
        return bytes(rest)

    def close(self) -> None:
        """Let go of what is kept."""
        self._blocks.clear()
        super().close()

    def _require_open(self) -> None:
        if self.closed:
            raise InvalidInput(f"{self._name} was closed: open it again")

    def _block(self, number: int, wanted: int) -> bytes:
        """Return a block, and fetch with it those up to `wanted` and, in the course of sequential reading, some more."""
        if number in self._blocks:
            self._blocks.move_to_end(number)
            self._last = number
            return self._blocks[number]
        self._ahead = min(2 * self._ahead, _MAX_AHEAD) if number == self._last + 1 else 1
        self._last = number
        stop = min(max(number + self._ahead, wanted + 1), number + _MAX_AHEAD)
        stop = next((held for held in range(number + 1, stop) if held in self._blocks), stop)
        pieces = self._read(number * _BLOCK_BYTES, min(stop * _BLOCK_BYTES, self._size))
        data = b"".join(pieces)
        for place in range(number, stop):
            start = (place - number) * _BLOCK_BYTES
            if start < len(data):
                self._blocks[place] = data[start : start + _BLOCK_BYTES]
        self._blocks.move_to_end(number)
        while len(self._blocks) > _MAX_BLOCKS:
            self._blocks.popitem(last=False)
        return self._blocks[number]
