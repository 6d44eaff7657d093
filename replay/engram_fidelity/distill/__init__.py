"""Students made from an experiment, in tiers from a linear filter to a recurrent network with a history of its own."""

from engram_fidelity.distill.outcome import Distilled
from engram_fidelity.distill.split import Split, split
from engram_fidelity.distill.tiers import TIERS, distill, taught_in_bins

__all__ = ["TIERS", "Distilled", "Split", "distill", "split", "taught_in_bins"]
