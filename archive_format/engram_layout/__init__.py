"""Where the arrays lie in a file: pure plans by which a deposit cuts it."""

from engram_layout.detect import HEAD_BYTES, Format, detect_format, detect_kind
from engram_layout.opaque import plan_opaque
from engram_layout.plan import ArraySegment, OpaqueSegment, Plan, Planned, Segment, covering

__all__ = [
    "HEAD_BYTES",
    "ArraySegment",
    "Format",
    "OpaqueSegment",
    "Plan",
    "Planned",
    "Segment",
    "covering",
    "detect_format",
    "detect_kind",
    "plan_opaque",
]
