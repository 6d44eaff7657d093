"""What a file is, told by its first bytes and never by its name.

A signature alone is trusted only where it is long. Where it is short (EDF, ABF, ONNX) the fields after it must agree with
one another and with the file's size, because a wrong answer here gives an artifact the wrong kind.
"""

from __future__ import annotations

import struct
from enum import StrEnum
from itertools import takewhile

from engram_format.catalog import Kind
from engram_layout.onnx_head import is_onnx

HEAD_BYTES = 64 * 1024
"""How much of a file's beginning is looked at."""


class Format(StrEnum):
    """A file format that the first bytes can tell."""

    HDF5 = "hdf5"
    """HDF5 and all that is written in it: NWB, MATLAB 7.3, Multi Channel Systems. The head does not say which."""
    EDF = "edf"
    BDF = "bdf"
    ABF1 = "abf1"
    ABF2 = "abf2"
    BRAINVISION_HEADER = "brainvision-header"
    BRAINVISION_MARKER = "brainvision-marker"
    WAV = "wav"
    NPY = "npy"
    NPZ = "npz"
    ONNX = "onnx"
    MATLAB5 = "matlab5"
    UNKNOWN = "unknown"


_RECORDINGS = frozenset(
    {Format.HDF5, Format.EDF, Format.BDF, Format.ABF1, Format.ABF2, Format.BRAINVISION_HEADER, Format.WAV}
)

_HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_HDF5_SUPERBLOCK_VERSIONS = range(4)
_EDF_HEADER_BYTES = 256


def detect_kind(head: bytes, *, size: int) -> Kind:
    """Return the kind of artifact that a file of `size` bytes beginning with `head` is, unless its depositor says otherwise.

    ONNX networks are students; recording formats are recordings; all else (arrays, BrainVision's raw samples and markers,
    text) is a plain file. `head` is the file's first `HEAD_BYTES` bytes, or all of it if it is shorter.
    """
    detected = detect_format(head, size=size)
    if detected is Format.ONNX:
        return Kind.STUDENT
    return Kind.RECORDING if detected in _RECORDINGS else Kind.FILE


def detect_format(head: bytes, *, size: int) -> Format:
    """Return the format of a file of `size` bytes that begins with `head`, the file's first `HEAD_BYTES` or all of it.

    Never fails: what is not recognised, damaged in its head or cut off there is `UNKNOWN`.
    """
    head = head[: min(HEAD_BYTES, size)]
    by_signature = _by_signature(head, size=size)
    if by_signature is not Format.UNKNOWN:
        return by_signature
    if is_onnx(head, size=size):
        return Format.ONNX
    return Format.HDF5 if _is_hdf5_after_user_block(head) else Format.UNKNOWN


def _by_signature(head: bytes, *, size: int) -> Format:
    """Try the formats that have a signature at or near the first byte."""
    checks = {
        Format.HDF5: _is_hdf5_at(head, 0),
        Format.EDF: head.startswith(b"0       ") and _edf_header_agrees(head, size=size),
        Format.BDF: head.startswith(b"\xffBIOSEMI") and _edf_header_agrees(head, size=size),
        Format.ABF1: _is_abf1(head),
        Format.ABF2: _is_abf2(head),
        Format.BRAINVISION_HEADER: _is_brainvision(head, b"Header"),
        Format.BRAINVISION_MARKER: _is_brainvision(head, b"Marker"),
        Format.WAV: head[:4] in (b"RIFF", b"RIFX", b"RF64", b"BW64") and head[8:12] == b"WAVE",
        Format.NPY: head.startswith(b"\x93NUMPY") and head[6:7] in (b"\x01", b"\x02", b"\x03"),
        Format.NPZ: _is_npz(head),
        Format.MATLAB5: head.startswith(b"MATLAB 5.0 MAT-file") and head[124:128] in (b"\x00\x01IM", b"\x01\x00MI"),
    }
    return next((found for found, holds in checks.items() if holds), Format.UNKNOWN)


def _is_hdf5_at(head: bytes, offset: int) -> bool:
    version_at = offset + len(_HDF5_SIGNATURE)
    return (
        head.startswith(_HDF5_SIGNATURE, offset)
        and len(head) > version_at
        and head[version_at] in _HDF5_SUPERBLOCK_VERSIONS
    )


def _is_hdf5_after_user_block(head: bytes) -> bool:
    """Look where HDF5 allows its superblock behind a block of the user's: at 512 bytes and every doubling of it."""
    offsets = takewhile(lambda offset: offset < len(head), (512 << doubling for doubling in range(16)))
    return any(_is_hdf5_at(head, offset) for offset in offsets)


def _edf_header_agrees(head: bytes, *, size: int) -> bool:
    """Say whether the header's length is what its number of signals makes it: 256 bytes and 256 more for each signal."""
    header_bytes = _ascii_number(head[184:192])
    signals = _ascii_number(head[252:256])
    return signals >= 1 and header_bytes == _EDF_HEADER_BYTES * (1 + signals) <= size


def _ascii_number(field: bytes) -> int:
    """Read a left-justified decimal field of EDF; -1 if it is none."""
    digits = field.rstrip(b" \x00")
    return int(digits) if digits.isdigit() else -1


def _is_abf1(head: bytes) -> bool:
    if not head.startswith(b"ABF ") or len(head) < 8:
        return False
    version: float = struct.unpack_from("<f", head, 4)[0]
    return 1.0 <= version < 2.0


def _is_abf2(head: bytes) -> bool:
    # The version is four bytes, least significant first, and the header says its own length: always 512.
    return head.startswith(b"ABF2") and head[7:8] == b"\x02" and head[8:12] == (512).to_bytes(4, "little")


def _is_brainvision(head: bytes, part: bytes) -> bool:
    text = head.removeprefix(b"\xef\xbb\xbf")
    return text.startswith((b"Brain Vision Data Exchange %s File" % part, b"BrainVision Data Exchange %s File" % part))


def _is_npz(head: bytes) -> bool:
    """Say whether this is a ZIP file whose first entry is a `.npy` array."""
    if not head.startswith(b"PK\x03\x04") or len(head) < 30:
        return False
    name_length = int.from_bytes(head[26:28], "little")
    return head[30 : 30 + name_length].endswith(b".npy")
