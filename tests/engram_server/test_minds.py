"""Minds of an archive that is used first and served afterwards."""

from __future__ import annotations

import numpy as np
import pytest
from engram_testing.archives import MEMORY, Place, deposit
from engram_testing.students import gru

from engram_client.remote import connect
from engram_format.errors import NotFound
from engram_server.config import ServeConfig
from engram_server.rpc.serve import serving

STIMULUS = np.ones((3, 1, 64), np.float32)


def test_minds_move_to_the_service_that_begins_and_those_before_end():
    place = Place().create()
    archive = place.open()
    deposit(archive, {"gru.onnx": gru()})
    student = MEMORY.of("gru.onnx")
    before = archive.open_minds(student)
    (expected,) = before.tick(STIMULUS).values()
    with serving(ServeConfig(port=0), archive) as port, connect(f"grpc://127.0.0.1:{port}") as remote:
        with pytest.raises(NotFound, match="the host was closed"):
            before.tick(STIMULUS)
        with remote.open_minds(student) as minds:
            assert minds.tick(STIMULUS)["y"].tobytes() == expected.tobytes()
        assert remote.replay(student, {"": STIMULUS[:, 0]}).outputs["y"].tobytes() == expected.tobytes()
