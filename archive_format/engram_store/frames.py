"""Reading frames: ranged, decrypted, decoded, and repaired from parity where they are damaged."""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Final, TypeVar

from engram_format import shards
from engram_format.array_type import Filter
from engram_format.errors import Damaged, FormatError, NotFound
from engram_format.frame import decode_frame, decode_frame_unfiltered
from engram_format.ids import ObjectName
from engram_format.location import Location, PackRef
from engram_format.pack import PackCipher, PackHeader
from engram_store.backend import Span
from engram_store.gathering import Gathering
from engram_store.vault import VaultStore
from engram_store.workers import Workers

logger = logging.getLogger(__name__)

ReadT = TypeVar("ReadT")
Get = Callable[[PackRef, Span], bytes | memoryview]
"""Fetches a span of a pack."""

_MAX_SPAN_BYTES: Final = 4 * 2**20
"""Neighbouring frames are fetched together up to this many bytes ..."""
_MAX_SPAN_ORIGINALS: Final = 8 * 2**20
"""... and as long as their originals have no more than this together."""
_SPANS_AHEAD: Final = 4
"""Spans fetched and decoded ahead of the reader: bounds the memory of a read."""
_SOON_ORIGINALS: Final = 8 * 2**20
"""Of what somebody waits for, so many bytes of originals are fetched in short runs, in parts side by side ..."""
_SHORT_ORIGINALS: Final = 2**20
"""... of which each has originals of so many bytes together, or is one frame ..."""
_LATER_ORIGINALS: Final = 3 * 2**20
"""... and the rest in runs of this length."""
_ORIGINALS_AHEAD: Final = 16 * 2**20
"""Originals on their way for such a reader, or one run: bounds its memory, also where frames are long."""
_WINDOW_BYTES: Final = 128 * 1024
"""With a single small frame so much is fetched of what lies before it: a tree stands behind the manifests that it names."""
_WINDOWS: Final = 8
_CIPHERS: Final = 64
_CACHED_FRAMES: Final = 64
_MAX_CACHED_FRAME_BYTES: Final = 256 * 1024


@dataclass(frozen=True, slots=True)
class Unfiltered:
    """Chunks of an array as they were before filters of their file, side by side, in place of a frame's original."""

    chunks: memoryview
    filters: tuple[Filter, ...]
    """Those that are undone, in the order in which the file's library applied them."""

    def __len__(self) -> int:
        return len(self.chunks)


@dataclass(frozen=True, slots=True)
class _Run:
    """Frames that lie side by side in one pack."""

    pack: PackRef
    frames: tuple[Location, ...]

    @property
    def span(self) -> Span:
        first, last = self.frames[0].place, self.frames[-1].place
        return Span(first.offset, last.offset + last.length - first.offset)

    @property
    def originals(self) -> int:
        return sum(frame.place.raw_size for frame in self.frames)


class FrameReader:
    """Reads the frames of one vault. Thread-safe; holds a few small frames and one repaired pack."""

    def __init__(self, store: VaultStore, *, workers: Workers) -> None:
        self._store = store
        self._workers = workers
        self._lock = threading.Lock()
        self._cache: OrderedDict[Location, bytes] = OrderedDict()
        self._windows: OrderedDict[PackRef, tuple[Span, bytes]] = OrderedDict()
        self._ciphers: OrderedDict[PackRef, PackCipher] = OrderedDict()
        self._repairing = threading.Lock()
        self._repaired: tuple[ObjectName, bytes] | None = None

    def read(self, location: Location) -> bytes:
        """Return the original of one frame, such as a manifest; small ones are kept."""
        with self._lock:
            if location in self._cache:
                self._cache.move_to_end(location)
                return self._cache[location]
        (original,) = self._fetch(_Run(location.pack, (location,)), self._from_window, _original)
        data = bytes(original)
        if len(data) <= _MAX_CACHED_FRAME_BYTES:
            with self._lock:
                self._cache[location] = data
                while len(self._cache) > _CACHED_FRAMES:
                    self._cache.popitem(last=False)
        return data

    def stream(self, locations: Iterable[Location]) -> Iterator[bytes | memoryview]:
        """Yield the originals of frames in order, fetching a bounded number of spans ahead."""
        for originals in self._ahead(_runs(locations), self._read_run):
            yield from originals

    def stream_soon(self, locations: Iterable[Location]) -> Iterator[bytes | memoryview]:
        """Yield the originals of frames in order, as `stream` does, but the first of them as soon as can be.

        These are fetched frame by frame, and each in parts, all side by side; what comes later is fetched in longer spans.
        """
        for originals in self._soon(locations, _original):
            yield from originals

    def stream_elements(self, locations: Iterable[Location]) -> Iterator[bytes | memoryview | Unfiltered]:
        """Yield frames as `stream_soon` does, but chunks without the filters of their file where a frame holds them so."""
        for elements in self._soon(locations, _elements):
            yield from elements

    def stream_each(self, locations: Iterable[Location]) -> Generator[bytes | memoryview | Damaged, None, None]:
        """Yield the originals of frames in order, and for one that cannot be read the error, after which the others follow."""
        for originals in self._ahead(_runs(locations), self._read_each):
            yield from originals

    def _ahead(self, runs: Iterable[_Run], read: Callable[[_Run], list[ReadT]]) -> Iterator[list[ReadT]]:
        ahead: deque[Future[list[ReadT]]] = deque()
        try:
            for run in runs:
                ahead.append(self._workers.submit(read, run))
                if len(ahead) > _SPANS_AHEAD:
                    yield ahead.popleft().result()
            while ahead:
                yield ahead.popleft().result()
        finally:
            for future in ahead:
                future.cancel()

    def _soon(
        self, locations: Iterable[Location], decode: Callable[[bytes | memoryview, Location], ReadT]
    ) -> Iterator[list[ReadT]]:
        ahead: deque[tuple[int, Gathering[list[ReadT]]]] = deque()
        held = begun = 0
        try:
            for run in _short_runs(locations):
                while ahead and held + run.originals > _ORIGINALS_AHEAD:
                    size, first = ahead.popleft()
                    held -= size
                    yield first.result()
                ahead.append((run.originals, self._gather(run, decode, in_parts=begun < _SOON_ORIGINALS)))
                held, begun = held + run.originals, begun + run.originals
            while ahead:
                yield ahead.popleft()[1].result()
        finally:
            for _, gathering in ahead:
                gathering.cancel()

    def _gather(
        self, run: _Run, decode: Callable[[bytes | memoryview, Location], ReadT], *, in_parts: bool
    ) -> Gathering[list[ReadT]]:
        return Gathering(
            self._workers,
            run.span,
            fetch=lambda span: self._get(run.pack, span),
            make=lambda whole: self._fetch(run, lambda _pack, _span: whole(), decode),
            in_parts=in_parts,
        )

    def _from_window(self, pack: PackRef, span: Span) -> bytes | memoryview:
        """Return a span of a pack out of what was fetched with another one near it, else fetch what lies before it too."""
        if span.length > _WINDOW_BYTES:
            return self._get(pack, span)
        with self._lock:
            around, held = self._windows.get(pack, (None, b""))
            if around is not None and around.start <= span.start and span.stop <= around.stop:
                return memoryview(held)[span.start - around.start : span.stop - around.start]
        start = max(0, span.stop - _WINDOW_BYTES)
        held = self._get(pack, Span(start, span.stop - start))
        with self._lock:
            self._windows[pack] = Span(start, span.stop - start), held
            self._windows.move_to_end(pack)
            while len(self._windows) > _WINDOWS:
                self._windows.popitem(last=False)
        return memoryview(held)[span.start - start :]

    def _get(self, pack: PackRef, span: Span) -> bytes:
        return self._store.backend.get(pack.name.key, span)

    def _read_each(self, run: _Run) -> list[bytes | memoryview | Damaged]:
        """Read a run, or frame by frame where a part of it cannot be read."""
        try:
            return [*self._read_run(run)]
        except Damaged as error:
            if len(run.frames) == 1:
                return [error]
        return [original for frame in run.frames for original in self._read_each(_Run(run.pack, (frame,)))]

    def _read_run(self, run: _Run) -> list[bytes | memoryview]:
        return self._fetch(run, self._get, _original)

    def _fetch(self, run: _Run, get: Get, decode: Callable[[bytes | memoryview, Location], ReadT]) -> list[ReadT]:
        cipher = self._cipher(run.pack)
        span = run.span
        key = run.pack.name.key
        try:
            return self._decode(cipher, run.frames, memoryview(get(run.pack, span)), decode, base=span.start)
        except Damaged as error:
            logger.warning("object %s of vault %s is damaged and is being repaired for reading", key, self._store.vault)
            whole = self._repair(run.pack, cause=error)
        except NotFound as error:
            raise Damaged(
                f"object {key} of vault {self._store.name!r} is missing from {self._store.backend.url}: "
                "deposit its content again, or restore it from a copy"
            ) from error
        return self._decode(cipher, run.frames, memoryview(whole), decode, base=0)

    def _cipher(self, pack: PackRef) -> PackCipher:
        with self._lock:
            if pack in self._ciphers:
                self._ciphers.move_to_end(pack)
                return self._ciphers[pack]
        key = self._store.session_key(pack.session)
        cipher = PackCipher(key, PackHeader.of(key, vault=self._store.vault, session=pack.session, pack=pack.pack))
        with self._lock:
            self._ciphers[pack] = cipher
            while len(self._ciphers) > _CIPHERS:
                self._ciphers.popitem(last=False)
        return cipher

    @staticmethod
    def _decode(
        cipher: PackCipher,
        frames: Sequence[Location],
        data: memoryview,
        decode: Callable[[bytes | memoryview, Location], ReadT],
        *,
        base: int,
    ) -> list[ReadT]:
        found = []
        for frame in frames:
            start = frame.place.offset - base
            plaintext = cipher.decrypt_frame(frame.place.index, data[start : start + frame.place.length])
            found.append(decode(plaintext, frame))
        return found

    def _repair(self, pack: PackRef, *, cause: Damaged) -> bytes:
        """Rebuild a whole pack in memory; what is stored stays as it is, for `engram verify` to report."""
        with self._repairing:  # so that one pack is in memory at a time, and is repaired once
            if self._repaired is None or self._repaired[0] != pack.name:
                self._repaired = (pack.name, self._rebuild(pack, cause=cause))
            return self._repaired[1]

    def _rebuild(self, pack: PackRef, *, cause: Damaged) -> bytes:
        where = f"object {pack.name.key} of vault {self._store.name!r} at {self._store.backend.url}"
        try:
            return shards.repair(memoryview(self._store.backend.get(pack.name.key)))
        except Damaged as error:
            raise Damaged(
                f"{where} is damaged and cannot be repaired ({error}): deposit its content again, or restore it from a copy"
            ) from cause


def _original(plaintext: bytes | memoryview, frame: Location) -> bytes | memoryview:
    original = decode_frame(plaintext)
    if len(original) != frame.place.raw_size:
        raise FormatError(
            f"frame {frame.place.index} of pack {frame.pack.pack} has another length than its recipe says"
        )
    return original


def _elements(plaintext: bytes | memoryview, frame: Location) -> bytes | memoryview | Unfiltered:
    found = decode_frame_unfiltered(plaintext)
    if found is None:
        return _original(plaintext, frame)
    chunks, filters = found
    return Unfiltered(memoryview(chunks).toreadonly(), filters)


def _short_runs(locations: Iterable[Location]) -> Iterator[_Run]:
    """Join frames to runs: the first few of about a frame, so that they are soon there, and longer ones after these."""
    begun = 0

    def longest() -> int:
        return _SHORT_ORIGINALS if begun < _SOON_ORIGINALS else _LATER_ORIGINALS

    for run in _runs(locations, longest):
        begun += run.originals
        yield run


def _runs(locations: Iterable[Location], longest: Callable[[], int] = lambda: _MAX_SPAN_ORIGINALS) -> Iterator[_Run]:
    """Join frames that lie side by side in a pack, up to a span's length and the bytes of originals that `longest` tells."""
    run: list[Location] = []
    size = originals = 0
    for location in locations:
        last = run[-1] if run else None
        joins = (
            last is not None
            and location.pack == last.pack
            and location.place.offset == last.place.offset + last.place.length
            and size + location.place.length <= _MAX_SPAN_BYTES
            and originals + location.place.raw_size <= longest()
        )
        if run and not joins:
            yield _Run(run[0].pack, tuple(run))
            run, size, originals = [], 0, 0
        run.append(location)
        size += location.place.length
        originals += location.place.raw_size
    if run:
        yield _Run(run[0].pack, tuple(run))
