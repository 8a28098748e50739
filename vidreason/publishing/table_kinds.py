"""The kinds of tables that are published, and what tells one from another: guidance, detections and scene graphs.

A room above this one, such as `vidreason.videoqa`, has a kind of its own, which whoever publishes adds to these.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import datasets
import numpy as np

from ..audit.drawing import GUIDANCE_COLOR, draw_boxes, draw_map
from ..detection import schema as detection_schema
from ..detection import table as detection_table
from ..detection.detector import STATUSES as DETECTION_STATUSES
from ..files import read_folder
from ..guidance import schema as guidance_schema
from ..guidance import table as guidance_table
from ..guidance.geometry import GridMap
from ..provenance import STATUSES
from ..reporting.tables import RowSummary
from ..scenegraph import schema as graph_schema
from ..scenegraph import table as graph_table

GUIDANCE_CODE = """from datasets import load_dataset
from vidreason.guidance.videos import guided_frames

for row, frame in guided_frames(load_dataset({name!r}, split={split!r}), "path/to/videos"):
    print(row["video_id"], row["timestamp_s"], row["status"], row["weights"], frame.shape)"""
"""How the card shows the join to a user's own videos; the tests run it as it stands."""

DETECTION_CODE = """from datasets import load_dataset
from vidreason.detection import DetectionIndex, render_maps

rows = load_dataset({name!r}, split={split!r})
class_texts = sorted(set(rows["class_text"]))
index = DetectionIndex(rows, class_texts)
found = index.lookup(rows[0]["video_id"], [rows[0]["timestamp_s"]]).found[0]
maps = render_maps(found, (56, 56))
print(dict(zip(class_texts, maps.max(axis=(1, 2)))))"""


class RowChecker(Protocol):
    """Checks and counts the rows of a table."""

    summaries: dict[str, Any]  # split -> `RowSummary` of the kind

    def check(self, split: str, row: Any, /) -> None:
        """Check and count one row of a split."""
        ...


@dataclass(frozen=True)
class TableKind:
    """A contract whose tables are published.

    Args:
        name: Name in words, as in "the licence of the guidance".
        title: Heading of a card that is given none.
        features: Columns of the table.
        schema_version: Version of the contract.
        statuses: Statuses of its rows.
        spoken_of: Columns that, with the video, say what a row speaks of: no two rows share them.
        make_checker: Makes what checks and counts rows.
        make_summary: Makes an empty summary.
        load: Opens a folder.
        nested_texts: Gives (column, text) of the texts within a row's lists.
        draw: Draws a row on a frame, uint8 (height, width, 3); None where rows are not about frames, and there is no
            example picture.
        names: What a row marks, for a caption.
        picture_alt: Text of what the example picture shows, with `{count}` and `{surface}`.
        blank_note: Sentence below a picture without pixels.
        template: File of the card's template.
        use_code: Code that the card shows, with `{name!r}` and `{split!r}`.
        tags: Tags on the Hub.
        task_categories: Tasks on the Hub.
        marks: Columns by which a table is known to be of this kind.
        optional: Columns that may have no value.
        describe_source: What a card says of a data set that rows come from.
        configurations: Names of the tables where there are several, each in the folder of its name.
        annotations_creators: Who made the annotations, in the Hub's words; none where it differs by table.
        batch_rows: Rows that are written at a time; None for as many as usual.
    """

    name: str
    title: str
    features: datasets.Features
    schema_version: str
    statuses: tuple[str, ...]
    spoken_of: tuple[str, ...]
    make_checker: Callable[[], RowChecker]
    make_summary: Callable[[], RowSummary]
    load: Callable[[str | os.PathLike], Mapping[str, Any]]
    nested_texts: Callable[[Mapping[str, Any]], Iterable[tuple[str, str]]]
    draw: Callable[[Mapping[str, Any], np.ndarray], np.ndarray] | None
    names: Callable[[Mapping[str, Any]], Iterable[str]]
    picture_alt: str
    blank_note: str
    template: str
    use_code: str
    tags: tuple[str, ...]
    task_categories: tuple[str, ...]
    marks: frozenset[str]
    optional: tuple[str, ...] = ()
    describe_source: Callable[[str], str] = str
    configurations: tuple[str, ...] = ()
    annotations_creators: tuple[str, ...] = ("machine-generated",)
    batch_rows: int | None = None


def _draw_guidance(row: Mapping[str, Any], picture: np.ndarray) -> np.ndarray:
    grid_map = GridMap(np.asarray(row["weights"]), (row["grid_rows"], row["grid_cols"]), tuple(row["rectangle"]))
    boxes = [entry["box"] for entry in row["objects"] if entry["relevant"] and len(entry["box"]) == 4]
    return draw_boxes(draw_map(picture, grid_map, GUIDANCE_COLOR), np.asarray(boxes), GUIDANCE_COLOR)


def _draw_detections(row: Mapping[str, Any], picture: np.ndarray) -> np.ndarray:
    return draw_boxes(picture, np.asarray(row["boxes"]), GUIDANCE_COLOR)


GUIDANCE = TableKind(
    name="guidance",
    title="Grid guidance",
    features=guidance_schema.FEATURES,
    schema_version=guidance_schema.SCHEMA_VERSION,
    statuses=STATUSES,
    spoken_of=("timestamp_s",),
    make_checker=guidance_table.RowChecker,
    make_summary=guidance_table.TableSummary,
    load=guidance_table.load_guidance,
    nested_texts=lambda row: (("objects.name", entry["name"]) for entry in row["objects"]),
    draw=_draw_guidance,
    names=lambda row: (entry["name"] for entry in row["objects"] if entry["relevant"]),
    picture_alt="Grids of {count} frames, drawn on {surface}; the stronger a cell's colour, the more weight it has",
    blank_note="Grids are drawn on blank frames: the data set holds no pixels of the videos.",
    template="guidance_dataset_template.md",
    use_code=GUIDANCE_CODE,
    tags=("video", "grid-guidance", "reasoning-supervision", "vidreason"),
    task_categories=("video-classification",),
    marks=frozenset(),
)

DETECTIONS = TableKind(
    name="detections",
    title="Detections",
    features=detection_schema.FEATURES,
    schema_version=detection_schema.SCHEMA_VERSION,
    statuses=DETECTION_STATUSES,
    spoken_of=("class_text", "timestamp_s"),
    make_checker=detection_table.RowChecker,
    make_summary=detection_table.DetectionSummary,
    load=detection_table.load_detections,
    nested_texts=lambda row: (),
    draw=_draw_detections,
    names=lambda row: [f"{row['class_text']} {row['scores'][0]:.2f}"],
    picture_alt="Boxes of one class each in {count} frames, drawn on {surface}",
    blank_note="Boxes are drawn on blank frames: the data set holds no pixels of the videos.",
    template="detections_dataset_template.md",
    use_code=DETECTION_CODE,
    tags=("video", "object-detection", "vidreason"),
    task_categories=("object-detection", "video-classification"),
    marks=frozenset({"class_text", "boxes"}),
    batch_rows=detection_table.BATCH_ROWS,
)

GRAPH_CODE = """from datasets import load_dataset
from vidreason.scenegraph import load_graphs

edges = load_dataset({name!r}, "edges", split={split!r})
for graph in load_graphs({name!r})[{split!r}]:
    print(graph.video_id, len(graph.nodes), len(graph.edges))"""

GRAPHS = TableKind(
    name="scene graphs",
    title="Scene graphs",
    features=graph_schema.GRAPH_FEATURES,
    schema_version=graph_schema.SCHEMA_VERSION,
    statuses=STATUSES,
    spoken_of=("graph_id",),
    make_checker=graph_table.GraphChecker,
    make_summary=graph_table.GraphSummary,
    load=graph_table.load_graphs,
    nested_texts=lambda row: (),
    draw=None,
    names=lambda row: (),
    picture_alt="A scene graph, and {count} frames with its boxes and what holds then, drawn on {surface}",
    blank_note="Boxes are drawn on blank frames: the data set holds no pixels of the videos.",
    template="graphs_dataset_template.md",
    use_code=GRAPH_CODE,
    tags=("video", "scene-graph", "vidreason"),
    task_categories=("video-classification",),
    marks=frozenset({"graph_id", "num_nodes", "num_edges"}),
    configurations=graph_schema.CONFIGURATIONS,
    annotations_creators=(),
)


KINDS = (DETECTIONS, GUIDANCE)
"""Kinds that are known here, the one of no marks last."""


def find_kind(folder: str | os.PathLike, kinds: Sequence[TableKind] = KINDS) -> TableKind:
    """Which kind of table lies in a folder, by its columns; guidance where nothing says otherwise.

    Args:
        folder: Folder of the table.
        kinds: Kinds that it may be of, asked in this order.

    Raises:
        VidreasonError: There is no table.
    """
    if all((Path(folder) / name).is_dir() for name in GRAPHS.configurations):
        return GRAPHS  # three tables, whose names tell them
    columns = {name for rows in read_folder(folder).values() for name in rows.column_names}
    return next((kind for kind in kinds if kind.marks <= columns), GUIDANCE)
