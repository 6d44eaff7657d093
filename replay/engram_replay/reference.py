"""The independent check: a network run by the ONNX reference evaluator instead of the runtime.

The reference evaluator is written in Python from the standard, slow, and shares no code with the runtime; its NumPy rounds
otherwise, so it is compared within a bound and not to the bit.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

import onnx
from onnx.reference import ReferenceEvaluator

from engram_format.catalog import AnyArray
from engram_format.errors import Exhausted, InvalidInput
from engram_replay.loader import Student, reason


class ReferenceCalls:
    """Calls of a student's network by the reference evaluator, all together within `limit_s`."""

    def __init__(self, student: Student, model: onnx.ModelProto, *, limit_s: float) -> None:
        self._student = student
        self._limit_s = limit_s
        self._deadline = time.monotonic() + limit_s
        try:
            self._evaluator = ReferenceEvaluator(model)
        except Exception as error:  # whatever it raises: its operators have no error in common
            raise self._cannot(error) from error

    def run(self, names: Sequence[str], feed: Mapping[str, AnyArray], *, step: int) -> list[AnyArray]:
        """Return the outputs of one call; raises `InvalidInput` where the evaluator fails and `Exhausted` past the deadline."""
        if time.monotonic() > self._deadline:
            raise Exhausted(
                f"the reference evaluator came to step {step} of {self._student} in {self._limit_s:g} s: "
                "compare fewer steps"
            )
        try:
            return list(self._evaluator.run(list(names), dict(feed)))
        except Exception as error:  # as above
            raise self._cannot(error) from error

    def _cannot(self, error: Exception) -> InvalidInput:
        return InvalidInput(
            f"the reference evaluator cannot run {self._student} ({type(error).__name__}: {reason(error)}): "
            "verify without it"
        )
