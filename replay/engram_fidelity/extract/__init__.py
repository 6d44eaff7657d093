"""Extraction: a student made by asking a teacher, with stimuli that are chosen by what is not known yet."""

from engram_fidelity.extract.ensemble import Ensemble
from engram_fidelity.extract.extraction import Extracted, Held, extract
from engram_fidelity.extract.history import History
from engram_fidelity.extract.ledger import Query, as_json
from engram_fidelity.extract.policies import Policy

__all__ = ["Ensemble", "Extracted", "Held", "History", "Policy", "Query", "as_json", "extract"]
