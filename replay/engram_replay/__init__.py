"""Replay: running preserved students, exactly."""

import os

# onnxruntime reports its use to its makers unless told not to before it is loaded; an archive of people's recordings tells
# nobody anything.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

from engram_replay.arrays import ONLY_STIMULUS, decode_stimulus, digest_array, digest_arrays, encode_npz
from engram_replay.loader import Student, load_student
from engram_replay.receipt import profile, receipt
from engram_replay.signature import Mode, Signature, State, Stimulus, Tensor
from engram_replay.stepper import Replay, run

__all__ = [
    "ONLY_STIMULUS",
    "Mode",
    "Replay",
    "Signature",
    "State",
    "Stimulus",
    "Student",
    "Tensor",
    "decode_stimulus",
    "digest_array",
    "digest_arrays",
    "encode_npz",
    "load_student",
    "profile",
    "receipt",
    "run",
]
