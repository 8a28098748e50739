"""Where the evidence is, for a visitor's clip: from a published table that knows it, or from movement.

Guidance that a language model gave comes from `vidreason.annotation.grid.clip`, in the same form.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from PIL import Image

from vidreason.annotation import MotionAnnotator
from vidreason.errors import ConfigError
from vidreason.guidance import GridMap, GuidanceIndex, load_guidance
from vidreason.video import DecodedFrames

from .limits import Deadline
from .reading import Clip, ClipFacts
from .settings import GRID

MOTION, PUBLISHED, LLM = "motion", "published", "llm"


@dataclass(frozen=True, eq=False)
class ClipGuidance:
    """Guidance for the pictures of the drawn video.

    Args:
        kind: MOTION, PUBLISHED or LLM.
        source: Where it comes from, in words for the visitor.
        maps: Guidance of each picture, None where there is none.
    """

    kind: str
    source: str
    maps: list[GridMap | None]

    @property
    def guided(self) -> int:
        """Pictures that have guidance."""
        return sum(grid_map is not None for grid_map in self.maps)


def motion_guidance(clip: Clip, guidance_fps: float, deadline: Deadline) -> ClipGuidance:
    """Guidance from movement, as `annotate.py --annotator motion` would give it, up to the scaling of the pictures.

    Movement is measured in some pictures a second; those between take the nearest one's.

    Args:
        clip: Clip as it was read.
        guidance_fps: Pictures a second in which movement is looked for.
        deadline: Time at which the request is given up.

    Raises:
        Refused: The time is over.
    """
    annotator = MotionAnnotator(grid=GRID)
    small = _small_frames(clip, annotator.max_side_px)
    step = max(1, round(clip.shown_fps / guidance_fps))
    measured = list(range(min(step // 2, len(small) - 1), len(small), step))
    maps: list[GridMap | None] = []
    for position in measured:
        deadline.check()
        cells = annotator.cell_movement(small, position).reshape(-1)
        maps.append(GridMap(cells / cells.sum(), GRID) if cells.sum() > 0 else None)
    nearest = [min(range(len(measured)), key=lambda k: abs(measured[k] - i)) for i in range(len(small))]
    return ClipGuidance(MOTION, "movement in the clip", [maps[k] for k in nearest])


def _small_frames(clip: Clip, max_side_px: int) -> DecodedFrames:
    """The shown pictures, scaled down, but with a pixel for every cell at least: some videos are a line or a dot."""
    height, width = clip.frames.shape[1:3]
    scale = min(1.0, max_side_px / max(height, width))
    size = (max(GRID[1], round(width * scale)), max(GRID[0], round(height * scale)))
    frames = [
        np.asarray(Image.fromarray(clip.frames[position]).resize(size, Image.Resampling.BILINEAR))
        for position in clip.shown
    ]
    return DecodedFrames(np.stack(frames), list(range(len(frames))), clip.shown_times_s)


@dataclass(frozen=True, eq=False)
class _KnownVideo:
    """A video of a table: where its rows are, and what its file must look like."""

    table: str
    video_id: str
    index: GuidanceIndex
    size: tuple[int, int]  # (height, width)
    last_time_s: float


class KnownClips:
    """Guidance tables, and which of their videos an upload is.

    An upload is known where its file's name is that of one video of the tables, and the size of its frames and its
    length fit. Names are what a visitor keeps of a file from a public data set; the pixels may have been encoded anew.

    Args:
        tables: Name for the visitor -> split -> rows of guidance.
        tolerance_s: Seconds that a row may lie from a picture.

    Raises:
        GuidanceError: A table cannot be read.
    """

    def __init__(self, tables: Mapping[str, Mapping[str, Any]], tolerance_s: float = 0.25):
        self._videos: dict[str, list[_KnownVideo]] = {}
        for table, splits in tables.items():
            for rows in splits.values():
                self._add(table, rows, tolerance_s)

    def _add(self, table: str, rows, tolerance_s: float) -> None:
        index = GuidanceIndex(rows, tolerance_s)
        columns = rows.select_columns(["video_id", "frame_height", "frame_width", "timestamp_s"])[:]
        last: dict[str, tuple[tuple[int, int], float]] = {}
        for video_id, height, width, time_s in zip(*columns.values(), strict=True):
            before_s = last[video_id][1] if video_id in last else 0.0
            last[video_id] = ((height, width), max(before_s, time_s))
        for video_id, (size, last_time_s) in last.items():
            known = _KnownVideo(table, video_id, index, size, last_time_s)
            self._videos.setdefault(PurePosixPath(video_id).name, []).append(known)

    def find(self, file_name: str, facts: ClipFacts) -> _KnownVideo | None:
        """The one video that an upload is, or None."""
        fitting = [
            video
            for video in self._videos.get(Path(file_name).stem, ())
            if video.size == (facts.height, facts.width) and video.last_time_s <= facts.duration_s
        ]
        return fitting[0] if len(fitting) == 1 else None

    def guidance(self, file_name: str, clip: Clip) -> ClipGuidance | None:
        """The published guidance of a clip, None where no table knows it."""
        video = self.find(file_name, clip.facts)
        if video is None:
            return None
        found = video.index.lookup(video.video_id, clip.shown_times_s)
        return ClipGuidance(PUBLISHED, f"the published table {video.table}", usable_maps(found.maps))


def usable_maps(maps: Iterable[GridMap | None]) -> list[GridMap | None]:
    """Maps that mark nothing (rows that are `empty` or failures) as None."""
    return [grid_map if grid_map is not None and np.sum(grid_map.weights) > 0 else None for grid_map in maps]


def rows_guidance(source: str, rows: Sequence[Mapping[str, Any]], times_s: Sequence[float]) -> ClipGuidance:
    """Guidance from rows about some frames of a clip; every picture takes the row that is nearest in time.

    Args:
        source: Where the rows come from, in words for the visitor.
        rows: Rows of a guidance table, all of one video.
        times_s: Time of each picture in seconds.
    """
    row_times_s = np.asarray([row["timestamp_s"] for row in rows])
    maps = [
        GridMap(np.asarray(row["weights"], dtype=np.float32), (row["grid_rows"], row["grid_cols"])) for row in rows
    ]
    nearest = [int(np.abs(row_times_s - time_s).argmin()) for time_s in times_s]
    return ClipGuidance(LLM, source, usable_maps(maps[k] for k in nearest))


def load_tables(guidance_ids: Sequence[str]) -> dict[str, Mapping[str, Any]]:
    """The operator's tables by their names for the visitor.

    Raises:
        ConfigError: Two tables have one name.
        GuidanceError: A table cannot be read.
    """
    tables: dict[str, Mapping[str, Any]] = {}
    for guidance_id in guidance_ids:
        name = Path(guidance_id).resolve().name if Path(guidance_id).is_dir() else guidance_id
        if name in tables:
            raise ConfigError(f"two guidance tables are called {name!r}: rename a folder")
        tables[name] = load_guidance(guidance_id)
    return tables
