"""Identifiers: fixed-length byte strings with one text form, lower-case hex (SPEC.md section 2)."""

from __future__ import annotations

import hashlib
import hmac
import re
from dataclasses import dataclass
from typing import ClassVar, Self

from engram_format.errors import FormatError

_HEX = re.compile(r"[0-9a-f]*")


@dataclass(frozen=True, slots=True, order=True)
class Identifier:
    """A byte string of a fixed length that names something; subclasses say what."""

    LENGTH: ClassVar[int] = 16
    WHAT: ClassVar[str] = "identifier"

    raw: bytes

    def __post_init__(self) -> None:
        if len(self.raw) != self.LENGTH:
            raise FormatError(f"a {self.WHAT} has {self.LENGTH} bytes, not {len(self.raw)}")

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read the form that `str()` writes, and nothing else."""
        if len(text) != 2 * cls.LENGTH or not _HEX.fullmatch(text):
            raise FormatError(f"a {cls.WHAT} is {2 * cls.LENGTH} lower-case hex digits, not {text!r}")
        return cls(bytes.fromhex(text))

    def __str__(self) -> str:
        return self.raw.hex()


class VaultId(Identifier):
    """The random name of a vault's folder in the storage."""

    WHAT = "vault id"


class SessionId(Identifier):
    """The name of one deposit session, chosen by the depositor, used once."""

    WHAT = "session id"


class ObjectName(Identifier):
    """The name of one object under `o/`: unpredictable without the session's key, used once."""

    WHAT = "object name"

    @property
    def key(self) -> str:
        """The object's place inside its vault."""
        text = str(self)
        return f"o/{text[:2]}/{text}"


class PackId(Identifier):
    """The random number from which a pack's key is derived; a pack that is built anew draws a new one."""

    LENGTH = 32
    WHAT = "pack id"


class ContentId(Identifier):
    """The keyed digest that names one frame's content inside a vault.

    Keyed, so that a storage provider cannot test whether a vault holds a known file.
    """

    LENGTH = 32
    WHAT = "content id"

    @classmethod
    def of(cls, plaintext: bytes | memoryview, *, id_key: bytes) -> Self:
        """Name `plaintext` under the vault's id key."""
        return cls(hmac.digest(id_key, plaintext, "sha256"))


class Digest(Identifier):
    """A SHA-256 digest of plain bytes: what an artifact or a version is addressed by."""

    LENGTH = 32
    WHAT = "SHA-256 digest"

    @classmethod
    def of(cls, data: bytes | memoryview) -> Self:
        """Digest `data`."""
        return cls(hashlib.sha256(data).digest())
