"""Three tables that hold scene graphs: a row for each graph, for each node and for each edge.

Rows of one graph stand together, in the order of the graph, and graphs stand in one order in all three tables, so that
the counts in the first say where a graph's rows are in the other two. Here graphs become columns and rows become
graphs; `vidreason.scenegraph.table` writes and opens whole tables.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from datasets import Features, List, Value

from ..errors import GraphError
from ..provenance import EMPTY_PROVENANCE, PROVENANCE_FEATURES
from .graph import Box, Edge, Node, SceneGraph, TrackPoint

SCHEMA_VERSION = "1.0"

CONFIGURATIONS = ("graphs", "nodes", "edges")
"""Names of the tables, as `datasets.load_dataset(folder, name)` takes them."""

GRAPH_FEATURES = Features(
    {
        "graph_id": Value("string"),  # unique in its split
        "video_id": Value("string"),
        "source": Value("string"),  # data set and revision, such as "vidor@1.0"
        "split": Value("string"),
        "num_frames": Value("int32"),  # of the video; 0 where not known
        "frames_per_second": Value("float64"),  # 0 where times came from the file
        "frame_height": Value("int32"),  # pixels, as displayed; 0 where not known
        "frame_width": Value("int32"),
        "num_nodes": Value("int32"),  # rows of this graph in the table of nodes
        "num_edges": Value("int32"),  # and in that of edges
        **PROVENANCE_FEATURES,
    }
)

NODE_FEATURES = Features(
    {
        "graph_id": Value("string"),
        "node_id": Value("string"),  # unique in its graph
        "kind": Value("string"),  # one of `NODE_KINDS`
        "name": Value("string"),
        "attributes": List({"type": Value("string"), "value": Value("string")}),
        "is_static": Value("bool"),  # null where nothing says so
        "track": List(
            {
                "frame_index": Value("int32"),  # in the file's own order of presentation, from 0
                "timestamp_s": Value("float64"),
                "box": List(Value("float32"), length=4),  # x0, y0, x1, y1 in [0, 1] of the full frame
            }
        ),
        "start_s": Value("float64"),  # of an event; null for objects
        "end_s": Value("float64"),  # exclusive
        **PROVENANCE_FEATURES,  # null where the graph's own hold
    }
)

EDGE_FEATURES = Features(
    {
        "graph_id": Value("string"),
        "kind": Value("string"),  # one of `EDGE_KINDS`
        "subject": Value("string"),  # `node_id`
        "predicate": Value("string"),  # read from subject to object
        "object": Value("string"),  # `node_id`
        "start_s": Value("float64"),  # null where no time is said
        "end_s": Value("float64"),  # exclusive
        "frame_indices": List(Value("int32")),  # frames that it was seen in; empty where not said frame by frame
        **PROVENANCE_FEATURES,  # null where the graph's own hold
    }
)

FEATURES = dict(zip(CONFIGURATIONS, (GRAPH_FEATURES, NODE_FEATURES, EDGE_FEATURES), strict=True))
"""Columns of each table."""

_HEADER_FIELDS = tuple(name for name in GRAPH_FEATURES if name not in (*PROVENANCE_FEATURES, "num_nodes", "num_edges"))
_EDGE_FIELDS = ("kind", "subject", "predicate", "object", "start_s", "end_s")
_NODE_FIELDS = ("node_id", "kind", "name", "is_static", "start_s", "end_s")


def plain_name(text: str) -> str:
    """The one spelling of a name or predicate: lower case, words with one space between.

    Args:
        text: A name as a source writes it, such as "Ball/Sports_ball" or "in_front_of".
    """
    return " ".join(text.replace("_", " ").lower().split())


# Graphs to columns


def graph_row(graph: SceneGraph) -> dict[str, Any]:
    """The row of a graph in the table of graphs."""
    return {
        **{name: getattr(graph, name) for name in _HEADER_FIELDS},
        "num_nodes": len(graph.nodes),
        "num_edges": len(graph.edges),
        "producer": "",
        "status": "",
        **EMPTY_PROVENANCE,
        **graph.provenance,
        "schema_version": SCHEMA_VERSION,
    }


def graph_table(graphs: Iterable[SceneGraph]) -> pa.Table:
    """Rows of the table of graphs."""
    rows = [graph_row(graph) for graph in graphs]
    columns = {name: [row[name] for row in rows] for name in GRAPH_FEATURES}
    return pa.Table.from_pydict(columns, schema=GRAPH_FEATURES.arrow_schema)


def node_table(graphs: Sequence[SceneGraph]) -> pa.Table:
    """Rows of the table of nodes, made column by column: a video may have ten thousand boxes."""
    nodes = [node for graph in graphs for node in graph.nodes]
    columns: dict[str, Any] = {"graph_id": [graph.graph_id for graph in graphs for _ in graph.nodes]}
    columns |= {name: [getattr(node, name) for node in nodes] for name in _NODE_FIELDS}
    columns["attributes"] = [[{"type": type_, "value": value} for type_, value in node.attributes] for node in nodes]
    columns["track"] = _track_column([node.track for node in nodes])
    columns |= _provenance_columns(nodes)
    return _typed(columns, NODE_FEATURES)


def edge_table(graphs: Sequence[SceneGraph]) -> pa.Table:
    """Rows of the table of edges."""
    edges = [edge for graph in graphs for edge in graph.edges]
    columns: dict[str, Any] = {"graph_id": [graph.graph_id for graph in graphs for _ in graph.edges]}
    columns |= {name: [getattr(edge, name) for edge in edges] for name in (*_EDGE_FIELDS, "frame_indices")}
    columns |= _provenance_columns(edges)
    return _typed(columns, EDGE_FEATURES)


def _typed(columns: Mapping[str, Any], features: Features) -> pa.Table:
    return pa.Table.from_pydict({name: columns[name] for name in features}, schema=features.arrow_schema)


def _provenance_columns(parts: Sequence[Node | Edge]) -> dict[str, list[Any]]:
    return {name: [part.provenance.get(name) for part in parts] for name in PROVENANCE_FEATURES}


def _track_column(tracks: Sequence[Sequence[TrackPoint]]) -> pa.Array:
    """Tracks as a column of lists of (frame, time, box)."""
    points = list(itertools.chain.from_iterable(tracks))
    ends = np.cumsum([0, *map(len, tracks)], dtype=np.int32)
    boxes = np.asarray([point.box for point in points], dtype=np.float32).reshape(-1, 4)
    fields = [
        pa.array([point.frame_index for point in points], pa.int32()),
        pa.array([point.timestamp_s for point in points], pa.float64()),
        pa.FixedSizeListArray.from_arrays(pa.array(boxes.ravel(), pa.float32()), 4),
    ]
    structs = pa.StructArray.from_arrays(fields, ["frame_index", "timestamp_s", "box"])
    return pa.ListArray.from_arrays(pa.array(ends), structs).cast(NODE_FEATURES.arrow_schema.field("track").type)


# Columns to graphs


def read_graph(header: Mapping[str, Any], nodes: pa.Table, edges: pa.Table) -> SceneGraph:
    """The graph of a row of the table of graphs, unchecked.

    Args:
        header: The row.
        nodes: Rows of the table of nodes that are this graph's, all columns or all but those of provenance.
        edges: Likewise of edges.

    Raises:
        GraphError: Rows are another graph's, or the numbers of a track have gaps.
    """
    graph_id = header["graph_id"]
    for part, table in (("nodes", nodes), ("edges", edges)):
        others = set(table["graph_id"].to_pylist()) - {graph_id}
        for column in ("attributes", "track", "frame_indices"):
            if column in table.column_names and table[column].null_count:
                raise GraphError(f"graph {graph_id!r}: {column} of one of its {part} is null, expected a list")
        if others:
            raise GraphError(
                f"graph {graph_id!r}: rows of {min(map(str, others))!r} among its {part}; was a table of the folder "
                "written anew without the others?"
            )
    try:
        made_nodes, made_edges = tuple(_read_nodes(nodes)), tuple(_read_edges(edges))
    except (TypeError, ValueError) as error:  # a null where the contract has none
        raise GraphError(f"graph {graph_id!r}: its rows cannot be read ({error})") from error
    return SceneGraph(
        **{name: header[name] for name in _HEADER_FIELDS},
        nodes=made_nodes,
        edges=made_edges,
        provenance=_own_provenance(header),
    )


def _own_provenance(header: Mapping[str, Any]) -> dict[str, Any]:
    """What a graph says of its making; columns that say nothing are left out, as they were when it was written."""
    names = [name for name in PROVENANCE_FEATURES if name != "schema_version"]
    return {name: header[name] for name in names if header[name] != EMPTY_PROVENANCE.get(name, "")}


def _read_nodes(table: pa.Table) -> Iterable[Node]:
    columns = {name: table[name].to_pylist() for name in (*_NODE_FIELDS, "attributes")}
    tracks = _read_tracks(table["track"])
    provenance = _read_provenance(table)
    for row, track in enumerate(tracks):
        attributes = tuple((pair["type"], pair["value"]) for pair in columns["attributes"][row])
        fields = {name: columns[name][row] for name in _NODE_FIELDS}
        yield Node(**fields, attributes=attributes, track=track, provenance=provenance(row))


def _read_edges(table: pa.Table) -> Iterable[Edge]:
    columns = {name: table[name].to_pylist() for name in (*_EDGE_FIELDS, "frame_indices")}
    provenance = _read_provenance(table)
    for row in range(len(table)):
        fields = {name: columns[name][row] for name in _EDGE_FIELDS}
        yield Edge(**fields, frame_indices=tuple(columns["frame_indices"][row]), provenance=provenance(row))


def _read_provenance(table: pa.Table) -> Callable[[int], dict[str, Any]]:
    # of an annotated graph all of these columns are null, and are not turned into Python values at all
    names = [name for name in PROVENANCE_FEATURES if name in table.column_names]
    said = {name: table[name].to_pylist() for name in names if table[name].null_count < len(table)}
    return lambda row: {name: values[row] for name, values in said.items() if values[row] is not None}


def _read_tracks(column: pa.ChunkedArray) -> list[tuple[TrackPoint, ...]]:
    lists = column.combine_chunks()
    points = lists.flatten()  # of a slice of a column, these rows alone
    frames, times, boxes = points.field("frame_index"), points.field("timestamp_s"), points.field("box")
    numbers = boxes.flatten()
    if any(part.null_count for part in (lists, points, frames, times, boxes, numbers)):
        raise ValueError("a track has a point without frame, time or box")
    corners: list[Box] = list(map(tuple, numbers.to_numpy().reshape(-1, 4).astype(np.float64).tolist()))
    flat = [TrackPoint(*values) for values in zip(frames.to_pylist(), times.to_pylist(), corners, strict=True)]
    ends = np.cumsum([0, *lists.value_lengths().to_pylist()]).tolist()
    return [tuple(flat[start:stop]) for start, stop in itertools.pairwise(ends)]
