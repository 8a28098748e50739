"""What a scene graph says of one moment of its video."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ..video.decode import nearest_in_time
from .graph import Box, Edge, Node, SceneGraph

DEFAULT_TOLERANCE_S = 0.05
"""As for detections: more than half a frame at 12 frames per second, less than a frame at 15."""


@dataclass(frozen=True)
class Moment:
    """What holds at one time.

    Args:
        timestamp_s: The time, in seconds from the start of the video.
        boxes: `node_id` -> box of the nodes that are seen then, in the graph's order.
        events: Events that go on then.
        edges: Edges with an interval that holds then.
    """

    timestamp_s: float
    boxes: Mapping[str, Box]
    events: tuple[Node, ...]
    edges: tuple[Edge, ...]


def moment_of(graph: SceneGraph, timestamp_s: float, tolerance_s: float = DEFAULT_TOLERANCE_S) -> Moment:
    """What a graph says of a time.

    Args:
        graph: The graph.
        timestamp_s: The time, in seconds.
        tolerance_s: How far, in seconds, a box may lie from this time and still be shown. Intervals are taken as they
            are: with their start, without their end.
    """
    boxes = {}
    for node in graph.nodes:
        if node.track:
            times_s = np.asarray([point.timestamp_s for point in node.track])
            place = int(nearest_in_time(times_s, np.asarray([timestamp_s]), tolerance_s)[0])
            if place >= 0:
                boxes[node.node_id] = node.track[place].box
    events = tuple(node for node in graph.nodes if _holds(node, timestamp_s))
    return Moment(timestamp_s, boxes, events, tuple(edge for edge in graph.edges if _holds(edge, timestamp_s)))


def _holds(part: Node | Edge, timestamp_s: float) -> bool:
    if part.start_s is None or part.end_s is None:
        return False
    return part.start_s <= timestamp_s < part.end_s


def telling_times(graph: SceneGraph, count: int) -> list[float]:
    """Times at which a graph is looked at, spread over what it speaks of: the middles of parts of equal length.

    Args:
        graph: A graph.
        count: Number of times, at least 1; fewer where the graph has fewer instants.

    Returns:
        Times in seconds, ascending: of the frames of its tracks that lie nearest, or of no frame in particular where
        it has no tracks. None where it speaks of no time at all.
    """
    instants = np.unique([point.timestamp_s for node in graph.nodes for point in node.track])
    parts: list[Node | Edge] = [*graph.nodes, *graph.edges]
    ends = [(part.start_s, part.end_s) for part in parts if part.start_s is not None and part.end_s is not None]
    if not len(instants) and not ends:
        return []
    start = min([*instants[:1].tolist(), *(start for start, _ in ends)])
    end = max([*instants[-1:].tolist(), *(end for _, end in ends)])
    wanted = start + (end - start) * (np.arange(count) + 0.5) / count
    if not len(instants):
        return [float(time_s) for time_s in wanted]
    places = np.unique(nearest_in_time(instants, wanted, np.inf))
    return [float(instants[place]) for place in places]
