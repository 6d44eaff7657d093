"""Admission: what a network must be before any runtime sees it; pure Python over bytes and values, in bounded time."""

from engram_replay.gate.admission import check_network, metadata_of
from engram_replay.gate.limits import GateLimits, Rule
from engram_replay.refusal import Refused

__all__ = ["GateLimits", "Refused", "Rule", "check_network", "metadata_of"]
