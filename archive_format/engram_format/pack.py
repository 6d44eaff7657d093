"""Packs: the objects that hold frames (SPEC.md sections 7 and 8).

    magic, header | frames | table | padding      the data area, cut into shards
    parity shards                                 two for each group of 30, if any
    footer, footer | trailer, trailer             public: shard hashes; each twice, against rot

Frames, table and padding are ciphertext; what is public are hashes over fixed-size shards of it, so that no frame's size
shows and whoever holds only the bucket can still find and repair damage (`engram_format.shards`).
"""

from __future__ import annotations

import hmac
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Self

import numpy as np
from cryptography.exceptions import InvalidTag

from engram_format import shards
from engram_format.encoding import Fields, encode
from engram_format.errors import FormatError
from engram_format.ids import ContentId, PackId, SessionId, VaultId
from engram_format.session import SessionKey
from engram_format.suite import FORMAT, SUITE, TAG_BYTES, check_suite, cipher, derive, nonce

MAGIC: Final = b"ENGRPACK"
DATA_BYTES: Final = 60 * 2**20
"""The data area of a full pack: 60 shards of 1 MiB; with four parity shards the object has 64 MiB and its footer."""

_FRAME_NONCES, _TABLE_NONCES, _LOCATOR_NONCES, _PADDING_NONCES = range(4)
_MAX_HEADER_BYTES: Final = 1024
_TABLE_BYTES_PER_FRAME: Final = 4 + 4 + ContentId.LENGTH
_TABLE_FIXED_BYTES: Final = 64
_PADDING_PIECE_BYTES: Final = 4 * 2**20
_MAX_OVERHEAD: Final = 64
"""What a frame's head and tag may add to its original."""


@dataclass(frozen=True, slots=True)
class PackHeader:
    """The public head of a pack. A reader that knows session and pack id computes it instead of fetching it."""

    vault: VaultId
    session: SessionId
    pack: PackId
    commitment: bytes

    @classmethod
    def of(cls, key: SessionKey, *, vault: VaultId, session: SessionId, pack: PackId) -> Self:
        """Return the header that a pack of this session has."""
        return cls(vault, session, pack, key.commitment(pack))

    def to_bytes(self) -> bytes:
        """Return magic, length and header."""
        body = encode(
            {1: FORMAT, 2: SUITE, 3: self.vault.raw, 4: self.session.raw, 5: self.pack.raw, 6: self.commitment},
        )
        return MAGIC + len(body).to_bytes(4, "little") + body

    @classmethod
    def read(cls, data: bytes | memoryview) -> tuple[Self, int]:
        """Read the head of a pack; return it and its length in bytes."""
        start = len(MAGIC) + 4
        length = int.from_bytes(data[len(MAGIC) : start], "little")
        if bytes(data[: len(MAGIC)]) != MAGIC or length > _MAX_HEADER_BYTES or len(data) < start + length:
            raise FormatError("a pack is damaged: it does not begin with a pack's header")
        fields = Fields.of(bytes(data[start : start + length]), what="a pack's header", known=range(1, 7))
        check_suite(fields.integer(1), fields.integer(2), what="a pack")
        header = cls(VaultId(fields.raw(3)), SessionId(fields.raw(4)), PackId(fields.raw(5)), fields.raw(6, 32))
        return header, start + length


@dataclass(frozen=True, slots=True)
class FramePlace:
    """Where a frame lies in its pack: number, offset and length of its ciphertext in bytes, length of its original."""

    index: int
    offset: int
    length: int
    raw_size: int


class PackCipher:
    """Encrypts and decrypts the parts of one pack, each bound to its place."""

    def __init__(self, key: SessionKey, header: PackHeader) -> None:
        if not hmac.compare_digest(key.commitment(header.pack), header.commitment):
            raise FormatError(f"pack {header.pack} does not belong to the key of session {header.session}")
        self.header = header
        self._aead = cipher(key.pack_key(header.pack))
        self._head = derive(header.pack.raw, "pack/header", header.to_bytes())

    def encrypt_frame_into(self, index: int, plaintext: bytes, out: memoryview) -> None:
        """Write the ciphertext of frame `index`, 16 bytes longer than its plaintext, into `out`."""
        self._aead.encrypt_into(nonce(_FRAME_NONCES, index), plaintext, self._context(index), out)

    def decrypt_frame(self, index: int, ciphertext: bytes | memoryview) -> bytes:
        """Return the plaintext of frame `index`; raises `FormatError` where a bit differs."""
        return self._decrypt(_FRAME_NONCES, index, ciphertext, what=f"frame {index}")

    def encrypt_table(self, table: bytes) -> bytes:
        """Encrypt the frame table."""
        return self._aead.encrypt(nonce(_TABLE_NONCES, 0), table, self._context(0))

    def decrypt_table(self, ciphertext: bytes | memoryview) -> bytes:
        """Decrypt the frame table."""
        return self._decrypt(_TABLE_NONCES, 0, ciphertext, what="the frame table")

    def encrypt_locator(self, offset: int, length: int) -> bytes:
        """Encrypt where the table lies."""
        locator = offset.to_bytes(8, "little") + length.to_bytes(8, "little")
        return self._aead.encrypt(nonce(_LOCATOR_NONCES, 0), locator, self._context(0))

    def decrypt_locator(self, ciphertext: bytes) -> tuple[int, int]:
        """Return offset and length of the table's ciphertext."""
        locator = self._decrypt(_LOCATOR_NONCES, 0, ciphertext, what="the table's locator")
        return int.from_bytes(locator[:8], "little"), int.from_bytes(locator[8:], "little")

    def pad(self, area: memoryview) -> None:
        """Fill `area` with bytes that no one without the key can tell from frames."""
        piece = _PADDING_PIECE_BYTES
        for number, start in enumerate(range(0, len(area), piece)):
            part = area[start : start + piece]
            stream = self._aead.encrypt(nonce(_PADDING_NONCES, number), bytes(len(part)), None)
            part[:] = stream[: len(part)]

    def _context(self, index: int) -> bytes:
        return self._head + index.to_bytes(8, "big")

    def _decrypt(self, domain: int, index: int, ciphertext: bytes | memoryview, *, what: str) -> bytes:
        try:
            return self._aead.decrypt(nonce(domain, index), ciphertext, self._context(index))
        except (InvalidTag, ValueError) as error:
            raise FormatError(f"{what} of pack {self.header.pack} is damaged: it does not decrypt") from error


@dataclass(frozen=True, slots=True)
class FrameTable:
    """What a pack says of itself to who has the key: its frames in order, and the depositor's trail (SPEC.md section 11)."""

    places: tuple[FramePlace, ...]
    contents: tuple[ContentId, ...]
    trail: bytes

    def to_bytes(self) -> bytes:
        """Encode in columns."""
        lengths = np.array([place.length for place in self.places], dtype="<u4").tobytes()
        sizes = np.array([place.raw_size for place in self.places], dtype="<u4").tobytes()
        contents = b"".join(content.raw for content in self.contents)
        return encode({1: lengths, 2: sizes, 3: contents, 4: self.trail})

    @classmethod
    def from_bytes(cls, data: bytes, *, first_offset: int, end: int) -> Self:
        """Decode; the frames must fill the pack from `first_offset` to `end`."""
        fields = Fields.of(data, what="a frame table", known=range(1, 5))
        lengths, sizes, contents = fields.raw(1), fields.raw(2), fields.raw(3)
        count = len(lengths) // 4
        if len(lengths) != 4 * count or len(sizes) != 4 * count or len(contents) != ContentId.LENGTH * count:
            raise FormatError("a frame table is damaged: its columns differ in length")
        places, offset = [], first_offset
        pairs = zip(np.frombuffer(lengths, "<u4").tolist(), np.frombuffer(sizes, "<u4").tolist(), strict=True)
        for index, (length, size) in enumerate(pairs):
            places.append(FramePlace(index, offset, length, size))
            offset += length
        if offset != end:
            raise FormatError("a frame table is damaged: its frames do not fill the pack")
        ids = (ContentId(contents[at : at + ContentId.LENGTH]) for at in range(0, len(contents), ContentId.LENGTH))
        return cls(tuple(places), tuple(ids), fields.raw(4))


class PackBuilder:
    """Builds one pack in a buffer that the caller owns and may use again.

    The buffer must hold `buffer_bytes(capacity)`; `capacity` is the size of the data area, which a full pack fills exactly.
    """

    def __init__(self, key: SessionKey, header: PackHeader, *, buffer: bytearray, capacity: int = DATA_BYTES) -> None:
        if len(buffer) < buffer_bytes(capacity):
            raise ValueError(
                f"a pack of {capacity} bytes needs a buffer of {buffer_bytes(capacity)}, not {len(buffer)}"
            )
        self._cipher = PackCipher(key, header)
        self._buffer = memoryview(buffer)
        self._capacity = capacity
        head = header.to_bytes()
        self._buffer[: len(head)] = head
        self._head_bytes = self._end = len(head)
        self._places: list[FramePlace] = []
        self._contents: list[ContentId] = []

    @property
    def header(self) -> PackHeader:
        """The pack's public head."""
        return self._cipher.header

    @property
    def frames(self) -> int:
        """How many frames the pack has."""
        return len(self._places)

    def has_room(self, plaintext_bytes: int, *, trail_bytes: int) -> bool:
        """Tell whether one more frame fits beside the table that will describe it and a trail of that length."""
        table = _TABLE_FIXED_BYTES + (self.frames + 1) * _TABLE_BYTES_PER_FRAME + trail_bytes + TAG_BYTES
        fits = self._end + plaintext_bytes + TAG_BYTES + table <= self._capacity
        return fits and self.frames < 2**16  # an index run has 16 bits for a frame's number (SPEC.md section 11)

    def add(self, plaintext: bytes, *, content: ContentId, raw_size: int) -> FramePlace:
        """Encrypt one frame into the pack."""
        place = FramePlace(self.frames, self._end, len(plaintext) + TAG_BYTES, raw_size)
        self._end += place.length
        self._cipher.encrypt_frame_into(place.index, plaintext, self._buffer[place.offset : self._end])
        self._places.append(place)
        self._contents.append(content)
        return place

    def seal(self, *, trail: bytes = b"", parity: bool, full: bool) -> memoryview:
        """Finish the pack and return the object, which lies in the caller's buffer.

        `full` pads the data area to its capacity, else to the next Padmé size: a full pack shows nothing, a last one
        little (at most 12 % are added).
        """
        table = self._cipher.encrypt_table(FrameTable(tuple(self._places), tuple(self._contents), trail).to_bytes())
        table_at, used = self._end, self._end + len(table)
        if used > self._capacity:
            raise ValueError(f"a pack of {self._capacity} bytes cannot hold {used}")
        self._buffer[table_at:used] = table
        padded = self._capacity if full else min(padme(used), self._capacity)
        self._cipher.pad(self._buffer[used:padded])
        locator = self._cipher.encrypt_locator(table_at, len(table))
        length = shards.finish(self._buffer, data_bytes=padded, locator=locator, parity=parity)
        return self._buffer[:length]


def buffer_bytes(capacity: int) -> int:
    """Return the size of a buffer that holds a finished pack whose data area has `capacity` bytes."""
    return capacity + shards.overhead_bytes(capacity)


def padme(length: int) -> int:
    """Return the padded length: at least `length`, with few significant bits, so that it tells O(log log) bits of it.

    Nikitin et al., "Reducing metadata leakage from encrypted files and communication with PURBs", PETS 2019, section 4.
    """
    if length < 2:
        return length
    exponent = length.bit_length() - 1
    free_bits = exponent - exponent.bit_length()
    mask = (1 << free_bits) - 1
    return (length + mask) & ~mask


def read_table(data: memoryview, key: SessionKey) -> tuple[PackHeader, FrameTable]:
    """Read the frame table of a whole pack; raises `FormatError` where header, locator or table were changed."""
    header, head_bytes = PackHeader.read(data)
    cipher_ = PackCipher(key, header)
    footer = shards.Footer.find(data)
    offset, length = cipher_.decrypt_locator(footer.locator)
    if offset + length > footer.data_bytes:
        raise FormatError(f"pack {header.pack} is damaged: its table lies outside it")
    table = cipher_.decrypt_table(data[offset : offset + length])
    return header, FrameTable.from_bytes(table, first_offset=head_bytes, end=offset)


def read_frames(data: memoryview, key: SessionKey) -> Iterator[tuple[FramePlace, ContentId, bytes]]:
    """Yield every frame of a whole pack: place, content id, plaintext."""
    header, table = read_table(data, key)
    cipher_ = PackCipher(key, header)
    for place, content in zip(table.places, table.contents, strict=True):
        yield place, content, cipher_.decrypt_frame(place.index, data[place.offset : place.offset + place.length])
