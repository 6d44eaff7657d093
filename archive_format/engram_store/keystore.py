"""Wrapped keys, beside the archive and never under it (SPEC.md section 5).

    archive/<recipient>                              the archive's name key, sealed to a recipient
    vaults/<name tag>/claim                          the id of the vault that has this name
    vaults/<name tag>/<vault>/<epoch>/<recipient>    the vault's key of an epoch, sealed to a recipient

Everything here can be deleted; destroying a vault's wrapped keys is what erases the vault.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable, Iterator
from functools import partial
from typing import Final

from engram_format.errors import AlreadyExists, Damaged, Denied, FormatError, NotFound, Precondition
from engram_format.identity import Identity
from engram_format.ids import VaultId
from engram_format.keys import ArchiveKeys, NameTag, VaultKeys
from engram_store.backend import Backend
from engram_store.workers import Workers

_EPOCH: Final = re.compile("[0-9a-f]{8}")
_TAG: Final = re.compile("[0-9a-f]{32}")


class Keystore:
    """The keystore of one archive, as one identity sees it."""

    def __init__(self, backend: Backend, identity: Identity, *, entropy: Callable[[int], bytes] = os.urandom) -> None:
        self._backend = backend
        self._identity = identity
        self._fingerprint = identity.fingerprint
        self._entropy = entropy

    @property
    def url(self) -> str:
        """Where the wrapped keys are."""
        return self._backend.url

    def create(self) -> ArchiveKeys:
        """Draw the keys of a new archive and wrap them for this identity."""
        keys = ArchiveKeys.from_entropy(self._entropy(32))
        self._backend.put_if_absent(f"archive/{self._fingerprint}", keys.wrap(to=self._identity.public))
        return keys

    def open(self) -> ArchiveKeys:
        """Unwrap the archive's keys; raises `Denied` where they are not sealed to this identity."""
        try:
            sealed = self._backend.get(f"archive/{self._fingerprint}")
        except NotFound as error:
            others = [found.key.removeprefix("archive/") for found in self._backend.list("archive/")]
            if not others:
                raise NotFound(
                    f"there are no wrapped keys at {self.url}: name the archive's keystore with --keystore"
                ) from error
            raise Denied(
                f"identity {self._fingerprint} cannot open this archive, whose keys at {self.url} are sealed to "
                f"{', '.join(others[:4])}: use one of those with --identity"
            ) from error
        with _sealed_to_us(f"the archive's key at {self.url}"):
            return ArchiveKeys.unwrap(sealed, seed=self._identity.seed)

    def claim(self, tag: NameTag) -> VaultId:
        """Return the id of the vault with a name tag, drawing one for a name that is free."""
        drawn = VaultId(self._entropy(VaultId.LENGTH))
        try:
            self._backend.put_if_absent(f"vaults/{tag}/claim", drawn.raw)
            return drawn
        except AlreadyExists:
            return self._claimed(tag)

    def wrap(self, tag: NameTag, keys: VaultKeys) -> VaultKeys:
        """Wrap a vault's keys for this identity; return the keys that an earlier attempt of this identity left there."""
        sealed = keys.wrap(to=self._identity.public, own_seed=self._identity.seed)
        try:
            self._backend.put_if_absent(self._vault_key(tag, keys.vault, keys.epoch), sealed)
            return keys
        except AlreadyExists:
            return self._unwrap(tag, keys.vault, keys.epoch, own=True)

    def forget(self, tag: NameTag, keys: VaultKeys) -> None:
        """Delete this identity's wrapped key of a vault."""
        self._backend.delete(self._vault_key(tag, keys.vault, keys.epoch))

    def unwrap(self, tag: NameTag, *, name: str, workers: Workers) -> dict[int, VaultKeys]:
        """Return the keys of a vault by epoch; raises `NotFound` (no such name) or `Denied` (sealed to others)."""
        below = workers.submit(self._keys_below, f"vaults/{tag}/")
        try:
            vault = self._claimed(tag)
        except NotFound as error:
            raise NotFound(
                f"there is no vault {name!r} in this archive: 'engram vault ls' lists those that are"
            ) from error
        # Nearly every vault has one key, the first: it is fetched while it is still being listed.
        first = workers.submit(self._unwrap, tag, vault, 0)
        prefix = f"vaults/{tag}/{vault}/"
        epochs = [
            int(parts[0], 16)
            for key in below.result()
            if key.startswith(prefix)
            and len(parts := key.removeprefix(prefix).split("/")) == 2
            and _EPOCH.fullmatch(parts[0])
            and parts[1] == str(self._fingerprint)
        ]
        if not epochs:
            raise Denied(f"identity {self._fingerprint} cannot open vault {name!r}: its key is not sealed to it")
        later = [epoch for epoch in epochs if epoch]
        keys = dict(zip(later, workers.map(partial(self._unwrap, tag, vault), later), strict=True))
        return keys | {0: first.result()} if 0 in epochs else keys

    def tags(self) -> Iterator[NameTag]:
        """Yield the tags of all vaults that have a key for this identity."""
        seen: set[str] = set()
        for found in self._backend.list("vaults/"):
            parts = found.key.split("/")
            if (
                len(parts) == 5
                and parts[4] == str(self._fingerprint)
                and _TAG.fullmatch(parts[1])
                and parts[1] not in seen
            ):
                seen.add(parts[1])
                yield NameTag.parse(parts[1])

    def _keys_below(self, prefix: str) -> list[str]:
        return [found.key for found in self._backend.list(prefix)]

    def _claimed(self, tag: NameTag) -> VaultId:
        return VaultId(self._backend.get(f"vaults/{tag}/claim"))

    def _vault_key(self, tag: NameTag, vault: VaultId, epoch: int) -> str:
        return f"vaults/{tag}/{vault}/{epoch:08x}/{self._fingerprint}"

    def _unwrap(self, tag: NameTag, vault: VaultId, epoch: int, *, own: bool = False) -> VaultKeys:
        sealed = self._backend.get(self._vault_key(tag, vault, epoch))
        with _sealed_to_us(f"the key of vault {vault} at {self.url}"):
            keys = VaultKeys.unwrap(sealed, seed=self._identity.seed, vault=vault, own=own)
        if keys.vault != vault or keys.epoch != epoch:
            raise FormatError(f"the wrapped key of vault {vault}, epoch {epoch}, holds another key")
        return keys


@contextlib.contextmanager
def _sealed_to_us(what: str) -> Iterator[None]:
    """Translate the error: what lies under this identity's fingerprint was sealed to it, so it was changed since."""
    try:
        yield
    except Precondition as error:
        raise Damaged(f"{what} is damaged: it does not open; restore it from a copy of the keystore") from error
