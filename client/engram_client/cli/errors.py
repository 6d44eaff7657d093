"""The one place where errors become a sentence on stderr and an exit status.

Status 1: the sentence says what to do. 2: the command line is wrong (click says how). 130: interrupted. 141: the reader of
our output went away, as after `| head`; nothing is said then. 70: a fault of ours.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import click

from engram_client.cli.output import printable, shortened
from engram_format.errors import EngramError

FAILED: Final = 1
FAULT: Final = 70
INTERRUPTED: Final = 130
READER_GONE: Final = 141


@contextmanager
def reported() -> Iterator[None]:
    """Report whatever the block raises, and leave with the status that it stands for."""
    try:
        yield
        sys.stdout.flush()
    except (click.ClickException, click.exceptions.Exit):
        raise
    except EngramError as error:
        _say(str(error))
        raise click.exceptions.Exit(FAILED) from error
    except (KeyboardInterrupt, click.Abort) as error:
        _say("interrupted")
        raise click.exceptions.Exit(INTERRUPTED) from error
    except BrokenPipeError as error:
        # The interpreter flushes stdout once more at its end, and would complain there.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise click.exceptions.Exit(READER_GONE) from error
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("engram"):
            _say_fault(error)
            raise click.exceptions.Exit(FAULT) from error
        _say(f"this command needs the package {error.name!r}: install it with pip install 'engram[demo]'")
        raise click.exceptions.Exit(FAILED) from error
    except Exception as error:
        if isinstance(
            error.__cause__ or error.__context__, KeyboardInterrupt
        ):  # an import that was interrupted says so
            _say("interrupted")
            raise click.exceptions.Exit(INTERRUPTED) from error
        _say_fault(error)
        raise click.exceptions.Exit(FAULT) from error


def _say(sentence: str) -> None:
    click.echo(f"engram: {printable(shortened(sentence))}", err=True)
    if os.environ.get("ENGRAM_DEBUG") == "1":
        click.echo(traceback.format_exc(), err=True)


def _say_fault(error: Exception) -> None:
    told = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    _say(f"this is a fault of ours, not of yours ({told}): run it again with ENGRAM_DEBUG=1 and report what it prints")
