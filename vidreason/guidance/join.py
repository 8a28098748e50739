"""Joining guidance to the frames a model sees: by video and by time, never by position in a list."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import datasets
import numpy as np
import pyarrow as pa

from ..errors import GuidanceError
from .geometry import GridMap, Layout, grid_maps

MISSING = "missing"
"""Status of a sampled frame that no row of the table lies near enough to. It is never written to a table."""

DEFAULT_TOLERANCE_S = 0.05
"""More than half a frame at 12 frames per second, less than a frame at 15: seldom a neighbour's row."""


@dataclass(frozen=True)
class FrameGuidance:
    """Guidance for the sampled frames of one clip.

    Args:
        maps: One `GridMap` per frame, or None where the table has no row for it.
        statuses: Status of each frame's row, or `MISSING`.
    """

    maps: list[GridMap | None]
    statuses: list[str]


@dataclass
class Coverage:
    """What a join found, for reports: nothing is dropped without being counted here."""

    videos: int = 0
    videos_with_guidance: int = 0
    unknown_videos: list[str] = field(default_factory=list)  # in the table but not among the videos

    def describe(self) -> str:
        """The counts in words, for a log or a terminal."""
        text = f"guidance for {self.videos_with_guidance} of {self.videos} videos"
        if self.unknown_videos:
            examples = ", ".join(self.unknown_videos[:3])
            text += f"; {len(self.unknown_videos)} guided videos are not in the manifest, such as {examples}"
        return text


class GuidanceIndex:
    """Finds the guidance of frames by video and presentation time.

    Every loader worker has one, of a table that may have millions of rows. So it keeps arrays and no Python object for
    a row: forked workers share arrays, whereas counting references to objects would copy their memory page by page.

    Args:
        rows: A table of `vidreason.guidance.schema.FEATURES`, of which the columns that are needed are read.
        tolerance_s: How far, in seconds, a row may lie from a sampled frame and still speak for it.

    Raises:
        GuidanceError: the tolerance is negative, or two rows speak for the same instant of a video.
    """

    def __init__(self, rows: datasets.Dataset, tolerance_s: float = DEFAULT_TOLERANCE_S):
        if not tolerance_s >= 0:
            raise GuidanceError(f"tolerance_s is {tolerance_s}, expected a number of seconds >= 0")
        self.tolerance_s = tolerance_s
        names = ["video_id", "timestamp_s", "grid_rows", "grid_cols", "weights", "rectangle", "status"]
        columns = rows.with_format("arrow").select_columns(names)[:]
        weights = columns["weights"].combine_chunks()
        self._weights = np.asarray(weights.flatten(), dtype=np.float32)
        self._weight_starts = np.concatenate([[0], np.cumsum(np.asarray(weights.value_lengths(), dtype=np.int64))])
        self._layouts, self._layout_of = _read_layouts(columns)
        self._statuses, self._status_of = _read_names(columns["status"])
        video_ids, video_of = _read_names(columns["video_id"])
        times_s = np.asarray(columns["timestamp_s"], dtype=np.float64)
        # rows of one video side by side and in order of time, so that a video is a slice
        self._rows = np.lexsort((times_s, video_of))
        self._times_s = times_s[self._rows]
        self._video_numbers = {video_id: number for number, video_id in enumerate(video_ids)}
        self._video_starts = np.searchsorted(video_of[self._rows], np.arange(len(video_ids) + 1))
        self._check_times(video_ids)

    def _check_times(self, video_ids: list[str]) -> None:
        same = np.diff(self._times_s) == 0
        same[self._video_starts[1:-1] - 1] = False  # the last row of a video and the first of the next
        if same.any():
            place = int(np.flatnonzero(same)[0])
            video_id = video_ids[np.searchsorted(self._video_starts, place, side="right") - 1]
            raise GuidanceError(
                f"{video_id}: two rows for the frame at {self._times_s[place]:.3f} s; merge them first"
            )

    @property
    def video_ids(self) -> set[str]:
        """The videos that have any row."""
        return set(self._video_numbers)

    def coverage(self, video_ids: Iterable[str]) -> Coverage:
        """How the table meets a set of videos."""
        wanted = set(video_ids)
        return Coverage(len(wanted), len(wanted & self.video_ids), sorted(self.video_ids - wanted))

    def lookup(self, video_id: str, timestamps_s: Sequence[float]) -> FrameGuidance:
        """The nearest row in time for each frame, where one lies within the tolerance.

        Args:
            video_id: Id of the clip's video.
            timestamps_s: Presentation time of each sampled frame, in seconds from the start of the video.
        """
        found = self.find_rows(video_id, timestamps_s)
        maps = self._grid_maps(list({row for row in found if row is not None}))
        return FrameGuidance(
            [None if row is None else maps[row] for row in found],
            [MISSING if row is None else self._statuses[self._status_of[row]] for row in found],
        )

    def find_rows(self, video_id: str, timestamps_s: Sequence[float]) -> list[int | None]:
        """The number of the table's row that speaks for each frame, None where none does.

        Args:
            video_id: Id of the clip's video.
            timestamps_s: Presentation time of each frame, as in `lookup`.
        """
        number = self._video_numbers.get(video_id)
        if number is None:
            return [None] * len(timestamps_s)
        of_video = slice(self._video_starts[number], self._video_starts[number + 1])
        times_s, rows = self._times_s[of_video], self._rows[of_video]
        wanted_s = np.asarray(timestamps_s, dtype=np.float64)
        right = np.minimum(np.searchsorted(times_s, wanted_s), len(times_s) - 1)
        left = np.maximum(right - 1, 0)
        # of two rows as near, the earlier one
        best = np.where(np.abs(times_s[left] - wanted_s) <= np.abs(times_s[right] - wanted_s), left, right)
        # the slack forgives the rounding of times that were stored and computed in different ways
        within = np.abs(times_s[best] - wanted_s) <= self.tolerance_s + 1e-6
        return [row if near else None for row, near in zip(rows[best].tolist(), within.tolist(), strict=True)]

    def _grid_maps(self, rows: list[int]) -> dict[int, GridMap]:
        """Row of the table -> its map, for all frames of a clip at once."""
        starts, layouts = self._weight_starts, self._layouts
        weights = [self._weights[starts[row] : starts[row + 1]] for row in rows]
        maps = grid_maps(weights, [layouts[self._layout_of[row]] for row in rows])
        return dict(zip(rows, maps, strict=True))


def _read_names(column: pa.ChunkedArray) -> tuple[list[str], np.ndarray]:
    """The distinct texts of a column in the order in which they come, and the number of each row's: int32 (rows,)."""
    encoded = column.dictionary_encode().unify_dictionaries().combine_chunks()
    return encoded.dictionary.to_pylist(), np.asarray(encoded.indices, dtype=np.int32)


def _read_layouts(columns: pa.Table) -> tuple[list[Layout], np.ndarray]:
    """The distinct layouts of a table, of which most have one, and the number of each row's: int32 (rows,)."""
    rectangles = np.asarray(columns["rectangle"].combine_chunks().flatten(), dtype=np.float64).reshape(-1, 4)
    table = np.column_stack([columns["grid_rows"], columns["grid_cols"], rectangles])
    # sorting millions of rows of six numbers takes many seconds, and is hardly ever needed
    if len(table) and (table == table[0]).all():
        distinct, numbers = table[:1], np.zeros(len(table), dtype=np.int64)
    else:
        distinct, numbers = np.unique(table, axis=0, return_inverse=True)
    layouts = [((int(rows), int(cols)), (x0, y0, x1, y1)) for rows, cols, x0, y0, x1, y1 in distinct.tolist()]
    return layouts, numbers.reshape(-1).astype(np.int32)
