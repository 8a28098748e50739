"""A scene graph in memory: the things of one video, what holds between them, and when.

The same graph whether people annotated it (VidOR, STAR, Action Genome), a synthetic world knows it, detections were
joined to it, or a Video-LLM parsed it from raw video. Times are seconds from the start of the video and intervals are
half open: what is true in [start_s, end_s) is true from the frame at `start_s` up to, and without, that at `end_s`.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

NODE_KINDS = ("object", "event")
"""`object`: a person or thing, perhaps with a track. `event`: something that happens in an interval, as an action."""

EDGE_KINDS = ("relation", "motion", "reference", "event", "spatial", "temporal")
"""What an edge says of its subject and object.

`relation`: what one does with or is to the other ("person holds cup"). `motion`: how one object moves in the
interval; subject and object are the same node, or that object at two times (STEP, section 3.1). `reference`: both
nodes are the same object, seen in two clips. `event`: the object takes part in the event. `spatial`: where one is to
the other ("left of"), which follows from geometry. `temporal`: how two events lie in time ("before").
"""

Box = tuple[float, float, float, float]
"""x0, y0, x1, y1 in [0, 1] of the full frame as displayed, x0 < x1 and y0 < y1. Tables keep single precision."""


@dataclass(frozen=True)
class TrackPoint:
    """Where a node is in one frame.

    Args:
        frame_index: Decode index of the frame, from 0, in the file's own order of presentation.
        timestamp_s: Its presentation time in seconds from the start of the video.
        box: Where the node is in it.
    """

    frame_index: int
    timestamp_s: float
    box: Box


@dataclass(frozen=True)
class Node:
    """A thing or an event of a video.

    Args:
        node_id: Name of the node, unique in its graph and the same over shots and over sub-tasks.
        kind: One of `NODE_KINDS`.
        name: What it is, in lower case with spaces, such as "person" or "open box"; not unique.
        attributes: Pairs of type and value, such as ("color", "red").
        is_static: Whether an object stays where it is; None where nothing says so.
        track: Where it is, by rising time; empty where that is not known.
        start_s: Start of an event's interval, in seconds, which every event has; None for objects.
        end_s: Its end, exclusive.
        provenance: Columns of `vidreason.provenance` that say what made this node where the graph's own do not.
    """

    node_id: str
    kind: str
    name: str
    attributes: tuple[tuple[str, str], ...] = ()
    is_static: bool | None = None
    track: tuple[TrackPoint, ...] = ()
    start_s: float | None = None
    end_s: float | None = None
    provenance: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Edge:
    """What holds between two nodes of a graph, in an interval.

    Args:
        kind: One of `EDGE_KINDS`.
        subject: `node_id` of the first node.
        predicate: What holds, in lower case with spaces, read from subject to object: "holds", "left of".
        object: `node_id` of the second node.
        start_s: From when it holds, in seconds; None where no time is said.
        end_s: Until when, exclusive.
        frame_indices: Decode indices of the frames that it was seen in; empty where it was not said frame by frame.
        provenance: Columns of `vidreason.provenance` that say what made this edge where the graph's own do not.
    """

    kind: str
    subject: str
    predicate: str
    object: str
    start_s: float | None = None
    end_s: float | None = None
    frame_indices: tuple[int, ...] = ()
    provenance: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class SceneGraph:
    """The graph of one video, or of a part of it.

    Args:
        graph_id: Name of the graph, unique in its table; often the `video_id`.
        video_id: The video in its manifest.
        source: Data set and revision, such as "vidor@1.0".
        split: Split of the manifest.
        num_frames: Frames of the video; 0 where not known.
        frames_per_second: Nominal rate by which frame numbers of the source were turned into times; 0 where times came
            from the file.
        frame_height: Pixels, as displayed; 0 where not known.
        frame_width: Likewise.
        nodes: All nodes, in a fixed order.
        edges: All edges, in a fixed order.
        provenance: Columns of `vidreason.provenance`: `producer` and `status` at least. A graph that could not be made
            has no nodes and a status that says why.
    """

    graph_id: str
    video_id: str
    source: str
    split: str
    num_frames: int
    frames_per_second: float
    frame_height: int
    frame_width: int
    nodes: tuple[Node, ...] = ()
    edges: tuple[Edge, ...] = ()
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def node(self, node_id: str) -> Node:
        """The node of a name.

        Raises:
            KeyError: There is none.
        """
        return self._by_id[node_id]

    @functools.cached_property
    def _by_id(self) -> dict[str, Node]:
        return {node.node_id: node for node in self.nodes}
