"""Keys that are plainly made up, and small objects of the format that many tests start from."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from engram_format.codecs import Zstd
from engram_format.frame import decode_frame, encode_frame
from engram_format.identity import Identity
from engram_format.ids import ContentId, PackId, SessionId, VaultId
from engram_format.keys import VaultKeys
from engram_format.pack import DATA_BYTES, PackBuilder, PackHeader, buffer_bytes, read_frames
from engram_format.session import SessionKey


@pytest.fixture(scope="session")
def key() -> SessionKey:
    return SessionKey(b"session key of the format tests!")


@pytest.fixture(scope="session")
def vault() -> VaultId:
    return VaultId(b"vault of a test!")


@pytest.fixture(scope="session")
def session() -> SessionId:
    return SessionId(b"a test's session")


@pytest.fixture(scope="session")
def identity() -> Identity:
    return Identity.from_entropy(b"identity".ljust(32, b"."))


@pytest.fixture(scope="session")
def vault_keys(vault: VaultId) -> VaultKeys:
    return VaultKeys.from_entropy(b"vault".ljust(32, b"."), vault=vault, name="retina")


@pytest.fixture(scope="session")
def header_of(key: SessionKey, vault: VaultId, session: SessionId):
    """Return a function: the header of the test session's pack `number`."""

    def header(number: int = 0) -> PackHeader:
        return PackHeader.of(key, vault=vault, session=session, pack=PackId(bytes([number]) * PackId.LENGTH))

    return header


@pytest.fixture(scope="session")
def make_pack(key: SessionKey, header_of):
    """Return a function that builds a pack of originals, by default a small one that is not full."""

    def make(
        originals: list[bytes],
        *,
        number: int = 0,
        capacity: int = DATA_BYTES,
        parity: bool = True,
        full: bool = False,
        trail: bytes = b"",
        steps: tuple[Zstd, ...] = (),
    ) -> bytes:
        area = capacity if full else min(capacity, 2 * sum(map(len, originals)) + 128 * len(originals) + 4096)
        builder = PackBuilder(key, header_of(number), buffer=bytearray(buffer_bytes(area)), capacity=area)
        for original in originals:
            content = ContentId.of(original, id_key=b"id key of a test".ljust(32, b"."))
            builder.add(encode_frame(original, steps), content=content, raw_size=len(original))
        return bytes(builder.seal(trail=trail, parity=parity, full=full))

    return make


@pytest.fixture(scope="session")
def originals_in(key: SessionKey):
    """Return a function that reads the originals of all frames of a pack."""

    def read(pack: bytes) -> list[bytes]:
        return [bytes(decode_frame(plaintext)) for _, _, plaintext in read_frames(memoryview(pack), key)]

    return read


@pytest.fixture(scope="session")
def spec_reader() -> ModuleType:
    """The reader that was written from SPEC.md alone."""
    spec = importlib.util.spec_from_file_location("spec_reader", Path(__file__).with_name("spec_reader.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
