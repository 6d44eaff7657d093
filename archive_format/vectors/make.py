"""Make the vectors: files that every reader must read, files that every reader must refuse, and `index.json` (SPEC.md section 12).

Run as `python archive_format/vectors/make.py`. Keys are plainly made up and fixed, so that the files come out the same each
time. Two kinds of bytes do not: what is sealed with HPKE, and what a Zstandard library has compressed. Files with those are
written only where they are absent, or all of them with `--all`.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from pathlib import Path

from invalid_vectors import INVALID
from valid_vectors import VALID
from vector import KINDS, Vector

HERE = Path(__file__).parent
ABOUT = (
    "Every vector names a file, the kind of object that it is, what a reader needs beside it (bytes in hex, all made up for "
    "this purpose), and what is expected: 'ok' with the SHA-256 of what the file decodes to, or the name of an error. What a "
    "kind decodes to is said under 'kinds'. The errors: FormatError, the bytes have not the form that SPEC.md gives them; "
    "Damaged, they had it and too much is lost; Precondition, the key or the passphrase does not open them."
)


def main() -> None:
    """Write the files and the index."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--all", action="store_true", help="also write anew what comes out different each time")
    everything = parser.parse_args().all
    vectors = (*VALID, *INVALID)
    for vector in vectors:
        path = HERE / vector.file
        if everything or vector.reproducible or not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(vector.data)
    index = {"about": ABOUT, "kinds": KINDS, "vectors": [_entry(vector) for vector in vectors]}
    (HERE / "index.json").write_text(json.dumps(index, indent=1) + "\n")


def _entry(vector: Vector) -> dict[str, object]:
    entry: dict[str, object] = {
        "file": vector.file,
        "kind": vector.kind,
        "what": vector.what,
        "needs": dict(vector.needs),
    }
    if vector.error:
        return entry | {"expected": vector.error}
    return entry | {"expected": "ok", "sha256": hashlib.sha256(vector.result).hexdigest()}


if __name__ == "__main__":
    main()
