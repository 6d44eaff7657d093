"""An archive: one root in a storage, its keystore, and the vaults that an identity can open.

What only writing needs is loaded when something is written, for a command that looks is to answer at once.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Self

from engram_format.address import check_name
from engram_format.descriptor import DESCRIPTOR_KEY, SPECIFICATION_KEY, ArchiveId, Descriptor
from engram_format.errors import AlreadyExists, Damaged, NotFound
from engram_format.identity import Identity
from engram_format.ids import SessionId
from engram_format.keys import ArchiveKeys, NameTag, VaultKeys
from engram_store.backend import Backend, exists
from engram_store.keystore import Keystore
from engram_store.probe import require_put_if_absent
from engram_store.reader import VaultReader
from engram_store.vault import VaultStore
from engram_store.workers import Workers
from engram_store.wrappers import Prefixed

if TYPE_CHECKING:
    from engram_format.history import Commit
    from engram_store.annotation import Annotation
    from engram_store.deposit import DepositSession


class Repository:
    """An open archive. Thread-safe; close it, or use it in a `with` block."""

    def __init__(
        self,
        backend: Backend,
        keystore: Keystore,
        descriptor: Descriptor,
        keys: ArchiveKeys,
        *,
        workers: Workers,
        clock: Callable[[], int] = time.time_ns,
        entropy: Callable[[int], bytes] = os.urandom,
    ) -> None:
        self._backend, self._keystore, self._descriptor, self._keys = backend, keystore, descriptor, keys
        self._clock, self._entropy = clock, entropy
        self._workers = workers
        self._lock = threading.Lock()
        self._open_vaults: dict[str, VaultReader] = {}
        self._probed = False

    @classmethod
    def create(cls, backend: Backend, keystore_backend: Backend, identity: Identity, *, parity: bool) -> Descriptor:
        """Make a new archive, sealed to an identity; the descriptor is put last, and makes it one."""
        if exists(backend, DESCRIPTOR_KEY):
            raise AlreadyExists(f"there is an archive at {backend.url}: open it, or choose another place")
        require_put_if_absent(backend, prefix="probe/")
        keystore = Keystore(keystore_backend, identity)
        try:
            keystore.create()
        except (
            AlreadyExists
        ) as error:  # it may be of an attempt that was cut, or placed there by somebody who waits for it
            raise AlreadyExists(
                f"there is a key for this identity at {keystore.url}, but no archive: name another keystore, or delete that one"
            ) from error
        descriptor = Descriptor(ArchiveId(os.urandom(ArchiveId.LENGTH)), parity)
        _put_once(backend, SPECIFICATION_KEY, specification().encode())
        backend.put_if_absent(DESCRIPTOR_KEY, descriptor.to_bytes())
        return descriptor

    @classmethod
    def open(
        cls,
        backend: Backend,
        keystore_backend: Backend,
        identity: Identity,
        *,
        clock: Callable[[], int] = time.time_ns,
        entropy: Callable[[int], bytes] = os.urandom,
    ) -> Self:
        """Open an archive; raises `NotFound` where there is none and `Denied` where it is sealed to others."""
        keystore = Keystore(keystore_backend, identity, entropy=entropy)
        workers = Workers()
        try:
            keys = workers.submit(keystore.open)
            # What is wrong with the archive is told before what is wrong with its keys.
            descriptor = _descriptor(backend)
            return cls(backend, keystore, descriptor, keys.result(), workers=workers, clock=clock, entropy=entropy)
        except BaseException:
            workers.shutdown(wait=False, cancel_futures=True)
            raise

    @property
    def url(self) -> str:
        """Where the archive is."""
        return self._backend.url

    @property
    def backend(self) -> Backend:
        """The storage of the whole archive."""
        return self._backend

    def create_vault(self, name: str) -> VaultReader:
        """Create a vault with keys of its own; raises `AlreadyExists`."""
        tag = self._keys.tag(check_name(name, what="vault"))
        self._require_probed()
        vault = self._keystore.claim(tag)
        drawn = VaultKeys.from_entropy(self._entropy(32), vault=vault, name=name)
        store = self._store({0: self._keystore.wrap(tag, drawn)})
        if store.found():
            return self._remember(name, store)
        if store.founded_by_other():  # another identity was first; the key that we wrapped opens nothing
            self._keystore.forget(tag, store.keys[0])
        raise AlreadyExists(f"there is a vault {name!r} in this archive: deposit into it, or choose another name")

    def vault(self, name: str) -> VaultReader:
        """Return a vault by name; raises `NotFound` or `Denied`."""
        with self._lock:
            if name in self._open_vaults:
                return self._open_vaults[name]
        keys = self._unwrap(self._keys.tag(check_name(name, what="vault")), name=name)
        return self._remember(name, self._store(keys))

    def vaults(self) -> Iterator[VaultReader]:
        """Yield the vaults that this identity can open, by name."""
        found = {}
        for tag in self._keystore.tags():
            store = self._store(self._unwrap(tag, name=str(tag)))
            if store.exists():
                found[store.name] = store
        for name in sorted(found):
            with self._lock:
                reader = self._open_vaults.get(name)
            yield reader or self._remember(name, found[name])

    def open_deposit(self, vault: str, memory: str, *, session: SessionId) -> DepositSession:
        """Open or resume a deposit session into a memory of a vault."""
        from engram_store.deposit import DepositSession

        reader = self.vault(vault)
        self._require_probed()
        return DepositSession(
            reader.store,
            reader.frames,
            memory=memory,
            session=session,
            parity=self._descriptor.parity,
            workers=self._workers,
            clock=self._clock,
            entropy=self._entropy,
        )

    def annotate(
        self, vault: str, memory: str, path: str, annotation: Annotation, *, message: str, author: str
    ) -> Commit:
        """Append a version in which one artifact has other metadata; return it."""
        from engram_store.annotation import annotate

        reader = self.vault(vault)
        self._require_probed()
        return annotate(
            reader,
            memory,
            path,
            annotation,
            session=SessionId(self._entropy(SessionId.LENGTH)),
            message=message,
            author=author,
            parity=self._descriptor.parity,
            clock=self._clock,
            entropy=self._entropy,
        )

    def close(self) -> None:
        """End the worker threads."""
        self._workers.shutdown(wait=True, cancel_futures=True)

    def _unwrap(self, tag: NameTag, *, name: str) -> dict[int, VaultKeys]:
        """Return a vault's keys, which must be those of the name that the tag stands for."""
        keys = self._keystore.unwrap(tag, name=name, workers=self._workers)
        if any(self._keys.tag(epoch.name) != tag for epoch in keys.values()):
            raise Damaged(
                f"the keystore at {self._keystore.url} gives the key of another vault for {name!r}: restore it"
            )
        return keys

    def _store(self, keys: dict[int, VaultKeys]) -> VaultStore:
        vault = keys[max(keys)].vault
        return VaultStore(Prefixed(self._backend, f"v/{vault}/"), keys, workers=self._workers)

    def _remember(self, name: str, store: VaultStore) -> VaultReader:
        with self._lock:
            return self._open_vaults.setdefault(name, VaultReader(store, workers=self._workers))

    def _require_probed(self) -> None:
        """Before the first write of this process, make sure that the storage keeps its promise."""
        if not self._probed:
            require_put_if_absent(self._backend, prefix="probe/")
            self._probed = True


def specification() -> str:
    """Return the text of SPEC.md, which every archive carries."""
    import importlib.resources

    packaged = importlib.resources.files("engram_format") / "SPEC.md"
    if packaged.is_file():
        return packaged.read_text("utf-8")
    return (Path(__file__).parent.parent / "SPEC.md").read_text("utf-8")  # an editable install of a checkout


def _descriptor(backend: Backend) -> Descriptor:
    try:
        return Descriptor.from_bytes(backend.get(DESCRIPTOR_KEY))
    except NotFound as error:
        raise NotFound(
            f"there is no archive at {backend.url}: make one with 'engram init', or name another with --archive"
        ) from error


def _put_once(backend: Backend, key: str, value: bytes) -> None:
    try:
        backend.put_if_absent(key, value)
    except AlreadyExists:
        if backend.get(key) != value:
            raise Damaged(f"{key} at {backend.url} is not what this version writes: choose an empty place") from None
