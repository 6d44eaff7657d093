"""Objects in a bucket of S3, or of any server that speaks it and honours `If-None-Match: *`.

One object is one PUT: values are at most a pack and a few MiB more, far below the 5 GiB that one PUT may carry. Nothing is
retried here, not even by boto3: a repetition that nobody knows of would take the refusal of its own first success for
another writer's. `engram_store.wrappers.Retrying` does it, and `open_location` puts it around.
"""

from __future__ import annotations

import contextlib
import os
import re
import threading
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import boto3
import botocore.loaders
import botocore.session
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from urllib3.exceptions import HTTPError

from engram_format.errors import InvalidInput, Precondition
from engram_store.backend import Buffer, ObjectStat, Span
from engram_store.object_key import checked_key, checked_prefix, ends_before, key_is_taken
from engram_store.s3_errors import S3Task, answers_range_error, answers_taken, error_for_answer, error_for_transport
from engram_store.s3_get import SignedGets

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client

_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+)")
_CONNECTIONS = 32
_CONNECT_TIMEOUT_S = 10
_READ_TIMEOUT_S = 60
_MAX_CLIENTS = 4

Settings = tuple[str | None, tuple[tuple[str, str], ...], tuple[tuple[int, int], ...]]

_loader = botocore.loaders.create_loader()
"""Holds the description of S3, which takes long to read."""
_clients_lock = threading.Lock()
_clients: OrderedDict[Settings, tuple[S3Client, SignedGets]] = OrderedDict()


class S3Backend:
    """A `Backend` in the bucket `bucket`.

    Credentials, region and endpoint come from the standard AWS settings; `ENGRAM_S3_ENDPOINT_URL`, or `endpoint_url`, names
    another server, which is then spoken to with the bucket in the path. They are read once, here; the network is not used
    before the first operation.
    """

    def __init__(self, bucket: str, *, endpoint_url: str | None = None) -> None:
        self._bucket = bucket
        with self._errors("use"):
            try:
                self._client, self._gets = _client(endpoint_url or os.environ.get("ENGRAM_S3_ENDPOINT_URL") or None)
            except ValueError as error:
                raise InvalidInput(
                    "the endpoint for S3 is no URL; set ENGRAM_S3_ENDPOINT_URL to one such as https://s3.example.org"
                ) from error

    @property
    def url(self) -> str:
        """`s3://` and the bucket."""
        return f"s3://{self._bucket}"

    def get(self, key: str, span: Span | None = None) -> bytes:
        """Return the object, or the bytes of `span`, which is all that crosses the network."""
        checked_key(key)
        with self._errors("read", key):
            try:
                found = self._gets.get(
                    self._bucket, key, span, check_range=lambda told: self._check_range(key, span, told)
                )
                return self._get_by_boto(key, span) if found is None else found
            except ClientError as error:
                if span is None or not answers_range_error(error):
                    raise
                raise ends_before(self.url, key, span=span, size=self.stat(key).size) from error

    def put_if_absent(self, key: str, value: Buffer) -> None:
        """Create the object with one conditional PUT; the server checks a checksum of what arrives."""
        checked_key(key)
        # boto3 takes no memoryview, and copying one is quick beside sending it.
        body = value if isinstance(value, bytes) else bytes(value)
        with self._errors("write", key):
            try:
                self._client.put_object(Bucket=self._bucket, Key=key, Body=body, IfNoneMatch="*")
            except ClientError as error:
                if not answers_taken(error):
                    raise
                raise key_is_taken(self.url, key) from error

    def stat(self, key: str) -> ObjectStat:
        """Return the size of the object."""
        checked_key(key)
        with self._errors("read", key):
            return ObjectStat(key, self._client.head_object(Bucket=self._bucket, Key=key)["ContentLength"])

    def list(self, prefix: str, start_after: str = "") -> Iterator[ObjectStat]:
        """Yield the objects, a page of the server's at a time in memory.

        Some servers (SeaweedFS) walk through folders. They put `a/b` before `a-b`, which raises `Precondition`; and they pass over
        what is in a folder when `start_after` is the folder's bare name. An archive has no such neighbours and no such names.
        """
        checked_prefix(prefix)
        return self._pages(prefix, start_after)

    def delete(self, key: str) -> None:
        """Remove the object; in a bucket that keeps versions, hide it."""
        checked_key(key)
        with self._errors("delete", key):
            self._client.delete_object(Bucket=self._bucket, Key=key)

    def _get_by_boto(self, key: str, span: Span | None) -> bytes:
        if span is None:
            return self._client.get_object(Bucket=self._bucket, Key=key)["Body"].read()
        answer = self._client.get_object(Bucket=self._bucket, Key=key, Range=f"bytes={span.start}-{span.stop - 1}")
        with contextlib.closing(answer["Body"]) as body:
            self._check_range(key, span, answer.get("ContentRange", ""))
            return body.read()

    def _pages(self, prefix: str, start_after: str) -> Iterator[ObjectStat]:
        while True:
            with self._errors("list", prefix):
                page = self._client.list_objects_v2(Bucket=self._bucket, Prefix=prefix, StartAfter=start_after)
            for found in page.get("Contents", []):
                if found["Key"] <= start_after:
                    raise Precondition(
                        f"{self.url} does not list {found['Key']!r} in order of key, behind {start_after!r}; use another store"
                    )
                # A page begins behind the last key rather than at a token: every server has that, and it survives a restart.
                start_after = found["Key"]
                yield ObjectStat(start_after, found["Size"])
            if not page.get("IsTruncated"):
                return
            if not page.get("Contents"):
                raise Precondition(f"{self.url} says that a listing goes on but lists nothing more; use another store")

    def _check_range(self, key: str, span: Span | None, content_range: str) -> None:
        """Refuse an answer that carries other bytes than were asked for, before reading any."""
        if span is None:
            return
        found = _CONTENT_RANGE.fullmatch(content_range)
        if found is None or int(found[1]) != span.start:
            raise Precondition(f"{self.url} does not answer requests for a range of bytes; use another store")
        if int(found[2]) != span.stop - 1:
            raise ends_before(self.url, key, span=span, size=int(found[3]))

    @contextlib.contextmanager
    def _errors(self, doing: str, key: str = "") -> Iterator[None]:
        """Turn every error of boto3 and the network into one of ours."""
        try:
            yield
        except ClientError as error:
            raise error_for_answer(error, S3Task(doing, self._bucket, key)) from error
        except (BotoCoreError, HTTPError, OSError) as error:
            raise error_for_transport(error, S3Task(doing, self._bucket, key)) from error


def _client(endpoint_url: str | None) -> tuple[S3Client, SignedGets]:
    """Return a client for the settings as they are now: the one made before, if nothing has changed since.

    Making one takes boto3 longer than most reads take; clients may be shared by threads.
    """
    settings = _settings(endpoint_url)
    with _clients_lock:
        if settings not in _clients:
            _clients[settings] = _connect(endpoint_url)
        _clients.move_to_end(settings)
        while len(_clients) > _MAX_CLIENTS:
            _clients.popitem(last=False)
        return _clients[settings]


def _settings(endpoint_url: str | None) -> Settings:
    """Return all that a client is made from: the environment, and when the files that it may name were changed."""
    told = {
        name: value
        for name, value in os.environ.items()
        if name.startswith("AWS_") or name.upper().endswith("_PROXY") or name in ("HOME", "PATH", "REQUESTS_CA_BUNDLE")
    }
    files = [
        Path(told.get(name, default)).expanduser()
        for name, default in (
            ("AWS_CONFIG_FILE", "~/.aws/config"),
            ("AWS_SHARED_CREDENTIALS_FILE", "~/.aws/credentials"),
        )
    ]
    return (endpoint_url, tuple(sorted(told.items())), tuple(map(_changed, files)))


def _changed(file: Path) -> tuple[int, int]:
    try:
        found = file.stat()
    except (OSError, RuntimeError):
        return 0, 0
    return found.st_mtime_ns, found.st_size


def _connect(endpoint_url: str | None) -> tuple[S3Client, SignedGets]:
    """Return a client of its own session, so that threads and tests share no settings."""
    core = botocore.session.Session()
    core.register_component("data_loader", _loader)
    client = _new_client(boto3.Session(botocore_session=core), endpoint_url)
    gets = SignedGets(client, core, connect_s=_CONNECT_TIMEOUT_S, read_s=_READ_TIMEOUT_S, connections=_CONNECTIONS)
    return client, gets


def _new_client(session: boto3.Session, endpoint_url: str | None) -> S3Client:
    config = Config(
        connect_timeout=_CONNECT_TIMEOUT_S,
        read_timeout=_READ_TIMEOUT_S,
        max_pool_connections=_CONNECTIONS,
        tcp_keepalive=True,
        retries={"total_max_attempts": 1, "mode": "standard"},
        user_agent=f"engram boto3/{boto3.__version__}",  # boto3's own is put together anew for each request, slowly
    )
    # Part of every signature. boto3 does not read AWS_REGION as Amazon's other kits do; other servers take any region.
    region = os.environ.get("AWS_REGION") or session.region_name or "us-east-1"
    by_path = config.merge(Config(s3={"addressing_style": "path"}))
    if endpoint_url is not None and not _is_amazons(endpoint_url):
        return session.client("s3", region_name=region, endpoint_url=endpoint_url, config=by_path)
    client = session.client("s3", region_name=region, endpoint_url=endpoint_url, config=config)
    if _is_amazons(client.meta.endpoint_url):
        return client
    # Known only now, because the endpoint may also come from the AWS settings.
    return session.client("s3", region_name=region, endpoint_url=endpoint_url, config=by_path)


def _is_amazons(endpoint_url: str) -> bool:
    return (urlsplit(endpoint_url).hostname or "").endswith((".amazonaws.com", ".amazonaws.com.cn"))
