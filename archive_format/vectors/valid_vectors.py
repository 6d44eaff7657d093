"""Vectors that every reader must read."""

from __future__ import annotations

import math
import zlib
from dataclasses import replace

import numpy as np
from vector import (
    ARCHIVE_KEYS,
    IDENTITY,
    KEY,
    ORIGINALS,
    PACK_NEEDS,
    SESSION,
    VAULT,
    VAULT_KEYS,
    Vector,
    changed,
    commit,
    joined,
    log,
    made_up,
    manifest,
    pack,
    page,
)

from engram_format.array_type import Filter
from engram_format.catalog import Folder
from engram_format.codecs import Codec, Zstd
from engram_format.codecs.delta import Delta
from engram_format.codecs.fixed_point import FixedPoint
from engram_format.codecs.lifting import Lifting
from engram_format.codecs.narrow import Narrow
from engram_format.codecs.palette import Palette
from engram_format.codecs.planes import Planes, to_planes
from engram_format.codecs.redeflate import Redeflate
from engram_format.codecs.swap import Swap
from engram_format.codecs.unshuffle import Unshuffle
from engram_format.codecs.widen import Widen
from engram_format.codecs.zigzag import Zigzag
from engram_format.descriptor import ArchiveId, Descriptor
from engram_format.encoding import Encodable, encode
from engram_format.folders import FolderPage
from engram_format.frame import encode_frame, join_frame
from engram_format.history import condemn_payload, epoch_payload
from engram_format.identity import LockCost
from engram_format.ids import ContentId, Digest, ObjectName
from engram_format.index import IndexRun
from engram_format.location import LocationPage
from engram_format.manifest import Segment, TreeEntry, TreePage
from engram_format.record import RecordKind
from engram_format.series import Blocks, Chunked, Contiguous, Description, Series, SeriesInfo, Table
from engram_format.session import SessionHeader
from engram_format.shards import Footer

ZSTD_STEP = b"\x01\x00"
LOG_NEEDS = {"session_key": KEY.secret.hex(), "memory": "slice"}
OPENED_BY_IDENTITY = {"identity_seed": IDENTITY.seed.hex()}
SESSION_NEEDS = {"vault_seed": VAULT_KEYS.seed.hex(), "vault": str(VAULT), "session": str(SESSION)}


def zstd_run(byte: bytes, length: int) -> bytes:
    """Return a Zstandard frame by hand: `byte` repeated, one block, its content size in four bytes."""
    block = (length << 3 | 0b011).to_bytes(3, "little") + byte
    return bytes.fromhex("28b52ffda0") + length.to_bytes(4, "little") + block


def frame(count: int, size: int, coded: bytes) -> bytes:
    """Return a frame's plaintext whose steps are all Zstandard."""
    return bytes([count]) + count * ZSTD_STEP + size.to_bytes(4, "little") + coded


def described() -> Description:
    """Return a description with a series of each storage, and a table."""
    filters = (Filter("shuffle", (2,)), Filter("deflate", (4,)), Filter("fletcher32"))
    chunked = Chunked(
        (100, 2),
        np.array([4096, 2**64 - 1, 9000, 12_000], np.uint64),
        np.array([333, 0, 200, 400], np.uint32),
        filters,
        np.array([0, 0, 0, 3], np.uint32),
        b"\xff\x7f",
    )
    trace = SeriesInfo(
        "/acquisition/ElectricalSeries",
        "<i2",
        (350, 2),
        sampling_rate=30_000.0,
        starting_time=0.5,
        unit="volts",
        conversion=1.95e-7,
        channel_conversion=(1.0, 0.5),
        channels=("tip", "base"),
        role="acquisition",
        description="raw",
        pairs_with="/stimulus/bars",
    )
    bars = SeriesInfo("/stimulus/bars", ">f8", (3, 2, 2), time_axis=1, timestamps="/stimulus/bars/timestamps")
    eeg = SeriesInfo("/signals@256Hz", "<i3", (512, 2), channel_offset=(0.0, -1.5), offset=2.0)
    series = (
        Series(trace, chunked),
        Series(bars, Contiguous(20_000)),
        Series(eeg, Blocks(512, 1536, 256, 3, (0, 768))),
    )
    trials = Table({"start_time": np.array([0.0, 2.5]), "stimulus_id": ("bars", "dots")})
    return Description("nwb", series, {"trials": trials})


def _itself(file: str, kind: str, what: str, data: bytes, **needs: object) -> Vector:
    return Vector(f"valid/{file}", kind, what, data, needs=needs, result=data)


def _values() -> list[Vector]:
    descriptor = Descriptor(ArchiveId(made_up("test archive", 16)), parity=True).to_bytes()
    scalars = [
        0,
        23,
        24,
        2**64 - 1,
        -1,
        -(2**63),
        0.0,
        -0.0,
        1.5,
        1.1,
        math.inf,
        math.nan,
        "",
        "é",
        b"",
        True,
        False,
        None,
    ]
    deep: Encodable = 7
    for _ in range(16):
        deep = [deep]
    return [
        _itself("value/scalars.cbor", "value", "scalars at the ends of their ranges", encode(scalars)),
        _itself(
            "value/keys.cbor",
            "value",
            "maps whose keys are sorted bytewise",
            encode([{256: 0, 24: 1, 2: 2}, {"aa": 0, "b": 1}]),
        ),
        _itself("value/nested.cbor", "value", "sixteen levels of arrays", encode(deep)),
        _itself("descriptor.cbor", "descriptor", "a descriptor of an archive with parity", descriptor),
        Vector(
            "valid/descriptor-later.cbor",
            "descriptor",
            "a descriptor with field 1000, which a reader ignores",
            encode({1: 1, 2: 1, 3: made_up("test archive", 16), 4: True, 1000: "later"}),
            result=descriptor,
        ),
    ]


def _keys() -> list[Vector]:
    text = f"# an identity for tests only\n{IDENTITY.to_text()}\n"
    cost = LockCost(memory_kib=64, passes=2, lanes=2)
    locked = IDENTITY.to_locked_text("open sesame", salt=made_up("salt", 16), cost=cost) + "\n"
    header = SessionHeader.make(KEY, vault=VAULT, session=SESSION, epoch=0, public=VAULT_KEYS.public)
    return [
        Vector(
            "valid/identity.txt", "identity", "an open key file with a comment", text.encode(), result=IDENTITY.seed
        ),
        Vector(
            "valid/identity-locked.txt",
            "identity",
            "a key file locked with a passphrase at low costs",
            locked.encode(),
            needs={"passphrase": "open sesame"},
            result=IDENTITY.seed,
        ),
        Vector(
            "valid/recipient.txt",
            "recipient",
            "the recipient of the identity",
            IDENTITY.recipient.encode(),
            result=IDENTITY.public,
        ),
        Vector(
            "valid/archive-keys.bin",
            "archive keys",
            "archive keys, sealed to the identity",
            ARCHIVE_KEYS.wrap(to=IDENTITY.public),
            needs=OPENED_BY_IDENTITY,
            result=ARCHIVE_KEYS.name_key,
            reproducible=False,
        ),
        Vector(
            "valid/vault-keys.bin",
            "vault keys",
            "the keys of a vault's epoch 0, sealed to the identity",
            VAULT_KEYS.wrap(to=IDENTITY.public),
            needs=OPENED_BY_IDENTITY | {"vault": str(VAULT)},
            result=VAULT_KEYS.seed + VAULT_KEYS.id_key,
            reproducible=False,
        ),
        Vector(
            "valid/session.bin",
            "session header",
            "a session, sealed to the vault",
            header.to_bytes(),
            needs=SESSION_NEEDS,
            result=KEY.secret,
            reproducible=False,
        ),
    ]


def _frames() -> list[Vector]:
    text = b"The same words, the same words. " * 20
    return [
        Vector("valid/frame/kept.bin", "frame", "a frame without a step", encode_frame(b"kept", ()), result=b"kept"),
        Vector("valid/frame/empty.bin", "frame", "a frame of no bytes", encode_frame(b"", ()), result=b""),
        Vector(
            "valid/frame/run.bin",
            "frame",
            "one Zstandard step, written by hand",
            frame(1, 300, zstd_run(b"a", 300)),
            result=b"a" * 300,
        ),
        Vector(
            "valid/frame/zstandard.bin",
            "frame",
            "one Zstandard step",
            encode_frame(text, (Zstd(level=19),)),
            result=text,
            reproducible=False,
        ),
        Vector(
            "valid/frame/two-steps.bin",
            "frame",
            "two Zstandard steps, undone from the last to the first",
            frame(2, 300, Zstd().encode(zstd_run(b"a", 300))),
            result=b"a" * 300,
            reproducible=False,
        ),
        *_coded(),
    ]


def _coded() -> list[Vector]:
    """Return a frame for each codec of arrays, whose coded form is not shorter and stands there all the same."""
    words = np.arange(-9, 40, 7, np.int16).astype("<i2").tobytes() + b"!"
    times = (np.array([3, 50, 51, 900]) / 30_000.0).astype("<f8").tobytes()
    steps = np.array([0.5, -0.0, 0.5, np.nan], "<f4").tobytes()
    streams = [zlib.compress(bytes([number]) * 64, 6) for number in (1, 2)]
    deflate = Redeflate(level=6, window_bits=15, memory=8, chunk=64, pieces=[len(stream) for stream in streams])
    shuffled = bytes(to_planes(words[:8], 2))
    # Steps of which sums leave 16 bits, and small odd ones below zero, which show how a shift rounds.
    loud = np.array([7 * at**5 % 65_536 if at % 3 else -at for at in range(21)]).astype("<i2").tobytes()
    lift_once = Lifting(item=2, lag=3, levels=1)
    cases: tuple[tuple[str, str, bytes, tuple[Codec, ...]], ...] = (
        ("planes", "byte planes with a byte left over", words, (Planes(item=2),)),
        ("difference", "differences of lag 3", words, (Delta(item=2, lag=3),)),
        ("zigzag", "zigzag", words, (Zigzag(item=2),)),
        ("byte-order", "reversed elements of 4 bytes", words, (Swap(item=4),)),
        ("24-bit", "24-bit integers, two bytes left over", words, (Widen(),)),
        ("palette", "three values, -0.0 and a NaN among them", steps, (Palette(item=4),)),
        ("fixed-point", "times at 30 kHz", times, (FixedPoint(rate=30_000.0, multiplied=False),)),
        ("float32", "float64 that are float32", np.array([0.5, -2.0], "<f8").tobytes(), (Narrow(),)),
        ("unshuffle", "two shuffled chunks", 2 * shuffled, (Unshuffle(item=2, chunk=8),)),
        ("deflate", "two streams of zlib, level 6", b"".join(streams), (deflate,)),
        ("lifting", "lifting of seven rows as often as they can be halved", loud, (Lifting(item=2, lag=3, levels=16),)),
        ("lifting-once", "lifting of eight rows once, elements and a byte left over", loud + words, (lift_once,)),
        (
            "chain",
            "differences along three channels and between them, zigzag, planes, Zstandard",
            words,
            (Delta(item=2, lag=3), Delta(item=2), Zigzag(item=2), Planes(item=2), Zstd()),
        ),
    )
    return [
        Vector(
            f"valid/frame/{name}.bin",
            "frame",
            what,
            _through(original, chain),
            result=original,
            reproducible=len(chain) == 1,
        )
        for name, what, original, chain in cases
    ]


def _through(original: bytes, chain: tuple[Codec, ...]) -> bytes:
    coded: bytes | memoryview = original
    for step in chain:
        coded = step.encode(coded)
    return join_frame(chain, coded, size=len(original))


def _packs() -> list[Vector]:
    whole, three = b"".join(ORIGINALS), pack(*ORIGINALS)
    many = [bytes([number]) * 990 for number in range(7)]
    long = pack(*many)
    footer = Footer.find(memoryview(long))
    lost = long
    for place in (4, 29):
        where = footer.shard(place)
        lost = changed(lost, where.start, bytes(where.stop - where.start))
    tail = len(three) - len(Footer.find(memoryview(three)).tail())
    needs = PACK_NEEDS
    coded = pack(*ORIGINALS, steps=(Zstd(),))
    return [
        Vector("valid/pack/three-frames.bin", "pack", "three frames, with parity", three, needs=needs, result=whole),
        Vector(
            "valid/pack/no-parity.bin",
            "pack",
            "three frames, no parity",
            pack(*ORIGINALS, parity=False),
            needs=needs,
            result=whole,
        ),
        Vector("valid/pack/no-frames.bin", "pack", "a pack of no frames", pack(), needs=needs, result=b""),
        Vector(
            "valid/pack/whole-group.bin",
            "pack",
            "thirty shards and two of parity",
            long,
            needs=needs,
            result=b"".join(many),
        ),
        Vector(
            "valid/pack/zstandard.bin",
            "pack",
            "three frames, one compressed",
            coded,
            needs=needs,
            result=whole,
            reproducible=False,
        ),
        Vector(
            "valid/damaged-pack/two-shards.bin", "damaged pack", "shards 4 and 29 of thirty are lost", lost, result=long
        ),
        Vector(
            "valid/damaged-pack/parity.bin",
            "damaged pack",
            "a bit of parity shard P is flipped",
            changed(three, tail - 300),
            result=three,
        ),
        Vector(
            "valid/damaged-pack/tail.bin",
            "damaged pack",
            "the first footer and the last trailer are lost",
            changed(changed(three, tail, bytes(40)), len(three) - 36, bytes(36)),
            result=three,
        ),
    ]


def _descriptions() -> list[Vector]:
    mixed = LocationPage.of([*page(10, 20, offset=2**32 - 62), *page(5, number=1), *reversed(list(page(7, 8, 9)))])
    pages = replace(
        manifest(),
        size=2**33,
        segments=(Segment("opaque", 2**33, 5000),),
        inline=None,
        pages=page(90_000, 20_000),
        page_starts=(0, 2**32),
    )
    entries = tuple(
        TreeEntry(path, manifest().kind, 26, Digest.of(path.encode()), 0, 47, 1)
        for path in ("a", "a/b", "ab", "é", "𝄞")
    )
    locations = {ContentId.of(bytes([number]), id_key=VAULT_KEYS.id_key): place for number, place in enumerate(mixed)}
    return [
        _itself(
            "location-page.cbor", "location page", "two packs, differences modulo 2^32 among them", mixed.to_bytes()
        ),
        _itself("location-page-empty.cbor", "location page", "a page of no frames", page().to_bytes()),
        _itself("manifest.cbor", "manifest", "a recording of three frames", manifest().to_bytes()),
        _itself(
            "manifest-described.cbor",
            "manifest",
            "a recording with a description and permission bits",
            replace(manifest(), description=page(500), mode=0o640).to_bytes(),
        ),
        _itself("description.cbor", "description", "a series of each storage, and a table", described().to_bytes()),
        _itself("manifest-pages.cbor", "manifest", "an artifact of 5,000 frames in two pages", pages.to_bytes()),
        _itself(
            "tree-page.cbor",
            "tree page",
            "five artifacts, sorted by code point",
            TreePage(entries, page(1, 2, 3, 4, 5)).to_bytes(),
        ),
        _itself(
            "folder-page.cbor",
            "folder page",
            "the version's own folder, one of unknown time and mode, and others, sorted by code point",
            FolderPage(
                (
                    Folder("", 1_700_000_000_000_000_000, 0o755),
                    Folder("Z"),
                    Folder("a", -1, 0o555),
                    Folder("a/é", 1, 0o7777),
                )
            ).to_bytes(),
        ),
        _itself("index-run.cbor", "index run", "the run of the mixed location page", IndexRun.of(locations).to_bytes()),
    ]


def _records() -> list[Vector]:
    condemn = condemn_payload((ObjectName(made_up("a lost object", 16)),))
    first = commit(1)
    second = commit(2, parents=(first.version_id,))
    known = replace(first, catalogue=page(250, number=1, offset=900), folders=page(60, number=1, offset=1200))
    records = log(
        (RecordKind.EPOCH, epoch_payload(epoch=0, public=VAULT_KEYS.public)),
        first,
        (RecordKind.CONDEMN, condemn),
        commit(1, memory="other"),
        (RecordKind.AUDIT, b"of a later version"),
        second,
    )
    return [
        _itself("record.cbor", "record", "record 2, a CONDEMN", records[2], seq=2),
        Vector(
            "valid/log.bin",
            "log",
            "six records, three COMMITs",
            joined(records),
            needs=LOG_NEEDS,
            result=second.to_bytes(),
        ),
        Vector(
            "valid/log-folders.bin",
            "log",
            "a COMMIT with a catalogue and folders",
            joined(log((RecordKind.EPOCH, epoch_payload(epoch=0, public=VAULT_KEYS.public)), known)),
            needs=LOG_NEEDS,
            result=known.to_bytes(),
        ),
    ]


VALID = [*_values(), *_keys(), *_frames(), *_packs(), *_descriptions(), *_records()]
