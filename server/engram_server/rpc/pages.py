"""Pages of lists. A token names the last item shown, so that any replica can go on and nothing is kept between calls."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from engram_format.errors import InvalidInput

DEFAULT_ITEMS = 1000
MAX_ITEMS = 10_000
MAX_BYTES = 2 << 20
"""A page ends at the first item that takes it over this size, which keeps it below the limit on messages."""


class Sized(Protocol):
    """A protobuf message."""

    def ByteSize(self) -> int:  # noqa: N802 - protobuf's name
        """Return the encoded size."""
        ...


T = TypeVar("T")
MessageT = TypeVar("MessageT", bound=Sized)


@dataclass(frozen=True, slots=True)
class Page(Generic[MessageT]):
    """Some items of a list, and the token that asks for those after them; empty after the last."""

    items: list[MessageT]
    next_token: str


def take(
    items: Iterable[T],
    *,
    size: int,
    follows: Callable[[T], bool],
    message: Callable[[T], MessageT],
    mark: Callable[[T], str],
) -> Page[MessageT]:
    """Return the first page of those items that `follows` says to come after the pages before.

    `mark` names an item in a token. Items that are walked from the start make each page cost as much as all before it, which
    is why pages are large; where there may be very many, `items` should begin where the page does.
    """
    if size < 0:
        raise InvalidInput(f"a page of {size} items cannot be: ask for 0, the service's choice, or more")
    limit = min(size or DEFAULT_ITEMS, MAX_ITEMS)
    page: list[MessageT] = []
    room = MAX_BYTES
    last = ""
    with ExitStack() as stack:
        iterator: Iterator[T] = iter(items)
        if close := getattr(iterator, "close", None):
            stack.callback(close)
        for item in iterator:
            if not follows(item):
                continue
            if len(page) == limit or room <= 0:
                return Page(page, _token(last))
            page.append(message(item))
            room -= page[-1].ByteSize()
            last = mark(item)
    return Page(page, "")


def _token(mark: str) -> str:
    return base64.urlsafe_b64encode(mark.encode()).decode()


def mark_of(token: str) -> str | None:
    """Return what `mark` said of the last item of the page before, `None` for the first page."""
    if not token:
        return None
    try:
        return base64.b64decode(token, altchars=b"-_", validate=True).decode()
    except (binascii.Error, UnicodeError, ValueError) as error:
        raise InvalidInput(f"{token!r:.100} is no page token: give next_page_token of the page before") from error
