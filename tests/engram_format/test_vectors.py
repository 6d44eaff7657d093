"""Every vector is read or refused as `index.json` says, and every file is a vector."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from engram_format import shards
from engram_format.descriptor import Descriptor
from engram_format.encoding import decode, encode
from engram_format.errors import FormatError, Precondition
from engram_format.folders import FolderPage
from engram_format.frame import decode_frame
from engram_format.history import Commit, History, LogEntry
from engram_format.identity import parse_identity, parse_recipient
from engram_format.ids import Digest, SessionId, VaultId
from engram_format.index import IndexRun
from engram_format.keys import ArchiveKeys, VaultKeys
from engram_format.location import LocationPage
from engram_format.manifest import Manifest, TreePage
from engram_format.pack import read_frames
from engram_format.record import Record, RecordKind
from engram_format.series import Description
from engram_format.session import SessionHeader, SessionKey

VECTORS = Path(__file__).parents[2] / "archive_format" / "vectors"
INDEX = json.loads((VECTORS / "index.json").read_text())
ENTRIES = {entry["file"]: entry for entry in INDEX["vectors"]}
VALID = [name for name, entry in ENTRIES.items() if entry["expected"] == "ok"]
REFUSED = [name for name in ENTRIES if name not in VALID]


def _key(needs: dict) -> SessionKey:
    return SessionKey(bytes.fromhex(needs["session_key"]))


def _read_vault_keys(data: bytes, needs: dict) -> bytes:
    keys = VaultKeys.unwrap(data, seed=bytes.fromhex(needs["identity_seed"]), vault=VaultId.parse(needs["vault"]))
    return keys.seed + keys.id_key


def _read_session(data: bytes, needs: dict) -> bytes:
    vault, session = VaultId.parse(needs["vault"]), SessionId.parse(needs["session"])
    header = SessionHeader.from_bytes(data, vault=vault, session=session)
    return header.open(seed=bytes.fromhex(needs["vault_seed"])).secret


def _split(data: bytes) -> list[bytes]:
    records, at = [], 0
    while at < len(data):
        length = int.from_bytes(data[at : at + 4], "little")
        records.append(data[at + 4 : at + 4 + length])
        at += 4 + length
    return records


def _read_log(data: bytes, needs: dict) -> bytes:
    entries = []
    for seq, raw in enumerate(_split(data)):
        record, commit = Record.from_bytes(raw, seq=seq), None
        if record.kind is RecordKind.COMMIT:
            try:
                payload = _key(needs).decrypt_payload(record.payload, context=record.context, what="a commit")
                commit = Commit.from_bytes(payload, what="a commit")
            except FormatError:
                commit = None
        entries.append(LogEntry(record, Digest.of(raw).raw, commit))
    return History().extend(entries).newest(needs["memory"]).to_bytes()


def _read_pack(data: bytes, needs: dict) -> bytes:
    return b"".join(decode_frame(plaintext) for _, _, plaintext in read_frames(memoryview(data), _key(needs)))


READERS = {
    "value": lambda data, _: encode(decode(data, what="a value")),
    "descriptor": lambda data, _: Descriptor.from_bytes(data).to_bytes(),
    "identity": lambda data, needs: parse_identity(data.decode(), passphrase=needs.get("passphrase")).seed,
    "recipient": lambda data, _: parse_recipient(data.decode()),
    "archive keys": lambda data, needs: ArchiveKeys.unwrap(data, seed=bytes.fromhex(needs["identity_seed"])).name_key,
    "vault keys": _read_vault_keys,
    "session header": _read_session,
    "frame": lambda data, _: bytes(decode_frame(data)),
    "pack": _read_pack,
    "damaged pack": lambda data, _: shards.repair(memoryview(data)),
    "location page": lambda data, _: LocationPage.from_bytes(data).to_bytes(),
    "manifest": lambda data, _: Manifest.from_bytes(data).to_bytes(),
    "description": lambda data, _: Description.from_bytes(data).to_bytes(),
    "tree page": lambda data, _: TreePage.from_bytes(data).to_bytes(),
    "folder page": lambda data, _: FolderPage.from_bytes(data).to_bytes(),
    "index run": lambda data, _: IndexRun.from_bytes(data).to_bytes(),
    "record": lambda data, needs: Record.from_bytes(data, seq=needs["seq"]).to_bytes(),
    "log": _read_log,
}


def test_every_file_is_listed_and_every_listed_file_is_there():
    files = {
        str(path.relative_to(VECTORS))
        for folder in ("valid", "invalid")
        for path in (VECTORS / folder).rglob("*")
        if path.is_file()
    }
    assert files == set(ENTRIES)
    assert len(INDEX["vectors"]) == len(ENTRIES)
    assert {path.name for path in VECTORS.iterdir() if path.is_dir()} - {"__pycache__"} == {"valid", "invalid"}


def test_every_kind_is_described_and_has_a_vector():
    assert set(INDEX["kinds"]) == set(READERS) == {entry["kind"] for entry in ENTRIES.values()}


def test_the_vectors_stay_small():
    assert sum((VECTORS / name).stat().st_size for name in ENTRIES) < 200_000


@pytest.mark.parametrize("name", VALID)
def test_a_valid_vector_is_read(name):
    entry = ENTRIES[name]
    result = READERS[entry["kind"]]((VECTORS / name).read_bytes(), entry["needs"])
    assert hashlib.sha256(result).hexdigest() == entry["sha256"]


@pytest.mark.parametrize("name", REFUSED)
def test_an_invalid_vector_is_refused(name):
    entry = ENTRIES[name]
    with pytest.raises(Exception) as caught:
        READERS[entry["kind"]]((VECTORS / name).read_bytes(), entry["needs"])
    assert caught.type.__name__ == entry["expected"]


def _foreign_readers(reader) -> dict:
    def log(data: bytes, needs: dict) -> bytes:
        records, key = _split(data), bytes.fromhex(needs["session_key"])
        sessions = {reader.decode_cbor(record)[6]: key for record in records}
        newest = {}
        for kind, payload in reader.read_log(records, sessions):
            if kind == 1:
                fields = reader.decode_cbor(payload)
                newest[fields[1]] = payload
        return newest[needs["memory"]]

    def vault_keys(data: bytes, needs: dict) -> bytes:
        info = b"engram/1/vault-keys" + bytes.fromhex(needs["vault"])
        fields = reader.decode_cbor(reader.open_sealed(data, bytes.fromhex(needs["identity_seed"]), info))
        return fields[6] + fields[7]

    def archive_keys(data: bytes, needs: dict) -> bytes:
        seed = bytes.fromhex(needs["identity_seed"])
        return reader.decode_cbor(reader.open_sealed(data, seed, b"engram/1/archive-keys"))[3]

    return {
        "identity": lambda data, needs: reader.read_identity(data.decode(), needs.get("passphrase")),
        "archive keys": archive_keys,
        "vault keys": vault_keys,
        "session header": lambda data, needs: reader.open_session(data, bytes.fromhex(needs["vault_seed"]))[1],
        "frame": lambda data, _: reader.decode_frame(data),
        "pack": lambda data, needs: b"".join(reader.Pack(data, bytes.fromhex(needs["session_key"])).originals()),
        "log": log,
    }


@pytest.mark.parametrize("name", [name for name in VALID if ENTRIES[name]["kind"] in _foreign_readers(None)])
def test_another_reader_gets_the_same_out_of_a_valid_vector(spec_reader, name):
    entry = ENTRIES[name]
    result = _foreign_readers(spec_reader)[entry["kind"]]((VECTORS / name).read_bytes(), entry["needs"])
    assert hashlib.sha256(result).hexdigest() == entry["sha256"]


def test_errors_of_the_vectors_are_those_that_the_index_explains():
    assert {ENTRIES[name]["expected"] for name in REFUSED} == {"FormatError", "Damaged", Precondition.__name__}
    assert all(word in INDEX["about"] for word in ("FormatError", "Damaged", "Precondition"))
