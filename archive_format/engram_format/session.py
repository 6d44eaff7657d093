"""A deposit session: the random key under which one deposit is encrypted, sealed to the vault (SPEC.md section 6).

Whoever has only the vault's public key can make a session and never read another one.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass, replace
from typing import Self

from cryptography.exceptions import InvalidTag

from engram_format.encoding import Encodable, Fields, encode
from engram_format.errors import FormatError
from engram_format.ids import ObjectName, PackId, SessionId, VaultId
from engram_format.suite import FORMAT, KEY_BYTES, SUITE, check_suite, cipher, derive, nonce, seal, unseal

_RECORD_SALT_BYTES = 16


@dataclass(frozen=True, slots=True, repr=False)
class SessionKey:
    """The secret of one session, from which all its other keys and names follow. Its `repr` shows no secret."""

    secret: bytes

    def __post_init__(self) -> None:
        if len(self.secret) != KEY_BYTES:
            raise FormatError(f"a session key has {KEY_BYTES} bytes, not {len(self.secret)}")

    def pack_key(self, pack: PackId) -> bytes:
        """Return the key of one pack."""
        return derive(self.secret, "pack", pack.raw)

    def commitment(self, pack: PackId) -> bytes:
        """Return what a pack's header shows so that no other key can be mistaken for the right one."""
        return derive(self.secret, "commit", pack.raw)

    def object_name(self, role: str, number: int) -> ObjectName:
        """Return the name of the session's `number`-th object of a role: found again after a crash, never guessed."""
        return ObjectName(derive(self.secret, f"name/{role}", number.to_bytes(8, "big"))[: ObjectName.LENGTH])

    def encrypt_payload(self, payload: bytes, *, salt: bytes, context: bytes) -> bytes:
        """Encrypt the payload of a log record under a key of its own, drawn by 16 random bytes; binds `context`."""
        if len(salt) != _RECORD_SALT_BYTES:
            raise FormatError(f"a record's salt has {_RECORD_SALT_BYTES} bytes, not {len(salt)}")
        return salt + cipher(derive(self.secret, "record", salt)).encrypt(nonce(0, 0), payload, context)

    def decrypt_payload(self, sealed: bytes, *, context: bytes, what: str) -> bytes:
        """Return what `encrypt_payload` was given; raises `FormatError` if anything was changed."""
        salt, body = sealed[:_RECORD_SALT_BYTES], sealed[_RECORD_SALT_BYTES:]
        try:
            return cipher(derive(self.secret, "record", salt)).decrypt(nonce(0, 0), body, context)
        except (InvalidTag, ValueError) as error:
            raise FormatError(f"{what} is damaged: its payload does not decrypt") from error


@dataclass(frozen=True, slots=True)
class SessionHeader:
    """The object `s/<session>`: what the storage holds of a session."""

    vault: VaultId
    session: SessionId
    epoch: int
    sealed: bytes
    voucher: bytes = b""
    """HMAC of all that, under a key that only readers of the vault have; empty from a depositor who is none."""

    @staticmethod
    def key_for(session: SessionId) -> str:
        """Return the object's place inside its vault."""
        return f"s/{session}"

    @classmethod
    def make(
        cls,
        key: SessionKey,
        *,
        vault: VaultId,
        session: SessionId,
        epoch: int,
        public: bytes,
        id_key: bytes | None = None,
    ) -> Self:
        """Seal a session's key to the vault's public key of an epoch; who has the vault's id key vouches for it."""
        sealed = seal(key.secret, to=public, info=_info(vault, session, epoch))
        header = cls(vault, session, epoch, sealed)
        return header if id_key is None else replace(header, voucher=header._voucher(id_key))

    def is_vouched_for(self, id_key: bytes) -> bool:
        """Tell whether a reader of the vault made this session: only then may a writer go on with its key.

        Everybody who can write to the storage can seal a key of their own to the vault, and would read what is deposited
        under it.
        """
        return hmac.compare_digest(self.voucher, self._voucher(id_key))

    def open(self, *, seed: bytes) -> SessionKey:
        """Unseal the session's key with the vault's seed of the same epoch."""
        what = f"session {self.session}"
        return SessionKey(unseal(self.sealed, seed=seed, info=_info(self.vault, self.session, self.epoch), what=what))

    def to_bytes(self) -> bytes:
        """Return the object's bytes."""
        return encode(self._claims() | {7: self.voucher})

    def _claims(self) -> dict[int, Encodable]:
        return {1: FORMAT, 2: SUITE, 3: self.vault.raw, 4: self.session.raw, 5: self.epoch, 6: self.sealed}

    def _voucher(self, id_key: bytes) -> bytes:
        return hmac.digest(derive(id_key, "session/voucher"), encode(self._claims()), "sha256")

    @classmethod
    def from_bytes(cls, data: bytes, *, vault: VaultId, session: SessionId) -> Self:
        """Read the object that lies at `s/<session>` of a vault; it must say so itself."""
        what = f"session {session}"
        fields = Fields.of(data, what=what, known=range(1, 8))
        check_suite(fields.integer(1), fields.integer(2), what=what)
        header = cls(VaultId(fields.raw(3)), SessionId(fields.raw(4)), fields.integer(5), fields.raw(6), fields.raw(7))
        if header.epoch >= 2**32:
            raise FormatError(f"{what} is damaged: its epoch {header.epoch} cannot be")
        if not hmac.compare_digest(header.vault.raw + header.session.raw, vault.raw + session.raw):
            raise FormatError(
                f"{what} is damaged: the object belongs to session {header.session} of vault {header.vault}"
            )
        return header


def _info(vault: VaultId, session: SessionId, epoch: int) -> bytes:
    return b"engram/1/session" + vault.raw + session.raw + epoch.to_bytes(4, "big")
