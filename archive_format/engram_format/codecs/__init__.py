"""Codecs: reversible transformations of one frame's bytes, by number (SPEC.md section 7). One codec a file."""

from engram_format.codecs.interface import Codec, NotApplicable
from engram_format.codecs.registry import FILE_FILTERS, codec_at_deposit, codec_by_number
from engram_format.codecs.zstd import Zstd

__all__ = ["FILE_FILTERS", "Codec", "NotApplicable", "Zstd", "codec_at_deposit", "codec_by_number"]
