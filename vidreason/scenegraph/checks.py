"""What can be wrong with a scene graph: every problem has a name and a place, and all of them are found."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import GraphError
from ..plain_json import is_number, is_whole
from ..provenance import PROVENANCE_FEATURES, STATUSES
from .graph import EDGE_KINDS, NODE_KINDS, Edge, Node, SceneGraph, TrackPoint
from .schema import plain_name

Predicates = Collection[str] | Mapping[str, Collection[str]]
"""Predicates that are known: of all edges, or, by kind, of those of some kinds; then others may say anything."""

PROBLEMS = (
    "bad_header",  # a name, size or rate of the graph
    "bad_provenance",
    "status_against_nodes",  # ok without nodes, or a graph that could not be made with some
    "duplicate_node",
    "unknown_kind",
    "bad_name",  # of a node, attribute or predicate: empty, or not in the one spelling
    "object_with_interval",
    "event_without_interval",
    "bad_interval",  # half of one, inverted or empty, or no numbers
    "time_outside_video",
    "frame_outside_video",
    "track_out_of_order",
    "bad_box",  # no finite numbers, or inverted
    "box_outside_frame",
    "dangling_edge",
    "edge_between_wrong_kinds",
    "unknown_predicate",
)
"""Names of problems."""

_NAMED_IN_ERROR = 20  # a graph of a hostile file may have any number
_TIME_ROUNDING_S = 1e-6
_BOX_ROUNDING = 1e-6  # a float32 just beyond 1


@dataclass(frozen=True)
class Problem:
    """Something that is wrong with a graph.

    Args:
        name: One of `PROBLEMS`.
        where: The part of the graph, such as "node 'person 1'" or "edge 3 (person 1 holds cup 2)".
        detail: What is wrong with it, with the values that are.
    """

    name: str
    where: str
    detail: str

    def __str__(self) -> str:
        return f"{self.where}: {self.name.replace('_', ' ')} ({self.detail})"


def check_graph(graph: SceneGraph, predicates: Predicates | None = None) -> None:
    """Check a graph against the contract.

    Args:
        graph: The graph.
        predicates: Predicates that edges may have; None for any.

    Raises:
        GraphError: Naming the graph and all that is wrong with it, up to 20 problems and the number of the others.
    """
    problems = find_problems(graph, predicates)
    if not problems:
        return
    text = "; ".join(map(str, problems[:_NAMED_IN_ERROR]))
    others = len(problems) - _NAMED_IN_ERROR
    raise GraphError(f"graph {graph.graph_id!r}: {text}" + (f"; and {others} more problems" if others > 0 else ""))


def find_problems(graph: SceneGraph, predicates: Predicates | None = None) -> list[Problem]:
    """All that is wrong with a graph, in its order; nothing where it keeps the contract.

    Args:
        graph: The graph.
        predicates: Predicates that edges may have; None for any.
    """
    found = [*_header_problems(graph)]
    for node_id, count in Counter(node.node_id for node in graph.nodes).items():
        if count > 1:
            found.append(Problem("duplicate_node", f"node {node_id!r}", f"{count} nodes have this name"))
    limits = _Limits.of(graph)
    for node in graph.nodes:
        found += _node_problems(node, limits)
    kinds = {node.node_id: node.kind for node in graph.nodes}
    for number, edge in enumerate(graph.edges):
        where = f"edge {number} ({edge.subject} {edge.predicate} {edge.object})"
        found += _edge_problems(edge, where, kinds, limits)
        found += _predicate_problems(edge, where, predicates)
    return found


@dataclass(frozen=True)
class _Limits:
    """Where a video ends: what is infinite is not known."""

    num_frames: float
    duration_s: float

    @classmethod
    def of(cls, graph: SceneGraph) -> _Limits:
        frames, rate = graph.num_frames, graph.frames_per_second
        if not (is_number(frames) and frames > 0):
            return cls(math.inf, math.inf)
        return cls(frames, frames / rate if is_number(rate) and rate > 0 else math.inf)


def _header_problems(graph: SceneGraph) -> Iterator[Problem]:
    for name in ("graph_id", "video_id", "source", "split"):
        value = getattr(graph, name)
        if not isinstance(value, str) or not value:
            yield Problem("bad_header", "graph", f"{name} is {value!r}, expected a text")
    for name in ("num_frames", "frame_height", "frame_width"):
        value = getattr(graph, name)
        if not is_whole(value) or value < 0:
            yield Problem("bad_header", "graph", f"{name} is {value!r}, expected a whole number of at least 0")
    rate = graph.frames_per_second
    if not (is_number(rate) and rate >= 0):
        yield Problem("bad_header", "graph", f"frames_per_second is {rate!r}, expected a finite number, 0 or more")
    yield from _provenance_problems(graph.provenance, "graph")
    if not isinstance(graph.provenance, Mapping):
        return
    if not graph.provenance.get("producer"):
        yield Problem("bad_provenance", "graph", "no producer")
    status = graph.provenance.get("status")
    if status not in STATUSES:
        yield Problem("bad_provenance", "graph", f"status is {status!r}, expected one of {STATUSES}")
    elif (status == "ok") != (len(graph.nodes) > 0):
        detail = f"{len(graph.nodes)} nodes with status {status!r}: ok has some, any other none"
        yield Problem("status_against_nodes", "graph", detail)


def _provenance_problems(provenance: Any, where: str) -> Iterator[Problem]:
    if not isinstance(provenance, Mapping):
        yield Problem("bad_provenance", where, f"{str(provenance)[:80]!r}, expected columns by name")
        return
    for name, value in provenance.items():
        feature = PROVENANCE_FEATURES.get(name)
        if feature is None:
            yield Problem("bad_provenance", where, f"unknown field {name!r}")
        elif feature.dtype == "string" and not isinstance(value, str):
            yield Problem("bad_provenance", where, f"{name} is {value!r}, expected a text")
        elif feature.dtype != "string" and not (is_number(value) and value >= 0):
            yield Problem("bad_provenance", where, f"{name} is {value!r}, expected a number that is not negative")


def _node_problems(node: Node, limits: _Limits) -> Iterator[Problem]:
    where = f"node {node.node_id!r}"
    if not isinstance(node.node_id, str) or not node.node_id:
        yield Problem("bad_name", where, "its node_id is no text")
    if node.kind not in NODE_KINDS:
        yield Problem("unknown_kind", where, f"{node.kind!r}, expected one of {NODE_KINDS}")
    yield from _spelling_problems(node.name, "name", where)
    for type_, value in node.attributes:
        yield from _spelling_problems(type_, "type of an attribute", where)
        if not isinstance(value, str) or not value:
            yield Problem("bad_name", where, f"attribute {type_!r} is {value!r}, expected a text")
    if node.is_static not in (None, True, False):
        yield Problem("bad_name", where, f"is_static is {node.is_static!r}, expected True, False or None")
    has_interval = node.start_s is not None or node.end_s is not None
    if node.kind == "object" and has_interval:
        yield Problem("object_with_interval", where, "when an object is there, its track and its edges say")
    elif node.kind == "event" and not has_interval:
        yield Problem("event_without_interval", where, "start_s and end_s are not set")
    elif has_interval:
        yield from _interval_problems(node.start_s, node.end_s, where, limits)
    if node.track:
        yield from _track_problems(node.track, where, limits)
    yield from _provenance_problems(node.provenance, where)


def _spelling_problems(text: Any, what: str, where: str) -> Iterator[Problem]:
    if not isinstance(text, str) or not text:
        yield Problem("bad_name", where, f"{what} is {text!r}, expected a text")
    elif plain_name(text) != text:
        yield Problem("bad_name", where, f"{what} is to be spelled {plain_name(text)!r} and not {text!r}")


def _interval_problems(start_s: Any, end_s: Any, where: str, limits: _Limits) -> Iterator[Problem]:
    if not (is_number(start_s) and is_number(end_s)):
        yield Problem("bad_interval", where, f"from {start_s!r} to {end_s!r}, expected two numbers of seconds")
        return
    if not start_s < end_s:
        yield Problem("bad_interval", where, f"from {start_s:g} to {end_s:g} s")
    if start_s < 0 or end_s > limits.duration_s + _TIME_ROUNDING_S:
        detail = f"from {start_s:g} to {end_s:g} s of a video of {limits.duration_s:g} s"
        yield Problem("time_outside_video", where, detail)


def _track_problems(track: tuple[TrackPoint, ...], where: str, limits: _Limits) -> Iterator[Problem]:
    """In vectors, with the first point of each problem named: a track may have thousands of points."""
    try:
        frames = np.asarray([point.frame_index for point in track])
        times = np.asarray([point.timestamp_s for point in track], dtype=np.float64)
        boxes = np.asarray([point.box for point in track], dtype=np.float64).reshape(len(track), 4)
    except (TypeError, ValueError):
        yield Problem("bad_box", where, "its track is not one of whole numbers, times and boxes of four numbers")
        return
    if frames.dtype.kind != "i":
        yield Problem("frame_outside_video", where, "its track has frame numbers that are no whole numbers")
        return
    x0, y0, x1, y1 = boxes.T
    finite = np.isfinite(boxes).all(axis=1)
    in_order = (x0 < x1) & (y0 < y1)  # not a number fails every comparison
    inside = (boxes >= -_BOX_ROUNDING).all(axis=1) & (boxes <= 1 + _BOX_ROUNDING).all(axis=1)
    rises = np.concatenate([[True], (np.diff(frames) > 0) & (np.diff(times) > 0)])
    for name, wrong in (
        ("frame_outside_video", (frames < 0) | (frames >= limits.num_frames)),
        ("time_outside_video", ~((times >= 0) & (times <= limits.duration_s + _TIME_ROUNDING_S))),
        ("track_out_of_order", ~rises),
        ("bad_box", ~(finite & in_order)),
        ("box_outside_frame", finite & ~inside),
    ):
        places = np.flatnonzero(wrong)
        if len(places):
            first = track[places[0]]
            detail = f"frame {first.frame_index} at {first.timestamp_s:g} s, box {tuple(first.box)}"
            yield Problem(name, where, detail + (f", and {len(places) - 1} others" if len(places) > 1 else ""))


_WANTED_KINDS = {
    "motion": ("object", "object"),
    "reference": ("object", "object"),
    "event": ("object", "event"),
    "spatial": ("object", "object"),
    "temporal": ("event", "event"),
}
"""Kind of an edge -> kinds of its subject and object; a relation may hold between any."""

_NEVER_WITH_ITSELF = ("reference", "spatial", "temporal")


def _edge_problems(edge: Edge, where: str, kinds: Mapping[str, str], limits: _Limits) -> Iterator[Problem]:
    is_known = edge.kind in EDGE_KINDS
    if not is_known:
        yield Problem("unknown_kind", where, f"{edge.kind!r}, expected one of {EDGE_KINDS}")
    yield from _spelling_problems(edge.predicate, "predicate", where)
    dangling = [name for name in dict.fromkeys((edge.subject, edge.object)) if name not in kinds]
    for name in dangling:
        yield Problem("dangling_edge", where, f"there is no node {name!r}")
    if is_known and not dangling and edge.kind in _WANTED_KINDS:
        wanted, ends = _WANTED_KINDS[edge.kind], (kinds[edge.subject], kinds[edge.object])
        if ends != wanted:
            detail = f"{edge.kind} from {ends[0]} to {ends[1]}, expected from {wanted[0]} to {wanted[1]}"
            yield Problem("edge_between_wrong_kinds", where, detail)
    if edge.subject == edge.object and edge.kind in _NEVER_WITH_ITSELF:
        yield Problem("edge_between_wrong_kinds", where, f"{edge.kind} of a node with itself")
    if edge.start_s is not None or edge.end_s is not None:
        yield from _interval_problems(edge.start_s, edge.end_s, where, limits)
    yield from _frame_problems(edge.frame_indices, where, limits)
    yield from _provenance_problems(edge.provenance, where)


def _frame_problems(frames: Iterable[Any], where: str, limits: _Limits) -> Iterator[Problem]:
    last = -1
    for frame in frames:
        if not is_whole(frame) or not 0 <= frame < limits.num_frames:
            yield Problem("frame_outside_video", where, f"frame {frame!r} of {limits.num_frames:g}")
            return
        if frame <= last:
            yield Problem("track_out_of_order", where, f"frame {frame} after {last}")
            return
        last = frame


def _predicate_problems(edge: Edge, where: str, predicates: Predicates | None) -> Iterator[Problem]:
    if isinstance(predicates, Mapping):
        predicates = predicates.get(edge.kind)
    if predicates is not None and edge.predicate not in predicates:
        yield Problem("unknown_predicate", where, f"{edge.predicate!r} is none of {len(predicates)} known ones")
