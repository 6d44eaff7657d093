"""What a vector is, and the made-up keys and small objects from which vectors are made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from engram_format.catalog import Kind
from engram_format.codecs import Codec
from engram_format.frame import encode_frame
from engram_format.history import Commit
from engram_format.identity import Identity
from engram_format.ids import ContentId, Digest, ObjectName, PackId, SessionId, VaultId
from engram_format.keys import ArchiveKeys, VaultKeys
from engram_format.location import Location, LocationPage, PackRef
from engram_format.manifest import Manifest, Segment
from engram_format.pack import FramePlace, PackBuilder, PackHeader, buffer_bytes
from engram_format.record import FIRST_PREVIOUS, Record, RecordKind
from engram_format.session import SessionKey

KINDS = {
    "value": "the value, encoded again: the file itself",
    "descriptor": "the descriptor, encoded again: the file itself",
    "identity": "the private seed",
    "recipient": "the public key",
    "archive keys": "the name key",
    "vault keys": "the private seed and the id key, one after the other",
    "session header": "the session key",
    "frame": "the original",
    "pack": "the originals of all frames, one after the other",
    "damaged pack": "the pack as it was written, repaired without a key",
    "location page": "the page, encoded again: the file itself",
    "manifest": "the manifest, encoded again: the file itself",
    "description": "the description, encoded again: the file itself",
    "tree page": "the tree page, encoded again: the file itself",
    "folder page": "the folder page, encoded again: the file itself",
    "index run": "the run, encoded again: the file itself",
    "record": "the record, encoded again: the file itself",
    "log": "the commit of the newest version of the memory; the file holds each record behind its length as u32 little-endian",
}


@dataclass(frozen=True, slots=True)
class Vector:
    """A file, what a reader needs to read it, and what comes of it: `result`, or the name of an `error`."""

    file: str
    kind: str
    what: str
    data: bytes
    needs: Mapping[str, object] = field(default_factory=dict)
    result: bytes = b""
    error: str = ""
    reproducible: bool = True


def made_up(label: str, length: int) -> bytes:
    """Return bytes that nobody takes for random ones."""
    return (label.encode() + b"." * length)[:length]


KEY = SessionKey(made_up("test session key", 32))
OTHER_KEY = SessionKey(made_up("another test session key", 32))
VAULT = VaultId(made_up("test vault", 16))
OTHER_VAULT = VaultId(made_up("other vault", 16))
SESSION = SessionId(made_up("test session", 16))
OTHER_SESSION = SessionId(made_up("other session", 16))
IDENTITY = Identity.from_entropy(made_up("test identity", 32))
ARCHIVE_KEYS = ArchiveKeys.from_entropy(made_up("test archive keys", 32))
VAULT_KEYS = VaultKeys.from_entropy(made_up("test vault keys", 32), vault=VAULT, name="retina")

PACK_NEEDS = {"session_key": KEY.secret.hex()}
ORIGINALS = (b"An original kept as it is.", b"", b"Another one, " * 40)


def header(number: int = 0, *, key: SessionKey = KEY) -> PackHeader:
    """Return the header of the session's pack `number`."""
    return PackHeader.of(key, vault=VAULT, session=SESSION, pack=PackId(made_up(f"test pack {number}", 32)))


def pack(*originals: bytes, number: int = 0, parity: bool = True, steps: tuple[Codec, ...] = ()) -> bytes:
    """Build a small pack, the last one of its session."""
    area = sum(map(len, originals)) + 96 * len(originals) + 2048
    builder = PackBuilder(KEY, header(number), buffer=bytearray(buffer_bytes(area)), capacity=area)
    for original in originals:
        content = ContentId.of(original, id_key=VAULT_KEYS.id_key)
        builder.add(encode_frame(original, steps), content=content, raw_size=len(original))
    return bytes(builder.seal(trail=b"", parity=parity, full=False))


def page(*sizes: int, number: int = 0, offset: int = 129) -> LocationPage:
    """Return a location page of frames that lie side by side, each kept as it is."""
    ref = PackRef(SESSION, KEY.object_name("data", number), header(number).pack)
    locations = []
    for index, size in enumerate(sizes):
        locations.append(Location(ref, FramePlace(index, offset, size + 21, size)))
        offset += size + 21
    return LocationPage.of(locations)


def manifest() -> Manifest:
    """Return the manifest of an artifact of three frames."""
    whole = b"".join(ORIGINALS)
    return Manifest(
        kind=Kind.RECORDING,
        size=len(whole),
        sha256=Digest.of(whole),
        time_ns=1_700_000_000_000_000_000,
        metadata={"subject.species": "human", "channels": 60, "rate_hz": 25_000.0, "spontaneous": True},
        made_from=(Digest.of(b"what it was made from"),),
        segments=(Segment("opaque", len(whole), 3),),
        inline=page(*map(len, ORIGINALS)),
    )


def commit(number: int, *, memory: str = "slice", parents: tuple[Digest, ...] = ()) -> Commit:
    """Return the commit of a version."""
    return Commit(
        memory=memory,
        number=number,
        parents=parents,
        author="a test",
        message=f"version {number}",
        time_ns=1_700_000_000_000_000_000 + number,
        tree=page(300, number=1),
        artifacts=1,
        added=1,
        objects=(KEY.object_name("data", 0), KEY.object_name("meta", 0)),
        depends=(ObjectName(made_up("an older object", 16)),) if number > 1 else (),
        index_adds=page(200, number=1, offset=500),
    )


def log(*contents: Commit | tuple[RecordKind, bytes]) -> list[bytes]:
    """Return chained records: commits, encrypted, and other kinds with their payload."""
    records: list[bytes] = []
    for seq, content in enumerate(contents):
        previous = Digest.of(records[-1]).raw if records else FIRST_PREVIOUS
        session = SessionId(made_up(f"log session {seq}", 16))
        kind, payload = (RecordKind.COMMIT, b"") if isinstance(content, Commit) else content
        record = Record(seq, previous, kind, session, payload)
        if isinstance(content, Commit):
            salt = made_up(f"salt {seq}", 16)
            sealed = KEY.encrypt_payload(content.to_bytes(), salt=salt, context=record.context)
            record = Record(seq, previous, kind, session, sealed)
        records.append(record.to_bytes())
    return records


def joined(records: list[bytes]) -> bytes:
    """Put records into one file, each behind its length."""
    return b"".join(len(record).to_bytes(4, "little") + record for record in records)


def changed(data: bytes, place: int, piece: bytes | None = None) -> bytes:
    """Return the bytes with a piece replaced, or with one bit flipped."""
    piece = bytes([data[place] ^ 1]) if piece is None else piece
    return data[:place] + piece + data[place + len(piece) :]
