"""Reading a certificate again, and comparing it with one that was computed anew."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Final, cast

from engram_fidelity.certificate.value import FORM, Json, Named, Settings, plain
from engram_format.address import check_sha256
from engram_format.errors import EngramError, FormatError, InvalidInput

MAX_BYTES: Final = 16 << 20
_NOT_COMPARED: Final = frozenset({"versions", "profile"})
"""Told apart from the numbers: they say on what they were computed."""
_ROUNDING: Final = 1e-9
"""Numbers this near to each other, in parts of them, are equal: sums in another order differ by less."""
_MOST_RESAMPLES: Final = 10_000
_MOST_EPSILONS: Final = 100
_MOST_S: Final = 3600.0
_MOST_CHARS: Final = 4096
"""Of an address or the id of a stimulus."""


@dataclass(frozen=True, slots=True)
class Claim:
    """What a certificate claims, as far as it must be known to compute it again."""

    student: Named
    recording: Named
    settings: Settings
    stimuli: tuple[str, ...]
    told: Mapping[str, Json]
    """All that it says."""


@dataclass(frozen=True, slots=True)
class Difference:
    """One value that is not the same in both."""

    name: str
    """Where it stands, as `measures.0.mean.value`."""
    before: str
    after: str


def read_certificate(data: bytes) -> Claim:
    """Read a certificate; raises `FormatError` for what is none, in one sentence."""
    if len(data) > MAX_BYTES:
        raise FormatError(f"a certificate of {len(data)} bytes is none: at most {MAX_BYTES} are read")
    try:
        told = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise FormatError(
            "the certificate is no JSON: name the artifact of kind certificate, which ends in .json"
        ) from error
    if not isinstance(told, dict) or told.get("form") != FORM:
        raise FormatError(f"the certificate has not the form {FORM!r}, which is the one that can be computed again")
    try:
        return Claim(
            student=_named(told["student"]),
            recording=_named(told["recording"]),
            settings=_settings(told["settings"]),
            stimuli=tuple(_text(one) for one in told["data"]["stimuli"]),
            told=told,
        )
    except (KeyError, TypeError, ValueError, OverflowError, EngramError) as error:
        raise FormatError(
            f"the certificate does not say what it is of, or how it was computed: {error!s:.200}"
        ) from error


def compare(before: Mapping[str, Json], after: Mapping[str, Json]) -> tuple[Difference, ...]:
    """Return every value that differs, but for addresses, versions and profile."""
    both = [_compared(one) for one in (before, after)]
    return tuple(_differences("", *both))


def changed(before: Mapping[str, Json], after: Mapping[str, Json]) -> tuple[Difference, ...]:
    """Return what is not the same of the versions and the profile under which both were computed."""
    both = [cast("Json", {name: one.get(name) for name in sorted(_NOT_COMPARED)}) for one in (before, after)]
    return tuple(_differences("", *both))


def _compared(told: Mapping[str, Json]) -> Json:
    kept: dict[str, Json] = {name: value for name, value in told.items() if name not in _NOT_COMPARED}
    for name in ("student", "recording"):
        held = kept.get(name)
        kept[name] = (
            held.get("sha256") if isinstance(held, dict) else held
        )  # the same bytes may have been found elsewhere
    return kept


def _differences(name: str, before: Json, after: Json) -> Iterator[Difference]:
    if isinstance(before, dict) and isinstance(after, dict):
        for key in sorted({*before, *after}):
            if key not in before or key not in after:
                yield Difference(_under(name, key), _short(before.get(key)), _short(after.get(key)))
            else:
                yield from _differences(_under(name, key), before[key], after[key])
    elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        for place, (one, other) in enumerate(zip(before, after, strict=True)):
            yield from _differences(_under(name, str(place)), one, other)
    elif not _equal(before, after):
        yield Difference(name, _short(before), _short(after))


def _equal(before: Json, after: Json) -> bool:
    if _is_number(before) and _is_number(after):
        try:
            one, other = float(cast("float", before)), float(cast("float", after))
        except OverflowError:  # JSON knows integers that no double holds
            return before == after
        return math.isclose(one, other, rel_tol=_ROUNDING, abs_tol=1e-12)
    return type(before) is type(after) and before == after


def _is_number(value: Json) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _under(name: str, key: str) -> str:
    return f"{name}.{key}" if name else key


def _short(value: Json) -> str:
    told = json.dumps(value)
    return told if len(told) <= 80 else f"{told[:79]}\N{HORIZONTAL ELLIPSIS}"


def _named(told: Mapping[str, object]) -> Named:
    return Named(_text(told["address"]), check_sha256(_text(told["sha256"])))


def _text(value: object) -> str:
    if not isinstance(value, str) or len(value) > _MOST_CHARS:
        raise InvalidInput(f"{value!r:.60} is no text, or longer than {_MOST_CHARS} characters")
    return value


def _settings(told: Mapping[str, object]) -> Settings:
    known = {one.name for one in fields(Settings)}
    if set(told) != known:
        raise InvalidInput(f"the settings are {sorted(told)!r:.120}")
    epsilons = told["epsilons"]
    if not isinstance(epsilons, list) or len(epsilons) > _MOST_EPSILONS:
        raise InvalidInput("the epsilons are no short list")
    settings = Settings(
        seed=_whole(told["seed"]),
        ceiling=told["ceiling"] is True,
        resamples=_whole(told["resamples"]),
        epsilons=tuple(_number(one) for one in epsilons),
        **{name: _number(told[name]) for name in ("bin_s", "coarse_s", "window_s", "score_from_s", "alpha", "epsilon")},
    )
    widths = (settings.bin_s, settings.coarse_s, settings.window_s)
    if not (
        0 <= settings.seed < 2**63
        and 0 <= settings.resamples <= _MOST_RESAMPLES
        and all(0 < width <= _MOST_S for width in widths)
        and 0 <= settings.score_from_s <= _MOST_S
        and 0 < settings.alpha < 1
        and all(0 < one < 0.5 for one in (settings.epsilon, *settings.epsilons))
    ):
        raise InvalidInput("the settings are not those of a certificate")
    return settings


def unusual(settings: Settings) -> tuple[Difference, ...]:
    """Return the settings that are not the usual ones, but for the seed: with lax ones a high grade says little."""
    usual = Settings(seed=settings.seed)
    return tuple(
        Difference(one.name, _short(plain(getattr(settings, one.name))), _short(plain(getattr(usual, one.name))))
        for one in fields(Settings)
        if getattr(settings, one.name) != getattr(usual, one.name)
    )


def _whole(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise InvalidInput(f"{value!r:.60} is no whole number")
    return value


def _number(value: object) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
        raise InvalidInput(f"{value!r:.60} is no number")
    return float(value)
