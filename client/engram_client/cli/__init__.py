"""The command line: `engram`. One module for each group of commands, imported when it is asked for."""

from __future__ import annotations

import os
from importlib import import_module
from pathlib import Path
from typing import Final

import click

from engram_client.cli.errors import reported
from engram_client.cli.settings import Opener, Settings, open_settings

_COMMANDS: Final = {
    "init": "engram_client.cli.init:init",
    "vault": "engram_client.cli.vault:vault",
    "deposit": "engram_client.cli.deposit:deposit",
    "ls": "engram_client.cli.browse:ls",
    "show": "engram_client.cli.browse:show",
    "log": "engram_client.cli.browse:log",
    "diff": "engram_client.cli.diff:diff",
    "slice": "engram_client.cli.slice:slice_",
    "plot": "engram_client.cli.plot:plot",
    "find": "engram_client.cli.find:find",
    "annotate": "engram_client.cli.annotate:annotate",
    "restore": "engram_client.cli.restore:restore",
    "replay": "engram_client.cli.replay:replay",
    "distill": "engram_client.cli.distill:distill",
    "mind": "engram_client.cli.mind:mind",
    "certify": "engram_client.cli.certify:certify",
    "coverage": "engram_client.cli.coverage:coverage",
    "verify": "engram_client.cli.verify:verify",
    "serve": "engram_client.cli.serve:serve",
    "demo": "engram_client.cli.demo:demo",
}
"""In the order in which a new user meets them."""


class CommandGroup(click.Group):
    """The commands of `engram`; every error of theirs is reported here, in one place."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Name the commands in the order of first use."""
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the module of one command."""
        place = _COMMANDS.get(cmd_name)
        if place is None:
            return None
        module, _, name = place.partition(":")
        command: click.Command = getattr(import_module(module), name)
        return command

    def invoke(self, ctx: click.Context) -> object:
        """Run the command that was asked for."""
        with reported():
            return super().invoke(ctx)


@click.group(cls=CommandGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option(
    "--archive", envvar="ENGRAM_ARCHIVE", metavar="URL", help="A folder, s3://bucket/prefix or grpc(s)://host:port."
)
@click.option(
    "--keystore", envvar="ENGRAM_KEYSTORE", metavar="URL", help="Where the wrapped keys lie, if not beside the archive."
)
@click.option(
    "--identity",
    envvar="ENGRAM_IDENTITY",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Your key file, if not the one in your configuration folder.",
)
@click.option(
    "--passphrase-file",
    envvar="ENGRAM_PASSPHRASE_FILE",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="File with the passphrase of a locked identity; without it, the terminal is asked.",
)
@click.option(
    "--token-file",
    envvar="ENGRAM_TOKEN_FILE",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="File with the bearer token of a service.",
)
@click.option(
    "--ca-file",
    envvar="ENGRAM_CA_FILE",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Certificates that a service is checked against, if not the system's.",
)
@click.version_option(package_name="engram", message="engram %(version)s")
@click.pass_context
def cli(
    ctx: click.Context,
    *,
    archive: str | None,
    keystore: str | None,
    identity: Path | None,
    passphrase_file: Path | None,
    token_file: Path | None,
    ca_file: Path | None,
) -> None:
    """Keep recordings of living networks, and the students distilled from them; replay the students.

    \b
    An address names what is kept:  vault/memory[@version][:path]
    such as                         organoid-17/bars@3:students/gru.onnx

    The options below may also stand after a command; each has an environment variable, as ENGRAM_ARCHIVE.
    """  # noqa: D301 - \b keeps click from joining the lines
    # Whoever embeds the command line, as the tests do, brings another way of opening an archive as the context's object.
    opener: Opener = ctx.obj or open_settings
    ctx.obj = Settings(
        opener=opener,
        archive=archive,
        keystore=keystore,
        identity=identity,
        passphrase_file=passphrase_file,
        token_file=token_file,
        ca_file=ca_file,
    )


def main() -> None:
    """Run `engram` with the arguments of this process."""
    # Nothing here multiplies large matrices, and starting the threads for it takes longer than most commands do.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    cli(prog_name="engram")


__all__ = ["cli", "main"]
