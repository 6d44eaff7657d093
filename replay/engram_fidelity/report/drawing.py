"""A whole report: every picture in both themes, one page that holds them, and all of it as one picture."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from engram_fidelity.certificate.value import Certificate
from engram_fidelity.report.evidence import Evidence
from engram_fidelity.report.page import page
from engram_fidelity.report.pictures import PICTURES, head
from engram_fidelity.report.style import DARK, LIGHT, png


@dataclass(frozen=True, slots=True, eq=False)
class Report:
    """A certificate for people."""

    page: bytes
    """HTML that needs nothing else."""
    overview: bytes
    """All pictures under the grade, as one PNG."""
    pictures: Mapping[str, bytes]
    """Each as PNG, by its name."""


def draw(certificate: Certificate, evidence: Evidence) -> Report:
    """Draw the report; raises `Precondition` without matplotlib."""
    light = {one.name: one.pixels(certificate, evidence, LIGHT) for one in PICTURES}
    pictures = {name: png(seen) for name, seen in light.items()}
    dark = {one.name: png(one.pixels(certificate, evidence, DARK)) for one in PICTURES}
    return Report(
        page=page(certificate, pictures, dark),
        overview=png(np.concatenate([head(certificate), *light.values()])),
        pictures=pictures,
    )
