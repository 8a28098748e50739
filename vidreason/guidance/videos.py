"""The frames that guidance speaks of, from a folder of videos: a table joined to a user's own files in one call."""

from __future__ import annotations

import glob
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import datasets
import numpy as np

from ..errors import GuidanceError, VideoError, one_of_many
from ..files import is_outside
from ..video import decode_frames
from ..video.probe import VIDEO_SUFFIXES
from .join import DEFAULT_TOLERANCE_S

logger = logging.getLogger(__name__)

# frames of a video in memory at a time: 64 of 1920 x 1080 are 400 MB
_FRAMES_AT_ONCE = 64


def guided_frames(
    rows: datasets.Dataset,
    video_root: str | os.PathLike,
    tolerance_s: float = DEFAULT_TOLERANCE_S,
    max_side_px: int | None = None,
) -> Iterator[tuple[dict[str, Any], np.ndarray]]:
    """Every row of a guidance table with the frame that it speaks of, found by video and time.

    Rows of all statuses are given; only those with the status `ok` have weights. A video that is not there or cannot
    be read is left out, counted, and named in the log. A few frames are in memory at a time.

    Args:
        rows: A split of a guidance table, as from `datasets.load_dataset`.
        video_root: Folder of the videos: a row's video is the file `<video_root>/<video_id>.<any video suffix>`.
        tolerance_s: Largest distance in seconds of a frame from the time that a row states.
        max_side_px: Longer side in pixels to which larger frames are scaled down; None keeps their size.

    Yields:
        (row, frame) by video and time; a frame is uint8 (height, width, 3), RGB.

    Raises:
        GuidanceError: none of the videos is there, or this is no split of a table.
    """
    if not isinstance(rows, datasets.Dataset):
        raise GuidanceError(
            f"expected one split of a table, got {type(rows).__name__}; name the split when loading it"
        )
    left_out, given = [], 0
    for video_id, indices in _rows_by_video(rows).items():
        try:
            with one_of_many(video_id):
                path = find_video(video_root, video_id)
                for pair in _frames_of_video(rows, indices, path, tolerance_s, max_side_px):
                    yield pair
                    given += 1
        except VideoError as error:
            left_out.append(video_id)
            logger.warning("%s is left out: %s", video_id, error)
    if left_out and not given:
        raise GuidanceError(
            f"none of {len(left_out)} guided videos, such as {left_out[0]}, can be read in {video_root}"
        )
    if left_out:
        logger.warning("%d guided videos are left out, such as %s", len(left_out), left_out[0])


def find_video(video_root: str | os.PathLike, video_id: str) -> Path:
    """The file of a video.

    Raises:
        VideoError: there is none with a video's suffix, or the id leads out of the folder.
    """
    if is_outside(video_id):  # a table from elsewhere must not name other files of this machine
        raise VideoError(video_id, "missing", "its id is not a path under the folder of videos")
    base = Path(video_root) / video_id
    # an id may hold brackets, which glob would take for a pattern
    for path in sorted(base.parent.glob(f"{glob.escape(base.name)}.*")):
        # the stem too: `a.b.mp4` is not the video `a`
        if path.suffix.lower() in VIDEO_SUFFIXES and path.stem == base.name:
            return path
    raise VideoError(f"{base}.*", "missing")


def _rows_by_video(rows: datasets.Dataset) -> dict[str, list[int]]:
    """Video id -> indices of its rows in order of time."""
    columns = rows.with_format("arrow").select_columns(["video_id", "timestamp_s"])[:]
    times_s = columns["timestamp_s"].to_pylist()
    groups: dict[str, list[int]] = {}
    for index, video_id in enumerate(columns["video_id"].to_pylist()):
        groups.setdefault(video_id, []).append(index)
    return {video_id: sorted(indices, key=times_s.__getitem__) for video_id, indices in groups.items()}


def _frames_of_video(
    rows: datasets.Dataset, indices: list[int], path: Path, tolerance_s: float, max_side_px: int | None
) -> Iterator[tuple[dict[str, Any], np.ndarray]]:
    for start in range(0, len(indices), _FRAMES_AT_ONCE):
        chunk = rows.select(indices[start : start + _FRAMES_AT_ONCE]).to_list()
        wanted_s = [row["timestamp_s"] for row in chunk]
        decoded = decode_frames(path, timestamps_s=wanted_s, tolerance_s=tolerance_s, max_side_px=max_side_px)
        yield from zip(chunk, decoded.frames, strict=True)
