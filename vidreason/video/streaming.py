"""Frames of a long video at a rate, one after another: no more than one of them lies in memory."""

from __future__ import annotations

import logging
import os
from collections import deque
from collections.abc import Iterator
from typing import NamedTuple

import av
import numpy as np

from ..errors import VideoError
from .decode import (
    OpenVideo,
    Orientation,
    RgbConverter,
    check_pixels,
    distrust_short_cuts,
    fitted_size,
    fps_timestamps,
    nearest_places,
    numbered_frames,
    open_video,
    pts_to_decode,
    read_frame_table,
)

logger = logging.getLogger(__name__)


class TimedFrame(NamedTuple):
    """A frame and the time that it was asked for."""

    timestamp_s: float
    frame: np.ndarray
    """uint8 (height, width, 3), RGB, as displayed."""


class FrameStream:
    """The frames of a video at the times k / fps, in order; each is the one nearest in presentation time.

    They are those that `decode_frames` gives for the same times, decoded in one go from the first to the last. Where
    a frame is damaged the next one that decodes stands in for it, at the end the last one, so that one bad place does
    not end hours of video; `num_replaced` counts them, and the log says how many there were.

    Args:
        path: Local file.
        fps: Frames per second that are given.
        max_side_px: Longer side that frames are scaled down to, keeping the aspect ratio; None keeps their size.
        max_pixels: Largest stored width x height to accept, looked at before anything is decoded.

    Raises:
        VideoError: The file cannot be used; or, on reading, not one of the frames decodes.

    Attributes:
        duration_s: Seconds from the first frame's start to the last frame's end.
        timestamps_s: Times in seconds of all frames that will be given.
        num_replaced: Number of frames that others stood in for in the last pass.
    """

    def __init__(
        self, path: str | os.PathLike, fps: float, max_side_px: int | None = None, max_pixels: int | None = None
    ):
        self.path, self.max_side_px, self.max_pixels = path, max_side_px, max_pixels
        self._table = read_frame_table(path, max_pixels)
        self.duration_s, self.num_replaced = self._table.duration_s, 0
        self.timestamps_s = fps_timestamps(self.duration_s, fps)

    def __len__(self) -> int:
        return len(self.timestamps_s)

    def __iter__(self) -> Iterator[TimedFrame]:
        nearest = nearest_places(self._table.times_s, np.asarray(self.timestamps_s)).tolist()
        to_picture = _ToPicture(self.path, self.max_side_px, self.max_pixels)
        last: av.VideoFrame | None = None
        self.num_replaced, position, in_order = 0, 0, self._table.in_order_only
        # once with short cuts; where that meets damage, once more without, from the next frame that is to be given
        while True:
            with open_video(self.path, self.max_pixels) as video:
                wanted_pts = None if in_order else pts_to_decode(video, self._table, np.unique(nearest))
                for index, frame in self._decoded(video, nearest, wanted_pts):
                    last = frame
                    if index < nearest[position]:
                        continue
                    picture = to_picture(frame)
                    while position < len(nearest) and nearest[position] <= index:
                        self.num_replaced += nearest[position] < index
                        yield TimedFrame(self.timestamps_s[position], picture)
                        position += 1
                    if position == len(nearest):
                        break
            if position == len(nearest) or wanted_pts is None:
                break
            in_order = True
            distrust_short_cuts(self.path, self.max_pixels, self._table)
        if last is None:
            raise VideoError(self.path, "decode_failed", f"none of {len(nearest)} frames decodes")
        self.num_replaced += len(nearest) - position
        for timestamp_s in self.timestamps_s[position:]:
            yield TimedFrame(timestamp_s, to_picture(last))
        if self.num_replaced:
            logger.warning(
                "%s: %d of %d frames do not decode; others stand in", self.path, self.num_replaced, len(nearest)
            )

    def _decoded(
        self, video: OpenVideo, nearest: list[int], wanted_pts: frozenset[int] | None
    ) -> Iterator[tuple[int, av.VideoFrame]]:
        """Frames with their native index. Where some are left out, damage or a frame that does not come ends it."""
        upcoming = deque(sorted(set(nearest)))
        for index, frame in numbered_frames(video, self._table, wanted_pts):
            if index is None:
                continue
            if wanted_pts is not None and (video.failures or (upcoming and upcoming[0] < index)):
                return
            if upcoming and upcoming[0] == index:
                upcoming.popleft()
            yield index, frame


class _ToPicture:
    """Makes RGB pictures of decoded frames, all of the first one's size, so that a stream stays of one shape."""

    def __init__(self, path: str | os.PathLike, max_side_px: int | None, max_pixels: int | None):
        self.path, self.max_side_px, self.max_pixels = path, max_side_px, max_pixels
        self._converter = RgbConverter(path)
        self._size: tuple[int, int] | None = None

    def __call__(self, frame: av.VideoFrame) -> np.ndarray:
        """The picture as displayed: uint8 (height, width, 3)."""
        check_pixels(self.path, frame.width, frame.height, self.max_pixels)
        orientation = Orientation.of(frame)
        self._size = self._size or fitted_size(frame, orientation, self.max_side_px)
        return self._converter.convert(frame, orientation, self._size)
