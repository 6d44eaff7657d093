"""Generate the Python code of the wire contracts beside their .proto files, or check that it is up to date.

    python proto/generate.py           write engram/*/*_pb2.py, *_pb2.pyi, *_pb2_grpc.py and *_pb2_grpc.pyi
    python proto/generate.py --check   exit with status 1 and one sentence if what is there is not what would be written

Message code comes from protoc's own generator, its types and the service stubs' types from mypy-protobuf. The generated
stubs serve both the client, which is synchronous, and the service, which is not.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from importlib.resources import files
from pathlib import Path

from grpc_tools import protoc

ROOT = Path(__file__).parent
CONTRACTS = ROOT / "engram"
"""One folder for each contract: our own, and the Open Inference Protocol."""
PATTERNS = ("*_pb2.py", "*_pb2.pyi", "*_pb2_grpc.py", "*_pb2_grpc.pyi")


def generate(folder: Path) -> None:
    """Write the generated code of every .proto file below `folder`."""
    plugins = Path(sys.executable).parent
    sources = sorted(str(path.relative_to(ROOT)) for path in CONTRACTS.glob("*/*.proto"))
    status = protoc.main(
        [
            "protoc",
            f"--proto_path={ROOT}",
            f"--proto_path={files('grpc_tools') / '_proto'}",
            f"--plugin=protoc-gen-mypy={plugins / 'protoc-gen-mypy'}",
            f"--plugin=protoc-gen-mypy_grpc={plugins / 'protoc-gen-mypy_grpc'}",
            f"--python_out={folder}",
            f"--grpc_python_out={folder}",
            f"--mypy_out=quiet:{folder}",
            f"--mypy_grpc_out=quiet:{folder}",
            *sources,
        ]
    )
    if status != 0:
        sys.exit("protoc refused the .proto files: mend what it names above and run this again.")


def generated(folder: Path) -> dict[str, bytes]:
    """Return the generated files below `folder` by their path from the folder of all contracts."""
    contracts = folder / "engram"
    return {
        path.relative_to(contracts).as_posix(): path.read_bytes()
        for pattern in PATTERNS
        for path in contracts.glob(f"*/{pattern}")
    }


def differing() -> list[str]:
    """Return the names of generated files that are missing, stale or left over."""
    with tempfile.TemporaryDirectory() as folder:
        generate(Path(folder))
        wanted = generated(Path(folder))
    present = generated(ROOT)
    return sorted(name for name in wanted.keys() | present.keys() if wanted.get(name) != present.get(name))


def main() -> None:
    """Generate, or check with `--check`."""
    parser = argparse.ArgumentParser(description="Generate the Python code of the wire contract.")
    parser.add_argument("--check", action="store_true", help="only say whether the generated code is up to date")
    if not parser.parse_args().check:
        generate(ROOT)
    elif names := differing():
        sys.exit(f"The generated code in {CONTRACTS} is not up to date ({', '.join(names)}): run {sys.argv[0]}.")


if __name__ == "__main__":
    main()
