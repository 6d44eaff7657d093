"""Arrays in files on this machine: a stimulus in, the outputs of a replay out."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from engram_client.local import local_errors, written_whole
from engram_format.errors import InvalidInput

if TYPE_CHECKING:
    from engram_format.catalog import AnyArray


def read_stimulus(path: Path) -> dict[str, AnyArray]:
    """Return the arrays of a `.npz` file by name, or the one of a `.npy` file under the name `""`."""
    with local_errors(path, "read"):
        file = path.open("rb")
    with file:
        return read_arrays(file, str(path))


def read_arrays(file: BinaryIO, name: str) -> dict[str, AnyArray]:
    """Return the arrays of an open `.npz` file by name, or the one of a `.npy` file under the name `""`."""
    import numpy as np

    try:
        held = np.load(file, allow_pickle=False)
        if isinstance(held, np.ndarray):
            return {"": held}
        with held:
            return {entry: held[entry] for entry in held.files}
    except (ValueError, EOFError, OSError, KeyError, zipfile.BadZipFile) as error:
        raise InvalidInput(
            f"{name} is neither a .npy nor a .npz file of numbers: save the stimulus with numpy"
        ) from error


def write_outputs(path: Path, outputs: Mapping[str, AnyArray], *, force: bool) -> None:
    """Write the outputs of a replay by name as a `.npz` file, whole or not at all."""
    import numpy as np

    # Not numpy.savez: it takes names as keywords, so an output called "file" could not be written.
    with (
        written_whole(path, force=force) as file,
        zipfile.ZipFile(file, "w", zipfile.ZIP_STORED, allowZip64=True) as archive,
    ):
        for name in sorted(outputs):
            with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as entry:
                np.lib.format.write_array(entry, np.asarray(outputs[name]), allow_pickle=False)
