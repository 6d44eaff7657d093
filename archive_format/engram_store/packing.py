"""Filling packs and putting them into the storage, one behind the other, each verified before it is sent.

Frames are decoded and compared as soon as they are encoded, and go into a buffer. A full buffer is sealed, decrypted and
compared by a second thread, and put, while the next one is filled. There are two buffers: whoever fills faster than the
storage takes, waits.
"""

from __future__ import annotations

import contextlib
import os
import queue
import zlib
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

from engram_format.codecs import Codec, codec_at_deposit
from engram_format.errors import AlreadyExists, FormatError, Precondition
from engram_format.frame import decode_frame, encode_frame
from engram_format.ids import ContentId, ObjectName, PackId, SessionId
from engram_format.location import Location, PackRef
from engram_format.pack import DATA_BYTES, PackBuilder, PackHeader, buffer_bytes, read_frames
from engram_format.session import SessionKey
from engram_store.vault import VaultStore

_BUFFERS: Final = 2
_FAULTY: Final = "the memory or the processor of this machine is faulty; deposit on another one"
DATA_ROLE: Final = "data"
WORDS_LEVEL: Final = 12
WORDS_BYTES: Final = 8 * 1024
"""Bytes as few as that, often words, are compressed thoroughly: it takes less than half a millisecond."""


@dataclass(frozen=True, slots=True)
class EncodedFrame:
    """The plaintext of a frame that has been decoded and compared."""

    plaintext: bytes
    check: int
    """CRC-32 of the plaintext, taken before it was decoded: it guards the way into the pack."""
    raw_size: int


class PackWriter:
    """Writes the packs of one role of one session, in the order of their numbers."""

    def __init__(
        self,
        store: VaultStore,
        key: SessionKey,
        session: SessionId,
        *,
        role: str = DATA_ROLE,
        parity: bool,
        first: int,
        trail: Callable[[], bytes],
        stored: Callable[[], None],
        entropy: Callable[[int], bytes] = os.urandom,
    ) -> None:
        self._store, self._key, self._session = store, key, session
        self._role, self._parity = role, parity
        self._number = first
        self._trail = trail
        self._stored = stored
        self._entropy = entropy
        self._free: queue.SimpleQueue[bytearray] = queue.SimpleQueue()
        self._buffers_made = 0
        self._builder: PackBuilder | None = None
        self._checks: list[int] = []
        self._buffer = bytearray()
        self._pending: Future[None] | None = None
        self._sealer = ThreadPoolExecutor(max_workers=1, thread_name_prefix="engram-pack")
        self.names: list[ObjectName] = []
        """Objects put so far, or being put."""

    def add(self, frame: EncodedFrame, *, content: ContentId, trail_bytes: int) -> Location:
        """Put one frame into the current pack, sending that off first where there is no room."""
        if self._builder is not None and not self._builder.has_room(len(frame.plaintext), trail_bytes=trail_bytes):
            self.flush(full=True)
        builder = self._builder or self._start()
        place = builder.add(frame.plaintext, content=content, raw_size=frame.raw_size)
        self._checks.append(frame.check)
        return Location(self._ref(builder), place)

    def has_room(self, *, trail_bytes: int) -> bool:
        """Tell whether the current pack could hold a trail of that length."""
        return self._builder is None or self._builder.has_room(0, trail_bytes=trail_bytes)

    def flush(self, *, full: bool) -> None:
        """Seal the current pack and send it off; returns at once, or waits until the pack before it is stored."""
        self._wait()
        builder, buffer = self._builder, self._buffer
        if builder is None:
            return
        self._builder = None
        trail = self._trail()
        self.names.append(self._ref(builder).name)
        checks, self._checks = self._checks, []
        self._pending = self._sealer.submit(self._send, builder, buffer, self.names[-1], checks, trail, full=full)
        self._number += 1

    def finish(self) -> None:
        """Send off what is left and wait until everything is stored."""
        self.flush(full=False)
        self._wait()

    def ensure_pack(self) -> None:
        """Have a pack under way, though it may hold nothing but a trail."""
        if self._builder is None:
            self._start()

    def close(self) -> None:
        """Wait for the pack that is being sent, whatever becomes of it, and let go of the thread."""
        self._sealer.shutdown(wait=True, cancel_futures=True)
        self._builder = None

    def _start(self) -> PackBuilder:
        if self._free.empty() and self._buffers_made == _BUFFERS:
            self._wait()
        if self._free.empty():
            self._buffers_made += 1
            self._buffer = bytearray(buffer_bytes(DATA_BYTES))
        else:
            self._buffer = self._free.get()
        pack = PackId(self._entropy(PackId.LENGTH))
        header = PackHeader.of(self._key, vault=self._store.vault, session=self._session, pack=pack)
        self._builder = PackBuilder(self._key, header, buffer=self._buffer)
        return self._builder

    def _ref(self, builder: PackBuilder) -> PackRef:
        return PackRef(self._session, self._key.object_name(self._role, self._number), builder.header.pack)

    def _wait(self) -> None:
        if self._pending is None:
            return
        self._pending.result()  # raises again at every further use: after a pack that failed, none may follow
        self._pending = None
        self._stored()

    def _send(
        self,
        builder: PackBuilder,
        buffer: bytearray,
        name: ObjectName,
        checks: Sequence[int],
        trail: bytes,
        *,
        full: bool,
    ) -> None:
        sealed = builder.seal(trail=trail, parity=self._parity, full=full)
        verify_pack(sealed, self._key, checks)
        try:
            self._store.backend.put_if_absent(name.key, sealed)
        except AlreadyExists as error:
            raise Precondition(
                f"deposit session {self._session} is being continued by another process: let that one finish, or try again"
            ) from error
        sealed.release()
        self._free.put(buffer)


def encode_verified(original: bytes, steps: Sequence[Codec]) -> EncodedFrame:
    """Encode a frame, decode what came out, and compare: nothing is stored that does not give back what was deposited."""
    return verified(original, (encode_frame(original, steps),))


def verified(original: bytes, plaintexts: Iterable[bytes]) -> EncodedFrame:
    """Return the first of a frame's plaintexts that decodes to the original; raises `FormatError` if none does."""
    for plaintext in plaintexts:
        check = zlib.crc32(plaintext)
        with contextlib.suppress(FormatError):
            if decode_frame(plaintext, codec=codec_at_deposit) == original:
                return EncodedFrame(plaintext, check, len(original))
    raise FormatError(f"a frame of {len(original)} bytes does not decode to what was encoded: {_FAULTY}")


def verify_pack(sealed: memoryview, key: SessionKey, checks: Sequence[int]) -> None:
    """Decrypt every frame out of a finished pack and compare it with the plaintext that was decoded before."""
    for (place, _, plaintext), check in zip(read_frames(sealed, key), checks, strict=True):
        if zlib.crc32(plaintext) != check:
            raise FormatError(f"frame {place.index} of a finished pack is not what was put into it: {_FAULTY}")
