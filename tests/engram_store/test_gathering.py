"""A span that is fetched in parts: put together in their order, lost as a whole, and dropped when nobody waits for it."""

from __future__ import annotations

import threading
from concurrent.futures import CancelledError

import pytest

from engram_format.errors import Damaged, Precondition
from engram_store.backend import Span
from engram_store.gathering import PART_BYTES, Gathering
from engram_store.memory import MemoryBackend
from engram_store.workers import Workers

SIZE = 5 * PART_BYTES + 1234


@pytest.fixture
def workers():
    pool = Workers()
    yield pool
    pool.shutdown(wait=True)


@pytest.fixture
def backend():
    store = MemoryBackend()
    store.put_if_absent("a", bytes(number * number % 251 for number in range(SIZE)))
    return store


def gathered(workers, backend, span, *, in_parts=True, seen=None):
    def fetch(part):
        if seen is not None:
            seen.append(part)
        return backend.get("a", part)

    return Gathering(workers, span, fetch=fetch, make=lambda whole: bytes(whole()), in_parts=in_parts)


@pytest.mark.parametrize("span", [Span(0, SIZE), Span(17, 1), Span(5, PART_BYTES), Span(5, PART_BYTES + 1)])
@pytest.mark.parametrize("in_parts", [True, False])
def test_the_parts_are_the_span(workers, backend, span, in_parts):
    seen = []
    assert gathered(workers, backend, span, in_parts=in_parts, seen=seen).result() == backend.get("a", span)
    assert sum(part.length for part in seen) == span.length
    assert len(seen) == (-(-span.length // PART_BYTES) if in_parts else 1)


def test_a_part_that_is_not_there_is_told_to_who_makes_the_result(workers, backend):
    with pytest.raises(Damaged):
        gathered(workers, backend, Span(10, SIZE)).result()
    rescued = Gathering(
        workers,
        Span(10, SIZE),
        fetch=lambda part: backend.get("a", part),
        make=lambda whole: told(whole),
        in_parts=True,
    )
    assert rescued.result() == "lost"


def told(whole):
    try:
        whole()
    except Damaged:
        return "lost"


def test_parts_of_many_spans_wait_for_no_other(workers, backend):
    spans = [Span(start, SIZE - start) for start in range(100)]
    begun = [gathered(workers, backend, span) for span in spans]
    for span, gathering in reversed(list(zip(spans, begun, strict=True))):
        assert gathering.result() == backend.get("a", span)


def test_what_was_dropped_is_fetched_no_more(backend):
    workers, go, seen = Workers(), threading.Event(), []

    def fetch(part):
        go.wait()
        seen.append(part)
        return bytes(part.length)

    spans = [
        Gathering(workers, Span(0, SIZE), fetch=fetch, make=lambda whole: whole(), in_parts=True) for _ in range(9)
    ]
    for gathering in spans:
        gathering.cancel()
    go.set()
    workers.shutdown(wait=True)
    assert 0 < len(seen) < 9 * 6
    with pytest.raises(CancelledError):
        spans[-1].result()
    with pytest.raises(Precondition, match="closed"):
        gathered(workers, backend, Span(0, 1))
