"""Certificates: how alike one student and one recording are, in numbers that anyone can compute again."""

from engram_fidelity.certificate.check import Claim, Difference, changed, compare, read_certificate, unusual
from engram_fidelity.certificate.compute import Examination, Subject, certify, examine
from engram_fidelity.certificate.value import (
    FORM,
    Betting,
    Certificate,
    Data,
    Discriminator,
    Domain,
    Drift,
    Estimate,
    FreeRunning,
    Graded,
    Measure,
    Named,
    Settings,
    Switch,
)

__all__ = [
    "FORM",
    "Betting",
    "Certificate",
    "Claim",
    "Data",
    "Difference",
    "Discriminator",
    "Domain",
    "Drift",
    "Estimate",
    "Examination",
    "FreeRunning",
    "Graded",
    "Measure",
    "Named",
    "Settings",
    "Subject",
    "Switch",
    "certify",
    "changed",
    "compare",
    "examine",
    "read_certificate",
    "unusual",
]
