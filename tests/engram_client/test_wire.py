"""Values cross the wire unchanged, and what cannot cross is refused."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from engram.v1 import archive_pb2, replay_pb2
from engram.v1.arrays import Assembler, disassemble
from engram.v1.names import name_of, parse_any_name, parse_name
from engram.v1.values import (
    artifact_of,
    finding_of,
    folder_of,
    memory_of,
    message_of_artifact,
    message_of_finding,
    message_of_memory,
    message_of_spec,
    message_of_vault,
    message_of_version,
    messages_of_folders,
    scalar_of,
    spec_of,
    vault_of,
    version_of,
)
from engram_format.address import Address, ContentAddress, check_path
from engram_format.catalog import Artifact, ArtifactSpec, Finding, FindingKind, Folder, Kind, Memory, Vault, Version
from engram_format.errors import InvalidInput


def _is_path(text: str) -> bool:
    try:
        check_path(text)
    except InvalidInput:
        return False
    return True


names = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,20}", fullmatch=True) | st.sampled_from(
    ["vaults", "memories", "versions", "artifacts", "3"]
)
words = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=20)
parts = words | st.sampled_from(["versions", "artifacts", "3", "sha256:x"])
paths = st.lists(parts, min_size=1, max_size=4).map("/".join).filter(_is_path)
numbers = st.integers(1, 999_999_999)
digests = st.binary(min_size=32, max_size=32).map(bytes.hex)
sizes = st.integers(0, 2**63 - 1)
times_ns = st.integers(-(10**18), 10**19)
metadata = st.dictionaries(
    words, words | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False), max_size=4
)
memories = st.builds(Address, names, names)
versions = st.builds(Address, names, names, numbers)
artifacts = st.builds(Address, names, names, numbers, paths)
addresses = (
    st.builds(Address, names)
    | memories
    | versions
    | artifacts
    | st.builds(Address, names, names, st.none(), paths)
    | digests.map(ContentAddress)
)


@given(addresses)
def test_every_address_has_one_name(address: Address | ContentAddress) -> None:
    assert parse_any_name(name_of(address)) == address


@pytest.mark.parametrize(
    "name",
    [
        "",
        "vaults",
        "vaults/",
        "vaults/v/",
        "vaults/v/memories",
        "vaults/v/memories/m/",
        "vaults/v/memories/m/versions/0",
        "vaults/v/memories/m/versions/03",
        "vaults/v/memories/m/versions/9999999999",
        "vaults/v/memories/m/artifacts/",
        "vaults/v/memories/m/artifacts/../x",
        "vaults/v/memories/m/artifacts/a\n",
        "vaults/v/versions/3",
        "vaults/v/artifacts/x",
        "/vaults/v",
        "v/m@3",
        "artifacts/x",
        "artifacts/sha256:00",
        "artifacts/sha256:" + "A" * 64,
        "vaults/v\n",
    ],
)
def test_nothing_else_is_a_name(name: str) -> None:
    with pytest.raises(InvalidInput):
        parse_any_name(name)


def test_content_is_no_place_to_go() -> None:
    with pytest.raises(InvalidInput):
        parse_name("artifacts/sha256:" + "0" * 64)


@given(st.builds(Vault, names, digests, sizes))
def test_a_vault_crosses(vault: Vault) -> None:
    assert vault_of(message_of_vault(vault)) == vault


@given(st.builds(Memory, memories, sizes, sizes, times_ns))
def test_a_memory_crosses(memory: Memory) -> None:
    assert memory_of(message_of_memory(memory)) == memory


@given(st.builds(Version, versions, digests, st.lists(digests).map(tuple), words, words, times_ns, sizes, sizes))
def test_a_version_crosses(version: Version) -> None:
    assert version_of(message_of_version(version)) == version


@given(
    st.builds(
        Artifact,
        artifacts,
        st.sampled_from(Kind),
        sizes,
        digests,
        sizes,
        sizes,
        times_ns,
        metadata,
        st.lists(digests).map(tuple),
    )
)
def test_an_artifact_crosses(artifact: Artifact) -> None:
    arrived = artifact_of(message_of_artifact(artifact))
    assert arrived == artifact
    assert {k: type(v) for k, v in arrived.metadata.items()} == {k: type(v) for k, v in artifact.metadata.items()}


@given(
    st.builds(
        ArtifactSpec,
        paths,
        sizes,
        st.none() | st.sampled_from(Kind),
        times_ns,
        metadata,
        st.lists(digests).map(tuple),
    )
)
def test_a_spec_crosses(spec: ArtifactSpec) -> None:
    assert spec_of(message_of_spec(spec)) == spec


@given(st.builds(Finding, words, st.sampled_from(FindingKind), sizes, words))
def test_a_finding_crosses(finding: Finding) -> None:
    assert finding_of(message_of_finding(finding)) == finding


def test_what_a_newer_end_says_is_refused_and_not_guessed() -> None:
    message = archive_pb2.Artifact(name="vaults/v/memories/m/versions/1/artifacts/x", kind=99)
    with pytest.raises(InvalidInput, match="upgrade"):
        artifact_of(message)
    with pytest.raises(InvalidInput, match="upgrade"):
        finding_of(archive_pb2.Finding(result=99))
    with pytest.raises(InvalidInput, match="empty"):
        scalar_of(archive_pb2.Scalar())


arrays = hnp.arrays(
    dtype=hnp.boolean_dtypes()
    | hnp.integer_dtypes()
    | hnp.unsigned_integer_dtypes()
    | hnp.floating_dtypes(sizes=(16, 32, 64)),
    shape=hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5),
)


@given(st.dictionaries(words, arrays, max_size=3))
def test_arrays_cross(sent: dict[str, np.ndarray]) -> None:
    assembler = Assembler(limit=1 << 20)
    for part in disassemble(sent):
        if isinstance(part, bytes):
            assembler.fill(part[: len(part) // 2])
            assembler.fill(part[len(part) // 2 :])
        else:
            assembler.begin(part)
    arrived = assembler.finish()
    assert list(arrived) == list(sent)
    for name, array in sent.items():
        assert arrived[name].shape == array.shape
        np.testing.assert_array_equal(arrived[name], array)


def _header(name: str = "x", *, shape: tuple[int, ...] = (2,), element_type: int = 11) -> replay_pb2.ArrayHeader:
    return replay_pb2.ArrayHeader(name=name, element_type=element_type, shape=shape)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "header",
    [
        _header(element_type=0),
        _header(element_type=99),
        _header(shape=(-1,)),
        _header(shape=(1,) * 17),
        _header(shape=(0, 2**62, 2**62)),
        _header(shape=(26,)),
        _header(shape=(2**62, 2**62)),
    ],
)
def test_a_header_that_cannot_be_right_is_refused(header: replay_pb2.ArrayHeader) -> None:
    with pytest.raises(InvalidInput):
        Assembler(limit=100).begin(header)


def test_arrays_come_whole_and_once() -> None:
    assembler = Assembler(limit=100)
    with pytest.raises(InvalidInput, match="more arrived"):
        assembler.fill(b"x")
    assembler.begin(_header())
    assembler.fill(b"1234")
    with pytest.raises(InvalidInput, match="4 arrived"):
        assembler.finish()
    with pytest.raises(InvalidInput, match="4 arrived"):
        assembler.begin(_header("y"))
    with pytest.raises(InvalidInput, match="more arrived"):
        assembler.fill(b"56789")
    assembler.fill(b"5678")
    with pytest.raises(InvalidInput, match="twice"):
        assembler.begin(_header())
    with pytest.raises(InvalidInput, match="by its address"):
        assembler.begin(_header("y", shape=(24,)))
    assert list(assembler.finish()) == ["x"]


@given(st.lists(st.builds(Folder, paths | st.just(""), times_ns, st.integers(0, 0o7777)), max_size=5))
def test_folders_cross_the_wire_unchanged(folders):
    assert [folder_of(message) for group in messages_of_folders(folders) for message in group] == folders


def test_folders_are_sent_in_groups_that_fit_a_message():
    longest = [Folder(f"{number:04}/" + "x" * 1019, 1, 1) for number in range(2500)]
    groups = list(messages_of_folders(longest))
    assert [len(group) for group in groups] == [1000, 1000, 500]
    assert sum(message.ByteSize() for message in groups[0]) < 2 << 20
