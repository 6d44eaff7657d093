"""A replay of many minds in one session, run again as it was."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

import numpy as np

from engram_format.catalog import AnyArray
from engram_format.errors import InvalidInput
from engram_format.ports import for_minds, named
from engram_replay import Execution, StudentSource, digest_arrays
from engram_replay.host import Answer
from engram_server.engine.open_minds import ports_of

if TYPE_CHECKING:
    from engram_server.engine.archive import Archive

MANY_MINDS: Final = "minds"
"""The `replay.mode` of a replay of many minds; its outputs are (time, mind, ...)."""

_TICK_BYTES: Final = 1 << 20


async def run_again(
    archive: Archive,
    student: StudentSource,
    stimulus: Mapping[str, AnyArray],
    states: Mapping[str, AnyArray],
    *,
    minds: int,
    execution: Execution,
    sample: int | None,
) -> Answer:
    """Run minds over a stimulus from states; how steps are divided between ticks does not change what they answer.

    Noise is drawn from the seed `sample`.
    """
    session = await archive.minds.host.open(
        student,
        minds=minds,
        execution=execution,
        constants={name: array.item() for name, array in stimulus.items() if not array.ndim},
        initial_state=states,
        sample=sample,
    )
    try:
        initial = await session.state()
        ports = ports_of(session.contract)
        given = named(stimulus, ports)
        views = [for_minds(given[port.name], port, minds=minds) for port in ports if port.role == "stimulus"]
        lengths = {len(view) for view in views}
        if len(lengths) != 1 or not (steps := lengths.pop()):
            raise InvalidInput(
                f"the stimuli have {[len(view) for view in views]} steps: give all the same number, at least 1"
            )
        stride = max(_TICK_BYTES // max(sum(view.nbytes for view in views) // steps, 1), 1)
        parts = [
            await session.tick([np.ascontiguousarray(view[first : first + stride]) for view in views])
            for first in range(0, steps, stride)
        ]
        receipt = {
            "stimulus.sha256": digest_arrays(given),
            "initial_state.sha256": digest_arrays(initial),
            "replay.mode": MANY_MINDS,
            **session.profile,
        }
        outputs = {
            port.name: np.concatenate([part[number] for part in parts])
            for number, port in enumerate(session.contract.responses)
        }
        return Answer(outputs=outputs, final_state=await session.state(), stimulus=given, receipt=receipt)
    finally:
        await session.close()
