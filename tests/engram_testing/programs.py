"""`engram` as a program: commands run to their end, and services that a test starts, stops or kills."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

_ENGRAM = (sys.executable, "-m", "engram_client.cli")
_STOP_S = 60


@dataclass(frozen=True)
class Outcome:
    """What a command did."""

    status: int
    out: str
    err: str


@dataclass(frozen=True)
class User:
    """A user's surroundings: an archive's URL, an identity, folders of their own."""

    home: Path
    url: str
    settings: Mapping[str, str] = field(default_factory=dict)

    @property
    def environment(self) -> dict[str, str]:
        mine = {
            "HOME": str(self.home),
            "XDG_CONFIG_HOME": str(self.home / "config"),
            "XDG_STATE_HOME": str(self.home / "state"),
            "ENGRAM_ARCHIVE": self.url,
            "COLUMNS": "200",
        }
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("ENGRAM_", "AWS_", "XDG_"))}
        return {**kept, **mine, **self.settings}

    def runs(self, *arguments: str | Path, status: int = 0) -> Outcome:
        """Run `engram` to its end; the test fails if it does not end with `status`."""
        command = [*_ENGRAM, *map(str, arguments)]
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True, timeout=240, check=False)
        outcome = Outcome(done.returncode, done.stdout, done.stderr)
        assert outcome.status == status, outcome
        assert "Traceback" not in outcome.err, outcome.err
        return outcome

    @contextlib.contextmanager
    def service(self, *options: str) -> Iterator[Service]:
        """Run `engram serve` on a free port while the block lasts."""
        process = subprocess.Popen(
            [*_ENGRAM, "serve", "--listen", "127.0.0.1:0", *options],
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            if not line.startswith("listening on "):
                process.kill()
                raise AssertionError(f"the service did not start: {line!r} {process.communicate()[1]}")
            yield Service(process, line.removeprefix("listening on ").strip())
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
            process.communicate(timeout=_STOP_S)


@dataclass(frozen=True)
class Service:
    """A running `engram serve`."""

    process: subprocess.Popen[str]
    url: str

    def kill(self) -> None:
        """End it at once, as a power cut would."""
        self.process.kill()
        self.process.wait(timeout=_STOP_S)
