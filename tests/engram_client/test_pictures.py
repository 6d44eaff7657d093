"""Pictures are drawn of whatever numbers and names a file holds, and nothing of it reaches the terminal."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from engram_client.envelope import Envelope
from engram_client.pictures import draw_raster, draw_traces

NOISE = np.random.default_rng(0).normal(size=(40, 2))
HOSTILE = "$\\frac{$ \x1b]0;title\x07\n\u202e\U000e0001"


def drawn(values, *, columns: int = 40, name: str = "channel", unit: str = "V") -> bytes:
    envelope = Envelope(0, len(values), values.shape[1], columns=columns)
    envelope.add(0, values)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return draw_traces(
            envelope,
            np.linspace(0, 1, columns),
            (0.0, 1.0),
            channels=[name] * values.shape[1],
            unit=unit,
            title=name,
            subtitle=name,
            axis="time (s)",
        )


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize(
    "values",
    [
        NOISE * np.nan,
        NOISE * 1e307,
        NOISE * 5e-324,
        NOISE * 0,
        np.where(NOISE > 0, np.inf, NOISE),
        np.sign(NOISE) * 1.7e308,
    ],
    ids=["nan", "huge", "tiny", "zero", "infinite", "all there is"],
)
def test_any_numbers_are_drawn_without_a_warning(values, channels):
    assert drawn(values[:, :channels]).startswith(b"\x89PNG")
    assert drawn(values[:, :channels], columns=10).startswith(b"\x89PNG")


@pytest.mark.parametrize("channels", [1, 2])
def test_names_and_units_of_a_file_are_neither_formulas_nor_control_characters(channels):
    assert drawn(NOISE[:, :channels], name=HOSTILE, unit=HOSTILE).startswith(b"\x89PNG")
    assert drawn(NOISE[:, :channels], name="x" * 100_000).startswith(b"\x89PNG")


def test_a_raster_takes_any_names():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        raster = draw_raster([np.arange(3.0)], 0.0, 3.0, names=[HOSTILE], title=HOSTILE, subtitle=HOSTILE)
    assert raster.startswith(b"\x89PNG")
