"""What is particular to objects in a bucket: rights, settings, servers that misbehave, and answers that are lost."""

from __future__ import annotations

import contextlib
import os
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

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
from engram_store.backend import Span
from engram_store.location import open_location
from engram_store.probe import require_put_if_absent
from engram_store.s3 import S3Backend
from engram_store.wrappers import Retrying

MIB = 1024 * 1024


def test_a_listing_out_of_order_is_refused_instead_of_trusted(open_at, seaweedfs):
    backend = open_at(seaweedfs)
    backend.put_if_absent("a/b", b"")
    backend.put_if_absent("a-b", b"")
    with pytest.raises(Precondition, match="in order of key"):
        list(backend.list(""))
    assert [stat.key for stat in backend.list("a/")] == ["a/b"]


def test_the_buckets_of_a_server_that_overwrites_are_refused(open_at, rclone_s3):
    """The negative control: rclone takes the condition and ignores it."""
    backend = open_at(rclone_s3)
    with pytest.raises(Precondition, match=r"s3://engram-tests.*does not honour put-if-absent"):
        require_put_if_absent(backend)
    assert list(backend.list("")) == []


def test_a_reader_may_not_write(open_at, seaweedfs):
    backend = open_at(seaweedfs.as_reader())
    assert list(backend.list("")) == []
    with pytest.raises(Denied, match=r"write '\w+/v/a' in s3://engram-tests"):
        backend.put_if_absent("v/a", b"value")
    with pytest.raises(Denied, match=r"delete '\w+/v/a' in s3://engram-tests"):
        backend.delete("v/a")
    with pytest.raises(Denied):
        require_put_if_absent(backend)


def test_a_wrong_secret_is_denied_and_not_repeated(open_at, seaweedfs):
    backend = open_at(seaweedfs.with_secret("not-the-secret"))
    for ask in (lambda: backend.put_if_absent("a", b""), lambda: backend.get("a"), lambda: list(backend.list(""))):
        with pytest.raises(Denied, match="engram-tests") as caught:
            ask()
        assert "not-the-secret" not in str(caught.value)


def test_missing_credentials_are_denied_with_the_next_step(use_settings, monkeypatch, seaweedfs):
    use_settings(seaweedfs.environment)
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(Denied, match="AWS_ACCESS_KEY_ID"):
        S3Backend("engram-tests").get("a")


@pytest.mark.parametrize("server", ["seaweedfs", "moto_s3"])
def test_a_missing_bucket_is_named(use_settings, request, server):
    use_settings(request.getfixturevalue(server).environment)
    backend = S3Backend("no-such-bucket")
    for ask in (lambda: backend.put_if_absent("a", b""), lambda: backend.get("a"), lambda: list(backend.list(""))):
        with pytest.raises(NotFound, match="no-such-bucket"):
            ask()


def test_a_server_that_does_not_answer_is_unavailable(use_settings, seaweedfs):
    use_settings(seaweedfs.environment)
    backend = S3Backend("engram-tests", endpoint_url="http://127.0.0.1:1")
    with pytest.raises(Unavailable, match="'v/a' in s3://engram-tests"):
        backend.put_if_absent("v/a", b"value")
    with pytest.raises(Unavailable):
        list(backend.list(""))


@pytest.mark.parametrize("endpoint", ["no url", "ftp://127.0.0.1", "http://", "https://user:pass word@"])
def test_an_endpoint_that_is_no_url_is_refused(use_settings, seaweedfs, endpoint):
    use_settings(seaweedfs.environment | {"ENGRAM_S3_ENDPOINT_URL": endpoint})
    with pytest.raises((InvalidInput, Precondition, Unavailable)) as caught:
        S3Backend("engram-tests").stat("a")
    assert "pass word" not in str(caught.value)


def test_the_endpoint_may_come_from_the_aws_settings(use_settings, seaweedfs):
    environment = dict(seaweedfs.environment)
    environment["AWS_ENDPOINT_URL_S3"] = environment.pop("ENGRAM_S3_ENDPOINT_URL")
    use_settings(environment)
    backend = open_location(seaweedfs.location())
    backend.put_if_absent("a", b"value")
    assert backend.get("a") == b"value"


def test_a_profile_that_does_not_exist_is_a_setting_to_mend(use_settings, seaweedfs):
    use_settings(seaweedfs.environment | {"AWS_PROFILE": "nobody"})
    with pytest.raises(Precondition, match="profile"):
        S3Backend("engram-tests")


def test_a_whole_pack_goes_in_one_put(open_at, seaweedfs):
    backend = open_at(seaweedfs)
    value = os.urandom(MIB) * 72
    backend.put_if_absent("v/o/ab/pack", memoryview(value))
    assert backend.get("v/o/ab/pack", Span(71 * MIB + 5, 1000)) == value[71 * MIB + 5 :][:1000]
    assert backend.get("v/o/ab/pack") == value


# A server that answers as it is told


class Script:
    """Objects in memory behind real HTTP; each PUT is met by the next of `faults`, and later ones by none.

    A fault is a status to answer with, undone; `"drop"` keeps the object and closes the connection without an answer.
    """

    def __init__(self, faults=(), *, reply=None):
        self.faults = list(faults)
        self.reply = reply
        self.objects: dict[str, bytes] = {}
        self.puts = 0


class Scripted(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: ThreadingHTTPServer
    script: Script

    def do_PUT(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.script.puts += 1
        fault = self.script.faults.pop(0) if self.script.faults else None
        if isinstance(fault, int):
            return self.answer(fault)
        if self.path in self.script.objects:
            return self.answer(412)
        assert self.headers["If-None-Match"] == "*"
        assert self.headers["x-amz-checksum-crc32"]
        self.script.objects[self.path] = body
        if fault == "drop":
            self.close_connection = True
            return None
        return self.answer(200)

    def do_GET(self):
        if self.script.reply:
            return self.answer(*self.script.reply)
        if self.path not in self.script.objects:
            return self.answer(404)
        return self.answer(200, self.script.objects[self.path])

    def do_HEAD(self):
        return self.do_GET()

    def answer(self, status, body=b"", headers=()):
        self.send_response(status)
        for name, value in dict(headers).items():
            self.send_header(name, value)
        if "Content-Length" not in dict(headers):
            self.send_header("Content-Length", str(len(body)))
        # Said, not only done: a client that meets a closed connection counts one more failure than the script has.
        self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_):
        """Say nothing."""


@pytest.fixture
def scripted(use_settings):
    """Start a server for a script; return its bucket as an `S3Backend` without retries."""
    with contextlib.ExitStack() as running:

        def start(script):
            server = running.enter_context(
                ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (Scripted,), {"script": script}))
            )
            thread = threading.Thread(target=server.serve_forever)
            thread.start()
            running.callback(thread.join)
            running.callback(server.shutdown)
            use_settings({"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret"})
            return S3Backend("bucket", endpoint_url=f"http://127.0.0.1:{server.server_port}")

        yield start


def patient(backend):
    return Retrying(backend, sleep=lambda _: None)


def test_a_put_whose_answer_is_lost_succeeds_when_it_is_repeated(scripted):
    script = Script(["drop"])
    patient(scripted(script)).put_if_absent("v/a", b"ours")
    assert script.puts == 2
    assert script.objects == {"/bucket/v/a": b"ours"}


def test_a_conflict_of_two_writers_is_settled_by_repeating(scripted):
    """Amazon answers 409 to a conditional PUT that meets another at the same moment."""
    script = Script([409, 409, 503, 500])
    patient(scripted(script)).put_if_absent("v/a", b"ours")
    assert script.puts == 5
    script.faults = [409]
    with pytest.raises(AlreadyExists):
        patient(scripted(script)).put_if_absent("v/a", b"theirs")
    assert script.objects == {"/bucket/v/a": b"ours"}


@pytest.mark.parametrize("fault", ["drop", 409, 500, 503])
def test_nothing_repeats_a_put_unasked(scripted, fault):
    """A repetition inside boto3 would be told that the key is taken, by itself."""
    script = Script([fault])
    with pytest.raises(Unavailable):
        scripted(script).put_if_absent("v/a", b"ours")
    assert script.puts == 1


def test_a_full_store_exhausts_at_once(scripted):
    script = Script([507])
    with pytest.raises(Exhausted, match="'v/a'"):
        patient(scripted(script)).put_if_absent("v/a", b"ours")
    assert script.puts == 1


def test_a_server_that_ignores_ranges_is_refused(scripted):
    with pytest.raises(Precondition, match="range"):
        scripted(Script(reply=(200, b"all of it"))).get("v/a", Span(1, 2))


def test_an_answer_that_breaks_off_is_not_taken_for_the_object(scripted):
    with pytest.raises(Unavailable):
        scripted(Script(reply=(200, b"half", {"Content-Length": "8"}))).get("v/a")


def test_bytes_without_their_checksum_are_damage(scripted):
    reply = (200, b"changed", {"x-amz-checksum-crc32": "AAAAAA==", "x-amz-checksum-type": "FULL_OBJECT"})
    with pytest.raises(Damaged, match="checksum"):
        scripted(Script(reply=reply)).get("v/a")


def test_a_read_that_the_server_does_not_understand_is_left_to_boto3(scripted):
    backend = scripted(Script(reply=(400, b"<Error><Code>InvalidRequest</Code></Error>")))
    for _ in range(2):
        with pytest.raises(Precondition, match=r"refuses the request \(InvalidRequest, status 400\)"):
            backend.get("v/a", Span(1, 2))


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [(404, "NoSuchKey", NotFound), (403, "AccessDenied", Denied), (503, "SlowDown", Unavailable)],
)
def test_a_refused_read_says_why(scripted, status, code, kind):
    with pytest.raises(kind, match="v/a"):
        scripted(Script(reply=(status, f"<Error><Code>{code}</Code></Error>".encode()))).get("v/a", Span(1, 2))


def test_a_read_through_a_proxy_is_left_to_boto3(scripted, monkeypatch):
    script = Script()
    backend = scripted(script)
    backend.put_if_absent("v/a", b"ours")
    assert backend.get("v/a") == b"ours"
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("NO_PROXY", "")
    with pytest.raises(Unavailable):
        S3Backend("bucket", endpoint_url=backend._client.meta.endpoint_url).get("v/a")
