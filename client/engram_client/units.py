"""Units as recordings write them, in terms of the SI's own."""

from __future__ import annotations

from typing import Final

_PREFIXES: Final = {
    "p": 1e-12,
    "n": 1e-9,
    "u": 1e-6,
    "\N{MICRO SIGN}": 1e-6,
    "\N{GREEK SMALL LETTER MU}": 1e-6,
    "m": 1e-3,
    "k": 1e3,
    "M": 1e6,
    "G": 1e9,
}
_WORDS: Final = {"pico": 1e-12, "nano": 1e-9, "micro": 1e-6, "milli": 1e-3, "kilo": 1e3, "mega": 1e6, "giga": 1e9}
_SYMBOLS: Final = frozenset({"V", "A", "S", "F", "Hz", "s", "W", "J", "N", "Pa", "C", "m", "\N{OHM SIGN}"})
_NAMES: Final = {
    "volt": "V",
    "ampere": "A",
    "amp": "A",
    "siemens": "S",
    "farad": "F",
    "ohm": "\N{OHM SIGN}",
    "hertz": "Hz",
    "second": "s",
    "metre": "m",
    "meter": "m",
}


def to_si(unit: str) -> tuple[float, str]:
    """Return the factor to the SI's unit, and its symbol: `uV` and `microvolts` give (1e-06, "V").

    A unit that is not known here is returned as it is, with the factor 1.
    """
    text = unit.strip().replace("\N{GREEK CAPITAL LETTER OMEGA}", "\N{OHM SIGN}")
    if text in _SYMBOLS:
        return 1.0, text
    if text[:1] in _PREFIXES and text[1:] in _SYMBOLS:
        return _PREFIXES[text[:1]], text[1:]
    word = text.lower()
    for prefix, factor in {"": 1.0, **_WORDS}.items():
        name = word.removeprefix(prefix)
        if word.startswith(prefix) and (symbol := _NAMES.get(name) or _NAMES.get(name.removesuffix("s"))):
            return factor, symbol
    return 1.0, unit


__all__ = ["to_si"]
