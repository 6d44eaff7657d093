"""The planner of last resort: a file as one run of bytes."""

from __future__ import annotations

from engram_layout.plan import OpaqueSegment, Plan


def plan_opaque(size: int) -> Plan:
    """Return the plan that covers a file of `size` bytes with one opaque segment, or with none if the file is empty."""
    return Plan(size=size, segments=(OpaqueSegment(offset=0, length=size),) if size else ())
