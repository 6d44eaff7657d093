"""The text form of an identity: the private key of a person or a service (SPEC.md section 5).

A key file is plain text: lines that begin with `#` are for people, one line holds the key, open or locked by a passphrase.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from typing import Final, Self

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

from engram_format.encoding import Encodable, Fields, encode
from engram_format.errors import FormatError, Precondition
from engram_format.keys import RecipientId
from engram_format.suite import (
    FORMAT,
    KEM_PUBLIC_BYTES,
    KEM_SEED_BYTES,
    SUITE,
    check_suite,
    cipher,
    derive,
    nonce,
    public_of,
)

_OPEN: Final = "ENGRAM-IDENTITY-1:"
_LOCKED: Final = "ENGRAM-IDENTITY-1-LOCKED:"
_RECIPIENT: Final = "engram-recipient-1:"
_SALT_BYTES: Final = 16


@dataclass(frozen=True, slots=True)
class LockCost:
    """Parameters of Argon2id (RFC 9106): memory in KiB, passes over it, lanes."""

    memory_kib: int = 256 * 1024
    passes: int = 3
    lanes: int = 4

    def check(self) -> None:
        """Raise `FormatError` where a key file asks for more than any machine should give."""
        if not (8 * self.lanes <= self.memory_kib <= 4 * 2**20 and 1 <= self.passes <= 64 and 1 <= self.lanes <= 64):
            raise FormatError("an identity asks for impossible costs of its passphrase")


@dataclass(frozen=True, slots=True, repr=False)
class Identity:
    """A private key. Holds a secret: its `repr` shows none."""

    seed: bytes
    """96 bytes: seed of ML-KEM-768 and private key of X25519."""

    @classmethod
    def from_entropy(cls, entropy: bytes) -> Self:
        """Make an identity from 32 random bytes."""
        return cls(b"".join(derive(entropy, f"identity/seed/{part}") for part in range(3)))

    @property
    def public(self) -> bytes:
        """The public key, 1,216 bytes."""
        return public_of(self.seed)

    @property
    def recipient(self) -> str:
        """The public key as text, to be given to others."""
        return _RECIPIENT + _to_text(self.public)

    @property
    def fingerprint(self) -> RecipientId:
        """The short name of the public key."""
        return RecipientId.of(self.public)

    def to_text(self) -> str:
        """Return the key line of an open key file."""
        return _OPEN + _to_text(self.seed)

    def to_locked_text(self, passphrase: str, *, salt: bytes, cost: LockCost) -> str:
        """Return the key line of a key file that the passphrase opens; `salt` is 16 random bytes."""
        key = _stretch(passphrase, salt=salt, cost=cost)
        parameters: list[Encodable] = [FORMAT, SUITE, salt, cost.memory_kib, cost.passes, cost.lanes]
        sealed = cipher(key).encrypt(nonce(0, 0), self.seed, encode(parameters))
        return _LOCKED + _to_text(encode(dict(enumerate([*parameters, sealed], start=1))))


def is_locked(text: str) -> bool:
    """Tell whether a key file needs a passphrase."""
    return _key_line(text).startswith(_LOCKED)


def parse_identity(text: str, *, passphrase: str | None) -> Identity:
    """Read a key file's text. Raises `Precondition` where a passphrase is missing or wrong."""
    line = _key_line(text)
    if line.startswith(_OPEN):
        return _identity_of(_from_text(line.removeprefix(_OPEN)))
    if passphrase is None:
        raise Precondition("the identity is locked: give its passphrase, on the terminal or with --passphrase-file")
    fields = Fields.of(_from_text(line.removeprefix(_LOCKED)), what="the locked identity", known=range(1, 8))
    check_suite(fields.integer(1), fields.integer(2), what="the locked identity")
    cost = LockCost(memory_kib=fields.integer(4), passes=fields.integer(5), lanes=fields.integer(6))
    cost.check()
    salt = fields.raw(3, _SALT_BYTES)
    parameters: list[Encodable] = [FORMAT, SUITE, salt, cost.memory_kib, cost.passes, cost.lanes]
    try:
        key = _stretch(passphrase, salt=salt, cost=cost)
        seed = cipher(key).decrypt(nonce(0, 0), fields.raw(7), encode(parameters))
    except InvalidTag as error:
        raise Precondition("the passphrase does not open the identity: try again, or use the right key file") from error
    return _identity_of(seed)


def parse_recipient(text: str) -> bytes:
    """Return the public key that a recipient's text names."""
    if text.startswith(_RECIPIENT):
        public = _from_text(text.removeprefix(_RECIPIENT))
        if len(public) == KEM_PUBLIC_BYTES:
            return public
    raise FormatError(f"{text[:40]!r} is no recipient: it begins with {_RECIPIENT} and has {KEM_PUBLIC_BYTES} bytes")


def _identity_of(seed: bytes) -> Identity:
    if len(seed) != KEM_SEED_BYTES:
        raise FormatError("the identity is damaged: its key has the wrong length")
    return Identity(seed)


def _key_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")]
    if len(lines) != 1 or not lines[0].startswith((_OPEN, _LOCKED)):
        raise FormatError(f"this is no identity: one line must begin with {_OPEN} or {_LOCKED}")
    return lines[0]


def _stretch(passphrase: str, *, salt: bytes, cost: LockCost) -> bytes:
    function = Argon2id(salt=salt, length=32, iterations=cost.passes, lanes=cost.lanes, memory_cost=cost.memory_kib)
    try:
        secret = passphrase.encode()
    except UnicodeEncodeError as error:
        raise Precondition("the passphrase is not Unicode text: type it again") from error
    return function.derive(secret)


def _to_text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def _from_text(text: str) -> bytes:
    try:
        data = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError) as error:
        raise FormatError("a key's text is damaged: it is not base64url") from error
    if _to_text(data) != text:
        raise FormatError("a key's text is damaged: its last digit is not canonical")
    return data
