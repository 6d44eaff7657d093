"""An archive is read from an identity to its last byte by the reader that knows SPEC.md alone."""

from __future__ import annotations

import hashlib

import pytest

from engram_format.catalog import Folder, Kind
from engram_format.codecs import Zstd
from engram_format.folders import FolderPage
from engram_format.frame import encode_frame
from engram_format.history import Commit, epoch_payload
from engram_format.identity import LockCost
from engram_format.ids import ContentId, Digest, PackId
from engram_format.location import Location, LocationPage, PackRef
from engram_format.manifest import Manifest, Segment, TreeEntry, TreePage
from engram_format.pack import PackBuilder, PackHeader, buffer_bytes
from engram_format.record import FIRST_PREVIOUS, Record, RecordKind
from engram_format.session import SessionHeader

ORIGINAL = b"".join(bytes([number]) * 700 for number in range(40)) + bytes(range(256))
PASSPHRASE = "open sesame"


class Writer:
    """Writes packs of one session into a mapping of names to objects."""

    def __init__(self, key, vault, session, id_key: bytes) -> None:
        self.key, self.vault, self.session, self.id_key = key, vault, session, id_key
        self.objects: dict[str, bytes] = {}

    def put(self, role: str, number: int, frames: list[bytes]) -> LocationPage:
        pack = PackId(hashlib.sha256(f"{role} {number}".encode()).digest())
        header = PackHeader.of(self.key, vault=self.vault, session=self.session, pack=pack)
        builder = PackBuilder(self.key, header, buffer=bytearray(buffer_bytes(2**17)), capacity=2**17)
        name = self.key.object_name(role, number)
        ref, locations = PackRef(self.session, name, pack), []
        for frame in frames:
            content = ContentId.of(frame, id_key=self.id_key)
            place = builder.add(encode_frame(frame, (Zstd(),)), content=content, raw_size=len(frame))
            locations.append(Location(ref, place))
        self.objects[name.key] = bytes(builder.seal(parity=True, full=False))
        return LocationPage.of(locations)


@pytest.fixture(scope="module")
def archive(key, vault, session, identity, vault_keys) -> dict[str, bytes]:
    """A whole archive of one artifact: every object by its key."""
    writer = Writer(key, vault, session, vault_keys.id_key)
    pieces = [ORIGINAL[at : at + 5000] for at in range(0, len(ORIGINAL), 5000)]
    first, second = writer.put("data", 0, pieces[:3]), writer.put("data", 1, pieces[3:])
    manifest = Manifest(
        kind=Kind.RECORDING,
        size=len(ORIGINAL),
        sha256=Digest.of(ORIGINAL),
        time_ns=7,
        metadata={"species": "human"},
        made_from=(),
        segments=(Segment("opaque", len(ORIGINAL), len(pieces)),),
        inline=LocationPage.of([*first, *second]),
    )
    described = writer.put("meta", 0, [manifest.to_bytes()])
    entry = TreeEntry(
        "run/one.h5", manifest.kind, manifest.size, manifest.sha256, 7, manifest.inline.stored_size, len(pieces)
    )
    tree = writer.put("meta", 1, [TreePage((entry,), described).to_bytes()])
    pages = [FolderPage((Folder("", 9, 0o755), Folder("a", -5))), FolderPage((Folder("é", 0, 0o500),))]
    folders = writer.put("meta", 2, [page.to_bytes() for page in pages])
    empty = LocationPage.of(())
    names = tuple(
        key.object_name(role, number) for role, count in (("data", 2), ("meta", 3)) for number in range(count)
    )
    commit = Commit("slice", 1, (), "somebody", "first", 8, tree, 1, 1, names, (), empty, folders=folders)
    epoch = Record(0, FIRST_PREVIOUS, RecordKind.EPOCH, session, epoch_payload(epoch=0, public=vault_keys.public))
    record = Record(1, Digest.of(epoch.to_bytes()).raw, RecordKind.COMMIT, session, b"")
    payload = key.encrypt_payload(commit.to_bytes(), salt=b"salt of the test", context=record.context)
    record = Record(1, record.previous, record.kind, session, payload)
    header = SessionHeader.make(key, vault=vault, session=session, epoch=0, public=vault_keys.public)
    return writer.objects | {
        "identity": identity.to_locked_text(PASSPHRASE, salt=bytes(16), cost=LockCost(64, 1, 1)).encode(),
        "vault keys": vault_keys.wrap(to=identity.public),
        "log/0000000000000000": epoch.to_bytes(),
        "log/0000000000000001": record.to_bytes(),
        f"s/{session}": header.to_bytes(),
    }


def test_every_byte_comes_back_without_our_code(archive, vault, spec_reader):
    seed = spec_reader.read_identity(archive["identity"].decode(), PASSPHRASE)
    info = b"engram/1/vault-keys" + vault.raw
    vault_keys = spec_reader.decode_cbor(spec_reader.open_sealed(archive["vault keys"], seed, info))
    assert (vault_keys[3], vault_keys[4], vault_keys[5]) == (vault.raw, "retina", 0)

    headers = [data for name, data in archive.items() if name.startswith("s/")]
    sessions = dict(spec_reader.open_session(data, vault_keys[6]) for data in headers)
    records = [data for name, data in sorted(archive.items()) if name.startswith("log/")]
    (_, epoch), (_, commit_bytes) = spec_reader.read_log(records, sessions)
    assert spec_reader.decode_cbor(epoch)[2] == spec_reader.public_key(vault_keys[6])
    commit = spec_reader.decode_cbor(commit_bytes)
    assert (commit[1], commit[2]) == ("slice", 1)

    def frames(page: bytes) -> list[bytes]:
        """Read the frames of a location page, each by its range, with a computed header."""
        return [_read_range(spec_reader, archive, vault.raw, sessions, row) for row in spec_reader.read_locations(page)]

    (tree_page,) = frames(commit[7])
    tree = spec_reader.decode_cbor(tree_page)
    assert [entry[0] for entry in tree[1]] == ["run/one.h5"]
    (manifest_bytes,) = frames(tree[2])
    manifest = spec_reader.decode_cbor(manifest_bytes)
    original = b"".join(frames(manifest[8]))
    assert original == ORIGINAL
    assert manifest[3] == tree[1][0][3] == spec_reader.sha256(original)
    assert spec_reader.read_folders(frames(commit[15])) == {"": (9, 0o755), "a": (-5, 0), "é": (0, 0o500)}


def _read_range(reader, archive, vault: bytes, sessions: dict[bytes, bytes], row: tuple) -> bytes:
    ref, number, offset, length, raw_size = row
    session, name, pack_id = ref[:16], ref[16:32].hex(), ref[32:]
    key = sessions[session]
    commitment = reader.derive(key, "commit", pack_id)
    # {1: 1, 2: 1, 3: vault id, 4: session id, 5: pack id, 6: commitment}, as section 4 encodes it
    body = b"\xa6\x01\x01\x02\x01\x03\x50" + vault + b"\x04\x50" + session
    body += b"\x05\x58\x20" + pack_id + b"\x06\x58\x20" + commitment
    head = b"ENGRPACK" + len(body).to_bytes(4, "little") + body
    bound = reader.derive(pack_id, "pack/header", head) + number.to_bytes(8, "big")
    ciphertext = archive[f"o/{name[:2]}/{name}"][offset : offset + length]
    aead = reader.AESGCM(reader.derive(key, "pack", pack_id))
    original = reader.decode_frame(aead.decrypt(bytes(4) + number.to_bytes(8, "big"), ciphertext, bound))
    assert len(original) == raw_size
    return original


def test_names_of_a_sessions_objects_follow_from_its_key(archive, key, spec_reader):
    for role in ("data", "meta"):
        for number in range(2):
            name = spec_reader.object_name(key.secret, role, number).hex()
            assert f"o/{name[:2]}/{name}" in archive
