"""Annotations of single frames, as STAR and Action Genome have them, joined to graphs of whole videos.

Rules, stated once for both:

- **Frame N is decode index N - 1**: both number the frames that FFmpeg wrote as `%06d.png`, which counts from 1
  (`tools/dump_frames.py` of Action Genome; STAR takes over its numbers, and its own drawing tool counts so too). The
  frame's time is (N - 1) / fps, where STAR's generator has int(N) / fps, a frame too late.
- A class has one node in a graph: in both, a class stands for one thing in a video, and nothing tells two apart.
- What is said of key frames that follow one another is taken to hold between them
  (`vidreason.scenegraph.intervals`), unless they are farther apart than `MAX_GAP_S`. `frame_indices` of an edge are
  the frames that it was said of.
- An action is an event from its first key frame to the end of its last; the person does it, and its object, where the
  source names one, undergoes it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from ..graph import Box, Edge, Node, SceneGraph, TrackPoint
from ..intervals import holding_intervals
from .reading import Unusable
from .videos import VideoFacts

MAX_GAP_S = 8.0
"""Longest time between key frames over which a statement holds on. Action Genome draws five frames of each action, of
videos of about 30 s, so that those of one action are at most about 7 s apart."""

PERSON = "person"

TAKES_PART = {"person": "does", "object": "undergoes"}
"""Predicates of the edges from what takes part in an event; those of the worlds' graphs."""

_FRAME_NAME = re.compile(r"([0-9]{1,9})(\.png|\.jpg)?")

SPATIAL = frozenset(
    {
        *("above", "against", "along", "at", "at the left of", "at the right of", "behind", "beneath", "in"),
        *("in front of", "near", "on", "on back of", "on the side of", "over", "under"),
    }
)
"""Predicates of STAR and Action Genome that say where something is; the others say what one does with it."""


@dataclass(frozen=True)
class Statement:
    """A relation in one frame: names of the two nodes and what holds.

    Args:
        subject: Class of the first.
        predicate: What holds.
        object: Class of the second.
    """

    subject: str
    predicate: str
    object: str


@dataclass
class KeyFrame:
    """What an annotation says of one frame.

    Args:
        boxes: Class -> its box.
        statements: Relations that hold.
        actions: Actions that are done, each with the classes that it is done to.
        classes: Further classes that are there, without a box.
    """

    boxes: dict[str, Box] = field(default_factory=dict)
    statements: list[Statement] = field(default_factory=list)
    actions: dict[str, tuple[str, ...]] = field(default_factory=dict)
    classes: list[str] = field(default_factory=list)

    def add(self, other: KeyFrame) -> None:
        """Add what is said of the same frame elsewhere; of two boxes of a class the first stays."""
        self.boxes = {**other.boxes, **self.boxes}
        self.statements += other.statements
        self.actions.update(other.actions)
        self.classes += other.classes


def frame_index(name: object) -> int:
    """The decode index of a frame's name, such as 444 of "000445" or "000445.png".

    Raises:
        Unusable: It is no such name, or counts from 0.
    """
    match = _FRAME_NAME.fullmatch(name) if isinstance(name, str) else None
    number = int(match[1]) if match else 0
    if not number:
        raise Unusable("malformed", f"frame {str(name)[:80]!r}, expected a number from 1 on such as '000445'")
    return number - 1


@dataclass(frozen=True)
class GraphHead:
    """The head of a graph: what `SceneGraph` has beside nodes and edges.

    Args:
        graph_id: Name of the graph.
        source: Data set and revision.
        split: Split of the graph.
        model: Name of the data set, for provenance.
        facts: What is known of the video; its frame rate must be.
    """

    graph_id: str
    source: str
    split: str
    model: str
    facts: VideoFacts


def keyframe_graph(head: GraphHead, frames: Mapping[int, KeyFrame], max_gap_s: float = MAX_GAP_S) -> SceneGraph:
    """The graph of a video's key frames.

    Args:
        head: Names and the video.
        frames: Decode index of each annotated frame -> what is said of it.
        max_gap_s: Longest time in seconds between neighbouring key frames over which a statement holds on.
    """
    rate = head.facts.frames_per_second
    indices = sorted(frames)
    ordered = [frames[index] for index in indices]
    times_s = [index / rate for index in indices]
    objects = _objects(indices, times_s, ordered)
    joined = _Joined(indices, times_s, 1 / rate, max_gap_s)
    events, event_edges = _events(ordered, joined)
    edges = (*_relations(ordered, joined), *event_edges)
    nodes = (*objects, *events)
    facts = head.facts
    return SceneGraph(
        graph_id=head.graph_id,
        video_id=facts.video_id,
        source=head.source,
        split=head.split,
        num_frames=facts.num_frames,
        frames_per_second=rate,
        frame_height=facts.frame_height,
        frame_width=facts.frame_width,
        nodes=nodes,
        edges=edges,
        provenance={"producer": "annotation", "model": head.model, "status": "ok" if nodes else "empty"},
    )


@dataclass(frozen=True)
class _Joined:
    """How statements about key frames are joined to intervals."""

    indices: list[int]
    times_s: list[float]
    frame_s: float
    max_gap_s: float

    def intervals(self, positions: Sequence[int]) -> Iterable[tuple[float, float, tuple[int, ...]]]:
        """Start, end and decode indices of each interval."""
        for holding in holding_intervals(self.times_s, positions, self.frame_s, self.max_gap_s):
            seen = tuple(self.indices[position] for position in holding.positions)
            yield holding.start_s, holding.end_s, seen


def _objects(indices: list[int], times_s: list[float], frames: Sequence[KeyFrame]) -> list[Node]:
    """A node for each class, the person first, then in the order in which they are named."""
    tracks: dict[str, list[TrackPoint]] = {}
    for index, time_s, frame in zip(indices, times_s, frames, strict=True):
        for name, box in frame.boxes.items():
            tracks.setdefault(name, []).append(TrackPoint(index, time_s, box))
        named = [end for statement in frame.statements for end in (statement.subject, statement.object)]
        for name in (*frame.classes, *named, *(name for of in frame.actions.values() for name in of)):
            tracks.setdefault(name, [])
        if frame.actions:
            tracks.setdefault(PERSON, [])
    order = sorted(tracks, key=lambda name: name != PERSON)
    return [Node(name, "object", name, track=tuple(tracks[name])) for name in order]


def _relations(frames: Sequence[KeyFrame], joined: _Joined) -> list[Edge]:
    positions_of: dict[Statement, list[int]] = {}
    for position, frame in enumerate(frames):
        for statement in dict.fromkeys(frame.statements):
            positions_of.setdefault(statement, []).append(position)
    return [
        Edge(kind_of(statement.predicate), statement.subject, statement.predicate, statement.object, *interval)
        for statement, positions in positions_of.items()
        for interval in joined.intervals(positions)
    ]


def kind_of(predicate: str) -> str:
    """Kind of an edge: `spatial` or `relation`."""
    return "spatial" if predicate in SPATIAL else "relation"


def _events(frames: Sequence[KeyFrame], joined: _Joined) -> tuple[list[Node], list[Edge]]:
    """An event for each interval of each action, by rising start, and who takes part in it."""
    positions_of: dict[str, list[int]] = {}
    done_to: dict[str, tuple[str, ...]] = {}
    for position, frame in enumerate(frames):
        for action, names in frame.actions.items():
            positions_of.setdefault(action, []).append(position)
            done_to[action] = names
    found = [
        (start_s, end_s, action, seen)
        for action, positions in positions_of.items()
        for start_s, end_s, seen in joined.intervals(positions)
    ]
    nodes, edges = [], []
    for number, (start_s, end_s, action, seen) in enumerate(sorted(found)):
        node = Node(f"event {number}", "event", action, start_s=start_s, end_s=end_s)
        nodes.append(node)
        for name, role in [(PERSON, "person"), *((name, "object") for name in done_to[action])]:
            edges.append(Edge("event", name, TAKES_PART[role], node.node_id, start_s, end_s, seen))
    return nodes, edges
