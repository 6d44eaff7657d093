"""Minds outlive their service where they were saved, and are gone with it where they were not."""

from __future__ import annotations

import numpy as np
import pytest
from engram_testing.programs import User
from engram_testing.students import gru

import engram_client
from engram_format.address import Address
from engram_format.errors import Unavailable

GRU = Address.parse("v/m:gru.onnx")


def test_minds_go_on_exactly_in_another_service(tmp_path):
    user = User(tmp_path, str(tmp_path / "archive"))
    user.runs("init")
    user.runs("vault", "create", "v")
    (tmp_path / "gru.onnx").write_bytes(gru())
    user.runs("deposit", tmp_path / "gru.onnx", "--to", "v/m")
    drive = np.random.default_rng(11).standard_normal((30, 16, 64)).astype(np.float32)
    with user.service() as first, engram_client.open(first.url) as archive:
        with archive.open_minds(GRU, minds=16) as minds:
            whole = minds.tick(drive)["y"]
        minds = archive.open_minds(GRU, minds=16)
        begun = minds.tick(drive[:10])["y"]
        kept = minds.save(Address.parse("v/m:minds/ten.npz"))
        minds.tick(drive[10:20])
        first.kill()
        with pytest.raises(Unavailable):
            minds.tick(drive[20:])
        minds.close()
    with (
        user.service() as second,
        engram_client.open(second.url) as archive,
        archive.open_minds(GRU, initial_state=kept.address) as minds,
    ):
        assert minds.steps == 10
        went_on = np.concatenate([minds.tick(drive[10:11])["y"], minds.tick(drive[11:])["y"]])
    assert np.array_equal(np.concatenate([begun, went_on]), whole)
