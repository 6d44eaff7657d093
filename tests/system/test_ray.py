"""Replays spread over a real Ray cluster, of this machine alone."""

from __future__ import annotations

import io
import json

import numpy as np
import pytest
from engram_testing import students
from engram_testing.programs import User

pytest.importorskip("ray", reason="the extra [ray] is not installed: pip install 'engram[ray]'")

STUDENT = "lab/cells:students/gru.onnx"


@pytest.fixture(scope="module")
def user(tmp_path_factory) -> User:
    folder = tmp_path_factory.mktemp("cluster")
    user = User(folder, str(folder / "archive"))
    user.runs("init")
    user.runs("vault", "create", "lab")
    (folder / "gru.onnx").write_bytes(students.gru(hidden=32))
    user.runs("deposit", folder / "gru.onnx", "--to", STUDENT)
    for number in range(3):
        stimulus = np.random.default_rng(number).standard_normal((200, 64)).astype(np.float32)
        np.save(folder / f"{number}.npy", stimulus)
        user.runs("deposit", folder / f"{number}.npy", "--to", f"lab/cells:stimuli/{number}.npy")
    return user


def test_a_batch_on_ray_is_kept_with_the_bits_of_replays_here_and_what_fails_is_told(user):
    wanted = [f"lab/cells:stimuli/{number}.npy" for number in range(3)]
    stimuli = [part for one in (*wanted, "lab/cells:no-such.npy") for part in ("--stimulus", one)]
    told = json.loads(user.runs("replay", STUDENT, *stimuli, "--engine", "ray", "--json", status=1).out)["replays"]
    kept = [one for one in told if one["saved"]]
    assert sorted(one["stimulus"] for one in kept) == wanted
    (failed,) = (one for one in told if not one["saved"])
    assert failed["stimulus"] == "lab/cells:no-such.npy"
    assert "no-such.npy" in failed["failure"]
    for one in kept:
        user.runs("restore", one["saved"], user.home / "cluster.npz", "--force")
        user.runs("replay", STUDENT, "--stimulus", one["stimulus"], "-o", user.home / "here.npz", "--force")
        cluster, here = ((user.home / name).read_bytes() for name in ("cluster.npz", "here.npz"))
        assert np.load(io.BytesIO(cluster))["y"].tobytes() == np.load(io.BytesIO(here))["y"].tobytes()
    assert "bit" in user.runs("replay", "verify", kept[0]["saved"]).out.split()


def test_files_of_this_machine_are_refused(user):
    told = user.runs("replay", STUDENT, "--engine", "ray", "--stimulus", user.home / "0.npy", status=1).err
    assert "vault/memory" in told
