"""Retries, metering and faults, on a store in memory and with a sleep that only notes how long it would be."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from botocore.exceptions import (
    ClientError,
    ConnectTimeoutError,
    EndpointConnectionError,
    FlexibleChecksumError,
    IncompleteReadError,
    NoCredentialsError,
    ProfileNotFound,
    ReadTimeoutError,
    SSLError,
)
from hypothesis import given
from hypothesis import strategies as st

from engram_format.errors import (
    AlreadyExists,
    Damaged,
    Denied,
    Exhausted,
    InvalidInput,
    NotFound,
    Precondition,
    Unavailable,
)
from engram_store.backend import Backend, ObjectStat, Span
from engram_store.conformance import BackendConformance
from engram_store.faults import Call, Fault, Faulty
from engram_store.memory import MemoryBackend
from engram_store.probe import require_put_if_absent
from engram_store.s3_errors import S3Task, error_for_answer, error_for_transport
from engram_store.wrappers import Metered, Prefixed, Retrying, Usage


def retrying(inner, *, attempts=6, slept=None):
    slept = [] if slept is None else slept
    return Retrying(inner, attempts=attempts, sleep=slept.append, jitter=lambda: 1.0)


class TestRetryingOverFaults(BackendConformance):
    """Every seventh call fails, by turns before and after it is done, and nobody notices."""

    @pytest.fixture
    def backend(self):
        faults = {7 * n: (Fault.BEFORE, Fault.AFTER)[n % 2] for n in range(1, 20_000)}
        return retrying(Faulty(MemoryBackend(), faults), attempts=30)


class TestMetered(BackendConformance):
    @pytest.fixture
    def backend(self):
        return Metered(MemoryBackend())


class TestFaultless(BackendConformance):
    @pytest.fixture
    def backend(self):
        return Faulty(MemoryBackend(), {})


def test_wrappers_are_backends():
    inner = MemoryBackend()
    for wrapper in (Retrying(inner), Metered(inner), Prefixed(inner, "v"), Faulty(inner, {})):
        assert isinstance(wrapper, Backend)
        assert wrapper.url.startswith("memory:")


# Retrying


@pytest.mark.parametrize("attempts", [1, 2, 5])
def test_a_store_that_stays_away_is_given_up_after_the_attempts(attempts):
    slept = []
    faulty = Faulty(MemoryBackend(), lambda _: Fault.BEFORE)
    with pytest.raises(Unavailable):
        retrying(faulty, attempts=attempts, slept=slept).get("a")
    assert len(faulty.calls) == attempts
    assert len(slept) == attempts - 1


def test_waits_double_up_to_a_bound():
    slept = []
    with pytest.raises(Unavailable):
        retrying(Faulty(MemoryBackend(), lambda _: Fault.BEFORE), attempts=9, slept=slept).get("a")
    assert slept == pytest.approx([0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 10, 10])


@given(st.floats(0, 1, exclude_max=True))
def test_jitter_takes_off_half_of_a_wait_at_most(jitter):
    slept = []
    store = Retrying(
        Faulty(MemoryBackend(), lambda _: Fault.BEFORE),
        attempts=3,
        first_delay_s=1,
        sleep=slept.append,
        jitter=lambda: jitter,
    )
    with pytest.raises(Unavailable):
        store.stat("a")
    assert 0.5 <= slept[0] <= 1 <= slept[1] <= 2


@pytest.mark.parametrize("error", [NotFound, Denied, Exhausted, Damaged, Precondition])
def test_only_unavailable_is_repeated(error):
    faulty = Faulty(MemoryBackend(), {1: Fault.BEFORE}, error=error)
    with pytest.raises(error):
        retrying(faulty).put_if_absent("a", b"")
    assert len(faulty.calls) == 1


@pytest.mark.parametrize(
    "value", [b"", b"ours", bytearray(b"ours"), memoryview(b"ours"), memoryview(b"12345678").cast("d")]
)
def test_a_lost_answer_to_a_put_is_found_to_be_success(value):
    store = MemoryBackend()
    retrying(Faulty(store, {1: Fault.AFTER})).put_if_absent("a", value)
    assert store.get("a") == bytes(value)


@pytest.mark.parametrize("theirs", [b"them", b"ours and more", b""])
def test_a_put_that_may_have_succeeded_does_not_claim_anothers_object(theirs):
    store = MemoryBackend()
    store.put_if_absent("a", theirs)
    with pytest.raises(AlreadyExists):
        retrying(Faulty(store, {1: Fault.BEFORE})).put_if_absent("a", b"ours")
    assert store.get("a") == theirs


def test_a_put_that_was_refused_at_once_does_not_compare():
    """Equal bytes there before our first attempt are still another's object."""
    store = MemoryBackend()
    store.put_if_absent("a", b"same")
    metered = Metered(store)
    with pytest.raises(AlreadyExists):
        retrying(metered).put_if_absent("a", b"same")
    assert metered.usage("get").calls == 0


def test_a_comparison_that_fails_is_repeated_too():
    store = MemoryBackend()
    faults = {1: Fault.AFTER, 3: Fault.BEFORE, 5: Fault.BEFORE, 8: Fault.AFTER}
    retrying(Faulty(store, faults)).put_if_absent("a", b"ours")
    assert store.get("a") == b"ours"


def test_an_object_of_another_size_is_not_fetched_to_be_compared():
    store = MemoryBackend()
    store.put_if_absent("a", bytes(1000))
    metered = Metered(store)
    with pytest.raises(AlreadyExists):
        retrying(Faulty(metered, {1: Fault.BEFORE})).put_if_absent("a", b"ours")
    assert metered.usage("get").calls == 0


@given(st.integers(0, 12), st.integers(0, 12))
def test_a_broken_listing_goes_on_behind_what_was_yielded(first, second):
    store = MemoryBackend()
    keys = [f"log/{number:02d}" for number in range(10)]
    for key in keys:
        store.put_if_absent(key, b"")
    faulty = Faulty(store, {1 + first: Fault.PARTIAL, 1 + second: Fault.AFTER, 3: Fault.BEFORE})
    assert [stat.key for stat in retrying(faulty).list("log/")] == keys


def test_a_listing_that_never_goes_on_is_given_up():
    store = MemoryBackend()
    store.put_if_absent("a", b"")
    store.put_if_absent("b", b"")
    with pytest.raises(Unavailable):
        list(retrying(Faulty(store, lambda _: Fault.AFTER), attempts=3).list(""))


def test_no_attempts_are_refused():
    with pytest.raises(ValueError, match="attempt"):
        Retrying(MemoryBackend(), attempts=0)


# Metered


def test_a_ranged_read_is_seen_to_move_only_its_bytes():
    store = Metered(MemoryBackend())
    store.put_if_absent("a", memoryview(bytes(1000)))
    store.get("a", Span(10, 7))
    store.get("a")
    store.stat("a")
    list(store.list(""))
    store.delete("a")
    assert store.usage("put_if_absent") == Usage(calls=1, bytes_in=1000)
    assert store.usage("get") == Usage(calls=2, bytes_out=1007)
    assert [store.usage(name).calls for name in ("stat", "list", "delete")] == [1, 1, 1]
    store.reset()
    assert store.usage("get") == Usage()


def test_a_failed_call_counts_and_moves_nothing():
    store = Metered(MemoryBackend())
    store.put_if_absent("a", b"12")
    with pytest.raises(AlreadyExists):
        store.put_if_absent("a", b"345")
    with pytest.raises(NotFound):
        store.get("b")
    assert store.usage("put_if_absent") == Usage(calls=2, bytes_in=2)
    assert store.usage("get") == Usage(calls=1)


def test_threads_lose_no_count():
    store = Metered(MemoryBackend())
    store.put_if_absent("a", b"123")
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: store.get("a"), range(4000)))
    assert store.usage("get") == Usage(calls=4000, bytes_out=12000)


# Prefixed


def test_a_prefix_keeps_its_neighbours_out():
    whole = MemoryBackend()
    part = Prefixed(whole, "a/b/")
    part.put_if_absent("c", b"1")
    whole.put_if_absent("a/b-c", b"")
    whole.put_if_absent("a/bc", b"")
    assert list(part.list("")) == [ObjectStat("c", 1)]
    assert [stat.key for stat in whole.list("a/b/")] == ["a/b/c"]
    assert part.url == "memory:/a/b"


@pytest.mark.parametrize("prefix", ["", "/", "/a", "..", "a/../b", ".a"])
def test_a_prefix_that_is_no_key_is_refused(prefix):
    with pytest.raises(InvalidInput):
        Prefixed(MemoryBackend(), prefix)


# Faulty


def test_a_fault_before_does_nothing_and_one_after_does_all():
    store = MemoryBackend()
    faulty = Faulty(store, {1: Fault.BEFORE, 2: Fault.AFTER})
    with pytest.raises(Unavailable):
        faulty.put_if_absent("a", b"1")
    assert list(store.list("")) == []
    with pytest.raises(Unavailable):
        faulty.put_if_absent("a", b"1")
    assert store.get("a") == b"1"
    assert faulty.calls == (Call(1, "put_if_absent", "a"), Call(2, "put_if_absent", "a"))


def test_a_partial_put_leaves_half_and_a_partial_get_answers_half():
    store = MemoryBackend()
    faulty = Faulty(store, {1: Fault.PARTIAL, 3: Fault.PARTIAL})
    with pytest.raises(Unavailable):
        faulty.put_if_absent("a", b"123456")
    assert faulty.get("a") == b"123"
    assert faulty.get("a") == b"1"


def test_a_duplicated_put_answers_as_the_second():
    faulty = Faulty(MemoryBackend(), {1: Fault.DUPLICATE, 2: Fault.DUPLICATE})
    with pytest.raises(AlreadyExists):
        faulty.put_if_absent("a", b"1")
    faulty.delete("a")
    assert list(faulty.list("")) == []


def test_a_flip_changes_one_bit():
    faulty = Faulty(MemoryBackend(), {2: Fault.FLIP})
    faulty.put_if_absent("a", bytes(5))
    assert faulty.get("a") == bytes([0, 0, 1, 0, 0])
    assert faulty.get("a") == bytes(5)


def test_a_schedule_may_look_at_the_call_and_kill_the_writer():
    class Killed(BaseException):
        pass

    faulty = Faulty(MemoryBackend(), lambda call: Fault.BEFORE if call.key.startswith("log/") else None, error=Killed)
    faulty.put_if_absent("o/a", b"")
    with pytest.raises(Killed):
        retrying(faulty).put_if_absent("log/0", b"")


def test_calls_are_numbered_once_each_by_many_threads():
    faulty = Faulty(MemoryBackend(), {})
    start = threading.Barrier(8)

    def work(number):
        start.wait()
        for slot in range(200):
            faulty.put_if_absent(f"{number}/{slot}", b"")

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
    assert [call.number for call in faulty.calls] == list(range(1, 1601))


# The probe


class Overwriting(MemoryBackend):
    """What rclone's S3 does: the condition is taken and ignored."""

    def put_if_absent(self, key, value):
        self.delete(key)
        super().put_if_absent(key, value)


class Forgetful(MemoryBackend):
    """A store that says yes to everybody and keeps the first."""

    def put_if_absent(self, key, value):
        try:
            super().put_if_absent(key, value)
        except AlreadyExists:
            return


class Replacing(MemoryBackend):
    """A store that says no and overwrites."""

    def put_if_absent(self, key, value):
        try:
            super().put_if_absent(key, value)
        except AlreadyExists:
            self.delete(key)
            super().put_if_absent(key, value)
            raise


@pytest.mark.parametrize("kind", [Overwriting, Forgetful, Replacing])
def test_the_probe_refuses_a_store_without_put_if_absent(kind):
    store = kind()
    with pytest.raises(Precondition, match="use another store"):
        require_put_if_absent(store, "v/")
    assert list(store.list("")) == []


def test_the_probe_survives_lost_answers_and_costs_four_calls():
    require_put_if_absent(retrying(Faulty(MemoryBackend(), {1: Fault.AFTER, 4: Fault.AFTER, 6: Fault.AFTER})))
    faulty = Faulty(MemoryBackend(), {})
    require_put_if_absent(faulty, "v/x/", random_name=lambda: "name")
    assert [call.operation for call in faulty.calls] == ["put_if_absent", "put_if_absent", "get", "delete"]
    assert {call.key for call in faulty.calls} == {"v/x/probe-name"}


def test_the_probe_accepts_a_store_in_which_nothing_can_be_deleted():
    class Kept(MemoryBackend):
        def delete(self, key):
            raise Denied(key)

    require_put_if_absent(Kept())


# What S3 answers


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (409, "ConditionalRequestConflict", Unavailable),
        (503, "SlowDown", Unavailable),
        (500, "InternalError", Unavailable),
        (400, "RequestTimeout", Unavailable),
        (400, "BadDigest", Unavailable),
        (429, "TooManyRequests", Unavailable),
        (507, "InsufficientStorage", Exhausted),
        (403, "QuotaExceeded", Denied),
        (400, "QuotaExceeded", Exhausted),
        (403, "AccessDenied", Denied),
        (403, "SignatureDoesNotMatch", Denied),
        (400, "ExpiredToken", Denied),
        (404, "NoSuchBucket", NotFound),
        (404, "NoSuchKey", NotFound),
        (301, "PermanentRedirect", Precondition),
        (400, "AuthorizationHeaderMalformed", Precondition),
        (400, "EntityTooLarge", InvalidInput),
        (501, "NotImplemented", Unavailable),
        (405, "MethodNotAllowed", Precondition),
    ],
)
def test_an_answer_of_s3_is_the_error_of_what_to_do_next(status, code, kind):
    answer = ClientError(
        {"Error": {"Code": code, "Message": "StringToSign: secret"}, "ResponseMetadata": {"HTTPStatusCode": status}},
        "PutObject",
    )
    error = error_for_answer(answer, S3Task("read", "bucket", "v/a"))
    assert type(error) is kind
    assert "bucket" in str(error)
    assert "StringToSign" not in str(error)
    assert code == "NoSuchBucket" or "'v/a'" in str(error)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (EndpointConnectionError(endpoint_url="http://x"), Unavailable),
        (ConnectTimeoutError(endpoint_url="http://x"), Unavailable),
        (ReadTimeoutError(endpoint_url="http://x"), Unavailable),
        (SSLError(endpoint_url="http://x", error="e"), Unavailable),
        (IncompleteReadError(actual_bytes=1, expected_bytes=2), Unavailable),
        (ConnectionResetError(), Unavailable),
        (FlexibleChecksumError(error_msg="e"), Damaged),
        (NoCredentialsError(), Denied),
        (ProfileNotFound(profile="p"), Precondition),
    ],
)
def test_a_broken_connection_is_the_error_of_what_to_do_next(error, kind):
    assert type(error_for_transport(error, S3Task("write", "bucket", "v/a"))) is kind
