"""The threads of one open archive: a bounded pool in which its reads and writes wait for the storage side by side."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Final, ParamSpec, TypeVar

from engram_format.errors import Precondition

_Asked = ParamSpec("_Asked")
_Answer = TypeVar("_Answer")

_THREADS: Final = max(4, min(8, 2 * (os.cpu_count() or 2)))
"""More than there are processors, because a storage on a network is waited for more than it is worked for."""
_FETCHERS: Final = 8
"""Requests under way at once for what somebody waits for: a slice is asked for in parts, all of them together."""


class Workers(ThreadPoolExecutor):
    """A pool that says in our words when it is used after the archive was closed.

    A task of it never waits for another task, so that no number of tasks can be too many.
    """

    def __init__(self) -> None:
        super().__init__(max_workers=_THREADS, thread_name_prefix="engram-work")
        self.processors = threading.BoundedSemaphore(os.cpu_count() or 2)
        """Held by a fetching thread while it decodes: more of them at once only take the processors from one another."""
        self._fetchers = ThreadPoolExecutor(max_workers=_FETCHERS, thread_name_prefix="engram-fetch")

    def submit(
        self, task: Callable[_Asked, _Answer], /, *args: _Asked.args, **kwargs: _Asked.kwargs
    ) -> Future[_Answer]:
        """Begin a task; raises `Precondition` after the shutdown."""
        with _open():
            return super().submit(task, *args, **kwargs)

    def fetch(self, task: Callable[_Asked, _Answer], /, *args: _Asked.args, **kwargs: _Asked.kwargs) -> Future[_Answer]:
        """Begin a task that is mostly waiting for the storage; raises `Precondition` after the shutdown."""
        with _open():
            return self._fetchers.submit(task, *args, **kwargs)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: FBT001, FBT002 - of the executor
        """End the threads."""
        self._fetchers.shutdown(wait, cancel_futures=cancel_futures)
        super().shutdown(wait, cancel_futures=cancel_futures)


@contextmanager
def _open() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:  # what an executor says after its shutdown
        raise Precondition("the archive was closed while it was read: open it again") from error
