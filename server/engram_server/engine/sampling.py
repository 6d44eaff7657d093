"""The use case of drawing: counts and events from the responses of a replay, when it is made and when it is verified."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from engram_format.catalog import AnyArray, Artifact, Metadata
from engram_format.errors import InvalidInput
from engram_replay import Contract, Mode, StudentSource, digest_arrays
from engram_replay.drawing import DIGEST, SEED, distributions, draw_minds, draw_whole, is_drawable
from engram_replay.host import Answer
from engram_server.engine.many_minds import MANY_MINDS

if TYPE_CHECKING:
    from engram_server.engine.archive import Archive


def contract_of(archive: Archive, network: Artifact, source: StudentSource) -> Contract:
    """Return a student's contract: as it is kept, else as the network tells it, which has to be loaded for that."""
    try:
        kept = Contract.from_metadata(network.metadata)
    except InvalidInput:  # a part of a contract, which the network completes
        kept = None

    async def told() -> Contract:
        return await archive.minds.host.contract(source)

    return kept or archive.minds.wait(told())


def sampled(done: Answer, contract: Contract, *, seed: int) -> Answer:
    """Return a replay with what is drawn from its responses, if anything is, and a receipt that says so."""
    if not is_drawable(distributions(contract)):
        return with_seed(done, seed=seed)
    drawn = draw_whole(done.outputs, contract, mode=Mode(str(done.receipt["replay.mode"])), seed=seed)
    return replace(
        done,
        outputs={**done.outputs, **drawn},
        receipt={**done.receipt, SEED: seed, DIGEST: digest_arrays(drawn)},
    )


def kept_seed(receipt: Metadata) -> int:
    """Return the seed that a receipt names; raises `InvalidInput` where it names none."""
    seed = receipt.get(SEED)
    if type(seed) is not int:
        raise InvalidInput(f"the receipt's {SEED} is {seed!r}, and no seed: replay the student again")
    return seed


def with_seed(done: Answer, *, seed: int) -> Answer:
    """Return a replay with a receipt that names the seed of its noise."""
    return replace(done, receipt={**done.receipt, SEED: seed})


def drawn_again(outputs: Mapping[str, AnyArray], contract: Contract, receipt: Metadata) -> Mapping[str, AnyArray]:
    """Draw from the outputs of a kept replay, as its receipt says."""
    seed = kept_seed(receipt)
    if receipt.get("replay.mode") == MANY_MINDS:
        return draw_minds(outputs, distributions(contract), seed=seed)
    return draw_whole(outputs, contract, mode=Mode(str(receipt.get("replay.mode"))), seed=seed)
