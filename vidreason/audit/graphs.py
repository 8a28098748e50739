"""Judging a table of scene graphs by another one, as parsed graphs by annotated ones.

A graph of the reference is met by the graph of its name, or else by the only one of its video. What could not be made,
or is not there at all, has found nothing: the reference is the denominator whatever is missing. Graphs of the
reference that could not be made themselves are counted and not judged.
"""

from __future__ import annotations

import dataclasses
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..errors import GraphError
from ..reporting.bootstrap import Bootstrap, Estimate, estimate_means
from ..scenegraph.compare import Agreement, GraphComparison, Matching, compare_graphs, total
from ..scenegraph.graph import SceneGraph
from ..scenegraph.table import GraphTable

MISSING = "missing"
"""Status of a graph that is in the reference alone."""

JUDGED_STATUSES = ("ok", "empty")
"""Statuses of graphs of the reference that say what there is."""

NODES, ATTRIBUTES, TRIPLES, TIMED = "nodes", "attributes", "statements", "timed statements"
PARTS = (NODES, ATTRIBUTES, TRIPLES, TIMED)
"""What of graphs is counted."""


@dataclass(frozen=True)
class JudgedGraph:
    """A graph of the reference, and what the table has of it.

    Args:
        graph_id: Name of the graph of the reference.
        split: Split of the reference.
        position: Position of the graph in this split.
        place: Number of the table that has a graph of it, and position in it; None where none has.
        status: Status of the table's graph, or `MISSING`.
        comparison: How the two meet.
    """

    graph_id: str
    split: str
    position: int
    place: tuple[int, int] | None
    status: str
    comparison: GraphComparison

    def agreement(self, part: str, kind: str = "") -> Agreement:
        """Agreement of one of `PARTS`, of one kind of node or edge or of all."""
        by_kind: Mapping[str, Agreement] = {
            NODES: self.comparison.nodes,
            ATTRIBUTES: {"": self.comparison.attributes},
            TRIPLES: self.comparison.triples,
            TIMED: self.comparison.timed,
        }[part]
        return by_kind.get(kind, Agreement()) if kind else total(by_kind.values())


@dataclass(frozen=True)
class PartScores:
    """How good a part of graphs is, over all that are judged.

    Args:
        part: One of `PARTS`.
        kind: Kind of node or edge; "" for all.
        counts: What is shared, found and expected.
        precision: Share of what was found that is right.
        recall: Share of what was expected that was found.
    """

    part: str
    kind: str
    counts: Agreement
    precision: Estimate
    recall: Estimate


def judge_graphs(
    tables: Sequence[GraphTable], references: Mapping[str, GraphTable], matching: Matching, unjudged: Counter[str]
) -> Iterator[JudgedGraph]:
    """Every graph of the reference with what the table has of it, one after the other.

    Args:
        tables: Splits of the table that is judged.
        references: Splits of the reference by name.
        matching: When parts of two graphs count as the same.
        unjudged: Counts here, by status, the graphs of the reference that could not be made.

    Raises:
        GraphError: They have no graph and no video in common.
    """
    places = _Places(tables)
    if not any(places.find(*key) for table in references.values() for key in table.graph_keys):
        raise GraphError("graphs and reference have no graph and no video in common")
    for split, table in references.items():
        for position, reference in enumerate(table):
            status = reference.provenance["status"]
            if status not in JUDGED_STATUSES:
                unjudged[status] += 1
                continue
            place = places.find(reference.graph_id, reference.video_id)
            graph = tables[place[0]][place[1]] if place else nothing_of(reference)
            made = graph.provenance["status"] if place else MISSING
            comparison = compare_graphs(graph, reference, matching)
            yield JudgedGraph(reference.graph_id, split, position, place, made, comparison)


def nothing_of(reference: SceneGraph) -> SceneGraph:
    """The graph of the same video that says nothing."""
    return dataclasses.replace(reference, nodes=(), edges=(), provenance={"producer": "none", "status": "failed"})


class _Places:
    """Where graphs are in some tables: by name, and by video where that has one graph alone."""

    def __init__(self, tables: Sequence[GraphTable]):
        self._by_name: dict[tuple[str, str], tuple[int, int]] = {}
        of_video: dict[str, list[tuple[int, int]]] = defaultdict(list)
        for number, table in enumerate(tables):
            for position, (graph_id, video_id) in enumerate(table.graph_keys):
                self._by_name.setdefault((graph_id, video_id), (number, position))
                of_video[video_id].append((number, position))
        self._alone = {video_id: places[0] for video_id, places in of_video.items() if len(places) == 1}

    def find(self, graph_id: str, video_id: str) -> tuple[int, int] | None:
        """Number of the table, and position in it."""
        return self._by_name.get((graph_id, video_id), self._alone.get(video_id))


def score_part(part: str, kind: str, graphs: Iterable[JudgedGraph], bootstrap: Bootstrap) -> PartScores:
    """Precision and recall of a part over graphs, with intervals over whole videos.

    Args:
        part: One of `PARTS`.
        kind: Kind of node or edge; "" for all.
        graphs: The judged graphs.
        bootstrap: How intervals are found.
    """
    counts = [(graph.comparison.video_id, graph.agreement(part, kind)) for graph in graphs]
    return PartScores(
        part,
        kind,
        total(agreement for _, agreement in counts),
        _share([(video_id, one.shared, one.found) for video_id, one in counts], bootstrap),
        _share([(video_id, one.shared, one.expected) for video_id, one in counts], bootstrap),
    )


def score_overlaps(graphs: Iterable[JudgedGraph], bootstrap: Bootstrap) -> Estimate:
    """Mean overlap of times of the statements that both sides have, with its interval over whole videos."""
    pairs = [(graph.comparison.video_id, overlap) for graph in graphs for overlap in graph.comparison.overlaps]
    if not pairs:
        return Estimate()
    values = np.asarray([overlap for _, overlap in pairs], dtype=np.float64)
    return estimate_means(values[:, None], [video_id for video_id, _ in pairs], bootstrap)[0]


def _share(counts: Sequence[tuple[str, int, int]], bootstrap: Bootstrap) -> Estimate:
    """Share of right ones among all, of (video, right, all)."""
    known = [(video_id, right, whole) for video_id, right, whole in counts if whole]
    if not known:
        return Estimate()
    values = np.concatenate([np.repeat([1.0, 0.0], [right, whole - right]) for _, right, whole in known])
    videos = [video_id for video_id, _, whole in known for _ in range(whole)]
    return estimate_means(values[:, None], videos, bootstrap)[0]
