"""Real files: the bytes that Engram stores of each, against zstd at level 3 on the whole file.

    python bench/real_files.py [--folder DIR]...

Takes every file of 4 kB or more in `tests/data`, in the demo's data and in each folder given; a file found twice counts once.
Engram's bytes are the frames, encrypted, of the artifact and of the description of what is in it, each artifact in a vault of its
own, so that none profits from another. They leave out what a deposit of any size adds once and all its files share: session, log
record, tree, manifests, frame tables, the padding that hides lengths, and parity. The column "objects" has all that, parity
apart, for a deposit of this one file into a vault of its own: what a single small file costs. The last column is what a study
with a prototype of the same methods found, where it had the file. Every file is restored and compared.
"""

from __future__ import annotations

import argparse
import hashlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

import zstandard
from archivers import Engram
from measuring import require_equal, verdict

from engram_format.address import Address
from engram_store.identity import load_identity
from engram_store.location import keystore_location, open_location
from engram_store.repository import Repository

_PROJECT = Path(__file__).resolve().parent.parent
_FOLDERS = (_PROJECT / "tests" / "data", _PROJECT / "client" / "engram_client" / "demo" / "data")
_LEAST_BYTES = 4096
_AT_MOST = {
    "basic_A2929-200711.nwb": 0.54,
    "suite2p_2022_08_08.nwb": 0.85,
    "2014-07-09T10-17-35W8_Standard_all_500Hz.h5": 0.57,
}
_STUDY = _AT_MOST | {
    "14o16001_vc_pair_step.abf": "0.51-0.69",
    "17o05026_vc_stim.abf": "0.51-0.69",
    "test.edf": "0.51-0.70",
    "test.eeg": "0.45",
}
_NEVER_ABOVE = 1.01


def files_in(folders: list[Path]) -> Iterator[Path]:
    """Yield the files to measure in the project and in these folders, each content once, without licences and sources."""
    seen = set()
    for folder in [*_FOLDERS, *folders]:
        for path in sorted(folder.rglob("*")):
            if not path.is_file() or path.stat().st_size < _LEAST_BYTES or path.name.startswith(("LICENSE", "SOURCES")):
                continue
            digest = hashlib.sha256(path.read_bytes()).digest()
            if digest not in seen:
                seen.add(digest)
                yield path


def stored(engram: Engram, path: Path, *, vault: str, work: Path) -> tuple[int, int, int]:
    """Deposit and restore a file; return the bytes stored of it, of the description of what is in it, and of all objects."""
    engram.run("vault", "create", vault)
    before = engram.stored()
    engram.run("deposit", str(path), "--to", f"{vault}/file:original")
    after = engram.stored()
    engram.run("restore", f"{vault}/file:original", str(work / vault))
    require_equal(path, work / vault)
    repository = Repository.open(
        open_location(engram.url), open_location(keystore_location(engram.url)), load_identity(engram.identity)
    )
    try:
        reader = repository.vault(vault)
        address = Address(vault, "file", None, "original")
        found = reader.find(reader.history().at("file", None), address.path or "")
        description = reader.manifest(found).description
        described = 0 if description is None else description.stored_size
        return found.entry.stored_size, described, after.net - before.net
    finally:
        repository.close()


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, action="append", default=[], help="more real files; may be repeated")
    options = parser.parse_args()
    print(
        f"{'':46}{'original':>10}{'zstd-3':>10}{'Engram':>10}{'of it described':>17}{'objects':>10}{'  Engram / zstd-3':34}  study"
    )
    worst = 0.0
    with tempfile.TemporaryDirectory(prefix="engram-bench-") as name:
        work = Path(name)
        engram = Engram(work)
        engram.run("init")
        for number, path in enumerate(files_in(options.folder)):
            whole = len(zstandard.ZstdCompressor(level=3).compress(path.read_bytes()))
            data, description, objects = stored(engram, path, vault=f"file-{number}", work=work)
            ratio = (data + description) / whole
            worst = max(worst, ratio)
            told = verdict(ratio, at_most=_AT_MOST.get(path.name, _NEVER_ABOVE))
            sizes = f"{path.stat().st_size:10}{whole:10}{data + description:10}{description:17}{objects:10}"
            print(f"{path.name:46}{sizes}  {told:34}{_STUDY.get(path.name, '-')}", flush=True)
    print(f"the worst of all: {verdict(worst, at_most=_NEVER_ABOVE)}")


if __name__ == "__main__":
    main()
