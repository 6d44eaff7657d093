"""The keys of an archive and of a vault, and how they are wrapped for the holder of an identity (SPEC.md section 5).

identity -> unwraps -> archive keys (names) and vault keys (sessions); a vault's public key goes to whoever deposits.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass
from typing import Final, Self

from engram_format.encoding import Encodable, Fields, encode
from engram_format.errors import FormatError
from engram_format.ids import Identifier, VaultId
from engram_format.suite import FORMAT, KEM_SEED_BYTES, KEY_BYTES, SUITE, check_suite, derive, public_of, seal, unseal

MAX_EPOCHS: Final = 2**32


class RecipientId(Identifier):
    """The fingerprint of a public key: the first 16 bytes of its SHA-256."""

    WHAT = "recipient fingerprint"

    @classmethod
    def of(cls, public: bytes) -> Self:
        """Fingerprint a 1,216-byte public key."""
        return cls(hashlib.sha256(public).digest()[: cls.LENGTH])


class NameTag(Identifier):
    """The keyed digest of a vault's name: the keystore finds a vault by name without showing it."""

    WHAT = "name tag"


@dataclass(frozen=True, slots=True, repr=False)
class ArchiveKeys:
    """What an identity needs to find vaults by name. Holds secrets: its `repr` shows none."""

    name_key: bytes

    @classmethod
    def from_entropy(cls, entropy: bytes) -> Self:
        """Make the keys of a new archive from 32 random bytes."""
        return cls(name_key=derive(entropy, "archive/name"))

    def tag(self, name: str) -> NameTag:
        """Return the tag under which the vault `name` lies in the keystore."""
        return NameTag(hmac.digest(self.name_key, name.encode(), "sha256")[: NameTag.LENGTH])

    def wrap(self, *, to: bytes) -> bytes:
        """Seal the keys to a recipient's public key."""
        body = encode({1: FORMAT, 2: SUITE, 3: self.name_key})
        return seal(body, to=to, info=b"engram/1/archive-keys")

    @classmethod
    def unwrap(cls, sealed: bytes, *, seed: bytes) -> Self:
        """Open wrapped keys with an identity's seed."""
        body = unseal(sealed, seed=seed, info=b"engram/1/archive-keys", what="the archive's key")
        fields = Fields.of(body, what="the archive's key", known=range(1, 4))
        check_suite(fields.integer(1), fields.integer(2), what="the archive's key")
        return cls(name_key=fields.raw(3, KEY_BYTES))


@dataclass(frozen=True, slots=True, repr=False)
class VaultKeys:
    """One epoch of a vault's keys. Holds secrets: its `repr` shows none."""

    vault: VaultId
    name: str
    epoch: int
    seed: bytes
    """Private seed (96 bytes) to which the sessions of this epoch are sealed."""
    id_key: bytes
    """Key of content ids (32 bytes), the same in all epochs, so that content stays recognisable."""

    @classmethod
    def from_entropy(cls, entropy: bytes, *, vault: VaultId, name: str) -> Self:
        """Make the keys of a new vault from 32 random bytes."""
        seed = b"".join(derive(entropy, f"vault/seed/{part}") for part in range(3))
        return cls(vault=vault, name=name, epoch=0, seed=seed, id_key=derive(entropy, "vault/id"))

    @property
    def public(self) -> bytes:
        """The public key (1,216 bytes) for depositors."""
        return public_of(self.seed)

    @property
    def chunking_seed(self) -> int:
        """The 63-bit seed of content-defined chunking in this vault."""
        return int.from_bytes(derive(self.id_key, "vault/chunking")[:8], "big") >> 1

    def wrap(self, *, to: bytes, own_seed: bytes | None = None) -> bytes:
        """Seal the keys to a recipient's public key; who seals them to himself proves it with his private seed."""
        proof = b"" if own_seed is None else self._proof(own_seed)
        return seal(encode(self._fields() | {8: proof}), to=to, info=b"engram/1/vault-keys" + self.vault.raw)

    def _fields(self) -> dict[int, Encodable]:
        return {1: FORMAT, 2: SUITE, 3: self.vault.raw, 4: self.name, 5: self.epoch, 6: self.seed, 7: self.id_key}

    def _proof(self, own_seed: bytes) -> bytes:
        return hmac.digest(derive(own_seed, "vault-keys/own"), encode(self._fields()), "sha256")

    @classmethod
    def unwrap(cls, sealed: bytes, *, seed: bytes, vault: VaultId, own: bool = False) -> Self:
        """Open wrapped keys with an identity's seed; they are bound to the vault's id.

        With `own`, keys that this identity has not sealed to itself are refused: anybody who knows a public key can seal
        keys to it.
        """
        what = f"the key of vault {vault}"
        body = unseal(sealed, seed=seed, info=b"engram/1/vault-keys" + vault.raw, what=what)
        fields = Fields.of(body, what=what, known=range(1, 9))
        check_suite(fields.integer(1), fields.integer(2), what=what)
        if fields.raw(3) != vault.raw or fields.integer(5) >= MAX_EPOCHS:
            raise FormatError(f"{what} is damaged: it is another vault's, or of an impossible epoch")
        keys = cls(
            vault=vault,
            name=fields.text(4),
            epoch=fields.integer(5),
            seed=fields.raw(6, KEM_SEED_BYTES),
            id_key=fields.raw(7, KEY_BYTES),
        )
        if own and not hmac.compare_digest(fields.raw(8), keys._proof(seed)):
            raise FormatError(f"{what} was not made by this identity")
        return keys
