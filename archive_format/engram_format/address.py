"""Addresses: how a person names a vault, a memory, a version or an artifact.

Written `vault/memory[@version][:path]` (SPEC.md section 2), or `sha256:<64 hex digits>` for an artifact by its content.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass, replace
from typing import Self

from engram_format.errors import InvalidInput

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_VERSION = re.compile(r"[1-9][0-9]{0,8}")
_CONTENT = re.compile(r"sha256:([0-9a-f]{64})")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_MAX_PATH_BYTES = 1024
_MAX_NOTE_BYTES = 64 * 1024


def check_name(name: str, *, what: str) -> str:
    """Return `name` if a vault or a memory may be called so; `what` is the word used in the error."""
    if not _NAME.fullmatch(name):
        raise InvalidInput(
            f"{name!r} is no {what} name: use 1 to 63 letters, digits, dots, dashes or underscores, "
            "beginning with a letter or a digit"
        )
    return name


def check_path(path: str) -> str:
    """Return `path` if an artifact may lie there: relative, with `/` between parts, NFC, no `.` or `..`, no control characters."""
    parts = path.split("/")
    if (
        not path
        or len(path.encode("utf-8", "surrogatepass")) > _MAX_PATH_BYTES
        or any(part in ("", ".", "..") for part in parts)
        or not ((path.isascii() and path.isprintable()) or _is_clean(path))  # the first is quick, and true of most
    ):
        raise InvalidInput(
            f"{path!r} is no artifact path: use a relative path with '/' between its parts, "
            f"at most {_MAX_PATH_BYTES} bytes, without '.', '..' or control characters"
        )
    return path


def _is_clean(text: str) -> bool:
    """Tell whether a text is in NFC and has no control characters and no halves of surrogate pairs."""
    controls = any(unicodedata.category(char) in ("Cc", "Cs") for char in text)
    return not controls and unicodedata.normalize("NFC", text) == text


def check_sha256(text: str) -> str:
    """Return `text` if it is a SHA-256: 64 lower-case hex digits."""
    if not _SHA256.fullmatch(text):
        raise InvalidInput(f"{text!r} is no SHA-256: write 64 lower-case hex digits")
    return text


def check_note(text: str, *, what: str) -> str:
    """Return `text` if it may be stored as a message or an author: Unicode, at most 64 KiB."""
    try:
        size = len(text.encode())
    except UnicodeEncodeError as error:
        raise InvalidInput(f"the {what} is not Unicode text: write it again") from error
    if size > _MAX_NOTE_BYTES:
        raise InvalidInput(f"the {what} has {size} bytes; at most {_MAX_NOTE_BYTES} are allowed")
    return text


@dataclass(frozen=True, slots=True)
class Address:
    """A vault, a memory, a version or an artifact; the fields after the last one that is set are `None`."""

    vault: str
    memory: str | None = None
    version: int | None = None
    path: str | None = None

    def __post_init__(self) -> None:
        check_name(self.vault, what="vault")
        if self.memory is not None:
            check_name(self.memory, what="memory")
        elif self.version is not None or self.path is not None:
            raise InvalidInput(f"an address in vault {self.vault!r} names a version or a path but no memory")
        if self.version is not None and not 1 <= self.version < 10**9:
            raise InvalidInput(f"version {self.version} cannot be: versions are numbered from 1 to 999999999")
        if self.path is not None:
            check_path(self.path)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read the form that `str()` writes, and nothing else."""
        head, colon, path = text.partition(":")
        names, at, version = head.partition("@")
        vault, slash, memory = names.partition("/")
        if at and not _VERSION.fullmatch(version):
            raise InvalidInput(f"{text!r} is no address: after '@' comes a version number such as @3")
        if not slash and (at or colon):
            raise InvalidInput(f"{text!r} is no address: write vault/memory[@version][:path]")
        return cls(
            vault=vault,
            memory=memory if slash else None,
            version=int(version) if at else None,
            path=path if colon else None,
        )

    def __str__(self) -> str:
        text = self.vault
        if self.memory is not None:
            text += f"/{self.memory}"
        if self.version is not None:
            text += f"@{self.version}"
        if self.path is not None:
            text += f":{self.path}"
        return text

    def at(self, version: int | None) -> Self:
        """Return the same address in another version; `None` means the newest."""
        return replace(self, version=version)

    def of(self, path: str | None) -> Self:
        """Return the address of an artifact in the same version, or of the version itself with `None`."""
        return replace(self, path=path)


@dataclass(frozen=True, slots=True)
class ContentAddress:
    """An artifact named by the SHA-256 of its bytes, wherever it lies in the archive."""

    sha256: str

    def __post_init__(self) -> None:
        check_sha256(self.sha256)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `sha256:` and 64 lower-case hex digits."""
        found = _CONTENT.fullmatch(text)
        if not found:
            raise InvalidInput(f"{text!r} is no content address: write sha256: and 64 lower-case hex digits")
        return cls(found[1])

    def __str__(self) -> str:
        return f"sha256:{self.sha256}"


AnyAddress = Address | ContentAddress


def parse_any(text: str) -> AnyAddress:
    """Read either form of address."""
    return ContentAddress.parse(text) if text.startswith("sha256:") else Address.parse(text)
