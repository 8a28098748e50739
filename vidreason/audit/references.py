"""What guidance is judged by: the boxes of what matters, or the marks of another table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import datasets
import numpy as np

from ..errors import GuidanceError
from ..guidance.geometry import GridMap, boxes_to_cells
from ..guidance.join import DEFAULT_TOLERANCE_S, GuidanceIndex
from ..guidance.schema import FULL_FRAME
from .measures import marked_cells
from .true_boxes import TrueVideo

OK, EMPTY = "ok", "empty"


@dataclass(frozen=True, eq=False)
class Judgement:
    """A map and what it is judged by, on one grid.

    Args:
        guidance: the map, on the grid that both are compared on.
        cells: (cells,), booleans: the true ones.
        other: (cells,), the other map; None where the reference is boxes.
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


class TrueBoxes:
    """Ground truth: a cell of the guidance's own grid is true where `boxes_to_cells` marks it.

    Args:
        videos: video id -> its boxes.
    """

    name, has_maps = "true boxes", False

    def __init__(self, videos: Mapping[str, TrueVideo]):
        if not videos:
            raise GuidanceError("the ground truth has no frames")
        self.videos = dict(videos)

    @property
    def video_ids(self) -> list[str]:
        return sorted(self.videos)

    @property
    def class_names(self) -> dict[str, str]:
        """Video id -> class, for the videos whose class is known."""
        return {video_id: video.class_name for video_id, video in self.videos.items() if video.class_name}

    def times_s(self, video_id: str) -> np.ndarray:
        return self.videos[video_id].times_s

    def status(self, video_id: str, position: int) -> str:
        return OK if len(self.boxes(video_id, position)) else EMPTY

    def boxes(self, video_id: str, position: int) -> np.ndarray:
        return self.videos[video_id].boxes[position]

    def judge(self, video_id: str, position: int, guidance: GridMap) -> Judgement | None:
        cells = boxes_to_cells(self.boxes(video_id, position), guidance.grid, guidance.rectangle)
        return Judgement(guidance, cells) if cells.any() else None

    def map_to_draw(self, video_id: str, position: int, guidance: GridMap | None) -> GridMap | None:
        judgement = guidance and self.judge(video_id, position, guidance)
        if not judgement:
            return None
        return GridMap(judgement.cells / judgement.cells.sum(), guidance.grid, guidance.rectangle)


class OtherTable:
    """Another guidance table: the cells that it marks count as true.

    Maps on unlike grids are both brought to the finer rows and the finer columns of the two by exact area overlap, on
    the whole frame where the grids cover unlike parts of it.

    Args:
        rows: the table.
        tolerance_s: as for any join.
    """

    name, has_maps = "other table", True

    def __init__(self, rows: datasets.Dataset, tolerance_s: float = DEFAULT_TOLERANCE_S):
        self.index = GuidanceIndex(rows, tolerance_s)
        self._times_s = times_by_video(rows)

    @property
    def video_ids(self) -> list[str]:
        return sorted(self._times_s)

    def times_s(self, video_id: str) -> np.ndarray:
        return self._times_s[video_id]

    def status(self, video_id: str, position: int) -> str:
        return self.index.lookup(video_id, [self._times_s[video_id][position]]).statuses[0]

    def boxes(self, video_id: str, position: int) -> np.ndarray:
        return np.zeros((0, 4))

    def judge(self, video_id: str, position: int, guidance: GridMap) -> Judgement | None:
        other = self.map_to_draw(video_id, position, guidance)
        if other is None:
            return None
        guidance, other = on_one_grid(guidance, other)
        return Judgement(guidance, marked_cells(other.weights), other.weights)

    def map_to_draw(self, video_id: str, position: int, guidance: GridMap | None) -> GridMap | None:
        found = self.index.lookup(video_id, [self._times_s[video_id][position]])
        return found.maps[0] if found.statuses[0] == OK else None


def on_one_grid(first: GridMap, second: GridMap) -> tuple[GridMap, GridMap]:
    """Two maps of one frame on the finer rows and columns of the two, each summing to 1."""
    grid = (max(first.grid[0], second.grid[0]), max(first.grid[1], second.grid[1]))
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
