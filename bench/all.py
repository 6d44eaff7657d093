"""Every comparison, one after the other, at sizes that take minutes.

    python bench/all.py [--folder DIR]...

Each script says in its docstring what it compares and how to run it alone, at other sizes. One that fails does not keep the
others from running. `--folder` names more real files.
"""

from __future__ import annotations

import argparse
import importlib.util
import subprocess
import sys
import tempfile
from pathlib import Path

_HERE = Path(__file__).resolve().parent
_SECONDS = "20"


def scripts(test_set: Path, folders: list[str]) -> list[list[str]]:
    """Return the scripts and their arguments, in order."""
    return [
        ["test_set.py", str(test_set), "--seconds", _SECONDS],
        ["recordings.py", "--set", str(test_set), "--rounds", "3"],
        ["real_files.py", *folders],
        ["lossless.py", "--set", str(test_set), *folders],
        ["slices.py", "--set", str(test_set)],
        ["find.py"],
        ["folder.py"],
        ["deposit_restore.py", "--megabytes", "128"],
        ["chunking.py"],
        ["replay.py"],
        ["different_minds.py"],
        ["distill.py", "--tier", "linear", "--tier", "fast"],
        ["certify.py"],
        ["jewel.py", "--seeds", "5"],
        ["extract.py", "--teachers", "2"],
        *([["distill.py", "--tier", "default", "--seed", "1"], ["spiking.py", "--seeds", "1"]] if _has_torch() else []),
    ]


def _has_torch() -> bool:
    """Tell whether what the recurrent tiers learn with is here (`make distill`)."""
    found = importlib.util.find_spec("torch") is not None
    if not found:
        print("left out, since torch is not here (make distill): distill.py --tier default, spiking.py", flush=True)
    return found


def main() -> None:
    """Run all that are there; leave with status 1 if one failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, action="append", default=[], help="more real files; may be repeated")
    folders = [text for folder in parser.parse_args().folder for text in ("--folder", str(folder.resolve()))]
    failed = []
    with tempfile.TemporaryDirectory(prefix="engram-bench-") as name:
        for script, *arguments in scripts(Path(name) / "set", folders):
            print(f"\n=== {script} {' '.join(arguments)}", flush=True)
            if subprocess.run([sys.executable, str(_HERE / script), *arguments], check=False).returncode:
                failed.append(script)
    if failed:
        raise SystemExit(f"these failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
