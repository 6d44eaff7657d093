"""One vault: its log as a history, and the keys of its sessions."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Iterator
from typing import Final

from engram_format.errors import AlreadyExists, Damaged, FormatError, NotFound, Precondition
from engram_format.history import Commit, History, LogEntry, epoch_payload, read_epoch
from engram_format.ids import SessionId, VaultId
from engram_format.keys import VaultKeys
from engram_format.record import FIRST_PREVIOUS, Record, RecordKind
from engram_format.session import SessionHeader, SessionKey
from engram_store.backend import Backend, exists
from engram_store.workers import Workers

_SESSION_CACHE: Final = 4096
_READ_AHEAD: Final = 64
"""Log records fetched at once when a long log is read."""
_READ_BEFORE_LISTED: Final = 2
"""Log records fetched while the log is being listed: hardly a vault has fewer."""


class VaultStore:
    """The storage of one vault, opened with its keys. Thread-safe.

    The history is read from the log when first needed and carried on by `refresh`: one `get` of the next free slot tells
    that nothing is new.
    """

    def __init__(self, backend: Backend, keys: dict[int, VaultKeys], *, workers: Workers) -> None:
        self.backend = backend
        self.keys = keys
        self._workers = workers
        self._history = History()
        self._refreshing = threading.Lock()  # held while workers fetch records, so no worker's task may take it
        self._session_cache = threading.Lock()
        self._sessions: OrderedDict[SessionId, SessionKey] = OrderedDict()

    @property
    def vault(self) -> VaultId:
        """The vault's id."""
        return self._newest_keys.vault

    @property
    def name(self) -> str:
        """The vault's name."""
        return self._newest_keys.name

    @property
    def known(self) -> History:
        """The history as far as it has been read, which grows and never changes."""
        return self._history

    @property
    def id_key(self) -> bytes:
        """The key of content ids."""
        return self._newest_keys.id_key

    @property
    def chunking_seed(self) -> int:
        """The seed of content-defined cuts."""
        return self._newest_keys.chunking_seed

    @property
    def _newest_keys(self) -> VaultKeys:
        return self.keys[max(self.keys)]

    def found(self) -> bool:
        """Write the first record of a new vault; `False` if another writer did."""
        keys = self.keys[0]
        payload = epoch_payload(epoch=0, public=keys.public)
        nonce = SessionId(keys.vault.raw)
        record = Record(0, FIRST_PREVIOUS, RecordKind.EPOCH, nonce, payload)
        return self.append(record)

    def exists(self) -> bool:
        """Tell whether the vault has its first record: without it, its creation was cut."""
        return self._fetch(0) is not None

    def founded_by_other(self) -> bool:
        """Tell whether the first record names another public key than ours."""
        data = self._fetch(0)
        return data is not None and read_epoch(Record.from_bytes(data, seq=0).payload, seq=0)[1] != self.keys[0].public

    def check_end(self, history: History) -> None:
        """Raise `Damaged` where a record is missing behind `history`: what follows would be lost if its slot were taken."""
        for _ in self._listed(history):
            pass

    def _listed(self, history: History) -> Iterator[int]:
        """Yield the numbers of the records behind `history`; raises `Damaged` where one is missing before another."""
        expected = history.length
        for found in self.backend.list("log/", start_after=Record.key_for(expected - 1) if expected else ""):
            if found.key != Record.key_for(expected):
                raise Damaged(
                    f"the log of vault {self.name!r} has {found.key} but not {Record.key_for(expected)}: "
                    "restore the missing record from a copy"
                )
            yield expected
            expected += 1

    def append(self, record: Record) -> bool:
        """Put a record into its slot; `False` if the slot is taken by another record."""
        try:
            self.backend.put_if_absent(Record.key_for(record.seq), record.to_bytes())
            return True
        except AlreadyExists:
            return False

    def refresh(self) -> History:
        """Read the log's new records and return the history up to its end.

        Raises `Damaged` where the chain is broken or, the first time, where records lie behind its end.
        """
        with self._refreshing:
            if self._history.length == 0:
                self._history = self._first_history()
            else:
                self._follow()
            if self._history.length == 0:
                raise Damaged(
                    f"vault {self.name!r} has no log: if its creation was cut, 'engram vault create {self.name}' completes "
                    "it; else restore its first record from a copy"
                )
            return self._history

    def _first_history(self) -> History:
        """Read the whole log."""
        history = History().extend(self._listed_entries())
        if history.length:
            self._check_public_key(history)
        return history

    def _follow(self) -> None:
        """Read what is new in the log."""
        while True:
            entries = list(self._new_entries(self._history.length))
            if entries:
                self._history = self._history.extend(entries)
            if len(entries) < _READ_AHEAD:
                return

    def session_key(self, session: SessionId) -> SessionKey:
        """Return the key of a session of this vault, unsealing it at first use."""
        with self._session_cache:
            if session in self._sessions:
                self._sessions.move_to_end(session)
                return self._sessions[session]
        key = self._unseal(session)
        with self._session_cache:
            self._sessions[session] = key
            while len(self._sessions) > _SESSION_CACHE:
                self._sessions.popitem(last=False)
        return key

    def create_session(self, session: SessionId, *, secret: bytes) -> SessionKey:
        """Start a session under a fresh 32-byte secret, or return the key under which a reader of the vault has started it."""
        keys = self._newest_keys
        header = SessionHeader.make(
            SessionKey(secret),
            vault=keys.vault,
            session=session,
            epoch=keys.epoch,
            public=keys.public,
            id_key=keys.id_key,
        )
        try:
            self.backend.put_if_absent(SessionHeader.key_for(session), header.to_bytes())
        except AlreadyExists:
            return self.resumed_key(session)
        return SessionKey(secret)

    def resumed_key(self, session: SessionId) -> SessionKey:
        """Return the key of a session to write under; raises `Damaged` unless a reader of the vault vouches for it."""
        header = self._header(session)
        if not header.is_vouched_for(self.id_key):
            raise Damaged(
                f"session {session} of vault {self.name!r} was not started by anybody who may read the vault: deposit in a "
                "new session, and find out who writes to the storage"
            )
        return self._open(header)

    def session_exists(self, session: SessionId) -> bool:
        """Tell whether the session was started before."""
        return exists(self.backend, SessionHeader.key_for(session))

    def check_session(self, session: SessionId) -> bytes:
        """Read and unseal a session anew, whatever is cached; return the object's bytes."""
        self._unseal(session)
        return self.backend.get(SessionHeader.key_for(session))

    def _unseal(self, session: SessionId) -> SessionKey:
        return self._open(self._header(session))

    def _header(self, session: SessionId) -> SessionHeader:
        what = f"session {session} of vault {self.name!r}"
        try:
            data = self.backend.get(SessionHeader.key_for(session))
        except NotFound as error:
            raise Damaged(f"{what} is lost: restore its object from a copy") from error
        return SessionHeader.from_bytes(data, vault=self.vault, session=session)

    def _open(self, header: SessionHeader) -> SessionKey:
        what = f"session {header.session} of vault {self.name!r}"
        if header.epoch not in self.keys:
            raise Precondition(f"{what} is sealed to epoch {header.epoch}, whose key this identity does not have")
        try:
            return header.open(seed=self.keys[header.epoch].seed)
        except Precondition as error:
            raise FormatError(f"{what} is damaged: its sealed key does not open") from error

    def _listed_entries(self) -> Iterator[LogEntry]:
        """Yield the whole log: all records are listed, and read in parallel, the first of them meanwhile."""
        early = [self._workers.submit(self._read_entry, seq) for seq in range(_READ_BEFORE_LISTED)]
        count = sum(1 for _ in self._listed(History()))
        for seq, future in enumerate(early[:count]):
            # A record that was not there yet has been appended before it was listed.
            yield future.result() or self._listed_entry(seq)
        for start in range(len(early), count, _READ_AHEAD):
            yield from self._workers.map(self._listed_entry, range(start, min(start + _READ_AHEAD, count)))

    def _new_entries(self, start: int) -> Iterator[LogEntry]:
        """Yield up to `_READ_AHEAD` entries from slot `start` on, fetched in parallel once the log shows to be long."""
        first = self._read_entry(start)
        if first is None:
            return
        yield first
        second = self._read_entry(start + 1)
        if second is None:
            return
        yield second
        for entry in self._workers.map(self._read_entry, range(start + 2, start + _READ_AHEAD)):
            if entry is None:
                return
            yield entry

    def _listed_entry(self, seq: int) -> LogEntry:
        entry = self._read_entry(seq)
        if entry is None:
            raise Damaged(f"{Record.key_for(seq)} of vault {self.name!r} vanished while the log was read: restore it")
        return entry

    def _read_entry(self, seq: int) -> LogEntry | None:
        """Read one slot of the log, and the session of its record; `None` where there is no record."""
        data = self._fetch(seq)
        return None if data is None else self._entry(seq, data)

    def _fetch(self, seq: int) -> bytes | None:
        try:
            return self.backend.get(Record.key_for(seq))
        except NotFound:
            return None

    def _entry(self, seq: int, data: bytes) -> LogEntry:
        record = Record.from_bytes(data, seq=seq)
        digest = hashlib.sha256(data).digest()
        return LogEntry(record, digest, self.read_commit(record) if record.kind is RecordKind.COMMIT else None)

    def read_commit(self, record: Record) -> Commit | None:
        """Decrypt a COMMIT's payload; `None` where session or payload cannot be read."""
        what = f"log record {record.seq} of vault {self.name!r}"
        try:
            key = self.session_key(record.session)
            payload = key.decrypt_payload(record.payload, context=record.context, what=what)
            return Commit.from_bytes(payload, what=what)
        except (Damaged, Precondition):
            return None

    def _check_public_key(self, history: History) -> None:
        """Raise `Damaged` where an EPOCH record names another public key than the wrapped keys say: it is somebody else's."""
        keys = self.keys.get(history.epoch)
        if keys is None or keys.public != history.public:
            raise Damaged(
                f"the log of vault {self.name!r} names a public key that is not the vault's: do not deposit into it"
            )
