"""What `engram replay --group` prints and writes: the form that was taken, why, and what each student did."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from engram_client.cli.output import write_fields, write_json

if TYPE_CHECKING:
    from collections.abc import Mapping

    from engram_format.catalog import AnyArray, GroupResult, ReplayResult


def numbered(results: Sequence[ReplayResult]) -> Mapping[str, AnyArray]:
    """Return the outputs of all students by `number.name`, numbers from 0."""
    return {
        f"{number}.{name}": array for number, result in enumerate(results) for name, array in result.outputs.items()
    }


def write_group(together: GroupResult, students: Sequence[str], output: Path | None, *, as_json: bool) -> None:
    """Print a group's replay."""
    pairs = list(zip(students, together.results, strict=True))
    written = None if output is None else str(output)
    if as_json:
        told = [{"student": student, "receipt": one.receipt, "saved": one.saved} for student, one in pairs]
        write_json({"form": together.form, "reason": together.reason, "students": told, "written": written})
        return
    lines = [("form", f"{together.form}: {together.reason}")]
    for student, one in pairs:
        shapes = ", ".join(
            f"{name} {array.dtype} ({', '.join(map(str, array.shape))})" for name, array in one.outputs.items()
        )
        kept = "" if one.saved is None else f"; saved as {one.saved.address}"
        lines.append((student, f"{shapes}; outputs {str(one.receipt['outputs.sha256'])[:16]}{kept}"))
    if written is not None:
        lines.append(("written", written))
    write_fields(lines)
