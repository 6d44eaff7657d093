"""A receipt names all that a replay depends on."""

from __future__ import annotations

import hashlib

import numpy as np
import onnxruntime

from engram_replay.execution import Execution
from engram_replay.loader import load_student
from engram_replay.profile import profile
from engram_replay.receipt import receipt
from engram_replay.stepper import run


def test_equal_replays_have_equal_receipts(leaky_sum: bytes):
    x = np.arange(12).reshape(4, 3)
    first, second = load_student(leaky_sum), load_student(leaky_sum)
    one = receipt(first, run(first, {"x": x.astype(np.uint8)}))
    other = receipt(second, run(second, {"": x.astype(np.float32)}))
    assert one == other
    assert one["student.sha256"] == hashlib.sha256(leaky_sum).hexdigest()
    assert one["replay.mode"] == "step"
    assert one["replay.steps"] == 4


def test_what_changes_a_replay_changes_its_receipt(leaky_sum: bytes):
    student = load_student(leaky_sum)
    x = np.ones((4, 3), np.float32)
    before = receipt(student, run(student, {"x": x}))
    x[3, 2] = 2
    stimulus = receipt(student, run(student, {"x": x}))
    x[3, 2] = 1
    state = receipt(student, run(student, {"x": x}, initial_state={"level": np.ones((1, 3), np.float32)}))
    results = {"outputs.sha256", "final_state.sha256"}
    assert {key for key in before if before[key] != stimulus[key]} == {"stimulus.sha256", *results}
    assert {key for key in before if before[key] != state[key]} == {"initial_state.sha256", *results}


def test_a_receipt_is_flat_metadata_with_the_profile(leaky_sum: bytes):
    student = load_student(leaky_sum)
    entries = receipt(student, run(student, {"x": np.ones((1, 3), np.float32)}))
    assert all(isinstance(value, str | int | float | bool) for value in entries.values())
    assert profile(Execution()).items() <= entries.items()
    assert entries["profile.onnxruntime"] == onnxruntime.__version__
    assert entries["profile.provider"] == "CPUExecutionProvider"
    assert entries["profile.threads"] == 1
    assert entries["profile.cpu"]
