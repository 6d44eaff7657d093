"""A service that is told to stop while networks without an end run in it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import numpy as np
import pytest
from engram_testing import archives
from engram_testing import hostile_networks as net
from engram_testing.deposits import put
from engram_testing.processes import family, state
from engram_testing.services import eventually

from engram_client.remote import RemoteArchive, connect
from engram_format.errors import EngramError
from engram_replay import HostLimits
from engram_server.config import ServeConfig
from engram_server.engine.minds import Minds
from engram_server.rpc.serve import serving

GRACE_S = 1.0
X = np.ones((1, 1, 1), np.float32)


NETWORKS = {"products": net.squares(2_000, 1_024).SerializeToString()}


@pytest.mark.parametrize("way", ["replay", "tick", pytest.param("infinitely many", marks=pytest.mark.nightly)])
@pytest.mark.parametrize("network", NETWORKS)
def test_a_service_stops_in_time_although_a_network_has_no_end(network: str, way: str) -> None:
    place = archives.Place().create()
    with place.open() as depositing:
        student = put(depositing, archives.MEMORY.of("student.bin"), NETWORKS[network])
    archive = place.open()
    archive._minds = Minds(archive, HostLimits(allow_loops=True, call_s=600.0))
    shape = (1, 1, 1, 1) if network == "products" else (1, 1, 1)
    failed: list[BaseException] = []

    def asking(remote: RemoteArchive) -> Callable[[], object]:
        if way == "tick":
            minds = remote.open_minds(student)
            return lambda: minds.tick({"x": X.reshape(shape)})
        return lambda: remote.replay(student, {"x": X.reshape(1, 1)})

    def ask(function: Callable[[], object]) -> None:
        try:
            function()
        except EngramError as error:
            failed.append(error)

    with serving(ServeConfig(port=0, grace_s=GRACE_S), archive) as port, connect(f"grpc://127.0.0.1:{port}") as remote:
        count = 12 if way == "infinitely many" else 1
        threads = [threading.Thread(target=ask, args=(asking(remote),)) for _ in range(count)]
        for thread in threads:
            thread.start()
        nursery = eventually(lambda: archive.minds.host._residents._nursery._process is not None)
        assert nursery
        pid = archive.minds.host._residents._nursery._process.pid
        assert eventually(lambda: "R" in [state(one) for one in family(pid)])
        time.sleep(0.3)
        began = time.monotonic()
    assert time.monotonic() - began < GRACE_S + 5
    for thread in threads:
        thread.join(timeout=5)
    assert len(failed) == count
    assert eventually(lambda: not list(family(pid))[1:])
