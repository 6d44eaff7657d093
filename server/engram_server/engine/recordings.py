"""The use cases of recordings: what is in one, and slices of its series."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Generator
from contextlib import closing
from typing import Final

from engram_format.address import Address, AnyAddress
from engram_format.catalog import Recording
from engram_format.errors import Precondition
from engram_format.manifest import Manifest
from engram_format.series import Description, Series
from engram_format.slicing import Numbers, find_series, physical, select
from engram_server.engine import describe
from engram_store.budget import Budget
from engram_store.reader import Found, VaultReader
from engram_store.recipe import Recipe
from engram_store.series_reader import FrameCache, read_series

_MAX_OPENED: Final = 64
_MAX_OPENED_BYTES: Final = 64 * 2**20


class Opened:
    """An artifact whose manifest has been read; its description is read at first use. Thread-safe."""

    def __init__(self, reader: VaultReader, found: Found, manifest: Manifest) -> None:
        self.reader, self.found, self.manifest = reader, found, manifest
        self.recipe = Recipe(reader.frames, manifest)
        self._lock = threading.Lock()
        self._description: Description | None = None

    @property
    def size(self) -> int:
        """About the bytes that holding it takes."""
        held = self.manifest.description
        return 4096 + (0 if held is None else int(held.starts()[-1]))

    def description(self, address: AnyAddress) -> Description:
        """Return what was found in the artifact; raises `Precondition` where nothing was."""
        with self._lock:
            if self._description is None:
                self._description = self.reader.description(self.manifest)
            if self._description is None:
                raise Precondition(
                    f"{address} is kept as plain bytes, in which no series are known: restore it, or read it as a file"
                )
            return self._description


class Recordings:
    """Opens artifacts and keeps those that were used last, so that a second slice costs only its frames. Thread-safe."""

    def __init__(self, find: Callable[[AnyAddress], tuple[VaultReader, Found]]) -> None:
        self._find = find
        self._frames = FrameCache()
        self._budget = Budget()
        self._lock = threading.Lock()
        self._opened: OrderedDict[Address, Opened] = OrderedDict()
        self._bytes = 0

    def open(self, address: AnyAddress) -> Opened:
        """Return an artifact; one that is named with its version's number costs nothing if it was opened before."""
        if isinstance(address, Address) and address.version is not None:
            with self._lock:
                if address in self._opened:
                    return self._used(address)
        reader, found = self._find(address)
        place = Address(reader.store.name, found.commit.memory, found.commit.number, found.entry.path)
        with self._lock:
            if place in self._opened:
                return self._used(place)
        opened = Opened(reader, found, reader.manifest(found))
        with self._lock:
            if place not in self._opened:
                self._opened[place] = opened
                self._bytes += opened.size
                self._drop()
            return self._used(place)

    def recording(self, address: AnyAddress) -> Recording:
        """Return what is in a recording; raises `Precondition` for an artifact that is kept as plain bytes."""
        opened = self.open(address)
        held = opened.description(address)
        return Recording(
            artifact=describe.artifact(opened.reader.store.name, opened.found, opened.manifest),
            family=held.family,
            series=tuple(series.info for series in held.series),
            tables=held.tables,
        )

    def read_series(
        self,
        address: AnyAddress,
        name: str,
        *,
        start: int,
        stop: int | None,
        channels: tuple[int, int | None] | None,
        to_physical: bool,
    ) -> Generator[Numbers, None, None]:
        """Yield the blocks of a slice, at least one, as they are stored or as physical values."""
        opened = self.open(address)
        series = find_series(opened.description(address), name, where=str(address))
        selection = select(series.info, start=start, stop=stop, channels=channels)
        blocks = read_series(
            opened.reader.frames,
            opened.recipe,
            series,
            selection,
            size=opened.manifest.size,
            cache=self._frames,
            budget=self._budget,
        )
        if not to_physical:
            return blocks
        return _physical(blocks, series, (selection.first, selection.last))

    def _used(self, key: Address) -> Opened:
        self._opened.move_to_end(key)
        return self._opened[key]

    def _drop(self) -> None:
        while len(self._opened) > 1 and (len(self._opened) > _MAX_OPENED or self._bytes > _MAX_OPENED_BYTES):
            _, dropped = self._opened.popitem(last=False)
            self._bytes -= dropped.size


def _physical(
    blocks: Generator[Numbers, None, None], series: Series, channels: tuple[int, int]
) -> Generator[Numbers, None, None]:
    with closing(blocks):
        for block in blocks:
            yield physical(series.info, block, channels)
