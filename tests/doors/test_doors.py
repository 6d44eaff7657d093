"""What every door to an archive does, on real files."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path

import numpy as np
import pytest

from engram_client.demo.retina import NWB_FILE, RETINA_FILES
from engram_client.transfer import deposit_files, restore_file
from engram_format.address import Address, ContentAddress
from engram_format.catalog import ArtifactSpec, FindingKind, Kind
from engram_format.errors import AlreadyExists, InvalidInput, NotFound
from engram_replay.loader import load_student
from engram_replay.stepper import run

DATA = Path(__file__).parent.parent / "data"
NETWORKS = DATA / "onnx_real"
REAL_FILES = {
    NWB_FILE: Kind.RECORDING,
    RETINA_FILES[1]: Kind.FILE,  # MATLAB 5 says nothing of what is in it
    DATA / "mea_mcs" / "2014-07-09T10-17-35W8_Standard_all_500Hz.h5": Kind.RECORDING,
    DATA / "eeg_mne" / "test.edf": Kind.RECORDING,
    DATA / "eeg_mne" / "test.bdf": Kind.RECORDING,
    DATA / "eeg_mne" / "test.vhdr": Kind.RECORDING,
    DATA / "eeg_mne" / "test.eeg": Kind.RECORDING,  # by the header beside it
    DATA / "abf_pyabf" / "14o16001_vc_pair_step.abf": Kind.RECORDING,
    NETWORKS / "silero_vad_16k_op15.onnx": Kind.STUDENT,
    NETWORKS / "basic_pitch_nmp.onnx": Kind.STUDENT,
}
REAL = Address("lab", "real")


@pytest.fixture(scope="module")
def version(archive):
    return deposit_files(archive, list(REAL_FILES), to=REAL, message="real files", author="a test")


def npy(array) -> bytes:
    sink = io.BytesIO()
    np.save(sink, array)
    return sink.getvalue()


def put(archive, address: Address, data: bytes) -> None:
    session = hashlib.sha256(str(address).encode() + data).hexdigest()[:32]
    with archive.open_deposit(address.of(None), session=session) as deposit:
        deposit.begin(ArtifactSpec(path=address.path or "", size=len(data)))
        deposit.write(data)
        deposit.end(sha256=hashlib.sha256(data).hexdigest())
        deposit.commit(message="", author="a test")


@pytest.mark.parametrize("source", REAL_FILES, ids=lambda path: path.name)
def test_a_real_file_is_known_by_its_content_and_comes_back_bit_for_bit(archive, version, source, tmp_path):
    artifact = archive.artifact(version.address.of(source.name))
    assert artifact.kind is REAL_FILES[source]
    assert artifact.size == source.stat().st_size
    restored = restore_file(archive, artifact.address, tmp_path / "restored")
    assert restored.read_bytes() == source.read_bytes()
    assert restored.stat().st_mtime_ns == source.stat().st_mtime_ns


def test_versions_and_artifacts_are_listed(archive, version, door):
    assert version.address == REAL.at(1)
    assert version.added == version.artifacts == len(REAL_FILES)
    assert archive.version(REAL) == version
    assert list(archive.versions(REAL)) == [version]
    assert sorted(path.name for path in REAL_FILES) == [artifact.address.path for artifact in archive.artifacts(REAL)]
    assert archive.vault("lab") in list(archive.vaults())
    assert archive.memory(REAL) in list(archive.memories("lab"))
    assert REAL in [memory.address for memory in archive.memories("lab")]
    assert archive.url == door.url or door.kind == "directory"


def test_an_artifact_is_found_by_content_and_read_in_part(archive, version):
    data = NWB_FILE.read_bytes()
    address = ContentAddress(hashlib.sha256(data).hexdigest())
    assert archive.artifact(address).address == version.address.of(NWB_FILE.name)
    assert b"".join(archive.read(address, start=1000, stop=200_001)) == data[1000:200_001]
    assert b"".join(archive.read(address, start=len(data) - 1)) == data[-1:]
    assert b"".join(archive.read(address, start=5, stop=5)) == b""


def test_metadata_and_provenance_come_back(archive):
    spec = ArtifactSpec(
        path="notes.txt",
        size=2,
        kind=Kind.PROTOCOL,
        time_ns=1_700_000_000_123_456_789,
        metadata={"subject.species": "Rattus norvegicus", "rate": 2.5, "cells": 6, "awake": True, "ünï": "cødé"},
        made_from=("ab" * 32,),
    )
    with archive.open_deposit(Address("lab", "meta"), session="0b" * 16) as deposit:
        deposit.begin(spec)
        deposit.write(b"ok")
        deposit.end(sha256=hashlib.sha256(b"ok").hexdigest())
        deposit.commit(message="a message", author="an author")
    artifact = archive.artifact(Address("lab", "meta", 1, "notes.txt"))
    assert artifact.metadata == spec.metadata
    assert [type(value) for value in artifact.metadata.values()] == [
        type(spec.metadata[name]) for name in artifact.metadata
    ]
    assert (artifact.kind, artifact.time_ns, artifact.made_from) == (spec.kind, spec.time_ns, spec.made_from)


def test_a_cut_deposit_goes_on_where_it_was(door, archive):
    data = np.random.default_rng(5).bytes(90_000_000)
    address, session = Address("lab", "cut"), "c0" * 16
    with door.open() as first, first.open_deposit(address, session=session) as deposit:
        assert deposit.begin(ArtifactSpec(path="big", size=len(data))) == 0
        for at in range(0, 88_000_000, 1 << 20):
            deposit.write(data[at : at + (1 << 20)])
    with door.open() as second, second.open_deposit(address, session=session) as deposit:
        start = deposit.begin(ArtifactSpec(path="big", size=len(data)))
        assert 50_000_000 < start < 88_000_000
        for at in range(start, len(data), 1 << 20):
            deposit.write(data[at : at + (1 << 20)])
        deposit.end(sha256=hashlib.sha256(data).hexdigest())
        committed = deposit.commit(message="", author="")
    with door.open() as third, third.open_deposit(address, session=session) as deposit:
        assert deposit.committed_version == committed
    assert b"".join(archive.read(address.of("big"))) == data


def test_a_recurrent_network_replays_as_it_does_from_its_bytes(archive, version):
    speech = np.random.default_rng(0).normal(0, 0.1, (20, 512)).astype(np.float32)
    stimulus = {"input": speech, "sr": np.array(16_000, np.int64)}
    wanted = run(load_student((NETWORKS / "silero_vad_16k_op15.onnx").read_bytes()), stimulus)
    done = archive.replay(version.address.of("silero_vad_16k_op15.onnx"), stimulus, save_to=Address("lab", "replays"))
    assert done.outputs.keys() == wanted.outputs.keys()
    for name, array in wanted.outputs.items():
        np.testing.assert_array_equal(done.outputs[name], array)
    assert done.saved is not None
    assert done.saved.kind is Kind.REPLAY
    stored = np.load(io.BytesIO(b"".join(archive.read(done.saved.address))))
    for name, array in wanted.outputs.items():
        np.testing.assert_array_equal(stored[name], array)
    saved = archive.artifact(done.saved.address)
    assert dict(saved.metadata) == dict(done.receipt)
    assert saved.made_from[0] == archive.artifact(version.address.of("silero_vad_16k_op15.onnx")).sha256
    again = archive.replay(version.address.of("silero_vad_16k_op15.onnx"), stimulus)
    assert again.receipt == done.receipt
    assert again.saved is None


def test_a_stimulus_may_be_an_artifact_of_the_archive(archive, version):
    window = np.zeros((1, 43844, 1), np.float32)
    put(archive, Address("lab", "stimuli", None, "silence.npy"), npy(window))
    from_archive = archive.replay(
        version.address.of("basic_pitch_nmp.onnx"), Address("lab", "stimuli", None, "silence.npy")
    )
    given = archive.replay(version.address.of("basic_pitch_nmp.onnx"), {"": window})
    assert from_archive.receipt["outputs.sha256"] == given.receipt["outputs.sha256"]


def test_verification_finds_all_of_it_sound(archive, version):
    findings = list(archive.verify(REAL))
    assert {finding.result for finding in findings} == {FindingKind.SOUND}
    assert str(version.address.of(NWB_FILE.name)) in {finding.subject for finding in findings}
    assert {finding.result for finding in archive.verify(read_data=False)} == {FindingKind.SOUND}


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda a: a.create_vault("lab"), AlreadyExists, "there is a vault 'lab'"),
        (lambda a: a.create_vault("no/slash"), InvalidInput, "is no vault name"),
        (lambda a: list(a.memories("nowhere")), NotFound, "there is no vault 'nowhere'"),
        (lambda a: a.vault("nowhere"), NotFound, "there is no vault 'nowhere'"),
        (lambda a: a.memory(Address("lab", "nothing")), NotFound, "no memory 'nothing'"),
        (lambda a: a.version(Address("lab", "nothing")), NotFound, "no memory 'nothing'"),
        (lambda a: a.version(REAL.at(99)), NotFound, "no version 99"),
        (lambda a: a.artifact(REAL.of("tset.edf")), NotFound, "did you mean 'test.edf'"),
        (lambda a: a.artifact(ContentAddress("00" * 32)), NotFound, "no vault that you can open"),
        (lambda a: list(a.read(REAL.of("test.edf"), start=5, stop=10**9)), InvalidInput, "do not lie in an artifact"),
        (lambda a: a.open_deposit(REAL.at(1), session="0e" * 16), InvalidInput, "a deposit goes into a memory"),
        (lambda a: a.open_deposit(Address("nowhere", "x"), session="0e" * 16), NotFound, "there is no vault"),
        (lambda a: a.replay(REAL.of("test.edf"), {"": np.zeros(3)}), InvalidInput, "is no ONNX network"),
        (
            lambda a: a.replay(REAL.of("basic_pitch_nmp.onnx"), {"": np.zeros((2, 3), np.float32)}),
            InvalidInput,
            "shape",
        ),
        (lambda a: a.replay(REAL.of("basic_pitch_nmp.onnx"), REAL.of("test.edf")), InvalidInput, "npy"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_cannot_be_is_said_in_one_sentence(archive, version, call, error, words):
    with pytest.raises(error, match=words) as caught:
        call(archive)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("what", ["grows", "shrinks", "is replaced", "vanishes"])
def test_a_file_that_changes_while_it_is_deposited_adds_nothing(archive, tmp_path, what):
    source = tmp_path / "source"
    source.write_bytes(bytes(5_000_000))

    def meddle(_advance) -> None:
        if what == "grows":
            with source.open("ab") as file:
                file.write(b"more")
        elif what == "shrinks":
            with source.open("r+b") as file:
                file.truncate(3_000_000)
        elif what == "is replaced":
            (tmp_path / "other").write_bytes(bytes(5_000_000))
            (tmp_path / "other").replace(source)
        else:
            source.unlink(missing_ok=True)

    with pytest.raises((InvalidInput, NotFound), match="source"):
        deposit_files(archive, [source], to=Address("lab", "changing"), progress=meddle)
    assert Address("lab", "changing") not in [memory.address for memory in archive.memories("lab")]
