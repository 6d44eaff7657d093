"""A batch of replays spread over a Ray cluster.

Through the cluster travel addresses, names of files with secrets, and sentences: each worker opens the archive itself, decrypts
in its own memory, and keeps what the replay did in the archive. Ray's object store, which others on a node can read, sees
neither a student nor a recording nor a key.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final

from engram_client import opening
from engram_format.address import Address, parse_any
from engram_format.errors import EngramError, InvalidInput, Unavailable

if TYPE_CHECKING:
    from engram_client.archive import Archive

LOCAL: Final = "local"
"""The address that stands for a cluster of this machine alone, started for the batch and ended with it."""


@dataclass(frozen=True, slots=True)
class Place:
    """An archive and the files that open it, by names that are the same on every node."""

    url: str
    identity: Path | None = None
    keystore: str | None = None
    passphrase_file: Path | None = None
    token_file: Path | None = None
    ca_file: Path | None = None

    def open(self) -> Archive:
        """Open the archive; raises as `engram_client.open` does."""
        return opening.open(
            self.url,
            identity=self.identity,
            keystore=self.keystore,
            passphrase=_line(self.passphrase_file),
            token=_line(self.token_file),
            ca_file=self.ca_file,
        )


@dataclass(frozen=True, slots=True)
class ClusterReplay:
    """One replay of a batch."""

    stimulus: str
    saved: str
    """The address of what was kept; empty where the replay failed."""
    failure: str = ""
    """One sentence where it failed."""


class Replayer:
    """What runs in a worker: an archive that stays open, and the replays that come."""

    def __init__(self, place: Place) -> None:
        self._archive = place.open()

    def replay(self, student: str, stimulus: str, save_to: str, author: str) -> ClusterReplay:
        """Replay and keep; whatever fails is told and not raised, since errors may hold more than a sentence."""
        try:
            result = self._archive.replay(
                parse_any(student), parse_any(stimulus), save_to=Address.parse(save_to), author=author
            )
        except EngramError as error:
            return ClusterReplay(stimulus, "", str(error))
        return ClusterReplay(stimulus, "" if result.saved is None else str(result.saved.address))


def replay_on_ray(
    place: Place,
    student: str,
    stimuli: Sequence[str],
    *,
    save_to: Address,
    author: str,
    cluster: str = LOCAL,
) -> Iterator[ClusterReplay]:
    """Yield the replays of a student over stimuli, all addresses, as they are done; each is kept as a version of `save_to`.

    `cluster` is the address of a running cluster, by default one of this machine. Raises `Unavailable` where the cluster does
    not answer, and `InvalidInput` for an archive in a folder when the cluster is elsewhere.
    """
    if cluster != LOCAL and not opening.is_remote(place.url) and not place.url.startswith("s3://"):
        raise InvalidInput(
            f"{place.url} is a folder of this machine, which other nodes do not see: replay from S3 or from a service"
        )
    # Ray reports its use to its makers unless told not to; an archive of people's recordings tells nobody anything.
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    if cluster == LOCAL:
        # A cluster of one machine listens on its loopback address only; Ray knows this as the way of desktop systems.
        os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
    import ray

    try:
        try:
            _connect(ray, cluster)
        except Exception as error:  # what Ray raises here has nothing in common
            raise _failed(cluster, error) from error
        yield from _spread(ray, place, student, stimuli, save_to=str(save_to), author=author)
    except ray.exceptions.RayError as error:
        raise _failed(cluster, error) from error
    finally:
        ray.shutdown()


def _failed(cluster: str, error: Exception) -> Unavailable:
    first = " ".join(str(error).split())[:200]
    return Unavailable(f"the Ray cluster {cluster} failed ({first}): see that its nodes run and retry")


def _connect(ray: ModuleType, cluster: str) -> None:
    if cluster == LOCAL:
        ray.init(include_dashboard=False, log_to_driver=False, configure_logging=False)
    else:
        ray.init(address=cluster, log_to_driver=False, configure_logging=False)


def _spread(
    ray: ModuleType, place: Place, student: str, stimuli: Sequence[str], *, save_to: str, author: str
) -> Iterator[ClusterReplay]:
    """Give each worker a replay, and the next when it is done."""
    worker: Any = ray.remote(num_cpus=1)(Replayer)
    idle = [worker.remote(place) for _ in range(min(len(stimuli), max(1, int(ray.cluster_resources().get("CPU", 1)))))]
    waiting = list(reversed(stimuli))
    running: dict[Any, Any] = {}
    while waiting or running:
        while waiting and idle:
            taken = idle.pop()
            running[taken.replay.remote(student, waiting.pop(), save_to, author)] = taken
        done, _ = ray.wait(list(running), num_returns=1)
        for reference in done:
            idle.append(running.pop(reference))
            yield ray.get(reference)


def _line(path: Path | None) -> str | None:
    """Return the one line of a file with a secret."""
    return None if path is None else path.read_text(encoding="utf-8").strip()
