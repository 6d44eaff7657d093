"""Which keys an object may have, and the answers that every backend gives about one (SPEC.md section 3).

A key is a `/`-separated path of printable ASCII. No part is empty or begins with a dot, so that no key can climb out of a
folder or meet a file that a file system keeps for itself.
"""

from __future__ import annotations

import re

from engram_format.errors import AlreadyExists, Damaged, InvalidInput, NotFound
from engram_store.backend import Span

MAX_KEY_BYTES = 1024
"""The longest key that S3 takes."""

MAX_PART_BYTES = 255
"""The longest name that common file systems take."""

_PART = rf"[ -\-0-~][ -.0-~]{{0,{MAX_PART_BYTES - 1}}}"
_ONE_PART = re.compile(_PART)
_KEY = re.compile(rf"{_PART}(?:/{_PART})*")
_PREFIX = re.compile(rf"(?:{_PART}/)*(?:{_PART})?")


def checked_key(key: str) -> str:
    """Return `key`, or raise `InvalidInput` if no object may have it."""
    if len(key) > MAX_KEY_BYTES or not _KEY.fullmatch(key):
        raise InvalidInput(
            f"an object key is a /-separated path of printable ASCII whose parts are not empty and begin with no dot, not {key!r}"
        )
    return key


def is_part(name: str) -> bool:
    """Tell whether a key may have this part."""
    return _ONE_PART.fullmatch(name) is not None


def checked_prefix(prefix: str) -> str:
    """Return `prefix`, or raise `InvalidInput` if no key can begin with it; the empty prefix begins every key."""
    if len(prefix) > MAX_KEY_BYTES or not _PREFIX.fullmatch(prefix):
        raise InvalidInput(
            f"a prefix is the beginning of an object key (printable ASCII, no empty part, no leading dot), not {prefix!r}"
        )
    return prefix


def no_such_object(url: str, key: str) -> NotFound:
    """Say that nothing has this key."""
    return NotFound(f"{url} holds no object {key!r}; check the name and the location")


def key_is_taken(url: str, key: str) -> AlreadyExists:
    """Say that the key belongs to another object, which stays as it is."""
    return AlreadyExists(f"{url} already holds an object {key!r}; read it, or write under another name")


def ends_before(url: str, key: str, *, span: Span, size: int) -> Damaged:
    """Say that the object ends before the wanted bytes do."""
    return Damaged(
        f"object {key!r} in {url} has {size} bytes but bytes {span.start} to {span.stop} were expected; keep it and repair it"
    )
