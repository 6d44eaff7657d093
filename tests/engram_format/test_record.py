"""A log record is read from the slot that it names, and only from there."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engram_format.encoding import decode, encode
from engram_format.errors import FormatError
from engram_format.ids import SessionId
from engram_format.record import FIRST_PREVIOUS, Record, RecordKind

records = st.builds(
    Record,
    seq=st.integers(0, 2**63),
    previous=st.binary(min_size=32, max_size=32),
    kind=st.sampled_from(RecordKind),
    session=st.binary(min_size=16, max_size=16).map(SessionId),
    payload=st.binary(max_size=60),
)
RECORD = Record(5, FIRST_PREVIOUS, RecordKind.CONDEMN, SessionId(bytes(16)), b"payload")


@given(records)
def test_a_record_is_read_as_it_was_written(record):
    assert Record.from_bytes(record.to_bytes(), seq=record.seq) == record


@given(records)
def test_the_context_is_the_array_of_the_public_fields(spec_reader, record):
    context = spec_reader.decode_cbor(record.context)
    assert context == [record.seq, record.previous, int(record.kind), record.session.raw]


def test_the_kinds_have_the_numbers_of_the_specification():
    names = {1: "COMMIT", 2: "DROP", 3: "CONDEMN", 4: "SWEPT", 5: "EPOCH", 6: "SHRED", 7: "AUDIT", 8: "HOLD"}
    assert {int(kind): kind.name for kind in RecordKind} == names


def test_a_slot_has_sixteen_digits():
    assert Record.key_for(0) == "log/0000000000000000"
    assert Record.key_for(0xABC) == "log/0000000000000abc"


def test_a_record_in_another_slot_is_refused():
    for seq in (0, 4, 6):
        with pytest.raises(FormatError, match="it is record 5"):
            Record.from_bytes(RECORD.to_bytes(), seq=seq)


@pytest.mark.parametrize(
    "changed",
    [{1: 2}, {2: 0}, {3: -5}, {3: "5"}, {4: bytes(31)}, {5: 0}, {5: 9}, {5: True}, {6: bytes(32)}, {7: 0}, {8: 0}],
)
def test_a_record_of_another_form_is_refused(changed):
    fields = decode(RECORD.to_bytes(), what="it")
    with pytest.raises(FormatError):
        Record.from_bytes(encode(fields | changed), seq=5)
