"""A stream of bits, packed into bytes from the lowest bit upwards (RFC 1951 section 3.1.1)."""

from __future__ import annotations


class BitStream:
    """Bytes being written bit by bit. Bits are given as text of `0` and `1`, in the order in which they are sent."""

    def __init__(self) -> None:
        self._bytes = bytearray()
        self._bits = ""

    def add(self, bits: str) -> None:
        """Append bits."""
        bits = self._bits + bits
        size = len(bits) // 8
        if size:  # the first bit sent is the lowest, so the text is the number's binary form read backwards
            self._bytes += int(bits[8 * size - 1 :: -1], 2).to_bytes(size, "little")
        self._bits = bits[8 * size :]

    def align(self) -> None:
        """Fill the last byte with zero bits."""
        self.add("0" * (-len(self._bits) % 8))

    def add_bytes(self, data: bytes | memoryview) -> None:
        """Append whole bytes to a stream that is aligned."""
        self._bytes += data

    def getvalue(self) -> bytes:
        """Return the bytes of a stream that is aligned."""
        return bytes(self._bytes)


def number(value: int, *, bits: int) -> str:
    """Return a number as it is sent, its lowest bit first."""
    return f"{value:0{bits}b}"[::-1] if bits else ""
