"""The tests that every backend passes, as a class to inherit from; needs pytest and is never imported at run time.

    class TestMyBackend(BackendConformance):
        @pytest.fixture
        def backend(self) -> Backend:
            return MyBackend(...)

The fixture gives an empty backend for each test.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ClassVar

import pytest

from engram_format.errors import AlreadyExists, Damaged, EngramError, InvalidInput, NotFound
from engram_store.backend import Backend, Buffer, ObjectStat, Span
from engram_store.location import open_location
from engram_store.probe import require_put_if_absent

_MIB = 1024 * 1024
_RACE_BEGINS_WITHIN_S = 200
_UNSAFE_KEYS = (
    "", "/", "/a", "a/", "a//b", ".", "..", "../a", "a/../b", "a/.", ".tmp/a", "a/.hidden", "a\nb", "a\0b", "\u00e4", "a/\u202eb",
    "a" * 256, "/".join(["part"] * 300),
)  # fmt: skip
_UNSAFE_PREFIXES = ("/", "/a", "a//", "..", "../", "a/../b", ".tmp", "a\0", "\u00e4")


def pattern(size: int) -> bytes:
    """Return `size` bytes in which no stretch repeats soon, so that a shifted or swapped range shows."""
    block = b"".join(number.to_bytes(4, "big") for number in range(size // 4 + 1))
    return block[:size]


class BackendConformance:
    """What `Backend` promises, tested on what the fixture `backend` of a subclass returns."""

    racers: ClassVar[int] = 16
    """Threads that want one slot."""
    race_rounds: ClassVar[int] = 5
    """Slots they want, one after the other."""
    keys_in_order: ClassVar[tuple[str, ...]] = (
        "A", "Z/z", "a b", "a!", "a-b", "a.b", "a/1", "a/10", "a/2", "a/b-c", "a/b/c", "a0", "a_", "b", "~",
    )  # fmt: skip
    """Keys in the order of their bytes, which is neither that of words nor that of walking through folders."""
    starts_between_keys: ClassVar[tuple[str, ...]] = ("a", "a/", "a/b", "a/b/", "a/b/b", "a/zz", "0", "zz", "~~")
    """What is no key of an object, and still has a place in the order."""
    many: ClassVar[int] = 1010
    """More objects than S3 lists on one page."""

    def test_an_absent_object_is_not_found(self, backend: Backend) -> None:
        """Reading says so by the object's name."""
        with pytest.raises(NotFound, match="absent/thing"):
            backend.get("absent/thing")
        with pytest.raises(NotFound, match="absent/thing"):
            backend.get("absent/thing", Span(0, 1))
        with pytest.raises(NotFound, match="absent/thing"):
            backend.stat("absent/thing")

    def test_an_empty_backend_lists_nothing(self, backend: Backend) -> None:
        """There is no error in being empty."""
        _same(tuple(backend.list("")), ())
        _same(tuple(backend.list("v/a/")), ())

    @pytest.mark.parametrize("size", [0, 1, 5 * _MIB], ids=["empty", "one-byte", "5-MiB"])
    def test_what_was_put_is_got(self, backend: Backend, size: int) -> None:
        """Every byte comes back, and the size is known."""
        value = pattern(size)
        backend.put_if_absent("v/one/o/ab/value", value)
        _same(backend.get("v/one/o/ab/value"), value)
        _same(backend.stat("v/one/o/ab/value"), ObjectStat("v/one/o/ab/value", size))

    @pytest.mark.parametrize(
        "wrap",
        [bytearray, memoryview, lambda value: memoryview(bytearray(b"x" + value + b"x"))[1:-1]],
        ids=["bytearray", "memoryview", "part-of-a-buffer"],
    )
    def test_any_buffer_may_be_put(self, backend: Backend, wrap: Callable[[bytes], Buffer]) -> None:
        """Bytes need not be `bytes`, and are got as `bytes`."""
        value = pattern(100_003)
        backend.put_if_absent("value", wrap(value))
        got = backend.get("value")
        _same(type(got), bytes)
        _same(got, value)

    def test_a_value_may_be_changed_once_put_has_returned(self, backend: Backend) -> None:
        """The backend keeps no reference to the caller's buffer."""
        value = bytearray(b"before")
        backend.put_if_absent("value", value)
        value[:] = b"after!"
        _same(backend.get("value"), b"before")

    @pytest.mark.parametrize("second", [b"second", b"first", b""], ids=["other", "equal", "empty"])
    def test_a_second_put_is_refused_and_the_first_remains(self, backend: Backend, second: bytes) -> None:
        """Nothing is ever replaced, not even by itself."""
        backend.put_if_absent("v/slot", b"first")
        with pytest.raises(AlreadyExists, match="v/slot"):
            backend.put_if_absent("v/slot", second)
        _same(backend.get("v/slot"), b"first")

    def test_an_empty_object_is_an_object(self, backend: Backend) -> None:
        """It holds its key, and has no first byte."""
        backend.put_if_absent("empty", b"")
        with pytest.raises(AlreadyExists):
            backend.put_if_absent("empty", b"more")
        with pytest.raises(Damaged):
            backend.get("empty", Span(0, 1))
        _same(list(backend.list("")), [ObjectStat("empty", 0)])

    @pytest.mark.parametrize(
        ("start", "length"),
        [(0, 1), (0, 1000), (1, 1), (500, 250), (999, 1), (0, 999)],
        ids=["first", "all", "second", "middle", "last", "all-but-last"],
    )
    def test_a_span_is_exactly_its_bytes(self, backend: Backend, start: int, length: int) -> None:
        """Neither more nor fewer."""
        value = pattern(1000)
        backend.put_if_absent("value", value)
        _same(backend.get("value", Span(start, length)), value[start : start + length])

    @pytest.mark.parametrize(
        ("start", "length"),
        [(0, 1001), (999, 2), (1000, 1), (5000, 10)],
        ids=["longer", "over-the-end", "at-the-end", "far-past"],
    )
    def test_a_span_past_the_end_is_damage(self, backend: Backend, start: int, length: int) -> None:
        """An object that is shorter than its index says is not answered with fewer bytes."""
        backend.put_if_absent("value", pattern(1000))
        with pytest.raises(Damaged, match=r"value' in .* has 1000 bytes"):
            backend.get("value", Span(start, length))

    def test_objects_are_listed_in_the_order_of_their_bytes(self, backend: Backend) -> None:
        """Whatever order they were written in."""
        for key in sorted(self.keys_in_order, key=lambda key: key[::-1]):
            backend.put_if_absent(key, key.encode())
        _same(list(backend.list("")), [ObjectStat(key, len(key)) for key in self.keys_in_order])

    @pytest.mark.parametrize("prefix", ["a", "a/", "a/1", "a/b", "a/b/", "Z", "Z/", "Z/z", "Z/z/", "c", "c/d/", "~"])
    def test_a_prefix_is_a_beginning_of_the_text(self, backend: Backend, prefix: str) -> None:
        """It need not end where a part ends."""
        for key in self.keys_in_order:
            backend.put_if_absent(key, b"")
        _same(
            [stat.key for stat in backend.list(prefix)], [key for key in self.keys_in_order if key.startswith(prefix)]
        )

    def test_a_listing_starts_after_a_key(self, backend: Backend) -> None:
        """Whether an object has that key or not, and wherever it lies with regard to the prefix."""
        for key in self.keys_in_order:
            backend.put_if_absent(key, b"")
        for prefix in ("", "a", "a/"):
            for start in (*self.keys_in_order, *self.starts_between_keys):
                wanted = [key for key in self.keys_in_order if key.startswith(prefix) and key > start]
                _same([stat.key for stat in backend.list(prefix, start)], wanted)

    def test_a_long_listing_is_whole(self, backend: Backend) -> None:
        """More objects than fit on one page, from the beginning and from the middle."""
        keys = [f"log/{number:016x}" for number in range(self.many)]
        with ThreadPoolExecutor(16) as pool:
            for _ in pool.map(lambda key: backend.put_if_absent(key, b"x"), keys):
                pass
        _same([stat.key for stat in backend.list("log/")], keys)
        _same([stat.key for stat in backend.list("log/", keys[3])], keys[4:])

    def test_what_was_put_is_listed_at_once(self, backend: Backend) -> None:
        """A listing misses nothing that was acknowledged before it."""
        for number in range(20):
            backend.put_if_absent(f"log/{number:016x}", b"record")
            _same(len(list(backend.list("log/"))), number + 1)

    def test_deleting_is_idempotent_and_frees_the_key(self, backend: Backend) -> None:
        """Removing what is not there, or never was, is no error."""
        backend.delete("never/was")
        backend.put_if_absent("v/a", b"one")
        backend.put_if_absent("v/b", b"two")
        backend.delete("v/a")
        backend.delete("v/a")
        with pytest.raises(NotFound):
            backend.get("v/a")
        _same(list(backend.list("")), [ObjectStat("v/b", 3)])
        backend.put_if_absent("v/a", b"again")
        _same(backend.get("v/a"), b"again")

    @pytest.mark.parametrize("key", _UNSAFE_KEYS, ids=ascii)
    def test_an_unsafe_key_is_refused(self, backend: Backend, key: str) -> None:
        """By every operation, before anything is touched."""
        with pytest.raises(InvalidInput):
            backend.put_if_absent(key, b"value")
        with pytest.raises(InvalidInput):
            backend.get(key)
        with pytest.raises(InvalidInput):
            backend.stat(key)
        with pytest.raises(InvalidInput):
            backend.delete(key)

    @pytest.mark.parametrize("prefix", _UNSAFE_PREFIXES, ids=ascii)
    def test_an_unsafe_prefix_is_refused(self, backend: Backend, prefix: str) -> None:
        """Nothing can be found there."""
        with pytest.raises(InvalidInput):
            list(backend.list(prefix))

    def test_one_of_many_threads_wins_a_slot(self, backend: Backend) -> None:
        """All others are told, and what is there is the winner's, whole."""
        start = threading.Barrier(self.racers)
        with ThreadPoolExecutor(self.racers) as pool:
            wins = list(pool.map(lambda racer: _race(backend, start, racer, self.race_rounds), range(self.racers)))
        require_one_winner_each(backend, wins, slots=self.race_rounds)

    def test_the_store_passes_the_probe(self, backend: Backend) -> None:
        """And the probe leaves nothing behind."""
        require_put_if_absent(backend)
        _same(list(backend.list("")), [])


def race_from_a_process(url: str, start: threading.Barrier, racer: int, slots: int) -> list[int]:
    """Want `slots` slots of the backend at `url`, together with the other processes at `start`; return those that were won."""
    return _race(open_location(url), start, racer, slots)


def require_one_winner_each(backend: Backend, wins: list[list[int]], *, slots: int) -> None:
    """Raise `AssertionError` unless each slot was won once and holds its winner's entry; `wins[i]` is what racer `i` won."""
    for slot in range(slots):
        winners = [racer for racer, won in enumerate(wins) if slot in won]
        _same(len(winners), 1)
        _same(backend.get(f"log/{slot:016x}"), _entry(winners[0]))


def _race(backend: Backend, start: threading.Barrier, racer: int, slots: int) -> list[int]:
    won = []
    try:
        for slot in range(slots):
            start.wait(_RACE_BEGINS_WITHIN_S)
            with contextlib.suppress(AlreadyExists):
                backend.put_if_absent(f"log/{slot:016x}", _entry(racer))
                won.append(slot)
    except EngramError:
        # The others must not wait for one who will not come.
        start.abort()
        raise
    return won


def _entry(racer: int) -> bytes:
    return f"racer {racer:04d} ".encode() * 4096


def _same(found: object, wanted: object) -> None:
    # Not `assert`: pytest explains it only in modules that it collects, and this one is inherited from.
    if found != wanted:
        raise AssertionError(f"found {found!r:.300}, wanted {wanted!r:.300}")
