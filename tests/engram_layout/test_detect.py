"""The first bytes tell what a file is; other bytes do not pass for it."""

from __future__ import annotations

import io
import json
import struct
import wave
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engram_format.catalog import Kind
from engram_layout import HEAD_BYTES, Format, detect_format, detect_kind

DATA = Path(__file__).parents[1] / "data"
HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"


def format_of(data: bytes) -> Format:
    return detect_format(data[:HEAD_BYTES], size=len(data))


@pytest.mark.parametrize(
    ("name", "expected", "kind"),
    [
        ("eeg_mne/test.edf", Format.EDF, Kind.RECORDING),
        ("eeg_mne/test.bdf", Format.BDF, Kind.RECORDING),
        ("eeg_mne/test.vhdr", Format.BRAINVISION_HEADER, Kind.RECORDING),
        ("eeg_mne/test.vmrk", Format.BRAINVISION_MARKER, Kind.FILE),
        ("eeg_mne/test.eeg", Format.UNKNOWN, Kind.FILE),
        ("eeg_mne/LICENSE", Format.UNKNOWN, Kind.FILE),
        ("abf_pyabf/14o16001_vc_pair_step.abf", Format.ABF2, Kind.RECORDING),
        ("mea_mcs/2014-07-09T10-17-35W8_Standard_all_500Hz.h5", Format.HDF5, Kind.RECORDING),
        ("onnx_real/silero_vad_16k_op15.onnx", Format.ONNX, Kind.STUDENT),
        ("onnx_real/basic_pitch_nmp.onnx", Format.ONNX, Kind.STUDENT),
    ],
)
def test_a_real_file_is_recognised(name: str, expected: Format, kind: Kind):
    data = (DATA / name).read_bytes()
    assert format_of(data) is expected
    assert detect_kind(data[:HEAD_BYTES], size=len(data)) is kind


def wav() -> bytes:
    sink = io.BytesIO()
    with wave.open(sink, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(20_000)
        file.writeframes(bytes(200))
    return sink.getvalue()


def npy() -> bytes:
    sink = io.BytesIO()
    np.save(sink, np.arange(5))
    return sink.getvalue()


def npz() -> bytes:
    sink = io.BytesIO()
    np.savez(sink, stimulus=np.arange(5))
    return sink.getvalue()


def matlab5() -> bytes:
    return b"MATLAB 5.0 MAT-file, Platform: GLNXA64".ljust(124) + b"\x00\x01IM" + bytes(40)


def abf1() -> bytes:
    return b"ABF " + struct.pack("<f", 1.83) + bytes(2040)


@pytest.mark.parametrize(
    ("data", "expected", "kind"),
    [
        pytest.param(wav(), Format.WAV, Kind.RECORDING, id="wav"),
        pytest.param(npy(), Format.NPY, Kind.FILE, id="npy"),
        pytest.param(npz(), Format.NPZ, Kind.FILE, id="npz"),
        pytest.param(matlab5(), Format.MATLAB5, Kind.FILE, id="matlab5"),
        pytest.param(abf1(), Format.ABF1, Kind.RECORDING, id="abf1"),
    ],
)
def test_a_made_file_is_recognised(data: bytes, expected: Format, kind: Kind):
    assert format_of(data) is expected
    assert detect_kind(data, size=len(data)) is kind


@pytest.mark.parametrize("offset", [0, 512, 1024, 2048, 32768])
def test_hdf5_is_recognised_behind_a_user_block(offset: int):
    data = b"MATLAB 7.3 MAT-file".ljust(offset)[:offset] + HDF5_SIGNATURE + bytes(100)
    assert format_of(data) is Format.HDF5


@pytest.mark.parametrize("offset", [1, 256, 511, 513, 1536])
def test_hdf5s_signature_in_another_place_means_nothing(offset: int):
    assert format_of(bytes(offset) + HDF5_SIGNATURE + bytes(3000)) is Format.UNKNOWN


def test_an_edf_header_that_contradicts_itself_is_not_edf():
    data = bytearray((DATA / "eeg_mne/test.edf").read_bytes()[:4096])
    data[252:256] = b"7   "
    assert format_of(bytes(data)) is Format.UNKNOWN


@pytest.mark.parametrize(
    "data", [b"ABF is a format", b"ABF2 is a format of many years", b"0       and no more", b"RIFF"]
)
def test_text_that_begins_like_a_signature_is_not_the_format(data: bytes):
    assert format_of(data) is Format.UNKNOWN


def varint(value: int) -> bytes:
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def with_length(field: int, content: bytes) -> bytes:
    return varint(field << 3 | 2) + varint(len(content)) + content


GRAPH = with_length(7, with_length(2, b"net") + with_length(12, b"\x0a\x01y"))
OPSET = with_length(8, b"\x10\x15")


@pytest.mark.parametrize(
    "model",
    [
        pytest.param(b"\x08\x0a" + GRAPH + OPSET, id="as written"),
        pytest.param(OPSET + GRAPH + b"\x08\x0a", id="fields in another order"),
        pytest.param(b"\x08\x0a" + with_length(6, b"x" * 5000) + GRAPH + OPSET, id="long doc string"),
        pytest.param(b"\x08\x0a" + with_length(7, with_length(5, bytes(200_000))) + OPSET, id="graph beyond the head"),
        pytest.param(b"\x08\x0a" + GRAPH + OPSET + with_length(14, b"\x0a\x01a\x12\x01b"), id="metadata"),
    ],
)
def test_a_model_is_recognised_by_its_fields(model: bytes):
    assert format_of(model) is Format.ONNX


@pytest.mark.parametrize(
    "model",
    [
        pytest.param(b"", id="empty"),
        pytest.param(GRAPH + OPSET, id="no ir_version"),
        pytest.param(b"\x08\x00" + GRAPH, id="ir_version 0"),
        pytest.param(b"\x08\xff\x7f" + GRAPH, id="ir_version 16383"),
        pytest.param(b"\x08\x0a" + OPSET, id="no graph"),
        pytest.param(b"\x08\x0a\x3a\x00", id="empty graph"),
        pytest.param(b"\x08\x0a" + GRAPH + with_length(9, b"x"), id="unknown field"),
        pytest.param(b"\x08\x0a" + GRAPH + b"\x40\x01", id="wrong wire type"),
        pytest.param(b"\x08\x0a" + GRAPH[:-3], id="cut in the graph"),
        pytest.param(b"\x08\x0a" + GRAPH + b"\x42", id="cut in a tag"),
        pytest.param(b"\x08\x0a" + with_length(7, b"\x0a\x7fx"), id="node longer than its graph"),
        pytest.param(b"\x08\x0a" + with_length(7, b"\x1a\x01x"), id="graph with an unknown field"),
        pytest.param(b"\x08" + b"\xff" * 11, id="endless number"),
    ],
)
def test_a_message_that_breaks_a_rule_is_no_model(model: bytes):
    assert format_of(model) is Format.UNKNOWN


@pytest.mark.parametrize("name", ["silero_vad_16k_op15", "basic_pitch_nmp"])
def test_a_network_cut_in_its_graph_is_not_taken_for_a_student(name: str):
    data = (DATA / f"onnx_real/{name}.onnx").read_bytes()
    for length in (0, 1, 2, 9, 16, 1000, HEAD_BYTES, len(data) // 2, len(data) - 200):
        assert format_of(data[:length]) is Format.UNKNOWN, length


@given(st.binary(max_size=4096))
def test_random_bytes_are_no_student(data: bytes):
    assert detect_kind(data, size=len(data)) is not Kind.STUDENT


@given(st.text())
def test_text_is_a_plain_file(text: str):
    data = text.encode()
    assert detect_kind(data, size=len(data)) is Kind.FILE


@given(st.binary(max_size=2000))
def test_other_formats_with_any_content_are_no_students(content: bytes):
    zipped = io.BytesIO()
    with zipfile.ZipFile(zipped, "w") as archive:
        archive.writestr("x", content)
    jpeg = b"\xff\xd8\xff\xe0\x00\x10JFIF\x00" + content
    png = b"\x89PNG\r\n\x1a\n" + zlib.compress(content)
    hdf5 = HDF5_SIGNATURE + content
    as_json = json.dumps({"ir_version": 8, "graph": content.hex()}).encode()
    array = npy() + content
    for data in (zipped.getvalue(), jpeg, png, hdf5, as_json, array):
        assert detect_kind(data[:HEAD_BYTES], size=len(data)) is not Kind.STUDENT


@given(st.binary(max_size=600), st.integers(0, 1 << 40))
def test_detection_never_fails(head: bytes, size: int):
    for prefix in (b"", b"\x08\x08\x3a", b"0       ", b"\xffBIOSEMI", b"ABF ", b"ABF2", b"PK\x03\x04", HDF5_SIGNATURE):
        assert detect_format(prefix + head, size=size) in Format
