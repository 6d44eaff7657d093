"""Whatever bytes a reader meets, it answers with a value or with an error of ours, never with another one."""

from __future__ import annotations

import base64
import dataclasses
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engram_format import shards
from engram_format.address import Address, ContentAddress, check_name, check_path, parse_any
from engram_format.catalog import Folder, Kind
from engram_format.catalogue import CataloguePage, CatalogueRow
from engram_format.codecs import Zstd
from engram_format.condition import Condition
from engram_format.descriptor import ArchiveId, Descriptor
from engram_format.encoding import decode, encode
from engram_format.errors import EngramError, FormatError
from engram_format.folders import FolderPage
from engram_format.frame import decode_frame, encode_frame
from engram_format.history import Commit, History, LogEntry, condemn_payload, epoch_payload, read_condemned, read_epoch
from engram_format.identity import Identity, LockCost, is_locked, parse_identity, parse_recipient
from engram_format.ids import ContentId, Digest, ObjectName, PackId, SessionId, VaultId
from engram_format.index import IndexRun
from engram_format.keys import ArchiveKeys, VaultKeys
from engram_format.location import Location, LocationPage, PackRef
from engram_format.manifest import Manifest, Segment, TreeEntry, TreePage
from engram_format.pack import FramePlace, FrameTable, PackBuilder, PackHeader, buffer_bytes, read_frames
from engram_format.record import Record, RecordKind
from engram_format.session import SessionHeader, SessionKey
from engram_format.suite import public_of, seal, unseal

KEY = SessionKey(bytes(range(32)))
IDENTITY = Identity.from_entropy(bytes(32))
VAULT, SESSION, PACK = VaultId(bytes(16)), SessionId(bytes(16)), PackId(bytes(32))
VAULT_KEYS = VaultKeys.from_entropy(bytes(32), vault=VAULT, name="vault")
HEADER = PackHeader.of(KEY, vault=VAULT, session=SESSION, pack=PACK)


def _pack() -> bytes:
    builder = PackBuilder(KEY, HEADER, buffer=bytearray(buffer_bytes(4096)), capacity=4096)
    for original in (b"one" * 100, b"", b"two"):
        content = ContentId.of(original, id_key=bytes(32))
        builder.add(encode_frame(original, [Zstd()]), content=content, raw_size=len(original))
    return bytes(builder.seal(trail=b"trail", parity=True, full=False))


LOCATIONS = [
    Location(PackRef(SESSION, ObjectName(bytes([number % 2]) * 16), PACK), FramePlace(number, 100 * number, 50, 29))
    for number in range(5)
]
PAGE = LocationPage.of(LOCATIONS)
MANIFEST = Manifest(
    kind=Kind.FILE,
    size=145,
    sha256=Digest(bytes(32)),
    time_ns=1,
    metadata={"a": 1, "b": 0.5, "c": "text", "d": True},
    made_from=(Digest(bytes(32)),),
    segments=(Segment("opaque", 145, 5),),
    inline=PAGE,
)
FOLDERS = FolderPage(tuple(Folder(f"{number}", number, 0o755) for number in range(5)))
TREE = TreePage(tuple(TreeEntry(f"{number}", Kind.FILE, 29, Digest(bytes(32)), 0, 50, 1) for number in range(5)), PAGE)
COMMIT = Commit("m", 1, (Digest(bytes(32)),), "a", "b", 0, PAGE, 5, 5, (ObjectName(bytes(16)),), (), PAGE, (bytes(20),))
CATALOGUED = dataclasses.replace(COMMIT, catalogue=PAGE)
CATALOGUE = CataloguePage.of(
    [
        CatalogueRow(
            path=f"{number}",
            kind=Kind.RECORDING,
            size=29,
            sha256=Digest(bytes(32)),
            time_ns=0,
            stored_size=50,
            frames=1,
            made_from=(Digest(bytes(32)),),
            metadata={"a": number, "b": 0.5, "c": "text", "d": True},
            facts={"series.name": ("x", "y")},
        )
        for number in range(5)
    ]
)
RECORD = Record(0, bytes(32), RecordKind.CONDEMN, SESSION, condemn_payload((ObjectName(bytes(16)),)))
TABLE = FrameTable(tuple(location.place for location in LOCATIONS), (ContentId(bytes(32)),) * 5, b"trail")
INDEX = IndexRun.of({ContentId(bytes([number]) * 32): location for number, location in enumerate(LOCATIONS)})
WHOLE = _pack()


@dataclass(frozen=True)
class Reader:
    """A way to read bytes, and bytes that it reads."""

    read: Callable[[bytes], object]
    valid: bytes


def _extend(data: bytes) -> object:
    record = Record.from_bytes(data, seq=0)
    return History().extend([LogEntry(record, bytes(32))])


def _find_in_index(data: bytes) -> object:
    run = IndexRun.from_bytes(data)
    found = [run.find(ContentId(bytes([number]) * 32), raw_size=1) for number in range(5)]
    return found, IndexRun.merged([run, run]).to_bytes(), list(run.pieces())


def _walk_page(data: bytes) -> object:
    page = LocationPage.from_bytes(data)
    return list(page), page.starts(), page.stored_size, LocationPage.from_bytes(page.to_bytes())


def _search(data: bytes) -> object:
    page = CataloguePage.from_bytes(data)
    asked = [
        Condition.parse(text) for text in ("a>2", "b!=0.5", "c~x", "d=true", "series.name=y", "time<2030", "size>0")
    ]
    marked = [condition.marks(page, vault="v", memory="m", version=1) for condition in asked]
    return marked, list(page.rows()), page.to_bytes()


def _payload(data: bytes) -> object:
    return KEY.decrypt_payload(data, context=b"", what="it")


def _table(data: bytes) -> object:
    return FrameTable.from_bytes(data, first_offset=0, end=250).to_bytes()


STRUCTURED = {
    "value": Reader(lambda data: decode(data, what="it"), encode({1: [1, -1.5, "text", b"bytes", None, {"a": True}]})),
    "descriptor": Reader(Descriptor.from_bytes, Descriptor(ArchiveId(bytes(16)), parity=True).to_bytes()),
    "location page": Reader(_walk_page, PAGE.to_bytes()),
    "manifest": Reader(lambda data: Manifest.from_bytes(data).to_bytes(), MANIFEST.to_bytes()),
    "folder page": Reader(lambda data: FolderPage.from_bytes(data).to_bytes(), FOLDERS.to_bytes()),
    "tree page": Reader(lambda data: TreePage.from_bytes(data).to_bytes(), TREE.to_bytes()),
    "record": Reader(lambda data: Record.from_bytes(data, seq=0).to_bytes(), RECORD.to_bytes()),
    "history": Reader(_extend, RECORD.to_bytes()),
    "commit": Reader(lambda data: Commit.from_bytes(data, what="it").version_id, COMMIT.to_bytes()),
    "commit with a catalogue": Reader(
        lambda data: Commit.from_bytes(data, what="it").version_id, CATALOGUED.to_bytes()
    ),
    "catalogue page": Reader(_search, CATALOGUE.to_bytes()),
    "epoch": Reader(lambda data: read_epoch(data, seq=0), epoch_payload(epoch=1, public=bytes(1216))),
    "condemned": Reader(lambda data: read_condemned(data, seq=0), RECORD.payload),
    "index run": Reader(_find_in_index, INDEX.to_bytes()),
    "frame table": Reader(_table, TABLE.to_bytes()),
    "footer": Reader(shards.Footer.from_bytes, shards.Footer.find(memoryview(WHOLE)).to_bytes()),
    "session header": Reader(
        lambda data: SessionHeader.from_bytes(data, vault=VAULT, session=SESSION).open(seed=VAULT_KEYS.seed),
        SessionHeader.make(KEY, vault=VAULT, session=SESSION, epoch=0, public=VAULT_KEYS.public).to_bytes(),
    ),
}
RAW = {
    "pack header": Reader(PackHeader.read, HEADER.to_bytes()),
    "inspection": Reader(lambda data: shards.inspect(memoryview(data)).repairable, WHOLE),
    "repair": Reader(lambda data: shards.repair(memoryview(data)), WHOLE),
    "frames": Reader(lambda data: list(read_frames(memoryview(data), KEY)), WHOLE),
    "frame": Reader(decode_frame, encode_frame(b"text " * 50, [Zstd()])),
    "Zstandard": Reader(
        lambda data: Zstd.decode(data, parameters=b"", limit=1000),
        Zstd(level=3).encode(b"text " * 50 + bytes(range(99))),
    ),
    "pack reference": Reader(PackRef.from_raw, LOCATIONS[0].pack.raw),
    "payload": Reader(_payload, KEY.encrypt_payload(b"payload", salt=bytes(16), context=b"")),
    "sealed bytes": Reader(
        lambda data: unseal(data, seed=IDENTITY.seed, info=b"", what="it"), seal(b"it", to=IDENTITY.public, info=b"")
    ),
    "archive keys": Reader(
        lambda data: ArchiveKeys.unwrap(data, seed=IDENTITY.seed), ArchiveKeys(bytes(32)).wrap(to=IDENTITY.public)
    ),
    "vault keys": Reader(
        lambda data: VaultKeys.unwrap(data, seed=IDENTITY.seed, vault=VAULT), VAULT_KEYS.wrap(to=IDENTITY.public)
    ),
    "public key": Reader(lambda data: seal(b"it", to=data, info=b""), IDENTITY.public),
    "seed": Reader(public_of, IDENTITY.seed),
    **{
        kind.__name__: Reader(kind, bytes(kind.LENGTH))
        for kind in (ArchiveId, VaultId, SessionId, ObjectName, PackId, ContentId, Digest)
    },
}
BYTES = STRUCTURED | RAW
LOCKED = IDENTITY.to_locked_text("passphrase", salt=bytes(16), cost=LockCost(memory_kib=64, passes=1, lanes=1))
TEXTS = {
    "address": (Address.parse, "vault/memory@3:path/to it"),
    "content address": (ContentAddress.parse, "sha256:" + "0" * 64),
    "any address": (parse_any, "sha256:" + "0" * 64),
    "name": (lambda text: check_name(text, what="vault"), "vault"),
    "path": (check_path, "a/b"),
    "vault id": (VaultId.parse, "0" * 32),
    "pack id": (PackId.parse, "0" * 64),
    "identity": (lambda text: parse_identity(text, passphrase=None), IDENTITY.to_text()),
    "locked identity": (lambda text: parse_identity(text, passphrase=None), LOCKED),
    "lock": (is_locked, LOCKED),
    "recipient": (parse_recipient, IDENTITY.recipient),
}

scalars = (
    st.none()
    | st.booleans()
    | st.sampled_from([0, 1, -1, 2**31, 2**32 - 1, 2**32, 2**63, 2**64 - 1, -(2**63)])
    | st.floats()
    | st.text(max_size=5)
    | st.binary(max_size=40)
    | st.integers(0, 80).map(bytes)
    | st.integers(0, 40).map(lambda length: b"\xff" * length)
)
replacements = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.integers(0, 12), inner, max_size=3)
        | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=4,
)


def _answers(read: Callable, data: object) -> None:
    with suppress(EngramError):
        read(data)


@pytest.mark.parametrize("name", BYTES)
def test_what_is_valid_is_read(name):
    BYTES[name].read(BYTES[name].valid)


@pytest.mark.parametrize("name", BYTES)
@given(data=st.binary(max_size=300))
def test_arbitrary_bytes(name, data):
    _answers(BYTES[name].read, data)


@pytest.mark.parametrize("name", BYTES)
@given(data=st.data())
def test_valid_bytes_that_were_changed(name, data):
    changed = bytearray(BYTES[name].valid)
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(changed)))
        removed = data.draw(st.sampled_from([0, 0, 1, 1, 1, 4, 1000]))
        changed[place : place + removed] = data.draw(st.binary(max_size=6))
    _answers(BYTES[name].read, bytes(changed))


@pytest.mark.parametrize("name", STRUCTURED)
@given(data=st.data())
@settings(max_examples=100)
def test_valid_fields_that_were_replaced(name, data):
    value = decode(STRUCTURED[name].valid, what="it")
    for _ in range(data.draw(st.integers(1, 2))):
        target = value
        while (
            isinstance(inner := target[key := data.draw(st.sampled_from(list(_keys(target))))], list | dict) and inner
        ):
            if data.draw(st.booleans()):
                break
            target = inner
        target[key] = _column(data, inner) if isinstance(inner, bytes) else data.draw(replacements)
    _answers(STRUCTURED[name].read, encode(value))


def _keys(value: list | dict) -> range | list:
    return range(len(value)) if isinstance(value, list) else list(value)


def _column(data: st.DataObject, column: bytes) -> object:
    """Return another value for a byte string: one of the same length, so that only its content can be wrong, or anything."""
    if data.draw(st.booleans()) or not column:
        return data.draw(replacements)
    changed = bytearray(column)
    at = data.draw(st.integers(0, len(column) - 1))
    piece = data.draw(st.sampled_from([b"\x00" * 4, b"\xff" * 4, b"\x01", b"\x80", b"\xff\xff\xff\x7f"]))
    changed[at : at + len(piece)] = piece
    return bytes(changed[: len(column)])


@pytest.mark.parametrize("name", TEXTS)
@given(text=st.text(max_size=80) | st.text(st.sampled_from("vm/@:1a0.#-_=\n \u0661\ud800"), max_size=30))
def test_arbitrary_text(name, text):
    _answers(TEXTS[name][0], text)


@pytest.mark.parametrize("name", TEXTS)
@given(data=st.data())
def test_valid_text_that_was_changed(name, data):
    read, valid = TEXTS[name]
    place = data.draw(st.integers(0, len(valid)))
    removed = data.draw(st.integers(0, 3))
    inserted = data.draw(st.text(max_size=3))
    _answers(read, valid[:place] + inserted + valid[place + removed :])


@given(st.sampled_from([3, 7]), st.binary(max_size=130))
@settings(max_examples=50)
def test_a_lock_that_was_changed(field, content):
    fields = {1: 1, 2: 1, 3: bytes(16), 4: 64, 5: 1, 6: 1, 7: bytes(112), field: content}
    text = "ENGRAM-IDENTITY-1-LOCKED:" + base64.urlsafe_b64encode(encode(fields)).decode().rstrip("=")
    _answers(lambda text: parse_identity(text, passphrase="passphrase"), text)


@given(st.integers(0, 2**64 - 1), st.integers(0, 9), st.booleans(), st.integers(0, 40))
def test_a_footer_that_lies_about_the_length(data_bytes, hashes, parity, body):
    tail = shards.Footer(data_bytes, parity, bytes(32 * hashes), bytes(32)).tail()
    for read in (shards.inspect, shards.repair, lambda data: list(read_frames(data, KEY))):
        _answers(read, memoryview(bytes(body) + tail))


def test_a_small_object_does_not_make_a_reader_take_gibibytes():
    claims = shards.Footer(2**32, False, bytes(32 * 4096), bytes(32))
    with pytest.raises(FormatError, match="impossible length"):
        shards.repair(memoryview(claims.tail()))
