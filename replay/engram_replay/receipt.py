"""The receipt of a replay: digests of all that went in and came out, and the profile under which it ran.

Two replays whose receipts name the same student, stimulus, state and profile have the same outputs, to the bit. Where the
profile differs (another runtime, another processor), outputs may differ in the last digits.
"""

from __future__ import annotations

from collections.abc import Mapping

from engram_format.catalog import Scalar
from engram_replay.arrays import digest_arrays
from engram_replay.execution import Execution
from engram_replay.loader import Student
from engram_replay.profile import profile
from engram_replay.stepper import Replay


def receipt(student: Student, replay: Replay, execution: Execution | None = None) -> Mapping[str, Scalar]:
    """Return the receipt of a replay as flat metadata; digests are 64 hex digits.

    `student.sha256` is over the network's bytes; `stimulus.sha256`, `initial_state.sha256`, `final_state.sha256` and
    `outputs.sha256` are `arrays.digest_arrays` over the arrays by name, in the network's types.
    """
    return {
        "student.sha256": student.sha256,
        "stimulus.sha256": digest_arrays(replay.stimulus),
        "initial_state.sha256": digest_arrays(replay.initial_state),
        "final_state.sha256": digest_arrays(replay.final_state),
        "outputs.sha256": digest_arrays(replay.outputs),
        "replay.mode": student.signature.mode.value,
        "replay.steps": replay.steps,
        **profile(execution or Execution()),
    }
