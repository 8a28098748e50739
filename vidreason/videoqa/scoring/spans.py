"""When a model says that the evidence is seen, against when people say so: IoP, IoU, and answers that are grounded.

As NExT-GQA has it (code/TempGQA/eval_ground.py): a question's best annotated moment counts, for IoP and IoU apart.
Two departures, both stricter: a question without a prediction counts as 0, where theirs leaves it out, and a span
without length has IoP 0, where theirs gives it 1 inside the truth, so that a system that answers points would win.
Theirs is given beside (`iop_as_published`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

Span = tuple[float, float]
"""Start and end in seconds, start <= end."""

THRESHOLDS = (0.3, 0.5)
GROUNDED_IOP = 0.5
"""IoP from which on a right answer counts as grounded (Acc@GQA)."""


@dataclass(frozen=True)
class Overlap:
    """How spans that a model says overlap with the annotated ones.

    Args:
        iop: Intersection over what was said; 0 for spans without length.
        iou: Intersection over union.
        iop_as_published: `iop`, but 1 for a point inside the truth.
        length_s: Length of what was said, in seconds.
    """

    iop: float
    iou: float
    iop_as_published: float
    length_s: float


NO_OVERLAP = Overlap(0.0, 0.0, 0.0, 0.0)


def measure_overlap(said: Sequence[Span], truth: Sequence[Span]) -> Overlap:
    """The overlap of the union of what was said with the moment of the truth that it meets best.

    Args:
        said: Spans of a prediction; none overlaps with nothing.
        truth: Annotated moments, of which any is evidence enough.
    """
    merged = merge(said)
    length_s = sum(end - start for start, end in merged)
    if not merged:
        return NO_OVERLAP
    iop = iou = published = 0.0
    for start, end in truth:
        shared = sum(max(0.0, min(end, right) - max(start, left)) for left, right in merged)
        union = length_s + (end - start) - shared
        if length_s > 0:
            iop = max(iop, shared / length_s)
        elif any(start <= left <= end for left, _ in merged):
            published = 1.0
        if union > 0:
            iou = max(iou, shared / union)
    return Overlap(iop, iou, max(iop, published), length_s)


def merge(spans: Sequence[Span]) -> list[Span]:
    """Spans that neither touch nor overlap, in order, which cover the same time."""
    merged: list[Span] = []
    for start, end in sorted(spans):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], end))
        else:
            merged.append((start, end))
    return merged


def span_of(entry: Mapping[str, float]) -> Span:
    """A span of a table's row."""
    return entry["start_s"], entry["end_s"]
