"""Guidance from movement: needs no key, no network and no labels, and works on any video.

People who act move. The annotator compares neighbouring frames, takes out what moves everywhere (a panning camera, a
change of light), and gives each cell of the grid a weight in proportion to the movement in it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from datasets import DatasetDict
from scipy import ndimage
from tqdm.auto import tqdm

from ..errors import ConfigError, VideoError, one_of_many
from ..guidance import guidance_row
from ..manifests.manifest import Manifest
from ..video import DecodedFrames, decode_readable_frames, probe_video
from ..video.decode import read_frame_table
from .job import Annotation, AnnotationRun, AnnotationTask, Producer, Shard

_FRAMES_AT_ONCE = 128  # of 96 pixels a side or less: about 4 MB

_MAX_CAMERA_SHIFT = 0.06
"""The farthest that a camera is taken to move between compared frames, as a share of the longer side."""


@dataclass
class MotionAnnotator:
    """Marks the cells in which something moves against the rest of the frame.

    Frames are decoded small, as grey values. For a frame, the movement is the mean of the absolute differences to the
    frames `lag_s` before and after it, each first shifted by the camera's own movement (found by matching, to a part
    of a pixel) and less what a shift that is wrong by `slack_px` would explain. Cells get the movement above the
    frame's median, and those under `min_share` of the strongest cell get nothing.

    Args:
        grid: (rows, columns) of the guidance.
        lag_s: Seconds between the frames that are compared.
        max_side_px: Longer side of the small frames in pixels.
        slack_px: Error of the camera's shift that is forgiven, in small pixels. Without it, every sharp edge of a
            background that moves with the camera looks like movement.
        min_share: Share of the strongest cell's movement under which cells are dropped, in [0, 1].
        min_level: Movement of the strongest cell (mean absolute difference of grey values of 0 to 255) under which a
            frame is `empty`.
        failures: Why no frame of a video has guidance, by video id; filled while rows are made.
    """

    grid: tuple[int, int] = (4, 4)
    lag_s: float = 0.12
    max_side_px: int = 96
    slack_px: float = 0.5
    min_share: float = 0.35
    min_level: float = 0.5
    failures: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if min(self.grid) < 1:
            raise ConfigError(f"grid is {self.grid}, expected rows and columns >= 1")
        if self.lag_s <= 0 or self.max_side_px < 8 or self.slack_px < 0:
            raise ConfigError(
                f"expected lag_s > 0, max_side_px >= 8 and slack_px >= 0, got {self.lag_s}, {self.max_side_px} and "
                f"{self.slack_px}"
            )
        if not 0 <= self.min_share <= 1:
            raise ConfigError(f"min_share is {self.min_share}, expected a share in [0, 1]")

    @property
    def description(self) -> str:
        """For provenance."""
        return (
            f"frame-difference,lag_s={self.lag_s:g},slack_px={self.slack_px:g},min_share={self.min_share:g},"
            f"min_level={self.min_level:g}"
        )

    def annotate(
        self, manifest: Manifest, split: str, frames_per_second: float | None = None
    ) -> Iterator[dict[str, Any]]:
        """Rows for the frames of all videos of a split.

        Args:
            manifest: Manifest of the videos.
            split: Split of the videos.
            frames_per_second: Rate in hertz of the frames that get a row; every frame by default.

        Yields:
            Rows of the guidance table with the producer `motion`; a video that cannot be read gives one row with the
            status `failed` for its first frame, and is named in `failures`; so does each frame that does not decode.
        """
        for row in manifest.splits[split]:
            key: dict[str, Any] = {"video_id": row["video_id"], "source": manifest.source, "split": split}
            path = manifest.video_path(row)
            try:
                with one_of_many(path):
                    yield from self.annotate_video(path, key, frames_per_second)
            except VideoError as error:
                self.failures[row["video_id"]] = str(error)
                key |= {"frame_index": 0, "timestamp_s": 0.0}
                key |= {"frame_height": row["height"], "frame_width": row["width"]}
                yield self._row(key, np.zeros(self.grid), status="failed", raw_response=error.reason)

    def annotate_video(
        self, path: str | os.PathLike, key: dict[str, Any], frames_per_second: float | None = None
    ) -> Iterator[dict[str, Any]]:
        """Rows for the frames of one video.

        Args:
            path: Path of the video.
            key: Fields `video_id`, `source` and `split` of its rows.
            frames_per_second: Rate in hertz of the frames that get a row; every frame by default.

        Raises:
            VideoError: the video cannot be read.
        """
        info = probe_video(path)
        times_s = read_frame_table(path).times_s
        chosen = _every(times_s, frames_per_second)
        for start in range(0, len(chosen), _FRAMES_AT_ONCE):  # a few at a time, so that a video of any length fits
            piece = chosen[start : start + _FRAMES_AT_ONCE]
            try:
                with one_of_many(path):
                    cells, reason = self._movement_of(path, times_s, piece), "decode_failed"
            except VideoError as error:  # the rows of the pieces before are made already, and stay
                cells, reason = {}, error.reason
            for index in piece:
                frame_key = key | {
                    "frame_index": index,
                    "timestamp_s": float(times_s[index]),
                    "frame_height": info.height,
                    "frame_width": info.width,
                }
                if index in cells:
                    yield self._row(frame_key, cells[index])
                else:
                    yield self._row(frame_key, np.zeros(self.grid), status="failed", raw_response=reason)

    def _movement_of(
        self, path: str | os.PathLike, times_s: np.ndarray, indices: Sequence[int]
    ) -> dict[int, np.ndarray]:
        """Frame index -> movement in each cell (rows, columns), of those frames that decode."""
        needed = sorted({*indices, *(index for frame in indices for index in self._neighbours(times_s, frame))})
        decoded, _ = decode_readable_frames(path, needed, self.max_side_px)
        if decoded is None:
            return {}
        position_of = {index: position for position, index in enumerate(decoded.frame_indices)}
        return {i: self.cell_movement(decoded, position_of[i]) for i in indices if i in position_of}

    def cell_movement(self, decoded: DecodedFrames, position: int) -> np.ndarray:
        """Movement in each cell around one frame, before normalisation.

        Args:
            decoded: Frames of shape (frames, height, width, 3), uint8, in order of time.
            position: Index of the frame among them.

        Returns:
            Shape (rows, columns), non-negative; all zero where nothing moves.
        """
        movement = self.movement(decoded, position)
        cells = _cell_means(movement, self.grid)
        if cells.max() < self.min_level:
            return np.zeros(self.grid)
        # the median is what moves everywhere, such as a change of light
        cells = np.clip(cells - np.median(movement), 0.0, None)
        return np.where(cells >= self.min_share * cells.max(), cells, 0.0)

    def movement(self, decoded: DecodedFrames, position: int) -> np.ndarray:
        """Difference to the neighbours in time that the camera does not explain.

        Args:
            decoded: Frames of shape (frames, height, width, 3), uint8, in order of time.
            position: Index of the frame among them.

        Returns:
            Shape (height, width), in grey values of 0 to 255.
        """
        here = _grey(decoded.frames[position])
        neighbours = self._neighbours(decoded.timestamps_s, position)
        if not neighbours:
            return np.zeros_like(here)
        differences = [np.abs(here - _follow_camera(_grey(decoded.frames[i]), here)) for i in neighbours]
        # a shift that is wrong by slack_px changes a pixel by about that many times the slope of the picture there
        explained = self.slack_px * _slope(here)
        return np.mean([np.clip(difference - explained, 0.0, None) for difference in differences], axis=0)

    def _neighbours(self, timestamps_s: Sequence[float] | np.ndarray, position: int) -> list[int]:
        """The frames nearest to one lag before and one lag after, where there are any."""
        times_s, here_s = np.asarray(timestamps_s), timestamps_s[position]
        before = np.abs(times_s[:position] - (here_s - self.lag_s))
        after = np.abs(times_s[position + 1 :] - (here_s + self.lag_s))
        found = [int(before.argmin())] if len(before) else []
        return [*found, position + 1 + int(after.argmin())] if len(after) else found

    def _row(self, key: dict[str, Any], cells: np.ndarray, **provenance: Any) -> dict[str, Any]:
        return guidance_row(
            key, cells.reshape(-1).tolist(), self.grid, producer="motion", model=self.description, **provenance
        )


@dataclass(frozen=True)
class MotionArguments(Producer):
    """--annotator motion: movement against the rest of the frame; it has no settings of its own."""

    name: ClassVar[str] = "motion"

    @contextmanager
    def annotate(self, task: AnnotationTask) -> Iterator[Annotation]:
        """Compare the frames of all videos."""
        args = task.args
        manifest = _take_shard(task.load_manifest(), args.splits, task.shard)
        annotator = MotionAnnotator(grid=args.grid_size)
        rows = {
            split: tqdm(
                annotator.annotate(manifest, split, args.frames_per_second),
                desc=split,
                unit=" frames",
                disable=not task.progress,
            )
            for split in args.splits
        }
        settings = {"frames_per_second": args.frames_per_second}
        facts = AnnotationRun(model=annotator.description, label_in_prompt=False, settings=settings)
        yield Annotation(rows, facts)


def _take_shard(manifest: Manifest, splits: list[str], shard: Shard) -> Manifest:
    """The manifest with a part of the videos of each split."""
    parts = {split: manifest.split(split) for split in splits}
    parts = {split: rows.select(range(shard.index, len(rows), shard.count)) for split, rows in parts.items()}
    return Manifest(manifest.class_names, DatasetDict(parts), manifest.video_root, manifest.source)


def _every(timestamps_s: Sequence[float] | np.ndarray, frames_per_second: float | None) -> list[int]:
    """Positions of the frames to annotate: the first, and each that is due since the last."""
    if frames_per_second is None:
        return list(range(len(timestamps_s)))
    ticks = np.arange(timestamps_s[0], timestamps_s[-1] + 1e-9, 1.0 / frames_per_second)
    times_s = np.asarray(timestamps_s)
    return sorted({int(np.abs(times_s - tick).argmin()) for tick in ticks})


def _grey(frame: np.ndarray) -> np.ndarray:
    """(height, width, 3) uint8 -> (height, width) float32, ITU-R BT.601 luma."""
    return frame.astype(np.float32) @ np.asarray([0.299, 0.587, 0.114], dtype=np.float32)


def _slope(image: np.ndarray) -> np.ndarray:
    """How steep a picture is at each pixel: (height, width) -> (height, width), in grey values a pixel."""
    # along a side of one pixel there is no neighbour to differ from, and `np.gradient` refuses it
    slopes = [np.gradient(image, axis=axis) for axis in (0, 1) if image.shape[axis] > 1]
    return np.sqrt(sum((slope**2 for slope in slopes), np.zeros_like(image)))


def _follow_camera(image: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Shift an image so that its background lies on the reference's.

    The shift is the one with the smallest sum of absolute differences, which, unlike a correlation, is not drawn away
    by a person who moves otherwise or by borders that do not move. It is refined to a part of a pixel.

    Args:
        image: Grey values of shape (height, width).
        reference: Grey values of shape (height, width).

    Returns:
        The shifted image, (height, width).
    """
    reach = max(1, round(_MAX_CAMERA_SHIFT * max(image.shape)))
    if min(image.shape) <= 2 * reach + 2:
        return image  # too small for a window to be moved about in
    inner = reference[reach:-reach, reach:-reach]
    # every window of the inner size: [down, right] is the image shifted by (reach - down, reach - right)
    windows = np.lib.stride_tricks.sliding_window_view(image, inner.shape)
    costs = np.asarray([[np.abs(window - inner).mean() for window in row] for row in windows])
    down, right = np.unravel_index(costs.argmin(), costs.shape)
    shift = (reach - _valley(costs[:, right], int(down)), reach - _valley(costs[down], int(right)))
    return ndimage.shift(image, shift, order=1, mode="nearest")


def _valley(costs: np.ndarray, lowest: int) -> float:
    """Where costs are lowest, to a part of a step, by a parabola through three points; `lowest` is their index."""
    if not 0 < lowest < len(costs) - 1:
        return float(lowest)
    before, here, after = costs[lowest - 1 : lowest + 2]
    curvature = before - 2 * here + after
    return lowest + (0.5 * (before - after) / curvature if curvature > 0 else 0.0)


def _cell_means(image: np.ndarray, grid: tuple[int, int]) -> np.ndarray:
    """Means over the cells of a grid: (height, width) -> (rows, columns). Borders fall on the nearest pixel.

    Where there are fewer pixels than cells along a side, several cells share a pixel, each by its area.
    """
    for axis, cells in enumerate(grid):
        if image.shape[axis] < cells:  # else some cells would hold no pixel, and look as if nothing moved there
            image = image.repeat(cells, axis=axis)
    rows = np.linspace(0, image.shape[0], grid[0] + 1).round().astype(int)
    cols = np.linspace(0, image.shape[1], grid[1] + 1).round().astype(int)
    means = np.zeros(grid)
    for row in range(grid[0]):
        for col in range(grid[1]):
            cell = image[rows[row] : rows[row + 1], cols[col] : cols[col + 1]]
            means[row, col] = cell.mean()
    return means
