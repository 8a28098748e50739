"""A scene graph against another one of the same video: which of its nodes, attributes and statements the other has.

First nodes are matched, then all else is counted over matched nodes: a statement is the same where its predicate is
and both ends are matched. What one graph has more often than the other is too much or missing; a node that is not
matched takes its attributes and statements with it.
"""

from __future__ import annotations

import dataclasses
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy.optimize import linear_sum_assignment

from ..errors import GraphError
from ..video.decode import match_times
from .directions import TURNED, one_way
from .graph import EDGE_KINDS, NODE_KINDS, Edge, Node, SceneGraph
from .overlap import Interval, Place, interval_overlap, place_of, place_overlap

WAYS = ("place", "id")
"""How nodes are matched. `place`: nodes of one kind and name whose tracks, or intervals, overlap enough. `id`: nodes
of one kind and name that have one id, as where both graphs come from one source."""


@dataclass(frozen=True)
class Matching:
    """When parts of two graphs count as the same.

    Args:
        nodes_by: One of `WAYS`.
        min_overlap: Least overlap of the tracks of two objects (shared area over joint area, summed over the frames
            that both graphs look at, as voluminal IoU in video relation detection), and of the intervals of two
            events, or of two statements where times count.
        tolerance_s: How far apart in seconds two frames may be and still be the same.
        turned: Predicates that can be said from either end, as `vidreason.scenegraph.directions.TURNED` has them.
    """

    nodes_by: str = "place"
    min_overlap: float = 0.5
    tolerance_s: float = 0.05
    turned: Mapping[str, str] = field(default_factory=lambda: TURNED)

    def __post_init__(self):
        if self.nodes_by not in WAYS:
            raise GraphError(f"nodes are matched by {self.nodes_by!r}, expected one of {WAYS}")
        if not 0 < self.min_overlap <= 1:
            raise GraphError(f"min_overlap is {self.min_overlap}, expected a share above 0 and at most 1")
        if not self.tolerance_s >= 0:
            raise GraphError(f"tolerance_s is {self.tolerance_s}, expected a number of seconds >= 0")


@dataclass(frozen=True)
class Agreement:
    """How many of some things two graphs share.

    Args:
        shared: Number of those that both have.
        found: Number in the graph.
        expected: Number in the reference.
    """

    shared: int = 0
    found: int = 0
    expected: int = 0

    @property
    def precision(self) -> float | None:
        """Share of what the graph has that the reference has too; None where the graph has nothing."""
        return self.shared / self.found if self.found else None

    @property
    def recall(self) -> float | None:
        """Share of what the reference has that the graph has too; None where the reference has nothing."""
        return self.shared / self.expected if self.expected else None

    def __add__(self, other: Agreement) -> Agreement:
        return Agreement(self.shared + other.shared, self.found + other.found, self.expected + other.expected)


def total(agreements: Iterable[Agreement]) -> Agreement:
    """All of them together."""
    return sum(agreements, Agreement())


@dataclass(frozen=True)
class GraphComparison:
    """What `compare_graphs` found.

    Args:
        graph_id: Name of the graph.
        video_id: Its video.
        pairs: Names of matched nodes, in the graph and in the reference.
        names: Kind and name of nodes -> agreement of those nodes.
        attributes: Agreement of attributes, each a type and value of a node.
        predicates: Kind and predicate of edges -> agreement of those statements, each counted once whenever it holds.
        timed: Kind of edge -> agreement of statements with an interval, each time that they hold, where intervals
            must overlap too.
        overlaps: For each statement that both have with times, the shared part of the time in which either says that
            it holds.
        missing: What the reference alone has, in words, nodes first.
        extra: What the graph alone has.
    """

    graph_id: str
    video_id: str
    pairs: tuple[tuple[str, str], ...]
    names: Mapping[tuple[str, str], Agreement]
    attributes: Agreement
    predicates: Mapping[tuple[str, str], Agreement]
    timed: Mapping[str, Agreement]
    overlaps: tuple[float, ...]
    missing: tuple[str, ...]
    extra: tuple[str, ...]

    @property
    def nodes(self) -> dict[str, Agreement]:
        """Kind of node -> agreement of nodes."""
        return _by_kind(self.names, NODE_KINDS)

    @property
    def triples(self) -> dict[str, Agreement]:
        """Kind of edge -> agreement of statements."""
        return _by_kind(self.predicates, EDGE_KINDS)


def _by_kind(agreements: Mapping[tuple[str, str], Agreement], kinds: Sequence[str]) -> dict[str, Agreement]:
    known = {kind: [one for (of, _), one in agreements.items() if of == kind] for kind in kinds}
    return {kind: total(ones) for kind, ones in known.items() if ones}


def compare_graphs(graph: SceneGraph, reference: SceneGraph, matching: Matching | None = None) -> GraphComparison:
    """Compare a graph with another of the same video.

    Args:
        graph: The graph that is judged. One that could not be made has nothing, and all of the reference is missing.
        reference: The graph that it is judged by.
        matching: When parts of both count as the same.

    Raises:
        GraphError: The graphs are of two videos.
    """
    if graph.video_id != reference.video_id:
        raise GraphError(f"graphs of two videos cannot be compared: {graph.video_id!r} and {reference.video_id!r}")
    matching = matching or Matching()
    pairs = match_nodes(graph, reference, matching)
    attributes, lost_attributes, more_attributes = _compare_attributes(graph, reference, pairs)
    # a node without a partner may have the name of another one of the reference
    names = {node.node_id: pairs.get(node.node_id, f"{node.node_id} (unmatched)") for node in graph.nodes}
    ours = _statements(graph, names, matching.turned)
    theirs = _statements(reference, {node.node_id: node.node_id for node in reference.nodes}, matching.turned)
    both = [(ours[key], theirs[key]) for key in ours if key in theirs]
    overlaps = [interval_overlap(a, b) for a, b in ((_times(a), _times(b)) for a, b in both) if a and b]
    matched = {of: by for by, of in pairs.items()}
    return GraphComparison(
        graph_id=graph.graph_id,
        video_id=graph.video_id,
        pairs=tuple(pairs.items()),
        names=_count_names(graph, reference, pairs),
        attributes=attributes,
        predicates=_count_predicates(ours, theirs),
        timed=_compare_times(ours, theirs, matching.min_overlap),
        overlaps=tuple(overlaps),
        missing=(
            *(_describe(node) for node in reference.nodes if node.node_id not in matched),
            *lost_attributes,
            *(_sentence(key) for key in theirs if key not in ours),
        ),
        extra=(
            *(_describe(node) for node in graph.nodes if node.node_id not in pairs),
            *more_attributes,
            *(_sentence(key) for key in ours if key not in theirs),
        ),
    )


# Nodes


def match_nodes(graph: SceneGraph, reference: SceneGraph, matching: Matching) -> dict[str, str]:
    """Name of each matched node in the graph -> its name in the reference, in the graph's order.

    By place, nodes of one kind and name are assigned so that they overlap as much as they can, all in all. A node that
    says nothing of where or when it is may be any of its name: such nodes are assigned last, by the statements that
    they take part in.

    Args:
        graph: A graph.
        reference: Another one of the same video.
        matching: When nodes count as the same.
    """
    if matching.nodes_by == "id":
        known = {node.node_id: (node.kind, node.name) for node in reference.nodes}
        return {n.node_id: n.node_id for n in graph.nodes if known.get(n.node_id) == (n.kind, n.name)}
    places, other_places = _places(graph, reference, matching.tolerance_s)
    roles, other_roles = _roles(graph, matching.turned), _roles(reference, matching.turned)
    groups: dict[tuple[str, str], tuple[list[str], list[str]]] = defaultdict(lambda: ([], []))
    for side, nodes in enumerate((graph.nodes, reference.nodes)):
        for node in nodes:
            groups[node.kind, node.name][side].append(node.node_id)
    found: dict[str, str] = {}
    for mine, others in groups.values():
        scores = np.asarray(
            [
                [
                    _score(places.get(a), other_places.get(b), _likeness(roles[a], other_roles[b]), matching)
                    for b in others
                ]
                for a in mine
            ]
        ).reshape(len(mine), len(others))
        rows, columns = linear_sum_assignment(scores, maximize=True)
        found |= {mine[a]: others[b] for a, b in zip(rows, columns, strict=True) if scores[a, b] > 0}
    return {node.node_id: found[node.node_id] for node in graph.nodes if node.node_id in found}


_ROLE_WEIGHT = 1e-3  # decides between nodes that overlap alike, and no more
_ROUNDING = 1e-9  # half of an interval is half of it, whatever floats make of 1.4 - 0.4
_UNPLACED = 1e-2  # less than overlaps that count, more than nothing


def _score(place: Place | None, other: Place | None, likeness: float, matching: Matching) -> float:
    """What it is worth that two nodes are one; 0 where they cannot be."""
    overlap = _UNPLACED if place is None or other is None else place_overlap(place, other)
    if place is not None and other is not None and overlap < matching.min_overlap - _ROUNDING:
        return 0.0
    return overlap + _ROLE_WEIGHT * likeness


def _places(graph: SceneGraph, reference: SceneGraph, tolerance_s: float) -> tuple[dict[str, Place], dict[str, Place]]:
    """Where or when nodes are, of both graphs in the frames that both look at; nodes that say neither are left out."""
    instants, others = (
        np.unique([point.timestamp_s for node in one.nodes for point in node.track]) for one in (graph, reference)
    )
    partners = match_times(instants, others, tolerance_s)
    shared = np.flatnonzero(partners >= 0)
    times, other_times = instants[shared], others[partners[shared]]
    return (
        {node.node_id: place for node in graph.nodes if (place := place_of(node, times)) is not None},
        {node.node_id: place for node in reference.nodes if (place := place_of(node, other_times)) is not None},
    )


def _roles(graph: SceneGraph, turned: Mapping[str, str]) -> dict[str, Counter]:
    """What is said of each node: kind, predicate, which end it is, and the name of the other end."""
    names = {node.node_id: node.name for node in graph.nodes}
    roles: dict[str, Counter] = {name: Counter() for name in names}
    for edge in (one_way(edge, turned) for edge in graph.edges):
        is_same_both_ways = turned.get(edge.predicate) == edge.predicate
        for mine, other, end in ((edge.subject, edge.object, "subject"), (edge.object, edge.subject, "object")):
            roles[mine][edge.kind, edge.predicate, "either" if is_same_both_ways else end, names[other]] += 1
    return roles


def _likeness(roles: Counter, others: Counter) -> float:
    """Shared part of two multisets, in [0, 1]."""
    joint = (roles | others).total()
    return (roles & others).total() / joint if joint else 0.0


def _count_names(
    graph: SceneGraph, reference: SceneGraph, pairs: Mapping[str, str]
) -> dict[tuple[str, str], Agreement]:
    found = Counter((node.kind, node.name) for node in graph.nodes)
    expected = Counter((node.kind, node.name) for node in reference.nodes)
    shared = Counter((node.kind, node.name) for node in graph.nodes if node.node_id in pairs)
    return _agreements(shared, found, expected)


def _agreements(shared: Counter, found: Counter, expected: Counter) -> dict[tuple[str, str], Agreement]:
    return {key: Agreement(shared[key], found[key], expected[key]) for key in sorted({*found, *expected})}


def _compare_attributes(
    graph: SceneGraph, reference: SceneGraph, pairs: Mapping[str, str]
) -> tuple[Agreement, list[str], list[str]]:
    """Agreement of attributes; and in words what of matched nodes is missing, and what is too much."""
    shared, missing, extra = 0, [], []
    for name, other in pairs.items():
        mine, theirs = Counter(graph.node(name).attributes), Counter(reference.node(other).attributes)
        shared += (mine & theirs).total()
        missing += [f"{other}: {type_} {value}" for type_, value in (theirs - mine).elements()]
        extra += [f"{name}: {type_} {value}" for type_, value in (mine - theirs).elements()]
    found, expected = (sum(len(node.attributes) for node in one.nodes) for one in (graph, reference))
    return Agreement(shared, found, expected), missing, extra


# Statements

_Key = tuple[str, str, str, str]
"""Kind, subject, predicate, object: names as the reference has them, or those of unmatched nodes of the graph."""


def _statements(graph: SceneGraph, names: Mapping[str, str], turned: Mapping[str, str]) -> dict[_Key, list[Edge]]:
    """The edges of a graph by what they say, its nodes called as `names` has it."""
    statements: dict[_Key, list[Edge]] = defaultdict(list)
    for edge in graph.edges:
        named = dataclasses.replace(edge, subject=names[edge.subject], object=names[edge.object])
        said = one_way(named, turned)
        statements[said.kind, said.subject, said.predicate, said.object].append(said)
    return dict(statements)


def _count_predicates(ours: Iterable[_Key], theirs: Iterable[_Key]) -> dict[tuple[str, str], Agreement]:
    mine, others = set(ours), set(theirs)
    shared, found, expected = (Counter((key[0], key[2]) for key in keys) for keys in (mine & others, mine, others))
    return _agreements(shared, found, expected)


def _times(edges: Sequence[Edge]) -> list[Interval]:
    return [(e.start_s, e.end_s) for e in edges if e.start_s is not None and e.end_s is not None]


def _compare_times(
    ours: Mapping[_Key, list[Edge]], theirs: Mapping[_Key, list[Edge]], min_overlap: float
) -> dict[str, Agreement]:
    """Agreement of statements with their intervals: each interval finds at most one of the reference."""
    by_kind: dict[str, Agreement] = {}
    for key in dict.fromkeys((*ours, *theirs)):
        mine, others = (sorted(set(_times(one.get(key, [])))) for one in (ours, theirs))
        overlaps = np.asarray([[interval_overlap([a], [b]) for b in others] for a in mine])
        overlaps = overlaps.reshape(len(mine), len(others))
        counted = np.where(overlaps >= min_overlap - _ROUNDING, overlaps, 0.0)
        rows, columns = linear_sum_assignment(counted, maximize=True)
        found = Agreement(int((counted[rows, columns] > 0).sum()), len(mine), len(others))
        by_kind[key[0]] = by_kind.get(key[0], Agreement()) + found
    return {kind: by_kind[kind] for kind in EDGE_KINDS if kind in by_kind and by_kind[kind] != Agreement()}


def _describe(node: Node) -> str:
    return f"{node.kind} {node.name} ({node.node_id})"


def _sentence(key: _Key) -> str:
    return f"{key[1]} {key[2]} {key[3]} ({key[0]})"
