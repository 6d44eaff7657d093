"""The execution profile as metadata: software, settings and processor, all that bits depend on beside student and stimulus."""

from __future__ import annotations

import platform
from collections.abc import Mapping

import numpy as np
import onnx
import onnxruntime

from engram_format.catalog import Scalar
from engram_replay.execution import PROFILE_PREFIX, PROVIDER, Execution


def profile(execution: Execution) -> Mapping[str, Scalar]:
    """Return what the bits of a replay depend on beside student and stimulus: software, settings and processor."""
    return {
        **{f"{PROFILE_PREFIX}{name}": value for name, value in execution.to_fields().items()},
        "profile.onnxruntime": onnxruntime.__version__,
        "profile.onnx": onnx.__version__,
        "profile.numpy": np.__version__,
        "profile.provider": PROVIDER,
        "profile.machine": platform.machine(),
        "profile.cpu": " ".join(_processor_features()),
    }


def _processor_features() -> list[str]:
    """Return the instruction sets of this processor that NumPy finds, by NumPy's names."""
    features = np.show_config(mode="dicts")["SIMD Extensions"]
    return [*features.get("baseline", []), *features.get("found", [])]
