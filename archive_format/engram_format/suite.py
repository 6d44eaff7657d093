"""The cryptographic suite, by its number in every header (SPEC.md section 5).

Suite 1: AES-256-GCM, SHA-256, HMAC-SHA-256, HKDF-Expand with SHA-256 (RFC 5869), and HPKE (RFC 9180) in base mode with the
hybrid KEM of ML-KEM-768 and X25519. A suite is a whole; there are no knobs.
"""

from __future__ import annotations

import hmac
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hpke
from cryptography.hazmat.primitives.asymmetric import mlkem, x25519
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from engram_format.errors import FormatError, Precondition

SUITE: Final = 1
FORMAT: Final = 1
TAG_BYTES: Final = 16
KEY_BYTES: Final = 32
KEM_SEED_BYTES: Final = 96
KEM_PUBLIC_BYTES: Final = 1216

_MLKEM_SEED_BYTES: Final = 64
_MLKEM_PUBLIC_BYTES: Final = 1184
_HPKE: Final = hpke.Suite(hpke.KEM.MLKEM768_X25519, hpke.KDF.HKDF_SHA256, hpke.AEAD.AES_256_GCM)


def check_suite(format_version: int, suite: int, *, what: str) -> None:
    """Raise `FormatError` unless this version of the program can read the object."""
    if format_version != FORMAT or suite != SUITE:
        raise FormatError(
            f"{what} is of format {format_version}, suite {suite}; this version of Engram reads format {FORMAT}, suite {SUITE}"
        )


def derive(key: bytes, label: str, *context: bytes) -> bytes:
    """Derive 32 bytes for one purpose: HKDF-Expand(key, "engram/1/" label, context).

    Each part of the context is of a fixed length that the label implies, so that no two contexts run together.
    """
    info = b"engram/1/" + label.encode() + b"\x00" + b"".join(context)
    return hmac.digest(key, info + b"\x01", "sha256")


def cipher(key: bytes) -> AESGCM:
    """Return the suite's AEAD under a 32-byte key."""
    return AESGCM(key)


def nonce(domain: int, counter: int) -> bytes:
    """Return the 12-byte nonce of the `counter`-th message in a domain of one key."""
    return domain.to_bytes(4, "big") + counter.to_bytes(8, "big")


def public_of(seed: bytes) -> bytes:
    """Return the 1,216-byte public key of a 96-byte private seed (64 of ML-KEM-768, 32 of X25519)."""
    mlkem_key, x25519_key = _private_parts(seed)
    return mlkem_key.public_key().public_bytes_raw() + x25519_key.public_key().public_bytes_raw()


def seal(plaintext: bytes, *, to: bytes, info: bytes) -> bytes:
    """Encrypt to a public key; only the holder of its seed opens it, under the same `info`.

    The encapsulation draws its own randomness inside the library, which offers no way to pass it in; it is the only
    function of the format whose output differs between calls.
    """
    try:
        public = hpke.MLKEM768X25519PublicKey(
            mlkem.MLKEM768PublicKey.from_public_bytes(to[:_MLKEM_PUBLIC_BYTES]),
            x25519.X25519PublicKey.from_public_bytes(to[_MLKEM_PUBLIC_BYTES:]),
        )
        return _HPKE.encrypt(plaintext, public, info)
    except ValueError as error:
        raise FormatError("a public key is damaged: it is not ML-KEM-768 and X25519") from error


def unseal(sealed: bytes, *, seed: bytes, info: bytes, what: str) -> bytes:
    """Open what `seal` made; raises `Precondition` where the seed does not fit or the bytes were changed."""
    mlkem_key, x25519_key = _private_parts(seed)
    try:
        return _HPKE.decrypt(sealed, hpke.MLKEM768X25519PrivateKey(mlkem_key, x25519_key), info)
    except (InvalidTag, ValueError) as error:
        raise Precondition(f"{what} does not open with this key: it is sealed to another one, or damaged") from error


def _private_parts(seed: bytes) -> tuple[mlkem.MLKEM768PrivateKey, x25519.X25519PrivateKey]:
    if len(seed) != KEM_SEED_BYTES:
        raise FormatError(f"a private seed has {KEM_SEED_BYTES} bytes, not {len(seed)}")
    return (
        mlkem.MLKEM768PrivateKey.from_seed_bytes(seed[:_MLKEM_SEED_BYTES]),
        x25519.X25519PrivateKey.from_private_bytes(seed[_MLKEM_SEED_BYTES:]),
    )
