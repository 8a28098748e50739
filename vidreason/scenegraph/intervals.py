"""From what is said of single frames to intervals, and from tracks to spatial edges in intervals.

A statement that holds in frames which follow one another is taken to hold between them. An interval is half open: it
begins with the first of these frames and ends where the last one does, since nothing is known of what comes after.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from .geometry import INVERSES, spatial_predicates
from .graph import Edge, Node

_ROUNDING_S = 1e-6  # times are sums and quotients of floats


@dataclass(frozen=True)
class Holding:
    """An interval in which a statement holds.

    Args:
        start_s: Time of the first frame that says so, in seconds.
        end_s: Where the last such frame ends; exclusive.
        positions: Positions of these frames in the sequence that was given, rising.
    """

    start_s: float
    end_s: float
    positions: tuple[int, ...]


def holding_intervals(
    times_s: Sequence[float], positions: Sequence[int], frame_s: float, max_gap_s: float
) -> list[Holding]:
    """The intervals of a statement that holds in some of a sequence of frames.

    Args:
        times_s: Times of all frames that were looked at, in seconds, rising.
        positions: Positions in `times_s` of the frames in which the statement holds, rising.
        frame_s: How long a frame lasts, in seconds.
        max_gap_s: Longest time in seconds between two neighbouring frames over which the statement is taken to hold
            on. Farther frames say nothing of what lies between them.

    Returns:
        The intervals by time. A frame that was looked at and in which the statement does not hold parts two of them.
    """
    runs: list[list[int]] = []
    for position in positions:
        follows = (
            runs
            and position == runs[-1][-1] + 1
            and times_s[position] - times_s[runs[-1][-1]] <= max_gap_s + _ROUNDING_S
        )
        if follows:
            runs[-1].append(position)
        else:
            runs.append([position])
    return [Holding(times_s[run[0]], times_s[run[-1]] + frame_s, tuple(run)) for run in runs]


def spatial_edges(
    nodes: Sequence[Node], frame_s: float, max_gap_s: float, aspect_ratio: float = 1.0, min_frames: int = 1
) -> list[Edge]:
    """Where objects with tracks are to one another, by `vidreason.scenegraph.geometry`, in intervals.

    A pair is looked at in the frames in which both have a box. Everything is said in both directions, "a left of b"
    and "b right of a", "a near b" and "b near a", so that whoever asks for what is near b need not turn it round.

    Args:
        nodes: The objects; those without a track have no spatial edges.
        frame_s: How long a frame lasts, in seconds; where frames were sampled, the time between two of them.
        max_gap_s: Longest time in seconds between two frames over which a relation is taken to hold on.
        aspect_ratio: Width of the frame over its height, for "near".
        min_frames: Fewest frames in a row in which a relation must hold to be said; more than one leaves out the
            flicker of a detector's boxes.

    Returns:
        Edges of the kind `spatial`, pair by pair in the order of the nodes, then by predicate and time.
    """
    edges: list[Edge] = []
    tracks = [(node, {point.frame_index: point for point in node.track}) for node in nodes if node.track]
    for (node_a, points_a), (node_b, points_b) in itertools.combinations(tracks, 2):
        frames = sorted(points_a.keys() & points_b.keys())
        positions_of: dict[str, list[int]] = defaultdict(list)
        for position, frame in enumerate(frames):
            for predicate in spatial_predicates(points_a[frame].box, points_b[frame].box, aspect_ratio):
                positions_of[predicate].append(position)
        times_s = [points_a[frame].timestamp_s for frame in frames]
        for predicate in sorted(positions_of):
            for holding in holding_intervals(times_s, positions_of[predicate], frame_s, max_gap_s):
                if len(holding.positions) < min_frames:
                    continue
                seen = tuple(frames[position] for position in holding.positions)
                start_s, end_s = holding.start_s, holding.end_s
                edges.append(Edge("spatial", node_a.node_id, predicate, node_b.node_id, start_s, end_s, seen))
                inverse = INVERSES[predicate]
                edges.append(Edge("spatial", node_b.node_id, inverse, node_a.node_id, start_s, end_s, seen))
    return edges
