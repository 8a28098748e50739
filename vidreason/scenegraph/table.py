"""Whole tables of scene graphs: a folder of three Parquet tables with one dataset card, written, opened and counted.

`datasets.load_dataset(folder, "graphs")` opens one of them, as it does "nodes" and "edges".
"""

from __future__ import annotations

import collections
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import datasets
import numpy as np

from ..errors import GraphError
from ..files import FileLimits, SplitWriter, read_folder, split_writer, write_card
from ..provenance import STATUSES
from ..reporting import tables
from ..reporting.tables import RowSummary, text_table
from .checks import check_graph
from .graph import EDGE_KINDS, NODE_KINDS, SceneGraph
from .schema import (
    CONFIGURATIONS,
    FEATURES,
    SCHEMA_VERSION,
    edge_table,
    graph_row,
    graph_table,
    node_table,
    read_graph,
)

_BATCH_ROWS = 1024
_BATCH_POINTS = 65_536
"""Nodes or edges, and boxes of tracks, that are written at a time, give or take a graph: of one video of VidOR there
may be ten thousand boxes, and of a batch none is larger than a few megabytes."""

_MOST_WORDS = 25  # names, and predicates, that a card shows

_HEADERS_AT_ONCE = 256  # rows of graphs, read at a time while iterating

CARD_BODY = """
# {title}

Scene graphs of videos: who does what to whom, and when. {description}

{statuses}

Produced by: {producers}. Schema version {schema_version}.

{contents}

Three tables hold them: `graphs` has a row for each graph, `nodes` one for each thing or event with its track, `edges`
one for each relation with its interval. Rows of a graph stand together and in the order of `graphs`, whose `num_nodes`
and `num_edges` say how many there are. Boxes are x0, y0, x1, y1 in [0, 1] of the full frame, times are seconds from
the start of the video, and ends of intervals are exclusive.

```python
from datasets import load_dataset

edges = load_dataset("path/to/this", "edges", split="{split}")
```

`vidreason.scenegraph.load_graphs` reads them as graphs.
"""


def write_graphs(
    folder: str | os.PathLike,
    graphs_by_split: Mapping[str, Iterable[SceneGraph]],
    title: str = "Scene graphs",
    description: str = "",
    allow_empty: bool = False,
    **card_metadata: Any,
) -> Path:
    """Write scene graphs with their card. Graphs are checked one by one and streamed, so any number fits.

    Args:
        folder: Folder to write; splits that are there are replaced.
        graphs_by_split: Maps each split's name to its graphs.
        title: Heading of the card.
        description: Text of the card about the source and how it was read.
        allow_empty: Whether tables without rows are written too, as a part of a run may be.
        card_metadata: Further keys of the card's YAML, such as `license`.

    Raises:
        GraphError: There are no graphs, or one breaks the contract, is given twice, or names another split than it
            stands in. A split that this happens in is left as it was.
    """
    checker = GraphChecker()
    for split, graphs in graphs_by_split.items():
        write_graph_split(folder, split, checker.watch(split, graphs))
    if not allow_empty and not any(summary.rows for summary in checker.summaries.values()):
        raise GraphError(f"{folder}: there are no scene graphs to write")
    card_metadata = {"pretty_name": title, "tags": ["video", "scene-graph", "vidreason"], **card_metadata}
    body = _card_body(checker.summaries, title, description)
    write_card(folder, graphs_by_split, body, CONFIGURATIONS, **card_metadata)
    return Path(folder)


def write_graph_split(
    folder: str | os.PathLike, split: str, graphs: Iterable[SceneGraph], limits: FileLimits | None = None
) -> None:
    """Write the three tables of one split, without a card.

    Args:
        folder: Folder that the tables' folders lie in.
        split: Name of the split.
        graphs: Its graphs, checked already; they are streamed.
        limits: When the next file of a table is begun; by default one file holds all rows.
    """
    with ExitStack() as stack:
        # the table of graphs first, so that its files get their names last: it says what the others must hold
        writers = {
            name: stack.enter_context(split_writer(Path(folder) / name, split, FEATURES[name], limits))
            for name in CONFIGURATIONS
        }
        batch: list[SceneGraph] = []
        rows = points = 0
        for graph in graphs:
            batch.append(graph)
            rows += 1 + max(len(graph.nodes), len(graph.edges))
            points += sum(len(node.track) for node in graph.nodes)
            if rows >= _BATCH_ROWS or points >= _BATCH_POINTS:
                _write_batch(writers, batch)
                batch, rows, points = [], 0, 0
        _write_batch(writers, batch)


def _write_batch(writers: Mapping[str, SplitWriter], graphs: list[SceneGraph]) -> None:
    for name, make in (("graphs", graph_table), ("nodes", node_table), ("edges", edge_table)):
        table = make(graphs)
        if len(table):
            writers[name].write_table(table)


def load_graphs(name: str | os.PathLike, revision: str | None = None) -> GraphTables:
    """Open scene graphs: a folder, or the id of a data set on the Hub.

    Args:
        name: A local folder, else the id of a data set on the Hub.
        revision: Branch, tag or commit of a data set on the Hub.

    Raises:
        GraphError: There are no such tables, they lack columns of the schema, or they do not belong together.
    """
    if Path(name).is_dir():
        absent = [part for part in CONFIGURATIONS if not (Path(name) / part).is_dir()]
        if absent:
            raise GraphError(f"{name}: there is no folder {absent[0]}/ in it; are these scene graphs?")
        parts = {part: read_folder(Path(name) / part) for part in CONFIGURATIONS}
    else:
        try:
            # of tables without rows, the card says nothing
            there = datasets.get_dataset_config_names(str(name), revision=revision)
            parts = {
                part: datasets.load_dataset(str(name), part, revision=revision) if part in there else {}
                for part in CONFIGURATIONS
            }
        except Exception as error:  # whatever the Hub client raises, the user needs the name that was asked for
            raise GraphError(f"scene graphs {str(name)!r} are neither a folder nor can be loaded: {error}") from error
    return GraphTables(parts, str(name))


class GraphTables(Mapping[str, "GraphTable"]):
    """The splits of scene graphs that `load_graphs` opened, by name.

    Args:
        parts: Maps each of `CONFIGURATIONS` to the splits of its table; a split without rows may be missing of nodes
            and edges.
        name: What the tables are called in errors.

    Raises:
        GraphError: A table lacks columns, or has a split that the graphs lack, or the counts of the graphs are not
            those of the other tables.
    """

    def __init__(self, parts: Mapping[str, Mapping[str, datasets.Dataset]], name: str = "scene graphs"):
        self.splits: tuple[str, ...] = tuple(parts["graphs"])
        for part in CONFIGURATIONS:
            others = sorted(set(parts[part]) - set(self.splits))
            if others:
                raise GraphError(f"{name}: {part} has a split {others[0]!r} and graphs has none")
        self._tables = {}
        for split in self.splits:
            graphs, nodes, edges = (parts[part].get(split, _no_rows(part)) for part in CONFIGURATIONS)
            self._tables[split] = GraphTable(graphs, nodes, edges, f"{name}, {split}")

    def __getitem__(self, split: str) -> GraphTable:
        try:
            return self._tables[split]
        except KeyError:
            raise GraphError(f"there is no split {split!r}; there are {list(self.splits)}") from None

    def __iter__(self) -> Iterator[str]:
        return iter(self.splits)

    def __len__(self) -> int:
        return len(self.splits)

    def __contains__(self, split: object) -> bool:
        return split in self._tables


class GraphTable:
    """The graphs of one split, each made from its rows when it is asked for, and checked.

    Tables that are memory-mapped go to a spawned worker as names of files; what is kept beside them is two numbers a
    graph and, once a graph is asked for by its name, the names.

    Args:
        graphs: Table of `GRAPH_FEATURES`.
        nodes: Table of `NODE_FEATURES`.
        edges: Table of `EDGE_FEATURES`.
        name: What the split is called in errors.

    Raises:
        GraphError: Columns are missing or of another type, or the counts of the graphs are not those of the others.
    """

    def __init__(self, graphs: datasets.Dataset, nodes: datasets.Dataset, edges: datasets.Dataset, name: str):
        self.name = name
        self.graphs, self.nodes, self.edges = graphs, nodes, edges
        for part, rows in zip(CONFIGURATIONS, (graphs, nodes, edges), strict=True):
            _check_columns(part, rows, name)
        self._headers, self._nodes, self._edges = (rows.with_format("arrow") for rows in (graphs, nodes, edges))
        self._node_ends = self._count("num_nodes", len(nodes))
        self._edge_ends = self._count("num_edges", len(edges))
        self._positions: dict[str, int] | None = None

    def _count(self, column: str, expected: int) -> np.ndarray:
        """Where rows of each graph begin and end in another table: (graphs + 1,)."""
        counts = self._headers.select_columns([column])[:][column]
        numbers = np.asarray(counts.fill_null(-1), dtype=np.int64)
        ends = np.concatenate([[0], np.cumsum(numbers)])
        if (numbers < 0).any() or ends[-1] != expected:
            raise GraphError(
                f"{self.name}: {column} of the graphs add up to {ends[-1]}, and there are {expected} rows; was a "
                "table of the folder written anew without the others?"
            )
        return ends

    def __len__(self) -> int:
        return len(self.graphs)

    def __iter__(self) -> Iterator[SceneGraph]:
        for start in range(0, len(self), _HEADERS_AT_ONCE):
            headers = self._headers[start : start + _HEADERS_AT_ONCE].to_pylist()
            for position, header in enumerate(headers, start):
                yield self._read(position, header)

    def __getitem__(self, position: int) -> SceneGraph:
        """The graph at a position, from 0; negative ones count from the end.

        Raises:
            IndexError: There are fewer graphs.
            GraphError: Its rows break the contract.
        """
        if not -len(self) <= position < len(self):
            raise IndexError(f"{self.name}: there is no graph {position} among {len(self)}")
        position %= len(self)
        return self._read(position, self._headers[position : position + 1].to_pylist()[0])

    def get(self, graph_id: str) -> SceneGraph:
        """The graph of a name.

        Raises:
            GraphError: There is none, or its rows break the contract.
        """
        position = self._by_id.get(graph_id)
        if position is None:
            raise GraphError(f"{self.name}: there is no graph {graph_id!r} among {len(self)}")
        return self[position]

    def __contains__(self, graph_id: object) -> bool:
        return graph_id in self._by_id

    @property
    def graph_ids(self) -> list[str]:
        """Names of the graphs, in order."""
        return list(self._by_id)

    @property
    def graph_keys(self) -> list[tuple[str, str]]:
        """(graph_id, video_id) of the graphs, in order; nothing else is read."""
        columns = self._headers.select_columns(["graph_id", "video_id"])[:]
        return list(zip(columns["graph_id"].to_pylist(), columns["video_id"].to_pylist(), strict=True))

    @property
    def _by_id(self) -> dict[str, int]:
        if self._positions is None:
            names = [graph_id for graph_id, _ in self.graph_keys]
            self._positions = {name: position for position, name in enumerate(names)}
            if len(self._positions) < len(names):
                twice = next(name for name, count in collections.Counter(names).items() if count > 1)
                raise GraphError(f"{self.name}: graph {twice!r} is there twice")
        return self._positions

    def _read(self, position: int, header: Mapping[str, Any]) -> SceneGraph:
        nodes, edges = (
            rows[int(ends[position]) : int(ends[position + 1])]
            for rows, ends in ((self._nodes, self._node_ends), (self._edges, self._edge_ends))
        )
        graph = read_graph(header, nodes, edges)
        check_graph(graph)
        return graph


def _no_rows(part: str) -> datasets.Dataset:
    return datasets.Dataset(FEATURES[part].arrow_schema.empty_table())


def _check_columns(part: str, rows: datasets.Dataset, name: str) -> None:
    for column, feature in FEATURES[part].items():
        if column not in rows.column_names:
            raise GraphError(f"{name}: column {column!r} of {part} is missing; are these scene graphs?")
        if rows.features[column] != feature:
            raise GraphError(f"{name}: column {column!r} of {part} is {rows.features[column]}, expected {feature}")


# Counts


@dataclass
class GraphSummary(RowSummary):
    """Counts over the graphs of a split, or of several.

    Args:
        nodes: Number of nodes of each kind.
        edges: Number of edges of each kind.
        names: Number of nodes of each (kind, name).
        predicates: Number of edges of each (kind, predicate).
        points: Number of boxes of all tracks.
        attributes: Number of attributes of all nodes.
    """

    nodes: collections.Counter[str] = field(default_factory=collections.Counter)
    edges: collections.Counter[str] = field(default_factory=collections.Counter)
    names: collections.Counter[tuple[str, str]] = field(default_factory=collections.Counter)
    predicates: collections.Counter[tuple[str, str]] = field(default_factory=collections.Counter)
    points: int = 0
    attributes: int = 0

    def add_graph(self, graph: SceneGraph) -> None:
        """Count one graph with all that it holds."""
        self.add(graph_row(graph))
        for node in graph.nodes:
            self.nodes[node.kind] += 1
            self.names[node.kind, node.name] += 1
            self.points += len(node.track)
            self.attributes += len(node.attributes)
        for edge in graph.edges:
            self.edges[edge.kind] += 1
            self.predicates[edge.kind, edge.predicate] += 1

    def kind_table(self) -> str:
        """Nodes and edges by kind, with attributes and boxes, as a Markdown table."""
        rows = [(f"nodes: {kind}", self.nodes[kind]) for kind in NODE_KINDS if self.nodes[kind]]
        rows += [("attributes of nodes", self.attributes), ("boxes of tracks", self.points)]
        rows += [(f"edges: {kind}", self.edges[kind]) for kind in EDGE_KINDS if self.edges[kind]]
        return text_table(["part", "number"], rows, [False, True])

    def word_table(self) -> str:
        """The most frequent names and predicates as a Markdown table, with the number of the others."""
        counted = [("name", *key, count) for key, count in self.names.items()]
        counted += [("predicate", *key, count) for key, count in self.predicates.items()]
        ordered = sorted(counted, key=lambda row: (row[0], -row[3], row[1:3]))
        shown = [row for what in ("name", "predicate") for row in [r for r in ordered if r[0] == what][:_MOST_WORDS]]
        table = text_table(["", "kind", "word", "number"], shown, [False, False, False, True])
        return table + (f"\n\nOf {len(ordered)} words, {len(shown)} are shown." if len(shown) < len(ordered) else "")


def merge_summaries(summaries: Iterable[GraphSummary]) -> GraphSummary:
    """The summary of all graphs together."""
    return tables.merge_summaries(summaries, GraphSummary())


class GraphChecker:
    """Checks graphs as they pass to a table, and counts them by split."""

    def __init__(self) -> None:
        self.summaries: dict[str, GraphSummary] = {}
        self._seen: dict[str, set[str]] = {}

    def watch(self, split: str, graphs: Iterable[SceneGraph]) -> Iterator[SceneGraph]:
        """The graphs of a split, each of them checked.

        Raises:
            GraphError: A graph breaks the contract, has the name of another, or names another split.
        """
        self.summaries.setdefault(split, GraphSummary())
        for graph in graphs:
            self.check(split, graph)
            yield graph

    def check(self, split: str, graph: SceneGraph) -> None:
        """Check and count one graph of a split; it raises as `watch` does."""
        check_graph(graph)
        if graph.split != split:
            raise GraphError(f"graph {graph.graph_id!r}: its split is {graph.split!r} but it was given for {split!r}")
        seen = self._seen.setdefault(split, set())
        if graph.graph_id in seen:
            raise GraphError(f"graph {graph.graph_id!r}: given twice")
        seen.add(graph.graph_id)
        self.summaries.setdefault(split, GraphSummary()).add_graph(graph)


def contents_table(summaries: Mapping[str, GraphSummary]) -> str:
    """Nodes, edges and boxes of each split as a Markdown table."""
    whole = merge_summaries(summaries.values())
    nodes = [kind for kind in NODE_KINDS if whole.nodes[kind]]
    edges = [kind for kind in EDGE_KINDS if whole.edges[kind]]
    rows = [
        (
            split,
            *(summary.nodes[kind] for kind in nodes),
            summary.attributes,
            summary.points,
            *(summary.edges[kind] for kind in edges),
        )
        for split, summary in summaries.items()
    ]
    heads = ["split", *(f"{kind}s" for kind in nodes), "attributes", "boxes", *(f"{kind} edges" for kind in edges)]
    return text_table(heads, rows, [False, *[True] * (len(heads) - 1)])


def _card_body(summaries: Mapping[str, GraphSummary], title: str, description: str) -> str:
    return CARD_BODY.format(
        title=title,
        description=description,
        statuses=tables.status_table(summaries, STATUSES),
        producers=merge_summaries(summaries.values()).producer_text,
        contents=contents_table(summaries),
        split=next(iter(summaries), "train"),
        schema_version=SCHEMA_VERSION,
    )
