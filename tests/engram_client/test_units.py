"""Units as recordings write them."""

from __future__ import annotations

import pytest

from engram_client.units import to_si


@pytest.mark.parametrize(
    ("unit", "factor", "symbol"),
    [
        ("V", 1.0, "V"),
        ("uV", 1e-6, "V"),
        ("\N{MICRO SIGN}V", 1e-6, "V"),
        ("\N{GREEK SMALL LETTER MU}V", 1e-6, "V"),
        ("pA", 1e-12, "A"),
        ("mV", 1e-3, "V"),
        ("volts", 1.0, "V"),
        ("Volts", 1.0, "V"),
        ("microvolts", 1e-6, "V"),
        ("picoamperes", 1e-12, "A"),
        ("seconds", 1.0, "s"),
        ("ms", 1e-3, "s"),
        ("siemens", 1.0, "S"),
        ("kHz", 1e3, "Hz"),
        ("m", 1.0, "m"),
        ("a.u.", 1.0, "a.u."),
        ("", 1.0, ""),
        ("lumens", 1.0, "lumens"),
    ],
)
def test_a_unit_is_told_in_the_si(unit, factor, symbol):
    assert to_si(unit) == (factor, symbol)
