"""A planning child that answers every request with the bytes of the file, or with a length that cannot be."""

from __future__ import annotations

import sys
from pathlib import Path

from engram_format.encoding import Fields

if __name__ == "__main__":
    while len(length := sys.stdin.buffer.read(8)) == 8:
        request = Fields.of(
            sys.stdin.buffer.read(int.from_bytes(length, "little")), what="a request", known=range(1, 5)
        )
        path = Path(request.raw(1).decode())
        answer = path.read_bytes()
        size = 2**63 if path.stem == "long" else len(answer)
        sys.stdout.buffer.write(size.to_bytes(8, "little") + answer)
        sys.stdout.buffer.flush()
