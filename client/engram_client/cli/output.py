"""Results on stdout: tables for a terminal, aligned lines elsewhere, JSON on demand; progress and warnings on stderr."""

from __future__ import annotations

import json
import math
import sys
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from datetime import UTC, datetime
from enum import Enum
from typing import TYPE_CHECKING, Final, TextIO

import click

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    from engram_client.transfer import Advance

Json = dict[str, "Json"] | list["Json"] | str | int | float | bool | None

_UNSAFE: Final = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
_MOST_CHARS: Final = 4000
"""Of a sentence on stderr."""
_UNITS: Final = ("KiB", "MiB", "GiB", "TiB", "PiB")


def printable(text: str) -> str:
    r"""Return `text` with everything escaped that could command a terminal or reorder its line, as `\x1b` or `\u202e`.

    Names and messages come from archives that others have written.
    """
    if text.isprintable():  # said by Python of no text that holds one of these
        return text
    return "".join(_escaped(char) if unicodedata.category(char) in _UNSAFE else char for char in text)


def shortened(sentence: str) -> str:
    """Return a sentence without its middle where a name in it is longer than anybody reads."""
    if len(sentence) <= _MOST_CHARS:
        return sentence
    return f"{sentence[: _MOST_CHARS // 2]} \N{HORIZONTAL ELLIPSIS} {sentence[-_MOST_CHARS // 2 :]}"


def _escaped(char: str) -> str:
    code = ord(char)
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def human_size(size: int) -> str:
    """Return a number of bytes for people: `512 B`, `1.5 MiB`."""
    if size < 1024:
        return f"{size} B"
    amount = float(size)
    for unit in _UNITS:
        amount /= 1024
        if amount < 1023.95 or unit == _UNITS[-1]:
            break
    return f"{amount:.1f} {unit}"


def utc(time_ns: int) -> str:
    """Return a time in nanoseconds since 1970 as `2026-11-24T02:40:11Z`, and `-` for 0, which means unknown."""
    if time_ns == 0:
        return "-"
    try:
        return datetime.fromtimestamp(time_ns // 1_000_000_000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (OverflowError, ValueError, OSError):
        return f"{time_ns} ns"  # a clock that was set to a year that calendars do not have


def write_table(headers: Sequence[str], rows: Iterable[Sequence[str]], *, right: frozenset[str] = frozenset()) -> None:
    """Write rows under headers; the columns named in `right` are numbers and are aligned to the right."""
    lines = [[printable(cell) for cell in row] for row in rows]
    if sys.stdout.isatty():
        _write_rich(headers, lines, right=right)
        return
    widths = [max(len(line[column]) for line in [headers, *lines]) for column in range(len(headers))]
    aligned = [str.rjust if header in right else str.ljust for header in headers]
    written = [
        "  ".join([align(cell, width) for align, cell, width in zip(aligned, line, widths, strict=True)]).rstrip()
        for line in [headers, *lines]
    ]
    click.echo("\n".join(written))  # in one call, for each of them flushes


def _write_rich(headers: Sequence[str], lines: Sequence[Sequence[str]], *, right: frozenset[str]) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for header in headers:
        # Only the first column and free text may be folded: a time or a size that is broken cannot be read.
        may_fold = header in (headers[0], "MESSAGE", "AUTHOR")
        table.add_column(header, justify="right" if header in right else "left", overflow="fold", no_wrap=not may_fold)
    for line in lines:
        table.add_row(*(Text(cell) for cell in line))  # never as markup: a name may hold brackets
    Console().print(table)


def write_fields(pairs: Iterable[tuple[str, str]]) -> None:
    """Write the fields of one thing, a line each; a value of several lines is indented under its name."""
    told = [(name, value.split("\n")) for name, value in pairs]
    width = max((len(printable(name)) for name, _ in told), default=0)
    for name, (first, *rest) in told:
        click.echo(f"{printable(name).ljust(width)}  {printable(first)}".rstrip())
        for line in rest:
            click.echo(f"{' ' * width}  {printable(line)}".rstrip())


def write_json(value: object) -> None:
    """Write one JSON document, in ASCII."""
    click.echo(json.dumps(as_json(value), indent=2, allow_nan=False))


def as_json(value: object) -> Json:
    """Return our values as JSON has them: addresses and kinds as text, times also as UTC, fields by their names.

    JSON has no infinities and no NaN; they become text.
    """
    if is_dataclass(value) and not isinstance(value, type):
        return str(value) if _is_address(value) else _fields_as_json(value)
    if isinstance(value, Enum):
        return str(value.value)
    if isinstance(value, Mapping):
        return {str(key): as_json(held) for key, held in value.items()}
    if isinstance(value, list | tuple):
        return [as_json(held) for held in value]
    if (tolist := getattr(value, "tolist", None)) is not None:  # numpy's, which is not loaded to ask for its type
        return as_json(tolist())
    if isinstance(value, bool | int | str | None) or (isinstance(value, float) and math.isfinite(value)):
        return value
    return str(value)


def as_json_map(value: object) -> dict[str, Json]:
    """Return a value of several fields, or a mapping, as a JSON object."""
    told = as_json(value)
    return told if isinstance(told, dict) else {"value": told}


def _is_address(value: object) -> bool:
    from engram_format.address import Address, ContentAddress

    return isinstance(value, Address | ContentAddress)


def _fields_as_json(value: DataclassInstance) -> dict[str, Json]:
    told = {field.name: as_json(getattr(value, field.name)) for field in fields(value)}
    time_ns = told.get("time_ns")
    if isinstance(time_ns, int):
        told["time"] = utc(time_ns) if time_ns else None
    return told


def warn(sentence: str) -> None:
    """Say something on stderr that the user should know and that stops nothing."""
    click.echo(f"engram: warning: {printable(shortened(sentence))}", err=True)


@contextmanager
def progress(doing: str) -> Iterator[Callable[[Advance], None]]:
    """Yield what shows the progress of a transfer: a bar on a terminal, a line at every tenth part elsewhere."""
    if not sys.stderr.isatty():
        yield _PlainProgress(doing, sys.stderr)
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(binary_units=True),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as shown:
        task = shown.add_task(doing, total=None)

        def show(advance: Advance) -> None:
            name = printable(advance.subject.rpartition("/")[2])
            shown.update(task, description=f"{doing} {name}", completed=advance.done, total=advance.total)

        yield show


class _PlainProgress:
    """A line of progress for logs and pipes, at every tenth part."""

    def __init__(self, doing: str, stream: TextIO) -> None:
        self._doing = doing
        self._stream = stream
        self._tenths = 0

    def __call__(self, advance: Advance) -> None:
        tenths = 10 * advance.done // advance.total if advance.total else 10
        if tenths > self._tenths:
            self._tenths = tenths
            self._stream.write(
                f"{self._doing}: {10 * tenths} % ({human_size(advance.done)} of {human_size(advance.total)})\n"
            )
            self._stream.flush()
