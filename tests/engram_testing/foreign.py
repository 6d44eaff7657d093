"""Programs of others in environments of their own, kept between test runs in the user's cache.

Where they cannot be had, the tests that need them are skipped, with what the registry said.
"""

from __future__ import annotations

import ctypes.util
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import venv
import zipfile
from collections.abc import Callable
from pathlib import Path

import platformdirs
import pytest

_INSTALL_S = 600


def python_with(name: str, *requirements: str) -> Path:
    """The interpreter of an environment that has the packages, and nothing of ours."""

    def make(folder: Path) -> None:
        venv.create(folder, with_pip=True)
        _run(folder / "bin" / "python", "-m", "pip", *_QUIET, "install", "--only-binary", ":all:", *requirements)

    return _kept(name, " ".join(requirements), make) / "bin" / "python"


def wheels(name: str, *requirements: str, tag: str) -> Path:
    """A folder with the unpacked wheels, as they are, without what they depend on."""

    def make(folder: Path) -> None:
        with tempfile.TemporaryDirectory() as downloads:
            choice = ("--no-deps", "--only-binary", ":all:", "--platform", tag, "--dest", downloads)
            _run(sys.executable, "-m", "pip", *_QUIET, "download", *choice, *requirements)
            for wheel in Path(downloads).glob("*.whl"):
                zipfile.ZipFile(wheel).extractall(folder)

    return _kept(name, " ".join(requirements), make)


def debian_library(package: str, library: str) -> Path | None:
    """The folder in which a Debian package's library lies; `None` if this system has it."""
    if ctypes.util.find_library(library):
        return None

    def make(folder: Path) -> None:
        with tempfile.TemporaryDirectory() as downloads:
            # apt's own user could not write into a folder of ours
            _run("apt-get", "download", "-o", "APT::Sandbox::User=root", package, cwd=downloads)
            [file] = Path(downloads).glob("*.deb")
            _run("dpkg", "-x", file, folder)

    return next(_kept(package, package, make).rglob(f"lib{library}.so*")).parent


_QUIET = ("--quiet", "--disable-pip-version-check", "--retries", "2", "--timeout", "30")


def _kept(name: str, wanted: str, make: Callable[[Path], None]) -> Path:
    """The folder that `make` fills, made once for what is wanted; it is whole or not there."""
    cache = Path(platformdirs.user_cache_dir("engram-tests"))
    try:
        cache.mkdir(parents=True, exist_ok=True)
    except OSError:
        cache = Path(tempfile.mkdtemp(prefix="engram-tests-"))
    python = ".".join(map(str, sys.version_info[:2]))
    folder = cache / f"{name}-{python}-{platform.machine()}"
    note = folder / "made-for"
    if note.exists() and note.read_text() == wanted:
        return folder
    partial = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=cache))
    try:
        make(partial)
    except (subprocess.SubprocessError, OSError) as error:
        shutil.rmtree(partial)
        told = getattr(error, "stderr", None) or str(error)
        pytest.skip(f"{wanted} cannot be had here: {told.strip().splitlines()[-1]}")
    (partial / "made-for").write_text(wanted)
    shutil.rmtree(folder, ignore_errors=True)
    partial.rename(folder)
    return folder


def _run(*command: str | Path, cwd: str | None = None) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    subprocess.run(
        list(map(str, command)),
        check=True,
        capture_output=True,
        text=True,
        timeout=_INSTALL_S,
        cwd=cwd,
        env=environment,
    )
