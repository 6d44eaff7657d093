"""What a store must prove before an archive is created in it: that it writes no object twice (SPEC.md section 3)."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Callable

from engram_format.errors import AlreadyExists, Denied, Precondition
from engram_store.backend import Backend


def require_put_if_absent(
    backend: Backend, prefix: str = "", *, random_name: Callable[[], str] = lambda: secrets.token_hex(16)
) -> None:
    """Raise `Precondition` unless the store refuses to write an object twice and keeps the first.

    Some servers that speak S3 take `If-None-Match` and overwrite all the same; in such a store two writers destroy each other's
    work. The question takes two writes and a read of a few bytes under `prefix` and a random name, removed afterwards; a store
    that lets its writers delete nothing keeps them.
    """
    key = f"{prefix}probe-{random_name()}"
    first, second = f"first {key}".encode(), f"second {key}".encode()
    backend.put_if_absent(key, first)
    try:
        try:
            backend.put_if_absent(key, second)
        except AlreadyExists as error:
            if backend.get(key) != first:
                raise Precondition(
                    f"{backend.url} refuses to write an object twice but does not keep the first; use another store"
                ) from error
        else:
            raise Precondition(
                f"{backend.url} does not honour put-if-absent (If-None-Match on S3): it accepted a second write of one object; "
                "use another store"
            )
    finally:
        with contextlib.suppress(Denied):
            backend.delete(key)
