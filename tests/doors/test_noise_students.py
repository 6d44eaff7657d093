"""A student that draws its own spikes is asked like any other: each repeat is a mind with noise of its own."""

from __future__ import annotations

import numpy as np
import pytest
from engram_testing import students
from engram_testing.deposits import put

from engram_client.fidelity.students import ArchiveStudent
from engram_format.address import Address
from engram_format.catalog import Kind
from engram_replay.contract_file import parse_contract

PLACE = Address("lab", "noise-students")
STIMULUS = np.random.default_rng(5).standard_normal((40, 4)).astype(np.float32)


@pytest.fixture(scope="module", params=[True, False], ids=["with a rate", "with spikes alone"])
def noisy(request, archive):
    told = 'sampling_interval_s = 0.005\n[inputs.noise]\nrole = "noise"\n'
    network = students.self_exciting(cells=3, with_rate=request.param)
    said = dict(parse_contract(told, what="self_exciting.toml").to_metadata())
    return put(archive, PLACE.of(f"{request.param}.onnx"), network, kind=Kind.STUDENT, metadata=said)


def test_repeats_are_minds_with_noise_of_their_own(archive, noisy):
    student = ArchiveStudent(archive, noisy, bin_s=0.005)
    counts = student.sample(STIMULUS, repeats=5, seed=3)
    with archive.open_minds(noisy, minds=5, sample=3) as minds:
        each = np.repeat(STIMULUS[:, np.newaxis], 5, axis=1)
        spikes = minds.tick(each)["spikes"]
    assert np.array_equal(counts, spikes.transpose(1, 0, 2))
    assert not np.array_equal(counts[0], counts[1])
    assert np.array_equal(counts[:2], student.sample(STIMULUS, repeats=2, seed=3))
    assert not np.array_equal(counts, student.sample(STIMULUS, repeats=5, seed=4))


def test_what_is_expected_is_the_mean_of_many_free_runs(archive, noisy):
    student = ArchiveStudent(archive, noisy, bin_s=0.005)
    expected = student.expected(STIMULUS, seed=1)
    assert (expected.dtype, expected.shape) == (np.float32, (40, 3))
    many = student.sample(STIMULUS, repeats=400, seed=2).mean(axis=0)
    assert np.abs(expected - many).mean() < 0.1
    assert np.array_equal(expected, student.expected(STIMULUS, seed=1))
