"""Extraction over an archive: a deposited teacher is asked, and the student made of its answers is deposited with its ledger."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

import numpy as np

from engram_client.contract import contract_metadata
from engram_client.fidelity.made import Made, check_place, check_seed, deposit_made
from engram_client.fidelity.permission import joined_consent, may_teach
from engram_client.fidelity.pools import Wanted, open_network, stimuli_of
from engram_fidelity.experiment import Experiment, Trials
from engram_fidelity.extract import Extracted, Policy, as_json, extract
from engram_fidelity.extract.network import as_student
from engram_format.address import Address, AnyAddress, check_note
from engram_format.catalog import Artifact, Kind, Scalar

if TYPE_CHECKING:
    from engram_client.archive import Archive


@dataclass(frozen=True, slots=True)
class Asking:
    """How a teacher is asked."""

    queries: int = 400
    policy: Policy = Policy.MIX
    seed: int = 0
    batch: int = 40
    stimuli: Wanted = field(default_factory=Wanted)
    memory_s: float = 0.3
    """How far back the student looks, if the teacher has memory at all."""
    bin_s: float | None = None
    """The teacher's step, where its contract names none."""


@dataclass(frozen=True, slots=True, eq=False)
class Extraction:
    """A student that was made by asking, and what was deposited."""

    extracted: Extracted
    student: Artifact
    ledger: Artifact


def extract_student(
    archive: Archive,
    teacher: AnyAddress,
    *,
    to: Address,
    asking: Asking,
    author: str = "",
    told: Callable[[int], None] = lambda _queries: None,
) -> Extraction:
    """Ask a teacher and deposit a student at `to`, and beside it the ledger (`.ledger.json`), in one version.

    What forbids to train models on the teacher's recording forbids this too: the statements of consent of the teacher and of
    what it was made from are asked, where they have one (`Denied`). The clock of the ledger is this machine's. Raises what
    `extract` raises; nothing is deposited then.
    """
    check_place(to, what="a student")
    check_note(author, what="author")
    check_seed(asking.seed)
    asked, bin_s = open_network(archive, teacher, bin_s=asking.bin_s)
    source = asked.artifact
    may_teach(archive, source)
    consent = joined_consent([source])
    bins = max(1, round(asking.stimuli.clip_s / bin_s)) if asked.remembers else 1
    responder = asked.responder
    pool = stimuli_of(
        archive,
        asking.stimuli,
        count=2 * asking.queries if asked.remembers else 4 * asking.queries,
        channels=responder.channels,
        bins=bins,
        bin_s=bin_s,
        seed=asking.seed,
    )
    done = extract(
        responder,
        pool,
        queries=asking.queries,
        policy=asking.policy,
        history=asked.history(bin_s, memory_s=asking.memory_s),
        seed=asking.seed,
        batch=asking.batch,
        clock=lambda: datetime.now(UTC).isoformat(timespec="milliseconds"),
        told=lambda queries, _: told(queries),
    )
    held: dict[str, Scalar] = {
        f"extract.held_out.{name}": value for name, value in asdict(done.held).items() if math.isfinite(value)
    }
    metadata: dict[str, Scalar] = {
        "extract.teacher_sha256": source.sha256,
        "extract.policy": str(asking.policy),
        "extract.queries": len(done.ledger),
        "extract.random_queries": sum(query.policy == Policy.RANDOM for query in done.ledger),
        "extract.seed": asking.seed,
        "extract.bins_per_query": bins,
        **held,
    }
    like = Experiment(
        # Names and bins are wanted of it; the teacher is not asked once more than its ledger says.
        (Trials("query", pool[0], np.zeros((1, bins, responder.cells), np.uint8)),),
        bin_s,
        responder.channel_names or tuple(str(number) for number in range(responder.channels)),
        responder.cell_names or tuple(str(number) for number in range(responder.cells)),
    )
    made = as_student(done, like, metadata=metadata)
    ledger = as_json(
        done.ledger,
        {"teacher": {"address": str(source.address), "sha256": source.sha256}, "bin_s": bin_s, **metadata},
    )
    path = PurePosixPath(to.path or "")
    deposited = deposit_made(
        archive,
        [
            Made(
                str(path),
                made.network,
                Kind.STUDENT,
                {**consent, **contract_metadata(made.contract), **metadata},
            ),
            Made(str(path.with_suffix(".ledger.json")), ledger, Kind.FILE, {**consent, **metadata}),
        ],
        to=to,
        sources=(source,),
        message=f"A student of {len(done.ledger)} queries ({asking.policy}) to {source.address}",
        author=author,
    )
    return Extraction(done, deposited[0], deposited[1])
