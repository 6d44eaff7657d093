"""A span of an object on its way: fetched in parts side by side, and made into what is wanted when all have arrived."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Final, Generic, TypeVar

import numpy as np

from engram_format.errors import EngramError
from engram_store.backend import Span
from engram_store.workers import Workers

Made = TypeVar("Made")

PART_BYTES: Final = 256 * 1024
"""The longest part. A few short requests side by side are answered sooner than a long one.

Some stores make it plain: the gateway of SeaweedFS sends a range of up to 256 KiB as it is, and for a longer one first fetches
all of the 16 MiB in which it lies.
"""


class Gathering(Generic[Made]):
    """One span on its way. The worker that brings the last part makes the result, so that none waits for another one."""

    def __init__(
        self,
        workers: Workers,
        span: Span,
        *,
        fetch: Callable[[Span], bytes],
        make: Callable[[Callable[[], bytes | memoryview]], Made],
        in_parts: bool,
    ) -> None:
        """Begin. `make` is handed what returns the bytes of the span, or raises what kept a part of it from arriving."""
        count = -(-span.length // PART_BYTES) if in_parts else 1
        step = -(-span.length // count)
        self._span, self._fetch, self._make = span, fetch, make
        self._whole: bytes | memoryview = b"" if count == 1 else np.empty(span.length, np.uint8).data
        self._processors = workers.processors
        self._missing = count
        self._lock = threading.Lock()
        self._lost: EngramError | None = None
        self._made: list[Made] = []
        self._tasks: list[Future[None]] = [
            workers.fetch(self._bring, Span(start, min(step, span.stop - start)))
            for start in range(span.start, span.stop, step)
        ]

    def result(self) -> Made:
        """Wait for the result; raises what `make` has raised."""
        for task in self._tasks:
            task.result()
        return self._made.pop()

    def cancel(self) -> None:
        """Drop what has not begun."""
        for task in self._tasks:
            task.cancel()

    def _bring(self, part: Span) -> None:
        try:
            data = self._fetch(part)
            if isinstance(self._whole, memoryview):
                start = part.start - self._span.start
                self._whole[start : start + part.length] = data
            else:
                self._whole = data
        except EngramError as error:
            self._lost = error
        with self._lock:
            self._missing -= 1
            complete = not self._missing
        if complete:
            with self._processors:
                self._made.append(self._make(self._bytes))

    def _bytes(self) -> bytes | memoryview:
        if self._lost is not None:
            raise self._lost
        return self._whole
