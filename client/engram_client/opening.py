"""`open(url)`: the one way in, whichever door the URL names."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from engram_format.errors import InvalidInput

if TYPE_CHECKING:
    from engram_client.archive import Archive

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_EMBEDDED = frozenset({"s3", "file"})
_REMOTE = frozenset({"grpc", "grpcs"})


def is_remote(url: str) -> bool:
    """Tell whether `url` names a service, not a storage; raises `InvalidInput` for a scheme that is neither."""
    if not url:
        raise InvalidInput("an archive's URL is empty: give a folder, s3://bucket/prefix or grpc://host:port")
    found = _SCHEME.match(url)
    scheme = found[1].lower() if found else "file"
    if scheme not in _EMBEDDED | _REMOTE:
        raise InvalidInput(
            f"{scheme}:// is a scheme that no archive has: give a folder, s3://bucket/prefix or grpc(s)://host:port"
        )
    return scheme in _REMOTE


def open(  # noqa: A001 - `engram_client.open(url)` reads as what it does
    url: str | os.PathLike[str],
    *,
    identity: str | os.PathLike[str] | None = None,
    passphrase: str | None = None,
    keystore: str | None = None,
    token: str | None = None,
    ca_file: str | os.PathLike[str] | None = None,
) -> Archive:
    """Open the archive at `url`, and close it at the end of a `with` block.

    A folder, a `file://` URL or `s3://bucket/prefix` is opened in this process:

    >>> import engram_client
    >>> with engram_client.open("/data/memories") as archive:  # doctest: +SKIP
    ...     print([vault.name for vault in archive.vaults()])
    >>> archive = engram_client.open("s3://lab/memories", identity="rig.txt", keystore="s3://lab-keys/memories")  # doctest: +SKIP

    `identity` is a key file, the user's own if `None`; `passphrase` unlocks it; `keystore` is where the wrapped keys lie if
    they are not beside the archive. `grpc://host:port` and, with TLS, `grpcs://host:port` are a service that holds the keys:

    >>> archive = engram_client.open("grpcs://archive.example:8443", token=token, ca_file="lab-ca.pem")  # doctest: +SKIP

    `token` is the bearer token that the service asks for and `ca_file` holds the certificates that it is checked against,
    the system's if `None`. What does not concern the kind of URL is not used. Raises `InvalidInput` for any other URL, and
    `NotFound`, `Precondition` or `Denied` if the identity or the archive cannot be opened.
    """
    place = os.fspath(url)
    # The doors are imported only when they are opened: a depositing client needs neither the engine nor, embedded, gRPC.
    if is_remote(place):
        from engram_client.remote import connect

        return connect(place, token=token, ca_file=None if ca_file is None else Path(ca_file))

    from engram_client.embedded import open_embedded
    from engram_store.identity import default_identity_path, load_identity

    key_file = default_identity_path() if identity is None else Path(identity)
    return open_embedded(place, keystore=keystore, identity=load_identity(key_file, passphrase=passphrase))
