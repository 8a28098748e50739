"""What guidance is judged by: the boxes of what matters, or the marks of another table."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import datasets
import numpy as np

from ..errors import GuidanceError, VideoError, one_of_many
from ..guidance.geometry import GridMap, boxes_to_cells
from ..guidance.join import DEFAULT_TOLERANCE_S, GuidanceIndex
from ..guidance.schema import FULL_FRAME
from ..manifests.manifest import Manifest
from ..video.decode import read_frame_table
from .measures import marked_cells

logger = logging.getLogger(__name__)

OK, EMPTY = "ok", "empty"

_ROWS_AT_ONCE = 4096


@dataclass(frozen=True, eq=False)
class Judgement:
    """A map and what it is judged by, on one grid.

    Args:
        guidance: The map, on the grid that both are compared on.
        cells: The true cells, booleans (cells,).
        other: The other map, (cells,); None where the reference is boxes.
    """

    guidance: GridMap
    cells: np.ndarray
    other: np.ndarray | None = None


class Reference(Protocol):
    """Frames with something to judge guidance by."""

    name: str
    has_maps: bool  # judgements have an `other` map, so that distances can be measured

    @property
    def video_ids(self) -> list[str]:
        """The videos, in a fixed order."""
        ...

    def times_s(self, video_id: str) -> np.ndarray:
        """Times of the frames of a video, ascending: (frames,)."""
        ...

    def status(self, video_id: str, position: int) -> str:
        """`ok` where the frame has something to judge by."""
        ...

    def boxes(self, video_id: str, position: int) -> np.ndarray:
        """(boxes, 4) of the frame, normalised; none where the reference has no boxes."""
        ...

    def judge(self, video_id: str, position: int, guidance: GridMap) -> Judgement | None:
        """What a map of this frame is judged by; None where the grid reaches nothing that is true."""
        ...

    def map_to_draw(self, video_id: str, position: int, guidance: GridMap | None) -> GridMap | None:
        """The reference's cells for a picture beside the guidance; None where there are none."""
        ...


@dataclass(frozen=True, eq=False)
class TrueVideo:
    """The boxes of what matters in one video.

    Args:
        times_s: Times of the frames in seconds, (frames,), ascending.
        boxes: Boxes (boxes, 4) of each frame, normalised; no box where nothing that matters is in view.
        class_name: Class of the video; empty where it is not known.
    """

    times_s: np.ndarray
    boxes: list[np.ndarray]
    class_name: str = ""


class TrueBoxes:
    """Ground truth: a cell of the guidance's own grid is true where `boxes_to_cells` marks it.

    Args:
        videos: Maps each video id to the boxes of its frames.
    """

    name, has_maps = "true boxes", False

    def __init__(self, videos: Mapping[str, TrueVideo]):
        if not videos:
            raise GuidanceError("the ground truth has no frames")
        self.videos = dict(videos)

    @property
    def video_ids(self) -> list[str]:
        """The videos, by name."""
        return sorted(self.videos)

    @property
    def class_names(self) -> dict[str, str]:
        """Video id -> class, for the videos whose class is known."""
        return {video_id: video.class_name for video_id, video in self.videos.items() if video.class_name}

    def times_s(self, video_id: str) -> np.ndarray:
        """Times of the frames of a video, ascending: (frames,)."""
        return self.videos[video_id].times_s

    def status(self, video_id: str, position: int) -> str:
        """`ok` where the frame has something to judge by."""
        return OK if len(self.boxes(video_id, position)) else EMPTY

    def boxes(self, video_id: str, position: int) -> np.ndarray:
        """The boxes (boxes, 4) of the frame, normalised."""
        return self.videos[video_id].boxes[position]

    def judge(self, video_id: str, position: int, guidance: GridMap) -> Judgement | None:
        """What a map of this frame is judged by; None where the grid reaches nothing that is true."""
        cells = boxes_to_cells(self.boxes(video_id, position), guidance.grid, guidance.rectangle)
        return Judgement(guidance, cells) if cells.any() else None

    def map_to_draw(self, video_id: str, position: int, guidance: GridMap | None) -> GridMap | None:
        """The reference's cells for a picture beside the guidance; None where there are none."""
        judgement = None if guidance is None else self.judge(video_id, position, guidance)
        if guidance is None or judgement is None:
            return None
        return GridMap(judgement.cells / judgement.cells.sum(), guidance.grid, guidance.rectangle)


class OtherTable:
    """Another guidance table: the cells that it marks count as true.

    Maps on unlike grids are both brought to the finer rows and the finer columns of the two by exact area overlap, on
    the whole frame where the grids cover unlike parts of it.

    Args:
        rows: A guidance table of one split or several.
        tolerance_s: Tolerance in seconds of the join by time.
    """

    name, has_maps = "other table", True

    def __init__(self, rows: datasets.Dataset, tolerance_s: float = DEFAULT_TOLERANCE_S):
        self.index = GuidanceIndex(rows, tolerance_s)
        self._times_s = times_by_video(rows)

    @property
    def video_ids(self) -> list[str]:
        """The videos, by name."""
        return sorted(self._times_s)

    def times_s(self, video_id: str) -> np.ndarray:
        """Times of the frames of a video, ascending: (frames,)."""
        return self._times_s[video_id]

    def status(self, video_id: str, position: int) -> str:
        """`ok` where the frame has something to judge by."""
        return self.index.lookup(video_id, [self._times_s[video_id][position]]).statuses[0]

    def boxes(self, video_id: str, position: int) -> np.ndarray:
        """The boxes (boxes, 4) of the frame, normalised."""
        return np.zeros((0, 4))

    def judge(self, video_id: str, position: int, guidance: GridMap) -> Judgement | None:
        """What a map of this frame is judged by; None where the grid reaches nothing that is true."""
        other = self.map_to_draw(video_id, position, guidance)
        if other is None:
            return None
        guidance, other = on_one_grid(guidance, other)
        return Judgement(guidance, marked_cells(other.weights), other.weights)

    def map_to_draw(self, video_id: str, position: int, guidance: GridMap | None) -> GridMap | None:
        """The reference's cells for a picture beside the guidance; None where there are none."""
        found = self.index.lookup(video_id, [self._times_s[video_id][position]])
        return found.maps[0] if found.statuses[0] == OK else None


def on_one_grid(first: GridMap, second: GridMap) -> tuple[GridMap, GridMap]:
    """Two maps of one frame on the finer rows and columns of the two, each summing to 1."""
    grid = (max(first.grid[0], second.grid[0]), max(first.grid[1], second.grid[1]))
    # grids that cover unlike parts of the frame can only be compared on the whole of it
    rectangle = first.rectangle if first.rectangle == second.rectangle else FULL_FRAME

    def moved(grid_map: GridMap) -> GridMap:
        if (grid_map.grid, grid_map.rectangle) != (grid, rectangle):
            grid_map = grid_map.resample(grid, rectangle)
        weights = np.asarray(grid_map.weights, dtype=np.float64)
        return GridMap(weights / weights.sum(), grid, rectangle)

    return moved(first), moved(second)


def times_by_video(rows: datasets.Dataset) -> dict[str, np.ndarray]:
    """Video id -> the times of its rows, ascending."""
    columns = rows.with_format("arrow").select_columns(["video_id", "timestamp_s"])[:]
    times_s: dict[str, list[float]] = {}
    for video_id, time_s in zip(columns["video_id"].to_pylist(), columns["timestamp_s"].to_pylist(), strict=True):
        times_s.setdefault(video_id, []).append(time_s)
    return {video_id: np.sort(np.asarray(values, dtype=np.float64)) for video_id, values in times_s.items()}


def boxes_from_table(rows: datasets.Dataset, where: str = "ground truth") -> dict[str, TrueVideo]:
    """The relevant boxes of a table of ground truth, such as that of the synthetic world.

    Args:
        rows: Rows with `video_id`, `timestamp_s`, `objects` (with `box` and `relevant`), and perhaps a class `label`.
        where: Name of the table in messages.

    Raises:
        GuidanceError: a column is missing, or a frame is there twice.
    """
    missing = [name for name in ("video_id", "timestamp_s", "objects") if name not in rows.column_names]
    if missing:
        raise GuidanceError(f"{where}: columns {missing} are missing; is this a table of ground truth?")
    label = rows.features.get("label")
    names = label.names if isinstance(label, datasets.ClassLabel) else None
    frames: dict[str, list[tuple[float, np.ndarray]]] = {}
    classes: dict[str, str] = {}
    columns = ["video_id", "timestamp_s", "objects", *(["label"] if names else [])]
    # in batches: a world's truth has nested objects for every frame of every video
    for batch in rows.select_columns(columns).iter(_ROWS_AT_ONCE):
        for row in _rows_of(batch):
            frames.setdefault(row["video_id"], []).append((row["timestamp_s"], _relevant_boxes(row["objects"])))
            if names:
                classes[row["video_id"]] = names[row["label"]]
    return {
        video_id: _true_video(video_id, entries, classes.get(video_id, "")) for video_id, entries in frames.items()
    }


def _rows_of(batch: Mapping[str, list]) -> Iterable[dict[str, Any]]:
    return (dict(zip(batch, values, strict=True)) for values in zip(*batch.values(), strict=True))


def _relevant_boxes(objects: Iterable[Mapping[str, Any]]) -> np.ndarray:
    """(boxes, 4) of the relevant objects whose box is known."""
    boxes = [entry["box"] for entry in objects if entry["relevant"] and len(entry["box"]) == 4]
    return np.asarray(boxes, dtype=np.float64).reshape(-1, 4)


def _true_video(video_id: str, entries: list[tuple[float, np.ndarray]], class_name: str) -> TrueVideo:
    entries = sorted(entries, key=lambda entry: entry[0])
    times_s = np.asarray([time_s for time_s, _ in entries], dtype=np.float64)
    if (np.diff(times_s) == 0).any():
        raise GuidanceError(f"ground truth of {video_id}: a frame is there twice")
    return TrueVideo(times_s, [boxes for _, boxes in entries], class_name)


def boxes_from_json(path: str | os.PathLike, manifest: Manifest) -> dict[str, TrueVideo]:
    """Boxes from a JSON file that names frames by their index; their times are read from the videos.

    The file maps a video id to `frame_width`, `frame_height` and `tubes`; a tube has `first_frame` and `boxes_xywh`, a
    box (left, top, width, height) in pixels for each frame from there on.

    Args:
        path: The JSON file.
        manifest: Manifest of the videos, for the times of their frames and their classes.

    Raises:
        GuidanceError: the file has another form, or none of its videos is in the manifest or can be read. Single
            videos that are not there are named in the log.
    """
    try:
        entries = json.loads(Path(path).read_text(encoding="utf-8"))
        rows = {row["video_id"]: row for split in manifest.splits.values() for row in split}
        videos = {}
        for video_id in sorted(set(entries) & set(rows)):
            times_s = _frame_times(manifest, rows[video_id])
            if times_s is not None:
                class_name = manifest.class_names[rows[video_id]["label"]]
                videos[video_id] = _video_of_tubes(video_id, entries[video_id], times_s, class_name)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise GuidanceError(f"{path}: not a file of boxes ({type(error).__name__}: {error})") from error
    if len(videos) < len(entries):
        lacking = ", ".join(sorted(set(entries) - set(videos))[:3])
        logger.warning(
            "%s: %d of %d videos are left out, such as %s", path, len(entries) - len(videos), len(entries), lacking
        )
    if not videos:
        raise GuidanceError(f"{path}: none of its {len(entries)} videos is in the manifest and can be read")
    return videos


def _frame_times(manifest: Manifest, row: Mapping[str, Any]) -> np.ndarray | None:
    try:
        with one_of_many(row["video_id"]):
            return read_frame_table(manifest.video_path(row)).times_s
    except VideoError as error:
        logger.warning("%s: its boxes are left out: %s", row["video_id"], error)
        return None


def _video_of_tubes(video_id: str, entry: Mapping[str, Any], times_s: np.ndarray, class_name: str) -> TrueVideo:
    """Frames that no tube speaks of are left out: nothing is known of them."""
    size = np.asarray([entry["frame_width"], entry["frame_height"]] * 2, dtype=np.float64)
    boxes: dict[int, list[np.ndarray]] = {}
    for tube in entry["tubes"]:
        for offset, (x, y, width, height) in enumerate(tube["boxes_xywh"]):
            boxes.setdefault(tube["first_frame"] + offset, []).append([x, y, x + width, y + height] / size)
    # boxes may be annotated on another cut of the video, with more frames than this file
    inside = sorted(index for index in boxes if 0 <= index < len(times_s))
    if len(inside) < len(boxes):
        logger.warning("%s: boxes of %d frames that the video has not", video_id, len(boxes) - len(inside))
    return TrueVideo(times_s[inside], [np.stack(boxes[index]) for index in inside], class_name)
