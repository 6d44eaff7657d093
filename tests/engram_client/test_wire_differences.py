"""What differs between versions crosses the wire unchanged, however much it is."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from engram.v1.difference_values import changes_of, responses_of
from engram_format.address import Address
from engram_format.catalog import Alteration, Artifact, Change, Kind

words = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=20)
alterations = st.lists(st.builds(Alteration, words, st.none() | words, st.none() | words), max_size=4).map(tuple)
some_artifacts = st.builds(
    Artifact,
    address=st.just(Address("vault", "memory", 3, "a.nwb")),
    kind=st.sampled_from(Kind),
    size=st.integers(0, 2**63 - 1),
    sha256=st.just("ab" * 32),
    stored_size=st.integers(0, 2**63 - 1),
    frames=st.integers(0, 2**31),
    time_ns=st.just(0),
)
changes = st.builds(
    Change,
    path=words,
    before=st.none() | some_artifacts,
    after=some_artifacts,
    shared=st.integers(0, 2**63 - 1),
    metadata=alterations,
    series=alterations,
)


def sent(items):
    responses = list(responses_of(items))
    assert all(response.ByteSize() < 4 << 20 for response in responses)
    return list(changes_of(change for response in responses for change in response.changes))


@given(st.lists(changes, max_size=5))
def test_changes_cross_unchanged(items):
    assert sent(items) == items


def test_a_change_of_many_series_is_sent_in_parts():
    artifact = Artifact(Address("vault", "memory", 3, "a.nwb"), Kind.RECORDING, 1, "ab" * 32, 1, 1, 0)
    series = tuple(Alteration(f"/{number}/{'x' * 300}", "1 i2", "2 i2" * 40) for number in range(10_000))
    metadata = (Alteration("notes", "y" * 250_000, "z" * 250_000),)
    long = Change("a.nwb", artifact, artifact, 7, metadata, series)
    short = Change("b.nwb", None, artifact, 0)
    assert len(list(responses_of([long, short, long]))) > 6
    assert sent([long, short, long]) == [long, short, long]
