"""Reading objects of S3 with boto3's signer and connections, and without the rest of boto3, which takes most of a small read.

What is left out are the steps in which boto3 finds the endpoint, puts the request together and takes the answer apart, anew
each time: three quarters of its time. The answers that need more than that, such as a redirection to another region, are
left to boto3.
"""

from __future__ import annotations

import contextlib
import os
import re
import socket
import threading
import zlib
from base64 import b64decode
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote, urlsplit

import botocore
import urllib3
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.exceptions import ClientError, FlexibleChecksumError
from botocore.httpsession import get_cert_path
from botocore.utils import get_environ_proxies
from urllib3.connection import HTTPConnection

from engram_store.backend import Span

if TYPE_CHECKING:
    from botocore.credentials import Credentials
    from botocore.session import Session
    from mypy_boto3_s3.client import S3Client
    from urllib3 import BaseHTTPResponse, HTTPConnectionPool

_SIGNATURES: Final = frozenset({"s3v4", "v4"})
_OF_ONE_ZONE: Final = "--x-s3"
"""How names of buckets end whose requests are signed with keys of a session."""
_LEFT_TO_BOTO: Final = frozenset({301, 307, 400})
_MAX_ERROR_BYTES: Final = 64 * 1024
_CODE: Final = re.compile(rb"<Code>([A-Za-z0-9.]+)</Code>")
_ANY_KEY: Final = "key"


@dataclass(frozen=True, slots=True)
class _Place:
    """Where the objects of a bucket are: connections to a server, and what their paths begin with."""

    pool: HTTPConnectionPool
    origin: str
    path: str
    region: str


class SignedGets:
    """GET requests with the settings, credentials and endpoint of a client of boto3. Thread-safe."""

    def __init__(self, client: S3Client, session: Session, *, connect_s: int, read_s: int, connections: int) -> None:
        self._client = client
        self._credentials: Credentials | None = session.get_credentials()
        self._agent = f"engram boto3/{botocore.__version__}"
        self._places: dict[str, _Place | None] = {}
        self._lock = threading.Lock()
        bundle = session.get_config_variable("ca_bundle") or os.environ.get("REQUESTS_CA_BUNDLE")
        self._pools = urllib3.PoolManager(
            maxsize=connections,
            timeout=urllib3.Timeout(connect=connect_s, read=read_s),
            retries=False,
            cert_reqs="CERT_REQUIRED",
            ca_certs=bundle or get_cert_path(verify=True),
            socket_options=[*HTTPConnection.default_socket_options, (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)],
        )

    def get(self, bucket: str, key: str, span: Span | None, *, check_range: Callable[[str], None]) -> bytes | None:
        """Return an object, or the bytes of `span`; `None` where boto3 is to be asked.

        `check_range` is told the Content-Range of an answer to `span` before any of it is read. Raises what boto3 raises.
        """
        place = self._place(bucket)
        if place is None or self._credentials is None:
            return None
        wanted = {"User-Agent": self._agent}
        if span is None:
            wanted["x-amz-checksum-mode"] = "ENABLED"
        else:
            wanted["Range"] = f"bytes={span.start}-{span.stop - 1}"
        path = place.path + quote(key, safe="/~")
        request = AWSRequest(method="GET", url=place.origin + path, headers=wanted)
        S3SigV4Auth(self._credentials.get_frozen_credentials(), "s3", place.region).add_auth(request)
        answer = place.pool.urlopen(
            "GET",
            path,
            headers=dict(request.headers.items()),
            preload_content=False,
            decode_content=False,
            redirect=False,
        )
        with contextlib.closing(answer):
            if answer.status in _LEFT_TO_BOTO:
                self._places[bucket] = None
                return None
            if answer.status not in (200, 206):
                raise _refused(answer)
            if span is not None:
                check_range(answer.headers.get("Content-Range", ""))
            body = answer.read()
        return body if span is not None else _checked(body, answer.headers.get("x-amz-checksum-crc32", ""))

    def _place(self, bucket: str) -> _Place | None:
        with self._lock:
            if bucket not in self._places:
                self._places[bucket] = self._found_place(bucket)
            return self._places[bucket]

    def _found_place(self, bucket: str) -> _Place | None:
        signature = getattr(self._client.meta.config, "signature_version", None)
        if signature not in _SIGNATURES or bucket.endswith(_OF_ONE_ZONE):
            return None
        # What boto3 signs for others is the one place where it tells the URL that it has found.
        url = urlsplit(self._client.generate_presigned_url("get_object", Params={"Bucket": bucket, "Key": _ANY_KEY}))
        origin = f"{url.scheme}://{url.netloc}"
        if get_environ_proxies(origin):
            return None
        pool = self._pools.connection_from_url(origin)
        return _Place(pool, origin, url.path.removesuffix(_ANY_KEY), self._client.meta.region_name)


def _refused(answer: BaseHTTPResponse) -> ClientError:
    """Return the error that boto3 makes of a refusal."""
    told = _CODE.search(answer.read(_MAX_ERROR_BYTES))
    said: Any = {
        "Error": {"Code": told[1].decode() if told else str(answer.status)},
        "ResponseMetadata": {"HTTPStatusCode": answer.status},
    }
    return ClientError(said, "GetObject")


def _checked(body: bytes, checksum: str) -> bytes:
    """Return a body; raises boto3's error where it does not have the checksum with which it was put, if that is told."""
    if checksum and "-" not in checksum and int.from_bytes(b64decode(checksum), "big") != zlib.crc32(body):
        raise FlexibleChecksumError(error_msg="the bytes do not have the CRC32 that was stored with them")
    return body
