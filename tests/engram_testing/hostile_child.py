"""Planning children that misbehave in the way that the name of the file asks for, within the limits of the real one."""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
from pathlib import Path
from typing import BinaryIO

from engram_layout.opaque import plan_opaque
from engram_layout.plan import Planned
from engram_layout.sandbox_child import main


def misbehave(file: BinaryIO, path: Path, size: int, head: bytes) -> Planned:
    """Do what the file's name says."""
    match path.stem:
        case "hang":
            time.sleep(600)
        case "spin":
            while True:
                pass
        case "eat":
            eaten = [bytearray(2**26) for _ in range(1000)]
            return Planned(plan_opaque(len(eaten)))
        case "die":
            os.kill(os.getpid(), signal.SIGSEGV)
        case "leave":
            os._exit(3)
        case "lie":
            return Planned(plan_opaque(size + 1))
        case "print":
            sys.stdout.write("noise")
            sys.stdout.flush()
            os.write(1, b"\xff" * 100)
        case "write":
            path.with_suffix(".out").write_bytes(b"x" * 100)
        case "open":
            kept = [os.open("/dev/null", os.O_RDONLY) for _ in range(1000)]
            return Planned(plan_opaque(len(kept)))
        case "call":
            try:
                socket.create_connection(("127.0.0.1", int(file.readline())), timeout=5).close()
            except OSError as error:
                return Planned(plan_opaque(size), {}, (f"no network: {error}",))
            return Planned(plan_opaque(size), {}, ("there is a network",))
        case "environment":
            return Planned(plan_opaque(size), {}, tuple(sorted(os.environ)))
    return Planned(plan_opaque(size), {}, (f"pid {os.getpid()}",))


if __name__ == "__main__":
    main(misbehave)
