"""How much two nodes, or two statements, share of space and time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .graph import Node

Interval = tuple[float, float]
"""Start and end in seconds, the end exclusive."""


@dataclass(frozen=True, eq=False)
class Place:
    """Where an object is, or when an event is.

    Args:
        frames: Positions of the frames that it has a box in, rising, (frames,); none of an event.
        boxes: The boxes (frames, 4).
        interval: When it is; None of an object.
    """

    frames: np.ndarray
    boxes: np.ndarray
    interval: Interval | None = None


def place_of(node: Node, times_s: np.ndarray) -> Place | None:
    """Where or when a node is; None where it says neither, or nothing of these frames.

    Args:
        node: A node.
        times_s: Times in seconds of the frames that are looked at, (frames,), ascending: some of those of the tracks
            of the node's graph.
    """
    if node.kind == "event":
        if node.start_s is None or node.end_s is None:
            return None
        return Place(np.zeros(0, np.int64), np.zeros((0, 4)), (node.start_s, node.end_s))
    own_s = np.asarray([point.timestamp_s for point in node.track], dtype=np.float64)
    _, points, frames = np.intersect1d(own_s, times_s, return_indices=True)
    if not len(frames):
        return None
    boxes = np.asarray([point.box for point in node.track], dtype=np.float64).reshape(-1, 4)
    return Place(frames, boxes[points])


def place_overlap(place: Place, other: Place) -> float:
    """Shared part of two places of one kind, in [0, 1].

    Of events it is that of their intervals. Of objects it is the area that their boxes share, summed over frames, over
    the area that either covers: a frame with a box of one alone counts with its whole area.

    Args:
        place: A place.
        other: Another, of the same frames.
    """
    if place.interval is not None and other.interval is not None:
        return interval_overlap([place.interval], [other.interval])
    _, mine, theirs = np.intersect1d(place.frames, other.frames, assume_unique=True, return_indices=True)
    a, b = place.boxes[mine], other.boxes[theirs]
    sides = np.minimum(a[:, 2:], b[:, 2:]) - np.maximum(a[:, :2], b[:, :2])
    shared = float(sides.clip(min=0.0).prod(axis=1).sum())
    joint = _area(place.boxes) + _area(other.boxes) - shared
    return shared / joint if joint > 0 else 0.0


def _area(boxes: np.ndarray) -> float:
    return float((boxes[:, 2:] - boxes[:, :2]).prod(axis=1).sum())


def interval_overlap(intervals: Sequence[Interval], others: Sequence[Interval]) -> float:
    """Shared time of two sets of intervals over the time that is in either, in [0, 1].

    Args:
        intervals: Intervals, which may overlap one another.
        others: Others; neither may be none at all.
    """
    mine, theirs = merge_intervals(intervals), merge_intervals(others)
    shared = sum(max(0.0, min(end, b) - max(start, a)) for start, end in mine for a, b in theirs)
    joint = sum(end - start for start, end in (*mine, *theirs)) - shared
    return shared / joint if joint > 0 else 0.0


def merge_intervals(intervals: Sequence[Interval]) -> list[Interval]:
    """The same times in intervals that do not meet, by time."""
    merged: list[Interval] = []
    for start, end in sorted(intervals):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return merged
