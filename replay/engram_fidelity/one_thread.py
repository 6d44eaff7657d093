"""Sums on one thread: in one order, so that the same numbers come out however many cores a machine has."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

from engram_fidelity.extras import need

P = ParamSpec("P")
T = TypeVar("T")


def on_one_thread(task: Callable[P, T]) -> Callable[P, T]:
    """Let the linear algebra inside `task` use one thread; it gets its threads back afterwards. Needs the extra `certify`."""

    @wraps(task)
    def alone(*args: P.args, **kwargs: P.kwargs) -> T:
        with need("threadpoolctl", "certify").threadpool_limits(1):
            return task(*args, **kwargs)

    return alone
