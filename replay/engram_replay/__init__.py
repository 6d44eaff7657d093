"""Replay: running preserved students, exactly, each in a process of its own.

What is named here loads no runtime: that happens in the students' processes (`nursery`).
"""

import os

# onnxruntime reports its use to its makers unless told not to before it is loaded; an archive of people's recordings tells
# nobody anything.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

from engram_replay.arrays import ONLY_STIMULUS, decode_stimulus, digest_array, digest_arrays, encode_npz
from engram_replay.contract import Contract, Distribution, Port, Role
from engram_replay.execution import Execution, Form, Optimisation
from engram_replay.host import MindHost
from engram_replay.refusal import Refused
from engram_replay.residents import HostLimits, StudentSource
from engram_replay.session import MindSession
from engram_replay.signature import Mode, Signature, State, Stimulus, Tensor

__all__ = [
    "ONLY_STIMULUS",
    "Contract",
    "Distribution",
    "Execution",
    "Form",
    "HostLimits",
    "MindHost",
    "MindSession",
    "Mode",
    "Optimisation",
    "Port",
    "Refused",
    "Role",
    "Signature",
    "State",
    "Stimulus",
    "StudentSource",
    "Tensor",
    "decode_stimulus",
    "digest_array",
    "digest_arrays",
    "encode_npz",
]
