"""The digest of an experiment: equal for equal numbers and names, whatever file and door they came from."""

from __future__ import annotations

import hashlib
import json

import numpy as np

from engram_fidelity.experiment import Experiment


def experiment_sha256(experiment: Experiment) -> str:
    """Return the SHA-256, 64 hex digits, of an experiment: bin width, names, unit, and all numbers in the order of its trials."""
    head = {
        "bin_s": experiment.bin_s.hex(),
        "channels": experiment.channels,
        "cells": experiment.cells,
        "unit": experiment.unit,
        "trials": [(one.stimulus_id, one.stimulus.shape, one.counts.shape) for one in experiment.trials],
    }
    digest = hashlib.sha256(json.dumps(head, sort_keys=True).encode())
    for one in experiment.trials:
        digest.update(np.ascontiguousarray(one.stimulus, "<f4").tobytes())
        digest.update(np.ascontiguousarray(one.counts, np.uint8).tobytes())
    return digest.hexdigest()
