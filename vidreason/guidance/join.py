"""Joining guidance to the frames a model sees: by video and by time, never by position in a list."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import datasets
import numpy as np

from ..errors import GuidanceError
from .geometry import GridMap, grid_maps

MISSING = "missing"
"""Status of a sampled frame that no row of the table lies near enough to. It is never written to a table."""

DEFAULT_TOLERANCE_S = 0.05


@dataclass(frozen=True)
class FrameGuidance:
    """Guidance for the sampled frames of one clip.

    Args:
        maps: one `GridMap` per frame, or None where the table has no row for it.
        statuses: the rows' statuses, or `MISSING`.
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
        text = f"guidance for {self.videos_with_guidance} of {self.videos} videos"
        if self.unknown_videos:
            examples = ", ".join(self.unknown_videos[:3])
            text += f"; {len(self.unknown_videos)} guided videos are not in the manifest, such as {examples}"
        return text


@dataclass
class _VideoRows:
    times_s: np.ndarray  # ascending
    rows: np.ndarray  # of the table, in the order of `times_s`


class GuidanceIndex:
    """Finds the guidance of frames by video and presentation time.

    Args:
        rows: a table of `vidreason.guidance.schema.FEATURES`.
        tolerance_s: how far, in seconds, a row may lie from a sampled frame and still speak for it.

    Raises:
        GuidanceError: the tolerance is negative, or two rows speak for the same instant of a video.
    """

    def __init__(self, rows: datasets.Dataset, tolerance_s: float = DEFAULT_TOLERANCE_S):
        if not tolerance_s >= 0:
            raise GuidanceError(f"tolerance_s is {tolerance_s}, expected a number of seconds >= 0")
        self.tolerance_s = tolerance_s
        names = ["video_id", "timestamp_s", "grid_rows", "grid_cols", "weights", "rectangle", "status"]
        arrow = rows.with_format("arrow").select_columns(names)[:]
        self._times_s = np.asarray(arrow["timestamp_s"], dtype=np.float64)
        self._grids = list(zip(arrow["grid_rows"].to_pylist(), arrow["grid_cols"].to_pylist(), strict=True))
        self._statuses = arrow["status"].to_pylist()
        weights = arrow["weights"].combine_chunks()
        self._weights = np.asarray(weights.flatten(), dtype=np.float32)
        self._weight_starts = np.concatenate([[0], np.cumsum(np.asarray(weights.value_lengths()))])
        self._rectangles = np.asarray(arrow["rectangle"].combine_chunks().flatten(), dtype=np.float64).reshape(-1, 4)
        self._videos = self._group(arrow["video_id"].to_pylist())

    def _group(self, video_ids: list[str]) -> dict[str, _VideoRows]:
        groups: dict[str, list[int]] = {}
        for row, video_id in enumerate(video_ids):
            groups.setdefault(video_id, []).append(row)
        videos = {}
        for video_id, rows in groups.items():
            order = np.asarray(rows)[np.argsort(self._times_s[rows], kind="stable")]
            times_s = self._times_s[order]
            if (np.diff(times_s) == 0).any():
                twice = times_s[:-1][np.diff(times_s) == 0][0]
                raise GuidanceError(f"{video_id}: two rows for the frame at {twice:.3f} s; merge them first")
            videos[video_id] = _VideoRows(times_s, order)
        return videos

    @property
    def video_ids(self) -> set[str]:
        """The videos that have any row."""
        return set(self._videos)

    def coverage(self, video_ids: Iterable[str]) -> Coverage:
        """How the table meets a set of videos."""
        wanted = set(video_ids)
        return Coverage(len(wanted), len(wanted & self.video_ids), sorted(self.video_ids - wanted))

    def lookup(self, video_id: str, timestamps_s: Sequence[float]) -> FrameGuidance:
        """The nearest row in time for each frame, where one lies within the tolerance.

        Args:
            video_id: of the clip.
            timestamps_s: presentation time of each sampled frame, in seconds from the start of the video.
        """
        found = self.find_rows(video_id, timestamps_s)
        maps = self._grid_maps(list({row for row in found if row is not None}))
        return FrameGuidance(
            [None if row is None else maps[row] for row in found],
            [MISSING if row is None else self._statuses[row] for row in found],
        )

    def find_rows(self, video_id: str, timestamps_s: Sequence[float]) -> list[int | None]:
        """The number of the table's row that speaks for each frame, None where none does.

        Args:
            video_id: of the clip.
            timestamps_s: as in `lookup`.
        """
        video = self._videos.get(video_id)
        if video is None:
            return [None] * len(timestamps_s)
        wanted_s = np.asarray(timestamps_s, dtype=np.float64)
        right = np.minimum(np.searchsorted(video.times_s, wanted_s), len(video.times_s) - 1)
        left = np.maximum(right - 1, 0)
        # of two rows as near, the earlier one
        best = np.where(np.abs(video.times_s[left] - wanted_s) <= np.abs(video.times_s[right] - wanted_s), left, right)
        # the slack forgives the rounding of times that were stored and computed in different ways
        within = np.abs(video.times_s[best] - wanted_s) <= self.tolerance_s + 1e-6
        return [row if near else None for row, near in zip(video.rows[best].tolist(), within.tolist(), strict=True)]

    def _grid_maps(self, rows: list[int]) -> dict[int, GridMap]:
        """Row of the table -> its map, for all frames of a clip at once."""
        starts = self._weight_starts
        weights = [self._weights[starts[row] : starts[row + 1]] for row in rows]
        maps = grid_maps(weights, [self._grids[row] for row in rows], self._rectangles[rows])
        return dict(zip(rows, maps, strict=True))
