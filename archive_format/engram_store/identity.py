"""Key files on disk: written once, private to their owner, read with care."""

from __future__ import annotations

import errno
import os
import stat
import tempfile
from pathlib import Path

import platformdirs

from engram_format.errors import AlreadyExists, Denied, Exhausted, FormatError, NotFound, Precondition
from engram_format.identity import Identity, LockCost, is_locked, parse_identity

__all__ = ["Identity", "default_identity_path", "identity_is_locked", "load_identity", "new_identity", "save_identity"]

_MAX_FILE_BYTES = 64 * 1024


def default_identity_path() -> Path:
    """Return where the user's identity lies unless told otherwise."""
    return platformdirs.user_config_path("engram") / "identity.txt"


def new_identity() -> Identity:
    """Draw a new identity."""
    return Identity.from_entropy(os.urandom(32))


def save_identity(path: Path, identity: Identity, *, passphrase: str | None = None) -> None:
    """Write a new key file that only its owner can read, durably; raises `AlreadyExists` rather than overwrite one."""
    line = identity.to_text()
    if passphrase is not None:
        line = identity.to_locked_text(passphrase, salt=os.urandom(16), cost=LockCost())
    text = (
        "# An Engram identity. Keep it secret and keep a copy: without it, what is sealed to it can never be read again.\n"
        f"# fingerprint: {identity.fingerprint}\n"
        f"# recipient: {identity.recipient}\n"
        f"{line}\n"
    )
    try:
        _write_durably(path, text.encode("ascii"))
    except FileExistsError as error:
        raise AlreadyExists(f"{path} exists: an identity is never overwritten; use it or name another file") from error
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        kind, remedy = (Exhausted, "make room") if full else (Denied, "name another file with --identity")
        raise kind(f"the identity cannot be written to {path} ({error.strerror}): {remedy}") from error


def identity_is_locked(path: Path) -> bool:
    """Tell whether the key file needs a passphrase."""
    return is_locked(_read(path))


def load_identity(path: Path, *, passphrase: str | None = None) -> Identity:
    """Read a key file; raises `NotFound`, `Precondition` (readable by others, locked) or `FormatError`."""
    text = _read(path)
    try:
        return parse_identity(text, passphrase=passphrase)
    except FormatError as error:
        raise FormatError(f"{path}: {error}") from error


def _write_durably(path: Path, data: bytes) -> None:
    """Write a new private file: it is there whole, and still there after a power cut, or not at all."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=".engram-identity-", dir=path.parent)  # mode 0600
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.link(name, path)  # fails where there is a file already
    finally:
        Path(name).unlink()
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            data = file.read(_MAX_FILE_BYTES + 1)
    except FileNotFoundError as error:
        raise NotFound(
            f"there is no identity at {path}: make one with 'engram init', or name one with --identity"
        ) from error
    except OSError as error:
        raise Denied(f"the identity {path} cannot be read: {error.strerror}") from error
    if stat.S_ISREG(mode) and mode & 0o077:
        raise Precondition(f"the identity {path} can be read by others: run 'chmod 600 {path}' and consider it known")
    try:
        return data[:_MAX_FILE_BYTES].decode("ascii")
    except UnicodeDecodeError as error:
        raise FormatError(f"{path} is no identity: it is not plain text") from error
