"""Calls of a loaded network that end in time, whatever the network does."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Final

import onnxruntime

from engram_format.catalog import AnyArray
from engram_format.errors import Exhausted, InvalidInput
from engram_replay.loader import ORT_ERRORS, Student, reason

_LOOK_S: Final = 0.05
_NO_MEMORY: Final = re.compile(r"failed to allocate memory|bad[ _]alloc", re.IGNORECASE)
"""How the runtime says that there is no memory; it has no error of its own for that."""


class Calls:
    """Runs a student's network under a deadline; one thread watches over all calls, until `close`.

    Not for two threads at once.
    """

    def __init__(self, student: Student) -> None:
        self._student = student
        self._session = student.session
        self._options = onnxruntime.RunOptions()
        self._deadline: float | None = None
        self._limit_s = 0.0
        self._passed = False
        self._lock = threading.Lock()
        self._watch: threading.Thread | None = None
        self._closed = threading.Event()

    @contextmanager
    def within(self, limit_s: float) -> Iterator[None]:
        """Let the calls of the block take `limit_s` seconds together."""
        if self._watch is None:
            self._watch = threading.Thread(target=self._look, name="deadline", daemon=True)
            self._watch.start()
        with self._lock:
            self._passed = False
            self._options.terminate = False
            self._limit_s = limit_s
            self._deadline = time.monotonic() + limit_s
        try:
            yield
        finally:
            with self._lock:
                self._deadline = None

    def close(self) -> None:
        """Let the thread end, and the student with it; there are no calls afterwards."""
        self._closed.set()

    def run(self, names: Sequence[str], feed: Mapping[str, AnyArray], *, step: int) -> list[AnyArray]:
        """Return the outputs of one call; raises `InvalidInput` where the network fails and `Exhausted` past the deadline."""
        if self._passed:
            raise self._late(step)
        try:
            outputs: list[AnyArray] = self._session.run(names, feed, self._options)
        except ORT_ERRORS as error:
            if self._passed:
                raise self._late(step) from error
            if _NO_MEMORY.search(str(error)):
                raise Exhausted(
                    f"{self._student} asked for more memory than it may have, at step {step}: give it less at once"
                ) from error
            raise InvalidInput(
                f"{self._student} failed at step {step} ({reason(error)}): give it a stimulus of the shape it was made for"
            ) from error
        return outputs

    def _late(self, step: int) -> Exhausted:
        return Exhausted(
            f"{self._student} did not finish within {self._limit_s:g} s, it was at step {step}: replay a shorter stimulus"
        )

    def _look(self) -> None:
        while not self._closed.wait(_LOOK_S):
            with self._lock:
                if self._deadline is not None and time.monotonic() > self._deadline:
                    self._passed = True
                    self._options.terminate = True
