"""Where one box is to another, in words: the spatial relations that follow from boxes alone.

One set of rules for graphs from detections, for the worlds' truth and for questions about either, so that "left of"
means the same in all of them. Directions are those of the picture as seen: left is to the viewer's left, above is
nearer to the top edge. Depth ("behind", "in front of") does not follow from boxes, and is left to annotations.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType

from .graph import Box

SPATIAL_PREDICATES = ("left of", "right of", "above", "below", "inside", "contains", "overlaps", "near")
"""All that `spatial_predicates` can say, in the order in which it says it."""

INVERSES: Mapping[str, str] = MappingProxyType(
    {
        "left of": "right of",
        "right of": "left of",
        "above": "below",
        "below": "above",
        "inside": "contains",
        "contains": "inside",
        "overlaps": "overlaps",
        "near": "near",
    }
)
"""What holds from the second box to the first where the key holds from the first to the second."""

MAX_SIDE_OVERLAP = 0.25
"""Boxes are beside each other where they share at most this part of the narrower one's side: a cup at the edge of a
table is left of what stands in its middle, and two hands on one keyboard are not beside the keyboard."""

INSIDE_SHARE = 0.9
"""A box is inside a larger one that covers at least this share of its area; drawn boxes are off by a pixel or two."""

OVERLAP_SHARE = 0.1
"""Boxes overlap where they share at least this part of the smaller one's area: less is what loose boxes share."""

NEAR_GAP = 0.1
"""Boxes are near where the gap between their borders is at most this share of the frame's shorter side."""

_ROUNDING = 1e-6  # boxes in float32, as tables store them, get the same words as in float64


def spatial_predicates(box_a: Box, box_b: Box, aspect_ratio: float = 1.0) -> tuple[str, ...]:
    """What holds from the first box to the second: "a is left of b".

    Args:
        box_a: The subject, (x0, y0, x1, y1) in [0, 1] of the frame, with x0 < x1 and y0 < y1.
        box_b: The object, likewise.
        aspect_ratio: Width of the frame over its height, which matters for "near" alone: a share of the width is a
            longer way than the same share of the height where the frame is wide.

    Returns:
        Some of `SPATIAL_PREDICATES`, in their order. At most one of "left of" and "right of", one of "above" and
        "below", and one of "inside", "contains" and "overlaps"; all may come with "near". The other way round, each
        of them is its inverse by `INVERSES`.
    """
    across = _beside(box_a[0], box_a[2], box_b[0], box_b[2], "left of", "right of")
    down = _beside(box_a[1], box_a[3], box_b[1], box_b[3], "above", "below")
    gap = border_gap(box_a, box_b, aspect_ratio)
    near = "near" if gap <= NEAR_GAP + _ROUNDING else ""
    return tuple(filter(None, (across, down, _sharing(box_a, box_b), near)))


def border_gap(box_a: Box, box_b: Box, aspect_ratio: float = 1.0) -> float:
    """The shortest way between two boxes, as a share of the frame's shorter side; 0 where they touch or overlap.

    Args:
        box_a: A box as (x0, y0, x1, y1) in [0, 1] of the frame.
        box_b: Another one.
        aspect_ratio: Width of the frame over its height.
    """
    x_gap = max(box_a[0] - box_b[2], box_b[0] - box_a[2], 0.0)
    y_gap = max(box_a[1] - box_b[3], box_b[1] - box_a[3], 0.0)
    # in units of the shorter side: that of a wide frame is its height, that of a tall one its width
    return math.hypot(x_gap * max(aspect_ratio, 1.0), y_gap * max(1 / aspect_ratio, 1.0))


def intersection_over_union(box_a: Box, box_b: Box) -> float:
    """Shared area of two boxes over their joint area, in [0, 1]. Any unit that both have.

    Args:
        box_a: A box as (x0, y0, x1, y1).
        box_b: Another one.
    """
    shared = _shared_area(box_a, box_b)
    joint = _area(box_a) + _area(box_b) - shared
    return shared / joint if joint > 0 else 0.0


def _beside(start_a: float, end_a: float, start_b: float, end_b: float, before: str, after: str) -> str:
    """Which of the two words holds along an axis; none where the sides share too much, or have one middle."""
    shared = min(end_a, end_b) - max(start_a, start_b)
    if shared > MAX_SIDE_OVERLAP * min(end_a - start_a, end_b - start_b) + _ROUNDING:
        return ""
    return before if start_a + end_a < start_b + end_b else after


def _sharing(box_a: Box, box_b: Box) -> str:
    area_a, area_b = _area(box_a), _area(box_b)
    smaller = min(area_a, area_b)
    share = _shared_area(box_a, box_b) / smaller
    # of two boxes alike neither is inside the other: they overlap
    if share >= INSIDE_SHARE - _ROUNDING and smaller < INSIDE_SHARE * max(area_a, area_b):
        return "inside" if area_a < area_b else "contains"
    return "overlaps" if share >= OVERLAP_SHARE - _ROUNDING else ""


def _shared_area(box_a: Box, box_b: Box) -> float:
    width = min(box_a[2], box_b[2]) - max(box_a[0], box_b[0])
    height = min(box_a[3], box_b[3]) - max(box_a[1], box_b[1])
    return max(width, 0.0) * max(height, 0.0)


def _area(box: Box) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])
