"""Where an archive and its keystore are, written as text: a folder, a `file://` URL, or `s3://bucket/prefix`."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

from engram_format.errors import InvalidInput
from engram_store.backend import Backend
from engram_store.directory import DirectoryBackend
from engram_store.object_key import checked_prefix
from engram_store.wrappers import Prefixed, Retrying

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,253}[A-Za-z0-9]")
_S3 = "s3://"
_KEYSTORE_SUFFIX = ".keys"


def open_location(url: str) -> Backend:
    """Return the backend for a folder's path, a `file://` URL or `s3://bucket/prefix`.

    A folder need not exist: writing creates it, reading raises `NotFound`. S3 is reached with the standard AWS settings, with
    retries, and `ENGRAM_S3_ENDPOINT_URL` names another server than Amazon's. Raises `InvalidInput` for any other text.
    """
    scheme = _scheme_of(url)
    if scheme == "s3":
        return _open_s3(url)
    return DirectoryBackend(_file_url_path(url) if scheme == "file" else Path(url))


def keystore_location(archive_url: str) -> str:
    """Return the place beside an archive where its wrapped keys are kept unless another is chosen: `<archive>.keys`.

    Raises `InvalidInput` where nothing can be beside the archive: it fills a bucket or is the root of a file system.
    """
    scheme = _scheme_of(archive_url)
    if scheme == "s3":
        bucket, prefix = _bucket_and_prefix(archive_url)
        if not prefix:
            raise InvalidInput(
                f"{archive_url} fills a whole bucket, so its keystore cannot lie beside it; "
                f"use s3://{bucket}/PREFIX or name a keystore"
            )
        return f"{_S3}{bucket}/{prefix}{_KEYSTORE_SUFFIX}"
    path = _file_url_path(archive_url) if scheme == "file" else Path(archive_url)
    if path.name in {"", ".."}:
        # `.`, `..` and `/` have no name to add a suffix to until they are resolved.
        path = path.resolve()
    if not path.name:
        raise InvalidInput(
            f"{archive_url!r} is the root of a file system, so no keystore can lie beside it; name a keystore"
        )
    beside = path.with_name(path.name + _KEYSTORE_SUFFIX)
    return beside.as_uri() if scheme == "file" else str(beside)


def _scheme_of(url: str) -> str:
    if not url or "\0" in url:
        raise InvalidInput(f"a location is a folder, a file:// URL or s3://bucket/prefix, not {url!r}")
    found = _SCHEME.match(url)
    if found is None:
        return ""
    scheme = found[1]
    if scheme not in {"file", "s3"}:
        raise InvalidInput(
            f"a location is a folder, a file:// URL or s3://bucket/prefix, and {scheme}:// is none of them"
        )
    return scheme


def _file_url_path(url: str) -> Path:
    parts = urlsplit(url)
    path = unquote(parts.path)
    if (
        parts.netloc not in {"", "localhost"}
        or not path.startswith("/")
        or parts.query
        or parts.fragment
        or "\0" in path
    ):
        raise InvalidInput(
            f"a file URL is file:// and an absolute path on this machine, such as file:///data/archive, not {url!r}"
        )
    return Path(path)


def _bucket_and_prefix(url: str) -> tuple[str, str]:
    bucket, _, prefix = url.removeprefix(_S3).partition("/")
    if not _BUCKET.fullmatch(bucket):
        # The text is not repeated: people paste credentials in front of an `@`.
        raise InvalidInput(
            "an S3 location is s3://bucket/prefix and carries no credentials; set those in the AWS settings"
        )
    return bucket, checked_prefix(prefix.rstrip("/"))


def _open_s3(url: str) -> Backend:
    # Imported here because loading boto3 takes longer than most commands on a folder.
    from engram_store.s3 import S3Backend

    bucket, prefix = _bucket_and_prefix(url)
    store = Retrying(S3Backend(bucket))
    return Prefixed(store, prefix) if prefix else store
