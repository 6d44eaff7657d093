"""Where the arrays lie in a file: pure plans by which a deposit cuts it."""

from engram_layout.detect import HEAD_BYTES, Format, detect_format, detect_kind
from engram_layout.opaque import plan_opaque
from engram_layout.plan import OpaqueSegment, Plan, Segment

__all__ = [
    "HEAD_BYTES",
    "Format",
    "OpaqueSegment",
    "Plan",
    "Segment",
    "detect_format",
    "detect_kind",
    "plan_opaque",
]
