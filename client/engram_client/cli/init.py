"""`engram init`: an identity, if there is none, and an archive that it opens."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from engram_client.cli.output import write_fields, write_json
from engram_client.cli.settings import Settings, read_secret, storage_options
from engram_client.opening import is_remote
from engram_format.errors import InvalidInput

if TYPE_CHECKING:
    from engram_store.identity import Identity


@click.command(short_help="Make an archive, and your identity.")
@storage_options
@click.option(
    "--lock", is_flag=True, help="Lock the new identity with a passphrase, from --passphrase-file or asked for."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.pass_obj
def init(settings: Settings, *, lock: bool, as_json: bool) -> None:
    """Make an archive, and an identity if you have none.

    Everything in the archive is sealed to the identity. Whoever has it can read everything; without it nobody can.
    """
    from engram_client.embedded import create_archive
    from engram_store.location import keystore_location

    url = settings.url
    if is_remote(url):
        raise InvalidInput(
            f"{url} is a service: make the archive where its storage is, and serve it with 'engram serve'"
        )
    # Before anything is written: an archive at a place that can have no keystore beside it needs one to be named.
    keystore = settings.keystore or keystore_location(url)
    identity, is_new = _identity(settings, lock=lock)
    told = {
        "recipient": identity.recipient,  # first, because it fills the screen
        "identity": str(settings.identity_path),
        "fingerprint": str(identity.fingerprint),
        "archive": url,
        "keystore": keystore,
    }
    try:
        create_archive(url, keystore=settings.keystore, identity=identity)
    finally:
        # A new identity is kept, and told of, even if no archive could be made.
        if not as_json:
            write_fields(list(told.items())[:3])
    if as_json:
        write_json({**told, "identity_is_new": is_new})
        return
    write_fields(list(told.items())[3:])
    click.echo()
    click.echo(
        "Without this identity nothing in the archive can be read, by anyone, ever. Keep a copy of its file, and one of"
    )
    click.echo(
        "the keystore, in another safe place, and show the identity to nobody. The recipient may be given to others."
    )
    if is_new and not lock:
        click.echo(
            "The identity is not locked: whoever can read its file can read the archive (see 'engram init --lock')."
        )


def _identity(settings: Settings, *, lock: bool) -> tuple[Identity, bool]:
    """Return the identity to seal to, and whether it was made just now."""
    from engram_store.identity import load_identity, new_identity, save_identity

    path = settings.identity_path
    if path.exists():
        if lock:
            raise InvalidInput(
                f"{path} exists, and only a new identity can be locked: name another file with --identity"
            )
        return load_identity(path, passphrase=settings.passphrase()), False
    identity = new_identity()
    save_identity(path, identity, passphrase=_new_passphrase(settings) if lock else None)
    return identity, True


def _new_passphrase(settings: Settings) -> str:
    if settings.passphrase_file is not None:
        return read_secret(settings.passphrase_file, what="passphrase")
    return str(click.prompt("New passphrase", hide_input=True, confirmation_prompt=True, err=True))
