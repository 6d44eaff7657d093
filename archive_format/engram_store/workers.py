"""The threads of one open archive: a bounded pool in which its reads and writes wait for the storage side by side."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final, ParamSpec, TypeVar

from engram_format.errors import Precondition

_Asked = ParamSpec("_Asked")
_Answer = TypeVar("_Answer")

_THREADS: Final = max(4, min(8, 2 * (os.cpu_count() or 2)))
"""More than there are processors, because a storage on a network is waited for more than it is worked for."""


class Workers(ThreadPoolExecutor):
    """A pool that says in our words when it is used after the archive was closed.

    A task of it never waits for another task, so that no number of tasks can be too many.
    """

    def __init__(self) -> None:
        super().__init__(max_workers=_THREADS, thread_name_prefix="engram-work")

    def submit(
        self, task: Callable[_Asked, _Answer], /, *args: _Asked.args, **kwargs: _Asked.kwargs
    ) -> Future[_Answer]:
        """Begin a task; raises `Precondition` after the shutdown."""
        try:
            return super().submit(task, *args, **kwargs)
        except RuntimeError as error:  # what an executor says after its shutdown
            raise Precondition("the archive was closed while it was read: open it again") from error
