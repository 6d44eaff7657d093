"""Transfer over an archive: a deposited student is stimulated until it answers as another one does."""

from __future__ import annotations

import io
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Final

import numpy as np

from engram_client.fidelity.made import Made, as_json, check_place, check_seed, deposit_made
from engram_client.fidelity.permission import joined_consent, may_teach
from engram_client.fidelity.pools import Wanted, open_network, stimuli_of
from engram_fidelity.transfer import Limits, Transferred, transfer
from engram_format.address import Address, AnyAddress, check_note
from engram_format.catalog import Artifact, Kind, Scalar
from engram_format.errors import InvalidInput

if TYPE_CHECKING:
    from engram_client.archive import Archive

_WINDOW_S: Final = 0.1
_SKIP_S: Final = 0.2


@dataclass(frozen=True, slots=True)
class Steering:
    """How a transfer is done."""

    stimuli: Wanted = field(default_factory=Wanted)
    loop: int = 60
    """Stimuli in the closed loop."""
    held_out: int = 24
    """Stimuli that likeness is judged by."""
    rounds: int = 4
    limits: Limits = field(default_factory=Limits)
    memory_s: float = 0.3
    seed: int = 0
    bin_s: float | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Transfer:
    """A transfer, and what was deposited of it."""

    transferred: Transferred
    report: Artifact
    stimulations: Artifact


def transfer_between(
    archive: Archive,
    source: AnyAddress,
    target: AnyAddress,
    *,
    to: Address,
    steering: Steering,
    author: str = "",
    told: Callable[[int, float], None] = lambda _round, _kl: None,
) -> Transfer:
    """Stimulate `target` until it answers as `source` does, and deposit a report at `to` and the stimulations beside it.

    A network of the answers is learned on the way, so consent for both students must allow that, where there is a statement
    (`Denied`).
    Raises `InvalidInput` for students with other steps or numbers of cells, and what `transfer` raises; nothing is deposited then.
    """
    check_place(to, what="a report")
    check_note(author, what="author")
    check_seed(steering.seed)
    first, bin_s = open_network(archive, source, bin_s=steering.bin_s)
    second, other_s = open_network(archive, target, bin_s=steering.bin_s)
    if abs(bin_s - other_s) > 1e-6 * bin_s:
        raise InvalidInput(
            f"{first.artifact.address} steps by {bin_s:g} s and {second.artifact.address} by {other_s:g} s: "
            "bring students of one step"
        )
    both = (first.artifact, second.artifact)
    for one in both:
        may_teach(archive, one)
    consent = joined_consent(both)
    remembers = first.remembers or second.remembers
    bins = max(1, round(steering.stimuli.clip_s / bin_s)) if remembers else 1
    wanted = steering.loop + steering.held_out
    stimuli = stimuli_of(
        archive,
        steering.stimuli,
        count=wanted,
        channels=first.responder.channels,
        bins=bins,
        bin_s=bin_s,
        seed=steering.seed,
    )
    if len(stimuli) < wanted:
        raise InvalidInput(f"{len(stimuli)} stimuli are too few for {wanted}: ask for fewer, or shorter ones")
    done = transfer(
        first.responder,
        second.responder,
        stimuli[: steering.loop],
        stimuli[steering.loop :],
        bin_s=bin_s,
        limits=steering.limits,
        history=second.history(bin_s, memory_s=steering.memory_s),
        rounds=steering.rounds,
        window_bins=max(1, min(bins, round(_WINDOW_S / bin_s))) if remembers else 1,
        skip_bins=min(bins // 2, round(_SKIP_S / bin_s)) if remembers else 0,
        seed=steering.seed,
        told=told,
    )
    report = as_json(
        {
            "transfer": 1,
            "from": {"address": str(first.artifact.address), "sha256": first.artifact.sha256},
            "to": {"address": str(second.artifact.address), "sha256": second.artifact.sha256},
            "before": asdict(done.before),
            "after": asdict(done.after),
            "course": done.course,
            "queries": done.queries,
            "bin_s": bin_s,
            "bins_per_stimulus": bins,
            "limits": asdict(steering.limits),
            "seed": steering.seed,
        }
    )
    metadata: dict[str, Scalar] = {**consent, "transfer.queries": done.queries, "transfer.seed": steering.seed}
    for name, likeness in (("before", done.before), ("after", done.after)):
        metadata |= {
            f"transfer.{name}.{measure}": value for measure, value in asdict(likeness).items() if math.isfinite(value)
        }
    found = io.BytesIO()
    np.save(found, done.stimulations)
    beside = (to.path or "").removesuffix(".json") + ".stimulations.npy"
    deposited = deposit_made(
        archive,
        [Made(to.path or "", report, Kind.FILE, metadata), Made(beside, found.getvalue(), Kind.PROTOCOL, metadata)],
        to=to,
        sources=(first.artifact, second.artifact),
        message=f"{second.artifact.address} stimulated to answer as {first.artifact.address}",
        author=author,
    )
    return Transfer(done, deposited[0], deposited[1])
