"""Codecs: reversible transformations of one frame's bytes, by number (SPEC.md section 7). One codec a file."""

from engram_format.codecs.registry import Codec, codec_by_number
from engram_format.codecs.zstd import Zstd

__all__ = ["Codec", "Zstd", "codec_by_number"]
