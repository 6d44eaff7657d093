"""Verdicts on replays as messages, and messages as values; both ends of the wire use these functions."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from engram.v1 import replay_pb2 as pb
from engram.v1.names import name_of, parse_name
from engram.v1.values import fitting
from engram_format.catalog import Alteration, Likeness, OutputLikeness, ReplayVerdict
from engram_format.errors import EngramError

_NUMBERS: Final = {
    Likeness.BIT: pb.LIKENESS_BIT,
    Likeness.TOLERANCE: pb.LIKENESS_TOLERANCE,
    Likeness.FAIL: pb.LIKENESS_FAIL,
}
_WORDS: Final = {number: likeness for likeness, number in _NUMBERS.items()}


def message_of_verdict(verdict: ReplayVerdict) -> pb.VerifyReplayResponse:
    """Say a verdict."""
    with fitting(f"the verdict on {verdict.address}"):
        return pb.VerifyReplayResponse(
            replay=name_of(verdict.address),
            likeness=_NUMBERS[verdict.likeness],
            outputs=map(_message_of_output, verdict.outputs),
            profile=(
                pb.VerifyReplayResponse.Difference(name=part.name, before=part.before, after=part.after)
                for part in verdict.profile
            ),
            reference=map(_message_of_output, verdict.reference),
            reference_steps=verdict.reference_steps,
            detail=verdict.detail,
        )


def verdict_of(message: pb.VerifyReplayResponse) -> ReplayVerdict:
    """Read a verdict."""
    return ReplayVerdict(
        address=parse_name(message.replay),
        likeness=_likeness(message.likeness),
        outputs=_outputs_of(message.outputs),
        profile=tuple(
            Alteration(
                part.name,
                part.before if part.HasField("before") else None,
                part.after if part.HasField("after") else None,
            )
            for part in message.profile
        ),
        reference=_outputs_of(message.reference),
        reference_steps=message.reference_steps,
        detail=message.detail,
    )


def _message_of_output(output: OutputLikeness) -> pb.VerifyReplayResponse.Output:
    return pb.VerifyReplayResponse.Output(
        name=output.name,
        likeness=_NUMBERS[output.likeness],
        bound=output.bound,
        largest=output.largest,
        rms=output.rms,
        detail=output.detail,
    )


def _outputs_of(messages: Iterable[pb.VerifyReplayResponse.Output]) -> tuple[OutputLikeness, ...]:
    return tuple(
        OutputLikeness(one.name, _likeness(one.likeness), one.bound, one.largest, one.rms, one.detail)
        for one in messages
    )


def _likeness(number: pb.Likeness.ValueType) -> Likeness:
    likeness = _WORDS.get(number)
    if likeness is None:
        raise EngramError("the service gave a verdict that this client does not know: upgrade it")
    return likeness
