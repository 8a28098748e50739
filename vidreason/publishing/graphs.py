"""Scene graphs on their way to the Hub: without keys and paths of this machine, and a picture of one for the card."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ..audit.drawing import in_column, read_pixels
from ..audit.graph_picture import draw_graph
from ..errors import GraphError
from ..files import FileLimits, is_outside
from ..manifests.manifest import Manifest
from ..scenegraph.drawing import draw_strip
from ..scenegraph.graph import Edge, Node, SceneGraph
from ..scenegraph.moment import telling_times
from ..scenegraph.table import GraphChecker, GraphSummary, GraphTable, write_graph_split
from .checks import find_leak
from .guidance_card import EXAMPLE_FILE, ExamplePicture
from .table_kinds import GRAPHS

_LOOKED_AT = 64  # graphs among which the one for the card is chosen: the first that are ok
_MOST_NODES, _MOST_EDGES = 12, 40  # beyond which a picture says little
_FRAME_PX = 240


def write_published_graphs(
    folder: str | os.PathLike, splits: Mapping[str, GraphTable], limits: FileLimits, drop_raw_responses: bool
) -> dict[str, GraphSummary]:
    """Write the tables of all splits, each graph checked on its way, and return what they hold.

    Args:
        folder: Folder to write.
        splits: The graphs by split.
        limits: When the next Parquet file is begun.
        drop_raw_responses: Whether what a model said word for word is left out.

    Raises:
        GraphError: A graph breaks the contract, or holds a key or a path of this machine; it is named.
    """
    checker = GraphChecker()
    for split, graphs in splits.items():
        kept = (without_raw_responses(graph) for graph in graphs) if drop_raw_responses else graphs
        write_graph_split(folder, split, checker.watch(split, _without_leaks(kept)), limits)
    return checker.summaries


def without_raw_responses(graph: SceneGraph) -> SceneGraph:
    """The graph without what a model said word for word, of it or of its parts."""

    def cut(part: Any) -> Any:
        kept = {name: value for name, value in part.provenance.items() if name != "raw_response"}
        return dataclasses.replace(part, provenance=kept)

    return dataclasses.replace(cut(graph), nodes=tuple(map(cut, graph.nodes)), edges=tuple(map(cut, graph.edges)))


def _without_leaks(graphs: Iterable[SceneGraph]) -> Iterator[SceneGraph]:
    for graph in graphs:
        if is_outside(graph.video_id):
            raise GraphError(f"graph {graph.graph_id!r}: video_id is not a path relative to the folder of videos")
        for where, text in _texts(graph):
            leak = find_leak(text)
            if leak:
                raise GraphError(f"graph {graph.graph_id!r}: {where} holds {leak}")
        yield graph


def _texts(graph: SceneGraph) -> Iterator[tuple[str, str]]:
    """(place, text) of all texts of a graph."""
    for name in ("graph_id", "video_id", "source"):
        yield name, getattr(graph, name)
    for node in graph.nodes:
        yield "node_id", node.node_id
        yield "the name of a node", node.name
        for pair in node.attributes:
            yield from (("an attribute", text) for text in pair)
    yield from (("a predicate", edge.predicate) for edge in graph.edges)
    parts: list[SceneGraph | Node | Edge] = [graph, *graph.nodes, *graph.edges]
    for part in parts:
        yield from ((name, value) for name, value in part.provenance.items() if isinstance(value, str))


def write_graph_example(
    folder: str | os.PathLike, splits: Mapping[str, GraphTable], num_frames: int, manifest: Manifest | None = None
) -> ExamplePicture | None:
    """Draw one graph, and frames of its video below it, into one PNG.

    Args:
        folder: Folder to write.
        splits: The graphs by split.
        num_frames: Number of frames; 0 for no picture.
        manifest: Manifest of the videos, for their pixels; without it, blank frames of the same shape are drawn.

    Returns:
        None where no graph is there to be drawn, or no frame is wanted.
    """
    graph = _choose(splits) if num_frames else None
    if graph is None:
        return None
    path = draw_graph(graph, Path(folder) / EXAMPLE_FILE)
    times_s = telling_times(graph, num_frames)
    pixels = {}
    if manifest is not None and times_s:
        found = read_pixels(manifest, {graph.video_id: times_s}, _FRAME_PX)
        pixels = {time_s: frame for (_, time_s), frame in found.items()}
    if times_s:
        strip = draw_strip(graph, times_s, pixels, width_px=_FRAME_PX)
        with Image.open(path) as opened:
            picture = np.asarray(opened.convert("RGB"))
        Image.fromarray(in_column([picture, strip])).save(path, optimize=True)
    surface = "frames of the video" if pixels else "blank frames"
    return ExamplePicture(len(times_s), len(pixels), GRAPHS.picture_alt.format(count=len(times_s), surface=surface))


def _choose(splits: Mapping[str, GraphTable]) -> SceneGraph | None:
    """The first graph with the most edges among those that a picture can show; the first of any, else."""
    first = best = None
    looked_at = 0
    for table in splits.values():
        for graph in table:
            if graph.nodes:
                looked_at += 1
                first = first or graph
                is_small = len(graph.nodes) <= _MOST_NODES and len(graph.edges) <= _MOST_EDGES
                if is_small and (best is None or len(graph.edges) > len(best.edges)):
                    best = graph
            if looked_at == _LOOKED_AT:
                return best or first
    return best or first
