"""The descriptor says that an archive is one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engram_format.descriptor import ArchiveId, Descriptor
from engram_format.encoding import encode
from engram_format.errors import FormatError

FIELDS = {1: 1, 2: 1, 3: bytes(16), 4: True}


@given(st.binary(min_size=16, max_size=16), st.booleans())
def test_a_descriptor_is_read_as_it_was_written(archive, parity):
    descriptor = Descriptor(ArchiveId(archive), parity)
    assert Descriptor.from_bytes(descriptor.to_bytes()) == descriptor


def test_a_descriptor_has_the_fields_of_the_specification():
    assert Descriptor(ArchiveId(bytes(16)), parity=True).to_bytes() == encode(FIELDS)
    assert Descriptor.from_bytes(encode(FIELDS | {1000: "later"})).parity


@pytest.mark.parametrize(
    "changed", [{1: 2}, {2: 2}, {1: 0}, {3: bytes(15)}, {3: "id"}, {4: 1}, {4: None}, {5: 0}, {0: 0}]
)
def test_a_descriptor_of_another_form_is_refused(changed):
    with pytest.raises(FormatError):
        Descriptor.from_bytes(encode(FIELDS | changed))


@pytest.mark.parametrize("data", [b"", b"\x80", b"archive", encode(FIELDS) + b"\x00", encode({"1": 1})])
def test_what_is_no_descriptor_is_refused(data):
    with pytest.raises(FormatError):
        Descriptor.from_bytes(data)
