"""The archive format: bytes to values and back, without I/O, clock or randomness (SPEC.md)."""
