"""What every command is told of the archive: where it is, and with what it is opened."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from engram_format.errors import Denied, InvalidInput, NotFound

if TYPE_CHECKING:
    from engram_client.archive import Archive

_CommandT = TypeVar("_CommandT", bound=Callable[..., Any])

_MAX_SECRET_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class Settings:
    """The global options, as given before or after the command or in the environment."""

    opener: Opener
    archive: str | None = None
    keystore: str | None = None
    identity: Path | None = None
    passphrase_file: Path | None = None
    token_file: Path | None = None
    ca_file: Path | None = None

    @property
    def url(self) -> str:
        """The archive's URL; raises a usage error if none was given."""
        if not self.archive:
            raise click.UsageError("no archive is named: give --archive URL, or set ENGRAM_ARCHIVE.")
        return self.archive

    @property
    def identity_path(self) -> Path:
        """The key file that was named, or the user's own."""
        from engram_store.identity import default_identity_path

        return self.identity or default_identity_path()

    def open(self) -> Archive:
        """Open the archive that was named."""
        return self.opener(self)

    def passphrase(self) -> str | None:
        """Return the passphrase of the identity: from the file, else from the terminal if it is needed, else `None`."""
        from engram_store.identity import identity_is_locked

        if self.passphrase_file is not None:
            return read_secret(self.passphrase_file, what="passphrase")
        if sys.stdin.isatty() and identity_is_locked(self.identity_path):
            return str(click.prompt(f"Passphrase of {self.identity_path}", hide_input=True, err=True))
        return None

    def token(self) -> str | None:
        """Return the bearer token, if a file with one was named."""
        return None if self.token_file is None else read_secret(self.token_file, what="token")


Opener = Callable[[Settings], "Archive"]


def open_settings(settings: Settings) -> Archive:
    """Open the archive that the settings name through the door that its URL asks for."""
    from engram_client import opening

    if opening.is_remote(settings.url):
        return opening.open(settings.url, token=settings.token(), ca_file=settings.ca_file)
    return opening.open(
        settings.url, identity=settings.identity_path, passphrase=settings.passphrase(), keystore=settings.keystore
    )


def read_secret(path: Path, *, what: str) -> str:
    """Return the one line that a file with a secret holds; secrets are never arguments, which all users of a machine see."""
    try:
        with path.open("rb") as file:
            text = file.read(_MAX_SECRET_BYTES).decode("utf-8").rstrip("\r\n")
    except FileNotFoundError as error:
        raise NotFound(f"there is no {what} file {path}: check its name") from error
    except OSError as error:
        raise Denied(f"the {what} file {path} cannot be read: {error.strerror}; check its permissions") from error
    except UnicodeDecodeError as error:
        raise InvalidInput(f"the {what} file {path} is not text: write the {what} on one line") from error
    if not text or "\n" in text:
        raise InvalidInput(f"the {what} file {path} does not hold one line: write the {what} on one line")
    return text


def archive_options(command: _CommandT) -> _CommandT:
    """Let the global options also stand after a command."""
    for name in ("ca_file", "token_file"):
        command = _again(name, hidden=True)(command)
    return storage_options(command)


def storage_options(command: _CommandT) -> _CommandT:
    """Let those global options stand after a command that concern a storage and its keys, not a service."""
    for name in ("passphrase_file", "identity", "keystore"):
        command = _again(name, hidden=True)(command)
    return _again("archive", hidden=False)(command)


def _again(name: str, *, hidden: bool) -> Callable[[_CommandT], _CommandT]:
    def override(ctx: click.Context, _: click.Parameter, value: str | Path | None) -> None:
        if value is not None:
            ctx.obj = replace(ctx.obj, **{name: value})

    is_url = name in ("archive", "keystore")
    return click.option(
        f"--{name.replace('_', '-')}",
        name,
        metavar="URL" if is_url else "FILE",
        type=str if is_url else click.Path(path_type=Path),
        help="The archive; this and the other global options may stand here too (see engram --help).",
        hidden=hidden,
        expose_value=False,
        callback=override,
    )
