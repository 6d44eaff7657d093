"""Vectors that every reader must refuse, one folder for each kind of failure."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from types import MappingProxyType

from valid_vectors import LOG_NEEDS, OPENED_BY_IDENTITY, SESSION_NEEDS, ZSTD_STEP, frame, zstd_run
from vector import (
    IDENTITY,
    KEY,
    ORIGINALS,
    OTHER_KEY,
    OTHER_SESSION,
    OTHER_VAULT,
    SESSION,
    VAULT,
    VAULT_KEYS,
    Vector,
    changed,
    commit,
    header,
    joined,
    log,
    made_up,
    manifest,
    pack,
    page,
)

from engram_format.codecs import Zstd
from engram_format.encoding import Encodable, Value, decode, encode
from engram_format.history import epoch_payload
from engram_format.identity import LockCost
from engram_format.index import IndexRun
from engram_format.pack import FramePlace, read_table
from engram_format.record import FIRST_PREVIOUS, Record, RecordKind
from engram_format.session import SessionHeader
from engram_format.shards import Footer

PACK = pack(*ORIGINALS)
PLACES = read_table(memoryview(PACK), KEY)[1].places
EPOCH_0 = (RecordKind.EPOCH, epoch_payload(epoch=0, public=VAULT_KEYS.public))
LOCKED = IDENTITY.to_locked_text(
    "open sesame", salt=made_up("salt", 16), cost=LockCost(memory_kib=64, passes=1, lanes=1)
)
NO_SEED = {"identity_seed": VAULT_KEYS.seed.hex()}


def _refused(
    file: str,
    kind: str,
    what: str,
    data: bytes,
    *,
    error: str = "FormatError",
    needs: Mapping[str, object] = MappingProxyType({}),
    reproducible: bool = True,
) -> Vector:
    return Vector(f"invalid/{file}", kind, what, data, needs=needs, error=error, reproducible=reproducible)


def _pack(file: str, what: str, data: bytes, *, error: str = "FormatError", key: str = KEY.secret.hex()) -> Vector:
    return _refused(file, "pack", what, data, error=error, needs={"session_key": key})


def _fields(data: bytes) -> dict[int, Value]:
    match decode(data, what="a vector"):
        case dict() as fields:
            return {key: item for key, item in fields.items() if isinstance(key, int)}
        case _:
            raise ValueError("a vector is made from a map")


def _with(data: bytes, changes: dict[int, Encodable]) -> bytes:
    return encode(_fields(data) | changes)


def _encodings() -> list[Vector]:
    cases = {
        "trailing-byte": ("a byte follows the value", "0000"),
        "longer-integer": ("23 in two bytes", "1817"),
        "longer-float": ("1.0 as float64", "fb3ff0000000000000"),
        "indefinite-array": ("an array without a length", "9f01ff"),
        "unsorted-keys": ("keys 2 and 1", "a202000100"),
        "duplicate-key": ("key 1 twice", "a201000100"),
        "nan-with-payload": ("a NaN that is not the canonical one", "f97e01"),
    }
    forbidden = {
        "datetime": ("tag 0", "c074323031332d30332d32315432303a30343a30305a"),
        "bignum": ("tag 2", "c249010000000000000000"),
        "integer-of-65-bits": ("-2^64", "3bffffffffffffffff"),
        "mixed-keys": ("keys 1 and 'a'", "a20100616100"),
        "negative-key": ("key -1", "a12000"),
        "bytes-as-key": ("a byte string as key", "a1416100"),
        "undefined": ("the value undefined", "f7"),
        "seventeen-levels": ("seventeen levels of arrays", "81" * 16 + "80"),
        "text-not-utf-8": ("a text of a lone continuation byte", "6180"),
    }
    return [
        _refused(f"{folder}/{name}.cbor", "value", what, bytes.fromhex(text))
        for folder, group in (("not-deterministic", cases), ("not-allowed", forbidden))
        for name, (what, text) in group.items()
    ]


def _unknown() -> list[Vector]:
    descriptor = {1: 1, 2: 1, 3: made_up("test archive", 16), 4: True}
    record = Record(0, FIRST_PREVIOUS, RecordKind.AUDIT, SESSION, b"").to_bytes()
    drop = log(EPOCH_0, commit(1), (RecordKind.DROP, b""))
    return [
        _refused("unknown/format.cbor", "descriptor", "format 2", encode(descriptor | {1: 2})),
        _refused("unknown/suite.cbor", "descriptor", "suite 2", encode(descriptor | {2: 2})),
        _refused("unknown/field.cbor", "descriptor", "field 999", encode(descriptor | {999: 0})),
        _refused("unknown/record-kind.cbor", "record", "a record of kind 9", _with(record, {5: 9}), needs={"seq": 0}),
        _refused("unknown/drop.bin", "log", "a DROP, which this version may not ignore", joined(drop), needs=LOG_NEEDS),
        _refused("unknown/codec.bin", "frame", "codec 200", b"\x01\xc8\x00\x01\x00\x00\x00a"),
        _refused(
            "unknown/artifact-kind.cbor", "manifest", "the kind 'dream'", _with(manifest().to_bytes(), {1: "dream"})
        ),
        _refused(
            "unknown/element-type.cbor",
            "description",
            "a series of objects",
            encode({1: "nwb", 2: [_series({2: "|O"})], 3: {}}),
        ),
        _refused(
            "unknown/storage.cbor",
            "description",
            "a series that lies in another file",
            encode({1: "nwb", 2: [_series({4: ["external", 0]})], 3: {}}),
        ),
    ]


def _series(changes: dict[int, Encodable]) -> dict[int, Encodable]:
    """Return a series of two channels side by side, changed."""
    texts: dict[int, Encodable] = dict.fromkeys((8, 9, 15, 16, 17, 18), "")
    numbers: dict[int, Encodable] = {6: 0.0, 7: 0.0, 10: 1.0, 11: 0.0, 12: b"", 13: b"", 14: []}
    return {1: "/a", 2: "<i2", 3: [10, 2], 4: ["contiguous", 0], 5: 0} | texts | numbers | changes


def _cut() -> list[Vector]:
    return [
        _pack("cut/pack.bin", "a pack without its last byte", PACK[:-1]),
        _pack("cut/pack-header.bin", "the first 40 bytes of a pack", PACK[:40]),
        _refused("cut/frame-head.bin", "frame", "a frame that ends in its raw size", b"\x01\x01\x00\x10\x00"),
        _refused(
            "cut/zstandard.bin",
            "frame",
            "a Zstandard frame without its last byte",
            frame(1, 300, zstd_run(b"a", 300)[:-1]),
        ),
        _refused("cut/record.cbor", "record", "a record without its last byte", log(EPOCH_0)[0][:-1], needs={"seq": 0}),
    ]


def _flipped() -> list[Vector]:
    first, table = PLACES[0], PLACES[-1].offset + PLACES[-1].length
    records = log(EPOCH_0, commit(1), commit(2))
    return [
        _pack("flipped-bit/pack-header.bin", "a bit of the vault id in a pack's header", changed(PACK, 24)),
        _pack("flipped-bit/frame.bin", "a bit of a frame's ciphertext", changed(PACK, first.offset + 3)),
        _pack("flipped-bit/tag.bin", "a bit of a frame's tag", changed(PACK, first.offset + first.length - 1)),
        _pack("flipped-bit/table.bin", "a bit of the frame table", changed(PACK, table + 5)),
        _refused(
            "flipped-bit/commit.bin",
            "log",
            "a bit of the newest COMMIT's ciphertext",
            joined([*records[:2], changed(records[2], len(records[2]) - 1)]),
            error="Damaged",
            needs=LOG_NEEDS,
        ),
        _refused(
            "flipped-bit/recipient.txt",
            "recipient",
            "another last digit, whose unused bits are not zero",
            IDENTITY.recipient[:-1].encode() + b"B",
        ),
    ]


def _keys() -> list[Vector]:
    forged = changed(PACK, 0, header(key=OTHER_KEY).to_bytes())
    session = SessionHeader.make(KEY, vault=VAULT, session=SESSION, epoch=0, public=VAULT_KEYS.public).to_bytes()
    return [
        _pack(
            "wrong-key/pack.bin", "another session's key, which the commitment shows", PACK, key=OTHER_KEY.secret.hex()
        ),
        _pack("wrong-key/forged-commitment.bin", "another key and its commitment", forged, key=OTHER_KEY.secret.hex()),
        _refused(
            "wrong-key/passphrase.txt",
            "identity",
            "another passphrase",
            LOCKED.encode(),
            error="Precondition",
            needs={"passphrase": "open barley"},
        ),
        _refused(
            "wrong-key/session.bin",
            "session header",
            "another seed",
            session,
            error="Precondition",
            needs=SESSION_NEEDS | {"vault_seed": IDENTITY.seed.hex()},
            reproducible=False,
        ),
        _refused(
            "wrong-key/vault-keys.bin",
            "vault keys",
            "another seed",
            VAULT_KEYS.wrap(to=IDENTITY.public),
            error="Precondition",
            needs=NO_SEED | {"vault": str(VAULT)},
            reproducible=False,
        ),
    ]


def _places() -> list[Vector]:
    same = pack(b"one frame", b"two frame")
    one, two = read_table(memoryview(same), KEY)[1].places
    swapped = changed(changed(same, one.offset, _cut_out(same, two)), two.offset, _cut_out(same, one))
    session = SessionHeader.make(KEY, vault=VAULT, session=SESSION, epoch=0, public=VAULT_KEYS.public).to_bytes()
    epoch = SessionHeader.make(KEY, vault=VAULT, session=SESSION, epoch=0, public=VAULT_KEYS.public).to_bytes()
    elsewhere = SESSION_NEEDS | {"session": str(OTHER_SESSION)}
    return [
        _pack("wrong-place/swapped-frames.bin", "two frames of one pack in each other's place", swapped),
        _pack(
            "wrong-place/header.bin",
            "the header of another pack of the session",
            changed(PACK, 0, header(1).to_bytes()),
        ),
        _refused("wrong-place/record.cbor", "record", "record 0 in slot 1", log(EPOCH_0)[0], needs={"seq": 1}),
        _refused(
            "wrong-place/session.bin",
            "session header",
            "a header that lies at another session's id",
            session,
            error="FormatError",
            needs=elsewhere,
            reproducible=False,
        ),
        _refused(
            "wrong-place/epoch.bin",
            "session header",
            "a header whose epoch was changed",
            _with(epoch, {5: 1}),
            error="Precondition",
            needs=SESSION_NEEDS,
            reproducible=False,
        ),
        _refused(
            "wrong-place/vault-keys.bin",
            "vault keys",
            "the keys of another vault",
            VAULT_KEYS.wrap(to=IDENTITY.public),
            error="Precondition",
            needs=OPENED_BY_IDENTITY | {"vault": str(OTHER_VAULT)},
            reproducible=False,
        ),
    ]


def _cut_out(data: bytes, place: FramePlace) -> bytes:
    return data[place.offset : place.offset + place.length]


def _parity() -> list[Vector]:
    footer = Footer.find(memoryview(PACK))
    three = PACK
    for place in range(3):
        three = changed(three, footer.shard(place).start)
    bare = pack(*ORIGINALS, parity=False)
    tail = len(PACK) - len(footer.tail())
    claim = Footer(2**26, parity=False, hashes=bytes(32 * 64), locator=bytes(32))
    return [
        _refused(
            "beyond-parity/three-shards.bin",
            "damaged pack",
            "three shards of one group are lost",
            three,
            error="Damaged",
        ),
        _refused(
            "beyond-parity/no-parity.bin",
            "damaged pack",
            "one shard of a pack without parity",
            changed(bare, 200),
            error="Damaged",
        ),
        _refused(
            "beyond-parity/no-footer.bin",
            "damaged pack",
            "both footers are lost",
            changed(PACK, tail, bytes(len(PACK) - tail - 72)),
        ),
        _refused("bomb/footer.bin", "damaged pack", "a footer that claims a data area of 64 MiB", claim.tail()),
    ]


def _bombs() -> list[Vector]:
    magic = bytes.fromhex("28b52ffd")
    tebibyte = magic + b"\xe0" + (2**40).to_bytes(8, "little") + b"\x03\x00\x00a"
    no_size = magic + b"\x00\x00" + (300 << 3 | 3).to_bytes(3, "little") + b"a"
    window = magic + b"\x80\x88" + (300).to_bytes(4, "little") + (300 << 3 | 3).to_bytes(3, "little") + b"a"
    costs = _with(_unpadded(LOCKED), {4: 2**32})
    text = "ENGRAM-IDENTITY-1-LOCKED:" + base64.urlsafe_b64encode(costs).decode().rstrip("=")
    return [
        _refused(
            "bomb/declares-a-tebibyte.bin",
            "frame",
            "a Zstandard frame that declares 2^40 bytes",
            frame(1, 300, tebibyte),
        ),
        _refused(
            "bomb/no-content-size.bin", "frame", "a Zstandard frame without its content size", frame(1, 300, no_size)
        ),
        _refused("bomb/window.bin", "frame", "a Zstandard frame with a window of 128 MiB", frame(1, 300, window)),
        *(
            _refused(
                f"contradiction/{name}.bin",
                "frame",
                what,
                bytes((1, number, len(told))) + told + (8).to_bytes(4, "little") + coded,
            )
            for name, number, told, coded, what in (
                ("planes-of-one-byte", 2, b"\x01", bytes(8), "byte planes of elements of one byte"),
                ("difference-without-lag", 3, b"\x02" + bytes(4), bytes(8), "differences of lag 0"),
                ("zigzag-of-three", 4, b"\x03", bytes(8), "zigzag of elements of three bytes"),
                (
                    "palette-number",
                    7,
                    b"\x08",
                    b"\x01\x00" + bytes(8) + b"\x01\x00\x00\x00",
                    "number 1 in a table of one",
                ),
                ("fixed-point-rate", 8, b"\x00" + bytes(8), bytes(8), "a rate of 0"),
                ("shuffled-chunk", 10, b"\x02\x03\x00\x00\x00", bytes(8), "chunks of 3 bytes in 8"),
                ("lifting-without-lag", 12, b"\x02" + bytes(4) + b"\x01", bytes(8), "lifting of lag 0"),
                ("lifting-without-levels", 12, b"\x02\x01\x00\x00\x00\x00", bytes(8), "lifting of no levels"),
                ("lifting-of-seventeen", 12, b"\x02\x01\x00\x00\x00\x11", bytes(8), "lifting of 17 levels"),
                ("deflate-level", 11, b"\x0a\x0f\x08\x08\x00\x00\x00" + bytes(4), bytes(8), "level 10"),
            )
        ),
        _refused("bomb/nine-steps.bin", "frame", "nine codec steps", frame(9, 300, zstd_run(b"a", 300))),
        _refused(
            "bomb/raw-size.bin", "frame", "a frame of more than 16 MiB", frame(1, 2**24 + 1, zstd_run(b"a", 2**17))
        ),
        _refused(
            "bomb/costs.txt",
            "identity",
            "a lock that asks for 4 TiB",
            text.encode(),
            needs={"passphrase": "open sesame"},
        ),
    ]


def _unpadded(text: str) -> bytes:
    data = text.partition(":")[2]
    return base64.urlsafe_b64decode(data + "=" * (-len(data) % 4))


def _contradictions() -> list[Vector]:
    tree = [["b", "file", 1, bytes(32), 0, 22, 1], ["a", "file", 1, bytes(32), 0, 22, 1]]
    run = IndexRun.of({}).to_bytes()
    columns: dict[int, Encodable] = {
        2: bytes(7) + b"\x01" + bytes(8),
        3: bytes(16),
        4: bytes(8),
        5: bytes(4),
        6: bytes(8),
        7: bytes(8),
    }
    footer = Footer.find(memoryview(PACK))
    body = Footer(footer.data_bytes, footer.parity, footer.hashes[32:], footer.locator).tail()
    skips = joined(log(EPOCH_0, commit(1), commit(3)))
    two = log(EPOCH_0, commit(1), commit(2))
    return [
        _refused(
            "contradiction/manifest-size.cbor",
            "manifest",
            "segments that do not add up to the size",
            _with(manifest().to_bytes(), {2: 1}),
        ),
        _refused(
            "contradiction/series-shape.cbor",
            "description",
            "blocks of one channel for a series of two",
            encode({1: "edf", 2: [_series({4: ["blocks", 0, 4, 1, 4, [0]]})], 3: {}}),
        ),
        _refused(
            "contradiction/series-twice.cbor",
            "description",
            "two series of one name",
            encode({1: "edf", 2: [_series({}), _series({})], 3: {}}),
        ),
        _refused(
            "contradiction/mode.cbor",
            "manifest",
            "permission bits beyond those of POSIX",
            _with(manifest().to_bytes(), {12: 0o10000}),
        ),
        _refused(
            "contradiction/frame-size.bin",
            "frame",
            "301 declared, 300 decoded",
            bytes([1]) + ZSTD_STEP + (301).to_bytes(4, "little") + Zstd().encode(b"a" * 300),
        ),
        _refused(
            "contradiction/tree-order.cbor",
            "tree page",
            "paths that are not sorted",
            encode({1: tree, 2: page(1, 1).to_bytes()}),
        ),
        _refused(
            "contradiction/folder-order.cbor",
            "folder page",
            "paths that are not sorted",
            encode({1: [["b", 0, 0o755], ["a", 0, 0o755]]}),
        ),
        _refused(
            "contradiction/folder-mode.cbor",
            "folder page",
            "permission bits beyond those of POSIX",
            encode({1: [["a", 0, 0o10000]]}),
        ),
        _refused(
            "contradiction/folder-path.cbor",
            "folder page",
            "a path out of the version",
            encode({1: [["../a", 0, 0o755]]}),
        ),
        _refused(
            "contradiction/no-such-pack.cbor",
            "location page",
            "a row that names no pack",
            _with(page(1).to_bytes(), {2: b"\x01\x00\x00\x00"}),
        ),
        _refused(
            "contradiction/index-order.cbor",
            "index run",
            "rows that are not sorted",
            _with(run, {1: bytes(64)} | columns),
        ),
        _refused(
            "contradiction/hash-count.bin",
            "damaged pack",
            "a footer with one hash too few",
            PACK[: footer.body_bytes] + body,
        ),
        _refused(
            "contradiction/broken-chain.bin", "log", "record 1 is missing", joined([two[0], two[2]]), needs=LOG_NEEDS
        ),
        _refused(
            "contradiction/version-number.bin",
            "log",
            "version 3 follows version 1",
            skips,
            error="Damaged",
            needs=LOG_NEEDS,
        ),
    ]


INVALID = [
    *_encodings(),
    *_unknown(),
    *_cut(),
    *_flipped(),
    *_keys(),
    *_places(),
    *_parity(),
    *_bombs(),
    *_contradictions(),
]
