"""A second reader of the format, written from SPEC.md and from nothing else; the numbers in comments are its sections.

It shares no line with `engram_format`: its own CBOR, its own HPKE, its own arithmetic of parity, byte by byte and slow. Of
libraries it uses AES-GCM, ML-KEM, X25519, Argon2id and a Zstandard decoder. What does not fit fails an `assert` or raises.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import math
import struct
import zlib

import zstandard
from cryptography.hazmat.primitives.asymmetric import mlkem, x25519
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id


def sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


# 4. Encoding


def decode_cbor(data: bytes):
    """Return the value of exactly one item of the restricted CBOR."""
    value, end = _item(data, 0)
    assert end == len(data), "trailing bytes"
    return value


def _head(data: bytes, at: int) -> tuple[int, int, int, int]:
    """Return major type, additional information, argument and the place behind the head."""
    major, info = data[at] >> 5, data[at] & 31
    at += 1
    if info < 24:
        return major, info, info, at
    assert info < 28, "reserved or indefinite length"
    width = 1 << (info - 24)
    argument = int.from_bytes(data[at : at + width], "big")
    assert len(data) >= at + width, "cut"
    if major != 7:
        assert argument >= (24, 1 << 8, 1 << 16, 1 << 32)[info - 24], "longer than needed"
    return major, info, argument, at + width


def _item(data: bytes, at: int):
    major, info, argument, at = _head(data, at)
    if major == 0:
        return argument, at
    if major == 1:
        return -1 - argument, at
    if major in (2, 3):
        assert at + argument <= len(data), "cut"
        raw = data[at : at + argument]
        return (raw if major == 2 else raw.decode("utf-8")), at + argument
    if major == 4:
        items = []
        for _ in range(argument):
            item, at = _item(data, at)
            items.append(item)
        return items, at
    if major == 5:
        pairs, last = {}, b""
        for _ in range(argument):
            start = at
            name, at = _item(data, at)
            assert data[start:at] > last, "keys not in bytewise order"
            last = data[start:at]
            pairs[name], at = _item(data, at)
        return pairs, at
    assert major == 7, "a tag"
    if info < 24:
        return {20: False, 21: True, 22: None}[info], at
    return struct.unpack({25: ">e", 26: ">f", 27: ">d"}[info], data[at - (1 << (info - 24)) : at])[0], at


def u(bits: int, column: bytes) -> list[int]:
    """Read a `uN[]`."""
    return list(struct.unpack(f"<{8 * len(column) // bits}{ {16: 'H', 32: 'I', 64: 'Q'}[bits] }", column))


# 5. Suite 1, keys and identities


def derive(key: bytes, label: str, *context: bytes) -> bytes:
    return hmac.digest(key, b"engram/1/" + label.encode() + b"\x00" + b"".join(context) + b"\x01", "sha256")


def read_identity(text: str, passphrase: str | None = None) -> bytes:
    """Return the seed that a key file holds."""
    (line,) = [line for line in text.splitlines() if line and not line.startswith("#")]
    head, data = line.split(":")
    raw = base64.urlsafe_b64decode(data + "=" * (-len(data) % 4))
    if head == "ENGRAM-IDENTITY-1":
        return raw
    assert head == "ENGRAM-IDENTITY-1-LOCKED"
    lock = decode_cbor(raw)
    assert (lock[1], lock[2]) == (1, 1)
    stretch = Argon2id(salt=lock[3], length=32, memory_cost=lock[4], iterations=lock[5], lanes=lock[6])
    # the array [1, 1, salt, memory, passes, lanes]; 86 is an array of six, 50 a string of 16 bytes
    context = b"\x86\x01\x01\x50" + lock[3] + b"".join(_unsigned(lock[field]) for field in (4, 5, 6))
    return AESGCM(stretch.derive(passphrase.encode())).decrypt(bytes(12), lock[7], context)


def _unsigned(value: int, major: int = 0) -> bytes:
    if value < 24:
        return bytes([major << 5 | value])
    width = next(width for width in (1, 2, 4, 8) if value < 1 << 8 * width)
    return bytes([major << 5 | 24 + width.bit_length() - 1]) + value.to_bytes(width, "big")


def open_sealed(sealed: bytes, seed: bytes, info: bytes) -> bytes:
    """Open HPKE (RFC 9180, base mode): KEM 0x647a (ML-KEM-768 and X25519, joined as in X-Wing), KDF 1, AEAD 2."""
    lattice = mlkem.MLKEM768PrivateKey.from_seed_bytes(seed[:64])
    curve = x25519.X25519PrivateKey.from_private_bytes(seed[64:])
    kem, share, body = sealed[:1088], sealed[1088:1120], sealed[1120:]
    own = curve.public_key().public_bytes_raw()
    exchanged = curve.exchange(x25519.X25519PublicKey.from_public_bytes(share))
    shared = hashlib.sha3_256(lattice.decapsulate(kem) + exchanged + share + own + rb"\.//^" + b"\\").digest()

    suite = b"HPKE" + bytes.fromhex("647a 0001 0002")

    def extract(salt: bytes, label: bytes, material: bytes) -> bytes:
        return hmac.digest(salt, b"HPKE-v1" + suite + label + material, "sha256")

    def expand(key: bytes, label: bytes, context: bytes, length: int) -> bytes:
        named = length.to_bytes(2, "big") + b"HPKE-v1" + suite + label + context
        return hmac.digest(key, named + b"\x01", "sha256")[:length]

    context = b"\x00" + extract(b"", b"psk_id_hash", b"") + extract(b"", b"info_hash", info)
    secret = extract(shared, b"secret", b"")
    return AESGCM(expand(secret, b"key", context, 32)).decrypt(expand(secret, b"base_nonce", context, 12), body, b"")


def public_key(seed: bytes) -> bytes:
    lattice = mlkem.MLKEM768PrivateKey.from_seed_bytes(seed[:64]).public_key().public_bytes_raw()
    return lattice + x25519.X25519PrivateKey.from_private_bytes(seed[64:]).public_key().public_bytes_raw()


# 6. Sessions


def open_session(data: bytes, vault_seed: bytes) -> tuple[bytes, bytes]:
    """Return session id and session key of a session header."""
    head = decode_cbor(data)
    assert (head[1], head[2]) == (1, 1)
    assert len(head[6]) == 1168
    info = b"engram/1/session" + head[3] + head[4] + head[5].to_bytes(4, "big")
    return head[4], open_sealed(head[6], vault_seed, info)


def object_name(session_key: bytes, role: str, number: int) -> bytes:
    return derive(session_key, "name/" + role, number.to_bytes(8, "big"))[:16]


# 7. Frames


def decode_frame(plaintext: bytes) -> bytes:
    count, at, steps = plaintext[0], 1, []
    assert count <= 8
    for _ in range(count):
        codec, length = plaintext[at], plaintext[at + 1]
        steps.append((codec, plaintext[at + 2 : at + 2 + length]))
        at += 2 + length
    (raw_size,) = struct.unpack_from("<I", plaintext, at)
    coded = plaintext[at + 4 :]
    for left, (codec, parameters) in reversed(list(enumerate(steps))):
        coded = DECODERS[codec](coded, parameters, raw_size if left == 0 else 24 * 2**20)
    assert len(coded) == raw_size <= 16 * 2**20
    return coded


def _whole(data: bytes, size: int) -> tuple[list[int], bytes]:
    """Return the elements as integers, and the bytes that are left."""
    count = len(data) // size
    return [int.from_bytes(data[at * size : (at + 1) * size], "little") for at in range(count)], data[count * size :]


def _joined(values: list[int], size: int, rest: bytes) -> bytes:
    return b"".join((value % 2 ** (8 * size)).to_bytes(size, "little") for value in values) + rest


def _zstandard(coded: bytes, parameters: bytes, limit: int) -> bytes:
    assert parameters == b""
    assert zstandard.get_frame_parameters(coded).content_size <= limit
    return zstandard.ZstdDecompressor().decompress(coded, allow_extra_data=False)


def _from_planes(coded: bytes, size: int) -> bytes:
    count = len(coded) // size
    elements = (bytes(coded[plane * count + at] for plane in range(size)) for at in range(count))
    return b"".join(elements) + coded[count * size :]


def _to_planes(data: bytes, size: int) -> bytes:
    whole = data[: len(data) // size * size]
    return b"".join(whole[plane::size] for plane in range(size)) + data[len(whole) :]


def _differences(coded: bytes, parameters: bytes, limit: int) -> bytes:
    size, lag = struct.unpack("<BI", parameters)
    assert lag >= 1
    values, rest = _whole(coded, size)
    for at in range(lag, len(values)):
        values[at] = (values[at] + values[at - lag]) % 2 ** (8 * size)
    return _joined(values, size, rest)


def _zigzag(coded: bytes, parameters: bytes, limit: int) -> bytes:
    values, rest = _whole(coded, parameters[0])
    return _joined([value // 2 if value % 2 == 0 else -(value // 2) - 1 for value in values], parameters[0], rest)


def _byte_order(coded: bytes, parameters: bytes, limit: int) -> bytes:
    size = parameters[0]
    whole = len(coded) // size * size
    return b"".join(coded[at : at + size][::-1] for at in range(0, whole, size)) + coded[whole:]


def _24_bits(coded: bytes, parameters: bytes, limit: int) -> bytes:
    whole = len(coded) // 4 * 4
    return b"".join(coded[at : at + 3] for at in range(0, whole, 4)) + coded[whole:]


def _palette(coded: bytes, parameters: bytes, limit: int) -> bytes:
    size, count = parameters[0], int.from_bytes(coded[-4:], "little")
    table = coded[len(coded) - 4 - count * size : -4]
    numbers, rest = _whole(coded[: len(coded) - 4 - count * size], 2)
    assert rest == b""
    assert all(number < count for number in numbers)
    return b"".join(table[number * size : (number + 1) * size] for number in numbers)


def _fixed_point(coded: bytes, parameters: bytes, limit: int) -> bytes:
    mode, rate = struct.unpack("<Bd", parameters)
    assert mode in (0, 1)
    assert rate > 0
    steps = struct.unpack(f"<{len(coded) // 8}q", coded)
    return struct.pack(f"<{len(steps)}d", *(step / rate if mode == 0 else float(step) * (1.0 / rate) for step in steps))


def _float32(coded: bytes, parameters: bytes, limit: int) -> bytes:
    values = struct.unpack(f"<{len(coded) // 4}f", coded)
    return struct.pack(f"<{len(values)}d", *values)


def _unshuffle(coded: bytes, parameters: bytes, limit: int) -> bytes:
    size, chunk = struct.unpack("<BI", parameters)
    assert len(coded) % chunk == 0
    return b"".join(_to_planes(coded[at : at + chunk], size) for at in range(0, len(coded), chunk))


def _deflate(coded: bytes, parameters: bytes, limit: int) -> bytes:
    level, window, memory, chunk, check = struct.unpack("<BBBII", parameters)
    assert len(coded) % chunk == 0
    streams = b""
    for at in range(0, len(coded), chunk):
        machine = zlib.compressobj(level, zlib.DEFLATED, window, memory)
        streams += machine.compress(coded[at : at + chunk]) + machine.flush()
    assert zlib.crc32(streams) == check
    return streams


def _lifting(coded: bytes, parameters: bytes, limit: int) -> bytes:
    size, lag, levels = struct.unpack("<BIB", parameters)
    assert size in (1, 2, 4, 8)
    assert lag >= 1
    assert 1 <= levels <= 16
    values, rest = _whole(coded, size)
    count = len(values) // lag
    columns = ([row[channel] for row in _rows(values, lag, count)] for channel in range(lag if count else 0))
    lowered = [_lowered(column, levels, 8 * size) for column in columns]
    return _joined([x for row in zip(*lowered, strict=True) for x in row] + values[count * lag :], size, rest)


def _rows(values: list[int], lag: int, count: int) -> list[list[int]]:
    return [values[row * lag : (row + 1) * lag] for row in range(count)]


def _lowered(coded: list[int], levels: int, bits: int) -> list[int]:
    """Undo lifting of one column."""

    def signed(value: int) -> int:
        return (value + 2 ** (bits - 1)) % 2**bits - 2 ** (bits - 1)

    def at(row: list[int], index: int) -> int:
        return row[index] if 0 <= index < len(row) else 0

    counts = []
    left = len(coded)
    while left >= 2 and len(counts) < levels:
        counts.append(left // 2)
        left -= left // 2
    a, end = [coded[0]], left
    for step in coded[1:left]:
        a.append(a[-1] + step)
    for odd in reversed(counts):
        d, end = coded[end : end + odd], end + odd
        even = [signed(a[i] - (signed(at(d, i - 1) + at(d, i) + 2) >> 2)) for i in range(len(a))]
        g = [signed(even[i + 1] - even[i]) for i in range(len(a) - 1)]
        x = []
        for i in range(len(a)):
            x.append(even[i])
            if i < odd:
                bend = signed(at(g, i - 1) - at(g, i + 1)) >> 3
                x.append(d[i] + even[i] + (signed(at(g, i) + bend + 1) >> 1))
        a = x
    return a


DECODERS = {
    1: _zstandard,
    2: lambda coded, parameters, _: _from_planes(coded, parameters[0]),
    3: _differences,
    4: _zigzag,
    5: _byte_order,
    6: _24_bits,
    7: _palette,
    8: _fixed_point,
    9: _float32,
    10: _unshuffle,
    11: _deflate,
    12: _lifting,
}


# 8. Packs


class Pack:
    """A pack with its session's key: every byte of it is accounted for."""

    def __init__(self, data: bytes, session_key: bytes) -> None:
        self.data = data
        assert data[:8] == b"ENGRPACK"
        self.head_bytes = 12 + struct.unpack_from("<I", data, 8)[0]
        self.header = decode_cbor(data[12 : self.head_bytes])
        assert sorted(self.header) == [1, 2, 3, 4, 5, 6]
        assert (self.header[1], self.header[2]) == (1, 1)
        pack_id = self.header[5]
        assert self.header[6] == derive(session_key, "commit", pack_id)
        self.aead = AESGCM(derive(session_key, "pack", pack_id))
        self.bound = derive(pack_id, "pack/header", data[: self.head_bytes])
        self.footer = self._read_footer()
        self.table_at, self.table_bytes = struct.unpack("<QQ", self._open(2, 0, self.footer[4]))
        table = decode_cbor(self._open(1, 0, data[self.table_at : self.table_at + self.table_bytes]))
        self.lengths, self.raw_sizes, self.trail = u(32, table[1]), u(32, table[2]), table[4]
        self.content_ids = [table[3][at : at + 32] for at in range(0, len(table[3]), 32)]
        assert self.head_bytes + sum(self.lengths) == self.table_at
        self.check_padding()

    def _open(self, domain: int, number: int, ciphertext: bytes) -> bytes:
        nonce = struct.pack(">IQ", domain, number)
        return self.aead.decrypt(nonce, ciphertext, self.bound + struct.pack(">Q", number))

    def frame(self, number: int) -> bytes:
        """Return the plaintext of a frame."""
        offset = self.head_bytes + sum(self.lengths[:number])
        return self._open(0, number, self.data[offset : offset + self.lengths[number]])

    def originals(self) -> list[bytes]:
        frames = [decode_frame(self.frame(number)) for number in range(len(self.lengths))]
        assert [len(frame) for frame in frames] == self.raw_sizes
        return frames

    def check_padding(self) -> None:
        """Compare the padding with the encryption of zeros, and D with the two lengths that it may have."""
        used, data_bytes = self.table_at + self.table_bytes, self.footer[1]
        padding, pieces = self.data[used:data_bytes], b""
        for counter in range(-(-len(padding) // 2**22)):
            part = min(2**22, len(padding) - len(pieces))
            pieces += self.aead.encrypt(struct.pack(">IQ", 3, counter), bytes(part), None)[:part]
        assert padding == pieces
        self.is_full = data_bytes == 62_914_560
        assert self.is_full or data_bytes == padme(used)

    def _read_footer(self):
        """Return the footer; both copies, both trailers, all hashes and all parity must fit."""
        (length,) = struct.unpack_from("<I", self.data, len(self.data) - 36)
        first, second = (self.data[len(self.data) - 72 - copy * length :][:length] for copy in (2, 1))
        trailer = struct.pack("<I", length) + sha256(first)
        assert first == second
        assert self.data.endswith(first + second + trailer + trailer)
        footer = decode_cbor(first)
        shards = cut_shards(self.data, footer[1], self.data[: len(self.data) - 72 - 2 * length], parity=footer[2])
        assert footer[3] == b"".join(sha256(b"\x00" + shard) for shard in shards)
        return footer


def padme(length: int) -> int:
    e = math.floor(math.log2(length))
    s = math.floor(math.log2(e)) + 1
    step = 2 ** (e - s)
    return -(-length // step) * step


def shard_size(data_bytes: int) -> int:
    size = 256
    while size < data_bytes / 30 and size < 2**20:
        size *= 2
    return size


def cut_shards(data: bytes, data_bytes: int, body: bytes, *, parity: bool) -> list[bytes]:
    """Return data shards and parity shards, having computed the parity anew."""
    size = shard_size(data_bytes)
    shards = [data[at : min(at + size, data_bytes)] for at in range(0, data_bytes, size)]
    expected = []
    for at in range(0, len(shards) if parity else 0, 30):
        expected += p_and_q([shard.ljust(size, b"\x00") for shard in shards[at : at + 30]])
    assert body[data_bytes:] == b"".join(expected)
    return shards + expected


def p_and_q(group: list[bytes]) -> list[bytes]:
    """Return the XOR, and the sum of 2^i times shard i over GF(2^8) with polynomial 0x11d."""
    p, q = 0, bytes(len(group[0]))
    for shard in group:
        p ^= int.from_bytes(shard, "big")
    for i, shard in enumerate(group):
        factor = 1
        for _ in range(i):
            factor = factor << 1 ^ (0x11D if factor & 0x80 else 0)
        table = bytes(_times(factor, value) for value in range(256))
        q = (int.from_bytes(q, "big") ^ int.from_bytes(shard.translate(table), "big")).to_bytes(len(q), "big")
    return [p.to_bytes(len(q), "big"), q]


def _times(a: int, b: int) -> int:
    product = 0
    while b:
        product ^= a if b & 1 else 0
        a = a << 1 ^ (0x11D if a & 0x80 else 0)
        b >>= 1
    return product


# 9. Locations


def read_locations(data: bytes) -> list[tuple[bytes, int, int, int, int]]:
    """Return (pack reference, number, offset, length, raw size) of each row of a location page."""
    page = decode_cbor(data)
    refs = [page[1][at : at + 64] for at in range(0, len(page[1]), 64)]
    rows = []
    before = (None, 0, 0)
    for ref, number, offset, length, raw_size in zip(*(u(32, page[field]) for field in range(2, 7)), strict=True):
        same = ref == before[0]
        number = (number + (before[1] if same else 0)) % 2**32
        offset = (offset + (before[2] if same else 0)) % 2**32
        rows.append((refs[ref], number, offset, length, raw_size))
        before = (ref, number + 1, offset + length)
    return rows


# 9. Folders


def read_folders(pages: list[bytes]) -> dict[str, tuple[int, int]]:
    """Return time and permission bits of the folders that a version's folder pages name, by path."""
    folders, last = {}, None
    for data in pages:
        page = decode_cbor(data)
        assert list(page) == [1]
        for path, time_ns, mode in page[1]:
            assert last is None or path > last, "not sorted by code point"
            assert 0 <= mode <= 0o7777
            folders[path], last = (time_ns, mode), path
    return folders


# 10. The log


def read_log(records: list[bytes], session_keys: dict[bytes, bytes]) -> list[tuple[int, bytes]]:
    """Return kind and payload of each record in order, COMMITs decrypted, the chain checked."""
    entries, previous = [], bytes(32)
    for number, data in enumerate(records):
        record = decode_cbor(data)
        assert (record[1], record[2], record[3], record[4]) == (1, 1, number, previous)
        payload = record[7]
        if record[5] == 1:
            salt, body = payload[:16], payload[16:]
            context = b"\x84" + _unsigned(number) + b"\x58\x20" + previous + b"\x01" + b"\x50" + record[6]
            payload = AESGCM(derive(session_keys[record[6]], "record", salt)).decrypt(bytes(12), body, context)
        entries.append((record[5], payload))
        previous = sha256(data)
    return entries
